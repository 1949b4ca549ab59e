# SPDX-License-Identifier: BSD-2-Clause
"""Checking a predicate against a specification: its names exist, and it compares like with like."""

from __future__ import annotations

from abidance.errors import Place
from abidance.spec.expression import And, Compare, Fact, Literal, Member, Not, Offers, Operand, Or
from abidance.spec.kinds import FactType
from abidance.spec.predicate import Predicate, tokens
from abidance.spec.problems import Path, near
from abidance.spec.scope import File, Scope

__all__ = ["check_predicate"]


def check_predicate(
    predicate: Predicate, text: str, begin: Place, scope: Scope, file: File, path: Path
) -> None:
    """Report unknown profile keys and entry points, values a key cannot have, and mixed types.

    `text` is what `predicate` was parsed from and `begin` where it stands, so that reports have columns.
    """
    _Checker(text, begin, scope, file, path).truth(predicate.tree)


class _Checker:
    """Names and types of a predicate, against the profile keys and entries of the specification."""

    def __init__(self, text: str, begin: Place, scope: Scope, file: File, path: Path) -> None:
        self.begin, self.scope, self.file, self.path = begin, scope, file, path
        self.columns = {token.text.strip("'\""): token.column for token in reversed(tokens(text, begin))}

    def report(self, word: str, problem: str, mend: str) -> None:
        begin = self.begin
        place = Place(begin.file, begin.line, begin.column + self.columns.get(word, 0))
        self.file.problems.add(place, self.path, problem, mend)

    def type_of(self, item: Operand) -> FactType | None:
        if isinstance(item, Literal):
            return _literal_type(item.value)
        if not isinstance(item, Fact):
            self.truth(item)
            return FactType.BOOL
        key = self.scope.keys.get(item.name)
        if key is None:
            self.report(item.name, f"unknown profile key {item.name!r}", near(item.name, self.scope.keys))
            return None
        return key.type

    def truth(self, item: Operand) -> None:
        if isinstance(item, (And, Or)):
            for inner in item.items:
                self.truth(inner)
        elif isinstance(item, Not):
            self.truth(item.item)
        elif isinstance(item, Compare):
            self.compare(item.left, item.right, item.op)
        elif isinstance(item, Member):
            for value in item.values:
                self.compare(item.item, Literal(value), "==")
        elif isinstance(item, Offers):
            if item.entry not in self.scope.entries:
                mend = near(item.entry, self.scope.entries)
                self.report(item.entry, f"unknown entry point {item.entry!r}", mend)
        elif self.type_of(item) not in (FactType.BOOL, None):
            word = item.name if isinstance(item, Fact) else str(item.value)
            self.report(word, f"{word!r} is not true or false", "compare it with a value")

    def compare(self, left: Operand, right: Operand, op: str) -> None:
        first, second = self.type_of(left), self.type_of(right)
        if first is None or second is None:
            return
        word = left.name if isinstance(left, Fact) else ""
        if first is not second:
            problem = f"compares {first.value} with {second.value}"
            self.report(word, problem, "compare values of one type; text is quoted: 'shadow'")
        elif op not in ("==", "!=") and first is not FactType.INT:
            self.report(word, f"{op} between values that have no order", "use == or !=")
        elif isinstance(left, Fact) and isinstance(right, Literal):
            self.allowed(left.name, right)

    def allowed(self, name: str, literal: Literal) -> None:
        values = self.scope.keys[name].values
        if values and not isinstance(literal.value, bool) and literal.value not in values:
            mend = near(str(literal.value), [str(value) for value in values])
            self.report(str(literal.value), f"{literal.value!r} is not a value of {name!r}", mend)


def _literal_type(value: bool | int | str) -> FactType:
    if isinstance(value, bool):
        return FactType.BOOL
    return FactType.INT if isinstance(value, int) else FactType.STR
