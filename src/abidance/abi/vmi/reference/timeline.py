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
    """The clock of a machine whose instructions `cpu` counts and whose devices are on `board`. `next`
    is the time at which `catch_up` has something to do; 0 after anything was changed."""

    def __init__(self, cpu: Cpu, board: Board) -> None:
        self._cpu, self._board = cpu, board
        self._charged = self._skipped = 0
        self.next = 0
        self._marked = 0
        self._armed: tuple[int, int] | None = None
        self._due: int | None = None
        board.now, board.stop = self._tick, cpu.stop

    @property
    def now(self) -> int:
        """Virtual time; also right from inside a port handler."""
        return self._cpu.now + self._skipped + self._charged

    def _tick(self) -> int:
        """The board asks for the time when the guest does something with it."""
        self.next = 0
        return self.now // TICK

    def at_rest(self) -> int:
        """`now` while the CPU does not run."""
        return self._cpu.executed + self._skipped + self._charged

    def charge(self, amount: int) -> None:
        """A call costs time beyond its instructions."""
        self._charged += amount

    def skip(self, amount: int) -> None:
        """Time passes while the CPU is halted."""
        self._skipped += amount

    def catch_up(self) -> None:
        """Raise what has become due, and find what will be next."""
        if self._due is not None and self._armed is not None and self._steps() >= self._due:
            self._board.pic.request(self._armed[0])
            self._due = self._armed = None
        now = self.now
        self._board.advance(now // TICK)
        edge = self._board.pit.ticks_to_edge()
        self.next = _NEVER if edge is None else max((now // TICK + edge) * TICK, now + 1)
        if self._due is not None:
            self.next = min(self.next, now + self._due - self._steps())

    def inject(self, irq: int, after: int) -> None:
        """Raise `irq` so many instructions after the next `mark`."""
        self._armed, self._due = (irq, after), None
        self.next = 0

    def mark(self) -> None:
        """Instructions count from here."""
        self._marked = self._cpu.executed
        if self._armed is not None:
            self._due = self._steps() + self._armed[1]
        self.next = 0

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
        self.next = 0
