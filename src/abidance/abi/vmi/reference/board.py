# SPDX-License-Identifier: BSD-2-Clause
"""What lies around the CPUs: interrupt controllers, timer, doorbell, marker, injection, virtual time.

Time is the number of guest instructions plus a charge per trap; nothing here knows of seconds, so
that the same guest does the same every time. The timer ticks once per `PER_TICK` of it.
"""

from __future__ import annotations

from typing import Any

from abidance.platform.unicorn.cpu import Cpu
from abidance.platform.unicorn.pic import PIC
from abidance.platform.unicorn.pic import PORTS as PIC_PORTS
from abidance.platform.unicorn.pit import PIT
from abidance.platform.unicorn.pit import PORTS as PIT_PORTS

__all__ = ["PER_TICK", "Board"]

PER_TICK = 16
_CMOS_DATA, _CONTROL_B = 0x71, 0x61


class Board:
    """The I/O ports of the machine (`Cpu`'s `Ports`) and its clock."""

    def __init__(self, doorbell: int) -> None:
        self.pic, self.pit = PIC(), PIT()
        self._doorbell, self._marker = doorbell, doorbell + 1
        self.cpu: Cpu | None = None
        self.charged = 0
        self._ticked = 0
        self.rung = False
        self.marked_at: int | None = None
        self.requested: list[tuple[int, int]] = []
        self._armed: list[tuple[int, int]] = []

    # -- time ------------------------------------------------------------------------------------

    @property
    def now(self) -> int:
        """Virtual time in guest instructions."""
        return self.charged + (self.cpu.now if self.cpu else 0)

    def charge(self, amount: int) -> None:
        """Let time pass without instructions."""
        self.charged += amount

    def catch_up(self) -> None:
        """Bring the timer to now, and raise what has become due."""
        ticks = self.now // PER_TICK - self._ticked
        if ticks > 0:
            self._ticked += ticks
            if self.pit.advance(ticks):
                self.pic.request(0)
        executed = self.cpu.executed if self.cpu else 0
        while self._armed and self._armed[0][0] <= executed:
            self.pic.request(self._armed.pop(0)[1])

    def until_timer(self) -> int | None:
        """Instructions until the timer's next edge, None if there will be none."""
        ticks = self.pit.ticks_to_edge()
        return None if ticks is None else max(1, (self._ticked + ticks) * PER_TICK - self.now)

    def until_injection(self) -> int | None:
        """Instructions of the guest until the next injection."""
        if not self._armed or self.cpu is None:
            return None
        return max(1, self._armed[0][0] - self.cpu.executed)

    def inject(self, irq: int, after: int) -> None:
        """At the next marker, arm an edge on `irq` after so many instructions."""
        self.requested.append((after, irq))

    def idle(self) -> None:
        """The CPU waits, and executes nothing that an injection could count: it comes now."""
        for _, irq in self._armed:
            self.pic.request(irq)
        self._armed.clear()

    # -- ports -----------------------------------------------------------------------------------

    def read(self, port: int, size: int) -> int:
        """`in`: the PIC, the PIT, a quiet CMOS; ones elsewhere."""
        if port in PIC_PORTS:
            self._sync()
            return self.pic.read(port)
        if port in PIT_PORTS:
            self._sync()
            return self.pit.read(port)
        return 0 if port in {_CMOS_DATA, _CONTROL_B} else (1 << 8 * size) - 1

    def write(self, port: int, size: int, value: int) -> None:
        """`out`: what changes interrupts ends the run, so that they are looked at before the next
        instruction."""
        del size
        if port == self._doorbell:
            self.rung = True
            self._stop()
        elif port == self._marker:
            self._mark()
        elif port in PIC_PORTS:
            self._sync()
            self.pic.write(port, value & 0xFF)
        elif port in PIT_PORTS:
            self._sync()
            self.pit.write(port, value & 0xFF)

    def _mark(self) -> None:
        if self.cpu is None:
            return
        self.marked_at = self.cpu.now
        self._armed = sorted((self.marked_at + after, irq) for after, irq in self.requested)
        self.requested.clear()
        self._stop()

    def _sync(self) -> None:
        self.catch_up()
        self._stop()

    def _stop(self) -> None:
        if self.cpu is not None:
            self.cpu.stop()

    def snapshot(self) -> Any:
        """Everything, for `restore`."""
        return (self.pic.snapshot(), self.pit.snapshot(), self.charged, self._ticked, self.marked_at,
                tuple(self.requested), tuple(self._armed))

    def restore(self, saved: Any) -> None:
        """Back to a snapshot."""
        pic, pit, self.charged, self._ticked, self.marked_at, requested, armed = saved
        self.pic.restore(pic)
        self.pit.restore(pit)
        self.requested, self._armed, self.rung = list(requested), list(armed), False
