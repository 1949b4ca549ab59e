# SPDX-License-Identifier: BSD-2-Clause
"""Verdicts and what they mean for the exit status.

DIFFERS is what FAIL becomes where no obligation of the core document is violated: for clauses of
the practice layer, and for SHOULD and MAY. It is shown, it is counted apart, and by itself it does
not make the exit status 1.
"""

from __future__ import annotations

from collections.abc import Iterable
from enum import Enum

__all__ = ["FINDING", "GOOD", "UNDECIDED", "USAGE", "Verdict", "exit_status", "worst"]

GOOD, FINDING, USAGE, UNDECIDED = 0, 1, 2, 3


class Verdict(Enum):
    """How a case or clause came out, worst first."""

    FAIL = "FAIL"
    """The implementation is wrong."""
    CRASH = "CRASH"
    """The guest or the implementation died: triple fault, reset."""
    TIMEOUT = "TIMEOUT"
    """The guest's own budget ran out."""
    MISS = "MISS"
    """It was to run, and no verdict came: lost line, killed child, interrupted."""
    ERROR = "ERROR"
    """We could not decide: precondition not observed, defect of the case, damaged answer."""
    DIFFERS = "DIFFERS"
    """Other than what practice or a SHOULD expects; no obligation is violated."""
    NOT_TESTED = "NOT_TESTED"
    """Nothing was run, for the reason given."""
    SKIP = "SKIP"
    """The case decided that it does not apply, for the reason given."""
    PASS = "PASS"

    @property
    def rank(self) -> int:
        """0 is the worst."""
        return _RANK[self]

    @property
    def is_finding(self) -> bool:
        """Whether it speaks against the target."""
        return self in (Verdict.FAIL, Verdict.CRASH, Verdict.TIMEOUT)

    @property
    def is_undecided(self) -> bool:
        """Whether something that was to be decided was not."""
        return self in (Verdict.MISS, Verdict.ERROR)


_RANK = {verdict: rank for rank, verdict in enumerate(Verdict)}


def worst(verdicts: Iterable[Verdict]) -> Verdict | None:
    """The worst verdict; None if there is none."""
    return min(verdicts, key=lambda verdict: verdict.rank, default=None)


def exit_status(verdicts: Iterable[Verdict]) -> int:
    """The exit status of a run with these verdicts: 1 if there is a finding, else 3 if something
    is undecided or nothing at all was decided, else 0."""
    seen = set(verdicts)
    if any(verdict.is_finding for verdict in seen):
        return FINDING
    decided = seen & {Verdict.PASS, Verdict.DIFFERS}
    if not decided or any(verdict.is_undecided for verdict in seen):
        return UNDECIDED
    return GOOD
