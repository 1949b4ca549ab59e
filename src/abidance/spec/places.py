# SPDX-License-Identifier: BSD-2-Clause
"""Where an operand stands and how wide it is.

    place = part {":" part}                 most significant part first: EDX:EAX
    part  = register                        EAX
          | "stack+" number                 so many bytes above the stack pointer at entry
          | "frame+" number                 so many bytes above the lowest of a frame that the caller built
          | "[" register ["+" number] "]"   the memory that the register points to

    type  = base {"*"} ["[" count "]"]
    base  = u8 u16 u32 u64 i8 i16 i32 i64 | word | sword | void | the name of a structure

``word`` and ``sword`` are as wide as the place they stand in.
"""

from __future__ import annotations

import re

from abidance.spec.parts import Location, Operand
from abidance.spec.problems import Path, near
from abidance.spec.schema import OperandDoc
from abidance.spec.scope import File, Scope

__all__ = ["TypeText", "operand", "parse_type", "part_names"]

_NUMBER = r"0x[0-9a-fA-F]{1,8}|[0-9]{1,9}"
_PART = re.compile(
    rf"(?P<register>[A-Za-z_][A-Za-z0-9_]*)"
    rf"|stack\+(?P<stack>{_NUMBER})"
    rf"|frame\+(?P<frame>{_NUMBER})"
    rf"|\[(?P<base>[A-Za-z_][A-Za-z0-9_]*)(?:\+(?P<offset>{_NUMBER}))?\]"
)
_TYPE = re.compile(rf"(?P<base>[A-Za-z_][A-Za-z0-9_]*)(?P<stars>\*{{0,4}})(?:\[(?P<count>{_NUMBER})\])?")
_WIDTHS = {f"{sign}{bits}": bits for sign in "ui" for bits in (8, 16, 32, 64)}
_WORDS = ("word", "sword")


class TypeText:
    """A type as written: `base`, whether it is a `pointer`, and `count` items of it."""

    def __init__(self, base: str, pointer: bool, count: int) -> None:
        self.base, self.pointer, self.count = base, pointer, count

    def bits(self, scope: Scope) -> int:
        """Width of one item in bits; 0 for ``word``, ``sword``, which take that of their place."""
        if self.pointer:
            return scope.word
        if self.base in scope.structures:
            return 8 * scope.structures[self.base]
        return _WIDTHS.get(self.base, 0)


def parse_type(text: str, scope: Scope, file: File, path: Path) -> TypeText | None:
    """The type that `text` names, or None after reporting why it names none."""
    match = _TYPE.fullmatch(text.replace(" ", ""))
    if match is None:
        file.report(path, f"{text!r} is not a type", "write such as u32, u8[4] or Name*")
        return None
    base, pointer = match["base"], bool(match["stars"])
    names = [*_WIDTHS, *_WORDS, "void", *scope.structures]
    if base not in names:
        file.report(path, f"unknown type {base!r}", near(base, names))
        return None
    if base == "void" and not pointer:
        file.report(path, "void is no type of a value", "write void* for a pointer to anything")
        return None
    count = int(match["count"], 0) if match["count"] else 1
    if not 1 <= count <= 1 << 24:
        file.report(path, f"an array of {count}", "an array has at least one item and at most 16777216")
        return None
    return TypeText(base, pointer, count)


def _parts(text: str, scope: Scope, file: File, path: Path) -> tuple[Location, ...] | None:
    found: list[Location] = []
    for piece in text.split(":"):
        match = _PART.fullmatch(piece.strip())
        if match is None:
            mend = "write a register, high:low, stack+4, frame+0 or [register]"
            file.report(path, f"{text!r} is not a place", mend)
            return None
        name = match["register"] or match["base"]
        if name and not file.known(name, scope.registers, "register", path):
            return None
        found.append(
            Location(
                register=match["register"],
                stack=int(match["stack"], 0) if match["stack"] else None,
                frame=int(match["frame"], 0) if match["frame"] else None,
                base=match["base"],
                offset=int(match["offset"], 0) if match["offset"] else 0,
            )
        )
    return tuple(found)


def operand(doc: OperandDoc, scope: Scope, file: File, path: Path) -> Operand | None:
    """The operand `doc` describes, or None after reporting what is wrong with it."""
    parts = _parts(doc.where, scope, file, (*path, "where"))
    kind = parse_type(doc.type, scope, file, (*path, "type"))
    if parts is None or kind is None:
        return None
    names = [part.register for part in parts if part.register]
    in_memory = any(part.base for part in parts)
    room = sum(scope.registers[name].bits if name else scope.word for name in
               (part.register for part in parts))
    bits = (kind.bits(scope) or room) * kind.count
    if not in_memory and bits > room:
        mend = "name a place for the high part as well: high:low" if len(parts) == 1 else "name more parts"
        file.report((*path, "where"), f"{doc.type} has {bits} bits, {doc.where} only {room}", mend)
        return None
    if len(set(names)) < len(names):
        file.report((*path, "where"), f"a register twice in {doc.where!r}", "name each part once")
        return None
    return Operand(doc.name, doc.where, parts, doc.type, bits, doc.doc)


def part_names(text: str) -> tuple[str, ...]:
    """The registers that a place names, whether they exist or not; the text itself if it is no place."""
    names: list[str] = []
    for piece in text.split(":"):
        match = _PART.fullmatch(piece.strip())
        if match is None:
            return (text,)
        if match["register"] or match["base"]:
            names.append(match["register"] or match["base"])
    return tuple(names)
