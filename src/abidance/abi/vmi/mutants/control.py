# SPDX-License-Identifier: BSD-2-Clause
"""Mutants of the control registers: SetCR0, GetCR0, CLTS, and what is shown."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import TYPE_CHECKING, Any

from unicorn import x86_const

from abidance.abi.vmi.constants import Cr0
from abidance.abi.vmi.mutants.changes import (
    Call,
    afterwards,
    argument,
    instead,
    look_up,
    notes,
    nothing,
    result,
    without,
    wrap,
)
from abidance.platform.unicorn.gates import GP
from abidance.platform.unicorn.walk import Fault
from abidance.suite import mutant

if TYPE_CHECKING:
    from abidance.abi.vmi.reference.hypervisor import Hypervisor
    from abidance.abi.vmi.reference.vcpu import VirtualCpu

__all__: list[str] = []

_MASK = 0xFFFFFFFF
_ET = 1 << 4
_DE, _PSE, _PAE, _PGE = 1 << 3, 1 << 4, 1 << 5, 1 << 7


def _real_cr0(vcpu: VirtualCpu, clear: int, put: int = 0) -> None:
    """Change the processor's own CR0 behind the guest's."""
    engine = vcpu.cpu.engine
    engine.set(x86_const.UC_X86_REG_CR0, engine.get(x86_const.UC_X86_REG_CR0) & ~int(clear) | put)


# -- SetCR0 ---------------------------------------------------------------------------------------


@mutant("SetCR0-refuses-ET", violates="vmi.SetCR0.accepts-current")
def _(hv: Hypervisor) -> None:
    """SetCR0 takes the ET bit, which GetCR0 shows, for reserved and raises vector 13."""
    def check(_vcpu: VirtualCpu, value: int) -> int:
        if value & _ET:
            raise Fault(GP, 0)
        return value
    argument(hv, "SetCR0", check)


@mutant("SetCR0-loses-NE", violates="vmi.SetCR0.accepts-current")
def _(hv: Hypervisor) -> None:
    """SetCR0 keeps only the bits it knows, and NE is missing among them."""
    argument(hv, "SetCR0", lambda _vcpu, value: without(value, Cr0.NE))


@mutant("SetCR0-ignores-TS", violates="vmi.SetCR0.sets-ts")
def _(hv: Hypervisor) -> None:
    """SetCR0 cannot set TS."""
    argument(hv, "SetCR0", lambda vcpu, value: without(value, Cr0.TS) | vcpu.cr0 & value & Cr0.TS)


@mutant("SetCR0-TS-only-shown", violates="vmi.SetCR0.sets-ts")
def _(hv: Hypervisor) -> None:
    """TS set by SetCR0 is shown, but x87 instructions go on without vector 7."""
    afterwards(hv, "SetCR0", lambda vcpu, _given: _real_cr0(vcpu, Cr0.TS))


@mutant("SetCR0-TS-not-shown", violates="vmi.SetCR0.sets-ts")
def _(hv: Hypervisor) -> None:
    """TS set by SetCR0 is in effect, but GetCR0 does not show it."""
    def effect(vcpu: VirtualCpu, _given: int) -> None:
        vcpu.cr0 = without(vcpu.cr0, Cr0.TS)
    afterwards(hv, "SetCR0", effect)


@mutant("SetCR0-keeps-TS", violates="vmi.SetCR0.clears-ts")
def _(hv: Hypervisor) -> None:
    """SetCR0 leaves TS set once it is set; only CLTS clears it."""
    argument(hv, "SetCR0", lambda vcpu, value: value | vcpu.cr0 & Cr0.TS)


@mutant("SetCR0-TS-cleared-only-shown", violates="vmi.SetCR0.clears-ts")
def _(hv: Hypervisor) -> None:
    """After SetCR0 has cleared TS, GetCR0 shows it clear and x87 instructions still fault."""
    def make(original: Call) -> Call:
        def call(vcpu: VirtualCpu) -> None:
            before = vcpu.cr0 & Cr0.TS
            original(vcpu)
            _real_cr0(vcpu, 0, before)
        return call
    wrap(hv, "SetCR0", make)


@mutant("SetCR0-WP-cleared-only-shown", violates="vmi.SetCR0.refused-stays-shown")
def _(hv: Hypervisor) -> None:
    """WP reads as cleared, and kernel writes to read-only pages still fault."""
    def effect(vcpu: VirtualCpu, _given: int) -> None:
        vcpu.shadow.protect = True
    afterwards(hv, "SetCR0", effect)


@mutant("SetCR0-WP-shown-without-effect", violates="vmi.SetCR0.refused-stays-shown")
def _(hv: Hypervisor) -> None:
    """A cleared WP stays shown, although kernel writes to read-only pages now succeed."""
    def effect(vcpu: VirtualCpu, _given: int) -> None:
        vcpu.cr0 |= Cr0.WP
    afterwards(hv, "SetCR0", effect)


@mutant("SetCR0-PG-cleared-only-shown", violates="vmi.SetCR0.refused-stays-shown")
def _(hv: Hypervisor) -> None:
    """PG reads as cleared, and addresses are still translated."""
    def effect(vcpu: VirtualCpu, given: int) -> None:
        vcpu.cr0 = without(vcpu.cr0, without(Cr0.PG, given))
    afterwards(hv, "SetCR0", effect)


@mutant("SetCR0-PE-cleared-only-shown", violates="vmi.SetCR0.refused-stays-shown")
def _(hv: Hypervisor) -> None:
    """PE reads as cleared, and the processor is still in protected mode."""
    def effect(vcpu: VirtualCpu, given: int) -> None:
        vcpu.cr0 = without(vcpu.cr0, without(Cr0.PE, given))
    afterwards(hv, "SetCR0", effect)


# -- GetCR0 and CLTS ------------------------------------------------------------------------------


@mutant("GetCR0-sixteen-bits", violates="vmi.GetCR0.as-native")
def _(hv: Hypervisor) -> None:
    """GetCR0 is made with SMSW and loses bits 31 to 16, PG among them."""
    result(hv, "GetCR0", lambda _vcpu, value: value & 0xFFFF)


@mutant("GetCR0-without-TS", violates="vmi.GetCR0.as-native")
def _(hv: Hypervisor) -> None:
    """GetCR0 always shows TS clear."""
    result(hv, "GetCR0", lambda _vcpu, value: without(value, Cr0.TS))


@mutant("GetCR0-without-PE", violates="vmi.GetCR0.as-native")
def _(hv: Hypervisor) -> None:
    """GetCR0 shows PE clear, although the guest runs in protected mode."""
    result(hv, "GetCR0", lambda _vcpu, value: without(value, Cr0.PE))


@mutant("GetCR0-from-Init", violates="vmi.GetCR0.as-native")
def _(hv: Hypervisor) -> None:
    """GetCR0 returns what CR0 was in VMI_Init."""
    kept = notes(hv)

    def enter(original: Callable[[], bool]) -> Callable[[], bool]:
        def both() -> bool:
            done = original()
            kept["cr0"] = hv.vcpus[0].cr0
            return done
        return both
    instead(hv.vcpus[0], "enter", enter)
    result(hv, "GetCR0", lambda _vcpu, value: int(kept.get("cr0", value)))


@mutant("CLTS-ignored", violates="vmi.CLTS.clears-ts")
def _(hv: Hypervisor) -> None:
    """CLTS does nothing."""
    wrap(hv, "CLTS", lambda _original: nothing)


@mutant("CLTS-only-shown", violates="vmi.CLTS.clears-ts")
def _(hv: Hypervisor) -> None:
    """CLTS clears TS for GetCR0, and x87 instructions still raise vector 7."""
    def clear(vcpu: VirtualCpu) -> None:
        vcpu.cr0 = without(vcpu.cr0, Cr0.TS)
    wrap(hv, "CLTS", lambda _original: clear)


@mutant("CLTS-not-shown", violates="vmi.CLTS.clears-ts")
def _(hv: Hypervisor) -> None:
    """CLTS clears the processor's TS, and GetCR0 goes on showing it."""
    wrap(hv, "CLTS", lambda _original: lambda vcpu: _real_cr0(vcpu, Cr0.TS))


