# SPDX-License-Identifier: BSD-2-Clause
"""The table of a target: clauses by group, with what is exempt, proven and how the rest came out.

Rows are core clauses about effects, by group; below them clauses stamped from templates and the
practice layer, each counted apart. A column that is zero everywhere is left out, and so is
"proven" where no mutant was tried.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable, Sequence

from rich import box
from rich.console import Console
from rich.table import Table

from abidance.check.conformance import describe
from abidance.check.results import BOUND, EXEMPT, GUEST, ClassResult, ClauseResult, TargetResult
from abidance.check.verdict import Verdict
from abidance.report.console import STYLES, plain
from abidance.spec import Layer, Level

__all__ = ["conclusion", "draw_target", "proven_share"]

ALWAYS = (Verdict.PASS, Verdict.FAIL, Verdict.NOT_TESTED)
Row = tuple[str, list[ClauseResult]]


def draw_target(console: Console, target: TargetResult) -> None:
    """Print the table and the reasons of what was not tested."""
    console.print(plain(f"{target.target}   {target.engine}"), style="bold")
    groups, apart = _rows(target.clauses)
    console.print(_table(groups, apart, proof=bool(target.mutants)))
    _reasons(console, target.clauses)
    passed, total = proven_share(target.clauses)
    if total and target.mutants:
        console.print(plain(f"Core MUST and MUST NOT clauses about effects that bind this target: {total}; "
                            f"proven: {passed} ({100 * passed // total} %)."))


def proven_share(clauses: Iterable[ClauseResult]) -> tuple[int, int]:
    """Proven and all of the bound core MUST and MUST NOT clauses that are not stamped."""
    musts = [item for item in clauses if item.standing == BOUND and item.layer is Layer.CORE
             and item.level in (Level.MUST, Level.MUST_NOT) and not item.stamped]
    return sum(item.proven for item in musts), len(musts)


def conclusion(target: TargetResult) -> str:
    """What the target conforms to and what it does not offer, and what was required of it."""
    lines = [describe(target.target, target.classes, target.offered, target.calls)] if target.classes else []
    lines += [f"required: {item.name}: {_required(item.conforms)}{_why(item)}"
              for item in target.classes if item.required]
    return "\n".join(lines)


def _required(conforms: bool | None) -> str:
    return "undecided" if conforms is None else "conforms" if conforms else "does NOT conform"


def _why(item: ClassResult) -> str:
    parts = []
    for name, words in (("missing", "not offered"), ("violated", "violated"), ("undecided", "undecided"),
                        ("unseen", "nothing seen of")):
        values: Sequence[str] = getattr(item, name)
        if values:
            shown = ", ".join(values[:8]) + (f" and {len(values) - 8} more" if len(values) > 8 else "")
            parts.append(f"{words}: {shown}")
    return f" ({'; '.join(parts)})" if parts else ""


def _rows(clauses: Sequence[ClauseResult]) -> tuple[list[Row], list[Row]]:
    core = [item for item in clauses if item.layer is Layer.CORE and not item.stamped]
    names = dict.fromkeys(item.group for item in core)
    groups = [(name, [item for item in core if item.group == name]) for name in names]
    apart = [("all of these", core),
             ("stamped from templates", [i for i in clauses if i.stamped and i.layer is Layer.CORE]),
             ("practice: scored apart", [i for i in clauses if i.layer is Layer.PRACTICE])]
    return groups, [(name, items) for name, items in apart if items]


def _table(groups: Sequence[Row], apart: Sequence[Row], *, proof: bool) -> Table:
    everything = [item for _, items in (*groups, *apart) for item in items]
    seen = {item.verdict for item in everything}
    shown = [verdict for verdict in (Verdict.PASS, *(v for v in Verdict if v is not Verdict.PASS))
             if verdict in seen or verdict in ALWAYS]
    columns: list[tuple[str, Callable[[Counter[object]], int]]] = [
        ("bound", lambda count: count[BOUND]),
        ("exempt", lambda count: count[EXEMPT]),
        ("for guests", lambda count: count[GUEST]),
        *([("proven", _proven)] if proof else []),
        *((verdict.value.replace("_", " "), lambda count, v=verdict: count[v]) for verdict in shown),
    ]
    table = Table(box=box.SIMPLE, pad_edge=False)
    table.add_column("group")
    for name, _ in columns:
        style = STYLES.get(Verdict.__members__.get(name.replace(" ", "_")) or Verdict.PASS, "")
        table.add_column(name, justify="right", style=style if name.isupper() else "")
    for rows in (groups, apart):
        for name, items in rows:
            count = _count(items)
            table.add_row(name, *(str(value(count) or "·") for _, value in columns))
        table.add_section()
    return table


def _proven(count: Counter[object]) -> int:
    return count["proven"]


def _count(items: Sequence[ClauseResult]) -> Counter[object]:
    count: Counter[object] = Counter(item.standing for item in items)
    count.update(item.verdict for item in items if item.verdict is not None)
    count["proven"] = sum(item.proven for item in items)
    return count


def _reasons(console: Console, clauses: Sequence[ClauseResult]) -> None:
    for verdict in (Verdict.NOT_TESTED, Verdict.SKIP):
        found = Counter(_without_case(item.reason) for item in clauses if item.verdict is verdict)
        for reason, number in found.most_common():
            console.print(plain(f"{verdict.value.replace('_', ' ')} {number:4}  {reason}"), style="dim")


def _without_case(reason: str) -> str:
    head, colon, tail = reason.partition(": ")
    return tail if colon and head.count("/") >= 2 and " " not in head else reason
