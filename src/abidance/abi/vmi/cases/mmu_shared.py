# SPDX-License-Identifier: BSD-2-Clause
"""SetPxE on tables and directories that serve more than once: shared, reused, loaded again."""

from __future__ import annotations

from abidance.abi.vmi.cases.control_tools import another_space
from abidance.abi.vmi.cases.mmu_tools import (
    FLUSHES,
    USER,
    expect_entry,
    expect_page_fault,
    flush,
    hook,
    marked,
    table_of,
    unhook,
    word,
)
from abidance.abi.vmi.constants import PAGE, PageFlag
from abidance.abi.vmi.guest import VmiGuest
from abidance.suite import case

__all__: list[str] = []


@case("vmi.SetPxE.maps")
def set_pxe_maps_through_both_hooks(g: VmiGuest) -> None:
    """An entry made present in a table that two directory entries name maps its page at both addresses."""
    first, second, page = g.window(), g.window(), marked(g)
    unhook(g, second)
    hook(g, second, first.table)
    before = [g.read32(w.at(44), may_fault=True) for w in (first, second)]
    g.set_entry(first.entry(44), page.entry())
    after = [g.read32(w.at(44)) for w in (first, second)]
    g.require(all(read.faulted for read in before), "nothing was mapped there before")
    for read in after:
        g.expect_equal(read, page.mark, "the page at one of the two addresses")


@case("vmi.SetPxE.remaps-after-flush", "vmi.SetPxE.unmaps-after-flush", for_each=FLUSHES)
def set_pxe_remaps_through_both_hooks(g: VmiGuest, how: str) -> None:
    """An entry changed, and then cleared, in a table that two directory entries name is followed at
    both addresses after they have been flushed."""
    first, second, old, new = g.window(), g.window(), marked(g), marked(g)
    unhook(g, second)
    hook(g, second, first.table)
    places = [g.map(first, 9, old.phys), second.at(9)]
    before = [g.read32(linear) for linear in places]
    g.set_entry(first.entry(9), new.entry())
    for linear in places:
        flush(g, how, linear)
    changed = [g.read32(linear) for linear in places]
    g.set_entry(first.entry(9), 0)
    for linear in places:
        flush(g, how, linear)
    cleared = [g.read32(linear, may_fault=True) for linear in places]
    g.require([word(read) for read in before] == [old.mark] * 2, "both addresses mapped the page before")
    for read in changed:
        g.expect_equal(read, new.mark, "the page at one of the two addresses",
                       clause="vmi.SetPxE.remaps-after-flush")
    for read in cleared:
        expect_page_fault(g, read, "an access at one of the two addresses faults",
                          clause="vmi.SetPxE.unmaps-after-flush")


@case("vmi.SetPxE.remaps-after-flush")
def set_pxe_remaps_in_both_directories(g: VmiGuest) -> None:
    """An entry changed in a table that two directories share is followed in both, whichever is loaded."""
    w, pages = g.window(), [marked(g) for _ in range(4)]
    linear = g.map(w, 17, pages[0].phys)
    other = g.copy_directory()
    seen = []
    for directory, page in ((other, pages[1]), (g.directory, pages[2]), (other, pages[3])):
        g.call("SetCR3", eax=directory)
        before = g.read32(linear)
        g.set_entry(w.entry(17), page.entry())
        g.invalidate(linear)
        here = g.read32(linear)
        g.call("SetCR3", eax=g.directory if directory == other else other)
        there = g.read32(linear)
        seen.append((before, here, there, page))
    former = pages[0].mark
    for before, here, there, page in seen:
        g.require(word(before) == former, "the former page was mapped")
        g.expect_equal(here, page.mark, "the page in the directory that was loaded")
        g.expect_equal(there, page.mark, "the page in the other directory")
        former = page.mark


@case("vmi.SetPxE.maps")
def set_pxe_maps_former_table(g: VmiGuest) -> None:
    """A page that was a page table, was unhooked and released, can be mapped, written and read as any
    other, and what is written there maps nothing."""
    w, page = g.window(), marked(g)
    used = g.read32(g.map(w, 3, page.phys))
    unhook(g, w)
    g.call("ReleasePage", eax=w.table >> 12, edx=int(PageFlag.PT | PageFlag.ZEROED))
    hook(g, w, table_of(g, {5: w.table | USER}))
    kept = g.read32(w.at(5, 4 * 3))
    values = {offset: g.poison() for offset in (0, 4 * 3, PAGE - 4)}
    for offset, value in values.items():
        g.write32(w.at(5, offset), value)
    seen = {offset: g.read32(w.table + offset, phys=True) for offset in values}
    absent = g.read32(w.at(3), may_fault=True)
    g.require(word(used) == page.mark, "the page was in use as a table")
    expect_entry(g, kept, page.entry(), "the former entry, read through the new mapping")
    for offset, value in values.items():
        g.expect_equal(seen[offset], value, f"memory after a store at {offset:#x}")
    expect_page_fault(g, absent, "an access to what the former table mapped faults")


@case("vmi.SetPxE.not-live")
def set_pxe_changes_directory_out_of_use(g: VmiGuest) -> None:
    """Entries of a directory that was loaded, changed and cleared by SetPxE after it has been left, are
    in effect when it is loaded again."""
    w, old, new = g.window(), marked(g), marked(g)
    cleared = g.window()
    there, gone = another_space(g, w), another_space(g, cleared)
    linear = g.map(there, 2, old.phys)
    g.set_entry(g.direct(there.directory) + 4 * (cleared.linear >> 22), gone.table | USER, level=PageFlag.PD)
    g.set_entry(gone.entry(2), old.entry())
    g.call("SetCR3", eax=there.directory)
    before = [g.read32(linear), g.read32(cleared.at(2))]
    g.call("SetCR3", eax=g.directory)
    absent = g.read32(linear, may_fault=True)
    g.set_entry(there.directory_entry, table_of(g, {2: new.entry()}) | USER, level=PageFlag.PD)
    g.set_entry(g.direct(there.directory) + 4 * (cleared.linear >> 22), 0, level=PageFlag.PD)
    g.call("SetCR3", eax=there.directory)
    after, missing = g.read32(linear), g.read32(cleared.at(2), may_fault=True)
    g.require([word(read) for read in before] == [old.mark] * 2, "the directory was in use before")
    g.require(absent.faulted, "and then it was left")
    g.expect_equal(after, new.mark, "the page mapped through the entry that was changed meanwhile")
    expect_page_fault(g, missing, "an access through the entry that was cleared meanwhile faults")


@case("vmi.SetPxE.deferred-in-effect-after-flush")
def set_pxe_defers_many(g: VmiGuest) -> None:
    """None of 300 entries set with DEFER is lost when the flush comes."""
    w, page = g.window(), marked(g)
    absent = g.read32(w.at(299), may_fault=True)
    for index in range(300):
        g.set_entry(w.entry(index), page.entry(), defer=True)
    g.flush_tlb()
    reads = [g.read32(w.at(index), may_fault=True) for index in range(300)]
    g.require(absent.faulted, "nothing was mapped there before")
    unmapped = tuple(index for index, read in enumerate(reads) if word(read) != page.mark)
    g.expect(not unmapped, "all entries set with DEFER are in effect", expected=(), seen=unmapped)
