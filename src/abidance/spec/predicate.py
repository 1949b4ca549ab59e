# SPDX-License-Identifier: BSD-2-Clause
"""Predicates over a profile: when a clause applies.

    predicate  = conjunction {"or" conjunction}
    conjunction = negation {"and" negation}
    negation   = "not" negation | comparison
    comparison = operand [("==" | "!=" | "<" | "<=" | ">" | ">=") operand]
               | operand ["not"] "in" "(" literal {"," literal} ")"
    operand    = name | literal | "offers" "(" string ")" | "(" predicate ")"
    literal    = integer | 0x integer | 'text' | "text" | "true" | "false"

A name is a profile key. There is no Python in a predicate: it is parsed by this grammar and
evaluated on the tree, so that text from a file can do nothing but compare.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Collection, Iterator, Mapping
from typing import Any, Final, NoReturn, TypeAlias, Union

from msgspec import Struct

from abidance.errors import Place, SpecError, UsageError
from abidance.spec.problems import near

__all__ = [
    "And",
    "Compare",
    "Literal",
    "Fact",
    "Member",
    "Not",
    "Offers",
    "Or",
    "Predicate",
    "Value",
    "tokens",
]

Value: TypeAlias = bool | int | str
Facts: TypeAlias = Mapping[str, Value]

MAX_LENGTH = 1000
MAX_DEPTH = 20


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
    item: Operand


class And(Struct, frozen=True, tag=True):
    items: tuple[Operand, ...]


class Or(Struct, frozen=True, tag=True):
    items: tuple[Operand, ...]


Operand = Union[Fact, Literal, Offers, Compare, Member, Not, And, Or]  # noqa: UP007  (recursive)

_ORDER: Final[dict[str, Callable[[Any, Any], bool]]] = {
    "==": lambda left, right: left == right,
    "!=": lambda left, right: left != right,
    "<": lambda left, right: left < right,
    "<=": lambda left, right: left <= right,
    ">": lambda left, right: left > right,
    ">=": lambda left, right: left >= right,
}

_TOKEN = re.compile(
    r"\s*(?:(?P<number>0x[0-9a-fA-F]+|-?[0-9]+)(?![A-Za-z0-9_])"
    r"|(?P<word>[A-Za-z_][A-Za-z0-9_]*)"
    r"|(?P<string>'[^'\n]*'|\"[^\"\n]*\")"
    r"|(?P<op>==|!=|<=|>=|<|>|\(|\)|,)"
    r"|(?P<end>$))"
)
_WORDS = frozenset({"and", "or", "not", "in", "true", "false", "offers"})


class Token(Struct, frozen=True):
    """`kind` is number, word, string, op or end; `column` counts from 0 in the text."""

    kind: str
    text: str
    column: int


def tokens(text: str, place: Place) -> tuple[Token, ...]:
    """The tokens of `text`. Raises `SpecError` at a character that begins none."""
    found: list[Token] = []
    at = 0
    while True:
        match = _TOKEN.match(text, at)
        if match is None or match.lastgroup is None:
            rest = text[at:].lstrip()
            column = len(text) - len(rest)
            here = _shift(place, column)
            raise SpecError(here, "", f"unexpected {rest[:10]!r} in a predicate", mend="see the grammar")
        kind = match.lastgroup
        found.append(Token(kind, match.group(kind), match.start(kind)))
        if kind == "end":
            return tuple(found)
        at = match.end()


def _shift(place: Place, column: int) -> Place:
    return Place(place.file, place.line, place.column + column)


class _Parser:
    def __init__(self, text: str, place: Place) -> None:
        self.place = place
        self.tokens = tokens(text, place)
        self.at = 0
        self.depth = 0

    @property
    def now(self) -> Token:
        return self.tokens[self.at]

    def fail(self, problem: str, mend: str) -> NoReturn:
        raise SpecError(_shift(self.place, self.now.column), "", problem, mend=mend)

    def take(self, *texts: str) -> str | None:
        """The next token's text if it is one of `texts` and not a string."""
        if self.now.kind in ("op", "word") and self.now.text in texts:
            self.at += 1
            return self.tokens[self.at - 1].text
        return None

    def need(self, text: str) -> None:
        if not self.take(text):
            found = repr(self.now.text) if self.now.text else "the end"
            self.fail(f"expected {text!r} in a predicate, found {found}", f"write {text!r} here")

    def whole(self) -> Operand:
        result = self.disjunction()
        if self.now.kind != "end":
            self.fail(f"unexpected {self.now.text!r} in a predicate", "join with 'and' or 'or'")
        return result

    def deeper(self) -> None:
        self.depth += 1
        if self.depth > MAX_DEPTH:
            self.fail(f"a predicate nested deeper than {MAX_DEPTH}", "make it simpler")

    def disjunction(self) -> Operand:
        items = [self.conjunction()]
        while self.take("or"):
            items.append(self.conjunction())
        return items[0] if len(items) == 1 else Or(tuple(items))

    def conjunction(self) -> Operand:
        items = [self.negation()]
        while self.take("and"):
            items.append(self.negation())
        return items[0] if len(items) == 1 else And(tuple(items))

    def negation(self) -> Operand:
        if self.take("not"):
            self.deeper()
            item = self.negation()
            self.depth -= 1
            return Not(item)
        return self.comparison()

    def comparison(self) -> Operand:
        left = self.operand()
        if op := self.take(*_ORDER):
            return Compare(op, left, self.operand())
        if self.take("in"):
            return Member(left, self.values())
        if self.now.text == "not" and self.tokens[self.at + 1].text == "in":
            self.at += 2
            return Not(Member(left, self.values()))
        return left

    def values(self) -> tuple[Value, ...]:
        self.need("(")
        values = [self.literal()]
        while self.take(","):
            values.append(self.literal())
        self.need(")")
        return tuple(values)

    def literal(self) -> Value:
        item = self.operand()
        if not isinstance(item, Literal):
            self.at -= 1
            self.fail("only literals may stand in a list of values", "quote text: 'shadow'")
        return item.value

    def operand(self) -> Operand:
        token = self.now
        self.at += 1
        if token.kind == "number":
            return Literal(int(token.text, 16 if token.text.startswith("0x") else 10))
        if token.kind == "string":
            return Literal(token.text[1:-1])
        if token.kind == "word" and token.text in ("true", "false"):
            return Literal(token.text == "true")
        if token.kind == "word" and token.text == "offers":
            return self.offers()
        if token.kind == "word" and token.text not in _WORDS:
            return Fact(token.text)
        if token.text == "(":
            self.deeper()
            inner = self.disjunction()
            self.need(")")
            self.depth -= 1
            return inner
        self.at -= 1
        found = repr(token.text) if token.text else "the end"
        self.fail(f"expected a profile key or a literal, found {found}", "complete the predicate")

    def offers(self) -> Operand:
        self.need("(")
        token = self.now
        if token.kind != "string":
            self.fail("offers takes the name of an entry point in quotes", "write offers('Name')")
        self.at += 1
        self.need(")")
        return Offers(token.text[1:-1])


