# SPDX-License-Identifier: BSD-2-Clause
"""Rules about what is declared and never used, and about what conformance classes leave out."""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import Protocol

from abidance.spec.kinds import Binds, Decider
from abidance.spec.lint_folder import Folder, Rule
from abidance.spec.parts import Evidence
from abidance.spec.types import Specification

__all__ = ["RULES"]


class _Grounded(Protocol):
    """Whatever cites evidence."""

    @property
    def evidence(self) -> tuple[Evidence, ...]: ...


def sources(folder: Folder) -> None:
    """Every source is cited."""
    spec = folder.spec
    kinds: tuple[Sequence[_Grounded], ...] = (
        spec.entries, spec.clauses, spec.constants, spec.structures, spec.events, spec.msrs, spec.leaves,
        spec.start)
    cited = {item.source for parts in kinds for part in parts for item in part.evidence}
    for source in spec.sources:
        if source.tag not in cited:
            folder.report((folder.base, ("sources", source.tag)), "is cited nowhere", "cite it, or remove it")


def registers(folder: Folder) -> None:
    """Every register stands in a place, a list of clobbers, a frame, a start state or a text."""
    spec = folder.spec
    used = set(folder.words)
    for entry in spec.entries:
        used |= {part.register or part.base or "" for item in (*entry.inputs, *entry.results)
                 for part in item.parts}
        used |= set(entry.clobbers)
    for carrier in spec.carriers:
        used |= {carrier.number_in or "", carrier.subcommand_in or ""}
    used |= {part.register or part.base or "" for leaf in spec.leaves for item in leaf.outputs
             for part in item.parts}
    used |= {name for event in spec.events for name in event.frame}
    used |= {name for state in spec.start for name, _ in state.registers}
    for register in spec.registers:
        if register.name not in used:
            folder.report((folder.base, ("registers", register.name)), "is used nowhere", "remove it")


def carriers(folder: Folder) -> None:
    """Every carrier has an entry, and every form may be the answer for some entry of some carrier."""
    spec = folder.spec
    used = {entry.carrier for entry in spec.entries}
    answers = {form for entry in spec.entries for form in entry.relocations}
    for carrier in spec.carriers:
        if carrier.name not in used:
            folder.report((folder.base, ("carriers", carrier.name)), "carries no entry", "remove it")
        for index, form in enumerate(carrier.forms):
            if form not in answers:
                folder.report((folder.base, ("carriers", carrier.name, "forms", index)),
                              f"no entry may be answered {form}", "remove it, or add it to relocations")


def constants(folder: Folder) -> None:
    """A constant is mentioned somewhere, by name or by value, or says itself what it is for."""
    words = folder.words
    for item in folder.spec.constants:
        if item.doc or item.set or item.name in words:
            continue
        if not isinstance(item.value, int) or not _spellings(item.value) & words:
            folder.report(folder.part("constants", item.group, item.name),
                          "is used nowhere and not explained", "add doc or set, or remove it")


def _spellings(value: int) -> set[str]:
    """The ways in which texts write a number."""
    return {str(value), f"{value:X}h", f"0{value:X}h", f"{value:#x}", f"0x{value:X}"}


def constant_values(folder: Folder) -> None:
    """No two constants of one set have the same value."""
    taken: dict[tuple[str, int | str], str] = {}
    for item in folder.spec.constants:
        if item.set is None:
            continue
        other = taken.setdefault((item.set, item.value), item.name)
        if other != item.name:
            folder.report(folder.part("constants", item.group, item.name),
                          f"the value of {other!r}, of the same set {item.set!r}", "mend one of the two")


def profile_keys(folder: Folder) -> None:
    """A choice changes what binds: a predicate uses it, or a clause permits it."""
    predicates = [clause.applies_when for clause in folder.spec.clauses if clause.applies_when]
    used = {name for predicate in predicates for name in predicate.names}
    for key in folder.spec.profile_keys:
        if key.name in used or (key.decided_by is Decider.IMPLEMENTATION and key.permitted_by):
            continue
        folder.report((folder.base, ("profile", key.name)), "no predicate uses it",
                      "use it in an applies_when, or remove it")


def classes(folder: Folder) -> None:
    """Every call and every clause that binds implementations belongs to a class; no class is empty.

    A call whose prototype nobody knows can be asked of nobody: it may be left out.
    """
    spec = folder.spec
    for item in spec.classes:
        if not (item.calls or item.includes or item.clauses):
            folder.report((folder.base, ("classes", item.name)), "has no members", "name calls or clauses")
    if not spec.classes:
        return
    calls = {name for item in spec.classes for name in item.calls}
    ids = {name for item in spec.classes for name in item.clauses}
    for entry in spec.entries:
        known = entry.prototype_unknown is None and not entry.subcommands
        if known and entry.name not in calls:
            folder.report(folder.entry(entry), "belongs to no conformance class",
                          "add it to a class in abi.yaml")
    _topics(folder, spec, ids)


def _topics(folder: Folder, spec: Specification, ids: set[str]) -> None:
    for clause in spec.clauses:
        if clause.entry is None and clause.binds is Binds.IMPLEMENTATION and clause.id not in ids:
            folder.report(folder.clause(clause), "belongs to no conformance class",
                          f"name {spec.abi}.{clause.subject}.* in a class in abi.yaml")


def versions(folder: Folder) -> None:
    """Nothing is newer than the specification."""
    spec = folder.spec
    own = _version(spec.version)
    marked = [(folder.entry(entry, "since"), entry.since) for entry in spec.entries]
    marked += [(folder.clause(clause, "since"), clause.since) for clause in folder.clauses()]
    for kind in ("constants", "structures", "events", "msrs", "leaves", "start"):
        marked += [(folder.part(kind, item.group, item.name, "since"), item.since)
                   for item in getattr(spec, kind)]
    for spot, since in marked:
        if since is not None and _version(since) > own:
            folder.report(spot, f"since {since}, later than this version {spec.version}",
                          "mend it, or raise the version")


def _version(text: str) -> tuple[int, ...]:
    return tuple(int(part) for part in re.findall(r"\d+", text))


RULES: tuple[Rule, ...] = (sources, registers, carriers, constants, constant_values, profile_keys, classes,
                           versions)
