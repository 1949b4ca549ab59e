# SPDX-License-Identifier: BSD-2-Clause
"""The tools that mutants of the reference are made with, and what the mutants cover."""

from __future__ import annotations

from typing import Any

import pytest

from abidance.abi import find_abi
from abidance.abi.vmi.constants import Cr0, PageFlag, Pte
from abidance.abi.vmi.mutants.changes import NUMBERS, instead, notes, without
from abidance.check.bench import make_bench
from abidance.spec import Binds, Clause, Level

GROUPS = {"control", "mmu", "stack"}


class Machine:
    """What `notes` needs of a hypervisor."""

    def __init__(self) -> None:
        self.state = 1

    def snapshot(self) -> object:
        return self.state

    def restore(self, snap: object) -> None:
        assert isinstance(snap, int)
        self.state = snap


def bound() -> list[Clause]:
    """What the reference must or should keep, of these groups and of the templates."""
    abi = find_abi("vmi")
    profile = make_bench(abi, abi.target("reference"), seed=1).profile
    return [clause for clause in abi.spec.clauses
            if (clause.stamped or clause.group in GROUPS) and clause.binds is Binds.IMPLEMENTATION
            and clause.level is not Level.MAY and profile.binds(clause)]


def test_numbers_are_those_of_the_document() -> None:
    spec = find_abi("vmi").spec
    assert {name: spec.entry(name).number for name in NUMBERS} == NUMBERS


def test_every_clause_of_these_groups_with_a_case_has_a_mutant() -> None:
    cases = find_abi("vmi").suite.by_clause
    mutants = [one for one in find_abi("vmi").mutants if one.on == "reference" and not one.equivalent]
    violated = {one.violates for one in mutants}
    clauses = bound()
    assert len(clauses) > 200
    assert [clause.id for clause in clauses if clause.id in cases and clause.id not in violated] == []


def test_nobody_is_blamed_for_what_does_not_bind_the_reference() -> None:
    known = {clause.id for clause in bound()}
    abi = find_abi("vmi")
    here = {clause.id for clause in abi.spec.clauses if clause.stamped or clause.group in GROUPS}
    mutants = [one for one in abi.mutants if one.on == "reference" and one.violates in here]
    assert [one.name for one in mutants if one.violates not in known] == []


@pytest.mark.parametrize(("bits", "left"), [
    (Pte.A, 0xFFFFFFDF), (Pte.PWT | Pte.PCD, 0xFFFFFFE7), (PageFlag.DEFER, 0xFFFFFFDF), (Cr0.PG, 0x7FFFFFFF),
    (0, 0xFFFFFFFF)])
def test_without_keeps_bits_that_have_no_name(bits: int, left: int) -> None:
    assert without(0xFFFFFFFF, bits) == left


def test_notes_go_with_the_snapshot() -> None:
    machine: Any = Machine()
    kept = notes(machine)
    kept["a"] = 1
    first = machine.snapshot()
    kept["a"], kept["b"], machine.state = 2, 3, 7
    machine.restore(first)
    assert (kept, machine.state) == ({"a": 1}, 1)
    kept.clear()
    machine.restore(first)
    assert kept == {"a": 1}


def test_instead_changes_one_object_only() -> None:
    one, other = Machine(), Machine()
    instead(one, "snapshot", lambda original: lambda: (original(), "more"))
    assert (one.snapshot(), other.snapshot()) == ((1, "more"), 1)
