# SPDX-License-Identifier: BSD-2-Clause
"""Mutants of the control registers: SetCR0, SetCR2, SetCR4, GetCR0…GetCR4, CLTS."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import TYPE_CHECKING, Any

from unicorn import x86_const

from abidance.abi.vmi.constants import Cr0
from abidance.abi.vmi.mutants.changes import Call, instead, look_up, notes, nothing, wrap
from abidance.platform.unicorn.engine import EAX, EIP
from abidance.platform.unicorn.gates import GP
from abidance.platform.unicorn.privileged import Privileged, decode
from abidance.platform.unicorn.walk import Fault
from abidance.suite import mutant

if TYPE_CHECKING:
    from abidance.abi.vmi.reference.hypervisor import Hypervisor
    from abidance.abi.vmi.reference.vcpu import VirtualCpu

__all__: list[str] = []

_MASK = 0xFFFFFFFF
_ET = 1 << 4
_DE, _PSE, _PAE, _PGE = 1 << 3, 1 << 4, 1 << 5, 1 << 7


def _value(hv: Hypervisor, entry: str, change: Callable[[VirtualCpu, int], int]) -> None:
    """Let a call see another value in EAX; EAX may be clobbered anyway."""
    def make(original: Call) -> Call:
        def call(vcpu: VirtualCpu) -> None:
            vcpu.cpu.regs[EAX] = change(vcpu, vcpu.cpu.regs[EAX]) & _MASK
            original(vcpu)
        return call
    wrap(hv, entry, make)


def _result(hv: Hypervisor, entry: str, change: Callable[[VirtualCpu, int], int]) -> None:
    """Let a call return another value in EAX."""
    def make(original: Call) -> Call:
        def call(vcpu: VirtualCpu) -> None:
            original(vcpu)
            vcpu.cpu.regs[EAX] = change(vcpu, vcpu.cpu.regs[EAX]) & _MASK
        return call
    wrap(hv, entry, make)


def _afterwards(hv: Hypervisor, entry: str, effect: Callable[[VirtualCpu, int], None]) -> None:
    """Let a call do something more; `effect` gets the EAX of the call."""
    def make(original: Call) -> Call:
        def call(vcpu: VirtualCpu) -> None:
            given = vcpu.cpu.regs[EAX]
            original(vcpu)
            effect(vcpu, given)
        return call
    wrap(hv, entry, make)


def _real_cr0(vcpu: VirtualCpu, clear: int, put: int = 0) -> None:
    """Change the processor's own CR0 behind the guest's."""
    engine = vcpu.cpu.engine
    engine.set(x86_const.UC_X86_REG_CR0, engine.get(x86_const.UC_X86_REG_CR0) & ~clear | put)


# -- SetCR0 ---------------------------------------------------------------------------------------


@mutant("SetCR0-refuses-ET", violates="vmi.SetCR0.accepts-current")
def _(hv: Hypervisor) -> None:
    """SetCR0 takes the ET bit, which GetCR0 shows, for reserved and raises vector 13."""
    def check(_vcpu: VirtualCpu, value: int) -> int:
        if value & _ET:
            raise Fault(GP, 0)
        return value
    _value(hv, "SetCR0", check)


@mutant("SetCR0-loses-NE", violates="vmi.SetCR0.accepts-current")
def _(hv: Hypervisor) -> None:
    """SetCR0 keeps only the bits it knows, and NE is missing among them."""
    _value(hv, "SetCR0", lambda _vcpu, value: value & ~Cr0.NE)


@mutant("SetCR0-ignores-TS", violates="vmi.SetCR0.sets-ts")
def _(hv: Hypervisor) -> None:
    """SetCR0 cannot set TS."""
    _value(hv, "SetCR0", lambda vcpu, value: value & ~Cr0.TS | vcpu.cr0 & value & Cr0.TS)


@mutant("SetCR0-TS-only-shown", violates="vmi.SetCR0.sets-ts")
def _(hv: Hypervisor) -> None:
    """TS set by SetCR0 is shown, but x87 instructions go on without vector 7."""
    _afterwards(hv, "SetCR0", lambda vcpu, _given: _real_cr0(vcpu, Cr0.TS))


@mutant("SetCR0-TS-not-shown", violates="vmi.SetCR0.sets-ts")
def _(hv: Hypervisor) -> None:
    """TS set by SetCR0 is in effect, but GetCR0 does not show it."""
    def effect(vcpu: VirtualCpu, _given: int) -> None:
        vcpu.cr0 &= ~Cr0.TS
    _afterwards(hv, "SetCR0", effect)


@mutant("SetCR0-keeps-TS", violates="vmi.SetCR0.clears-ts")
def _(hv: Hypervisor) -> None:
    """SetCR0 leaves TS set once it is set; only CLTS clears it."""
    _value(hv, "SetCR0", lambda vcpu, value: value | vcpu.cr0 & Cr0.TS)


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
    _afterwards(hv, "SetCR0", effect)


@mutant("SetCR0-WP-shown-without-effect", violates="vmi.SetCR0.refused-stays-shown")
def _(hv: Hypervisor) -> None:
    """A cleared WP stays shown, although kernel writes to read-only pages now succeed."""
    def effect(vcpu: VirtualCpu, _given: int) -> None:
        vcpu.cr0 |= Cr0.WP
    _afterwards(hv, "SetCR0", effect)


@mutant("SetCR0-PG-cleared-only-shown", violates="vmi.SetCR0.refused-stays-shown")
def _(hv: Hypervisor) -> None:
    """PG reads as cleared, and addresses are still translated."""
    def effect(vcpu: VirtualCpu, given: int) -> None:
        vcpu.cr0 &= ~Cr0.PG | given
    _afterwards(hv, "SetCR0", effect)


@mutant("SetCR0-PE-cleared-only-shown", violates="vmi.SetCR0.refused-stays-shown")
def _(hv: Hypervisor) -> None:
    """PE reads as cleared, and the processor is still in protected mode."""
    def effect(vcpu: VirtualCpu, given: int) -> None:
        vcpu.cr0 &= ~Cr0.PE | given
    _afterwards(hv, "SetCR0", effect)


# -- SetCR2 and GetCR2 ----------------------------------------------------------------------------


@mutant("SetCR2-ignored", violates="vmi.SetCR2.loads")
def _(hv: Hypervisor) -> None:
    """SetCR2 does nothing."""
    wrap(hv, "SetCR2", lambda _original: nothing)


@mutant("SetCR2-rounds-to-page", violates="vmi.SetCR2.loads")
def _(hv: Hypervisor) -> None:
    """SetCR2 keeps the page and loses bits 11 to 0."""
    _value(hv, "SetCR2", lambda _vcpu, value: value & 0xFFFFF000)


@mutant("SetCR2-touches-address", violates="vmi.SetCR2.no-side-effect")
def _(hv: Hypervisor) -> None:
    """SetCR2 looks at the address and gives the guest a page fault if nothing is mapped there."""
    def touch(vcpu: VirtualCpu, value: int) -> int:
        vcpu.translate(value, write=False, user=False)
        return value
    _value(hv, "SetCR2", touch)


@mutant("SetCR2-masks-interrupts", violates="vmi.SetCR2.no-side-effect")
def _(hv: Hypervisor) -> None:
    """SetCR2 goes the way of a page fault and clears the virtual interrupt flag."""
    def effect(vcpu: VirtualCpu, _given: int) -> None:
        vcpu.flag.enabled = False
    _afterwards(hv, "SetCR2", effect)


@mutant("GetCR2-rounds-to-page", violates="vmi.GetCR2.fault-address")
def _(hv: Hypervisor) -> None:
    """GetCR2 returns the page of the address that faulted."""
    _result(hv, "GetCR2", lambda _vcpu, value: value & 0xFFFFF000)


@mutant("GetCR2-stale-for-protection", violates="vmi.GetCR2.fault-address")
def _(hv: Hypervisor) -> None:
    """A fault on a page that is present does not load CR2: GetCR2 returns the one before."""
    def make(original: Callable[[Fault], None]) -> Callable[[Fault], None]:
        def deliver(fault: Fault) -> None:
            before, vcpu = hv.vcpus[0].cr2, hv.vcpus[0]
            original(fault)
            if fault.vector == 14 and (fault.error or 0) & 1:
                vcpu.cr2 = before
        return deliver
    instead(hv.vcpus[0], "deliver", make)


@mutant("GetCR2-one-behind", violates="vmi.GetCR2.fault-address")
def _(hv: Hypervisor) -> None:
    """CR2 is loaded when the handler has been entered: it shows the fault before the last."""
    kept = notes(hv)

    def make(original: Callable[[int], None]) -> Callable[[int], None]:
        def load(linear: int) -> None:
            original(kept.get("last", hv.vcpus[0].cr2))
            kept["last"] = linear
        return load
    instead(hv.vcpus[0], "set_fault_address", make)


@mutant("GetCR2-shows-hidden-faults", violates="vmi.GetCR2.only-guest-faults")
def _(hv: Hypervisor) -> None:
    """Faults that only fill shadow entries load the guest's CR2."""
    def make(original: Callable[[Any], Fault | None]) -> Callable[[Any], Fault | None]:
        def hide(event: Any) -> Fault | None:
            fault = original(event)
            if fault is None and event.vector == 14:
                hv.vcpus[0].cr2 = event.address
            return fault
        return hide
    instead(hv.vcpus[0], "hide", make)


