# SPDX-License-Identifier: BSD-2-Clause
"""Results as KTAP version 1: a subtest per target, a line per case."""

from __future__ import annotations

from collections.abc import Iterator

from abidance.check.results import CaseResult, Run, TargetResult
from abidance.check.verdict import Verdict

__all__ = ["encode"]

DIRECTIVES = {Verdict.TIMEOUT: "TIMEOUT", Verdict.MISS: "ERROR", Verdict.ERROR: "ERROR",
              Verdict.DIFFERS: "XFAIL", Verdict.NOT_TESTED: "SKIP", Verdict.SKIP: "SKIP"}
OK = (Verdict.PASS, Verdict.DIFFERS, Verdict.NOT_TESTED, Verdict.SKIP)


def encode(run: Run) -> str:
    """The run as KTAP text. DIFFERS is `ok … # XFAIL`, NOT_TESTED and SKIP are `ok … # SKIP`."""
    lines = ["KTAP version 1", f"1..{len(run.targets)}"]
    for number, target in enumerate(run.targets, 1):
        lines += [f"  {line}" for line in _target(run, target)]
        good = not target.mismatches and all(case.verdict in OK for case in target.cases)
        lines.append(f"{'ok' if good else 'not ok'} {number} {target.target}")
    return "\n".join(lines) + "\n"


def _target(run: Run, target: TargetResult) -> Iterator[str]:
    yield f"# Subtest: {target.target}"
    yield "KTAP version 1"
    yield f"1..{len(target.cases) + len(target.mismatches)}"
    yield f"# seed {run.seed}, {target.engine}"
    for number, case in enumerate(target.cases, 1):
        yield from _case(number, case)
    for number, text in enumerate(target.mismatches, len(target.cases) + 1):
        yield f"# {_line(text)}"
        yield f"not ok {number} profile"


def _case(number: int, case: CaseResult) -> Iterator[str]:
    ok = case.verdict in OK
    if not ok:
        for finding in case.findings:
            yield f"# {_line(finding.what)}: expected {_line(finding.expected)}, seen {_line(finding.seen)}"
        yield f"# {_line(case.rerun)}"
    directive = DIRECTIVES.get(case.verdict)
    why = f" # {directive} {_line(case.reason)}".rstrip() if directive else ""
    yield f"{'ok' if ok else 'not ok'} {number} {_line(case.id)}{why}"


def _line(text: str) -> str:
    """One line without the character that begins a directive."""
    return "".join(char if char.isprintable() else " " for char in text).replace("#", "")
