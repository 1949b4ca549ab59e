# SPDX-License-Identifier: BSD-2-Clause
"""Mutants of CR2 and CR4, and of native reads of control registers."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from unicorn import x86_const

from abidance.abi.vmi.constants import Cr0
from abidance.abi.vmi.mutants.changes import (
    afterwards,
    argument,
    instead,
    notes,
    nothing,
    result,
    without,
    wrap,
)
from abidance.platform.unicorn.engine import EIP
from abidance.platform.unicorn.gates import GP
from abidance.platform.unicorn.privileged import Privileged, decode
from abidance.platform.unicorn.walk import Fault
from abidance.suite import mutant

if TYPE_CHECKING:
    from abidance.abi.vmi.reference.hypervisor import Hypervisor
    from abidance.abi.vmi.reference.vcpu import VirtualCpu

__all__: list[str] = []

_DE, _PAE, _PGE = 1 << 3, 1 << 5, 1 << 7


# -- SetCR2 and GetCR2 ----------------------------------------------------------------------------


@mutant("SetCR2-ignored", violates="vmi.SetCR2.loads")
def _(hv: Hypervisor) -> None:
    """SetCR2 does nothing."""
    wrap(hv, "SetCR2", lambda _original: nothing)


@mutant("SetCR2-rounds-to-page", violates="vmi.SetCR2.loads")
def _(hv: Hypervisor) -> None:
    """SetCR2 keeps the page and loses bits 11 to 0."""
    argument(hv, "SetCR2", lambda _vcpu, value: value & 0xFFFFF000)


@mutant("SetCR2-touches-address", violates="vmi.SetCR2.no-side-effect")
def _(hv: Hypervisor) -> None:
    """SetCR2 looks at the address and gives the guest a page fault if nothing is mapped there."""
    def touch(vcpu: VirtualCpu, value: int) -> int:
        vcpu.translate(value, write=False, user=False)
        return value
    argument(hv, "SetCR2", touch)


@mutant("SetCR2-masks-interrupts", violates="vmi.SetCR2.no-side-effect")
def _(hv: Hypervisor) -> None:
    """SetCR2 goes the way of a page fault and clears the virtual interrupt flag."""
    def effect(vcpu: VirtualCpu, _given: int) -> None:
        vcpu.flag.enabled = False
    afterwards(hv, "SetCR2", effect)


@mutant("GetCR2-rounds-to-page", violates="vmi.GetCR2.fault-address")
def _(hv: Hypervisor) -> None:
    """GetCR2 returns the page of the address that faulted."""
    result(hv, "GetCR2", lambda _vcpu, value: value & 0xFFFFF000)


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
    afterwards(hv, "InvalPage", effect)


# -- SetCR4 and GetCR4 ----------------------------------------------------------------------------


@mutant("SetCR4-turns-PGE-on", violates="vmi.SetCR4.accepts-current")
def _(hv: Hypervisor) -> None:
    """SetCR4 turns PGE on, whatever is asked for."""
    argument(hv, "SetCR4", lambda _vcpu, value: value | _PGE)


@mutant("SetCR4-insists-on-PAE", violates="vmi.SetCR4.accepts-current")
def _(hv: Hypervisor) -> None:
    """SetCR4 raises vector 13 for a value without PAE."""
    def check(_vcpu: VirtualCpu, value: int) -> int:
        if not value & _PAE:
            raise Fault(GP, 0)
        return value
    argument(hv, "SetCR4", check)


@mutant("SetCR4-ignored", violates="vmi.SetCR4.sets-feature")
def _(hv: Hypervisor) -> None:
    """SetCR4 does nothing."""
    wrap(hv, "SetCR4", lambda _original: nothing)


@mutant("SetCR4-cannot-set-PGE", violates="vmi.SetCR4.sets-feature")
def _(hv: Hypervisor) -> None:
    """SetCR4 leaves PGE off, which CPUID reports."""
    argument(hv, "SetCR4", lambda _vcpu, value: value & ~_PGE)


@mutant("SetCR4-cannot-set-DE", violates="vmi.SetCR4.sets-feature")
def _(hv: Hypervisor) -> None:
    """SetCR4 leaves DE off, which CPUID reports."""
    argument(hv, "SetCR4", lambda _vcpu, value: value & ~_DE)


@mutant("GetCR4-shows-processor", violates="vmi.GetCR4.as-native")
def _(hv: Hypervisor) -> None:
    """GetCR4 returns the processor's register, without PSE and PGE, which are in effect for the guest."""
    result(hv, "GetCR4", lambda vcpu, _value: vcpu.cpu.engine.get(x86_const.UC_X86_REG_CR4))


@mutant("GetCR4-shows-PAE", violates="vmi.GetCR4.as-native")
def _(hv: Hypervisor) -> None:
    """GetCR4 shows PAE, which the hypervisor uses and the guest does not."""
    result(hv, "GetCR4", lambda _vcpu, value: value | _PAE)


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
    _native_read(hv, 0, lambda vcpu: without(vcpu.cr0, Cr0.TS))


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
