# SPDX-License-Identifier: BSD-2-Clause
"""Mutants of the page-directory base: SetCR3 and GetCR3."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING

from abidance.abi.vmi.constants import Cr0
from abidance.abi.vmi.mutants.changes import Call, afterwards, instead, notes, wrap
from abidance.platform.unicorn.engine import EAX
from abidance.platform.unicorn.walk import USER
from abidance.suite import mutant

if TYPE_CHECKING:
    from abidance.abi.vmi.reference.hypervisor import Hypervisor
    from abidance.abi.vmi.reference.vcpu import VirtualCpu

__all__ = ["drop_user_pages"]


def drop_user_pages(vcpu: VirtualCpu) -> None:
    """A flush that takes every page without the user bit for a global one."""
    shadow = vcpu.shadow
    shadow._drop([page for page in shadow._sources if shadow._entries[page] & USER])


def _set_cr3(hv: Hypervisor, change: Call) -> None:
    wrap(hv, "SetCR3", lambda _original: change)


# -- loads-base -----------------------------------------------------------------------------------


@mutant("SetCR3-keeps-base", violates="vmi.SetCR3.loads-base")
def _(hv: Hypervisor) -> None:
    """SetCR3 flushes and shows the new base, and the old directory goes on translating."""
    def call(vcpu: VirtualCpu) -> None:
        old = vcpu.shadow.base
        vcpu.set_cr3(vcpu.cpu.regs[EAX])
        vcpu.shadow.base = old
    _set_cr3(hv, call)


@mutant("SetCR3-linear-for-physical", violates="vmi.SetCR3.loads-base")
def _(hv: Hypervisor) -> None:
    """SetCR3 takes its argument for a linear address and looks up which page that is."""
    _set_cr3(hv, lambda vcpu: vcpu.set_cr3(vcpu.translate(vcpu.cpu.regs[EAX], write=False, user=False)))


@mutant("SetCR3-one-behind", violates="vmi.SetCR3.loads-base")
def _(hv: Hypervisor) -> None:
    """The directory that SetCR3 names comes into use at the next SetCR3."""
    kept = notes(hv)

    def call(vcpu: VirtualCpu) -> None:
        value = vcpu.cpu.regs[EAX]
        vcpu.set_cr3(value)
        vcpu.shadow.base = kept["next"]
        kept["next"] = value

    def start(original: Callable[[], bool]) -> Callable[[], bool]:
        def enter() -> bool:
            done = original()
            kept["next"] = hv.vcpus[0].cr3
            return done
        return enter
    instead(hv.vcpus[0], "enter", start)
    _set_cr3(hv, call)


# -- flushes, ends deferral, keeps the rest -------------------------------------------------------


@mutant("SetCR3-same-value-skipped", violates="vmi.SetCR3.flushes-nonglobal")
def _(hv: Hypervisor) -> None:
    """SetCR3 with the value already loaded does nothing."""
    def make(original: Call) -> Call:
        def call(vcpu: VirtualCpu) -> None:
            if vcpu.cpu.regs[EAX] == vcpu.cr3:
                vcpu.deferral.flush_updates()
            else:
                original(vcpu)
        return call
    wrap(hv, "SetCR3", make)


@mutant("SetCR3-kernel-pages-kept", violates="vmi.SetCR3.flushes-nonglobal")
def _(hv: Hypervisor) -> None:
    """SetCR3 takes every page of the kernel for a global one and keeps its translation."""
    def call(vcpu: VirtualCpu) -> None:
        vcpu.deferral.flush_updates()
        vcpu.cr3 = vcpu.shadow.base = vcpu.cpu.regs[EAX]
        drop_user_pages(vcpu)
    _set_cr3(hv, call)


@mutant("SetCR3-leaves-queue", violates="vmi.SetCR3.ends-deferral")
def _(hv: Hypervisor) -> None:
    """SetCR3 leaves deferred updates in the queue."""
    _set_cr3(hv, lambda vcpu: vcpu.load_cr3(vcpu.cpu.regs[EAX]))


@mutant("SetCR3-empties-queue", violates="vmi.SetCR3.ends-deferral")
def _(hv: Hypervisor) -> None:
    """SetCR3 throws deferred updates away, as updates of a directory that is left."""
    def call(vcpu: VirtualCpu) -> None:
        vcpu.deferral.updates.clear()
        vcpu.load_cr3(vcpu.cpu.regs[EAX])
    _set_cr3(hv, call)


@mutant("SetCR3-one-deferred-update", violates="vmi.SetCR3.ends-deferral")
def _(hv: Hypervisor) -> None:
    """SetCR3 carries out the last of the deferred updates and loses the others."""
    def call(vcpu: VirtualCpu) -> None:
        del vcpu.deferral.updates[:-1]
        vcpu.set_cr3(vcpu.cpu.regs[EAX])
    _set_cr3(hv, call)


@mutant("SetCR3-sets-TS", violates="vmi.SetCR3.keeps-other-registers")
def _(hv: Hypervisor) -> None:
    """SetCR3 takes the load for a task switch and sets TS."""
    afterwards(hv, "SetCR3", lambda vcpu, _given: vcpu.set_cr0(vcpu.cr0 | Cr0.TS))


@mutant("SetCR3-clears-CR2", violates="vmi.SetCR3.keeps-other-registers")
def _(hv: Hypervisor) -> None:
    """SetCR3 clears CR2."""
    afterwards(hv, "SetCR3", lambda vcpu, _given: vcpu.set_cr2(0))


@mutant("SetCR3-toggles-PGE", violates="vmi.SetCR3.keeps-other-registers")
def _(hv: Hypervisor) -> None:
    """SetCR3 flushes by turning PGE the other way, and leaves it so."""
    afterwards(hv, "SetCR3", lambda vcpu, _given: vcpu.set_cr4(vcpu.cr4 ^ 1 << 7))


@mutant("SetCR3-masks-interrupts", violates="vmi.SetCR3.keeps-other-registers")
def _(hv: Hypervisor) -> None:
    """SetCR3 masks interrupts while it loads, and forgets to unmask them."""
    def effect(vcpu: VirtualCpu, _given: int) -> None:
        vcpu.flag.enabled = False
    afterwards(hv, "SetCR3", effect)


@mutant("SetCR3-unmasks-interrupts", violates="vmi.SetCR3.keeps-other-registers")
def _(hv: Hypervisor) -> None:
    """SetCR3 masks interrupts while it loads, and unmasks them even if they were masked before."""
    def effect(vcpu: VirtualCpu, _given: int) -> None:
        vcpu.flag.enabled = True
    afterwards(hv, "SetCR3", effect)


# -- GetCR3 ---------------------------------------------------------------------------------------


@mutant("GetCR3-shows-shadow", violates="vmi.GetCR3.returns-loaded")
def _(hv: Hypervisor) -> None:
    """GetCR3 returns the base of the shadow tables."""
    def call(vcpu: VirtualCpu) -> None:
        vcpu.cpu.regs[EAX] = vcpu.shadow.directory
    wrap(hv, "GetCR3", lambda _original: call)


@mutant("GetCR3-one-behind", violates="vmi.GetCR3.returns-loaded")
def _(hv: Hypervisor) -> None:
    """GetCR3 returns the base before the last SetCR3."""
    kept = notes(hv)

    def load(original: Call) -> Call:
        def call(vcpu: VirtualCpu) -> None:
            kept["before"] = vcpu.cr3
            original(vcpu)
        return call

    def read(vcpu: VirtualCpu) -> None:
        vcpu.cpu.regs[EAX] = kept.get("before", vcpu.cr3)

    wrap(hv, "SetCR3", load)
    wrap(hv, "GetCR3", lambda _original: read)


def _before_first_load(hv: Hypervisor, value: Callable[[VirtualCpu], int]) -> None:
    """What GetCR3 returns until SetCR3 has been called."""
    kept = notes(hv)

    def load(original: Call) -> Call:
        def call(vcpu: VirtualCpu) -> None:
            kept["loaded"] = True
            original(vcpu)
        return call

    def read(vcpu: VirtualCpu) -> None:
        vcpu.cpu.regs[EAX] = vcpu.cr3 if kept else value(vcpu)

    wrap(hv, "SetCR3", load)
    wrap(hv, "GetCR3", lambda _original: read)


@mutant("GetCR3-zero-after-Init", violates="vmi.GetCR3.after-init")
def _(hv: Hypervisor) -> None:
    """VMI_Init does not take CR3 over: GetCR3 returns 0 until SetCR3 is called."""
    _before_first_load(hv, lambda _vcpu: 0)


@mutant("GetCR3-shadow-after-Init", violates="vmi.GetCR3.after-init")
def _(hv: Hypervisor) -> None:
    """VMI_Init reads CR3 when it has already loaded its own: GetCR3 returns the shadow base until
    SetCR3 is called."""
    _before_first_load(hv, lambda vcpu: vcpu.shadow.directory)
