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
from collections.abc import Collection
from typing import NoReturn

from msgspec import Struct

from abidance.errors import Place, SpecError
from abidance.spec.expression import (
    ORDER,
    And,
    Compare,
    Fact,
    Facts,
    Literal,
    Member,
    Not,
    Offers,
    Operand,
    Or,
    Value,
    evaluate,
    render,
    truth,
    walk,
)

__all__ = ["Predicate", "Token", "tokens"]

MAX_LENGTH = 1000
MAX_DEPTH = 20

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
        if op := self.take(*ORDER):
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
        return self.no_operand(token)

    def no_operand(self, token: Token) -> NoReturn:
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
        return frozenset(item.name for item in walk(self.tree) if isinstance(item, Fact))

    @property
    def entries(self) -> frozenset[str]:
        """The entry points it asks about."""
        return frozenset(item.entry for item in walk(self.tree) if isinstance(item, Offers))

    def evaluate(self, facts: Facts, offers: Collection[str] = frozenset()) -> bool:
        """Whether it holds for these facts and offered entry points.

        Raises: `UsageError` if a name has no value, or values of different types are compared.
        """
        return truth(evaluate(self.tree, facts, offers), self.tree)

    def __str__(self) -> str:
        return render(self.tree)
