# SPDX-License-Identifier: BSD-2-Clause
"""The privilege check of `in` and `out`, which Unicorn does not make.

Outside the ring that IOPL names (and always in virtual-8086 mode) the I/O permission bitmap of the
TSS decides, byte by byte; what it denies, or does not reach, is #GP(0). Facts: Intel SDM volume 1,
"I/O permission bit map"; volume 2, IN and OUT operation.
"""

from __future__ import annotations

from unicorn import x86_const

from abidance.platform.unicorn.cpu import Cpu, Ports
from abidance.platform.unicorn.engine import EAX, EIP
from abidance.platform.unicorn.gates import GP, IOPL, VM
from abidance.platform.unicorn.walk import Fault

__all__ = ["IoPrivilege"]

_MAP_BASE = 0x66
_IOPL_SHIFT = 12


class IoPrivilege:
    """`Ports` that asks before it lets `behind` see anything. A denied access stops the run; the owner
    then calls `deliver`. `cpu` is set by the owner, which needs the ports to make the CPU."""

    def __init__(self, behind: Ports) -> None:
        self.cpu: Cpu | None = None
        self._behind = behind
        self._denied: tuple[int, int] | None = None

    def read(self, port: int, size: int) -> int:
        """An `in`."""
        return self._behind.read(port, size) if self._permitted(port, size) else 0

    def write(self, port: int, size: int, value: int) -> None:
        """An `out`."""
        if self._permitted(port, size):
            self._behind.write(port, size, value)

    def deliver(self) -> bool:
        """If the run was stopped by a denied access, deliver the fault at its instruction."""
        if self.cpu is None or self._denied is None:
            return False
        cpu = self.cpu
        (cpu.regs[EIP], cpu.regs[EAX]), self._denied = self._denied, None
        cpu.executed -= 1
        cpu.exception(GP)
        return True

    def _permitted(self, port: int, size: int) -> bool:
        cpu = self.cpu
        if cpu is None:
            return True
        get = cpu.engine.get
        ring = get(x86_const.UC_X86_REG_CS) & 3
        flags = get(x86_const.UC_X86_REG_EFLAGS)
        if not flags & VM and ring <= (flags & IOPL) >> _IOPL_SHIFT:
            return True
        if _bitmap_permits(cpu, port, size):
            return True
        self._denied = get(x86_const.UC_X86_REG_EIP), get(x86_const.UC_X86_REG_EAX)
        cpu.stop()
        return False


def _bitmap_permits(cpu: Cpu, port: int, size: int) -> bool:
    _selector, base, limit, _flags = cpu.engine.get(x86_const.UC_X86_REG_TR)
    if limit < _MAP_BASE + 1:
        return False
    try:
        at = int.from_bytes(cpu.read_linear(base + _MAP_BASE, 2), "little") + (port >> 3)
        if at + 1 > limit:
            return False
        bits = int.from_bytes(cpu.read_linear(base + at, 2), "little") >> (port & 7)
    except Fault:
        return False
    return not bits & (1 << size) - 1
