# SPDX-License-Identifier: BSD-2-Clause
"""Mutants of what the document says of page tables as such."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import TYPE_CHECKING

from abidance.abi.vmi.constants import PAGE, PageFlag, Pte
from abidance.abi.vmi.mutants.changes import Call, instead, look_up, notes, physical, without, wrap
from abidance.platform.unicorn.engine import EAX, ECX, EDX
from abidance.platform.unicorn.walk import Fault, Mapping
from abidance.suite import mutant

if TYPE_CHECKING:
    from abidance.abi.vmi.reference.hypervisor import Hypervisor
    from abidance.abi.vmi.reference.vcpu import VirtualCpu

__all__: list[str] = []

_FRAME, _OTHER = 0xFFFFF000, 0xF00
_SPARE = 0xF00000
"""Guest RAM that nothing uses, for copies of pages."""

Walk = Callable[[], Mapping]


def _stores(hv: Hypervisor, change: Callable[[int, int], int]) -> None:
    """Let the hypervisor store something else where it sets accessed and dirty bits; `change` gets
    the old word and the new."""
    memory = hv.vcpus[0].shadow.memory

    def make(original: Callable[[int, int], None]) -> Callable[[int, int], None]:
        return lambda at, value: original(at, change(memory.load(at), value))
    instead(memory, "store", make)


@mutant("tables-read-once", violates="vmi.tables.plain-store-after-flush")
def _(hv: Hypervisor) -> None:
    """The hypervisor reads each guest entry once, and again only after SetPxE or UpdatePxE of it: flushes
    make it forget translations, but not entries."""
    memory, known = hv.vcpus[0].shadow.memory, notes(hv)

    def load(original: Callable[[int], int]) -> Callable[[int], int]:
        def read(at: int) -> int:
            if at not in known:
                known[at] = original(at)
            return int(known[at])
        return read

    def store(original: Callable[[int, int], None]) -> Callable[[int, int], None]:
        def write(at: int, value: int) -> None:
            known.pop(at, None)
            original(at, value)
        return write

    def told(original: Callable[[int], None]) -> Callable[[int], None]:
        def changed(at: int) -> None:
            known.pop(at & ~3, None)
            original(at)
        return changed

    instead(memory, "load", load)
    instead(memory, "store", store)
    instead(hv.vcpus[0].shadow, "entry_changed", told)


@mutant("SetCR3-directory-read-once", violates="vmi.tables.plain-store-after-flush")
def _(hv: Hypervisor) -> None:
    """A flush by SetCR3 or FlushTLB keeps what directory entries were, unless SetPxE or UpdatePxE changed
    them."""
    shadow, known = hv.vcpus[0].shadow, notes(hv)

    def load(original: Callable[[int], int]) -> Callable[[int], int]:
        def read(at: int) -> int:
            if at & _FRAME != shadow.base & _FRAME:
                return original(at)
            return int(known.setdefault(at, original(at)))
        return read

    def store(original: Callable[[int, int], None]) -> Callable[[int, int], None]:
        def write(at: int, value: int) -> None:
            known.pop(at, None)
            original(at, value)
        return write

    def told(original: Callable[[int], None]) -> Callable[[int], None]:
        def changed(at: int) -> None:
            known.pop(at & ~3, None)
            original(at)
        return changed

    def one(original: Callable[[int], None]) -> Callable[[int], None]:
        def invalidate(linear: int) -> None:
            known.pop((shadow.base & _FRAME) + (linear >> 22) * 4, None)
            original(linear)
        return invalidate

    instead(shadow.memory, "load", load)
    instead(shadow.memory, "store", store)
    instead(shadow, "entry_changed", told)
    instead(shadow, "invalidate", one)


@mutant("shadow-entry-written-back", violates="vmi.tables.guest-reads-own-tables")
def _(hv: Hypervisor) -> None:
    """With the accessed and dirty bits the hypervisor stores the rest of its own entry, without software,
    cache and global bits."""
    _stores(hv, lambda _old, value: without(value, Pte.PWT | Pte.PCD | _OTHER))


@mutant("accessed-bit-never-set", violates="vmi.tables.accessed-bit")
def _(hv: Hypervisor) -> None:
    """The hypervisor does not pass the accessed bit on to the guest's entries."""
    _stores(hv, lambda old, value: without(value, Pte.A) | old & Pte.A)


@mutant("accessed-bit-at-first-write", violates="vmi.tables.accessed-bit")
def _(hv: Hypervisor) -> None:
    """The accessed bit reaches the guest's entry along with the dirty bit only."""
    _stores(hv, lambda old, value: value if value & Pte.D else without(value, Pte.A) | old & Pte.A)


@mutant("dirty-bit-never-set", violates="vmi.tables.dirty-bit")
def _(hv: Hypervisor) -> None:
    """The hypervisor does not pass the dirty bit on to the guest's entries."""
    _stores(hv, lambda old, value: without(value, Pte.D) | old & Pte.D)


