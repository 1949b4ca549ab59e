# SPDX-License-Identifier: BSD-2-Clause
"""`abidance list`: what there is, and how to get what is missing."""

from __future__ import annotations

import argparse
from collections.abc import Callable, Sequence

from rich import box
from rich.console import Console
from rich.table import Table

from abidance.abi import Abi, abi_names, find_abi
from abidance.check.platforms import find_platform
from abidance.check.verdict import GOOD
from abidance.cli.output import color_wanted, emit
from abidance.errors import AbidanceError
from abidance.report.console import plain, to_text
from abidance.suite.target import Target

__all__ = ["run"]


def run(options: argparse.Namespace) -> int:
    """Carry out the command; always good if the ABI exists."""
    names = [options.abi] if options.abi else abi_names()
    abis = [find_abi(name) for name in names]

    def draw(console: Console) -> None:
        for abi in abis:
            for section in SECTIONS[options.what]:
                section(console, abi)

    emit(to_text(draw, color=color_wanted()))
    return GOOD


def _title(console: Console, abi: Abi) -> None:
    spec, suite = abi.spec, abi.suite
    console.print(plain(f"{abi.name}: {spec.title} {spec.version}"), style="bold")
    console.print(plain(spec.summary.strip()))
    calls = sum(entry.number is not None for entry in spec.entries)
    console.print(plain(f"{calls} calls, {len(spec.clauses)} clauses, {len(suite.cases)} cases, "
                        f"{len(abi.mutants)} mutants.\n"))


def _targets(console: Console, abi: Abi) -> None:
    table = _table("target", "what it is", "engine")
    for implementation in abi.implementations:
        for platform in implementation.platforms:
            target = Target(implementation, platform)
            name = ", ".join(dict.fromkeys((target.name, target.full_name)))
            table.add_row(plain(name), plain(implementation.summary), plain(_availability(target)))
    console.print(table)


def _availability(target: Target) -> str:
    platform = find_platform(target.platform)
    remedy = platform.available()
    if remedy is not None:
        return f"missing; to get it: {remedy}"
    try:
        target.implementation.machine(target.platform)
        return platform.version()
    except AbidanceError as error:
        return str(error)


def _groups(console: Console, abi: Abi) -> None:
    table = _table("group", "title", "calls", "clauses", "cases")
    covered = abi.suite.by_clause
    for group in abi.spec.groups:
        clauses = [clause for clause in abi.spec.clauses if clause.group == group.name]
        cases = {case.id for clause in clauses for case in covered.get(clause.id, ())}
        counts = _counts(len(group.entries), len(clauses), len(cases))
        table.add_row(plain(group.name), plain(group.title), *counts)
    console.print(table)


def _classes(console: Console, abi: Abi) -> None:
    table = _table("class", "title", "calls", "clauses")
    for item in abi.spec.classes:
        whole = abi.spec.conformance(item.name)
        table.add_row(plain(item.name), plain(item.title), *_counts(len(whole.calls), len(whole.clauses)))
    console.print(table)


def _calls(console: Console, abi: Abi) -> None:
    _plain_rows(console, [("-" if entry.number is None else str(entry.number), entry.name, entry.group,
                           entry.summary) for entry in abi.spec.entries])


def _clauses(console: Console, abi: Abi) -> None:
    covered = abi.suite.by_clause
    _plain_rows(console, [(item.id, item.level.value, item.binds.value, item.layer.value,
                           f"{len(covered.get(item.id, ()))} cases") for item in abi.spec.clauses])


def _cases(console: Console, abi: Abi) -> None:
    _plain_rows(console, [(case.id, case.summary) for case in abi.suite.cases])


def _mutants(console: Console, abi: Abi) -> None:
    _plain_rows(console, [(item.name, item.on, item.violates, item.summary) for item in abi.mutants])


def _plain_rows(console: Console, rows: Sequence[Sequence[str]]) -> None:
    """Aligned columns, one line a row, never wrapped: made for grep."""
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    for row in rows:
        line = "  ".join(text.ljust(width) for text, width in zip(row, widths, strict=True)).rstrip()
        console.print(plain(line), soft_wrap=True)


def _table(*columns: str) -> Table:
    table = Table(box=box.SIMPLE, pad_edge=False)
    for name in columns:
        table.add_column(name, justify="right" if name in ("calls", "clauses", "cases") else "left")
    return table


def _counts(*numbers: int) -> list[str]:
    return [str(number or "·") for number in numbers]


Section = Callable[[Console, Abi], None]
SECTIONS: dict[str, tuple[Section, ...]] = {
    "overview": (_title, _targets, _groups, _classes), "targets": (_targets,), "groups": (_groups,),
    "classes": (_classes,), "calls": (_calls,), "clauses": (_clauses,), "cases": (_cases,),
    "mutants": (_mutants,),
}
