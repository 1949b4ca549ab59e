# SPDX-License-Identifier: BSD-2-Clause
"""Defects of the native instructions that the answer NONE promises."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from abidance.abi.vmi.mutants.changes import NUMBERS, instead
from abidance.platform.unicorn.walk import Fault
from abidance.suite import mutant

if TYPE_CHECKING:
    from abidance.abi.vmi.reference.hypervisor import Hypervisor
    from abidance.abi.vmi.reference.vcpu import VirtualCpu

__all__: list[str] = []

_MSRS = (0x174, 0x175, 0x176)

Emulate = Callable[["VirtualCpu", Fault], Fault | None]


# -- the native form of what is not offered ----------------------------------------------------------

def _ineffective(hv: Hypervisor, *names: str) -> None:
    """Emulated instructions leave these attributes of the virtual CPU as they were."""
    def make(original: Emulate) -> Emulate:
        def emulate(vcpu: VirtualCpu, fault: Fault) -> Fault | None:
            before: dict[str, Any] = {name: getattr(vcpu, name) for name in names}
            result = original(vcpu, fault)
            for name, value in before.items():
                setattr(vcpu, name, value)
            return result
        return emulate
    instead(hv, "_emulate", make)


@mutant("Native-LIDT-ignored", violates="vmi.relocation.none-keeps-native")
def _(hv: Hypervisor) -> None:
    """SetIDT is not offered, and LIDT has no effect."""
    _ineffective(hv, "idtr")


@mutant("Native-MOV-CR2-ignored", violates="vmi.relocation.none-keeps-native")
def _(hv: Hypervisor) -> None:
    """SetCR2 is not offered, and the move to CR2 has no effect."""
    hv.image.withhold(NUMBERS["SetCR2"])
    _ineffective(hv, "cr2")


@mutant("Native-MOV-DR-ignored", violates="vmi.relocation.none-keeps-native")
def _(hv: Hypervisor) -> None:
    """SetDR is not offered, and the move to a debug register has no effect."""
    _ineffective(hv, "debug")


@mutant("Native-LTR-ignored", violates="vmi.relocation.none-keeps-native")
def _(hv: Hypervisor) -> None:
    """SetTR is not offered, and LTR has no effect."""
    _ineffective(hv, "task")


@mutant("Native-WRMSR-ignored", violates="vmi.relocation.none-keeps-native")
def _(hv: Hypervisor) -> None:
    """WRMSR is not offered, and the instruction has no effect."""
    def make(original: Emulate) -> Emulate:
        def emulate(vcpu: VirtualCpu, fault: Fault) -> Fault | None:
            before = [vcpu.cpu.engine.uc.msr_read(msr) for msr in _MSRS]
            result = original(vcpu, fault)
            for msr, value in zip(_MSRS, before, strict=True):
                vcpu.cpu.engine.uc.msr_write(msr, value)
            return result
        return emulate
    instead(hv, "_emulate", make)


@mutant("Native-privileged-faults", violates="vmi.relocation.none-keeps-native")
def _(hv: Hypervisor) -> None:
    """No privileged instruction is emulated; the guest gets a general-protection fault."""
    instead(hv, "_emulate", lambda _: lambda _vcpu, fault: fault)


@mutant("Native-STI-ignored", violates="vmi.relocation.none-keeps-native")
def _(hv: Hypervisor) -> None:
    """EnableInterrupts is not offered, and STI does nothing."""
    hv.image.withhold(NUMBERS["EnableInterrupts"])
    instead(hv, "_emulate", _keeping_flag)


def _keeping_flag(original: Emulate) -> Emulate:
    def emulate(vcpu: VirtualCpu, fault: Fault) -> Fault | None:
        before = vcpu.flag.enabled
        result = original(vcpu, fault)
        vcpu.flag.enabled = before
        return result
    return emulate
