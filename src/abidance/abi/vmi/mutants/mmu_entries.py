# SPDX-License-Identifier: BSD-2-Clause
"""Mutants of SetPxE: what is stored, and what the store puts into effect."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import TYPE_CHECKING

from abidance.abi.vmi.constants import PageFlag, Pte
from abidance.abi.vmi.mutants.changes import (
    Call,
    absent_pages,
    instead,
    look_up,
    notes,
    nothing,
    old_entry,
    orphan,
    physical,
    without,
    wrap,
)
from abidance.platform.unicorn.engine import EAX, ECX, EDX
from abidance.platform.unicorn.walk import Fault, Mapping
from abidance.suite import mutant

if TYPE_CHECKING:
    from abidance.abi.vmi.reference.hypervisor import Hypervisor
    from abidance.abi.vmi.reference.vcpu import VirtualCpu

__all__ = ["orphan_when"]

_FRAME, _SOFTWARE = 0xFFFFF000, 0xE00


def _value(hv: Hypervisor, change: Callable[[int], int]) -> None:
    """Let SetPxE store something else."""
    def make(original: Callable[[int, int, int], None]) -> Callable[[int, int, int], None]:
        return lambda index, linear, value: original(index, linear, change(value) & 0xFFFFFFFF)
    instead(hv, "store_entry", make)


def orphan_when(hv: Hypervisor, when: Callable[[int, int], bool]) -> None:
    """Let SetPxE forget, but not drop, the shadow entries of an entry if `when` says so of its old
    and new value: no invalidation reaches them any more."""
    forget = orphan(hv)

    def make(original: Callable[[int, int, int], None]) -> Callable[[int, int, int], None]:
        def store(index: int, linear: int, value: int) -> None:
            vcpu = hv.vcpus[index]
            if when(old_entry(vcpu, linear), value):
                forget(vcpu, physical(vcpu, linear))
            original(index, linear, value)
        return store
    instead(hv, "store_entry", make)


# -- the word -------------------------------------------------------------------------------------


@mutant("SetPxE-ignored", violates="vmi.SetPxE.stores-value")
def _(hv: Hypervisor) -> None:
    """SetPxE does nothing."""
    wrap(hv, "SetPxE", lambda _original: nothing)


@mutant("SetPxE-drops-cache-bits", violates="vmi.SetPxE.stores-value")
def _(hv: Hypervisor) -> None:
    """SetPxE clears PWT and PCD in the entry."""
    _value(hv, lambda value: without(value, Pte.PWT | Pte.PCD) if value & Pte.P else value)


@mutant("SetPxE-drops-global", violates="vmi.SetPxE.stores-value")
def _(hv: Hypervisor) -> None:
    """SetPxE clears the global bit of the entry, because the hypervisor has no global pages."""
    _value(hv, lambda value: without(value, Pte.G) if value & Pte.P else value)


@mutant("SetPxE-always-defers", violates="vmi.SetPxE.stores-value")
def _(hv: Hypervisor) -> None:
    """SetPxE takes every call for one with DEFER."""
    def make(original: Call) -> Call:
        def call(vcpu: VirtualCpu) -> None:
            vcpu.cpu.regs[ECX] |= PageFlag.DEFER
            original(vcpu)
        return call
    wrap(hv, "SetPxE", make)


@mutant("SetPxE-clears-software-bits", violates="vmi.SetPxE.keeps-software-bits")
def _(hv: Hypervisor) -> None:
    """SetPxE uses bits 9 to 11 itself and clears them in present entries."""
    _value(hv, lambda value: value & ~_SOFTWARE if value & Pte.P else value)


@mutant("SetPxE-clears-bit-11", violates="vmi.SetPxE.keeps-software-bits")
def _(hv: Hypervisor) -> None:
    """SetPxE keeps bit 11 of present entries for itself, and clears it."""
    _value(hv, lambda value: value & ~(1 << 11) if value & Pte.P else value)


@mutant("SetPxE-absent-becomes-zero", violates="vmi.SetPxE.keeps-software-bits")
def _(hv: Hypervisor) -> None:
    """SetPxE stores 0 for every entry that is not present, which loses swap entries."""
    _value(hv, lambda value: value if value & Pte.P else 0)


@mutant("SetPxE-absent-loses-flags", violates="vmi.SetPxE.keeps-software-bits")
def _(hv: Hypervisor) -> None:
    """SetPxE stores entries that are not present without the bits that hardware uses."""
    _value(hv, lambda value: value if value & Pte.P else value & ~0x1FF)


@mutant("SetPxE-writes-64-bits", violates="vmi.SetPxE.touches-only-entry")
def _(hv: Hypervisor) -> None:
    """SetPxE stores 64 bits, as for PAE: the next entry becomes 0."""
    def make(original: Callable[[int, int, int], None]) -> Callable[[int, int, int], None]:
        def store(index: int, linear: int, value: int) -> None:
            original(index, linear, value)
            if linear & 0xFFC != 0xFFC:
                hv.vcpus[index].cpu.write_linear(linear + 4, bytes(4))
        return store
    instead(hv, "store_entry", make)


@mutant("SetPxE-writes-aligned-pair", violates="vmi.SetPxE.touches-only-entry")
def _(hv: Hypervisor) -> None:
    """SetPxE stores the aligned 64 bits that the entry lies in: an odd entry clears the one before."""
    def make(original: Callable[[int, int, int], None]) -> Callable[[int, int, int], None]:
        def store(index: int, linear: int, value: int) -> None:
            original(index, linear, value)
            if linear & 4:
                hv.vcpus[index].cpu.write_linear(linear - 4, bytes(4))
        return store
    instead(hv, "store_entry", make)


# -- the mapping ----------------------------------------------------------------------------------


@mutant("SetPxE-absence-remembered", violates="vmi.SetPxE.maps")
def _(hv: Hypervisor) -> None:
    """A page that has been found absent stays absent after SetPxE until it is invalidated."""
    absent_pages(hv, told_by="entry_changed")


@mutant("SetPxE-new-entry-read-only", violates="vmi.SetPxE.maps")
def _(hv: Hypervisor) -> None:
    """SetPxE makes an entry that was absent present for reading only, until the next flush."""
    fresh = notes(hv)

    def make(original: Callable[[int, int, int], None]) -> Callable[[int, int, int], None]:
        def store(index: int, linear: int, value: int) -> None:
            vcpu = hv.vcpus[index]
            if not old_entry(vcpu, linear) & 1 and value & 1:
                fresh[physical(vcpu, linear)] = True
            original(index, linear, value)
        return store

    def walk(original: Callable[[], Mapping], linear: int, write: bool, user: bool) -> Mapping:
        found = original()
        if found.pte not in fresh:
            return found
        if write:
            raise Fault(14, 3 | user << 2, linear)
        return replace(found, writable=False)

    def flush(original: Callable[..., None]) -> Callable[..., None]:
        def forget(*arguments: int) -> None:
            fresh.clear()
            original(*arguments)
        return forget

    instead(hv, "store_entry", make)
    look_up(hv, walk)
    for method in ("flush", "invalidate"):
        instead(hv.vcpus[0].shadow, method, flush)


@mutant("SetPxE-arguments-as-UpdatePxE", violates="vmi.SetPxE.maps")
def _(hv: Hypervisor) -> None:
    """SetPxE expects the address of the entry in EAX and its value in EDX."""
    def make(original: Call) -> Call:
        def call(vcpu: VirtualCpu) -> None:
            regs = vcpu.cpu.regs
            regs[EAX], regs[EDX] = regs[EDX], regs[EAX]
            original(vcpu)
        return call
    wrap(hv, "SetPxE", make)


@mutant("SetPxE-change-out-of-reach", violates="vmi.SetPxE.remaps-after-flush")
def _(hv: Hypervisor) -> None:
    """When SetPxE changes the page of a present entry, the old translation survives every flush."""
    orphan_when(hv, lambda old, new: bool(old & new & 1) and (old ^ new) & _FRAME != 0)


@mutant("SetPxE-clearing-out-of-reach", violates="vmi.SetPxE.unmaps-after-flush")
def _(hv: Hypervisor) -> None:
    """When SetPxE clears a present entry, the old translation survives every flush."""
    orphan_when(hv, lambda old, new: bool(old & 1 and not new & 1))


@mutant("SetPxE-present-bit-only", violates="vmi.SetPxE.unmaps-after-flush")
def _(hv: Hypervisor) -> None:
    """SetPxE drops a translation only if the whole entry becomes 0, not if P alone is cleared."""
    orphan_when(hv, lambda old, new: bool(old & 1 and not new & 1 and new))


@mutant("SetPxE-write-permission-kept", violates="vmi.SetPxE.protects-after-flush")
def _(hv: Hypervisor) -> None:
    """When SetPxE takes write permission away, pages that are in use stay writable."""
    orphan_when(hv, lambda old, new: bool(old & new & 1 and old & ~new & Pte.RW))


@mutant("SetPxE-user-permission-kept", violates="vmi.SetPxE.protects-after-flush")
def _(hv: Hypervisor) -> None:
    """When SetPxE takes user permission away, pages that are in use stay open to CPL 3."""
    orphan_when(hv, lambda old, new: bool(old & new & 1 and old & ~new & Pte.US))
