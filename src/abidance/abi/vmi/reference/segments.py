# SPDX-License-Identifier: BSD-2-Clause
"""Descriptors of a guest whose kernel runs at CPL 1.

The guest's own GDT and LDT stay in use, so that SGDT tells the truth and a descriptor that the guest
stores counts at once; the document has tables page aligned "to allow unshadowed operation" and lets
the hypervisor raise DPLs in them (section 6.5). Code and data descriptors of DPL 0 become DPL 1: all
of them in VMI_Init and LGDT, and later ones when the processor refuses them or a gate names them.
Selectors in live registers get their RPL raised.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from abidance.platform.unicorn.cpu import Cpu
from abidance.platform.unicorn.engine import CS, DS, ES, FS, GS, SS
from abidance.platform.unicorn.walk import Fault

if TYPE_CHECKING:
    from abidance.abi.vmi.reference.vcpu import VirtualCpu

__all__ = ["KERNEL_CPL", "GuestCpu", "raise_all", "raise_live", "raise_one"]

KERNEL_CPL = 1
_SEGMENT, _CODE, _CONFORMING, _DPL_SHIFT = 1 << 12, 1 << 11, 1 << 10, 13
_TABLE_LIMIT = 0xFFFF


class GuestCpu(Cpu):
    """A CPU whose gates and stacks find every descriptor already raised."""

    raising = False

    def descriptor(self, selector: int, vector: int, external: int = 0) -> tuple[int, int]:
        """As `Cpu.descriptor`, after the DPL has been raised."""
        low, high = super().descriptor(selector, vector, external)
        if self.raising and _needs_raising(high):
            raise_one(self, selector)
            high |= KERNEL_CPL << _DPL_SHIFT
        return low, high


def _needs_raising(high: int) -> bool:
    """Code (not conforming) or data with DPL 0."""
    if not high & _SEGMENT or high >> _DPL_SHIFT & 3:
        return False
    return high & (_CODE | _CONFORMING) != _CODE | _CONFORMING


def raise_one(cpu: Cpu, selector: int) -> bool:
    """Raise the DPL of one descriptor in guest memory; False if it needs none or cannot be read."""
    base, limit = cpu.environment.ldt() if selector & 4 else cpu.environment.gdt()
    at = selector & 0xFFF8
    if at + 7 > limit or not selector & 0xFFFC:
        return False
    linear = base + at + 4 & 0xFFFFFFFF
    try:
        physical = cpu.environment.translate(linear, write=False, user=False)
    except Fault:
        return False
    high = int.from_bytes(cpu.read_physical(physical, 4), "little")
    if not _needs_raising(high):
        return False
    cpu.write_physical(physical, (high | KERNEL_CPL << _DPL_SHIFT).to_bytes(4, "little"))
    return True


def raise_all(cpu: Cpu, *, local: bool = False) -> None:
    """Raise every descriptor of the GDT (or LDT) that can be reached."""
    _, limit = cpu.environment.ldt() if local else cpu.environment.gdt()
    for at in range(0, min(limit, _TABLE_LIMIT) + 1 & ~7, 8):
        raise_one(cpu, at | 4 if local else at)


def raise_live(vcpu: VirtualCpu) -> None:
    """Load the selectors that are in the segment registers again, with the RPL of the kernel where it
    was lower, at the kernel's CPL. Raises Fault if CS or SS cannot be loaded there."""
    cpu = vcpu.cpu
    regs = cpu.regs
    cs, ss = regs[CS] & 0xFFFC | KERNEL_CPL, regs[SS] & 0xFFFC | KERNEL_CPL
    for selector in (cs, ss):
        high = cpu.descriptor(selector, 13)[1]
        if high >> _DPL_SHIFT & 3 != KERNEL_CPL:
            raise Fault(13, selector & 0xFFFC)
    cpu.load_ring(KERNEL_CPL, cs, ss)
    for register in (DS, ES, FS, GS):
        selector = regs[register]
        if selector & 0xFFFC and selector & 3 < KERNEL_CPL:
            selector = selector & 0xFFFC | KERNEL_CPL
        try:
            cpu.load_segment(register, selector)
        except Fault:
            # The hidden part still works and cannot be kept; the document allows only NULL here.
            cpu.load_segment(register, 0)
