# SPDX-License-Identifier: BSD-2-Clause
"""A specification as one Rust file without the standard library: the root of a crate.

It needs Rust 1.77 (`offset_of!`). Sizes and offsets are held by constant assertions. Addresses in structures
are integers of the guest's width. Rust has no name for the guests' calling conventions, so that entry
points are described in comments and have no types.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator

from abidance.render.naming import Names, about, base_type, clause_lines, members, operand_lines, plain, wrap
from abidance.spec import EntryPoint, Field, Specification, Structure

__all__ = ["encode"]

_TYPES = {f"{sign}{bits}": f"{sign}{bits}" for sign in "ui" for bits in (8, 16, 32, 64)}


def encode(spec: Specification) -> bytes:
    """The file. Raises `UsageError` if two things would have one name in it."""
    return ("\n".join(_Crate(spec).lines()) + "\n").encode()


def documented(mark: str, lines: Iterable[str]) -> list[str]:
    """Lines of a documentation comment; a blank indent would be code to rustdoc, and brackets links."""
    return [f"{mark} {_markdown(line)}".rstrip() for line in lines]


def _markdown(line: str) -> str:
    for char in "[]<>":
        line = line.replace(char, f"\\{char}")
    return line


class _Crate:
    def __init__(self, spec: Specification) -> None:
        self.spec, self.names = spec, Names(spec)
        self.structures = {item.name: self.names.lower(item.name) for item in spec.structures}
        self.word = max((item.bits for item in spec.registers if item.kind.value == "general"), default=32)
        self.aligned = {item.name: _natural(item, spec) for item in spec.structures}

    def lines(self) -> Iterator[str]:
        yield "// SPDX-License-Identifier: BSD-2-Clause"
        yield from documented("//!", about(self.spec, "rust"))
        yield from ["", "#![no_std]", "#![allow(non_upper_case_globals, non_camel_case_types)]", ""]
        for constant in self.spec.constants:
            yield from documented("///", wrap(constant.doc or constant.name))
            yield self.constant(constant.name, constant.value)
        for msr in self.spec.msrs:
            yield self.constant(f"MSR_{msr.name}", msr.number)
            for field in msr.fields:
                mask = (1 << (field.high + 1)) - (1 << field.low)
                yield self.constant(f"MSR_{msr.name}_{field.name}", mask)
        for leaf in self.spec.leaves:
            if leaf.leaf is not None:
                yield self.constant(f"LEAF_{leaf.name.upper().replace('-', '_')}", leaf.leaf)
        yield ""
        yield from self.module("call", "Numbers of the calls.", [entry for entry in self.spec.entries
                                                                if entry.number is not None])
        yield from self.module("slot", "Offsets of the entry points at fixed places.",
                               [entry for entry in self.spec.entries if entry.slot is not None])
        for item in self.spec.structures:
            yield from self.structure(item)

    def constant(self, name: str, value: int | str) -> str:
        name = self.names.upper(name)
        if isinstance(value, str):
            return f'pub const {name}: &str = "{value.encode("unicode_escape").decode()}";'
        return f"pub const {name}: {_holder(value)} = {_number(value)};"

    def module(self, name: str, doc: str, entries: list[EntryPoint]) -> Iterator[str]:
        """A module of constants, one for each entry."""
        if not entries:
            return
        yield from [f"/// {doc}", f"pub mod {name} {{"]
        for entry in entries:
            value = entry.number if name == "call" else entry.slot
            assert value is not None
            block = [line.replace("```", "'''") for line in operand_lines(entry)]
            lines = [*map(_markdown, wrap(entry.summary)), "", "```text", *block,
                     *clause_lines(entry.clauses), "```"]
            yield from (f"    /// {line}".rstrip() for line in lines)
            identifier = entry.name.replace(".", "_")
            text = str(value) if name == "call" and value < 1 << 10 else _number(value)
            yield f"    pub const {identifier}: {_holder(value)} = {text};"
        yield from ["}", ""]

    def structure(self, item: Structure) -> Iterator[str]:
        name = self.structures[item.name]
        text = f"{item.doc or item.name} {item.size} bytes, aligned to {item.align}."
        yield from documented("///", wrap(text))
        yield "#[derive(Clone, Copy)]"
        kind = "align" if self.aligned[item.name] else "packed"
        yield f"#[repr(C, {kind}({item.align}))]"
        yield f"pub struct {name} {{"
        for member in members(item):
            doc = f": {plain(member.field.doc)}" if member.field and member.field.doc else ""
            yield from (f"    {line}" for line in documented("///", [f"{member.offset:#04x}{doc}"]))
            yield f"    pub {member.name}: {self.member_type(member.field, member.size)},"
        yield "}"
        yield f"const _: () = assert!(core::mem::size_of::<{name}>() == {item.size});"
        for member in members(item):
            yield (f"const _: () = assert!(core::mem::offset_of!({name}, {member.name})"
                   f" == {member.offset});")
        yield ""

    def member_type(self, field: Field | None, size: int) -> str:
        if field is None:
            return f"[u8; {size}]"
        base, pointer = base_type(field.type)
        if pointer or base in ("word", "sword"):
            kind = f"{'i' if base == 'sword' and not pointer else 'u'}{self.word}"
        else:
            kind = _TYPES.get(base) or self.structures[base]
        return f"[{kind}; {field.count}]" if "[" in field.type else kind


def _natural(item: Structure, spec: Specification) -> bool:
    """Whether fields of their natural alignment stand where they have to."""
    aligns = {other.name: other.align for other in spec.structures}
    for field in item.fields:
        natural = aligns.get(base_type(field.type)[0], field.size // field.count)
        if field.offset % natural or natural > item.align:
            return False
    return item.size % item.align == 0


def _holder(value: int) -> str:
    if value < 0:
        return "i32" if value >= -(1 << 31) else "i64"
    return "u32" if value < 1 << 32 else "u64"


def _number(value: int) -> str:
    return str(value) if value < 10 else f"0x{value:X}"
