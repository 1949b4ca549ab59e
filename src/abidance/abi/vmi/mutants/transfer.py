# SPDX-License-Identifier: BSD-2-Clause
"""Defects of IRET, SYSENTER and the flag that they leave."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING

from abidance.abi.vmi.mutants.arrivals import (
    CARRY_TO_OVERFLOW,
    DIRECTION,
    Frame,
    after_iret,
    iret_flag,
    pretend,
)
from abidance.abi.vmi.mutants.changes import Call, instead, notes, wrap
from abidance.abi.vmi.reference import transfers
from abidance.abi.vmi.reference.image import JUMP_REL
from abidance.platform.unicorn.cpu import Exit
from abidance.platform.unicorn.engine import DS, EBP, ECX, EFLAGS, EIP, ESP, FS, GS
from abidance.platform.unicorn.gates import IF
from abidance.platform.unicorn.walk import Fault
from abidance.suite import mutant

if TYPE_CHECKING:
    from abidance.abi.vmi.reference.hypervisor import Hypervisor
    from abidance.abi.vmi.reference.vcpu import VirtualCpu

__all__: list[str] = []

Service = Callable[[], None]
_IRET = 33
_MASK = 0xFFFFFFFF


# -- the frame ---------------------------------------------------------------------------------------

@mutant("IRET-call-keeps-return-address", violates="vmi.IRET.frame-follows-relocation")
def _(hv: Hypervisor) -> None:
    """IRET by call takes the frame from ESP, where the return address is."""
    def iret(vcpu: VirtualCpu) -> None:
        vcpu.cpu.regs[ESP] -= 4
        transfers.iret(vcpu)
    hv.calls[_IRET] = iret


@mutant("IRET-jump-skips-a-word", violates="vmi.IRET.frame-follows-relocation")
def _(hv: Hypervisor) -> None:
    """IRET is answered JUMP_REL and discards a return address that is not there."""
    def iret(vcpu: VirtualCpu) -> None:
        vcpu.cpu.regs[ESP] += 4
        transfers.iret(vcpu)
    hv.image.retype(_IRET, JUMP_REL)
    hv.calls[_IRET] = iret


@mutant("IRET-kernel-pops-five", violates="vmi.IRET.resumes-kernel")
def _(hv: Hypervisor) -> None:
    """A return to the kernel takes ESP and SS off the stack, too."""
    def change(vcpu: VirtualCpu, frame: Frame) -> None:
        if frame.cs & 3 != 3:
            vcpu.cpu.regs[ESP] += 8
    after_iret(hv, change)


@mutant("IRET-kernel-keeps-frame", violates="vmi.IRET.resumes-kernel")
def _(hv: Hypervisor) -> None:
    """A return to the kernel leaves ESP at the frame."""
    def change(vcpu: VirtualCpu, frame: Frame) -> None:
        if frame.cs & 3 != 3:
            vcpu.cpu.regs[ESP] = frame.at
    after_iret(hv, change)


@mutant("IRET-user-on-kernel-stack", violates="vmi.IRET.resumes-user")
def _(hv: Hypervisor) -> None:
    """The user goes on with ESP above the kernel's frame."""
    def change(vcpu: VirtualCpu, frame: Frame) -> None:
        if frame.cs & 3 == 3:
            vcpu.cpu.regs[ESP] = frame.at + 20
    after_iret(hv, change)


@mutant("IRET-user-one-on", violates="vmi.IRET.resumes-user")
def _(hv: Hypervisor) -> None:
    """The user goes on one byte behind the frame's EIP."""
    def change(vcpu: VirtualCpu, frame: Frame) -> None:
        if frame.cs & 3 == 3:
            vcpu.cpu.regs[EIP] = frame.eip + 1 & _MASK
    after_iret(hv, change)


# -- the virtual flag --------------------------------------------------------------------------------

@mutant("IRET-never-enables", violates="vmi.IRET.sets-flag")
def _(hv: Hypervisor) -> None:
    """IRET clears the flag if told so and never sets it."""
    iret_flag(hv, lambda vcpu, wanted: wanted and vcpu.flag.enabled)


