# SPDX-License-Identifier: BSD-2-Clause
"""Traces: names are checked against the specification, and what holds nothing is reported."""

from __future__ import annotations

from pathlib import Path

import pytest
from spec_folders import BASE

from abidance.errors import InputError
from abidance.spec import load
from abidance.spec.trace import Trace, load_trace

HEAD = "title: Toy\nsummary: Where facts went.\nsections:\n"
ONE = '  - number: "1"\n    title: Calls\n    facts:\n'


def trace(tmp_path: Path, *facts: str, more: str = "") -> Trace:
    path = tmp_path / "trace.yaml"
    path.write_text(HEAD + ONE + "".join(f"      - {{{fact}}}\n" for fact in facts) + more)
    return load_trace(load(BASE), path)


def mistakes(tmp_path: Path, *facts: str, more: str = "") -> list[str]:
    with pytest.raises(InputError) as caught:
        trace(tmp_path, *facts, more=more)
    notes: list[str] = getattr(caught.value, "__notes__", [])
    return [line.replace(f"{tmp_path}/", "") for line in (str(caught.value), *notes)]


def test_names_of_every_kind_are_found(tmp_path: Path) -> None:
    made = trace(
        tmp_path,
        "fact: it comes back, clauses: [toy.Ping.returns], entries: [Ping], notes: [calls, Add]",
        "fact: CPL, profile: [cpl], classes: [all]",
        "fact: its colour, not-normative: because nobody sees it",
    )
    assert [fact.fact for fact in made.holding("clauses", "toy.Ping.returns")] == ["it comes back"]
    assert [len(list(fact.names)) for fact in made.facts] == [4, 2, 0]


def test_unknown_names_are_reported_where_they_stand(tmp_path: Path) -> None:
    wrong = "fact: a, clauses: [toy.Ping.returns, toy.Ping.return]"
    first, second = mistakes(tmp_path, wrong, "fact: b, entries: [Pong]")
    assert first.startswith("trace.yaml:7:47: sections[0].facts[0].clauses[1]: unknown name among clauses")
    assert first.endswith("'toy.Ping.return'; did you mean 'toy.Ping.returns'?")
    assert second.startswith("trace.yaml:8:29: sections[0].facts[1].entries[0]: unknown name among entries")
    assert second.endswith("'Pong'; did you mean 'Ping'?")


def test_a_fact_that_nothing_holds_is_reported(tmp_path: Path) -> None:
    (found,) = mistakes(tmp_path, "fact: a")
    assert found.startswith("trace.yaml:7:9: sections[0].facts[0]: a fact that nothing holds; ")


def test_a_section_twice_is_reported(tmp_path: Path) -> None:
    again = ONE + "      - {fact: b, entries: [Add]}\n"
    (found,) = mistakes(tmp_path, "fact: a, entries: [Add]", more=again)
    assert found.startswith("trace.yaml:8:5: sections[1].number: a second section 1; ")


def test_unknown_keys_are_reported(tmp_path: Path) -> None:
    (found,) = mistakes(tmp_path, "fact: a, clause: [toy.Ping.returns]")
    assert "unknown key" in found
