# SPDX-License-Identifier: BSD-2-Clause
"""Mutants of SetLazyMode: the modes, and what ends them."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from abidance.abi.vmi.constants import Cr0
from abidance.abi.vmi.mutants.changes import Call, instead, notes, orphan, physical, without, wrap
from abidance.abi.vmi.mutants.mmu_deferral import first_wins, queued, to_front
from abidance.abi.vmi.reference.deferral import CPU, MMU, OFF
from abidance.platform.unicorn.engine import EAX
from abidance.platform.unicorn.gates import GP
from abidance.platform.unicorn.walk import Fault
from abidance.suite import mutant

if TYPE_CHECKING:
    from abidance.abi.vmi.reference.deferral import Deferral
    from abidance.abi.vmi.reference.hypervisor import Hypervisor
    from abidance.abi.vmi.reference.vcpu import VirtualCpu

__all__: list[str] = []


# -- lazy modes -----------------------------------------------------------------------------------


def _leaving(hv: Hypervisor, mode: int, change: Callable[[Deferral], None]) -> None:
    """Do something to the queues before a lazy mode is left by SetLazyMode."""
    deferral = hv.vcpus[0].deferral

    def make(original: Callable[[int], None]) -> Callable[[int], None]:
        def set_mode(new: int) -> None:
            if deferral.mode == mode and new == OFF:
                change(deferral)
            original(new)
        return set_mode
    instead(deferral, "set_mode", make)


def _entering(hv: Hypervisor, mode: int, effect: Call) -> None:
    """Do something more when a lazy mode is entered."""
    def make(original: Call) -> Call:
        def call(vcpu: VirtualCpu) -> None:
            asked = vcpu.cpu.regs[EAX]
            original(vcpu)
            if asked == mode:
                effect(vcpu)
        return call
    wrap(hv, "SetLazyMode", make)


@mutant("SetLazyMode-off-loses-updates", violates="vmi.SetLazyMode.off-puts-entries-into-effect")
def _(hv: Hypervisor) -> None:
    """Updates that are queued when the MMU mode ends are lost."""
    _leaving(hv, MMU, lambda deferral: deferral.updates.clear())


@mutant("SetLazyMode-off-leaves-updates", violates="vmi.SetLazyMode.off-puts-entries-into-effect")
def _(hv: Hypervisor) -> None:
    """SetLazyMode with 0 ends the mode and leaves its updates in the queue."""
    deferral = hv.vcpus[0].deferral

    def make(original: Callable[[int], None]) -> Callable[[int], None]:
        def set_mode(new: int) -> None:
            waiting, deferral.updates = deferral.updates, []
            original(new)
            deferral.updates = waiting
        return set_mode
    instead(deferral, "set_mode", make)


@mutant("SetLazyMode-off-one-update", violates="vmi.SetLazyMode.off-puts-entries-into-effect")
def _(hv: Hypervisor) -> None:
    """SetLazyMode with 0 carries out the first update of the queue only."""
    def keep_first(deferral: Deferral) -> None:
        del deferral.updates[1:]
    _leaving(hv, MMU, keep_first)


@mutant("SetLazyMode-queues-no-UpdatePxE", violates="vmi.SetLazyMode.off-puts-entries-into-effect")
def _(hv: Hypervisor) -> None:
    """UpdatePxE in the MMU mode is forgotten, and the old translation survives every flush."""
    forget = orphan(hv)

    def make(original: Call) -> Call:
        def call(vcpu: VirtualCpu) -> None:
            if vcpu.deferral.mode == MMU:
                forget(vcpu, physical(vcpu, vcpu.cpu.regs[EAX]))
            else:
                original(vcpu)
        return call
    wrap(hv, "UpdatePxE", make)


@mutant("SetLazyMode-off-loses-state", violates="vmi.SetLazyMode.off-puts-cpu-state-into-effect")
def _(hv: Hypervisor) -> None:
    """Calls that are queued when the CPU mode ends are lost."""
    _leaving(hv, CPU, lambda deferral: deferral.state.clear())


@mutant("SetLazyMode-off-one-state", violates="vmi.SetLazyMode.off-puts-cpu-state-into-effect")
def _(hv: Hypervisor) -> None:
    """SetLazyMode with 0 carries out the last call of the CPU mode only."""
    def keep_last(deferral: Deferral) -> None:
        del deferral.state[:-1]
    _leaving(hv, CPU, keep_last)


@mutant("SetLazyMode-CPU-loses-SetCR3", violates="vmi.SetLazyMode.off-puts-cpu-state-into-effect")
def _(hv: Hypervisor) -> None:
    """SetCR3 in the CPU mode is forgotten."""
    def make(original: Call) -> Call:
        def call(vcpu: VirtualCpu) -> None:
            if vcpu.deferral.mode != CPU:
                original(vcpu)
        return call
    wrap(hv, "SetCR3", make)


@mutant("SetLazyMode-reversed", violates="vmi.SetLazyMode.order-kept")
def _(hv: Hypervisor) -> None:
    """Updates of the MMU mode are carried out last first."""
    queued(hv, to_front, lambda deferral: deferral.mode == MMU)


@mutant("SetLazyMode-first-wins", violates="vmi.SetLazyMode.order-kept")
def _(hv: Hypervisor) -> None:
    """In the MMU mode an update of an entry that already waits for one is left out."""
    queued(hv, first_wins, lambda deferral: deferral.mode == MMU)


def _not_in_mode(hv: Hypervisor, entry: str) -> None:
    """Let a call leave the queue as it is while the MMU mode is on."""
    def make(original: Call) -> Call:
        def call(vcpu: VirtualCpu) -> None:
            deferral = vcpu.deferral
            if deferral.mode != MMU:
                original(vcpu)
                return
            waiting, deferral.updates = deferral.updates, []
            original(vcpu)
            deferral.updates = waiting
        return call
    wrap(hv, entry, make)


@mutant("SetLazyMode-InvalPage-waits", violates="vmi.SetLazyMode.flush-inside")
def _(hv: Hypervisor) -> None:
    """InvalPage in the MMU mode leaves the queue to the end of the mode."""
    _not_in_mode(hv, "InvalPage")


@mutant("SetLazyMode-FlushTLB-waits", violates="vmi.SetLazyMode.flush-inside")
def _(hv: Hypervisor) -> None:
    """FlushTLB in the MMU mode leaves the queue to the end of the mode."""
    _not_in_mode(hv, "FlushTLB")


@mutant("page-fault-leaves-queue", violates="vmi.SetLazyMode.fault-flushes")
def _(hv: Hypervisor) -> None:
    """A page fault in the MMU mode is delivered before the queued updates are carried out."""
    def make(original: Callable[[Any, Fault], Fault | None]) -> Callable[[Any, Fault], Fault | None]:
        def page_fault(event: Any, fault: Fault) -> Fault | None:
            return fault if hv.vcpus[0].deferral.mode == MMU else original(event, fault)
        return page_fault
    instead(hv.vcpus[0], "page_fault", make)


@mutant("SetLazyMode-off-repeats", violates="vmi.SetLazyMode.off-when-off")
def _(hv: Hypervisor) -> None:
    """SetLazyMode with 0 does not empty the queue: one more carries the same updates out again."""
    kept, deferral = notes(hv), hv.vcpus[0].deferral

    def make(original: Callable[[int], None]) -> Callable[[int], None]:
        def set_mode(new: int) -> None:
            if deferral.mode == MMU and new == OFF:
                kept["queue"] = tuple(deferral.updates)
            elif deferral.mode == OFF and new == OFF:
                deferral.updates.extend(kept.get("queue", ()))
            original(new)
        return set_mode
    instead(deferral, "set_mode", make)


@mutant("SetLazyMode-off-insists-on-mode", violates="vmi.SetLazyMode.off-when-off")
def _(hv: Hypervisor) -> None:
    """SetLazyMode with 0 raises vector 13 if no mode is on."""
    def make(original: Call) -> Call:
        def call(vcpu: VirtualCpu) -> None:
            if vcpu.cpu.regs[EAX] == OFF and vcpu.deferral.mode == OFF:
                raise Fault(GP, 0)
            original(vcpu)
        return call
    wrap(hv, "SetLazyMode", make)


@mutant("SetLazyMode-off-unmasks-interrupts", violates="vmi.SetLazyMode.off-when-off")
def _(hv: Hypervisor) -> None:
    """SetLazyMode with 0 turns the virtual interrupt flag on, as if a mode had turned it off."""
    def effect(vcpu: VirtualCpu) -> None:
        vcpu.flag.enabled = True
    _entering(hv, OFF, effect)


@mutant("SetLazyMode-MMU-masks-interrupts", violates="vmi.SetLazyMode.changes-nothing-itself")
def _(hv: Hypervisor) -> None:
    """SetLazyMode with 1 clears the virtual interrupt flag for the time of the mode."""
    def effect(vcpu: VirtualCpu) -> None:
        vcpu.flag.enabled = False
    _entering(hv, MMU, effect)


@mutant("SetLazyMode-MMU-clears-WP", violates="vmi.SetLazyMode.changes-nothing-itself")
def _(hv: Hypervisor) -> None:
    """SetLazyMode with 1 clears CR0.WP, so that tables can be written."""
    _entering(hv, MMU, lambda vcpu: vcpu.set_cr0(without(vcpu.cr0, Cr0.WP)))


@mutant("SetLazyMode-CPU-sets-TS", violates="vmi.SetLazyMode.changes-nothing-itself")
def _(hv: Hypervisor) -> None:
    """SetLazyMode with 2 takes the mode for a task switch and sets TS."""
    _entering(hv, CPU, lambda vcpu: vcpu.set_cr0(vcpu.cr0 | Cr0.TS))