@mutant("IRET-enables-user-only", violates="vmi.IRET.sets-flag")
def _(hv: Hypervisor) -> None:
    """IRET to the kernel leaves the flag clear."""
    iret_flag(hv, lambda vcpu, wanted: wanted and vcpu.cpu.cpl == 3)


@mutant("IRET-never-disables", violates="vmi.IRET.clears-flag")
def _(hv: Hypervisor) -> None:
    """IRET sets the flag if told so and never clears it."""
    iret_flag(hv, lambda vcpu, wanted: wanted or vcpu.flag.enabled)


@mutant("IRET-always-enables", violates="vmi.IRET.clears-flag")
def _(hv: Hypervisor) -> None:
    """IRET sets the flag whatever the frame says."""
    iret_flag(hv, lambda _vcpu, _wanted: True)


@mutant("IRET-enables-first", violates="vmi.IRET.flag-is-atomic")
def _(hv: Hypervisor) -> None:
    """IRET sets the flag, and only then executes the return, with a place for interrupts between."""
    def iret(vcpu: VirtualCpu) -> None:
        _, frame = transfers._site(vcpu, _IRET)
        vcpu.flag.enabled = bool(vcpu.read32(frame + 8) & IF)
        vcpu.cpu.regs[ESP] = frame
    hv.calls[_IRET] = iret


@mutant("IRET-enables-later", violates="vmi.IRET.sets-flag")
def _(hv: Hypervisor) -> None:
    """The flag is set one instruction after the context has been resumed."""
    state = notes(hv)
    vcpu = hv.vcpus[0]

    def rule(_: VirtualCpu, wanted: bool) -> bool:
        state["left"] = 2 if wanted else 0
        return False

    def make(original: Service) -> Service:
        def service() -> None:
            if state.get("left", 0):
                state["left"] -= 1
                vcpu.inhibited = state["left"] == 1
                vcpu.flag.enabled |= not state["left"]
            original()
        return service

    iret_flag(hv, rule)
    instead(vcpu, "service", make)


@mutant("IRET-forgets-pending", violates="vmi.IRET.delivers-pending")
def _(hv: Hypervisor) -> None:
    """What is pending when IRET sets the flag waits until the guest traps for another reason."""
    state = notes(hv)
    vcpu = hv.vcpus[0]

    def change(_: VirtualCpu, frame: Frame) -> None:
        state["skip"] = bool(frame.eflags & IF)

    def make(original: Service) -> Service:
        def service() -> None:
            if state.pop("skip", False) and hv.board.pic.pending() is not None:
                vcpu.flag.announce(True)
            else:
                original()
        return service

    after_iret(hv, change)
    instead(vcpu, "service", make)


@mutant("IRET-pending-sees-old-context", violates="vmi.IRET.delivers-pending")
def _(hv: Hypervisor) -> None:
    """An interrupt that is pending finds the EIP of the IRET in its frame."""
    state = notes(hv)
    cpu = hv.vcpus[0].cpu

    def iret(original: Call) -> Call:
        def call(vcpu: VirtualCpu) -> None:
            state["site"] = cpu.regs[EIP]
            original(vcpu)
        return call

    def interrupt(original: Callable[[int], None]) -> Callable[[int], None]:
        def call(vector: int) -> None:
            site = state.pop("site", None)
            if site is not None and state.pop("resumed", False):
                cpu.regs[EIP] = site
            original(vector)
        return call

    def run(original: Callable[[int], Exit]) -> Callable[[int], Exit]:
        def call(limit: int) -> Exit:
            state.pop("resumed", None)
            return original(limit)
        return call

    def resumed(_vcpu: VirtualCpu, _frame: Frame) -> None:
        state["resumed"] = True

    after_iret(hv, resumed)
    wrap(hv, "IRET", iret)
    instead(cpu, "interrupt", interrupt)
    instead(cpu, "run", run)


# -- the rest of the context -------------------------------------------------------------------------

