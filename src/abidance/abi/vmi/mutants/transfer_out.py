# SPDX-License-Identifier: BSD-2-Clause
"""Defects of SYSEXIT and Halt."""

from __future__ import annotations

import struct
from collections.abc import Callable
from typing import TYPE_CHECKING

from abidance.abi.vmi.mutants.arrivals import Frame, after_iret, pretend
from abidance.abi.vmi.mutants.changes import NUMBERS, Call, instead, notes, wrap
from abidance.abi.vmi.reference.image import JUMP_REL
from abidance.platform.unicorn.engine import DS, EAX, EBP, ECX, EIP, ES, ESP, FS, GS
from abidance.platform.unicorn.gates import IF
from abidance.suite import mutant

if TYPE_CHECKING:
    from abidance.abi.vmi.reference.hypervisor import Hypervisor
    from abidance.abi.vmi.reference.vcpu import VirtualCpu

__all__: list[str] = []

Service = Callable[[], None]
_SYSEXIT, _HALT = NUMBERS["SYSEXIT"], NUMBERS["Halt"]
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


# -- Halt --------------------------------------------------------------------------------------------

def _behind_halt(hv: Hypervisor, eip: int) -> bool:
    """Whether EIP is where Halt goes on after its trap."""
    return eip & 0xFFFF == hv.image.stub(_HALT) + _TRAP_LENGTH & 0xFFFF


@mutant("Halt-leaves-flag", violates="vmi.Halt.enables-interrupts")
def _(hv: Hypervisor) -> None:
    """Halt waits without enabling interrupts first."""
    def halt(vcpu: VirtualCpu) -> None:
        vcpu.halted = True
    hv.calls[_HALT] = halt


@mutant("Halt-restores-flag", violates="vmi.Halt.enables-interrupts")
def _(hv: Hypervisor) -> None:
    """Halt returns with the flag as it was at the call."""
    known = notes(hv)

    def make(original: Call) -> Call:
        def halt(vcpu: VirtualCpu) -> None:
            known["flag"] = vcpu.flag.enabled
            original(vcpu)
        return halt

    def change(vcpu: VirtualCpu, frame: Frame) -> None:
        if _behind_halt(hv, frame.eip):
            vcpu.flag.enabled = known.pop("flag", True)

    wrap(hv, "Halt", make)
    after_iret(hv, change)


@mutant("Halt-goes-back-to-sleep", violates="vmi.Halt.wakes-on-interrupt")
def _(hv: Hypervisor) -> None:
    """When the handler has returned, the processor is halted again."""
    def change(vcpu: VirtualCpu, frame: Frame) -> None:
        if _behind_halt(hv, frame.eip):
            vcpu.halted = True
    after_iret(hv, change)


@mutant("Halt-sleeps-over-interrupts", violates="vmi.Halt.wakes-on-interrupt")
def _(hv: Hypervisor) -> None:
    """An interrupt that arrives during the halt is not delivered."""
    vcpu = hv.vcpus[0]

    def make(original: Service) -> Service:
        def service() -> None:
            if not (vcpu.active and vcpu.halted and hv.time.now > state.get("since", 0) + 1):
                original()
        return service

    def halt(original: Call) -> Call:
        def call(vcpu: VirtualCpu) -> None:
            original(vcpu)
            state["since"] = hv.time.now
        return call

    state = notes(hv)
    wrap(hv, "Halt", halt)
    instead(vcpu, "service", make)


@mutant("Halt-loses-wakeup", violates="vmi.Halt.no-lost-wakeup")
def _(hv: Hypervisor) -> None:
    """Halt sleeps over an interrupt that was already pending, until another one comes."""
    state = notes(hv)
    vcpu, pic = hv.vcpus[0], hv.board.pic

    def halt(original: Call) -> Call:
        def call(vcpu: VirtualCpu) -> None:
            original(vcpu)
            state["old"] = pic.pending()
        return call

    def make(original: Service) -> Service:
        def service() -> None:
            if not vcpu.halted or state.get("old") is None or pic.pending() != state["old"]:
                original()
        return service

    wrap(hv, "Halt", halt)
    instead(vcpu, "service", make)


@mutant("Halt-returns-at-once", violates="vmi.Halt.waits-for-interrupt")
def _(hv: Hypervisor) -> None:
    """Halt enables interrupts and returns."""
    def halt(vcpu: VirtualCpu) -> None:
        vcpu.flag.enabled = True
    hv.calls[_HALT] = halt


@mutant("Halt-times-out", violates="vmi.Halt.waits-for-interrupt")
def _(hv: Hypervisor) -> None:
    """Halt returns after a while, interrupt or not."""
    state = notes(hv)
    vcpu = hv.vcpus[0]

    def halt(original: Call) -> Call:
        def call(vcpu: VirtualCpu) -> None:
            original(vcpu)
            state["until"] = hv.time.now + 64
        return call

    def make(original: Service) -> Service:
        def service() -> None:
            if vcpu.halted and hv.time.now >= state.get("until", 1 << 63):
                vcpu.halted = False
            original()
        return service

    def limit(original: Callable[[int], int]) -> Callable[[int], int]:
        return lambda left: original(min(left, 64) if vcpu.halted else left)

    instead(hv.time, "limit", limit)
    wrap(hv, "Halt", halt)
    instead(vcpu, "service", make)


@mutant("Halt-image-disabled", violates="vmi.Halt.image-enabled")
def _(hv: Hypervisor) -> None:
    """The interrupt that wakes Halt has the flag in its image as it was before Halt."""
    state = notes(hv)
    vcpu = hv.vcpus[0]

    def halt(original: Call) -> Call:
        def call(vcpu: VirtualCpu) -> None:
            state["before"] = vcpu.flag.enabled
            original(vcpu)
        return call

    def image(original: Callable[[int], int]) -> Callable[[int], int]:
        return lambda flags: original(flags) & (~0 if state.pop("before", True) else ~IF)

    wrap(hv, "Halt", halt)
    instead(vcpu, "image", image)
