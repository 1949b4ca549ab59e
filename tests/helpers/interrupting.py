# SPDX-License-Identifier: BSD-2-Clause
"""Observers for tests of interruption."""

from __future__ import annotations

from abidance.check.bench import Bench
from abidance.check.results import CaseResult, TargetResult

__all__ = ["Interrupting"]


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
