# SPDX-License-Identifier: BSD-2-Clause
"""Observers of runs: one that remembers, one that interrupts."""

from __future__ import annotations

from abidance.check.bench import Bench
from abidance.check.results import CaseResult, TargetResult

__all__ = ["Interrupting", "Silent"]


class Silent:
    """An observer that only remembers."""

    def __init__(self) -> None:
        self.seen: list[str] = []

    def target_begins(self, bench: Bench, cases: int) -> None:
        self.seen.append(f"begin {cases}")

    def case_done(self, bench: Bench, result: CaseResult, done: int) -> None:
        self.seen.append(result.id)

    def proof_step(self, bench: Bench, done: int, total: int) -> None:
        self.seen.append(f"proof {done}/{total}")

    def target_done(self, result: TargetResult) -> None:
        self.seen.append("done")


class Interrupting:
    """Presses Ctrl-C after so many cases."""

    def __init__(self, after: int) -> None:
        self.after = after

    def target_begins(self, bench: Bench, cases: int) -> None:
        """Nothing."""

    def case_done(self, bench: Bench, result: CaseResult, done: int) -> None:
        if done == self.after:
            raise KeyboardInterrupt

    def proof_step(self, bench: Bench, done: int, total: int) -> None:
        """Nothing."""

    def target_done(self, result: TargetResult) -> None:
        """Nothing."""
