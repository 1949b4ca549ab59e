# SPDX-License-Identifier: BSD-2-Clause
"""The trace of VMI 3.0: every section and table row is there, and every clause comes from some fact."""

from __future__ import annotations

import re

import pytest

from abidance.abi.vmi import SPECIFICATION
from abidance.spec.load import load
from abidance.spec.trace import Trace, load_trace
from abidance.spec.types import Specification

SECTIONS = [
    "1", "2", *(f"2.{part}" for part in range(1, 6)), "3", *(f"4.{part}" for part in range(1, 6)), "5",
    *(f"6.{part}" for part in range(1, 14)), "9",
]  # fmt: skip
"""The sections that a trace of this interface has to cover."""


@pytest.fixture(scope="module")
def vmi() -> Specification:
    return load(SPECIFICATION)


@pytest.fixture(scope="module")
def trace(vmi: Specification) -> Trace:
    return load_trace(vmi, SPECIFICATION.parent / "trace.yaml")


def held(trace: Trace, number: str, kind: str) -> set[str]:
    (section,) = (item for item in trace.sections if item.number == number)
    return {name for fact in section.facts for name in getattr(fact, kind)}


def test_every_section_is_covered_in_order(trace: Trace) -> None:
    assert [section.number for section in trace.sections] == SECTIONS


def test_every_reason_says_why(trace: Trace) -> None:
    for fact in trace.facts:
        assert (fact.not_normative or "because ").startswith("because "), fact.fact
        if fact.not_normative is None:
            normative = (*fact.clauses, *fact.entries, *fact.structures, *fact.constants, *fact.classes)
            assert normative or fact.notes, fact.fact


def test_no_two_facts_of_a_section_are_the_same(trace: Trace) -> None:
    for section in trace.sections:
        texts = [fact.fact for fact in section.facts]
        assert len(set(texts)) == len(texts), section.number


def test_every_row_of_the_call_table_is_there(vmi: Specification, trace: Trace) -> None:
    (section,) = (item for item in trace.sections if item.number == "5")
    rows = [re.match(r"call (\d+), (\w+):", fact.fact) for fact in section.facts]
    numbered = [(int(row[1]), row[2]) for row in rows if row]
    assert numbered == [(entry.number, entry.name) for entry in vmi.entries if entry.number is not None]


@pytest.mark.parametrize(("number", "structure"), [("2.2", "rom_header"), ("6.13", "vmi_ap_state")])
def test_every_row_of_a_layout(vmi: Specification, trace: Trace, number: str, structure: str) -> None:
    (item,) = (item for item in vmi.structures if item.name == structure)
    assert {f"{structure}.{field.name}" for field in item.fields} <= held(trace, number, "structures")


def test_every_structure_is_there(vmi: Specification, trace: Trace) -> None:
    named = {name.partition(".")[0] for fact in trace.facts for name in fact.structures}
    assert named == {item.name for item in vmi.structures}


def test_every_constant_is_there(vmi: Specification, trace: Trace) -> None:
    named = {name for fact in trace.facts for name in fact.constants}
    assert named == {item.name for item in vmi.constants}


def test_every_profile_choice_is_there(vmi: Specification, trace: Trace) -> None:
    named = {name for fact in trace.facts for name in fact.profile}
    assert named == {key.name for key in vmi.profile_keys}


def test_every_clause_comes_from_a_fact(vmi: Specification, trace: Trace) -> None:
    traced = {name for fact in trace.facts for name in fact.clauses}
    own = {clause.id for clause in vmi.clauses if not clause.stamped}
    assert own - traced == set()
    fact = trace.holding("clauses", "vmi.SetCR3.may-be-queued")[0]
    assert "SetCR3" in fact.fact
