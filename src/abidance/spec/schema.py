# SPDX-License-Identifier: BSD-2-Clause
"""What may stand in the files of a specification folder and in a profile, as msgspec types.

`AbiDocument` is abi.yaml, `GroupDocument` every other file of the folder, `ProfileDocument` a
profile. Names (of entries, registers, clauses …) are mapping keys. `shape` reads a tree by these
types, and ``msgspec.json.schema`` makes a JSON Schema of them for editors. What the types cannot
say (a register that is not declared, two entries of one number) `resolve` and `check` say.
"""

from __future__ import annotations

from typing import Annotated, Literal

import msgspec
from msgspec import Meta, Struct

from abidance.spec.kinds import (
    Access,
    Binds,
    CarrierKind,
    Decider,
    Discovery,
    FactType,
    Layer,
    Level,
    RegisterKind,
    Segments,
    UpdateProtocol,
)

__all__ = [
    "AbiDocument",
    "CarrierDoc",
    "ClassDoc",
    "ClauseDoc",
    "ConstantDoc",
    "EntryDoc",
    "EventDoc",
    "FieldDoc",
    "GroupDocument",
    "LeafDoc",
    "MsrDoc",
    "OffersDoc",
    "OperandDoc",
    "ProfileDocument",
    "ProfileKeyDoc",
    "RegisterDoc",
    "Selector",
    "SourceDoc",
    "StartDoc",
    "StructureDoc",
    "TemplateDoc",
    "UpdateDoc",
]

Text = Annotated[str, Meta(min_length=1)]
Count = Annotated[int, Meta(ge=1)]
Offset = Annotated[int, Meta(ge=0)]
Bits = Annotated[int, Meta(ge=1, le=4096)]
Rev = Annotated[int, Meta(ge=1)]
Identifier = Annotated[str, Meta(pattern=r"^[A-Za-z_][A-Za-z0-9_]*$")]
Slug = Annotated[str, Meta(pattern=r"^[a-z0-9]+(-[a-z0-9]+)*$")]
ClassName = Annotated[str, Meta(pattern=r"^[a-z0-9]+([.-][a-z0-9]+)*$")]
AbiName = Annotated[str, Meta(pattern=r"^[a-z][a-z0-9]*$")]
Sources = Annotated[tuple[Text, ...], Meta(min_length=1)]


