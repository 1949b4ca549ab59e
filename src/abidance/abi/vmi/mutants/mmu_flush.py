# SPDX-License-Identifier: BSD-2-Clause
"""Mutants of InvalPage and FlushTLB."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING

from abidance.abi.vmi.constants import PAGE, Flush, Pte
from abidance.abi.vmi.mutants.changes import Call, absent_pages, afterwards, instead, notes, wrap
from abidance.abi.vmi.mutants.control_address import drop_user_pages
from abidance.platform.unicorn.engine import EAX
from abidance.platform.unicorn.walk import Fault, Mapping
from abidance.suite import mutant

if TYPE_CHECKING:
    from abidance.abi.vmi.reference.hypervisor import Hypervisor
    from abidance.abi.vmi.reference.vcpu import VirtualCpu

__all__: list[str] = []

_PGE = 1 << 7


def _in_place(hv: Hypervisor, entry: str, call: Call) -> None:
    """Another body of the call, after the deferred updates."""
    def both(vcpu: VirtualCpu) -> None:
        vcpu.deferral.flush_updates()
        call(vcpu)
    wrap(hv, entry, lambda _original: both)


def _address(hv: Hypervisor, change: Callable[[int], int]) -> None:
    """Let InvalPage act on another address."""
    _in_place(hv, "InvalPage", lambda vcpu: vcpu.shadow.invalidate(change(vcpu.cpu.regs[EAX]) & 0xFFFFFFFF))


def _global_pages(hv: Hypervisor, *, with_pge: bool) -> Callable[[int], bool]:
    """Keep in mind which pages were global when their shadow entries were made."""
    vcpu, pages = hv.vcpus[0], notes(hv)

    def make(original: Callable[..., None]) -> Callable[..., None]:
        def install(page: int, found: Mapping, *, write: bool) -> None:
            original(page, found, write=write)
            entry = vcpu.shadow.memory.load(found.pte or found.pde)
            pages.pop(page, None)
            if entry & Pte.G and (vcpu.cr4 & _PGE or not with_pge):
                pages[page] = True
        return install
    instead(vcpu.shadow, "install", make)
    return lambda page: page in pages


def _without_queue(hv: Hypervisor, entry: str, change: Call) -> None:
    """Let a call do something else to the deferred updates than carry them out."""
    def make(original: Call) -> Call:
        def call(vcpu: VirtualCpu) -> None:
            change(vcpu)
            waiting, vcpu.deferral.updates = vcpu.deferral.updates, []
            original(vcpu)
            vcpu.deferral.updates = waiting
        return call
    wrap(hv, entry, make)


def _lose(vcpu: VirtualCpu) -> None:
    vcpu.deferral.updates.clear()


def _leave(vcpu: VirtualCpu) -> None:
    del vcpu


# -- InvalPage ------------------------------------------------------------------------------------


@mutant("InvalPage-ignored", violates="vmi.InvalPage.drops-translation")
def _(hv: Hypervisor) -> None:
    """InvalPage ends deferral and drops nothing."""
    _in_place(hv, "InvalPage", _leave)


@mutant("InvalPage-next-page", violates="vmi.InvalPage.drops-translation")
def _(hv: Hypervisor) -> None:
    """InvalPage drops the page after the one it is given."""
    _address(hv, lambda linear: linear + PAGE)


@mutant("InvalPage-keeps-global", violates="vmi.InvalPage.drops-translation")
def _(hv: Hypervisor) -> None:
    """InvalPage does not drop global pages."""
    kept = _global_pages(hv, with_pge=True)

    def call(vcpu: VirtualCpu) -> None:
        if not kept(vcpu.cpu.regs[EAX] >> 12):
            vcpu.shadow.invalidate(vcpu.cpu.regs[EAX])
    _in_place(hv, "InvalPage", call)


@mutant("InvalPage-aligned-only", violates="vmi.InvalPage.whole-page")
def _(hv: Hypervisor) -> None:
    """InvalPage does nothing for an address that is not the first of its page."""
    def call(vcpu: VirtualCpu) -> None:
        if not vcpu.cpu.regs[EAX] & PAGE - 1:
            vcpu.shadow.invalidate(vcpu.cpu.regs[EAX])
    _in_place(hv, "InvalPage", call)


@mutant("InvalPage-rounds-up", violates="vmi.InvalPage.whole-page")
def _(hv: Hypervisor) -> None:
    """InvalPage rounds its address up to a page."""
    _address(hv, lambda linear: linear + PAGE - 1 & ~(PAGE - 1))


@mutant("InvalPage-rounds-to-nearest", violates="vmi.InvalPage.whole-page")
def _(hv: Hypervisor) -> None:
    """InvalPage drops the next page for an address in the upper half of a page."""
    _address(hv, lambda linear: linear + PAGE // 2)


@mutant("InvalPage-leaves-queue", violates="vmi.InvalPage.ends-deferral")
def _(hv: Hypervisor) -> None:
    """InvalPage leaves deferred updates in the queue."""
    _without_queue(hv, "InvalPage", _leave)


@mutant("InvalPage-empties-queue", violates="vmi.InvalPage.ends-deferral")
def _(hv: Hypervisor) -> None:
    """InvalPage loses the deferred updates."""
    _without_queue(hv, "InvalPage", _lose)


@mutant("InvalPage-own-entry-only", violates="vmi.InvalPage.ends-deferral")
def _(hv: Hypervisor) -> None:
    """InvalPage carries out deferred updates of the entry of its own address; others go on waiting."""
    def make(original: Call) -> Call:
        def call(vcpu: VirtualCpu) -> None:
            index = vcpu.cpu.regs[EAX] >> 12 & 0x3FF
            waiting = vcpu.deferral.updates
            mine = [(work, given) for work, given in waiting if given[1] >> 2 & 0x3FF == index]
            vcpu.deferral.updates = mine
            others = [item for item in waiting if item not in mine]
            original(vcpu)
            vcpu.deferral.updates = others
        return call
    wrap(hv, "InvalPage", make)


@mutant("InvalPage-insists-on-mapping", violates="vmi.InvalPage.unmapped-harmless")
def _(hv: Hypervisor) -> None:
    """InvalPage raises a page fault if nothing is mapped at the address."""
    def call(vcpu: VirtualCpu) -> None:
        linear = vcpu.cpu.regs[EAX]
        vcpu.shadow.invalidate(linear)
        vcpu.translate(linear, write=False, user=False)
    _in_place(hv, "InvalPage", call)


@mutant("InvalPage-unmapped-raises-GP", violates="vmi.InvalPage.unmapped-harmless")
def _(hv: Hypervisor) -> None:
    """InvalPage raises vector 13 for an address whose directory entry is not present."""
    def call(vcpu: VirtualCpu) -> None:
        linear = vcpu.cpu.regs[EAX]
        if not vcpu.shadow.memory.load((vcpu.cr3 & ~0xFFF) + (linear >> 22) * 4) & Pte.P:
            raise Fault(13, 0)
        vcpu.shadow.invalidate(linear)
    _in_place(hv, "InvalPage", call)


@mutant("InvalPage-loses-next-page", violates="vmi.InvalPage.others-kept")
def _(hv: Hypervisor) -> None:
    """InvalPage makes the following page absent until it is flushed itself."""
    absent = absent_pages(hv, told_by="store_entry")

    def effect(vcpu: VirtualCpu, given: int) -> None:
        page = (given >> 12) + 1
        vcpu.shadow.invalidate(page << 12)
        absent[page] = True
    afterwards(hv, "InvalPage", effect)


@mutant("InvalPage-loses-previous-page", violates="vmi.InvalPage.others-kept")
def _(hv: Hypervisor) -> None:
    """InvalPage makes the page before absent until it is flushed itself."""
    absent = absent_pages(hv, told_by="store_entry")

    def effect(vcpu: VirtualCpu, given: int) -> None:
        page = (given >> 12) - 1
        vcpu.shadow.invalidate(page << 12)
        absent[page] = True
    afterwards(hv, "InvalPage", effect)


# -- FlushTLB -------------------------------------------------------------------------------------


@mutant("FlushTLB-ignored", violates="vmi.FlushTLB.drops-nonglobal")
def _(hv: Hypervisor) -> None:
    """FlushTLB ends deferral and drops nothing."""
    _in_place(hv, "FlushTLB", _leave)


@mutant("FlushTLB-tests-wrong-flag", violates="vmi.FlushTLB.drops-nonglobal")
def _(hv: Hypervisor) -> None:
    """FlushTLB drops something only if the flag for global pages is given."""
    def call(vcpu: VirtualCpu) -> None:
        if vcpu.cpu.regs[EAX] & Flush.GLOBAL:
            vcpu.shadow.flush()
    _in_place(hv, "FlushTLB", call)


@mutant("FlushTLB-kernel-pages-kept", violates="vmi.FlushTLB.drops-nonglobal")
def _(hv: Hypervisor) -> None:
    """FlushTLB takes every page of the kernel for a global one."""
    _in_place(hv, "FlushTLB", drop_user_pages)


@mutant("FlushTLB-keeps-global", violates="vmi.FlushTLB.drops-global")
def _(hv: Hypervisor) -> None:
    """FlushTLB never drops global pages."""
    kept = _global_pages(hv, with_pge=True)

    def call(vcpu: VirtualCpu) -> None:
        vcpu.shadow._drop([page for page in vcpu.shadow._sources if not kept(page)])
    _in_place(hv, "FlushTLB", call)


@mutant("FlushTLB-compares-flags", violates="vmi.FlushTLB.drops-global")
def _(hv: Hypervisor) -> None:
    """FlushTLB compares its flags with 1, and with 3 drops nothing."""
    def call(vcpu: VirtualCpu) -> None:
        if vcpu.cpu.regs[EAX] == Flush.TLB:
            vcpu.shadow.flush()
    _in_place(hv, "FlushTLB", call)


@mutant("FlushTLB-leaves-queue", violates="vmi.FlushTLB.ends-deferral")
def _(hv: Hypervisor) -> None:
    """FlushTLB leaves deferred updates in the queue."""
    _without_queue(hv, "FlushTLB", _leave)


@mutant("FlushTLB-empties-queue", violates="vmi.FlushTLB.ends-deferral")
def _(hv: Hypervisor) -> None:
    """FlushTLB loses the deferred updates."""
    _without_queue(hv, "FlushTLB", _lose)


@mutant("FlushTLB-first-update-only", violates="vmi.FlushTLB.ends-deferral")
def _(hv: Hypervisor) -> None:
    """FlushTLB carries out the first of the deferred updates and loses the others."""
    def make(original: Call) -> Call:
        def call(vcpu: VirtualCpu) -> None:
            del vcpu.deferral.updates[1:]
            original(vcpu)
        return call
    wrap(hv, "FlushTLB", make)


@mutant("FlushTLB-leaves-PGE-on", violates="vmi.FlushTLB.keeps-control-registers")
def _(hv: Hypervisor) -> None:
    """FlushTLB clears and sets PGE to flush, and leaves it set where it was clear."""
    afterwards(hv, "FlushTLB", lambda vcpu, _given: vcpu.set_cr4(vcpu.cr4 | _PGE))


@mutant("FlushTLB-clears-CR2", violates="vmi.FlushTLB.keeps-control-registers")
def _(hv: Hypervisor) -> None:
    """FlushTLB clears CR2."""
    afterwards(hv, "FlushTLB", lambda vcpu, _given: vcpu.set_cr2(0))


@mutant("FlushTLB-shows-shadow-base", violates="vmi.FlushTLB.keeps-control-registers")
def _(hv: Hypervisor) -> None:
    """FlushTLB reads CR3 from the processor to load it again: GetCR3 then shows the shadow base."""
    def effect(vcpu: VirtualCpu, _given: int) -> None:
        vcpu.cr3 = vcpu.shadow.directory
    afterwards(hv, "FlushTLB", effect)
