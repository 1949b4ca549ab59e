# SPDX-License-Identifier: BSD-2-Clause
"""A tree of YAML nodes as typed structures of `schema`, or a list of what is wrong and where.

The type that a key has in the schema decides how its scalar is read, by the rules of YAML 1.2:

    int    plain ``[-+]?[0-9]+``, ``0x[0-9a-fA-F]+`` or ``0o[0-7]+``, within 64 bits
    bool   plain ``true`` or ``false``, nothing else
    str    whatever is written, quoted or not, without surrounding white space
    enum   one of its words

Every independent mistake in the tree is reported: unknown keys, missing keys, wrong types and
values outside their constraints, each at its own line and column.
"""

from __future__ import annotations

import functools
import re
from collections.abc import Iterable
from typing import Any, Final

import msgspec
from msgspec import inspect

from abidance.errors import Place
from abidance.spec.problems import Path, Problems, near
from abidance.spec.tree import Node

__all__ = ["WRONG", "shape"]


class _Wrong:
    """Stands for a value that could not be read; its problem has been reported."""


WRONG: Final = _Wrong()

_INTEGER = re.compile(r"[-+]?[0-9]+|0x[0-9a-fA-F]+|0o[0-7]+")
_LOWEST, _HIGHEST = -(1 << 63), (1 << 64) - 1
_NO_VALUE = ("", "~", "null")

_SHAPES: Final = {
    r"^[A-Za-z_][A-Za-z0-9_]*$": "a letter, then letters, digits and _",
    r"^[a-z0-9]+(-[a-z0-9]+)*$": "small letters and digits, in words joined by single dashes",
    r"^[a-z0-9]+([.-][a-z0-9]+)*$": "small letters and digits, in words joined by single dashes or dots",
    r"^[a-z][a-z0-9]*$": "a small letter, then small letters and digits",
}


@functools.cache
def _type_info(kind: Any) -> inspect.Type:
    return inspect.type_info(kind)


@functools.cache
def _fields(kind: type[msgspec.Struct]) -> dict[str, inspect.Field]:
    info = _type_info(kind)
    assert isinstance(info, inspect.StructType)
    return {field.encode_name: field for field in info.fields}


def integer(text: str) -> int | None:
    """The number `text` stands for in YAML 1.2, or None if it is not an integer of 64 bits."""
    if len(text) > 66 or not _INTEGER.fullmatch(text):
        return None
    number = int(text, 0) if text[:2] in ("0x", "0o") else int(text)
    return number if _LOWEST <= number <= _HIGHEST else None


def shape(node: Node, kind: Any, problems: Problems, path: Path = ()) -> Any:
    """`node` as a value of type `kind`, or `WRONG` after reporting to `problems`."""
    return _Shaper(problems).value(node, _type_info(kind), path, node.place)