class _Doc(Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """Base: keys that are not declared are errors."""


class SourceDoc(_Doc, frozen=True, kw_only=True):
    """A source of evidence. `normative`: it may ground a core MUST that binds implementations."""

    title: Text
    normative: bool = False
    doc: Text | None = None


class RegisterDoc(_Doc, frozen=True, kw_only=True):
    """A register of the guest's CPU."""

    bits: Bits
    kind: RegisterKind = RegisterKind.GENERAL
    doc: Text | None = None


class CarrierDoc(_Doc, frozen=True, kw_only=True):
    """One way for a call to travel. Without `kind` the carrier's name is its kind."""

    kind: CarrierKind | None = None
    doc: Text | None = None
    number_in: Text | None = None
    subcommand_in: Text | None = None
    forms: tuple[Identifier, ...] = ()
    arguments: tuple[Text, ...] = ()
    results: tuple[Text, ...] = ()
    clobbers: tuple[Identifier, ...] = ()
    slot: Count | None = None
    vector: Annotated[int, Meta(ge=0, le=255)] | None = None
    msr: Identifier | None = None


class ProfileKeyDoc(_Doc, frozen=True, kw_only=True):
    """A choice that an implementation or platform declares."""

    type: FactType
    doc: Text
    values: tuple[int | str, ...] = ()
    default: bool | int | str | None = None
    permitted_by: Text | dict[str, Text] | None = None
    decided_by: Decider = Decider.IMPLEMENTATION


class ClassDoc(_Doc, frozen=True, kw_only=True):
    """A conformance class."""

    title: Text
    doc: Text | None = None
    calls: tuple[Text, ...] = ()
    includes: tuple[Text, ...] = ()
    clauses: tuple[Text, ...] = ()


class ClauseDoc(_Doc, frozen=True, kw_only=True):
    """One normative statement."""

    rev: Rev
    level: Level
    binds: Binds
    layer: Layer
    evidence: Sources
    text: Text
    applies_when: Text | None = None
    entry: Text | None = None
    since: Text | None = None


class Selector(_Doc, frozen=True, kw_only=True):
    """Which entries a template stamps: all conditions that are given must hold."""

    carrier: Text | None = None
    returns: bool | None = None
    memory: bool | None = None
    segments: Segments | None = None
    native: bool | None = None
    form: Text | None = None
    register: Identifier | None = None
    not_in: Annotated[
        tuple[Literal["inputs", "results", "clobbers"], ...], Meta(min_length=1)
    ] = msgspec.field(name="not-in", default=("results", "clobbers"))
    exclude: tuple[Text, ...] = ()


class TemplateDoc(_Doc, frozen=True, kw_only=True):
    """A clause that is stamped on every entry its selector matches; ``{entry}`` stands for the name."""

    selector: Selector = msgspec.field(name="for")
    rev: Rev
    level: Level
    binds: Binds
    layer: Layer
    evidence: Sources
    text: Text
    applies_when: Text | None = None
    since: Text | None = None


class AbiDocument(_Doc, frozen=True, kw_only=True):
    """abi.yaml: what all groups share."""

    abi: AbiName
    version: Text
    title: Text
    summary: Text
    sources: Annotated[dict[str, SourceDoc], Meta(min_length=1)]
    registers: Annotated[dict[Identifier, RegisterDoc | Bits], Meta(min_length=1)]
    carriers: Annotated[dict[Slug, CarrierDoc], Meta(min_length=1)]
    groups: tuple[Slug, ...] = ()
    profile: dict[Identifier, ProfileKeyDoc] = {}
    classes: dict[ClassName, ClassDoc] = {}
    templates: dict[Slug, TemplateDoc] = {}


class OperandDoc(_Doc, frozen=True, kw_only=True):
    """An argument or a result. `where`: ``EAX``, ``EDX:EAX`` (high first), ``stack+4``, ``[EAX]``."""

    name: Identifier
    where: Text
    type: Text
    doc: Text | None = None


class EntryDoc(_Doc, frozen=True, kw_only=True):
    """An entry point, or a command that has subcommands.

    `number` is none for one that is reached at a fixed place, whose offset `slot` gives (bytes).
    """

    number: Offset | Literal["none"]
    slot: Offset | None = None
    summary: Text
    carrier: Text | None = None
    evidence: Sources
    prototype: Literal["known", "unknown"] = "known"
    reason: Text | None = None
    inputs: tuple[OperandDoc, ...] = ()
    results: tuple[OperandDoc, ...] = ()
    clobbers: tuple[Identifier, ...] | None = None
    memory: bool = False
    segments: Segments | None = None
    native: Text | None = None
    returns: bool = True
    relocations: tuple[Identifier, ...] = ()
    deferral: Slug | None = None
    withheld: Text | None = None
    usage: Text | None = None
    since: Text | None = None
    doc: Text | None = None
    clauses: dict[Slug, ClauseDoc] = {}
    subcommands: dict[Identifier, EntryDoc] = {}


class ConstantDoc(_Doc, frozen=True, kw_only=True):
    """A named number (or text, such as a signature)."""

    value: int | str
    doc: Text | None = None
    set: Slug | None = None
    evidence: tuple[Text, ...] = ()
    since: Text | None = None


class FieldDoc(_Doc, frozen=True, kw_only=True):
    """A field of a structure. `type` is a number type, a structure, a pointer, or an array: ``u8[4]``."""

    name: Identifier
    offset: Offset
    type: Text
    doc: Text | None = None
    since: Text | None = None


class UpdateDoc(_Doc, frozen=True, kw_only=True):
    """How a shared structure changes while others read it."""

    protocol: UpdateProtocol
    by: Binds
    field: Identifier | None = None
    doc: Text | None = None


class StructureDoc(_Doc, frozen=True, kw_only=True):
    """A structure that both sides see. Sizes, offsets and alignment in bytes."""

    size: Count
    align: Count = 1
    doc: Text | None = None
    evidence: Sources
    fields: Annotated[tuple[FieldDoc, ...], Meta(min_length=1)]
    update: UpdateDoc | None = None
    since: Text | None = None


class EventDoc(_Doc, frozen=True, kw_only=True):
    """Something the implementation delivers to the guest of itself."""

    vector: Offset | Literal["guest-chosen", "none"]
    when: Text
    evidence: Sources
    frame: tuple[Text, ...] = ()
    error_code: bool = False
    doc: Text | None = None
    since: Text | None = None


class MsrDoc(_Doc, frozen=True, kw_only=True):
    """A model-specific register or another numbered register of the ABI; `fields` are ``high:low`` bits."""

    number: Offset
    bits: Bits = 64
    access: Access = Access.READ_WRITE
    reset: Offset | None = None
    doc: Text | None = None
    evidence: Sources
    fields: dict[Identifier, Text] = {}
    since: Text | None = None


class LeafDoc(_Doc, frozen=True, kw_only=True):
    """A discovery leaf: where to ask, with which number, and what is answered where."""

    via: Discovery
    leaf: Offset | None = None
    subleaf: Offset | None = None
    outputs: Annotated[tuple[OperandDoc, ...], Meta(min_length=1)]
    doc: Text | None = None
    evidence: Sources
    since: Text | None = None


class StartDoc(_Doc, frozen=True, kw_only=True):
    """The state in which a CPU starts, or in which it comes back from a call such as Init."""

    when: Text
    registers: Annotated[dict[Identifier, Text], Meta(min_length=1)]
    doc: Text | None = None
    evidence: Sources
    since: Text | None = None


class GroupDocument(_Doc, frozen=True, kw_only=True):
    """One group of entry points and topics."""

    group: Slug
    title: Text
    summary: Text
    doc: Text | None = None
    entries: dict[Identifier, EntryDoc] = {}
    clauses: dict[Slug, dict[Slug, ClauseDoc]] = {}
    constants: dict[Identifier, ConstantDoc | int] = {}
    structures: dict[Identifier, StructureDoc] = {}
    events: dict[Slug, EventDoc] = {}
    msrs: dict[Identifier, MsrDoc] = {}
    leaves: dict[Slug, LeafDoc] = {}
    start: dict[Slug, StartDoc] = {}


class OffersDoc(_Doc, frozen=True, kw_only=True):
    """The offered calls: those of a conformance class, and more, and less."""

    conformance: Text = msgspec.field(name="class")
    also: tuple[Text, ...] = ()
    exclude: tuple[Text, ...] = msgspec.field(name="except", default=())


class ProfileDocument(_Doc, frozen=True, kw_only=True):
    """A profile: what one implementation declares."""

    name: Text
    summary: Text | None = None
    facts: dict[str, bool | int | str] = {}
    offers: tuple[Text, ...] | OffersDoc
