# SPDX-License-Identifier: BSD-2-Clause
"""What a case found: findings, how often it really looked, and the ways it may end early.

A `Finding` is one violated expectation and becomes the verdict FAIL. The exceptions here end a
case: `Violated` after a finding that makes going on pointless, `Unmet` when a precondition was
not observed (ERROR), `Skipped` (SKIP) and `Untested` (NOT_TESTED) with their reasons. None of
them can turn into a PASS.
"""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, field

from abidance.errors import AbidanceError

__all__ = ["DONE_SHOWN", "CaseEnded", "Finding", "Notebook", "Skipped", "Unmet", "Untested", "Violated",
           "show_value"]

DONE_SHOWN = 16


class CaseEnded(AbidanceError):
    """Base of what ends a case before its last line."""


class Violated(CaseEnded):
    """A finding was recorded and the case cannot sensibly go on."""


class Unmet(CaseEnded):
    """A precondition of the case was not observed; the verdict is ERROR, never PASS."""


class Skipped(CaseEnded):
    """The case decided not to apply; the text is the reason."""


class Untested(CaseEnded):
    """The case cannot be carried out on this target; the text is the reason."""


@dataclass(frozen=True)
class Finding:
    """One violated expectation. `clause` is None when it speaks for every clause the case names;
    `done` are the operations so far in readable form; `where` is the line of the case."""

    what: str
    expected: str
    seen: str
    done: tuple[str, ...]
    clause: str | None = None
    where: str = ""


@dataclass
class Notebook:
    """What one run of a case has looked at so far."""

    clauses: tuple[str, ...]
    findings: list[Finding] = field(default_factory=list)
    evaluated: Counter[str | None] = field(default_factory=Counter)

    def looked(self, clause: str | None) -> None:
        """Count one evaluated expectation. A clause the case does not name raises ValueError."""
        if clause is not None and clause not in self.clauses:
            raise ValueError(f"the expectation names {clause}, which the case does not")
        self.evaluated[clause] += 1

    def evaluations(self, clause: str) -> int:
        """How many expectations spoke for this clause."""
        return self.evaluated[clause] + self.evaluated[None]

    def violates(self, clause: str) -> bool:
        """Whether a finding speaks against this clause."""
        return any(finding.clause in (None, clause) for finding in self.findings)


def show_value(value: object) -> str:
    """A value as it stands in a finding: integers in hex, bytes in hex pairs."""
    if isinstance(value, bool) or value is None:
        return str(value)
    if isinstance(value, int):
        return f"{value:#010x}" if value >= 0 else str(value)
    if isinstance(value, bytes | bytearray | memoryview):
        return bytes(value).hex(" ", -4) or "(no bytes)"
    if isinstance(value, tuple | list):
        return "(" + ", ".join(show_value(item) for item in value) + ")"
    return str(value)
