# SPDX-License-Identifier: BSD-2-Clause
"""One function per call: takes its arguments from the registers, leaves its result there.

    EAX, EDX, ECX, then the stack (the return address is at ESP): section 4.1

`CALLS` maps numbers to functions. Nothing here is trusted: an address that the guest's tables do
not map raises `Fault`, which the guest gets; numbers out of range are ignored.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING

from abidance.abi.vmi.reference import transfers
from abidance.platform.unicorn.engine import EAX, ECX, EDX
from abidance.platform.unicorn.gates import IF

if TYPE_CHECKING:
    from abidance.abi.vmi.reference.vcpu import VirtualCpu

__all__ = ["CALLS", "DEFER", "Call", "invalidate", "store_entry"]

Call = Callable[["VirtualCpu"], None]
DEFER = 0x20
"""Flag of SetPxE and UpdatePxE: may be queued (section 6.10)."""


def update_kernel_stack(vcpu: VirtualCpu) -> None:
    """14: SS0 in EAX, ESP0 in EDX."""
    regs = vcpu.cpu.regs
    vcpu.deferral.change(vcpu.set_stack, regs[EAX], regs[EDX])


def set_cr0(vcpu: VirtualCpu) -> None:
    """15: value in EAX."""
    vcpu.set_cr0(vcpu.cpu.regs[EAX])


def set_cr2(vcpu: VirtualCpu) -> None:
    """16: value in EAX."""
    vcpu.set_cr2(vcpu.cpu.regs[EAX])


def set_cr3(vcpu: VirtualCpu) -> None:
    """17: value in EAX."""
    vcpu.set_cr3(vcpu.cpu.regs[EAX])


def set_cr4(vcpu: VirtualCpu) -> None:
    """18: value in EAX."""
    vcpu.set_cr4(vcpu.cpu.regs[EAX])


def get_cr0(vcpu: VirtualCpu) -> None:
    """19: to EAX."""
    vcpu.cpu.regs[EAX] = vcpu.cr0


def get_cr2(vcpu: VirtualCpu) -> None:
    """20: to EAX."""
    vcpu.cpu.regs[EAX] = vcpu.cr2


def get_cr3(vcpu: VirtualCpu) -> None:
    """21: to EAX."""
    vcpu.cpu.regs[EAX] = vcpu.cr3


def get_cr4(vcpu: VirtualCpu) -> None:
    """22: to EAX."""
    vcpu.cpu.regs[EAX] = vcpu.cr4


def clts(vcpu: VirtualCpu) -> None:
    """28: clear TS."""
    vcpu.deferral.change(vcpu.clear_ts)


def enable_interrupts(vcpu: VirtualCpu) -> None:
    """29, only if it has been made to trap: the loop delivers what is pending before the next
    instruction."""
    vcpu.flag.enabled = True


def disable_interrupts(vcpu: VirtualCpu) -> None:
    """30, only if it has been made to trap."""
    vcpu.flag.enabled = False


def get_interrupt_mask(vcpu: VirtualCpu) -> None:
    """31, only if it has been made to trap: bit 9 of EAX."""
    vcpu.cpu.regs[EAX] = IF if vcpu.flag.enabled else 0


def set_interrupt_mask(vcpu: VirtualCpu) -> None:
    """32, only if it has been made to trap: bit 9 of EAX."""
    vcpu.flag.enabled = bool(vcpu.cpu.regs[EAX] & IF)


def set_pxe(vcpu: VirtualCpu) -> None:
    """38: value in EAX, linear address of the entry in EDX, flags in ECX. The level and the address
    in the flags are not needed: shadow entries know what they came from."""
    regs = vcpu.cpu.regs
    vcpu.deferral.update(bool(regs[ECX] & DEFER),
                         vcpu.hv.store_entry, vcpu.hv.number(vcpu), regs[EDX], regs[EAX])


def update_pxe(vcpu: VirtualCpu) -> None:
    """40: linear address of the entry in EAX, flags in EDX; the guest has stored it."""
    regs = vcpu.cpu.regs
    vcpu.deferral.update(bool(regs[EDX] & DEFER), vcpu.hv.entry_changed, vcpu.hv.number(vcpu), regs[EAX])


def inval_page(vcpu: VirtualCpu) -> None:
    """46: linear address in EAX."""
    invalidate(vcpu, vcpu.cpu.regs[EAX])


def flush_tlb(vcpu: VirtualCpu) -> None:
    """47: 1, or 3 for global pages too; global pages are flushed either way."""
    vcpu.deferral.flush_updates()
    vcpu.shadow.flush()


def set_linear_mapping(vcpu: VirtualCpu) -> None:
    """48: a hint that nothing here needs, since addresses of entries are translated like any."""
    del vcpu


def set_lazy_mode(vcpu: VirtualCpu) -> None:
    """73: mode in EAX."""
    vcpu.deferral.set_mode(vcpu.cpu.regs[EAX])


def invalidate(vcpu: VirtualCpu, linear: int) -> None:
    """Put deferred updates into effect and forget the translation of one page."""
    vcpu.deferral.flush_updates()
    vcpu.shadow.invalidate(linear)


def store_entry(vcpu: VirtualCpu, linear: int, value: int) -> None:
    """Store an entry as the kernel would, and drop what came from the old one. Raises Fault."""
    physical = vcpu.translate(linear, write=True, user=False)
    vcpu.cpu.write_linear(linear, value.to_bytes(4, "little"))
    vcpu.shadow.entry_changed(physical)


CALLS: dict[int, Call] = {
    14: update_kernel_stack, 15: set_cr0, 16: set_cr2, 17: set_cr3, 18: set_cr4, 19: get_cr0, 20: get_cr2,
    21: get_cr3, 22: get_cr4, 28: clts, 29: enable_interrupts, 30: disable_interrupts,
    31: get_interrupt_mask, 32: set_interrupt_mask, 33: transfers.iret, 34: transfers.sysexit,
    35: transfers.halt, 38: set_pxe, 40: update_pxe, 46: inval_page, 47: flush_tlb, 48: set_linear_mapping,
    73: set_lazy_mode,
}
