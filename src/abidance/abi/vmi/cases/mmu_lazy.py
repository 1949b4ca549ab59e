# SPDX-License-Identifier: BSD-2-Clause
"""SetLazyMode: what may be queued in a mode is in effect when it ends, at a flush, at a fault."""

from __future__ import annotations

from abidance.abi.vmi.cases.mmu_tools import (
    FLUSHES,
    USER,
    Marked,
    expect_entry,
    expect_page_fault,
    flush,
    marked,
    table_of,
    unhook,
    word,
)
from abidance.abi.vmi.constants import PAGE, Lazy, PageFlag
from abidance.abi.vmi.guest import VmiGuest, Window
from abidance.suite import case, untested
from abidance.suite.handles import WordHandle

__all__: list[str] = []

untested("vmi.SetLazyMode.may-queue", reason="permission: nothing to violate")


@case("vmi.SetLazyMode.off-puts-entries-into-effect")
def lazy_off_puts_entries_into_effect(g: VmiGuest) -> None:
    """Entries of two tables and a directory that were made present in the MMU mode, by SetPxE and by
    UpdatePxE, are stored and map at once after SetLazyMode with 0."""
    first, second, third = g.window(), g.window(), g.window()
    pages = [marked(g) for _ in range(4)]
    unhook(g, third)
    table = table_of(g, {1: pages[3].entry()})
    places = (first.at(0), first.at(1023), second.at(7), third.at(1))
    absent = [g.read32(linear, may_fault=True) for linear in places]
    g.lazy(Lazy.MMU)
    g.set_entry(first.entry(0), pages[0].entry())
    g.set_entry(first.entry(1023), pages[1].entry(USER), maps=first.at(1023))
    g.write32(second.entry(7), pages[2].entry())
    g.update_entry(second.entry(7))
    g.set_entry(third.directory_entry, table | USER, level=PageFlag.PD)
    g.lazy(Lazy.OFF)
    stored = [g.read_entry(first.table, 0), g.read_entry(first.table, 1023), g.read_entry(second.table, 7),
              g.read32(third.directory_entry).value]
    seen = [g.read32(linear, may_fault=True) for linear in places]
    g.require(all(read.faulted for read in absent), "nothing was mapped there before")
    values = (pages[0].entry(), pages[1].entry(USER), pages[2].entry(), table | USER)
    for entry, value in zip(stored, values, strict=True):
        expect_entry(g, entry, value, "an entry set or told of in the mode, in memory")
    for read, page in zip(seen, pages, strict=True):
        g.expect(word(read) == page.mark, "the page of such an entry is mapped", expected=page.mark,
                 seen=read.ended)


@case("vmi.SetLazyMode.off-puts-entries-into-effect", for_each=FLUSHES)
def lazy_off_then_flush(g: VmiGuest, how: str) -> None:
    """Entries changed or cleared in the MMU mode are stored when it ends and followed after a flush,
    in the first window of the mode and in the next."""
    w, old, new = g.window(), marked(g), marked(g)
    changed, told, cleared = (g.map(w, index, old.phys) for index in (0, 1, 2))
    for turn in ("the first time", "the second time"):
        before = [g.read32(linear) for linear in (changed, told, cleared)]
        g.lazy(Lazy.MMU)
        g.set_entry(w.entry(0), new.entry(), maps=changed)
        g.write32(w.entry(1), new.entry())
        g.update_entry(w.entry(1))
        g.set_entry(w.entry(2), 0)
        g.lazy(Lazy.OFF)
        stored = [g.read_entry(w.table, index) for index in (0, 1, 2)]
        for linear in (changed, told, cleared):
            flush(g, how, linear)
        after = [g.read32(linear, may_fault=True) for linear in (changed, told)]
        gone = g.read32(cleared, may_fault=True)
        g.require([word(read) for read in before] == [old.mark] * 3, f"the pages were mapped {turn}")
        for entry, value in zip(stored, (new.entry(), new.entry(), 0), strict=True):
            expect_entry(g, entry, value, f"an entry changed in the mode, in memory, {turn}")
        for read in after:
            g.expect(word(read) == new.mark, f"the page of an entry changed in the mode, {turn}",
                     expected=new.mark, seen=read.ended)
        expect_page_fault(g, gone, f"an access through an entry cleared in the mode faults {turn}")
        for index in (0, 1, 2):
            g.map(w, index, old.phys)


@case("vmi.SetLazyMode.off-puts-entries-into-effect")
def lazy_off_after_many(g: VmiGuest) -> None:
    """None of 300 entries made present in one window of the MMU mode is lost."""
    w, page = g.window(), marked(g)
    absent = g.read32(w.at(299), may_fault=True)
    g.lazy(Lazy.MMU)
    for index in range(300):
        g.set_entry(w.entry(index), page.entry() | (index % 8) << 9)
    g.lazy(Lazy.OFF)
    reads = [g.read32(w.at(index), may_fault=True) for index in range(300)]
    stored = g.read(w.table, PAGE, phys=True).value
    g.require(absent.faulted, "nothing was mapped there before")
    unmapped = tuple(index for index, read in enumerate(reads) if word(read) != page.mark)
    g.expect(not unmapped, "all entries set in the mode are in effect", expected=(), seen=unmapped)
    for index in range(300):
        value = int.from_bytes(stored[4 * index:4 * index + 4], "little")
        expect_entry(g, value, page.entry() | (index % 8) << 9, f"entry {index} in memory")