@mutant("GetCR2-changed-by-InvalPage", violates="vmi.GetCR2.only-guest-faults")
def _(hv: Hypervisor) -> None:
    """InvalPage keeps its address in the guest's CR2."""
    def effect(vcpu: VirtualCpu, given: int) -> None:
        vcpu.cr2 = given
    _afterwards(hv, "InvalPage", effect)


# -- SetCR4 and GetCR4 ----------------------------------------------------------------------------


@mutant("SetCR4-turns-PGE-on", violates="vmi.SetCR4.accepts-current")
def _(hv: Hypervisor) -> None:
    """SetCR4 turns PGE on, whatever is asked for."""
    _value(hv, "SetCR4", lambda _vcpu, value: value | _PGE)


@mutant("SetCR4-insists-on-PAE", violates="vmi.SetCR4.accepts-current")
def _(hv: Hypervisor) -> None:
    """SetCR4 raises vector 13 for a value without PAE."""
    def check(_vcpu: VirtualCpu, value: int) -> int:
        if not value & _PAE:
            raise Fault(GP, 0)
        return value
    _value(hv, "SetCR4", check)


@mutant("SetCR4-ignored", violates="vmi.SetCR4.sets-feature")
def _(hv: Hypervisor) -> None:
    """SetCR4 does nothing."""
    wrap(hv, "SetCR4", lambda _original: nothing)


