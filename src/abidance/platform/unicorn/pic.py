# SPDX-License-Identifier: BSD-2-Clause
"""The pair of 8259A interrupt controllers of a PC, slave on the master's IR2.

All of the 8259A that a PC can reach: initialisation words 1-4, operation words 1-3, edge and level
triggering, specific, non-specific, rotating and automatic end of interrupt, priority rotation,
special mask mode, special fully nested mode, polling, read-back of IRR, ISR and IMR, and the
default (spurious) IR7 and IR15.

Facts: Intel 8259A data sheet (231468), "Initialization Command Words", "Operation Command Words",
"Interrupt sequence", "Edge and level triggered modes".
"""

from __future__ import annotations

from collections.abc import Mapping

__all__ = ["PIC", "PORTS"]

PORTS = (0x20, 0x21, 0xA0, 0xA1)
_CASCADE = 2
_SPURIOUS = 7


class _Chip:
    """One 8259A. `lines` is the level of the inputs, `edges` the edge-sense latches."""

    def __init__(self) -> None:
        self.lines = self.edges = 0
        self.base = 0
        self._initialise(0)
        self.step = 0

    def _initialise(self, icw1: int) -> None:
        """ICW1 resets everything but the input levels: a line that is high needs a new edge."""
        self.edges = self.isr = self.imr = 0
        self.lowest = 7
        self.level = bool(icw1 & 0x08)
        self.single = bool(icw1 & 0x02)
        self.wants_icw4 = bool(icw1 & 0x01)
        self.auto_eoi = self.nested = self.rotate_auto = False
        self.special_mask = self.read_isr = self.poll = False
        self.step = 2

    @property
    def irr(self) -> int:
        """Requests: an edge counts only while its line is still high (data sheet, edge mode)."""
        return self.lines if self.level else self.edges & self.lines

    def drive(self, line: int, high: bool) -> None:
        bit = 1 << line
        if high and not self.lines & bit:
            self.edges |= bit
        if high:
            self.lines |= bit
        else:
            self.lines &= ~bit
            self.edges &= ~bit

    def _order(self) -> list[int]:
        """Inputs from highest to lowest priority."""
        return [(self.lowest + 1 + step) & 7 for step in range(8)]

    def winner(self) -> int | None:
        """The input whose request would be served now, or None."""
        asking = self.irr & ~self.imr
        # Special mask mode: an input in service that is masked holds nobody back.
        serving = self.isr & ~self.imr if self.special_mask else self.isr
        for line in self._order():
            bit = 1 << line
            # Special fully nested mode: the slave may interrupt its own service.
            if serving & bit and not (self.nested and line == _CASCADE and asking & bit):
                return None
            if asking & bit and not self.isr & bit:
                return line
            if asking & bit and self.nested and line == _CASCADE:
                return line
        return None

    def acknowledge(self) -> int:
        """Serve the winner and return its input, or 7 (the default) without touching the ISR."""
        line = self.winner()
        if line is None:
            return _SPURIOUS
        self.edges &= ~(1 << line)
        if not self.auto_eoi:
            self.isr |= 1 << line
        elif self.rotate_auto:
            self.lowest = line
        return line

    def read(self, data: bool) -> int:
        if self.poll:
            self.poll = False
            line = self.winner()
            if line is None:
                return _SPURIOUS
            return 0x80 | self.acknowledge()
        if data:
            return self.imr
        return self.isr if self.read_isr else self.irr

    def write(self, data: bool, value: int) -> None:
        if data:
            self._write_data(value)
        elif value & 0x10:
            self._initialise(value)
        elif value & 0x08:
            self._operation3(value)
        else:
            self._operation2(value)

    def _write_data(self, value: int) -> None:
        if self.step == 0:
            self.imr = value
        elif self.step == 2:
            self.base = value & 0xF8
            self.step = 3 if not self.single else 4 if self.wants_icw4 else 0
        elif self.step == 3:
            # ICW3 says where the slave is; in a PC that is soldered, so that the value is not used.
            self.step = 4 if self.wants_icw4 else 0
        else:
            self.auto_eoi = bool(value & 0x02)
            self.nested = bool(value & 0x10)
            self.step = 0

    def _operation2(self, value: int) -> None:
        command, line = value >> 5, value & 7
        if command in (0, 4):
            self.rotate_auto = command == 4
        elif command in (1, 5):
            self._end(next((n for n in self._order() if self._ends(n)), None), rotate=command == 5)
        elif command in (3, 7):
            self._end(line, rotate=command == 7)
        elif command == 6:
            self.lowest = line

    def _ends(self, line: int) -> bool:
        """Whether a non-specific EOI may end this input: in special mask mode not a masked one."""
        bit = 1 << line
        return bool(self.isr & bit) and not (self.special_mask and self.imr & bit)

    def _end(self, line: int | None, *, rotate: bool) -> None:
        if line is None:
            return
        self.isr &= ~(1 << line)
        if rotate:
            self.lowest = line

    def _operation3(self, value: int) -> None:
        self.poll = bool(value & 0x04)
        if value & 0x02:
            self.read_isr = bool(value & 0x01)
        if value & 0x40:
            self.special_mask = bool(value & 0x20)


