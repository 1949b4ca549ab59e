# SPDX-License-Identifier: BSD-2-Clause
"""Defects of SYSEXIT."""

from __future__ import annotations

import struct
from collections.abc import Callable
from typing import TYPE_CHECKING

from abidance.abi.vmi.mutants.arrivals import pretend
from abidance.abi.vmi.mutants.changes import NUMBERS, Call, instead, notes, wrap
from abidance.abi.vmi.reference.image import JUMP_REL
from abidance.platform.unicorn.engine import DS, EAX, EBP, ECX, EIP, ES, ESP, FS, GS
from abidance.suite import mutant

if TYPE_CHECKING:
    from abidance.abi.vmi.reference.hypervisor import Hypervisor
    from abidance.abi.vmi.reference.vcpu import VirtualCpu

__all__: list[str] = []

_SYSEXIT = NUMBERS["SYSEXIT"]
_TRAP_LENGTH = 2
_MSR_CS = 0x174
_USER_CODE, _USER_DATA = 0x00CFFB000000FFFF, 0x00CFF3000000FFFF


# -- SYSEXIT -----------------------------------------------------------------------------------------

def _after(hv: Hypervisor, change: Callable[[VirtualCpu], None]) -> None:
    """Change the user's context that SYSEXIT has just made."""
    def make(original: Call) -> Call:
        def sysexit(vcpu: VirtualCpu) -> None:
            original(vcpu)
            if vcpu.cpu.cpl == 3:
                change(vcpu)
        return sysexit
    wrap(hv, "SYSEXIT", make)


@mutant("SYSEXIT-eip-16-bit", violates="vmi.SYSEXIT.resumes-at-edx")
def _(hv: Hypervisor) -> None:
    """SYSEXIT goes on at the low 16 bits of EDX."""
    def change(vcpu: VirtualCpu) -> None:
        vcpu.cpu.regs[EIP] &= 0xFFFF
    _after(hv, change)


@mutant("SYSEXIT-registers-swapped", violates="vmi.SYSEXIT.resumes-at-edx")
def _(hv: Hypervisor) -> None:
    """SYSEXIT takes EIP from ECX and ESP from EDX."""
    def change(vcpu: VirtualCpu) -> None:
        regs = vcpu.cpu.regs
        regs[EIP], regs[ESP] = regs[ESP], regs[EIP]
    _after(hv, change)


@mutant("SYSEXIT-stack-one-word-down", violates="vmi.SYSEXIT.stack-from-ecx")
def _(hv: Hypervisor) -> None:
    """ESP is 4 below ECX."""
    def change(vcpu: VirtualCpu) -> None:
        vcpu.cpu.regs[ESP] -= 4
    _after(hv, change)


@mutant("SYSEXIT-on-kernel-stack", violates="vmi.SYSEXIT.stack-from-ecx")
def _(hv: Hypervisor) -> None:
    """ESP stays as it was in the kernel."""
    def make(original: Call) -> Call:
        def sysexit(vcpu: VirtualCpu) -> None:
            esp = vcpu.cpu.regs[ESP]
            original(vcpu)
            if vcpu.cpu.cpl == 3:
                vcpu.cpu.regs[ESP] = esp
        return sysexit
    wrap(hv, "SYSEXIT", make)


@mutant("SYSEXIT-own-descriptors", violates="vmi.SYSEXIT.user-selectors")
def _(hv: Hypervisor) -> None:
    """The user gets flat descriptors that the hypervisor puts at the end of the guest's GDT."""
    def change(vcpu: VirtualCpu) -> None:
        base, limit = vcpu.gdtr
        code = limit + 1 - 32 & ~7
        vcpu.cpu.write_linear(base + code, struct.pack("<2Q", _USER_CODE, _USER_DATA))
        vcpu.cpu.load_ring(3, code | 3, code + 8 | 3)
    _after(hv, change)


@mutant("SYSEXIT-first-selectors", violates="vmi.SYSEXIT.user-selectors")
def _(hv: Hypervisor) -> None:
    """IA32_SYSENTER_CS is read once, in VMI_Init."""
    known = notes(hv)
    cpu = hv.vcpus[0].cpu

    def initialise(original: Call) -> Call:
        def call(vcpu: VirtualCpu) -> None:
            known["cs"] = cpu.engine.uc.msr_read(_MSR_CS)
            original(vcpu)
        return call

    def make(original: Call) -> Call:
        def sysexit(vcpu: VirtualCpu) -> None:
            now = cpu.engine.uc.msr_read(_MSR_CS)
            cpu.engine.uc.msr_write(_MSR_CS, known["cs"])
            try:
                original(vcpu)
            finally:
                cpu.engine.uc.msr_write(_MSR_CS, now)
        return sysexit

    instead(hv, "initialise", initialise)
    wrap(hv, "SYSEXIT", make)