@mutant("SetCR4-cannot-set-PGE", violates="vmi.SetCR4.sets-feature")
def _(hv: Hypervisor) -> None:
    """SetCR4 leaves PGE off, which CPUID reports."""
    _value(hv, "SetCR4", lambda _vcpu, value: value & ~_PGE)


@mutant("SetCR4-cannot-set-DE", violates="vmi.SetCR4.sets-feature")
def _(hv: Hypervisor) -> None:
    """SetCR4 leaves DE off, which CPUID reports."""
    _value(hv, "SetCR4", lambda _vcpu, value: value & ~_DE)


@mutant("GetCR4-shows-processor", violates="vmi.GetCR4.as-native")
def _(hv: Hypervisor) -> None:
    """GetCR4 returns the processor's register, without PSE and PGE, which are in effect for the guest."""
    _result(hv, "GetCR4", lambda vcpu, _value: vcpu.cpu.engine.get(x86_const.UC_X86_REG_CR4))


@mutant("GetCR4-shows-PAE", violates="vmi.GetCR4.as-native")
def _(hv: Hypervisor) -> None:
    """GetCR4 shows PAE, which the hypervisor uses and the guest does not."""
    _result(hv, "GetCR4", lambda _vcpu, value: value | _PAE)


# -- GetCR0 and CLTS ------------------------------------------------------------------------------


@mutant("GetCR0-sixteen-bits", violates="vmi.GetCR0.as-native")
def _(hv: Hypervisor) -> None:
    """GetCR0 is made with SMSW and loses bits 31 to 16, PG among them."""
    _result(hv, "GetCR0", lambda _vcpu, value: value & 0xFFFF)


@mutant("GetCR0-without-TS", violates="vmi.GetCR0.as-native")
def _(hv: Hypervisor) -> None:
    """GetCR0 always shows TS clear."""
    _result(hv, "GetCR0", lambda _vcpu, value: value & ~Cr0.TS)


@mutant("GetCR0-without-PE", violates="vmi.GetCR0.as-native")
def _(hv: Hypervisor) -> None:
    """GetCR0 shows PE clear, although the guest runs in protected mode."""
    _result(hv, "GetCR0", lambda _vcpu, value: value & ~Cr0.PE)


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
    _result(hv, "GetCR0", lambda _vcpu, value: int(kept.get("cr0", value)))


