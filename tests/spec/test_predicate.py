# SPDX-License-Identifier: BSD-2-Clause
"""Predicates: what they mean, that they print and parse back, and that nothing else gets through."""

from __future__ import annotations

import contextlib

import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from abidance.errors import Place, SpecError, UsageError
from abidance.spec import Predicate
from abidance.spec.expression import And, Compare, Fact, Literal, Member, Not, Offers, Operand, Or

FACTS = {"cpl": 1, "tables": "shadow", "limits": True, "other": 7}


@pytest.mark.parametrize(
    ("text", "truth"),
    [
        ("limits", True),
        ("not limits", False),
        ("cpl > 0", True),
        ("cpl >= 0x1 and cpl <= 1", True),
        ("cpl != 1", False),
        ("tables == 'shadow'", True),
        ('tables == "direct"', False),
        ("tables in ('direct', 'shadow')", True),
        ("cpl not in (1, 2)", False),
        ("limits == true", True),
        ("offers('SetCR3')", True),
        ("offers('SetCR0') or cpl == 0", False),
        ("not (cpl == 0) and limits", True),
        ("false or false and true", False),
        ("true or false and false", True),
        ("not false and false", False),
        ("cpl<2", True),
        ("other > -1", True),
        ("(cpl == 1) == limits", True),
    ],
)
def test_meaning(text: str, truth: bool) -> None:
    assert Predicate.parse(text).evaluate(FACTS, {"SetCR3"}) is truth


def test_names_and_entries() -> None:
    predicate = Predicate.parse("cpl > 0 and not (tables in ('a') or offers('B')) and offers('C') == limits")
    assert predicate.names == {"cpl", "tables", "limits"}
    assert predicate.entries == {"B", "C"}


@pytest.mark.parametrize(
    ("text", "column", "problem"),
    [
        ("", 1, "found the end"),
        ("cpl ==", 7, "found the end"),
        ("cpl = 1", 5, "unexpected '= 1'"),
        ("cpl 1", 5, "unexpected '1'"),
        ("(cpl == 1", 10, "expected ')'"),
        ("offers(SetCR3)", 8, "in quotes"),
        ("cpl in (tables)", 9, "only literals"),
        ("cpl in ()", 9, "found ')'"),
        ("and", 1, "found 'and'"),
        ("cpl == 'x", 8, "unexpected"),
        ("1x == 2", 1, "unexpected '1x"),
        ("cpl < 1 < 2", 9, "unexpected '<'"),
        ("__import__('os')", 11, "unexpected '('"),
        ("cpl.real", 4, "unexpected '.real'"),
        ("not " * 30 + "cpl", 85, "nested deeper"),
        ("(" * 30, 22, "nested deeper"),
        ("a" * 1001, 1, "longer than"),
    ],
)
def test_what_the_grammar_refuses(text: str, column: int, problem: str) -> None:
    with pytest.raises(SpecError) as caught:
        Predicate.parse(text, Place("f", 3, 1))
    assert problem in str(caught.value)
    assert caught.value.place == Place("f", 3, column)


@pytest.mark.parametrize(
    ("text", "problem"),
    [
        ("cpl", "not true or false"),
        ("'x' or limits", "not true or false"),
        ("cpl == 'one'", "types differ"),
        ("limits == 1", "types differ"),
        ("cpl in (1, 'x')", "types differ"),
        ("tables < 'z'", "only integers"),
        ("clp == 1", "did you mean 'cpl'"),
        ("limits or clp == 1", "did you mean 'cpl'"),
    ],
)
def test_what_has_no_value(text: str, problem: str) -> None:
    with pytest.raises(UsageError, match=problem):
        Predicate.parse(text).evaluate(FACTS)


words = st.sampled_from(sorted(FACTS))
literals = st.booleans() | st.integers(-(1 << 64), 1 << 64) | st.text("abc \"x-é", max_size=6)
leaves = words.map(Fact) | literals.map(Literal) | st.sampled_from(["SetCR3", "A.b"]).map(Offers)


def deeper(inner: st.SearchStrategy[Operand]) -> st.SearchStrategy[Operand]:
    several = st.lists(inner, min_size=2, max_size=3).map(tuple)
    ops = st.sampled_from(["==", "!=", "<", "<=", ">", ">="])
    return (
        st.builds(Compare, ops, inner, inner)
        | st.builds(Member, inner, st.lists(literals, min_size=1, max_size=3).map(tuple))
        | inner.map(Not)
        | several.map(And)
        | several.map(Or)
    )


trees = st.recursive(leaves, deeper, max_leaves=8)


@settings(max_examples=300, deadline=None)
@given(trees)
def test_what_is_printed_parses_to_the_same(tree: Operand) -> None:
    predicate = Predicate(tree)
    try:
        again = Predicate.parse(str(predicate))
    except SpecError as error:
        assert "deeper" in str(error) or "longer" in str(error)  # noqa: PT017  (the grammar's own limits)
        return
    assert again == predicate
    assert str(again) == str(predicate)


@settings(max_examples=200, deadline=None)
@given(trees)
def test_evaluation_gives_a_truth_or_says_why_not(tree: Operand) -> None:
    with contextlib.suppress(UsageError):
        assert Predicate(tree).evaluate(FACTS, {"A.b"}) in (True, False)


@settings(max_examples=200, deadline=None)
@given(trees.filter(lambda tree: isinstance(tree, (Compare, Member, Not, And, Or))))
def test_negation_negates(tree: Operand) -> None:
    with contextlib.suppress(UsageError):
        assert Predicate(Not(tree)).evaluate(FACTS) is not Predicate(tree).evaluate(FACTS)


PIECES = ["cpl", "and", "or", "not", "in", "(", ")", "==", "<", "1", "'x'", ",", "offers", "true"]


@settings(max_examples=300, deadline=None)
@given(st.text(max_size=60) | st.lists(st.sampled_from(PIECES)).map(" ".join))
def test_any_text_parses_or_is_refused(text: str) -> None:
    with contextlib.suppress(SpecError):
        predicate = Predicate.parse(text)
        assert Predicate.parse(str(predicate)) == predicate


def test_it_has_a_json_form() -> None:
    predicate = Predicate.parse("cpl > 0 and offers('SetCR3')")
    assert msgspec.json.decode(msgspec.json.encode(predicate), type=Predicate) == predicate
    assert msgspec.json.schema(Predicate)
