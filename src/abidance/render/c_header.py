# SPDX-License-Identifier: BSD-2-Clause
"""A specification as one C header for both sides, guest and hypervisor.

It needs a C11 compiler with GNU attributes and no library: `stddef.h` and `stdint.h` are those of every
freestanding compiler. Sizes and offsets are held by static assertions. Addresses in structures are integers
of the guest's width, so that a hypervisor cannot follow them unchecked.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator

from abidance.render.naming import (
    Names,
    about,
    base_type,
    clause_lines,
    identifier,
    members,
    operand_lines,
    plain,
    wrap,
)
from abidance.render.regparm import in_pair, obstacle, offered
from abidance.spec import EntryPoint, Field, Operand, Specification, Structure

__all__ = ["encode"]

_TYPES = {f"{sign}{bits}": f"{'u' if sign == 'u' else ''}int{bits}_t" for sign in "ui"
          for bits in (8, 16, 32, 64)}


def encode(spec: Specification) -> bytes:
    """The header. Raises `UsageError` if two things would have one name in it."""
    return ("\n".join(_Header(spec).lines()) + "\n").encode()


def comment(lines: Iterable[str]) -> list[str]:
    """A comment of these lines."""
    body = [f" * {line}".rstrip() for line in lines]
    return ["/*", *body, " */"]


def number(value: int) -> str:
    """`value` as a C constant of the type that holds it."""
    if value < 0:
        return f"({value})"
    text = str(value) if value < 10 else f"0x{value:X}"
    return f"{text}u" if value < 1 << 32 else f"{text}ull"


def quoted(text: str) -> str:
    """`text` as a C string."""
    return '"' + "".join(char if 32 <= ord(char) < 127 and char not in '"\\' else
                         "".join(f"\\{byte:03o}" for byte in char.encode()) for char in text) + '"'


class _Header:
    def __init__(self, spec: Specification) -> None:
        self.spec, self.names = spec, Names(spec)
        self.abi = spec.abi.upper()
        self.structures = {item.name: self.names.lower(item.name) for item in spec.structures}
        self.word = max((item.bits for item in spec.registers if item.kind.value == "general"), default=32)

    def lines(self) -> Iterator[str]:
        guard = f"{self.abi}_ABI_H"
        yield "/* SPDX-License-Identifier: BSD-2-Clause */"
        yield from comment(about(self.spec, "c"))
        yield from [f"#ifndef {guard}", f"#define {guard}", ""]
        yield from ["#include <stddef.h>", "#include <stdint.h>", ""]
        yield from ["#ifdef __cplusplus", f"#define {self.abi}_STATIC_ASSERT static_assert", "#else",
                    f"#define {self.abi}_STATIC_ASSERT _Static_assert", "#endif", ""]
        yield from self.constants()
        yield from self.numbers()
        yield from self.registers()
        for item in self.spec.structures:
            yield from self.structure(item)
        yield from self.entries()
        yield f"#endif /* {guard} */"

    def define(self, name: str, value: str, doc: str | None) -> str:
        line = f"#define {self.names.upper(name)} {value}"
        return f"{line} /* {plain(doc)} */" if doc else line

    def constants(self) -> Iterator[str]:
        for group in self.spec.groups:
            own = [item for item in self.spec.constants if item.group == group.name]
            if own:
                yield from comment([f"Constants: {plain(group.title)}."])
                for item in own:
                    value = number(item.value) if isinstance(item.value, int) else quoted(item.value)
                    yield self.define(item.name, value, item.doc)
                yield ""

    def numbers(self) -> Iterator[str]:
        """Numbers of calls, offsets of fixed places, and a list of all calls to build tables from."""
        called = [entry for entry in self.spec.entries if entry.number is not None]
        if called:
            yield from comment(["Numbers of the calls."])
            for entry in called:
                assert entry.number is not None
                name = entry.name.replace(".", "_")
                small = entry.number < 1 << 10  # as documents write them; wider ones are made of fields
                yield self.define(f"CALL_{name}", f"{entry.number}u" if small else number(entry.number), None)
            yield ""
            yield from comment([f"Every call: {self.abi}_CALLS(X) is X(number, name) for each."])
            rows = [f"    X({entry.number}, {entry.name})" for entry in called if entry.parent is None]
            yield " \\\n".join([f"#define {self.names.upper('CALLS')}(X)", *rows])
            yield ""
        placed = [entry for entry in self.spec.entries if entry.slot is not None]
        if placed:
            yield from comment(["Offsets of the entry points at fixed places."])
            for entry in placed:
                assert entry.slot is not None
                yield self.define(f"SLOT_{entry.name.replace('.', '_')}", number(entry.slot), None)
            yield ""

    def registers(self) -> Iterator[str]:
        """Registers of the ABI, discovery leaves, and vectors of events."""
        for msr in self.spec.msrs:
            yield self.define(f"MSR_{msr.name}", number(msr.number), msr.doc)
            for field in msr.fields:
                mask = (1 << (field.high + 1)) - (1 << field.low)
                bits = f"bits {field.high}:{field.low}"
                yield self.define(f"MSR_{msr.name}_{field.name}", number(mask), bits)
        for leaf in self.spec.leaves:
            if leaf.leaf is not None:
                yield self.define(f"LEAF_{_macro(leaf.name)}", number(leaf.leaf), leaf.doc)
        for event in self.spec.events:
            if isinstance(event.vector, int):
                yield self.define(f"VECTOR_{_macro(event.name)}", number(event.vector), event.when)

    def structure(self, item: Structure) -> Iterator[str]:
        name = self.structures[item.name]
        text = f"{item.doc or item.name} {item.size} bytes, aligned to {item.align}."
        if item.update:
            text += f" Written by the {item.update.by.value}: {item.update.protocol.value}."
        yield from comment(wrap(text))
        yield f"struct {name} {{"
        for member in members(item):
            kind, array = self.member_type(member.field, member.size)
            doc = plain(member.field.doc or "") if member.field else "no field"
            note = f"{member.offset:#04x}{': ' + doc if doc else ''}"
            yield f"    {kind} {member.name}{array}; /* {note} */"
        yield f"}} __attribute__((packed, aligned({item.align})));"
        yield f'{self.abi}_STATIC_ASSERT(sizeof(struct {name}) == {item.size}, "size of {name}");'
        for member in members(item):
            yield (f"{self.abi}_STATIC_ASSERT(offsetof(struct {name}, {member.name}) == {member.offset},\n"
                   f'    "offset of {name}.{member.name}");')
        yield ""

    def member_type(self, field: Field | None, size: int) -> tuple[str, str]:
        if field is None:
            return "uint8_t", f"[{size}]"
        base, pointer = base_type(field.type)
        array = f"[{field.count}]" if "[" in field.type else ""
        if pointer or base in ("word", "sword"):
            sign = "" if base == "sword" and not pointer else "u"
            return f"{sign}int{self.word}_t", array
        return _TYPES.get(base) or f"struct {self.structures[base]}", array

    def entries(self) -> Iterator[str]:
        typed = offered(self.spec)
        yield from comment(wrap("Entry points. The comment has the register convention and the ids of the "
                                "clauses; the type is there where a C compiler passes the same registers."))
        if typed:
            yield from ["#if defined(__i386__) && defined(__GNUC__)",
                        f"#define {self.names.upper('ENTRY')} __attribute__((regparm(3)))", "#endif", ""]
        for entry in self.spec.entries:
            if not entry.subcommands:
                yield from self.entry(entry, typed)

    def entry(self, entry: EntryPoint, typed: bool) -> Iterator[str]:
        place = f"call {entry.number}" if entry.number is not None else f"offset {entry.slot or 0:#x}"
        against = obstacle(entry) if typed else ""
        note = wrap(f"Not a C function: {against}.") if against and not entry.prototype_unknown else []
        yield from comment([*wrap(f"{entry.name}, {place}: {entry.summary}"), *operand_lines(entry), *note,
                            *clause_lines(entry.clauses)])
        if typed and not against:
            yield f"#ifdef {self.abi}_ENTRY"
            yield self.prototype(entry)
            yield "#endif"
        yield ""

    def prototype(self, entry: EntryPoint) -> str:
        result = self.operand_type(entry.results[0]) if entry.results else "void"
        if in_pair(entry):
            result = "uint64_t"
        arguments = ", ".join(_declaration(self.operand_type(item), identifier(item.name))
                              for item in entry.inputs)
        name = self.names.lower(f"{entry.name.replace('.', '_')}_fn")
        return f"typedef {self.abi}_ENTRY {result} {name}({arguments or 'void'});"

    def operand_type(self, item: Operand) -> str:
        base, pointer = base_type(item.type)
        if base in ("word", "sword"):
            return f"{'' if base == 'sword' else 'u'}int{item.bits}_t"
        known = "void" if base == "void" else _TYPES.get(base) or f"struct {self.structures[base]}"
        return f"{known} *" if pointer else known


def _declaration(kind: str, name: str) -> str:
    return f"{kind}{name}" if kind.endswith("*") else f"{kind} {name}"


def _macro(slug: str) -> str:
    return slug.upper().replace("-", "_")