class _Shaper:
    def __init__(self, problems: Problems) -> None:
        self.problems = problems

    def wrong(self, place: Place, path: Path, problem: str, mend: str) -> _Wrong:
        self.problems.add(place, path, problem, mend)
        return WRONG

    def value(self, node: Node, info: inspect.Type, path: Path, place: Place) -> Any:
        """Read `node` as `info`; `place` is that of its key, where it is better known by that."""
        choices = info.types if isinstance(info, inspect.UnionType) else (info,)
        choices = tuple(choice for choice in choices if not isinstance(choice, inspect.NoneType))
        if node.text is not None and node.plain and node.text in _NO_VALUE:
            return self.wrong(place, path, "has no value", "give it one, or leave the key out")
        fitting = [choice for choice in choices if _fits(node, choice)]
        if not fitting:
            wanted = " or ".join(dict.fromkeys(_describe(choice) for choice in choices))
            mend = _HOW.get(type(choices[0]), "write one value")
            return self.wrong(node.place, path, f"expected {wanted}, found {node.kind}", mend)
        if node.members is not None:
            return self.mapping(node, fitting[0], path, place)
        if node.items is not None:
            return self.sequence(node, fitting[0], path, place)
        return self.scalar(node, fitting, path)

    def mapping(self, node: Node, info: inspect.Type, path: Path, place: Place) -> Any:
        if isinstance(info, inspect.StructType):
            return self.struct(node, info.cls, path, place)
        assert isinstance(info, inspect.DictType)
        assert node.members is not None
        result: dict[str, Any] = {}
        bad = False
        for name, member in node.members.items():
            key = node.keys[name]
            bad |= not self.key_allowed(name, info.key_type, (*path, name), key)
            read = self.value(member, info.value_type, (*path, name), key)
            bad |= read is WRONG
            result[name] = read
        if len(result) < (info.min_length or 0):
            return self.wrong(place, path, "is empty", "name at least one")
        return WRONG if bad else result

    def key_allowed(self, name: str, info: inspect.Type, path: Path, place: Place) -> bool:
        pattern = info.pattern if isinstance(info, inspect.StrType) else None
        if pattern is None or re.search(pattern, name):
            return True
        self.wrong(place, path, f"{name!r} cannot be a name here", f"use {_SHAPES.get(pattern, pattern)}")
        return False

    def struct(self, node: Node, kind: type[msgspec.Struct], path: Path, place: Place) -> Any:
        fields = _fields(kind)
        assert node.members is not None
        result: dict[str, Any] = {}
        bad = False
        for name, member in node.members.items():
            field = fields.get(name)
            if field is None:
                comma = "quote the text before it: inside { } a comma ends a value"
                mend = near(name, fields, otherwise=comma if member.text == "" else "")
                self.wrong(node.keys[name], (*path, name), "unknown key", mend)
                bad = True
                continue
            read = self.value(member, field.type, (*path, name), node.keys[name])
            bad |= read is WRONG
            result[field.name] = read
        for name, field in fields.items():
            if field.required and name not in node.members:
                self.wrong(place, path, f"key {name!r} is missing", "add it")
                bad = True
        return WRONG if bad else kind(**result)

    def sequence(self, node: Node, info: inspect.Type, path: Path, place: Place) -> Any:
        assert isinstance(info, inspect.VarTupleType)
        assert node.items is not None
        if len(node.items) < (info.min_length or 0):
            return self.wrong(place, path, "is empty", "name at least one")
        read = [
            self.value(item, info.item_type, (*path, index), item.place)
            for index, item in enumerate(node.items)
        ]
        return WRONG if WRONG in read else tuple(read)

    def scalar(self, node: Node, choices: list[inspect.Type], path: Path) -> Any:
        assert node.text is not None
        text = node.text.strip()
        number = integer(text) if node.plain else None
        for choice in choices:
            if isinstance(choice, inspect.IntType) and number is not None:
                return self.bounded(node, number, choice, path)
            if isinstance(choice, inspect.BoolType) and node.plain and text in ("true", "false"):
                return text == "true"
            if isinstance(choice, inspect.EnumType) and text in _words(choice):
                return choice.cls(text)
            if isinstance(choice, inspect.LiteralType) and text in choice.values:
                return text
        for choice in choices:
            if isinstance(choice, inspect.StrType):
                return self.text(node, text, choice, path)
        return self.unreadable(node, text, choices, path)

    def unreadable(self, node: Node, text: str, choices: list[inspect.Type], path: Path) -> Any:
        wanted = " or ".join(dict.fromkeys(_describe(choice) for choice in choices))
        words = [word for choice in choices for word in _words(choice)]
        mend = near(text, words) if words else "write one value"
        numeric = any(isinstance(choice, inspect.IntType) for choice in choices)
        if numeric and node.quoted and integer(text) is not None:
            mend = "remove the quotes"
        elif any(isinstance(choice, inspect.BoolType) for choice in choices):
            mend = "write true or false, without quotes"
        elif numeric and _INTEGER.fullmatch(text):
            mend = "numbers have at most 64 bits"
        elif numeric and not words:
            mend = "write a decimal or 0x number"
        return self.wrong(node.place, path, f"expected {wanted}, found {_shown(text)}", mend)

    def bounded(self, node: Node, number: int, info: inspect.IntType, path: Path) -> Any:
        if info.ge is not None and number < info.ge:
            return self.wrong(node.place, path, f"{number} is too small", f"the least is {info.ge}")
        if info.le is not None and number > info.le:
            return self.wrong(node.place, path, f"{number} is too large", f"the most is {info.le}")
        return number

    def text(self, node: Node, text: str, info: inspect.StrType, path: Path) -> Any:
        if len(text) < (info.min_length or 0):
            return self.wrong(node.place, path, "is empty", "give it a value, or leave the key out")
        if info.pattern is not None and not re.search(info.pattern, text):
            wanted = _SHAPES.get(info.pattern, info.pattern)
            return self.wrong(node.place, path, f"{_shown(text)} is not a name", f"use {wanted}")
        return text


def _shown(text: str) -> str:
    return repr(text if len(text) <= 40 else text[:39] + "…")


def _words(info: inspect.Type) -> list[str]:
    if isinstance(info, inspect.EnumType):
        return [str(member.value) for member in info.cls]
    if isinstance(info, inspect.LiteralType):
        return [str(value) for value in info.values]
    return []


def _fits(node: Node, info: inspect.Type) -> bool:
    if node.members is not None:
        return isinstance(info, (inspect.StructType, inspect.DictType))
    if node.items is not None:
        return isinstance(info, inspect.VarTupleType)
    return isinstance(
        info,
        (inspect.IntType, inspect.BoolType, inspect.StrType, inspect.EnumType, inspect.LiteralType),
    )


_HOW: Final[dict[type[inspect.Type], str]] = {
    inspect.StructType: "write key: value lines, or {key: value}",
    inspect.DictType: "write name: lines, or {name: ...}",
    inspect.VarTupleType: "write [one, two], or - lines",
}

_NAMES: Final[dict[type[inspect.Type], str]] = {
    inspect.IntType: "an integer",
    inspect.BoolType: "true or false",
    inspect.StrType: "text",
    inspect.StructType: "a mapping",
    inspect.DictType: "a mapping",
    inspect.VarTupleType: "a list",
}


def _describe(info: inspect.Type) -> str:
    words: Iterable[str] = _words(info)
    return _NAMES.get(type(info)) or " | ".join(words)
