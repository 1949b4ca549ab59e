# SPDX-License-Identifier: BSD-2-Clause
"""The environment of a CPU without a hypervisor: its own page tables, descriptor tables and TSS."""

from __future__ import annotations

from typing import TYPE_CHECKING

from unicorn import x86_const

from abidance.errors import SessionLost
from abidance.platform.unicorn.gates import IF, TS
from abidance.platform.unicorn.ram import PAGE
from abidance.platform.unicorn.walk import Fault, walk

if TYPE_CHECKING:
    from abidance.platform.unicorn.cpu import Cpu

__all__ = ["BareMachine"]

_PG, _WP, _PSE, _PAE = 1 << 31, 1 << 16, 1 << 4, 1 << 5


class BareMachine:
    """`gates.Environment` from the registers of `cpu`."""

    def __init__(self, cpu: Cpu) -> None:
        self._cpu = cpu

    def translate(self, linear: int, *, write: bool, user: bool) -> int:
        """Through CR3, if paging is on."""
        get = self._cpu.engine.get
        cr0 = get(x86_const.UC_X86_REG_CR0)
        if not cr0 & _PG:
            return linear
        cr4 = get(x86_const.UC_X86_REG_CR4)
        if cr4 & _PAE:
            raise SessionLost("the guest turned on PAE, which this CPU model cannot deliver exceptions under")
        found = walk(self._cpu, get(x86_const.UC_X86_REG_CR3), linear, write=write, user=user,
                     protect=bool(cr0 & _WP), large=bool(cr4 & _PSE))
        return found.frame | linear & PAGE - 1

    def gdt(self) -> tuple[int, int]:
        """From GDTR."""
        return self._table(x86_const.UC_X86_REG_GDTR)

    def ldt(self) -> tuple[int, int]:
        """From the hidden part of LDTR."""
        selector, base, limit, _flags = self._cpu.engine.get(x86_const.UC_X86_REG_LDTR)
        return (base, limit) if selector & 0xFFFC else (0, 0)

    def idt(self) -> tuple[int, int]:
        """From IDTR."""
        return self._table(x86_const.UC_X86_REG_IDTR)

    def _table(self, register: int) -> tuple[int, int]:
        _selector, base, limit, _flags = self._cpu.engine.get(register)
        return base, limit

    def inner_stack(self, ring: int) -> tuple[int, int]:
        """SSn and ESPn of the 32-bit TSS in TR."""
        selector, base, limit, _flags = self._cpu.engine.get(x86_const.UC_X86_REG_TR)
        at = 4 + 8 * ring
        if at + 5 > limit:
            raise Fault(TS, selector & 0xFFFC)
        esp, ss = self._cpu.load_pair(base + at)
        return ss & 0xFFFF, esp

    def set_fault_address(self, linear: int) -> None:
        """CR2."""
        self._cpu.engine.set(x86_const.UC_X86_REG_CR2, linear)

    def image(self, flags: int) -> int:
        """The register itself."""
        return flags

    def mask(self, flags: int) -> int:
        """IF off."""
        return flags & ~IF