class PIC:
    """Both controllers as a PC sees them: inputs 0..15, ports 20h, 21h, A0h, A1h, one INT output.

    The CPU model asks `pending()` and, when it takes the interrupt, calls `acknowledge()` for the
    vector. Between the two a request may vanish; then the vector is that of IR7 or IR15.
    """

    def __init__(self) -> None:
        self._master, self._slave = _Chip(), _Chip()

    def request(self, irq: int) -> None:
        """A rising edge on input `irq` (0..15, not 2); the line then stays high."""
        self.drive(irq, False)
        self.drive(irq, True)

    def drive(self, irq: int, high: bool) -> None:
        """Set the level of input `irq`. A line that falls before it is served is forgotten."""
        if not 0 <= irq <= 15 or irq == _CASCADE:
            raise ValueError(f"no interrupt input {irq}")
        if irq < 8:
            self._master.drive(irq, high)
        else:
            self._slave.drive(irq - 8, high)
        self._cascade()

    def _cascade(self) -> None:
        self._master.drive(_CASCADE, self._slave.winner() is not None)

    def pending(self) -> int | None:
        """The vector that `acknowledge` would give now, None while INT is low."""
        line = self._master.winner()
        if line is None:
            return None
        if line != _CASCADE:
            return self._master.base + line
        inner = self._slave.winner()
        return self._slave.base + (_SPURIOUS if inner is None else inner)

    def acknowledge(self) -> int:
        """The interrupt-acknowledge cycle: the vector, with IRR and ISR updated; the spurious
        vector (IR7, without ISR) if nothing asks any more."""
        line = self._master.acknowledge()
        if line != _CASCADE:
            return self._master.base + line
        inner = self._slave.acknowledge()
        # INT of the slave drops for the acknowledge; a further request is a new edge.
        self._master.drive(_CASCADE, False)
        self._cascade()
        return self._slave.base + inner

    def read(self, port: int) -> int:
        """Read a byte from one of `PORTS`."""
        chip, data = self._decode(port)
        if not chip.poll:
            return chip.read(data)  # changes nothing
        value = chip.read(data)
        self._cascade()
        return value

    def write(self, port: int, value: int) -> None:
        """Write a byte to one of `PORTS`."""
        chip, data = self._decode(port)
        chip.write(data, value & 0xFF)
        self._cascade()

    def _decode(self, port: int) -> tuple[_Chip, bool]:
        if port not in PORTS:
            raise ValueError(f"port {port:#x} is not an interrupt controller's")
        return (self._slave if port & 0x80 else self._master), bool(port & 1)

    def snapshot(self) -> object:
        """The whole state, to be given to `restore`."""
        return dict(vars(self._master)), dict(vars(self._slave))

    def restore(self, snap: object) -> None:
        """Back to a snapshot."""
        if not isinstance(snap, tuple) or not all(isinstance(part, Mapping) for part in snap):
            raise TypeError("not a snapshot of a PIC")
        vars(self._master).update(snap[0])
        vars(self._slave).update(snap[1])
