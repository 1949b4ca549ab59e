# SPDX-License-Identifier: BSD-2-Clause
"""The parts of an ABI besides its calls: operands, constants, structures, MSRs, leaves, events, start states.

Offsets and sizes are in bytes, widths and bit numbers in bits, bit 0 lowest.
"""

from __future__ import annotations

from msgspec import Struct

from abidance.spec.kinds import Access, Binds, Discovery, UpdateProtocol

__all__ = [
    "BitField",
    "Constant",
    "Event",
    "Evidence",
    "Field",
    "Leaf",
    "Location",
    "Msr",
    "Operand",
    "StartState",
    "Structure",
    "Update",
]


class Evidence(Struct, frozen=True):
    """One piece of evidence: the tag of a source, and where in it (may be empty)."""

    source: str
    ref: str

    def __str__(self) -> str:
        return f"{self.source} {self.ref}".rstrip()


class Location(Struct, frozen=True):
    """One part of a place: a register, a stack slot (`stack` bytes above the stack pointer at entry), a slot
    of a frame that the caller built (`frame` bytes above its lowest), or the memory that starts `offset`
    bytes after where `base` points."""

    register: str | None = None
    stack: int | None = None
    frame: int | None = None
    base: str | None = None
    offset: int = 0


class Operand(Struct, frozen=True):
    """An argument, a result, or an output of a leaf.

    `where` is the text of the place, `parts` its parts, most significant first; `type` is as written and
    `bits` its width (0 if it has none, as a pointer to nothing known).
    """

    name: str
    where: str
    parts: tuple[Location, ...]
    type: str
    bits: int
    doc: str | None

    @property
    def registers(self) -> tuple[str, ...]:
        """The registers whose value this operand is."""
        return tuple(part.register for part in self.parts if part.register is not None)


class Constant(Struct, frozen=True):
    """A named number or text; constants of one `set` are values of one thing."""

    name: str
    value: int | str
    set: str | None
    doc: str | None
    group: str
    evidence: tuple[Evidence, ...]
    since: str | None


class Field(Struct, frozen=True):
    """A field of a structure: `size` bytes at `offset`, `count` items of `type`."""

    name: str
    offset: int
    size: int
    type: str
    count: int
    doc: str | None
    since: str | None


class Update(Struct, frozen=True):
    """How a shared structure changes under its readers; `field` guides them where the protocol has one."""

    protocol: UpdateProtocol
    by: Binds
    field: str | None
    doc: str | None


class Structure(Struct, frozen=True):
    """A structure in memory that both sides see. Fields are in order of offset and do not overlap."""

    name: str
    size: int
    align: int
    doc: str | None
    group: str
    fields: tuple[Field, ...]
    update: Update | None
    evidence: tuple[Evidence, ...]
    since: str | None


class BitField(Struct, frozen=True):
    """Bits `high` down to `low`, both included."""

    name: str
    high: int
    low: int


class Msr(Struct, frozen=True):
    """A numbered register of the ABI. `reset` is its value at start, if that is fixed."""

    name: str
    number: int
    bits: int
    access: Access
    reset: int | None
    fields: tuple[BitField, ...]
    doc: str | None
    group: str
    evidence: tuple[Evidence, ...]
    since: str | None


class Leaf(Struct, frozen=True):
    """A discovery leaf: ask `via` with `leaf` and `subleaf`, find the `outputs`."""

    name: str
    via: Discovery
    leaf: int | None
    subleaf: int | None
    outputs: tuple[Operand, ...]
    doc: str | None
    group: str
    evidence: tuple[Evidence, ...]
    since: str | None


class Event(Struct, frozen=True):
    """Something that is delivered to the guest. `vector` is a number, "guest-chosen" or "none"; `frame` what
    is pushed, in order."""

    name: str
    vector: int | str
    when: str
    frame: tuple[str, ...]
    error_code: bool
    doc: str | None
    group: str
    evidence: tuple[Evidence, ...]
    since: str | None


class StartState(Struct, frozen=True):
    """The state of a CPU at `when`; `registers` pairs a register with what it holds, in words."""

    name: str
    when: str
    registers: tuple[tuple[str, str], ...]
    doc: str | None
    group: str
    evidence: tuple[Evidence, ...]
    since: str | None
