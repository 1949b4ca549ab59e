# SPDX-License-Identifier: BSD-2-Clause
"""Defects of Halt."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING

from abidance.abi.vmi.mutants.arrivals import Frame, after_iret
from abidance.abi.vmi.mutants.changes import NUMBERS, Call, instead, notes, wrap
from abidance.platform.unicorn.gates import IF
from abidance.suite import mutant

if TYPE_CHECKING:
    from abidance.abi.vmi.reference.hypervisor import Hypervisor
    from abidance.abi.vmi.reference.vcpu import VirtualCpu

__all__: list[str] = []

Service = Callable[[], None]
_HALT = NUMBERS["Halt"]
_TRAP_LENGTH = 2


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

    instead(hv.time, "skip", lambda original: lambda amount: original(min(amount, 64)))
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