@mutant("CLTS-ignored", violates="vmi.CLTS.clears-ts")
def _(hv: Hypervisor) -> None:
    """CLTS does nothing."""
    wrap(hv, "CLTS", lambda _original: nothing)


@mutant("CLTS-only-shown", violates="vmi.CLTS.clears-ts")
def _(hv: Hypervisor) -> None:
    """CLTS clears TS for GetCR0, and x87 instructions still raise vector 7."""
    def clear(vcpu: VirtualCpu) -> None:
        vcpu.cr0 &= ~Cr0.TS
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
        vcpu.set_cr0(vcpu.cr0 & ~(Cr0.MP | Cr0.EM | Cr0.TS))
    wrap(hv, "CLTS", lambda _original: clear)


@mutant("CLTS-clears-WP", violates="vmi.CLTS.only-ts")
def _(hv: Hypervisor) -> None:
    """CLTS writes a CR0 of its own, without WP."""
    def clear(vcpu: VirtualCpu) -> None:
        vcpu.set_cr0(vcpu.cr0 & ~(Cr0.WP | Cr0.TS))
    wrap(hv, "CLTS", lambda _original: clear)


@mutant("CLTS-sets-AM", violates="vmi.CLTS.only-ts")
def _(hv: Hypervisor) -> None:
    """CLTS turns the alignment mask on."""
    def clear(vcpu: VirtualCpu) -> None:
        vcpu.set_cr0(vcpu.cr0 & ~Cr0.TS | Cr0.AM)
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


# -- native reads ---------------------------------------------------------------------------------


def _native_read(hv: Hypervisor, number: int, value: Callable[[VirtualCpu], int]) -> None:
    """Let `mov %crN, reg` show something else."""
    def make(original: Callable[..., Fault | None]) -> Callable[..., Fault | None]:
        def emulate(vcpu: VirtualCpu, fault: Fault) -> Fault | None:
            found = decode(vcpu.cpu.read_linear(vcpu.cpu.regs[EIP], 3))
            given = original(vcpu, fault)
            if given is None and found is not None and found.kind is Privileged.READ_CR \
                    and found.number == number and found.operand is not None \
                    and found.operand.register is not None:
                vcpu.cpu.regs[found.operand.register] = value(vcpu)
            return given
        return emulate
    instead(hv, "_emulate", make)


@mutant("native-CR0-shows-processor", violates="vmi.control.native-reads")
def _(hv: Hypervisor) -> None:
    """A native read of CR0 shows TS clear, always."""
    _native_read(hv, 0, lambda vcpu: vcpu.cr0 & ~Cr0.TS)


@mutant("native-CR2-shows-processor", violates="vmi.control.native-reads")
def _(hv: Hypervisor) -> None:
    """A native read of CR2 shows the processor's register, which hidden faults change."""
    _native_read(hv, 2, lambda vcpu: int(vcpu.cpu.engine.get(x86_const.UC_X86_REG_CR2)))


@mutant("native-CR3-shows-shadow", violates="vmi.control.native-reads")
def _(hv: Hypervisor) -> None:
    """A native read of CR3 shows the base of the shadow tables."""
    _native_read(hv, 3, lambda vcpu: vcpu.shadow.directory)


@mutant("native-CR4-shows-processor", violates="vmi.control.native-reads")
def _(hv: Hypervisor) -> None:
    """A native read of CR4 shows the processor's register, without the guest's PSE and PGE."""
    _native_read(hv, 4, lambda vcpu: int(vcpu.cpu.engine.get(x86_const.UC_X86_REG_CR4)))


@mutant("native-CR4-faults", violates="vmi.control.native-reads")
def _(hv: Hypervisor) -> None:
    """A native read of CR4 raises vector 13."""
    def make(original: Callable[..., Fault | None]) -> Callable[..., Fault | None]:
        def emulate(vcpu: VirtualCpu, fault: Fault) -> Fault | None:
            found = decode(vcpu.cpu.read_linear(vcpu.cpu.regs[EIP], 3))
            if found is not None and found.kind is Privileged.READ_CR and found.number == 4:
                return fault
            return original(vcpu, fault)
        return emulate
    instead(hv, "_emulate", make)
