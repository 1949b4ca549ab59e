# SPDX-License-Identifier: BSD-2-Clause
"""Declaring cases: ids, clauses, items; a suite that is wrong is refused when it is loaded."""

from __future__ import annotations

import types
from collections.abc import Callable

import pytest
from toy import HERE

from abidance.errors import InputError
from abidance.spec import load
from abidance.suite.case import case, untested
from abidance.suite.load import Suite, build_suite

SPEC = load(HERE / "toy_spec")
counter = iter(range(1000))


def suite_of(declare: Callable[[Callable[[str], Callable[..., None]]], None]) -> Suite:
    """The suite of a module that `declare` fills: declare(make), where make(name) is a case's body."""
    module = f"made_up.some_topic{next(counter)}"

    def make(name: str) -> Callable[..., None]:
        def body(g: object, item: object = None) -> None:
            """One line.

            More.
            """
        copy = types.FunctionType(body.__code__, body.__globals__, name, body.__defaults__, body.__closure__)
        copy.__module__, copy.__doc__ = module, body.__doc__
        return copy

    declare(make)
    return build_suite([module], SPEC)


def test_id_and_summary() -> None:
    made, = suite_of(lambda make: case("toy.Add.adds-one", needs=("injection",))(make("adds_one"))).cases
    assert made.id.startswith("toy/some-topic")
    assert made.id.endswith("/adds-one")
    assert (made.summary, made.clauses, made.needs) == ("One line.", ("toy.Add.adds-one",), ("injection",))


def test_globs_and_items() -> None:
    suite = suite_of(lambda make: case("toy.{item}.preserves-*", for_each=("Add", "Echo"))(make("keeps")))
    assert [(made.id.rpartition("/")[2], made.clauses) for made in suite.cases] == [
        ("keeps[Add]", ("toy.Add.preserves-ebx",)), ("keeps[Echo]", ("toy.Echo.preserves-ebx",))]
    assert [made.item for made in suite.cases] == ["Add", "Echo"]


def test_items_from_the_specification() -> None:
    names = [entry.name for entry in SPEC.entries]
    declared = case("toy.{item}.preserves-ebx", for_each=lambda spec: spec.entries)
    suite = suite_of(lambda make: declared(make("k")))
    assert [made.id.rpartition("[")[2] for made in suite.cases] == [f"{name}]" for name in names]


@pytest.mark.parametrize(("clause", "options", "problem"), [
    ("toy.Add.adds-two", {}, "no clause toy.Add.adds-two"),
    ("toy.Sub.*", {}, r"no clause matches toy\.Sub"),
    ("toy.Add.is-quick", {}, "is at rev 2, the case says rev 1"),
    ("toy.Add.adds-one@2", {}, "is at rev 1, the case says rev 2"),
    ("toy.{item}.does", {"for_each": ()}, "no items"),
])
def test_refused(clause: str, options: dict[str, object], problem: str) -> None:
    with pytest.raises(InputError, match=problem):
        suite_of(lambda make: case(clause, **options)(make("one")))  # type: ignore[arg-type]


@pytest.mark.parametrize(("name", "rev"), [("toy.Add.is-quick@2", 1), ("toy.Add.is-quick", 2)])
def test_moved_rev_accepted(name: str, rev: int) -> None:
    assert suite_of(lambda make: case(name, rev=rev)(make("one"))).cases


def test_two_cases_with_one_id() -> None:
    def declare(make: Callable[[str], Callable[..., None]]) -> None:
        case("toy.Add.adds-one")(make("one"))
        case("toy.Add.adds-one")(make("one"))

    with pytest.raises(InputError, match="second case with this id"):
        suite_of(declare)


def test_a_case_names_a_clause() -> None:
    with pytest.raises(TypeError):
        case()


def test_reasons() -> None:
    untested("toy.Absent.*", reason="absent", )
    untested("toy.Absent.does", reason="really absent")
    suite = build_suite([__name__], SPEC)
    assert suite.reason("toy.Absent.does") == "really absent"
    assert suite.reason("toy.Absent.preserves-ebx") == "absent"
    assert suite.reason("toy.Add.adds-one") is None


def test_reason_without_words() -> None:
    with pytest.raises(InputError, match="the reason is empty"):
        untested("toy.Absent.*", reason=" ")