def _flag(hv: Hypervisor, rule: Callable[[VirtualCpu], bool]) -> None:
    """SYSEXIT leaves the virtual flag as `rule` says."""
    def make(original: Call) -> Call:
        def sysexit(vcpu: VirtualCpu) -> None:
            def restore(_vcpu: VirtualCpu, _enabled: bool) -> None:
                vcpu.flag.enabled = rule(vcpu)
            with pretend(hv, "restore_flag", restore):
                original(vcpu)
        return sysexit
    wrap(hv, "SYSEXIT", make)


@mutant("SYSEXIT-leaves-flag", violates="vmi.SYSEXIT.enables-interrupts")
def _(hv: Hypervisor) -> None:
    """SYSEXIT leaves the flag as it is: the instruction without the STI before it."""
    _flag(hv, lambda vcpu: vcpu.flag.enabled)


@mutant("SYSEXIT-toggles-flag", violates="vmi.SYSEXIT.enables-interrupts")
def _(hv: Hypervisor) -> None:
    """SYSEXIT inverts the flag: right only if it was clear."""
    _flag(hv, lambda vcpu: not vcpu.flag.enabled)


@mutant("SYSEXIT-enables-first", violates="vmi.SYSEXIT.enabling-is-atomic")
def _(hv: Hypervisor) -> None:
    """SYSEXIT enables interrupts and takes what is pending before it leaves the kernel."""
    def make(original: Call) -> Call:
        def sysexit(vcpu: VirtualCpu) -> None:
            if not vcpu.flag.enabled and hv.board.pic.pending() is not None:
                vcpu.flag.enabled = True
                vcpu.cpu.regs[EIP] -= _TRAP_LENGTH
                return
            original(vcpu)
        return sysexit
    wrap(hv, "SYSEXIT", make)


@mutant("SYSEXIT-clobbers-eax", violates="vmi.SYSEXIT.preserves-general")
def _(hv: Hypervisor) -> None:
    """SYSEXIT returns 0 in EAX, the system call's result is lost."""
    def change(vcpu: VirtualCpu) -> None:
        vcpu.cpu.regs[EAX] = 0
    _after(hv, change)


@mutant("SYSEXIT-clobbers-ebp", violates="vmi.SYSEXIT.preserves-general")
def _(hv: Hypervisor) -> None:
    """EBP is the user's ESP after SYSEXIT."""
    def change(vcpu: VirtualCpu) -> None:
        vcpu.cpu.regs[EBP] = vcpu.cpu.regs[ESP]
    _after(hv, change)


def _nulls(hv: Hypervisor, *registers: int) -> None:
    def change(vcpu: VirtualCpu) -> None:
        for register in registers:
            vcpu.cpu.load_segment(register, 0)
    _after(hv, change)


@mutant("SYSEXIT-nulls-ds-es", violates="vmi.SYSEXIT.preserves-user-segments")
def _(hv: Hypervisor) -> None:
    """DS and ES are null after SYSEXIT."""
    _nulls(hv, DS, ES)


@mutant("SYSEXIT-nulls-fs-gs", violates="vmi.SYSEXIT.preserves-user-segments")
def _(hv: Hypervisor) -> None:
    """FS and GS are null after SYSEXIT."""
    _nulls(hv, FS, GS)


@mutant("SYSEXIT-by-jump-loses-stack", violates="vmi.SYSEXIT.either-relocation")
def _(hv: Hypervisor) -> None:
    """SYSEXIT is answered JUMP_REL; its code discards a return address and takes the rest for the user's."""
    def make(original: Call) -> Call:
        def sysexit(vcpu: VirtualCpu) -> None:
            regs = vcpu.cpu.regs
            regs[ECX] = regs[ESP] + 4
            original(vcpu)
        return sysexit
    hv.image.retype(_SYSEXIT, JUMP_REL)
    wrap(hv, "SYSEXIT", make)


@mutant("SYSEXIT-by-jump-leaves-flag", violates="vmi.SYSEXIT.either-relocation")
def _(hv: Hypervisor) -> None:
    """SYSEXIT is answered JUMP_REL, and only the way by call enables interrupts."""
    hv.image.retype(_SYSEXIT, JUMP_REL)
    _flag(hv, lambda vcpu: vcpu.flag.enabled)
