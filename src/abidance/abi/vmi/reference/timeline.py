# SPDX-License-Identifier: BSD-2-Clause
"""Virtual time, and what becomes due in it: the timer's edges and an injected interrupt.

Time is the number of guest instructions, plus a charge per call, plus what a halted CPU skips;
`TICK` of it is one tick of the timer. Nothing here knows of seconds, so that the same guest does
the same every time. An injection counts instructions (and skipped time) only, not the charges, so
that it can be aimed at any instruction of a routine.
"""

from __future__ import annotations

from typing import Any

from abidance.platform.unicorn.board import Board
from abidance.platform.unicorn.cpu import Cpu

__all__ = ["TICK", "Timeline"]

TICK = 8
_NEVER = 1 << 62


class Timeline:
    """The clock of a machine whose instructions `cpu` counts and whose devices are on `board`."""

    def __init__(self, cpu: Cpu, board: Board) -> None:
        self._cpu, self._board = cpu, board
        self._charged = self._skipped = 0
        self._marked = 0
        self._armed: tuple[int, int] | None = None
        self._due: int | None = None
        self._next, self._touched = 0, True
        board.now, board.stop = self._tick, cpu.stop

    @property
    def now(self) -> int:
        """Virtual time; also right from inside a port handler."""
        return self._cpu.now + self._skipped + self._charged

    def _tick(self) -> int:
        """The board asks for the time when the guest does something with it."""
        self._touched = True
        return self.now // TICK

    def charge(self, amount: int) -> None:
        """A call costs time beyond its instructions."""
        self._charged += amount

    def skip(self, amount: int) -> None:
        """Time passes while the CPU is halted."""
        self._skipped += amount

    def catch_up(self) -> bool:
        """Raise what has become due. False if nothing can have changed since the last time."""
        if not self._touched and self._cpu.executed + self._skipped + self._charged < self._next:
            return False
        self._touched = False
        if self._due is not None and self._armed is not None and self._steps() >= self._due:
            self._board.pic.request(self._armed[0])
            self._due = self._armed = None
        now = self.now
        self._board.advance(now // TICK)
        edge = self._board.pit.ticks_to_edge()
        self._next = _NEVER if edge is None else (now // TICK + edge) * TICK
        if self._due is not None:
            self._next = min(self._next, now + self._due - self._steps())
        return True

    def touch(self) -> None:
        """Something has changed: the next `catch_up` looks at everything."""
        self._touched = True

    def limit(self, left: int) -> int:
        """How far the CPU may run, at most `left`, until something becomes due. After `catch_up`."""
        return max(1, min(left, self._next - self.now))

    def inject(self, irq: int, after: int) -> None:
        """Raise `irq` so many instructions after the next `mark`."""
        self._armed, self._due = (irq, after), None
        self._touched = True

    def mark(self) -> None:
        """Instructions count from here."""
        self._marked = self._cpu.executed
        if self._armed is not None:
            self._due = self._steps() + self._armed[1]
        self._touched = True

    @property
    def since_mark(self) -> int:
        """Instructions executed since the last mark."""
        return self._cpu.executed - self._marked

    def _steps(self) -> int:
        return self._cpu.executed + self._skipped

    def snapshot(self) -> Any:
        """Everything but the board, for `restore`."""
        return self._charged, self._skipped, self._marked, self._armed, self._due

    def restore(self, saved: Any) -> None:
        """Back to a snapshot."""
        self._charged, self._skipped, self._marked, self._armed, self._due = saved
        self._touched = True
