# SPDX-License-Identifier: BSD-2-Clause
"""The devices of a bare PC and the ports they are at.

Interrupt controllers (20h, 21h, A0h, A1h), timer (40h..43h), real-time clock registers (70h, 71h,
no time passes in them and they never interrupt), reset through the keyboard controller (64h), port
92h or CF9h, and the doorbell and marker of the test kernel. Every other port reads ones and
swallows what is written.
"""

from __future__ import annotations

from collections.abc import Callable

from abidance.platform.unicorn import pic, pit

__all__ = ["Board"]

_CMOS_INDEX, _CMOS_DATA = 0x70, 0x71
_CMOS_FIXED = {0x0A: 0x26, 0x0C: 0x00, 0x0D: 0x80}
_KEYBOARD, _SYSTEM, _RESET = 0x64, 0x92, 0xCF9
_PULSE_RESET = 0xFE
_NEVER = 1 << 62


class Board:
    """`cpu.Ports` of a PC. `now` tells the timer's tick, `stop` ends the CPU's run: after a write to
    an interrupt controller or timer, because what the CPU has to do next may have changed, and
    after one of the events below, which the owner takes and clears."""

    def __init__(self, doorbell: int) -> None:
        self.pic, self.pit = pic.PIC(), pit.PIT()
        self.now: Callable[[], int] = lambda: 0
        self.stop: Callable[[], None] = lambda: None
        self.bell = self.marker = False
        self.reset = 0
        self._doorbell = doorbell
        self._edge = 0  # the tick before which the timer has nothing for the controllers
        self._index = 0
        self._cmos = bytearray(128)
        self._cmos[0x0B] = 0x02

    def advance(self, tick: int) -> None:
        """Let the timer reach `tick`; its edges go to IRQ 0."""
        if self.pit.advance(max(0, tick - self.pit.now)):
            self.pic.request(0)
        edge = self.pit.ticks_to_edge()
        self._edge = _NEVER if edge is None else self.pit.now + edge

    def read(self, port: int, size: int) -> int:
        """An `in`: wide ones are several bytes of successive ports."""
        if size == 1:
            return self._read(port)
        return sum(self._read(port + index & 0xFFFF) << 8 * index for index in range(size))

    def write(self, port: int, size: int, value: int) -> None:
        """An `out`, likewise."""
        for index in range(size):
            self._write(port + index & 0xFFFF, value >> 8 * index & 0xFF)

    def _read(self, port: int) -> int:
        if port in pic.PORTS:
            now = self.now()
            if now >= self._edge:
                self.advance(now)
            return self.pic.read(port)
        if port in pit.PORTS:
            self.advance(self.now())
            return self.pit.read(port)
        if port == _CMOS_DATA:
            return _CMOS_FIXED.get(self._index, self._cmos[self._index])
        return 0 if port in {_KEYBOARD, _SYSTEM} else 0xFF

    def _write(self, port: int, value: int) -> None:
        if port in pic.PORTS or port in pit.PORTS:
            self.advance(self.now())
            if port in pic.PORTS:
                self.pic.write(port, value)
            else:
                self.pit.write(port, value)
                self._edge = 0
            self.stop()
        elif port in {self._doorbell, self._doorbell + 1}:
            self.bell |= port == self._doorbell
            self.marker |= port != self._doorbell
            self.stop()
        elif port == _CMOS_INDEX:
            self._index = value & 0x7F
        elif port == _CMOS_DATA:
            self._cmos[self._index] = value
        elif self._resets(port, value):
            self.reset = port
            self.stop()

    def _resets(self, port: int, value: int) -> bool:
        return (port == _KEYBOARD and value == _PULSE_RESET) or (port == _SYSTEM and bool(value & 1)) \
            or (port == _RESET and value & 0x06 == 0x06)

    def snapshot(self) -> object:
        """The whole state, to be given to `restore`."""
        return self.pic.snapshot(), self.pit.snapshot(), self._index, bytes(self._cmos)

    def restore(self, snap: object) -> None:
        """Back to a snapshot; no event is outstanding."""
        if not isinstance(snap, tuple):
            raise TypeError("not a snapshot of a board")
        pics, timer, self._index, cmos = snap
        self.pic.restore(pics)
        self.pit.restore(timer)
        self._edge = 0
        self._cmos[:] = cmos
        self.bell = self.marker = False
        self.reset = 0
