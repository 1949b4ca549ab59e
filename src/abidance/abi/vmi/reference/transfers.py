# SPDX-License-Identifier: BSD-2-Clause
"""Ways between contexts: IRET, SYSEXIT, SYSENTER and the halt (sections 6.2 to 6.4).

IRET ends in a real `iretl`, which stands behind the trap in the ROM's stub: the CPU makes all the
checks and raises the faults. It is executed alone, and the virtual flag changes after it, so that
no interrupt can find a mixture. A fault goes to the guest's site, which the return address tells
when the relocation is CALL_REL (site + 5), with ESP as it was there; reached by a jump, the site is
unknown and the ROM's own address has to do.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from abidance.abi.vmi.reference.image import CALL_REL, IRET
from abidance.abi.vmi.reference.segments import KERNEL_CPL
from abidance.errors import GuestCrashed
from abidance.platform.unicorn.cpu import Exit
from abidance.platform.unicorn.engine import CS, ECX, EDX, EFLAGS, EIP, ESP
from abidance.platform.unicorn.gates import GP, IF, PF, RF, VM
from abidance.platform.unicorn.walk import Fault

if TYPE_CHECKING:
    from abidance.abi.vmi.reference.vcpu import VirtualCpu

__all__ = ["halt", "iret", "sysenter", "sysexit"]

SYSEXIT = 34
_CALL_LENGTH, _TRAP_LENGTH = 5, 2
_MSR_CS, _MSR_ESP, _MSR_EIP = 0x174, 0x175, 0x176


def iret(vcpu: VirtualCpu) -> None:
    """Return to the context whose frame is on the stack."""
    regs = vcpu.cpu.regs
    site, frame = _site(vcpu, IRET)
    try:
        flags = vcpu.read32(frame + 8)
    except Fault as fault:
        _fault_at(vcpu, site, frame, fault)
        return
    regs[ESP] = frame
    fault_or_none = execute_return(vcpu)
    if fault_or_none is not None:
        _fault_at(vcpu, site, frame, fault_or_none)
        return
    vcpu.hv.restore_flag(vcpu, bool(flags & IF))
    if vcpu.cpu.vector >= 0:
        vcpu.hv.exception(vcpu)


def execute_return(vcpu: VirtualCpu) -> Fault | None:
    """Let the CPU execute the `iretl` at EIP; the fault that it raises for the guest, or None."""
    cpu = vcpu.cpu
    before = cpu.executed
    while cpu.run(1) is Exit.EVENT:
        event = cpu.event()
        if cpu.executed != before:
            # The instruction is done; what follows it could not be fetched, or TF was set.
            return None
        fault = vcpu.hide(event)
        if fault is not None and fault.vector == PF:
            fault = vcpu.page_fault(event, fault)
        if fault is not None:
            return fault
        cpu.engine.settle()
    return None


def _site(vcpu: VirtualCpu, number: int) -> tuple[int, int]:
    """Where the guest's call or jump stands, as far as can be known, and ESP there."""
    regs = vcpu.cpu.regs
    stub = regs[EIP] - _TRAP_LENGTH
    if vcpu.hv.image.relocation(number)[0] != CALL_REL:
        return stub, regs[ESP]
    try:
        return vcpu.read32(regs[ESP]) - _CALL_LENGTH & 0xFFFFFFFF, regs[ESP] + 4 & 0xFFFFFFFF
    except Fault:
        return stub, regs[ESP]


def _fault_at(vcpu: VirtualCpu, site: int, esp: int, fault: Fault) -> None:
    vcpu.cpu.regs[EIP], vcpu.cpu.regs[ESP] = site, esp
    vcpu.deliver(fault)


def sysexit(vcpu: VirtualCpu) -> None:
    """To CPL 3 at EDX with ESP = ECX and interrupts enabled."""
    site, esp = _site(vcpu, SYSEXIT)
    try:
        leave(vcpu)
    except Fault as fault:
        _fault_at(vcpu, site, esp, fault)
        return
    vcpu.hv.restore_flag(vcpu, True)


def leave(vcpu: VirtualCpu) -> None:
    """What the instruction SYSEXIT does. Raises Fault without having changed anything."""
    cpu, regs = vcpu.cpu, vcpu.cpu.regs
    base = cpu.engine.uc.msr_read(_MSR_CS) & 0xFFFC
    if not base:
        raise Fault(GP, 0)
    cs, ss = base + 16 & 0xFFFC | 3, base + 24 & 0xFFFC | 3
    _require(vcpu, cs, code=True)
    _require(vcpu, ss, code=False)
    eip, esp = regs[EDX], regs[ECX]
    cpu.load_ring(3, cs, ss)
    regs[EIP], regs[ESP] = eip, esp


def _require(vcpu: VirtualCpu, selector: int, *, code: bool) -> None:
    """SYSEXIT does not look at descriptors; ours has to load them, so they must be what it would have
    pretended: present, DPL 3, code or writable data."""
    access = vcpu.cpu.descriptor(selector, GP)[1] >> 8
    wanted = 0x98 if code else 0x92
    if access & 0x80 == 0 or access >> 5 & 3 != 3 or access & (0x98 if code else 0x9A) != wanted:
        raise Fault(GP, selector & 0xFFFC)


def sysenter(vcpu: VirtualCpu) -> None:
    """SYSENTER has been executed; the kernel starts with the virtual flag clear (section 6.1)."""
    cpu, regs, read = vcpu.cpu, vcpu.cpu.regs, vcpu.cpu.engine.uc.msr_read
    base = read(_MSR_CS) & 0xFFFC
    try:
        if not base:
            raise Fault(GP, 0)
        ring = KERNEL_CPL if vcpu.active else 0
        cs, ss = base | ring, base + 8 & 0xFFFC | ring
        for selector in (cs, ss):
            if cpu.descriptor(selector, GP)[1] >> 13 & 3 != ring:
                raise Fault(GP, selector & 0xFFFC)
    except Fault as fault:
        regs[EIP] = regs[EIP] - 2 & 0xFFFFFFFF
        vcpu.deliver(fault)
        return
    if vcpu.active:
        vcpu.flag.enabled = False
        regs[EFLAGS] &= ~(VM | RF)
    else:
        regs[EFLAGS] &= ~(VM | RF | IF)
    cpu.load_ring(ring, cs, ss)
    regs[EIP], regs[ESP] = read(_MSR_EIP) & 0xFFFFFFFF, read(_MSR_ESP) & 0xFFFFFFFF


def halt(vcpu: VirtualCpu) -> None:
    """Enable interrupts and wait for one, in one step: what is pending wakes it at once."""
    if vcpu.cpu.regs[CS] & 3 != KERNEL_CPL:
        raise GuestCrashed("Halt outside the kernel")
    vcpu.flag.enabled = True
    vcpu.halted = True
