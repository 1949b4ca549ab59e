# SPDX-License-Identifier: BSD-2-Clause
"""Mutants of UpdatePxE and SetLinearMapping."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING

from abidance.abi.vmi.constants import PAGE, PageFlag, Pte
from abidance.abi.vmi.mutants.changes import Call, absent_pages, instead, notes, orphan, physical, wrap
from abidance.platform.unicorn.engine import EAX, ECX, EDX, ESP
from abidance.platform.unicorn.walk import Fault, Mapping
from abidance.suite import mutant

if TYPE_CHECKING:
    from abidance.abi.vmi.reference.hypervisor import Hypervisor
    from abidance.abi.vmi.reference.vcpu import VirtualCpu

__all__: list[str] = []

_FRAME = 0xFFFFF000


def _out_of_reach(hv: Hypervisor, when: Callable[[VirtualCpu], bool]) -> None:
    """Let UpdatePxE leave what was made from the old entry in force for good."""
    forget = orphan(hv)

    def make(original: Call) -> Call:
        def call(vcpu: VirtualCpu) -> None:
            if when(vcpu):
                forget(vcpu, physical(vcpu, vcpu.cpu.regs[EAX]))
            original(vcpu)
        return call
    wrap(hv, "UpdatePxE", make)


def _absence(hv: Hypervisor, remembered: Callable[[int], bool]) -> None:
    """Let pages that were found absent stay so after UpdatePxE with such flags."""
    absent = absent_pages(hv, told_by="store_entry")

    def make(original: Call) -> Call:
        def call(vcpu: VirtualCpu) -> None:
            if not remembered(vcpu.cpu.regs[EDX]):
                absent.clear()
            original(vcpu)
        return call
    wrap(hv, "UpdatePxE", make)


def _entry(hv: Hypervisor, change: Callable[[int], int]) -> None:
    """Let UpdatePxE change the entry in memory."""
    def make(original: Callable[[int, int], None]) -> Callable[[int, int], None]:
        def changed(index: int, linear: int) -> None:
            original(index, linear)
            vcpu = hv.vcpus[index]
            at = physical(vcpu, linear)
            vcpu.shadow.memory.store(at, change(vcpu.shadow.memory.load(at)))
        return changed
    instead(hv, "entry_changed", make)


# -- UpdatePxE ------------------------------------------------------------------------------------


@mutant("UpdatePxE-absence-remembered", violates="vmi.UpdatePxE.maps")
def _(hv: Hypervisor) -> None:
    """A page that has been found absent stays absent after UpdatePxE until it is invalidated."""
    _absence(hv, lambda flags: not flags & PageFlag.PD)


@mutant("UpdatePxE-arguments-as-SetPxE", violates="vmi.UpdatePxE.maps")
def _(hv: Hypervisor) -> None:
    """UpdatePxE expects the address of the entry in EDX and the flags in ECX."""
    def make(original: Call) -> Call:
        def call(vcpu: VirtualCpu) -> None:
            regs = vcpu.cpu.regs
            regs[EAX], regs[EDX] = regs[EDX], regs[ECX]
            original(vcpu)
        return call
    wrap(hv, "UpdatePxE", make)


@mutant("UpdatePxE-out-of-reach", violates="vmi.UpdatePxE.resynchronises-after-flush")
def _(hv: Hypervisor) -> None:
    """After UpdatePxE of a changed entry the old translation survives every flush."""
    _out_of_reach(hv, lambda vcpu: not vcpu.cpu.regs[EDX] & (PageFlag.PD | PageFlag.DEFER))


@mutant("UpdatePxE-absent-out-of-reach", violates="vmi.UpdatePxE.resynchronises-after-flush")
def _(hv: Hypervisor) -> None:
    """UpdatePxE of an entry that is no longer present leaves the old translation in force for good."""
    _out_of_reach(hv, lambda vcpu: not vcpu.read32(vcpu.cpu.regs[EAX]) & Pte.P)


@mutant("UpdatePxE-marks-entry", violates="vmi.UpdatePxE.leaves-entry")
def _(hv: Hypervisor) -> None:
    """UpdatePxE sets bit 9 in the entries it has seen."""
    _entry(hv, lambda value: value | 1 << 9)


@mutant("UpdatePxE-clears-software-bits", violates="vmi.UpdatePxE.leaves-entry")
def _(hv: Hypervisor) -> None:
    """UpdatePxE clears bits 9 to 11 of the entry."""
    _entry(hv, lambda value: value & ~0xE00)


@mutant("UpdatePxE-absent-becomes-zero", violates="vmi.UpdatePxE.leaves-entry")
def _(hv: Hypervisor) -> None:
    """UpdatePxE clears an entry that is not present."""
    _entry(hv, lambda value: value if value & Pte.P else 0)


@mutant("UpdatePxE-PD-out-of-reach", violates="vmi.UpdatePxE.directory-level")
def _(hv: Hypervisor) -> None:
    """After UpdatePxE of a directory entry, pages of the old table survive every flush."""
    _out_of_reach(hv, lambda vcpu: bool(vcpu.cpu.regs[EDX] & PageFlag.PD))


@mutant("UpdatePxE-PD-absence-remembered", violates="vmi.UpdatePxE.directory-level")
def _(hv: Hypervisor) -> None:
    """A page that was absent for want of a table stays absent after UpdatePxE of the directory entry."""
    _absence(hv, lambda flags: bool(flags & PageFlag.PD))


@mutant("UpdatePxE-CURRENT_AS-absence-remembered", violates="vmi.UpdatePxE.address-flag-same-effect")
def _(hv: Hypervisor) -> None:
    """With CURRENT_AS, UpdatePxE takes the page for present already and remembers it as absent."""
    _absence(hv, lambda flags: bool(flags & PageFlag.CURRENT_AS))


@mutant("UpdatePxE-CURRENT_AS-out-of-reach", violates="vmi.UpdatePxE.address-flag-same-effect")
def _(hv: Hypervisor) -> None:
    """With CURRENT_AS, UpdatePxE drops another page; the right one survives every flush."""
    _out_of_reach(hv, lambda vcpu: bool(vcpu.cpu.regs[EDX] & PageFlag.CURRENT_AS))


@mutant("UpdatePxE-CURRENT_AS-raises", violates="vmi.UpdatePxE.address-flag-same-effect")
def _(hv: Hypervisor) -> None:
    """With CURRENT_AS, UpdatePxE takes the address in the flags for a bad pointer: vector 14."""
    def make(original: Call) -> Call:
        def call(vcpu: VirtualCpu) -> None:
            flags = vcpu.cpu.regs[EDX]
            if flags & PageFlag.CURRENT_AS:
                raise Fault(14, 0, flags & _FRAME)
            original(vcpu)
        return call
    wrap(hv, "UpdatePxE", make)


# -- SetLinearMapping -----------------------------------------------------------------------------


def _announced(vcpu: VirtualCpu) -> tuple[int, int, int, int]:
    """Slot, first linear page, number of pages, first frame number."""
    regs = vcpu.cpu.regs
    return regs[EAX], regs[EDX] >> 12, regs[ECX], vcpu.read32(regs[ESP] + 4)


@mutant("SetLinearMapping-maps-one-more", violates="vmi.SetLinearMapping.maps-nothing")
def _(hv: Hypervisor) -> None:
    """SetLinearMapping installs what was announced, and one page more."""
    def call(vcpu: VirtualCpu) -> None:
        _slot, first, pages, frame = _announced(vcpu)
        page = (first + pages) & 0xFFFFF
        if page < 0xFC000:
            vcpu.shadow.install(page, Mapping((frame + pages) << 12, True, False, True, 0, 0), write=True)
    wrap(hv, "SetLinearMapping", lambda _original: call)


@mutant("SetLinearMapping-stores-entries", violates="vmi.SetLinearMapping.maps-nothing")
def _(hv: Hypervisor) -> None:
    """SetLinearMapping writes the entries of the range anew, present and writable, without the flags
    they had."""
    def call(vcpu: VirtualCpu) -> None:
        _slot, first, pages, frame = _announced(vcpu)
        memory, base = vcpu.shadow.memory, vcpu.cr3 & _FRAME
        for page in range(min(pages, 4096)):
            pde = memory.load(base + (first + page >> 10 & 0x3FF) * 4)
            if pde & Pte.P:
                at = (pde & _FRAME) + (first + page & 0x3FF) * 4
                memory.store(at, frame + page << 12 | Pte.P | Pte.RW | Pte.A | Pte.D)
    wrap(hv, "SetLinearMapping", lambda _original: call)


def _by_hint(hv: Hypervisor, where: Callable[[int, int, int], int], *, first_only: bool = False) -> None:
    """Let SetPxE find the entry by the announced ranges: `where` gets the first frame number, the
    number of the page in the range and the offset in the page. With `first_only` a slot keeps the
    first range that it was given."""
    slots = notes(hv)

    def announce(original: Call) -> Call:
        def call(vcpu: VirtualCpu) -> None:
            slot, *entry = _announced(vcpu)
            if not first_only or slot not in slots:
                slots[slot] = tuple(entry)
            original(vcpu)
        return call

    def make(original: Callable[[int, int, int], None]) -> Callable[[int, int, int], None]:
        def store(index: int, linear: int, value: int) -> None:
            for first, pages, frame in slots.values():
                page = (linear >> 12) - first
                if 0 <= page < pages:
                    shadow, at = hv.vcpus[index].shadow, where(frame, page, linear & PAGE - 1)
                    shadow.memory.store(at, value)
                    shadow.entry_changed(at)
                    return
            original(index, linear, value)
        return store

    wrap(hv, "SetLinearMapping", announce)
    instead(hv, "store_entry", make)


@mutant("SetLinearMapping-frame-as-address", violates="vmi.SetLinearMapping.serves-entry-calls")
def _(hv: Hypervisor) -> None:
    """SetPxE through an announced range takes the frame number for an address."""
    _by_hint(hv, lambda frame, page, offset: frame + (page << 12) + offset & ~3)


@mutant("SetLinearMapping-first-page-only", violates="vmi.SetLinearMapping.serves-entry-calls")
def _(hv: Hypervisor) -> None:
    """SetPxE through an announced range of several pages always stores in the first."""
    _by_hint(hv, lambda frame, _page, offset: (frame << 12) + offset)


@mutant("SetLinearMapping-slot-kept", violates="vmi.SetLinearMapping.slot-replaced")
def _(hv: Hypervisor) -> None:
    """A slot that has been set once keeps its range."""
    _by_hint(hv, lambda frame, page, offset: (frame + page << 12) + offset, first_only=True)


@mutant("SetLinearMapping-slot-keeps-frames", violates="vmi.SetLinearMapping.slot-replaced")
def _(hv: Hypervisor) -> None:
    """A slot that is set again for the same addresses keeps the frames it had."""
    slots = notes(hv)

    def announce(original: Call) -> Call:
        def call(vcpu: VirtualCpu) -> None:
            slot, first, pages, frame = _announced(vcpu)
            known = slots.get(slot)
            slots[slot] = (first, pages, known[2] if known and known[0] == first else frame)
            original(vcpu)
        return call

    def make(original: Callable[[int, int, int], None]) -> Callable[[int, int, int], None]:
        def store(index: int, linear: int, value: int) -> None:
            for first, pages, frame in slots.values():
                if 0 <= (linear >> 12) - first < pages:
                    shadow, at = hv.vcpus[index].shadow, (frame - first << 12) + linear & 0xFFFFFFFF
                    shadow.memory.store(at, value)
                    shadow.entry_changed(at)
                    return
            original(index, linear, value)
        return store

    wrap(hv, "SetLinearMapping", announce)
    instead(hv, "store_entry", make)
