# SPDX-License-Identifier: BSD-2-Clause
"""Defects against the calling convention as such; what each call preserves is in `stamped`."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING

from unicorn import x86_const

from abidance.abi.vmi.mutants.arrivals import DIRECTION, MASK, routine
from abidance.abi.vmi.mutants.changes import Call, wrap
from abidance.platform.unicorn.engine import EFLAGS, FS, GS
from abidance.platform.unicorn.gates import GP
from abidance.platform.unicorn.walk import Fault
from abidance.suite import mutant

if TYPE_CHECKING:
    from abidance.abi.vmi.reference.hypervisor import Hypervisor
    from abidance.abi.vmi.reference.vcpu import VirtualCpu

__all__: list[str] = []

_ENABLE = 29
_SCRATCH = (int.from_bytes(MASK, "little") + 8).to_bytes(4, "little")


def _after(hv: Hypervisor, entry: str, change: Callable[[VirtualCpu], None]) -> None:
    def make(original: Call) -> Call:
        def call(vcpu: VirtualCpu) -> None:
            original(vcpu)
            change(vcpu)
        return call
    wrap(hv, entry, make)


@mutant("InvalPage-leaves-direction-set", violates="vmi.convention.keeps-direction-clear")
def _(hv: Hypervisor) -> None:
    """InvalPage returns with DF set."""
    def change(vcpu: VirtualCpu) -> None:
        vcpu.cpu.regs[EFLAGS] |= DIRECTION
    _after(hv, "InvalPage", change)


@mutant("EnableInterrupts-leaves-direction-set", violates="vmi.convention.keeps-direction-clear")
def _(hv: Hypervisor) -> None:
    """EnableInterrupts returns with DF set."""
    routine(hv, "EnableInterrupts", "FD E9", hv.image.relocation(_ENABLE)[1])


@mutant("FlushTLB-initialises-fpu", violates="vmi.convention.keeps-fpu-state")
def _(hv: Hypervisor) -> None:
    """FlushTLB leaves the control word of the x87 unit as after FNINIT."""
    def change(vcpu: VirtualCpu) -> None:
        vcpu.cpu.engine.set(x86_const.UC_X86_REG_FPCW, 0x37F)
    _after(hv, "FlushTLB", change)


@mutant("SetCR3-uses-xmm0", violates="vmi.convention.keeps-fpu-state")
def _(hv: Hypervisor) -> None:
    """SetCR3 copies memory through XMM0 and does not restore it."""
    def change(vcpu: VirtualCpu) -> None:
        vcpu.cpu.engine.set(x86_const.UC_X86_REG_XMM0, 0x5A5A)
    _after(hv, "SetCR3", change)


@mutant("GetInterruptMask-not-reentrant", violates="vmi.convention.interrupt-safe")
def _(hv: Hypervisor) -> None:
    """GetInterruptMask keeps its result in a fixed place for some instructions."""
    mask, scratch = MASK.hex(), _SCRATCH.hex()
    routine(hv, "GetInterruptMask", f"36 A1 {mask} 25 00020000 36 A3 {scratch} 90 90 36 A1 {scratch} C3")


def _needs(hv: Hypervisor, entry: str, register: int) -> None:
    """The call raises a general-protection fault if a segment register is null."""
    def make(original: Call) -> Call:
        def call(vcpu: VirtualCpu) -> None:
            if not vcpu.cpu.regs[register] & 0xFFFC:
                raise Fault(GP, 0)
            original(vcpu)
        return call
    wrap(hv, entry, make)


@mutant("SetCR0-needs-fs", violates="vmi.segments.fs-gs-unused")
def _(hv: Hypervisor) -> None:
    """SetCR0 reaches its data through FS."""
    _needs(hv, "SetCR0", FS)


@mutant("DisableInterrupts-needs-gs", violates="vmi.segments.fs-gs-unused")
def _(hv: Hypervisor) -> None:
    """DisableInterrupts reaches the shared page through GS."""
    hv.image.trap(30)
    _needs(hv, "DisableInterrupts", GS)
