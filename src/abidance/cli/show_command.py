# SPDX-License-Identifier: BSD-2-Clause
"""`abidance show`: an entry point, clause, group, topic, class or case, rendered from the data."""

from __future__ import annotations

import argparse
from collections.abc import Callable, Iterable
from functools import partial

from rich.console import Console
from rich.padding import Padding
from rich.text import Text

from abidance.abi import Abi, find_abi
from abidance.check.plan import did_you_mean
from abidance.check.verdict import GOOD
from abidance.cli.output import color_wanted, emit
from abidance.errors import UsageError
from abidance.report.console import plain, to_text
from abidance.spec import Clause, EntryPoint, Group, Layer, Operand
from abidance.suite.case import Case

__all__ = ["run"]

Draw = Callable[[Console], None]


def run(options: argparse.Namespace) -> int:
    """Carry out the command. UsageError for a name that means nothing."""
    parts = [part for name in options.name for part in _find(name)]

    def draw(console: Console) -> None:
        for number, part in enumerate(parts):
            if number:
                console.print()
            part(console)

    emit(to_text(draw, color=color_wanted()))
    return GOOD


def _find(name: str) -> list[Draw]:
    """Everything the name means: one name may be a group, a topic and a class."""
    abi = find_abi(name.replace("/", ".").partition(".")[0])
    rest = name[len(abi.name) + 1:]
    if not rest:
        return [partial(_overview, abi=abi)]
    if "/" in name:
        known = [case.id for case in abi.suite.cases]
        if name not in known:
            raise UsageError(f"no case {name!r}{did_you_mean(name, known)}")
        return [partial(_case, abi=abi, case=abi.suite.case(name))]
    spec = abi.spec
    found: list[Draw] = []
    clauses = [clause for clause in spec.clauses if clause.id == name]
    entries = [entry for entry in spec.entries if rest in (entry.name, str(entry.number))]
    groups = [group for group in spec.groups if group.name == rest]
    topic = [clause for clause in spec.clauses if clause.entry is None and clause.subject == rest]
    found += [partial(_clause, abi=abi, clause=clause, full=True) for clause in clauses]
    found += [partial(_entry, abi=abi, entry=entry) for entry in entries]
    found += [partial(_group, abi=abi, group=group) for group in groups]
    if topic:
        found.append(partial(_topic, abi=abi, topic=rest, clauses=topic))
    if any(item.name == rest for item in spec.classes):
        found.append(partial(_class, abi=abi, name=rest))
    if not found:
        raise UsageError(f"{abi.name} has nothing called {rest!r}{_suggest(abi, name)}")
    return found


def _suggest(abi: Abi, name: str) -> str:
    spec = abi.spec
    names = [*(item.name for item in spec.entries), *(item.name for item in spec.groups),
             *(item.name for item in spec.classes)]
    known = [f"{abi.name}.{item}" for item in names]
    return did_you_mean(name, [*known, *(clause.id for clause in spec.clauses)])


def _overview(console: Console, abi: Abi) -> None:
    spec = abi.spec
    _head(console, f"{spec.title} {spec.version}", abi.name)
    _text(console, spec.summary)
    _field(console, "groups", ", ".join(group.name for group in spec.groups))
    _field(console, "classes", ", ".join(item.name for item in spec.classes))
    for source in spec.sources:
        _field(console, f"[{source.tag}]", source.title)


def _entry(console: Console, abi: Abi, entry: EntryPoint) -> None:
    number = f"call {entry.number}" if entry.number is not None else "bootstrap entry point"
    _head(console, f"{abi.name}.{entry.name}", f"{number}, group {entry.group}")
    _text(console, entry.summary)
    if entry.doc:
        _text(console, entry.doc)
    if entry.prototype_unknown:
        _field(console, "prototype", f"unknown: {entry.prototype_unknown}")
    for title, operands in (("in", entry.inputs), ("out", entry.results)):
        for operand in operands:
            _field(console, title, _operand(operand))
    _field(console, "clobbers", ", ".join(entry.clobbers) + (", memory" if entry.memory else ""))
    _field(console, "segments", entry.segments.value if entry.segments else "")
    _field(console, "native", entry.native or "none")
    _field(console, "answers", ", ".join(entry.relocations))
    _field(console, "returns", "" if entry.returns else "does not return")
    _field(console, "deferral", entry.deferral or "")
    _field(console, "withheld", entry.withheld or "")
    _field(console, "usage", entry.usage or "")
    _field(console, "evidence", ", ".join(map(str, entry.evidence)))
    _clauses(console, abi, entry.clauses)