@case("vmi.SetLazyMode.order-kept")
def lazy_keeps_order(g: VmiGuest) -> None:
    """Of several values an entry was set to in the MMU mode the last one counts: an address, absence,
    and what was stored and told of after a SetPxE."""
    w, old, new, last = g.window(), marked(g), marked(g), marked(g)
    g.map(w, 0, old.phys)
    g.map(w, 1, old.phys)
    before = [g.read32(w.at(index)) for index in (0, 1)]
    sequences = {0: (new.entry(), 0, old.entry(), last.entry()), 1: (new.entry(), last.entry(), 0),
                 2: (old.entry(), 0, new.entry(), last.entry(USER))}
    g.lazy(Lazy.MMU)
    for step in range(4):
        for index, values in sequences.items():
            if step < len(values):
                g.set_entry(w.entry(index), values[step])
    g.lazy(Lazy.OFF)
    stored = [g.read_entry(w.table, index) for index in sequences]
    g.flush_tlb()
    seen = [g.read32(w.at(index), may_fault=True) for index in sequences]
    g.require([word(read) for read in before] == [old.mark] * 2, "the former entries were in effect")
    for index, values in sequences.items():
        expect_entry(g, stored[index], values[-1], f"entry {index} in memory after the mode")
    for index in (0, 2):
        g.expect(word(seen[index]) == last.mark, f"page {index} is the one last set", expected=last.mark,
                 seen=seen[index].ended)
    expect_page_fault(g, seen[1], "an access through the entry last cleared faults")


def _queued(g: VmiGuest, w: Window, old: Marked, new: Marked) -> tuple[WordHandle, WordHandle]:
    """Have one entry in use and another absent, then set both in the MMU mode, which stays on."""
    before, absent = g.read32(g.map(w, 0, old.phys)), g.read32(w.at(1023), may_fault=True)
    g.lazy(Lazy.MMU)
    g.set_entry(w.entry(0), new.entry())
    g.set_entry(w.entry(1023), new.entry(), maps=w.at(1023))
    return before, absent


@case("vmi.SetLazyMode.flush-inside", for_each=FLUSHES)
def lazy_flush_inside(g: VmiGuest, how: str) -> None:
    """InvalPage or FlushTLB inside the MMU mode put into effect what was set before them in the mode."""
    w, old, new = g.window(), marked(g), marked(g)
    before, absent = _queued(g, w, old, new)
    flush(g, how, w.at(0))
    stored = [g.read_entry(w.table, 0), g.read_entry(w.table, 1023)]
    changed, made = g.read32(w.at(0)), g.read32(w.at(1023), may_fault=True)
    g.lazy(Lazy.OFF)
    g.require(word(before) == old.mark and absent.faulted, "the former entries were in effect")
    for entry in stored:
        expect_entry(g, entry, new.entry(), f"an entry set before {how} in the mode, in memory")
    g.expect_equal(changed, new.mark, f"the page changed before {how} in the mode")
    g.expect(word(made) == new.mark, f"the page made present before {how} in the mode is mapped",
             expected=new.mark, seen=made.ended)


@case("vmi.SetLazyMode.flush-inside", for_each=FLUSHES)
def lazy_goes_on_after_flush(g: VmiGuest, how: str) -> None:
    """The mode goes on after a flush inside it: what is set afterwards is in effect when it ends, and
    what was set before is not undone."""
    w, old, new, last = g.window(), marked(g), marked(g), marked(g)
    _queued(g, w, old, new)
    flush(g, how, w.at(0))
    flushed = g.read32(w.at(0))
    g.set_entry(w.entry(0), last.entry())
    g.set_entry(w.entry(5), last.entry())
    g.lazy(Lazy.OFF)
    g.invalidate(w.at(0))
    seen = [g.read32(w.at(index), may_fault=True) for index in (0, 5, 1023)]
    g.require(word(flushed) == new.mark, "the flush in the mode had its effect")
    for read, page in zip(seen, (last, last, new), strict=True):
        g.expect(word(read) == page.mark, "a page set in the mode, before or after the flush, is mapped",
                 expected=page.mark, seen=read.ended)


@case("vmi.SetLazyMode.fault-flushes")
def lazy_fault_flushes(g: VmiGuest) -> None:
    """After a page fault taken in the MMU mode, what was queued before it is stored and maps."""
    w, old, new = g.window(), marked(g), marked(g)
    _, absent = _queued(g, w, old, new)
    fault = g.read32(w.at(600), may_fault=True)
    stored = [g.read_entry(w.table, 0), g.read_entry(w.table, 1023)]
    made = g.read32(w.at(1023), may_fault=True)
    g.lazy(Lazy.OFF)
    g.require(fault.faulted and absent.faulted, "a page fault was taken in the mode")
    for entry in stored:
        expect_entry(g, entry, new.entry(), "an entry set before the fault in the mode, in memory")
    g.expect(word(made) == new.mark, "the page made present before the fault is mapped", expected=new.mark,
             seen=made.ended)