@mutant("CLTS-always-queued", violates="vmi.CLTS.clears-ts")
def _(hv: Hypervisor) -> None:
    """CLTS outside a lazy mode waits for the next SetLazyMode with 0."""
    def queue(vcpu: VirtualCpu) -> None:
        vcpu.deferral.state.append((vcpu.clear_ts, ()))
    wrap(hv, "CLTS", lambda _original: queue)


@mutant("CLTS-clears-low-bits", violates="vmi.CLTS.only-ts")
def _(hv: Hypervisor) -> None:
    """CLTS is made with LMSW and clears MP and EM too."""
    def clear(vcpu: VirtualCpu) -> None:
        vcpu.set_cr0(without(vcpu.cr0, Cr0.MP | Cr0.EM | Cr0.TS))
    wrap(hv, "CLTS", lambda _original: clear)


@mutant("CLTS-clears-WP", violates="vmi.CLTS.only-ts")
def _(hv: Hypervisor) -> None:
    """CLTS writes a CR0 of its own, without WP."""
    def clear(vcpu: VirtualCpu) -> None:
        vcpu.set_cr0(without(vcpu.cr0, Cr0.WP | Cr0.TS))
    wrap(hv, "CLTS", lambda _original: clear)


@mutant("CLTS-sets-AM", violates="vmi.CLTS.only-ts")
def _(hv: Hypervisor) -> None:
    """CLTS turns the alignment mask on."""
    def clear(vcpu: VirtualCpu) -> None:
        vcpu.set_cr0(without(vcpu.cr0, Cr0.TS) | Cr0.AM)
    wrap(hv, "CLTS", lambda _original: clear)


