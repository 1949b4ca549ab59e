# SPDX-License-Identifier: BSD-2-Clause
"""YAML 1.2 without implicit types, and what of YAML is not in the language."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import msgspec
import pytest
from spec_folders import DATA

from abidance.errors import Place, SpecError
from abidance.spec import load
from abidance.spec.problems import Problems, dotted
from abidance.spec.shape import WRONG, shape
from abidance.spec.tree import MAX_BYTES, MAX_DEPTH, parse_tree, read_tree


class Sample(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """A key of each type."""

    text: str = ""
    number: Annotated[int, msgspec.Meta(ge=-5)] = 0
    truth: bool = False
    either: int | str = 0
    many: tuple[str, ...] = ()


def read(text: str) -> Sample:
    problems = Problems()
    value = shape(parse_tree(text, "f"), Sample, problems)
    problems.raise_first()
    assert value is not WRONG
    return value


WORDS = ["yes", "no", "on", "off", "y", "true", "1e3", "0x10", "3.10", "2001-01-01", "=", "1_0"]


@pytest.mark.parametrize("word", WORDS)
def test_text_stays_as_written(word: str) -> None:
    assert read(f"text: {word}").text == word


@pytest.mark.parametrize(
    ("word", "number"), [("17", 17), ("-5", -5), ("+3", 3), ("0x1F", 31), ("0o17", 15), ("010", 10), ("0", 0)]
)
def test_integers_are_those_of_yaml_1_2(word: str, number: int) -> None:
    assert read(f"number: {word}").number == number


@pytest.mark.parametrize("word", ["1_000", "1e3", "0b1", "1.0", "'1'", "0x", "0X10", "-0x1", "١", "1:30"])
def test_other_numbers_are_refused(word: str) -> None:
    with pytest.raises(SpecError, match="expected an integer"):
        read(f"number: {word}")


@pytest.mark.parametrize("word", ["yes", "True", "on", "1", "'true'", "TRUE"])
def test_only_true_and_false_are_truths(word: str) -> None:
    with pytest.raises(SpecError, match="expected true or false"):
        read(f"truth: {word}")


def test_quotes_decide_where_a_number_and_text_are_allowed() -> None:
    assert read("either: 3").either == 3
    assert read("either: '3'").either == "3"
    assert read("either: three").either == "three"


@pytest.mark.parametrize("nothing", ["", "~", "null", "# nothing"])
def test_a_key_without_value_is_a_mistake(nothing: str) -> None:
    with pytest.raises(SpecError, match=r"f:1:1: text: has no value"):
        read(f"text: {nothing}")


def test_folded_text_carriage_returns_and_byte_order_mark(tmp_path: Path) -> None:
    path = tmp_path / "crlf.yaml"
    path.write_bytes("\ufefftext: >\r\n  one\r\n  two\r\nmany:\r\n- a\r\n- b\r\n".encode())
    value = shape(read_tree(path), Sample, Problems())
    assert value == Sample(text="one two", many=("a", "b"))


def test_places_count_from_one() -> None:
    tree = parse_tree("a:\n  b: [x, {c: y}]\n", "f")
    assert tree.find(("a", "b", 1, "c")) == Place("f", 2, 11)
    assert tree.find(("a", "b", 7)) == Place("f", 2, 3)
    assert dotted(("a", "b", 1, "c")) == "a.b[1].c"


@pytest.mark.parametrize("text", ["[" * 40, "a: " + "{b: " * 40, "- " * 40 + "x"])
def test_depth_is_limited(text: str) -> None:
    with pytest.raises(SpecError, match=f"deeper than {MAX_DEPTH}|not YAML|expected"):
        parse_tree(text, "f")


def test_length_is_limited(tmp_path: Path) -> None:
    path = tmp_path / "long.yaml"
    path.write_bytes(b"#" * (MAX_BYTES + 1))
    with pytest.raises(SpecError, match="longer than"):
        read_tree(path)


@pytest.mark.parametrize("example", ["base", "sbi", "pvx"])
def test_examples_load(example: str) -> None:
    assert load(DATA / example).clauses
