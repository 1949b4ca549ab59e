# SPDX-License-Identifier: BSD-2-Clause
"""Structures, registers of the ABI, leaves, events, start states and constants, checked and made."""

from __future__ import annotations

import re

from abidance.spec.clauses import paragraphs
from abidance.spec.kinds import UpdateProtocol
from abidance.spec.parts import (
    BitField,
    Constant,
    Event,
    Field,
    Leaf,
    Msr,
    StartState,
    Structure,
    Update,
)
from abidance.spec.places import operand, parse_type
from abidance.spec.problems import Path, near
from abidance.spec.schema import (
    ConstantDoc,
    EventDoc,
    GroupDocument,
    LeafDoc,
    MsrDoc,
    StartDoc,
    StructureDoc,
    UpdateDoc,
)
from abidance.spec.scope import File, Scope

__all__ = ["GroupParts", "make_parts"]

_BITS = re.compile(r"(?P<high>[0-9]{1,4})(?::(?P<low>[0-9]{1,4}))?")
_GUIDED = (UpdateProtocol.SEQUENCE_COUNTER, UpdateProtocol.HANDSHAKE)


class GroupParts:
    """The parts of one group."""

    def __init__(self) -> None:
        self.constants: list[Constant] = []
        self.structures: list[Structure] = []
        self.events: list[Event] = []
        self.msrs: list[Msr] = []
        self.leaves: list[Leaf] = []
        self.start: list[StartState] = []


def make_parts(doc: GroupDocument, scope: Scope, file: File) -> GroupParts:
    """Everything in `doc` that is not an entry point or a clause; problems go to `file`."""
    maker, parts = _Maker(doc.group, scope, file), GroupParts()
    parts.constants = [maker.constant(name, item) for name, item in doc.constants.items()]
    parts.structures = [maker.structure(name, item) for name, item in doc.structures.items()]
    parts.events = [maker.event(name, item) for name, item in doc.events.items()]
    parts.msrs = [maker.msr(name, item) for name, item in doc.msrs.items()]
    parts.leaves = [maker.leaf(name, item) for name, item in doc.leaves.items()]
    parts.start = [maker.start(name, item) for name, item in doc.start.items()]
    return parts


def _note(text: str | None) -> str | None:
    return paragraphs(text) if text else None