@mutant("dirty-bit-lost-after-read", violates="vmi.tables.dirty-bit")
def _(hv: Hypervisor) -> None:
    """A page that is read first gets a writable shadow entry at once: the first write goes unnoticed."""
    look_up(hv, lambda walk, _linear, _write, _user: replace(walk(), dirty=True))


def _user(hv: Hypervisor, reachable: Callable[[int, int], int]) -> None:
    """Who may access a page, from directory entry and table entry."""
    memory = hv.vcpus[0].shadow.memory

    def change(original: Callable[..., Mapping]) -> Callable[..., Mapping]:
        def walk(linear: int, *, write: bool, user: bool) -> Mapping:
            found = original(linear, write=write, user=False)
            allowed = bool(reachable(memory.load(found.pde), memory.load(found.pte or found.pde)) & Pte.US)
            if user and not (allowed and (found.writable or not write)):
                raise Fault(14, 1 | write << 1 | 4, linear)
            return replace(found, user=allowed)
        return walk
    instead(hv.vcpus[0].shadow, "look_up", change)


@mutant("user-bit-of-table-only", violates="vmi.tables.user-bit")
def _(hv: Hypervisor) -> None:
    """The user bit of the table entry alone opens a page to CPL 3."""
    _user(hv, lambda _pde, pte: pte)


@mutant("user-bit-of-directory-only", violates="vmi.tables.user-bit")
def _(hv: Hypervisor) -> None:
    """The user bit of the directory entry alone opens a page to CPL 3."""
    _user(hv, lambda pde, _pte: pde)


@mutant("user-pages-closed-to-kernel", violates="vmi.tables.user-bit")
def _(hv: Hypervisor) -> None:
    """A page without the user bit in its table entry is closed to the kernel at CPL 1 if the directory
    entry has it."""
    memory = hv.vcpus[0].shadow.memory

    def change(walk: Walk, linear: int, write: bool, _user: bool) -> Mapping:
        found = walk()
        if memory.load(found.pde) & Pte.US and not memory.load(found.pte or found.pde) & Pte.US:
            raise Fault(14, 1 | write << 1, linear)
        return found
    look_up(hv, change)


@mutant("read-only-alias-copied", violates="vmi.tables.alias-coherent")
def _(hv: Hypervisor) -> None:
    """A page that is mapped writable elsewhere and now for reading is given as a copy of that moment."""
    shadow, copies = hv.vcpus[0].shadow, notes(hv)

    def change(walk: Walk, linear: int, _write: bool, _user: bool) -> Mapping:
        found = walk()
        writable = found.frame | Pte.P | Pte.RW
        if (found.writable and found.dirty) or found.frame >= _SPARE or not any(
                shadow._entries[page] & (_FRAME | Pte.P | Pte.RW) == writable
                for page in shadow._sources if page != linear >> 12):
            return found
        copies["next"] = (copies.get("next", -1) + 1) % 256
        copy = _SPARE + copies["next"] * PAGE
        hv.memory.view[copy:copy + PAGE] = hv.memory.view[found.frame:found.frame + PAGE]
        return replace(found, frame=copy)
    look_up(hv, change)


@mutant("directory-entry-mirrored", violates="vmi.tables.address-spaces-apart")
def _(hv: Hypervisor) -> None:
    """A directory entry that SetPxE stores in another directory is stored in the loaded one, too."""
    def make(original: Call) -> Call:
        def call(vcpu: VirtualCpu) -> None:
            regs = vcpu.cpu.regs
            linear, value, flags = regs[EDX], regs[EAX], regs[ECX]
            original(vcpu)
            if flags & PageFlag.PD:
                at = (vcpu.cr3 & _FRAME) + (physical(vcpu, linear) & PAGE - 1)
                vcpu.shadow.memory.store(at, value)
                vcpu.shadow.entry_changed(at)
        return call
    wrap(hv, "SetPxE", make)


@mutant("first-directory-behind-others", violates="vmi.tables.address-spaces-apart")
def _(hv: Hypervisor) -> None:
    """What a directory leaves absent is looked up in the directory of VMI_Init."""
    first, shadow = notes(hv), hv.vcpus[0].shadow

    def enter(original: Callable[[], bool]) -> Callable[[], bool]:
        def both() -> bool:
            done = original()
            first["base"] = hv.vcpus[0].cr3
            return done
        return both

    def change(walk: Walk, _linear: int, _write: bool, _user: bool) -> Mapping:
        try:
            return walk()
        except Fault as fault:
            if (fault.error or 0) & 1 or "base" not in first:
                raise
            own, shadow.base = shadow.base, first["base"]
            try:
                return walk()
            finally:
                shadow.base = own

    instead(hv.vcpus[0], "enter", enter)
    look_up(hv, change)
