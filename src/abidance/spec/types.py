# SPDX-License-Identifier: BSD-2-Clause
"""A specification past the loader: frozen, typed, every name resolved.

`Specification` holds everything; look things up with `entry`, `clause`, `match`, `conformance`. Sizes and
offsets are in bytes, widths of registers in bits. Parts of the ABI other than calls are in `parts`.
"""

from __future__ import annotations

import fnmatch
from functools import cached_property

from msgspec import Struct

from abidance.errors import UsageError
from abidance.spec.expression import Value
from abidance.spec.kinds import Binds, CarrierKind, Decider, FactType, Layer, Level, RegisterKind, Segments
from abidance.spec.parts import Constant, Event, Evidence, Leaf, Msr, Operand, StartState, Structure
from abidance.spec.predicate import Predicate
from abidance.spec.problems import near

__all__ = [
    "Carrier",
    "Clause",
    "ConformanceClass",
    "EntryPoint",
    "Evidence",
    "Group",
    "ProfileKey",
    "Register",
    "Source",
    "Specification",
]


class Source(Struct, frozen=True):
    """Where facts come from. `tag` stands for it in evidence; a `normative` one can ground a core MUST."""

    tag: str
    title: str
    normative: bool
    doc: str | None


class Register(Struct, frozen=True):
    """A register of the guest's CPU; `bits` is its width."""

    name: str
    bits: int
    kind: RegisterKind
    doc: str | None


class Carrier(Struct, frozen=True):
    """How calls travel. `number_in` and `subcommand_in` name the registers that carry the numbers.

    `forms` are the ways an implementation may answer how an entry is reached; `slot` is the size in bytes
    of a slot of a hypercall page; `vector` that of a software interrupt; `msr` names an `Msr`.
    """

    name: str
    kind: CarrierKind
    doc: str | None
    number_in: str | None
    subcommand_in: str | None
    forms: tuple[str, ...]
    arguments: tuple[str, ...]
    results: tuple[str, ...]
    clobbers: tuple[str, ...]
    slot: int | None
    vector: int | None
    msr: str | None


class ProfileKey(Struct, frozen=True):
    """A fact that a profile states. `permitted_by` pairs each value (or "" for all) with a clause id."""

    name: str
    type: FactType
    doc: str
    values: tuple[int | str, ...]
    default: bool | int | str | None
    permitted_by: tuple[tuple[str, str], ...]
    decided_by: Decider

    def permission(self, value: Value) -> str | None:
        """The id of the clause that permits `value`, or None."""
        table = dict(self.permitted_by)
        word = str(value).lower() if isinstance(value, bool) else str(value)
        return table.get(word, table.get(""))


class Clause(Struct, frozen=True):
    """One normative statement.

    `id` is ``<abi>.<entry or topic>.<slug>``; `rev` grows when the meaning changes; `subject` is the entry
    or topic; `entry` the entry point with which it binds, if any; `stamped` if a template made it.
    """

    id: str
    rev: int
    level: Level
    binds: Binds
    layer: Layer
    evidence: tuple[Evidence, ...]
    applies_when: Predicate | None
    text: str
    group: str
    subject: str
    entry: str | None
    stamped: bool
    since: str | None


class EntryPoint(Struct, frozen=True):
    """One call of the ABI.

    `name` is ``Parent.child`` for a subcommand, `numbers` the numbers from the outermost command inwards
    (empty for an entry that is reached at a fixed place, at offset `slot`). `prototype_unknown` is the reason
    why inputs, results and clobbers are not known, else None. `native` is the instruction that does the
    same on bare hardware. `memory`: it may read or write guest memory. `withheld` says what it means if an
    implementation does not offer it, `usage` how a known guest uses it; neither is normative.
    """

    name: str
    number: int | None
    numbers: tuple[int, ...]
    slot: int | None
    parent: str | None
    subcommands: tuple[str, ...]
    group: str
    summary: str
    doc: str | None
    carrier: str
    prototype_unknown: str | None
    inputs: tuple[Operand, ...]
    results: tuple[Operand, ...]
    clobbers: tuple[str, ...]
    memory: bool
    segments: Segments | None
    native: str | None
    returns: bool
    relocations: tuple[str, ...]
    deferral: str | None
    withheld: str | None
    usage: str | None
    since: str | None
    evidence: tuple[Evidence, ...]
    clauses: tuple[Clause, ...]


