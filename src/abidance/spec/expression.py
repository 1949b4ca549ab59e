# SPDX-License-Identifier: BSD-2-Clause
"""The tree of a predicate: its nodes, what they evaluate to, and how they are written.

Values are of three types, bool, int and str, which are never mixed: comparing two types is an error.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterator, Mapping
from typing import Any, Final, TypeAlias, Union

from msgspec import Struct

from abidance.errors import UsageError
from abidance.spec.problems import near

__all__ = [
    "ORDER",
    "And",
    "Compare",
    "Fact",
    "Facts",
    "Literal",
    "Member",
    "Not",
    "Offers",
    "Operand",
    "Or",
    "Value",
    "evaluate",
    "render",
    "truth",
    "walk",
]

Value: TypeAlias = bool | int | str
Facts: TypeAlias = Mapping[str, Value]


class Fact(Struct, frozen=True, tag=True):
    """The value of a profile key."""

    name: str


class Literal(Struct, frozen=True, tag=True):
    """A literal."""

    value: bool | int | str


class Offers(Struct, frozen=True, tag=True):
    """Whether the profile offers an entry point."""

    entry: str


class Compare(Struct, frozen=True, tag=True):
    """``left op right``; operands of different types are an error, not unequal."""

    op: str
    left: Operand
    right: Operand


class Member(Struct, frozen=True, tag=True):
    """``item in (values)``."""

    item: Operand
    values: tuple[bool | int | str, ...]


class Not(Struct, frozen=True, tag=True):
    """Whether `item` is false."""

    item: Operand


class And(Struct, frozen=True, tag=True):
    """Whether all `items` are true."""

    items: tuple[Operand, ...]


class Or(Struct, frozen=True, tag=True):
    """Whether any of `items` is true."""

    items: tuple[Operand, ...]


Operand = Union[Fact, Literal, Offers, Compare, Member, Not, And, Or]  # noqa: UP007  (recursive)

ORDER: Final[dict[str, Callable[[Any, Any], bool]]] = {
    "==": lambda left, right: left == right,
    "!=": lambda left, right: left != right,
    "<": lambda left, right: left < right,
    "<=": lambda left, right: left <= right,
    ">": lambda left, right: left > right,
    ">=": lambda left, right: left >= right,
}


def walk(item: Operand) -> Iterator[Operand]:
    """`item` and everything in it."""
    yield item
    if isinstance(item, Compare):
        yield from walk(item.left)
        yield from walk(item.right)
    elif isinstance(item, (Member, Not)):
        yield from walk(item.item)
    elif isinstance(item, (And, Or)):
        for inner in item.items:
            yield from walk(inner)


def truth(value: Value, item: Operand) -> bool:
    """`value`, to which `item` evaluates, as a truth. Raises: `UsageError` if it is a number or text."""
    if not isinstance(value, bool):
        raise UsageError(f"{render(item)} is not true or false; compare it with a value")
    return value


def _compare(op: str, left: Value, right: Value) -> bool:
    if type(left) is not type(right):
        raise UsageError(f"{left!r} and {right!r} cannot be compared: their types differ")
    if op not in ("==", "!=") and not (type(left) is int and type(right) is int):
        raise UsageError(f"{left!r} {op} {right!r}: only integers have an order")
    return ORDER[op](left, right)


def evaluate(item: Operand, facts: Facts, offers: Collection[str]) -> Value:
    """The value of `item`. Raises: `UsageError` for a name without a value and for values of mixed type."""
    if isinstance(item, Literal):
        return item.value
    if isinstance(item, Fact):
        if item.name not in facts:
            raise UsageError(f"no profile key {item.name!r}; {near(item.name, facts)}")
        return facts[item.name]
    if isinstance(item, Offers):
        return item.entry in offers
    if isinstance(item, Compare):
        return _compare(item.op, evaluate(item.left, facts, offers), evaluate(item.right, facts, offers))
    if isinstance(item, Member):
        value = evaluate(item.item, facts, offers)
        equal = [_compare("==", value, other) for other in item.values]  # all, so that types are checked
        return any(equal)
    if isinstance(item, Not):
        return not truth(evaluate(item.item, facts, offers), item.item)
    truths = [truth(evaluate(inner, facts, offers), inner) for inner in item.items]
    return all(truths) if isinstance(item, And) else any(truths)


def _literal(value: Value) -> str:
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, int):
        return str(value)
    return f'"{value}"' if "'" in value else f"'{value}'"


def render(item: Operand, outer: int = 0) -> str:
    """`item` as text, with few parentheses.

    `outer` is how tightly its surroundings bind: 0 or, 1 and, 2 not, 3 comparison, 4 operand.
    """
    if isinstance(item, Literal):
        return _literal(item.value)
    if isinstance(item, Fact):
        return item.name
    if isinstance(item, Offers):
        return f"offers({_literal(item.entry)})"
    if isinstance(item, Or):
        text, level = " or ".join(render(inner, 1) for inner in item.items), 0
    elif isinstance(item, And):
        text, level = " and ".join(render(inner, 2) for inner in item.items), 1
    elif isinstance(item, Not):
        text, level = f"not {render(item.item, 2)}", 2
    elif isinstance(item, Member):
        values = ", ".join(_literal(value) for value in item.values)
        text, level = f"{render(item.item, 4)} in ({values})", 3
    else:
        text, level = f"{render(item.left, 4)} {item.op} {render(item.right, 4)}", 3
    return f"({text})" if level < outer else text
