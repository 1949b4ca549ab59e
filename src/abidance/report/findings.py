# SPDX-License-Identifier: BSD-2-Clause
"""What is wrong, in full: the clause, what was done, expected and seen, and how to run it again."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence

from rich.console import Console
from rich.padding import Padding
from rich.text import Text

from abidance.check.results import CaseResult, ClauseResult, FindingRecord, TargetResult
from abidance.check.verdict import Verdict
from abidance.report.console import STYLES, plain, verdict_text

__all__ = ["draw_clauses", "draw_findings"]

SHOWN = (Verdict.FAIL, Verdict.CRASH, Verdict.TIMEOUT, Verdict.MISS, Verdict.ERROR, Verdict.DIFFERS)
ALIKE_SHOWN = 3


def draw_findings(console: Console, target: TargetResult, *, verbose: bool = False) -> None:
    """Print what profile and implementation disagree on, then every case that did not come out
    well, worst first; of many that never ran, and share their reason, only the first few. What only
    differs gets one line each unless `verbose`."""
    for mismatch in target.mismatches:
        console.print(plain(f"FAIL  profile of {target.target}: {mismatch}"), style=STYLES[Verdict.FAIL])
    clauses = {item.id: item for item in target.clauses}
    bad = sorted((case for case in target.cases if case.verdict in SHOWN), key=lambda case: case.verdict.rank)
    alike: Counter[tuple[Verdict, str]] = Counter()
    for case in bad:
        if not case.findings and case.verdict is not Verdict.DIFFERS:
            alike[case.verdict, case.reason] += 1
        if case.verdict is Verdict.DIFFERS and not verbose:
            _short(console, target, case)
        elif alike[case.verdict, case.reason] <= ALIKE_SHOWN:
            _case(console, target, case, clauses)
    for (verdict, reason), number in alike.items():
        if number > ALIKE_SHOWN:
            more = f"{verdict.value}  … and {number - ALIKE_SHOWN} more cases: {reason}"
            console.print(plain(more), style=STYLES[verdict])


def draw_clauses(console: Console, target: TargetResult) -> None:
    """Print one line per clause, for -v."""
    for item in target.clauses:
        line = verdict_text(item.verdict, item.standing)
        line.append(" " * max(1, 12 - len(line)))
        line.append(item.id + (f"  proven by {item.killed}" if item.proven else ""), "default")
        if item.reason:
            line.append(f"  {item.reason}", "dim")
        console.print(line)


def _case(console: Console, target: TargetResult, case: CaseResult,
          clauses: Mapping[str, ClauseResult]) -> None:
    head = verdict_text(case.verdict)
    head.append(f"  {case.id}  on {target.target}", "bold default")
    console.print(head)
    against = [item.clause for item in case.clauses if item.verdict is case.verdict]
    for name in against:
        _clause(console, clauses.get(name))
    for finding in case.findings:
        _finding(console, finding, against)
    if not case.findings:
        _line(console, "why", case.reason)
    _line(console, "rerun", case.rerun)
    console.print()


def _short(console: Console, target: TargetResult, case: CaseResult) -> None:
    head = verdict_text(case.verdict)
    head.append(f"  {case.id}  on {target.target}: ", "bold default")
    head.append_text(plain(case.reason))
    console.print(head)


def _clause(console: Console, clause: ClauseResult | None) -> None:
    if clause is not None:
        text = f"{clause.id} ({clause.layer.value}, {clause.level.value}): {clause.text.strip()}"
        _line(console, "clause", text)


def _finding(console: Console, finding: FindingRecord, against: Sequence[str]) -> None:
    if finding.clauses and set(finding.clauses) != set(against):
        _line(console, "against", ", ".join(finding.clauses))
    _line(console, "looked at", finding.what)
    _line(console, "expected", finding.expected)
    _line(console, "seen", finding.seen)
    if finding.where:
        _line(console, "where", finding.where)
    for number, step in enumerate(finding.done):
        _line(console, "done" if not number else "", step)


def _line(console: Console, name: str, text: str) -> None:
    line = Text(f"{name:>9}  ", "dim")
    if name == "rerun":  # one line however narrow the terminal: it is there to be copied
        console.print(Text("  ").append_text(line).append_text(plain(text)), soft_wrap=True)
        return
    line.append_text(plain(" ".join(text.split())))
    console.print(Padding(line, (0, 0, 0, 2)))
