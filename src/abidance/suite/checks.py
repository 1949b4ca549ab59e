# SPDX-License-Identifier: BSD-2-Clause
"""How a case states what it expects.

`expect*` count as looking; a violated one is a finding and the case goes on. `require` states a
precondition, `skip` and `not_tested` end the case with a reason. A case that never expects
anything is an ERROR: it could not fail.
"""

from __future__ import annotations

import sys
from typing import NoReturn

from abidance.kernel import Outcome
from abidance.suite.expectation import (
    DONE_SHOWN,
    Finding,
    Notebook,
    Skipped,
    Unmet,
    Untested,
    Violated,
    show_value,
)
from abidance.suite.handles import BytesHandle, Handle, PortHandle, WordHandle
from abidance.suite.state import StateHandle

__all__ = ["Checks", "Seen"]

Seen = int | bytes | str | bool | None | tuple[object, ...] | WordHandle | BytesHandle | PortHandle


class Checks:
    """The expectations half of `Guest`. `handles` are all operations of the case so far."""

    def __init__(self, clauses: tuple[str, ...]) -> None:
        self.notebook = Notebook(clauses)
        self.handles: list[Handle] = []

    def expect(self, condition: bool, what: str, *, expected: Seen = None, seen: Seen = None,
               clause: str | None = None) -> bool:
        """State what must hold. A false condition is a finding; the case goes on. `clause` names
        the one clause it speaks for, when the case names several."""
        if not isinstance(condition, bool):
            raise TypeError(f"expect() takes a truth value, not {type(condition).__name__}")
        return self._judge(condition, what, "true" if expected is None else show_value(_settled(expected)),
                           "false" if seen is None else show_value(_settled(seen)), clause)

    def expect_equal(self, seen: Seen, expected: Seen, what: str, *, mask: int | None = None,
                     clause: str | None = None) -> bool:
        """State that two values are equal (in the bits of `mask`). Handles are read."""
        left, right = _settled(seen), _settled(expected)
        if mask is not None:
            if not (isinstance(left, int) and isinstance(right, int)):
                raise TypeError("a mask needs integers")
            left, right, what = left & mask, right & mask, f"{what} (bits {mask:#x})"
        if type(left) is not type(right) and not (isinstance(left, int) and isinstance(right, int)):
            raise TypeError(f"{what}: cannot compare {type(left).__name__} with {type(right).__name__}")
        return self._judge(left == right, what, show_value(right), show_value(left), clause)

    def expect_returned(self, state: StateHandle, what: str = "", *, clause: str | None = None) -> bool:
        """State that a call came back to its caller."""
        return self._expect_outcome(state, Outcome.RETURNED, what or "the call returns", clause)

    def expect_stopped(self, state: StateHandle, what: str = "", *, clause: str | None = None) -> bool:
        """State that control reached the stop trap."""
        return self._expect_outcome(state, Outcome.STOP, what or "control reaches the stop trap", clause)

    def expect_fault(self, state: StateHandle, vector: int, what: str = "", *, error: int | None = None,
                     clause: str | None = None) -> bool:
        """State that it ended in a fault with this vector (and error code)."""
        what = what or f"it ends in fault {vector}"
        if not self._expect_outcome(state, Outcome.FAULT, what, clause):
            return False
        held = self.expect_equal(state.vector, vector, f"{what}: vector", clause=clause)
        if error is not None:
            held &= self.expect_equal(state.error, error, f"{what}: error code", clause=clause)
        return held

    def expect_preserved(self, state: StateHandle, *names: str, clause: str | None = None) -> bool:
        """State that these registers hold after the call what was loaded before it."""
        before, after = state.before, state.after
        held = True
        for name in names:
            held &= self.expect_equal(after[name], before[name], f"{name} after {state.text}", clause=clause)
        return held

    def require(self, condition: bool, what: str) -> None:
        """State a precondition of the case. If it is not observed the verdict is ERROR."""
        if not isinstance(condition, bool):
            raise TypeError(f"require() takes a truth value, not {type(condition).__name__}")
        if not condition:
            raise Unmet(f"precondition not observed: {what}")

    def skip(self, reason: str) -> NoReturn:
        """End the case: it does not apply here, because …"""
        raise Skipped(reason)

    def not_tested(self, reason: str) -> NoReturn:
        """End the case: it cannot be carried out on this target, because …"""
        raise Untested(reason)

    def violated(self, what: str, expected: str, seen: str) -> NoReturn:
        """Record a finding for every clause of the case and end the case."""
        self.notebook.looked(None)
        self._find(what, expected, seen, None)
        raise Violated(f"{what}: expected {expected}, seen {seen}")

    def done(self) -> tuple[str, ...]:
        """The last operations that were done, one readable line each, and a line that says how many
        came before."""
        left = max(0, len(self.handles) - DONE_SHOWN)
        lines = [f"{number}. {handle.done}" for number, handle in enumerate(self.handles[left:], left + 1)]
        return (f"… {left} operations before …", *lines) if left else tuple(lines)

    def _find(self, what: str, expected: str, seen: str, clause: str | None) -> None:
        self.notebook.findings.append(
            Finding(what, expected, seen, self.done(), clause, _line_of_case()))

    def _expect_outcome(self, state: StateHandle, outcome: Outcome, what: str, clause: str | None) -> bool:
        right = state.outcome is outcome
        return self.expect(right, what, expected=outcome.name.lower(), seen=state.ended, clause=clause)

    def _judge(self, condition: bool, what: str, expected: str, seen: str, clause: str | None) -> bool:
        self.notebook.looked(clause)
        if not condition:
            self._find(what, expected, seen, clause)
        return condition


def _settled(value: Seen) -> object:
    return value.value if isinstance(value, WordHandle | BytesHandle | PortHandle) else value


def _line_of_case() -> str:
    """Module and line of the innermost code that is neither this package's nor a Guest subclass's."""
    frame = sys._getframe(1)
    while frame.f_back and _is_ours(frame.f_globals.get("__name__", "")):
        frame = frame.f_back
    return f"{frame.f_globals.get('__name__', '?')}:{frame.f_lineno}"


def _is_ours(module: str) -> bool:
    return module.startswith("abidance.suite.") or module.endswith(".guest")