# -- what is shown is in effect -------------------------------------------------------------------


def _after_apply(hv: Hypervisor, effect: Callable[[VirtualCpu], None]) -> None:
    """Whenever CR0 or CR4 come into effect."""
    def make(original: Callable[[], None]) -> Callable[[], None]:
        def apply() -> None:
            original()
            effect(hv.vcpus[0])
        return apply
    instead(hv.vcpus[0], "_apply", make)

    def restored(original: Callable[[Any], None]) -> Callable[[Any], None]:
        def restore(saved: Any) -> None:
            original(saved)
            effect(hv.vcpus[0])
        return restore
    instead(hv.vcpus[0], "restore", restored)


@mutant("WP-without-effect", violates="vmi.control.shown-bits-in-effect")
def _(hv: Hypervisor) -> None:
    """WP is shown, and the kernel can write read-only pages."""
    def effect(vcpu: VirtualCpu) -> None:
        vcpu.shadow.protect = False
    _after_apply(hv, effect)


@mutant("PSE-without-effect", violates="vmi.control.shown-bits-in-effect")
def _(hv: Hypervisor) -> None:
    """PSE is shown, and the entry of a large page is taken for that of a page table."""
    def effect(vcpu: VirtualCpu) -> None:
        vcpu.shadow.large = False
    _after_apply(hv, effect)


@mutant("PSE-maps-four-KiB", violates="vmi.control.shown-bits-in-effect")
def _(hv: Hypervisor) -> None:
    """A large page maps its first 4 KiB a thousand times over."""
    look_up(hv, lambda walk, _linear, _write, _user: (
        found if (found := walk()).pte else replace(found, frame=found.frame & 0xFFC00000)))
