# SPDX-License-Identifier: BSD-2-Clause
"""The 8254 interval timer of a PC in virtual time.

Time is a number of ticks of the timer's clock (1 193 182 Hz) that the owner advances; nothing here
knows of seconds. All three channels count, gates held high; only channel 0's output goes anywhere:
to IRQ 0. Modes 0, 2, 3 and 4 count as the data sheet says; modes 1 and 5 wait for a gate edge that
a PC's channel 0 never gets. Binary and BCD, low/high/both byte access, latch, read-back.

One simplification: in mode 3 a new count takes effect at the end of the whole cycle, where the
chip takes it at the end of the half cycle.

Facts: Intel 82C54 data sheet (231244), "Mode definitions", "Counter latch command", "Read-back
command".
"""

from __future__ import annotations

from collections.abc import Mapping

__all__ = ["HZ", "PIT", "PORTS"]

HZ = 1_193_182
PORTS = (0x40, 0x41, 0x42, 0x43)
_PERIODIC = (2, 3)
_GATED = (1, 5)


def _from_bcd(value: int) -> int:
    return sum((value >> 4 * digit & 0xF) * 10 ** digit for digit in range(4))


def _to_bcd(value: int) -> int:
    return sum(value // 10 ** digit % 10 << 4 * digit for digit in range(4))


class _Channel:
    """One counter. `start` is the tick at which the count `length` was loaded, None while the
    counter waits for a count."""

    def __init__(self) -> None:
        # The chip powers up undefined; output high is what a BIOS leaves behind.
        self.control, self.mode, self.access, self.bcd = 0x36, 3, 3, False
        self.start: int | None = None
        self.length = 0x10000
        self.next_length: int | None = None
        self.low: int | None = None
        self.read_high = False
        self.latched: list[int] = []
        self.status: int | None = None
        self.change_at = 0

    def command(self, control: int, now: int) -> bool:
        """Take a control word; True if the output rises by it."""
        before = self.output(now)
        mode = control >> 1 & 7
        self.control, self.access, self.bcd = control & 0x3F, control >> 4 & 3, bool(control & 1)
        self.mode = mode - 4 if mode > 5 else mode
        self.start = self.next_length = self.low = self.status = None
        self.latched, self.read_high = [], False
        return not before and self.output(now)

    def write(self, value: int, now: int) -> None:
        """Take a byte of the count. No write of a count makes the output rise."""
        if self.access == 3:
            if self.low is None:
                self.low = value
                if self.mode == 0:
                    self.start = None
                return
            value, self.low = self.low | value << 8, None
        elif self.access == 2:
            value <<= 8
        length = (_from_bcd(value) or 10_000) if self.bcd else (value or 0x10000)
        if self.start is not None and self.mode in _PERIODIC:
            cycles = max(0, now - self.start) // self.length + 1
            self.next_length, self.change_at = length, self.start + cycles * self.length
        else:
            # The count goes from the register into the counter with the next clock.
            self.start, self.length, self.next_length = now + 1, length, None

    def settle(self, now: int) -> None:
        """Let a periodic counter pick up the new count if the cycle it was written in has ended."""
        if self.next_length is not None and now >= self.change_at:
            self.start, self.length, self.next_length = self.change_at, self.next_length, None

    def rise(self, now: int) -> int | None:
        """The tick of the first rising edge of the output after `now`, None if none will come."""
        if self.start is None or self.mode in _GATED:
            return None
        if self.mode in _PERIODIC:
            cycles = max(0, now - self.start) // self.length + 1
            return self.start + cycles * self.length
        due = self.start + self.length + (1 if self.mode == 4 else 0)
        return due if due > now else None

    def output(self, now: int) -> bool:
        """The level of OUT."""
        if self.start is None or self.mode in _GATED or now < self.start:
            return self.mode != 0
        elapsed = now - self.start
        if self.mode == 0:
            return elapsed >= self.length
        if self.mode == 2:
            return elapsed % self.length != self.length - 1
        if self.mode == 3:
            return elapsed % self.length < (self.length + 1) // 2
        return elapsed != self.length

    def value(self, now: int) -> int:
        """The counter as it would be read, in 16 bits."""
        modulus = 10_000 if self.bcd else 0x10000
        if self.start is None or self.mode in _GATED or now < self.start:
            count = self.length
        else:
            elapsed = now - self.start
            if self.mode == 2:
                count = self.length - elapsed % self.length
            elif self.mode == 3:
                half = (self.length + 1) // 2
                inside = elapsed % self.length
                count = (self.length & ~1) - 2 * (inside if inside < half else inside - half)
            else:
                count = self.length - elapsed
        count %= modulus
        return _to_bcd(count) if self.bcd else count

    def latch(self, now: int) -> None:
        """Hold the count until it is read; a second latch before that is ignored."""
        if not self.latched:
            value = self.value(now)
            self.latched = [[value & 0xFF], [value >> 8], [value & 0xFF, value >> 8]][max(self.access, 1) - 1]

    def latch_status(self, now: int) -> None:
        if self.status is None:
            null = self.start is None or now < self.start or self.next_length is not None
            self.status = self.output(now) << 7 | null << 6 | self.control

    def read(self, now: int) -> int:
        if self.status is not None:
            value, self.status = self.status, None
            return value
        if self.latched:
            return self.latched.pop(0)
        value = self.value(now)
        high = self.access == 2 or (self.access == 3 and self.read_high)
        if self.access == 3:
            self.read_high = not self.read_high
        return value >> 8 if high else value & 0xFF


class PIT:
    """The timer as a PC sees it: ports 40h..43h, and rising edges of channel 0 for IRQ 0."""

    def __init__(self) -> None:
        self.now = 0
        self._edge = False
        self._channels = (_Channel(), _Channel(), _Channel())

    def advance(self, ticks: int) -> bool:
        """Let `ticks` pass; True if channel 0's output rose meanwhile (or by a write before).
        Several edges in one step are one, as they are for a controller nobody acknowledges."""
        edge, self._edge = self._edge, False
        due = self._channels[0].rise(self.now)
        self.now += ticks
        for channel in self._channels:
            channel.settle(self.now)
        edge |= due is not None and due <= self.now
        return edge

    def ticks_to_edge(self) -> int | None:
        """Ticks until `advance` will report an edge (0: it would at once), None if none is due."""
        if self._edge:
            return 0
        due = self._channels[0].rise(self.now)
        return None if due is None else due - self.now

    def read(self, port: int) -> int:
        """Read a byte from one of `PORTS`; the control port reads FFh."""
        self._check(port)
        return 0xFF if port == 0x43 else self._channels[port & 3].read(self.now)

    def write(self, port: int, value: int) -> None:
        """Write a byte to one of `PORTS`."""
        self._check(port)
        value &= 0xFF
        if port == 0x43:
            self._control(value)
        else:
            self._channels[port & 3].write(value, self.now)

    def _check(self, port: int) -> None:
        if port not in PORTS:
            raise ValueError(f"port {port:#x} is not the timer's")

    def _control(self, value: int) -> None:
        which = value >> 6
        if which == 3:
            self._read_back(value)
        elif not value & 0x30:
            self._channels[which].latch(self.now)
        else:
            rose = self._channels[which].command(value, self.now)
            self._edge |= rose and which == 0

    def _read_back(self, value: int) -> None:
        """Bits 1..3 choose channels; bit 5 clear latches counts, bit 4 clear latches status."""
        for index, channel in enumerate(self._channels):
            if not value & 2 << index:
                continue
            if not value & 0x20:
                channel.latch(self.now)
            if not value & 0x10:
                channel.latch_status(self.now)

    def snapshot(self) -> object:
        """The whole state, to be given to `restore`."""
        return self.now, self._edge, tuple({**vars(c), "latched": list(c.latched)} for c in self._channels)

    def restore(self, snap: object) -> None:
        """Back to a snapshot."""
        if not isinstance(snap, tuple) or len(snap) != 3 or not all(isinstance(c, Mapping) for c in snap[2]):
            raise TypeError("not a snapshot of a PIT")
        self.now, self._edge, states = snap
        for channel, state in zip(self._channels, states, strict=True):
            vars(channel).update(state)
            channel.latched = list(state["latched"])
