# SPDX-License-Identifier: BSD-2-Clause
"""Verdicts as the web site shows them: plain words, so that this room need not know how they were reached."""

from __future__ import annotations

from functools import cached_property

from msgspec import Struct

__all__ = ["ClassOutcome", "Outcome", "TargetNote", "Verdicts"]


class Outcome(Struct, frozen=True):
    """How a clause came out on a target. `word` is the verdict, or "exempt" or "not judged"; `rev` that of
    the clause as it was tested; `proven` by a mutant that the same cases turned to FAIL."""

    target: str
    clause: str
    rev: int
    word: str
    reason: str = ""
    cases: tuple[str, ...] = ()
    proven: bool = False


class ClassOutcome(Struct, frozen=True):
    """Whether a target conforms to a class; `word` is yes, no or undecided."""

    target: str
    name: str
    word: str


class TargetNote(Struct, frozen=True):
    """A target: its name, what executed it, and the calls it offers."""

    name: str
    engine: str
    offered: int
    calls: int


class Verdicts(Struct, frozen=True, dict=True):
    """The verdicts of one run. `current` is false if it was of another text of the specification."""

    targets: tuple[TargetNote, ...]
    clauses: tuple[Outcome, ...]
    classes: tuple[ClassOutcome, ...]
    started: str
    tool: str
    current: bool

    @cached_property
    def by_clause(self) -> dict[str, tuple[Outcome, ...]]:
        """The outcomes of each clause id, one for each target."""
        table: dict[str, tuple[Outcome, ...]] = {}
        for outcome in self.clauses:
            table[outcome.clause] = (*table.get(outcome.clause, ()), outcome)
        return table
