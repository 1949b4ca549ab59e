# SPDX-License-Identifier: BSD-2-Clause
"""What the cases on page tables share: marked pages, ways to flush, accesses that must fault.
Declares no case."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from abidance.abi.vmi.constants import PAGE, PageFlag, Pte, Vector
from abidance.abi.vmi.guest import VmiGuest, Window
from abidance.suite import StateHandle
from abidance.suite.handles import BytesHandle, DoneHandle, WordHandle

__all__ = [
    "ACCESSED_DIRTY",
    "FLUSHES",
    "RW",
    "USER",
    "Marked",
    "all_but_accessed_dirty",
    "entries_of",
    "expect_entry",
    "expect_page_fault",
    "expect_user_fault",
    "expect_user_reads",
    "flush",
    "hook",
    "marked",
    "table_of",
    "unhook",
    "user_load",
    "user_store",
    "word",
]

RW = int(Pte.P | Pte.RW)
"""Flags of a present entry that only the kernel may use, for reading and writing."""
USER = int(Pte.P | Pte.RW | Pte.US)
"""Flags of a present entry that user code may use too."""
ACCESSED_DIRTY = int(Pte.A | Pte.D)
FLUSHES = ("InvalPage", "FlushTLB", "FlushTLB-global")
"""The ways to invalidate an address, as items of for_each; see `flush`."""


@dataclass(frozen=True)
class Marked:
    """A page of the arena whose first word is `mark` and whose last word is its complement."""

    phys: int
    mark: int

    @property
    def last(self) -> int:
        """The last word of the page."""
        return self.mark ^ 0xFFFF_FFFF

    def entry(self, flags: int = RW) -> int:
        """An entry that maps the page."""
        return self.phys | int(flags)


def marked(g: VmiGuest) -> Marked:
    """A page with a mark of its own."""
    mark = g.poison()
    page = Marked(g.page_with(mark), mark)
    g.write32(page.phys + PAGE - 4, page.last, phys=True)
    return page


def flush(g: VmiGuest, how: str, linear: int) -> StateHandle:
    """Invalidate a linear address in one of the ways of `FLUSHES`."""
    if how == "InvalPage":
        return g.invalidate(linear)
    return g.flush_tlb(everything=how == "FlushTLB-global")


def word(read: WordHandle) -> int | None:
    """What was read, None if it faulted: for preconditions."""
    return None if read.faulted else read.value


def all_but_accessed_dirty(value: int) -> int:
    """An entry without its accessed and dirty bits, which are the processor's."""
    return value & ~ACCESSED_DIRTY & 0xFFFF_FFFF


def entries_of(table: bytes) -> list[int]:
    """The 1024 entries of a table without their accessed and dirty bits."""
    words = (int.from_bytes(table[at:at + 4], "little") for at in range(0, len(table), 4))
    return [all_but_accessed_dirty(word) for word in words]


def expect_entry(g: VmiGuest, seen: int | WordHandle, value: int, what: str, *,
                 clause: str | None = None) -> bool:
    """Expect an entry in memory to be `value`, the accessed and dirty bits excepted."""
    seen = seen if isinstance(seen, int) else seen.value
    return g.expect_equal(all_but_accessed_dirty(seen), all_but_accessed_dirty(value), what, clause=clause)


def expect_page_fault(g: VmiGuest, access: WordHandle | BytesHandle | DoneHandle, what: str, *,
                      clause: str | None = None) -> bool:
    """Expect a read or write of the kernel to raise a page fault."""
    vector = access.fault.vector if access.faulted else None
    return g.expect(vector == Vector.PF, what, expected="a page fault", seen=access.ended, clause=clause)


def user_load(g: VmiGuest, linear: int) -> StateHandle:
    """Have user code read a word; it lands in EBX at the stop trap."""
    return g.enter_user("user.load", eax=linear, may_fault=True)


def user_store(g: VmiGuest, linear: int, value: int) -> StateHandle:
    """Have user code store a word."""
    return g.enter_user("user.store", eax=linear, ebx=value, may_fault=True)


def expect_user_fault(g: VmiGuest, state: StateHandle, what: str) -> bool:
    """Expect an access of user code to raise a page fault."""
    return g.expect_fault(state, Vector.PF, what)


def expect_user_reads(g: VmiGuest, state: StateHandle, value: int, what: str) -> None:
    """Expect a `user_load` to have read `value`."""
    if g.expect_stopped(state, what):
        g.expect_equal(state.ebx, value, what)


def table_of(g: VmiGuest, entries: Mapping[int, int]) -> int:
    """A page table in a page of its own, announced but hooked in nowhere, with these entries set by
    SetPxE; physical address."""
    g.tell_direct_map()
    table = g.page()
    g.announce(table, PageFlag.PT)
    for index, value in entries.items():
        g.set_entry(g.direct(table) + 4 * index, value)
    return table


def hook(g: VmiGuest, w: Window, table: int, flags: int = USER) -> StateHandle:
    """SetPxE of the window's directory entry to a page table; no flush."""
    return g.set_entry(w.directory_entry, table | int(flags), level=PageFlag.PD)


def unhook(g: VmiGuest, w: Window) -> None:
    """Clear the window's directory entry by SetPxE and flush, so that nothing is mapped there."""
    g.set_entry(w.directory_entry, 0, level=PageFlag.PD)
    g.flush_tlb()