class _Maker:
    def __init__(self, group: str, scope: Scope, file: File) -> None:
        self.group, self.scope, self.file = group, scope, file

    def constant(self, name: str, doc: ConstantDoc | int) -> Constant:
        if isinstance(doc, int):
            return Constant(name, doc, None, None, self.group, (), None)
        evidence = self.scope.evidence(doc.evidence, self.file, ("constants", name, "evidence"))
        return Constant(name, doc.value, doc.set, _note(doc.doc), self.group, evidence, doc.since)

    def structure(self, name: str, doc: StructureDoc) -> Structure:
        path: Path = ("structures", name)
        if doc.align & (doc.align - 1):
            self.file.report((*path, "align"), f"alignment {doc.align}", "use a power of two")
        fields = self.fields(doc, path)
        return Structure(
            name=name,
            size=doc.size,
            align=doc.align,
            doc=_note(doc.doc),
            group=self.group,
            fields=tuple(sorted(fields, key=lambda item: item.offset)),
            update=self.update(doc.update, doc, path) if doc.update else None,
            evidence=self.scope.evidence(doc.evidence, self.file, (*path, "evidence")),
            since=doc.since,
        )

    def fields(self, doc: StructureDoc, path: Path) -> list[Field]:
        made: list[Field] = []
        for index, item in enumerate(doc.fields):
            here = (*path, "fields", index)
            kind = parse_type(item.type, self.scope, self.file, (*here, "type"))
            if kind is None:
                continue
            if kind.base == path[-1] and not kind.pointer:
                self.file.report((*here, "type"), f"{kind.base} contains itself", "use a pointer to it")
                continue
            size = (kind.bits(self.scope) or self.scope.word) * kind.count // 8
            field = Field(item.name, item.offset, size, item.type, kind.count, _note(item.doc), item.since)
            self.check_field(field, made, doc.size, here)
            made.append(field)
        return made

    def check_field(self, field: Field, before: list[Field], size: int, path: Path) -> None:
        end = field.offset + field.size
        if end > size:
            problem = f"{field.name} ends at {end}, the structure at {size}"
            self.file.report((*path, "offset"), problem, "mend the offset, the type or the size")
        for other in before:
            if other.name == field.name:
                self.file.report((*path, "name"), f"a second field {field.name!r}", "give it another name")
            if field.offset < other.offset + other.size and other.offset < end:
                span = f"{other.offset}..{other.offset + other.size - 1}"
                problem = f"{field.name} ({field.offset}..{end - 1}) overlaps {other.name!r} ({span})"
                self.file.report((*path, "offset"), problem, "mend one of the offsets")

    def update(self, doc: UpdateDoc, structure: StructureDoc, path: Path) -> Update:
        here = (*path, "update")
        if doc.field is not None:
            self.file.known(doc.field, [item.name for item in structure.fields], "field", (*here, "field"))
        if doc.protocol in _GUIDED and doc.field is None:
            self.file.report(here, f"{doc.protocol.value} without its field", "add field: <name>")
        return Update(doc.protocol, doc.by, doc.field, _note(doc.doc))

    def event(self, name: str, doc: EventDoc) -> Event:
        path: Path = ("events", name)
        for index, item in enumerate(doc.frame):
            self.file.known(item, self.scope.registers, "register", (*path, "frame", index))
        return Event(
            name=name,
            vector=doc.vector,
            when=paragraphs(doc.when),
            frame=doc.frame,
            error_code=doc.error_code,
            doc=_note(doc.doc),
            group=self.group,
            evidence=self.scope.evidence(doc.evidence, self.file, (*path, "evidence")),
            since=doc.since,
        )

    def msr(self, name: str, doc: MsrDoc) -> Msr:
        path: Path = ("msrs", name)
        if doc.reset is not None and doc.reset >> doc.bits:
            problem = f"{doc.reset:#x} has more than {doc.bits} bits"
            self.file.report((*path, "reset"), problem, "mend reset or bits")
        return Msr(
            name=name,
            number=doc.number,
            bits=doc.bits,
            access=doc.access,
            reset=doc.reset,
            fields=self.bit_fields(doc, path),
            doc=_note(doc.doc),
            group=self.group,
            evidence=self.scope.evidence(doc.evidence, self.file, (*path, "evidence")),
            since=doc.since,
        )

    def bit_fields(self, doc: MsrDoc, path: Path) -> tuple[BitField, ...]:
        made: list[BitField] = []
        for name, text in doc.fields.items():
            here = (*path, "fields", name)
            match = _BITS.fullmatch(text)
            if match is None:
                self.file.report(here, f"{text!r} is not a range of bits", "write high:low or one bit")
                continue
            high, low = int(match["high"]), int(match["low"] or match["high"])
            if low > high or high >= doc.bits:
                mend = f"high first, and at most {doc.bits - 1}"
                self.file.report(here, f"bits {text} do not fit in {doc.bits}", mend)
            for other in made:
                if low <= other.high and other.low <= high:
                    self.file.report(here, f"bits {text} overlap {other.name!r}", "mend one of the two")
            made.append(BitField(name, high, low))
        return tuple(made)

    def leaf(self, name: str, doc: LeafDoc) -> Leaf:
        path: Path = ("leaves", name)
        made = [
            operand(item, self.scope, self.file, (*path, "outputs", index))
            for index, item in enumerate(doc.outputs)
        ]
        if doc.subleaf is not None and doc.leaf is None:
            self.file.report((*path, "subleaf"), "a subleaf without a leaf", "add leaf")
        return Leaf(
            name=name,
            via=doc.via,
            leaf=doc.leaf,
            subleaf=doc.subleaf,
            outputs=tuple(item for item in made if item is not None),
            doc=_note(doc.doc),
            group=self.group,
            evidence=self.scope.evidence(doc.evidence, self.file, (*path, "evidence")),
            since=doc.since,
        )

    def start(self, name: str, doc: StartDoc) -> StartState:
        path: Path = ("start", name)
        for register in doc.registers:
            if register not in self.scope.registers:
                mend = near(register, self.scope.registers)
                self.file.report((*path, "registers", register), f"unknown register {register!r}", mend)
        return StartState(
            name=name,
            when=paragraphs(doc.when),
            registers=tuple(doc.registers.items()),
            doc=_note(doc.doc),
            group=self.group,
            evidence=self.scope.evidence(doc.evidence, self.file, (*path, "evidence")),
            since=doc.since,
        )
