# SPDX-License-Identifier: BSD-2-Clause
"""Mutants of DEFER."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING

from abidance.abi.vmi.constants import PageFlag
from abidance.abi.vmi.mutants.changes import Call, instead, orphan, physical, wrap
from abidance.abi.vmi.reference.deferral import OFF
from abidance.platform.unicorn.engine import EAX, ECX, EDX
from abidance.platform.unicorn.gates import GP
from abidance.platform.unicorn.walk import Fault
from abidance.suite import mutant

if TYPE_CHECKING:
    from abidance.abi.vmi.reference.deferral import Deferral
    from abidance.abi.vmi.reference.hypervisor import Hypervisor
    from abidance.abi.vmi.reference.vcpu import VirtualCpu

__all__ = ["first_wins", "queued", "to_front"]

_FLAGS = {"SetPxE": ECX, "UpdatePxE": EDX}


def queued(hv: Hypervisor, change: Callable[[Deferral], None], when: Callable[[Deferral], bool]) -> None:
    """Do something to the queue of updates after an update has been put into it."""
    deferral = hv.vcpus[0].deferral

    def make(original: Callable[..., None]) -> Callable[..., None]:
        def update(defer: bool, work: Callable[..., None], *arguments: int) -> None:
            before = len(deferral.updates)
            original(defer, work, *arguments)
            if len(deferral.updates) > before and when(deferral):
                change(deferral)
        return update
    instead(deferral, "update", make)


def to_front(deferral: Deferral) -> None:
    """Move the newest update to the front."""
    deferral.updates.insert(0, deferral.updates.pop())


def first_wins(deferral: Deferral) -> None:
    """Throw the newest away if an older one is for the same entry."""
    work, arguments = deferral.updates[-1]
    if any(other == work and given[:2] == arguments[:2] for other, given in deferral.updates[:-1]):
        deferral.updates.pop()


def _defers(vcpu: VirtualCpu, entry: str) -> bool:
    return bool(vcpu.cpu.regs[_FLAGS[entry]] & PageFlag.DEFER)


# -- DEFER ----------------------------------------------------------------------------------------


@mutant("SetPxE-DEFER-lost", violates="vmi.SetPxE.deferred-in-effect-after-flush")
def _(hv: Hypervisor) -> None:
    """SetPxE with DEFER outside a lazy mode is forgotten."""
    queued(hv, lambda deferral: deferral.updates.clear(), lambda deferral: deferral.mode == OFF)


@mutant("SetPxE-DEFER-queue-of-one", violates="vmi.SetPxE.deferred-in-effect-after-flush")
def _(hv: Hypervisor) -> None:
    """There is room for one deferred update; a second one pushes the first out."""
    def keep_last(deferral: Deferral) -> None:
        del deferral.updates[:-1]
    queued(hv, keep_last, lambda deferral: deferral.mode == OFF)


@mutant("SetPxE-DEFER-stored-only", violates="vmi.SetPxE.deferred-in-effect-after-flush")
def _(hv: Hypervisor) -> None:
    """SetPxE with DEFER stores the entry, and its old translation survives every flush."""
    forget = orphan(hv)

    def make(original: Call) -> Call:
        def call(vcpu: VirtualCpu) -> None:
            if _defers(vcpu, "SetPxE"):
                forget(vcpu, physical(vcpu, vcpu.cpu.regs[EDX]))
            original(vcpu)
        return call
    wrap(hv, "SetPxE", make)


@mutant("SetPxE-DEFER-reversed", violates="vmi.SetPxE.deferred-order")
def _(hv: Hypervisor) -> None:
    """Updates deferred outside a lazy mode are carried out last first."""
    queued(hv, to_front, lambda deferral: deferral.mode == OFF)


@mutant("SetPxE-DEFER-first-wins", violates="vmi.SetPxE.deferred-order")
def _(hv: Hypervisor) -> None:
    """A deferred update of an entry that already waits for one is left out."""
    queued(hv, first_wins, lambda deferral: deferral.mode == OFF)


@mutant("UpdatePxE-DEFER-out-of-reach", violates="vmi.UpdatePxE.deferred-in-effect-after-flush")
def _(hv: Hypervisor) -> None:
    """After UpdatePxE with DEFER the old translation survives every flush."""
    forget = orphan(hv)

    def make(original: Call) -> Call:
        def call(vcpu: VirtualCpu) -> None:
            if _defers(vcpu, "UpdatePxE"):
                forget(vcpu, physical(vcpu, vcpu.cpu.regs[EAX]))
            original(vcpu)
        return call
    wrap(hv, "UpdatePxE", make)


@mutant("UpdatePxE-DEFER-raises", violates="vmi.UpdatePxE.deferred-in-effect-after-flush")
def _(hv: Hypervisor) -> None:
    """UpdatePxE does not know DEFER and raises vector 13."""
    def make(original: Call) -> Call:
        def call(vcpu: VirtualCpu) -> None:
            if _defers(vcpu, "UpdatePxE"):
                raise Fault(GP, 0)
            original(vcpu)
        return call
    wrap(hv, "UpdatePxE", make)
