# SPDX-License-Identifier: BSD-2-Clause
"""Progress on standard error: one line that is rewritten on a terminal, a line per target elsewhere."""

from __future__ import annotations

import contextlib
import sys
import time

from abidance.check.bench import Bench
from abidance.check.results import CaseResult, TargetResult
from abidance.check.verdict import Verdict

__all__ = ["Progress", "Ticker"]

INTERVAL = 0.1
WIDTH = 78


class Ticker:
    """A line on standard error that shows where things stand."""

    def __init__(self, *, quiet: bool) -> None:
        self._terminal = not quiet and sys.stderr is not None and sys.stderr.isatty()
        self._lines = not quiet and not self._terminal
        self._last = 0.0

    def show(self, text: str, *, final: bool = False) -> None:
        """Rewrite the line, not more often than one can read."""
        now = time.monotonic()
        if self._terminal and (final or now - self._last >= INTERVAL):
            self._last = now
            self._write("\r" + text[:WIDTH].ljust(WIDTH))

    def say(self, text: str) -> None:
        """A line that stays, where there is no terminal."""
        if self._lines:
            self._write(text + "\n")

    def clear(self) -> None:
        """Remove the line."""
        if self._terminal:
            self._write("\r" + " " * WIDTH + "\r")

    def _write(self, text: str) -> None:
        with contextlib.suppress(OSError, ValueError, AttributeError):  # closed, or there is none
            sys.stderr.write(text)
            sys.stderr.flush()


class Progress:
    """`check.check.Observer` that shows counts."""

    def __init__(self, *, quiet: bool) -> None:
        self._ticker = Ticker(quiet=quiet)
        self._total = self._bad = 0

    def target_begins(self, bench: Bench, cases: int) -> None:
        """A target's cases begin."""
        self._total, self._bad = cases, 0
        self._ticker.say(f"{bench.target.full_name}: {cases} cases")
        self._ticker.show(f"{bench.target.full_name}: starting", final=True)

    def case_done(self, bench: Bench, result: CaseResult, done: int) -> None:
        """One more case has a verdict."""
        if result.verdict not in (Verdict.PASS, Verdict.NOT_TESTED, Verdict.SKIP):
            self._bad += 1
        bad = f", {self._bad} not good" if self._bad else ""
        self._ticker.show(f"{bench.target.full_name}: {done}/{self._total}{bad}  {result.id}")

    def proof_step(self, bench: Bench, done: int, total: int) -> None:
        """One more clause's mutants were tried."""
        self._ticker.show(f"{bench.target.full_name}: trying mutants {done}/{total}")

    def target_done(self, result: TargetResult) -> None:
        """A target is through."""
        self._ticker.clear()
        self._ticker.say(f"{result.target}: done")
