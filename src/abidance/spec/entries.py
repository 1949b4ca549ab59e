# SPDX-License-Identifier: BSD-2-Clause
"""Entry points as written become entry points as loaded, with their own clauses, not yet the stamped."""

from __future__ import annotations

from msgspec import structs

from abidance.spec.clauses import make_clause, paragraphs
from abidance.spec.parts import Operand
from abidance.spec.places import operand
from abidance.spec.problems import Path, near
from abidance.spec.schema import EntryDoc, OperandDoc
from abidance.spec.scope import File, Scope
from abidance.spec.types import Carrier, Clause, EntryPoint

__all__ = ["declared_entries", "make_entries"]


def declared_entries(docs: dict[str, EntryDoc], parent: str = "") -> list[str]:
    """The full names of all entries and, beneath them, their subcommands: ``HSM``, ``HSM.hart_start``."""
    names: list[str] = []
    for name, doc in docs.items():
        full = f"{parent}.{name}" if parent else name
        names += [full, *declared_entries(doc.subcommands, full)]
    return names


def make_entries(docs: dict[str, EntryDoc], group: str, scope: Scope, file: File) -> list[EntryPoint]:
    """The entry points of one group in the order of the file, a command before its subcommands."""
    maker = _Maker(group, scope, file)
    for name, doc in docs.items():
        maker.entry(name, doc, ("entries", name), None)
    return maker.made