class ConformanceClass(Struct, frozen=True):
    """Calls that stand or fall together, and clauses beyond those of its calls."""

    name: str
    title: str
    doc: str | None
    calls: tuple[str, ...]
    includes: tuple[str, ...]
    clauses: tuple[str, ...]


class Group(Struct, frozen=True):
    """A chapter: its entries and topics in the order of the file. `doc`, its introduction, binds nobody."""

    name: str
    title: str
    summary: str
    doc: str | None
    entries: tuple[str, ...]
    topics: tuple[str, ...]


class Specification(Struct, frozen=True, dict=True):
    """One version of one ABI.

    `entries` are in order of number (fixed places last), `clauses` in order of group and file. `digest` is
    the SHA-256 in hex of the content, whatever its comments, layout and order.
    """

    abi: str
    version: str
    title: str
    summary: str
    sources: tuple[Source, ...]
    registers: tuple[Register, ...]
    carriers: tuple[Carrier, ...]
    groups: tuple[Group, ...]
    entries: tuple[EntryPoint, ...]
    clauses: tuple[Clause, ...]
    classes: tuple[ConformanceClass, ...]
    constants: tuple[Constant, ...]
    structures: tuple[Structure, ...]
    events: tuple[Event, ...]
    msrs: tuple[Msr, ...]
    leaves: tuple[Leaf, ...]
    start: tuple[StartState, ...]
    profile_keys: tuple[ProfileKey, ...]
    digest: str

    @cached_property
    def _entries(self) -> dict[str | int | tuple[int, ...], EntryPoint]:
        table: dict[str | int | tuple[int, ...], EntryPoint] = {}
        for entry in self.entries:
            table[entry.name] = entry
            if entry.numbers:
                table[entry.numbers] = entry
            if entry.number is not None and entry.parent is None:
                table[entry.number] = entry
        return table

    @cached_property
    def _clauses(self) -> dict[str, Clause]:
        return {clause.id: clause for clause in self.clauses}

    def entry(self, key: str | int | tuple[int, ...]) -> EntryPoint:
        """The entry point of that name, number, or numbers of command and subcommand.

        Raises: `UsageError` if there is none.
        """
        found = self._entries.get(key)
        if found is None:
            mend = near(key, [entry.name for entry in self.entries]) if isinstance(key, str) else ""
            raise UsageError(f"{self.abi} {self.version} has no entry point {key!r}; {mend}".rstrip("; "))
        return found

    def clause(self, clause_id: str) -> Clause:
        """The clause of that id. Raises: `UsageError` if there is none."""
        found = self._clauses.get(clause_id)
        if found is None:
            mend = near(clause_id, self._clauses, otherwise="see the list of clauses")
            raise UsageError(f"{self.abi} {self.version} has no clause {clause_id!r}; {mend}")
        return found

    def match(self, pattern: str) -> tuple[Clause, ...]:
        """The clauses whose id matches a shell pattern such as ``vmi.Set*``; none is an empty tuple."""
        return tuple(clause for clause in self.clauses if fnmatch.fnmatchcase(clause.id, pattern))

    def conformance(self, name: str) -> ConformanceClass:
        """The class of that name with everything it includes: all its calls, and the ids of all clauses
        of those calls and of the topics it names.

        Raises: `UsageError` if there is none.
        """
        table = {item.name: item for item in self.classes}
        if name not in table:
            raise UsageError(f"{self.abi} has no conformance class {name!r}; {near(name, table)}")
        todo, done = [name], dict[str, ConformanceClass]()
        while todo:
            item = table[todo.pop()]
            if item.name not in done:
                done[item.name] = item
                todo.extend(item.includes)
        calls = {call for item in done.values() for call in item.calls}
        named = {clause for item in done.values() for clause in item.clauses}
        own = table[name]
        return ConformanceClass(
            name=name,
            title=own.title,
            doc=own.doc,
            calls=tuple(entry.name for entry in self.entries if entry.name in calls),
            includes=tuple(sorted(done.keys() - {name})),
            clauses=tuple(item.id for item in self.clauses if item.entry in calls or item.id in named),
        )