def _operand(operand: Operand) -> str:
    return f"{operand.where}  {operand.name}: {operand.type}{'  ' + operand.doc if operand.doc else ''}"


def _group(console: Console, abi: Abi, group: Group) -> None:
    _head(console, f"{abi.name}.{group.name}", f"group: {group.title}")
    _text(console, group.summary)
    if group.doc:
        _text(console, group.doc)
    for name in group.entries:
        entry = abi.spec.entry(name)
        _field(console, f"{entry.number if entry.number is not None else '-'}", f"{name}: {entry.summary}")
    own = [item for item in abi.spec.clauses if item.group == group.name and item.entry is None]
    _clauses(console, abi, own)


def _topic(console: Console, abi: Abi, topic: str, clauses: Iterable[Clause]) -> None:
    _head(console, f"{abi.name}.{topic}", "topic")
    _clauses(console, abi, clauses)


def _class(console: Console, abi: Abi, name: str) -> None:
    item = abi.spec.conformance(name)
    _head(console, f"{abi.name}.{name}", f"conformance class: {item.title}")
    if item.doc:
        _text(console, item.doc)
    _field(console, "includes", ", ".join(item.includes))
    _field(console, "calls", ", ".join(item.calls) or "none")
    _field(console, "clauses", str(len(item.clauses)))


def _case(console: Console, abi: Abi, case: Case) -> None:
    _head(console, case.id, "case")
    _text(console, case.summary)
    _field(console, "needs", ", ".join(case.needs))
    _field(console, "where", str(case.place))
    for name in case.clauses:
        _clause(console, abi, abi.spec.clause(name), full=False)


def _clauses(console: Console, abi: Abi, clauses: Iterable[Clause]) -> None:
    clauses = list(clauses)
    for clause in (item for item in clauses if not item.stamped):
        console.print()
        _clause(console, abi, clause, full=False)
    stamped = [item.id.rpartition(".")[2] for item in clauses if item.stamped]
    if stamped:
        console.print()
        _field(console, "and", f"the clauses stamped on every call: {', '.join(stamped)}")


def _clause(console: Console, abi: Abi, clause: Clause, *, full: bool) -> None:
    layer = "" if clause.layer is Layer.CORE else f", {clause.layer.value}"
    line = Text(clause.id, "bold")
    line.append(f"  {clause.level.value}, binds the {clause.binds.value}{layer}, rev {clause.rev}", "dim")
    console.print(line, soft_wrap=True)
    _text(console, clause.text)
    if clause.applies_when is not None:
        _field(console, "applies", f"when {clause.applies_when}")
    _field(console, "evidence", ", ".join(map(str, clause.evidence)))
    if full:
        cases = abi.suite.by_clause.get(clause.id, ())
        reason = abi.suite.reason(clause.id)
        none = f"none: {reason or 'no case written'}"
        _field(console, "cases", ", ".join(case.id for case in cases) or none)
        _field(console, "mutants", ", ".join(item.name for item in abi.mutants if item.violates == clause.id))


def _head(console: Console, name: str, kind: str) -> None:
    line = Text(name, "bold")
    line.append(f"  {kind}", "dim")
    console.print(line)


def _text(console: Console, text: str) -> None:
    console.print(Padding(plain(" ".join(text.split())), (0, 0, 0, 2)))


def _field(console: Console, name: str, text: str) -> None:
    if text:
        line = Text(f"{name:>9}  ", "dim")
        line.append_text(plain(" ".join(text.split())))
        console.print(Padding(line, (0, 0, 0, 2)))