class _Maker:
    def __init__(self, group: str, scope: Scope, file: File) -> None:
        self.group, self.scope, self.file = group, scope, file
        self.made: list[EntryPoint] = []

    def entry(self, name: str, doc: EntryDoc, path: Path, parent: EntryPoint | None) -> None:
        carrier = self.carrier(doc, path, parent)
        number = doc.number if isinstance(doc.number, int) else None
        self.check_number(doc, number, carrier, path, parent)
        self.check_prototype(doc, path)
        inputs = self.operands(doc.inputs, (*path, "inputs"))
        results = self.operands(doc.results, (*path, "results"))
        self.check_carrier(inputs, results, doc, carrier, path, parent)
        entry = EntryPoint(
            name=name,
            number=number,
            numbers=(*(parent.numbers if parent else ()), number) if number is not None else (),
            slot=doc.slot,
            parent=parent.name if parent else None,
            subcommands=tuple(f"{name}.{sub}" for sub in doc.subcommands),
            group=self.group,
            summary=paragraphs(doc.summary),
            doc=paragraphs(doc.doc) if doc.doc else None,
            carrier=carrier.name if carrier else "",
            prototype_unknown=doc.reason,
            inputs=inputs,
            results=results,
            clobbers=self.clobbers(doc, carrier, path),
            memory=doc.memory,
            segments=doc.segments,
            native=None if doc.native == "none" else doc.native,
            returns=doc.returns,
            relocations=self.relocations(doc, carrier, path),
            deferral=None if doc.deferral == "none" else doc.deferral,
            withheld=paragraphs(doc.withheld) if doc.withheld else None,
            usage=paragraphs(doc.usage) if doc.usage else None,
            since=doc.since,
            evidence=self.scope.evidence(doc.evidence, self.file, (*path, "evidence")),
            clauses=(),
        )
        self.made.append(structs.replace(entry, clauses=self.clauses(doc, name, path)))
        for sub, child in doc.subcommands.items():
            self.entry(f"{name}.{sub}", child, (*path, "subcommands", sub), entry)

    def carrier(self, doc: EntryDoc, path: Path, parent: EntryPoint | None) -> Carrier | None:
        carriers = self.scope.carriers
        name = doc.carrier or (parent.carrier if parent else None)
        if name is None and len(carriers) == 1:
            name = next(iter(carriers))
        if name is None:
            self.file.report(path, "key 'carrier' is missing", f"use one of: {', '.join(carriers)}")
            return None
        if doc.carrier and not self.file.known(doc.carrier, carriers, "carrier", (*path, "carrier")):
            return None
        return carriers.get(name)

    def check_number(
        self,
        doc: EntryDoc,
        number: int | None,
        carrier: Carrier | None,
        path: Path,
        parent: EntryPoint | None,
    ) -> None:
        if number is None and doc.slot is None:
            self.file.report((*path, "number"), "neither number nor slot", "add slot: its offset in bytes")
        if doc.subcommands and carrier and carrier.subcommand_in is None:
            mend = f"say subcommand_in: <register> in carrier {carrier.name!r}"
            self.file.report((*path, "subcommands"), "the carrier says not where a subcommand travels", mend)
        if doc.subcommands and parent:
            mend = "carriers have one register for subcommands; flatten them"
            self.file.report((*path, "subcommands"), "a subcommand has subcommands", mend)

    def check_prototype(self, doc: EntryDoc, path: Path) -> None:
        if doc.prototype == "known":
            if doc.reason:
                self.file.report((*path, "reason"), "a reason without prototype: unknown", "remove it")
            return
        if not doc.reason:
            self.file.report((*path, "prototype"), "prototype unknown without a reason", "add 'reason'")
        given = {"inputs": doc.inputs, "results": doc.results, "clobbers": doc.clobbers}
        for key, value in given.items():
            if value:
                mend = f"remove {key!r}, or the line prototype: unknown"
                self.file.report((*path, key), f"the prototype is unknown, yet {key} are given", mend)

    def operands(self, docs: tuple[OperandDoc, ...], path: Path) -> tuple[Operand, ...]:
        made: list[Operand] = []
        names: set[str] = set()
        taken: dict[str, str] = {}
        for index, doc in enumerate(docs):
            here = (*path, index)
            one = operand(doc, self.scope, self.file, here)
            if one is None:
                continue
            if one.name in names:
                self.file.report((*here, "name"), f"a second operand {one.name!r}", "give it another name")
            names.add(one.name)
            for place in _places(one):
                if place in taken:
                    problem = f"{place} is already that of {taken[place]!r}"
                    self.file.report((*here, "where"), problem, "name another place")
                taken[place] = one.name
            made.append(one)
        return tuple(made)

    def check_carrier(
        self,
        inputs: tuple[Operand, ...],
        results: tuple[Operand, ...],
        doc: EntryDoc,
        carrier: Carrier | None,
        path: Path,
        parent: EntryPoint | None,
    ) -> None:
        if carrier is None:
            return
        numbers = [carrier.number_in]
        if parent or doc.subcommands:
            numbers.append(carrier.subcommand_in)
        for key, operands, allowed in (
            ("inputs", inputs, carrier.arguments),
            ("results", results, carrier.results),
        ):
            for one in operands:
                index = [item.name for item in getattr(doc, key)].index(one.name)
                where = (*path, key, index, "where")
                for place in _places(one):
                    if key == "inputs" and place in numbers:
                        problem = f"{place} carries the number of the call"
                        self.file.report(where, problem, "name another place")
                    elif allowed and place not in allowed:
                        problem = f"carrier {carrier.name!r} has no {key} in {place}"
                        self.file.report(where, problem, near(place, allowed))

    def clobbers(self, doc: EntryDoc, carrier: Carrier | None, path: Path) -> tuple[str, ...]:
        if doc.prototype == "unknown":
            return ()
        if doc.clobbers is None:
            return carrier.clobbers if carrier else ()
        for index, name in enumerate(doc.clobbers):
            here = (*path, "clobbers", index)
            if self.file.known(name, self.scope.registers, "register", here) and name in doc.clobbers[:index]:
                self.file.report(here, f"{name} twice", "remove one")
        return doc.clobbers

    def relocations(self, doc: EntryDoc, carrier: Carrier | None, path: Path) -> tuple[str, ...]:
        for index, form in enumerate(doc.relocations):
            if carrier:
                self.file.known(form, carrier.forms, "form", (*path, "relocations", index))
        return doc.relocations

    def clauses(self, doc: EntryDoc, name: str, path: Path) -> tuple[Clause, ...]:
        made: list[Clause] = []
        for slug, clause in doc.clauses.items():
            here = (*path, "clauses", slug)
            if clause.entry is not None:
                mend = "remove 'entry': it belongs to the entry it stands under"
                self.file.report((*here, "entry"), f"a clause of {name} names an entry", mend)
            made.append(
                make_clause(clause, name, slug, self.group, self.scope, self.file, here, entry=name)
            )
        return tuple(made)


def _places(one: Operand) -> list[str]:
    """The places of an operand that no second operand may have: registers, stack and frame slots."""
    found: list[str] = []
    for part in one.parts:
        if part.register is not None:
            found.append(part.register)
        elif part.stack is not None:
            found.append(f"stack+{part.stack}")
        elif part.frame is not None:
            found.append(f"frame+{part.frame}")
    return found