def _iret_keeps(hv: Hypervisor, mask: int) -> None:
    """These flags of the resumed context are those with which IRET was reached."""
    def make(original: Call) -> Call:
        def call(vcpu: VirtualCpu) -> None:
            state["flags"] = vcpu.cpu.regs[EFLAGS]
            original(vcpu)
        return call

    def change(vcpu: VirtualCpu, _: Frame) -> None:
        regs = vcpu.cpu.regs
        regs[EFLAGS] = regs[EFLAGS] & ~mask | state["flags"] & mask

    state = notes(hv)
    after_iret(hv, change)
    wrap(hv, "IRET", make)


@mutant("IRET-keeps-arithmetic-flags", violates="vmi.IRET.restores-arithmetic-flags")
def _(hv: Hypervisor) -> None:
    """The arithmetic flags of the handler stay."""
    _iret_keeps(hv, CARRY_TO_OVERFLOW)


@mutant("IRET-clears-direction", violates="vmi.IRET.restores-arithmetic-flags")
def _(hv: Hypervisor) -> None:
    """DF is clear after IRET, whatever the frame says."""
    def change(vcpu: VirtualCpu, frame: Frame) -> None:
        del frame
        vcpu.cpu.regs[EFLAGS] &= ~DIRECTION
    after_iret(hv, change)


def _iret_sets(hv: Hypervisor, register: int, value: int) -> None:
    def change(vcpu: VirtualCpu, frame: Frame) -> None:
        vcpu.cpu.regs[register] = value or frame.eflags
    after_iret(hv, change)


@mutant("IRET-clobbers-ecx", violates="vmi.IRET.preserves-general")
def _(hv: Hypervisor) -> None:
    """ECX holds the restored flags after IRET."""
    _iret_sets(hv, ECX, 0)


@mutant("IRET-clobbers-ebp", violates="vmi.IRET.preserves-general")
def _(hv: Hypervisor) -> None:
    """EBP is left changed by the routine's own stack frame."""
    _iret_sets(hv, EBP, 0xC00C0000)


def _iret_nulls(hv: Hypervisor, *registers: int) -> None:
    def change(vcpu: VirtualCpu, frame: Frame) -> None:
        if frame.cs & 3 == 3:
            for register in registers:
                vcpu.cpu.load_segment(register, 0)
    after_iret(hv, change)


@mutant("IRET-nulls-fs-gs", violates="vmi.IRET.preserves-user-segments")
def _(hv: Hypervisor) -> None:
    """A return to CPL 3 leaves FS and GS null."""
    _iret_nulls(hv, FS, GS)


@mutant("IRET-nulls-ds", violates="vmi.IRET.preserves-user-segments")
def _(hv: Hypervisor) -> None:
    """A return to CPL 3 leaves DS null."""
    _iret_nulls(hv, DS)


@mutant("IRET-faults-in-ROM", violates="vmi.IRET.fault-at-site")
def _(hv: Hypervisor) -> None:
    """The fault of a bad frame shows the address of the IRETL in the ROM."""
    def make(original: Call) -> Call:
        def iret(vcpu: VirtualCpu) -> None:
            here, deliver = vcpu.cpu.regs[EIP], vcpu.deliver

            def other(fault: Fault) -> None:
                vcpu.cpu.regs[EIP] = here
                deliver(fault)

            with pretend(vcpu, "deliver", other):
                original(vcpu)
        return iret
    wrap(hv, "IRET", make)


# -- SYSENTER ----------------------------------------------------------------------------------------

@mutant("SYSENTER-leaves-flag", violates="vmi.transfer.sysenter-starts-disabled")
def _(hv: Hypervisor) -> None:
    """The handler that SYSENTER enters begins with the virtual flag set."""
    def step(original: Callable[[VirtualCpu, int], Exit]) -> Callable[[VirtualCpu, int], Exit]:
        def run(vcpu: VirtualCpu, limit: int) -> Exit:
            reason = original(vcpu, limit)
            if reason is Exit.SYSENTER and vcpu.active:
                vcpu.flag.enabled = True
            return reason
        return run
    instead(hv, "_step", step)