class Predicate(Struct, frozen=True):
    """A parsed predicate. Equal predicates print alike, and ``parse(str(p)) == p``."""

    tree: Operand

    @classmethod
    def parse(cls, text: str, place: Place | None = None) -> Predicate:
        """The predicate that `text` says; `place` is where the text begins.

        Raises: `SpecError` with the column of the first thing that the grammar does not allow.
        """
        place = place or Place("predicate", 1, 1)
        if len(text) > MAX_LENGTH:
            raise SpecError(place, "", f"a predicate longer than {MAX_LENGTH} characters", mend="shorten it")
        return cls(_Parser(text, place).whole())

    @property
    def names(self) -> frozenset[str]:
        """The profile keys it uses."""
        return frozenset(item.name for item in _walk(self.tree) if isinstance(item, Fact))

    @property
    def entries(self) -> frozenset[str]:
        """The entry points it asks about."""
        return frozenset(item.entry for item in _walk(self.tree) if isinstance(item, Offers))

    def evaluate(self, facts: Facts, offers: Collection[str] = frozenset()) -> bool:
        """Whether it holds for these facts and offered entry points.

        Raises: `UsageError` if a name has no value, or values of different types are compared.
        """
        return _truth(_evaluate(self.tree, facts, offers), self.tree)

    def __str__(self) -> str:
        return _print(self.tree, 0)


def _walk(item: Operand) -> Iterator[Operand]:
    yield item
    if isinstance(item, Compare):
        yield from _walk(item.left)
        yield from _walk(item.right)
    elif isinstance(item, (Member, Not)):
        yield from _walk(item.item)
    elif isinstance(item, (And, Or)):
        for inner in item.items:
            yield from _walk(inner)


def _truth(value: Value, item: Operand) -> bool:
    if not isinstance(value, bool):
        raise UsageError(f"{_print(item, 0)} is not true or false; compare it with a value")
    return value


def _compare(op: str, left: Value, right: Value) -> bool:
    if type(left) is not type(right):
        raise UsageError(f"{left!r} and {right!r} cannot be compared: their types differ")
    if op not in ("==", "!=") and not (type(left) is int and type(right) is int):
        raise UsageError(f"{left!r} {op} {right!r}: only integers have an order")
    return _ORDER[op](left, right)


def _evaluate(item: Operand, facts: Facts, offers: Collection[str]) -> Value:
    if isinstance(item, Literal):
        return item.value
    if isinstance(item, Fact):
        if item.name not in facts:
            raise UsageError(f"no profile key {item.name!r}; {near(item.name, facts)}")
        return facts[item.name]
    if isinstance(item, Offers):
        return item.entry in offers
    if isinstance(item, Compare):
        return _compare(item.op, _evaluate(item.left, facts, offers), _evaluate(item.right, facts, offers))
    if isinstance(item, Member):
        value = _evaluate(item.item, facts, offers)
        return any([_compare("==", value, other) for other in item.values])
    if isinstance(item, Not):
        return not _truth(_evaluate(item.item, facts, offers), item.item)
    truths = [_truth(_evaluate(inner, facts, offers), inner) for inner in item.items]
    return all(truths) if isinstance(item, And) else any(truths)


def _literal(value: Value) -> str:
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, int):
        return str(value)
    return f'"{value}"' if "'" in value else f"'{value}'"


def _print(item: Operand, outer: int) -> str:
    """`item` as text; `outer` is how tightly its surroundings bind: 0 or, 1 and, 2 not, 3 comparison."""
    if isinstance(item, Literal):
        return _literal(item.value)
    if isinstance(item, Fact):
        return item.name
    if isinstance(item, Offers):
        return f"offers({_literal(item.entry)})"
    if isinstance(item, Or):
        text, level = " or ".join(_print(inner, 1) for inner in item.items), 0
    elif isinstance(item, And):
        text, level = " and ".join(_print(inner, 2) for inner in item.items), 1
    elif isinstance(item, Not):
        text, level = f"not {_print(item.item, 2)}", 2
    elif isinstance(item, Member):
        values = ", ".join(_literal(value) for value in item.values)
        text, level = f"{_print(item.item, 4)} in ({values})", 3
    else:
        text, level = f"{_print(item.left, 4)} {item.op} {_print(item.right, 4)}", 3
    return f"({text})" if level < outer else text
