# SPDX-License-Identifier: BSD-2-Clause
"""SetPxE on directories, on tables that are not in use, and with DEFER."""

from __future__ import annotations

from abidance.abi.vmi.cases.mmu_tools import (
    FLUSHES,
    RW,
    USER,
    expect_entry,
    expect_page_fault,
    expect_user_reads,
    flush,
    hook,
    marked,
    table_of,
    unhook,
    user_load,
    word,
)
from abidance.abi.vmi.constants import PageFlag, Pte
from abidance.abi.vmi.guest import VmiGuest
from abidance.suite import case

__all__: list[str] = []


@case("vmi.SetPxE.directory-level")
def set_pxe_installs_table(g: VmiGuest) -> None:
    """A directory entry made present puts all entries of its table into effect at once; the word reads
    as passed."""
    w, pages = g.window(), {index: marked(g) for index in (0, 600, 1023)}
    unhook(g, w)
    table = table_of(g, {index: page.entry(USER) for index, page in pages.items()})
    absent = [g.read32(w.at(index), may_fault=True) for index in pages]
    hook(g, w, table)
    seen = {index: g.read32(w.at(index)) for index in pages}
    hole, user = g.read32(w.at(1), may_fault=True), user_load(g, w.at(600))
    stored = g.read32(w.directory_entry)
    g.require(all(read.faulted for read in absent), "nothing was mapped there before")
    for index, page in pages.items():
        g.expect_equal(seen[index], page.mark, f"page {index} of the new table")
    expect_page_fault(g, hole, "an access through an absent entry of the new table faults")
    expect_user_reads(g, user, pages[600].mark, "what user code reads through the new table")
    expect_entry(g, stored, table | USER, "the directory entry in memory")


@case("vmi.SetPxE.directory-level", for_each=FLUSHES)
def set_pxe_replaces_table(g: VmiGuest, how: str) -> None:
    """A directory entry changed to another table, and then cleared, is followed after the flush."""
    w, old, new = g.window(), marked(g), marked(g)
    linear = g.map(w, 12, old.phys)
    table = table_of(g, {12: new.entry()})
    before = g.read32(linear)
    hook(g, w, table)
    flush(g, how, linear)
    replaced = g.read32(linear)
    g.set_entry(w.directory_entry, 0, level=PageFlag.PD)
    flush(g, how, linear)
    cleared = g.read32(linear, may_fault=True)
    hook(g, w, w.table)
    again = g.read32(linear)
    g.require(word(before) == old.mark, "the page of the first table was mapped")
    g.expect_equal(replaced, new.mark, "the page mapped through the second table")
    expect_page_fault(g, cleared, "an access faults after the directory entry was cleared")
    g.expect_equal(again, old.mark, "the page mapped through the first table again")


@case("vmi.SetPxE.directory-level")
def set_pxe_takes_permission_of_a_table(g: VmiGuest) -> None:
    """A directory entry that loses US or RW takes it from every page of its table after the flush."""
    w = g.window()
    pages = [marked(g), marked(g)]
    linear = [g.map(w, index, page.phys, USER) for index, page in zip((0, 1023), pages, strict=True)]
    before = [user_load(g, address) for address in linear]
    hook(g, w, w.table, RW)
    g.flush_tlb()
    supervisor = [user_load(g, address) for address in linear]
    hook(g, w, w.table, Pte.P | Pte.US)
    g.flush_tlb()
    readable = [user_load(g, address) for address in linear]
    stores = [g.enter_user("user.store", eax=address, ebx=1, may_fault=True) for address in linear]
    g.require(all(state.stopped for state in before), "user code could use the pages before")
    for state in supervisor:
        g.expect_fault(state, 14, "a load of user code faults while the directory entry lacks US")
    for state, page in zip(readable, pages, strict=True):
        expect_user_reads(g, state, page.mark, "what user code reads while the directory entry has US")
    for state in stores:
        g.expect_fault(state, 14, "a store of user code faults while the directory entry lacks RW")


@case("vmi.SetPxE.not-live")
def set_pxe_prepares_unused_table(g: VmiGuest) -> None:
    """Entries set in a table that is hooked in nowhere are in memory, and in effect once it is hooked in."""
    w, page = g.window(), marked(g)
    unhook(g, w)
    table = table_of(g, {70: page.entry()})
    stored = g.read_entry(table, 70)
    before = g.read32(w.at(70), may_fault=True)
    hook(g, w, table)
    after = g.read32(w.at(70))
    g.require(before.faulted, "nothing was mapped there while the table was not hooked in")
    expect_entry(g, stored, page.entry(), "the entry in the unused table")
    g.expect_equal(after, page.mark, "the page mapped once the table is hooked in")


@case("vmi.SetPxE.not-live")
def set_pxe_changes_table_out_of_use(g: VmiGuest) -> None:
    """An entry changed while its table, which has been in use, is unhooked is in effect when the table
    comes back."""
    w, old, new, gone = g.window(), marked(g), marked(g), marked(g)
    changed, cleared = g.map(w, 0, old.phys), g.map(w, 1, gone.phys)
    before = [g.read32(changed), g.read32(cleared)]
    unhook(g, w)
    absent = g.read32(changed, may_fault=True)
    g.set_entry(w.entry(0), new.entry())
    g.set_entry(w.entry(1), 0)
    stored = g.read_entry(w.table, 0)
    hook(g, w, w.table)
    after, missing = g.read32(changed), g.read32(cleared, may_fault=True)
    g.require([word(read) for read in before] == [old.mark, gone.mark], "the pages were mapped")
    g.require(absent.faulted, "nothing was mapped while the table was unhooked")
    expect_entry(g, stored, new.entry(), "the entry in the unhooked table")
    g.expect_equal(after, new.mark, "the page mapped when the table is hooked in again")
    expect_page_fault(g, missing, "an access through the entry that was cleared meanwhile faults")


@case("vmi.SetPxE.not-live")
def set_pxe_prepares_unloaded_directory(g: VmiGuest) -> None:
    """Entries of both levels set in a directory that is not loaded are in effect after SetCR3."""
    w, here, there = g.window(), marked(g), marked(g)
    linear = g.map(w, 3, here.phys)
    directory = g.copy_directory()
    table = table_of(g, {3: there.entry()})
    entry = g.direct(directory) + 4 * (w.linear >> 22)
    g.set_entry(entry, table | USER, level=PageFlag.PD)
    stored, before = g.read32(entry), g.read32(linear)
    g.call("SetCR3", eax=directory)
    after = g.read32(linear)
    g.require(word(before) == here.mark, "the current directory maps its own page")
    expect_entry(g, stored, table | USER, "the entry in the directory that is not loaded")
    g.expect_equal(after, there.mark, "the page mapped once the directory is loaded")


@case("vmi.SetPxE.level-flag-not-trusted")
def set_pxe_with_wrong_level(g: VmiGuest) -> None:
    """An entry of a directory that is set with the level flag PT is stored and in effect at once."""
    w, page = g.window(), marked(g)
    unhook(g, w)
    table = table_of(g, {9: page.entry()})
    before = g.read32(w.at(9), may_fault=True)
    g.set_entry(w.directory_entry, table | USER, level=PageFlag.PT)
    stored, mapped = g.read32(w.directory_entry), g.read32(w.at(9), may_fault=True)
    g.set_entry(w.directory_entry, 0, level=PageFlag.PT)
    g.flush_tlb()
    gone = g.read32(w.at(9), may_fault=True)
    g.require(before.faulted, "nothing was mapped there before")
    expect_entry(g, stored, table | USER, "the directory entry in memory")
    if g.expect(not mapped.faulted, "the page is mapped", seen=mapped.ended):
        g.expect_equal(mapped, page.mark, "the page mapped through the directory entry")
    expect_page_fault(g, gone, "an access faults after the directory entry was cleared")


@case("vmi.SetPxE.deferred-in-effect-after-flush", for_each=FLUSHES)
def set_pxe_deferred_takes_effect(g: VmiGuest, how: str) -> None:
    """An entry made present, changed, or cleared with DEFER is stored and in effect after the flush."""
    w, old, new = g.window(), marked(g), marked(g)
    changed, cleared, made = g.map(w, 0, old.phys), g.map(w, 1, old.phys), w.at(1023)
    for index, linear, value in ((0, changed, new.entry()), (1, cleared, 0), (1023, made, new.entry(USER))):
        before = g.read32(linear, may_fault=True)
        g.set_entry(w.entry(index), value, defer=True)
        flush(g, how, linear)
        stored, after = g.read_entry(w.table, index), g.read32(linear, may_fault=True)
        g.require(word(before) == (None if linear == made else old.mark), "the former entry was in effect")
        expect_entry(g, stored, value, f"entry {index} in memory after the flush")
        if value:
            g.expect(word(after) == new.mark, f"page {index} is mapped as the entry says", seen=after.ended,
                     expected=new.mark)
        else:
            expect_page_fault(g, after, f"an access to page {index}, whose entry was cleared, faults")


@case("vmi.SetPxE.deferred-in-effect-after-flush", for_each=FLUSHES)
def set_pxe_deferred_directory_entry(g: VmiGuest, how: str) -> None:
    """A directory entry set with DEFER, and an entry set in its table with DEFER after it, are in
    effect after the flush."""
    w, first, second = g.window(), marked(g), marked(g)
    unhook(g, w)
    table = table_of(g, {4: first.entry()})
    before = g.read32(w.at(4), may_fault=True)
    g.set_entry(w.directory_entry, table | USER, level=PageFlag.PD, defer=True)
    g.set_entry(g.direct(table) + 4 * 5, second.entry(), defer=True)
    flush(g, how, w.at(4))
    if how == "InvalPage":
        g.invalidate(w.at(5))
    g.require(before.faulted, "nothing was mapped there before")
    expect_entry(g, g.read32(w.directory_entry), table | USER, "the directory entry after the flush")
    expect_entry(g, g.read_entry(table, 5), second.entry(), "the table entry after the flush")
    g.expect_equal(g.read32(w.at(4)), first.mark, "the page that the table held already")
    g.expect_equal(g.read32(w.at(5)), second.mark, "the page that was added with DEFER")


@case("vmi.SetPxE.deferred-order", for_each=FLUSHES)
def set_pxe_deferred_order(g: VmiGuest, how: str) -> None:
    """Of several values set with DEFER the last one counts, be it an address, a permission or absence."""
    w, old, new, user = g.window(), marked(g), marked(g), marked(g)
    g.map(w, 0, old.phys)
    before = g.read32(w.at(0))
    sequences = {0: (new.entry(), 0, old.entry(), user.entry(USER)), 1: (0, old.entry(), new.entry()),
                 2: (old.entry(), new.entry(), 0)}
    for step in range(4):
        for index, values in sequences.items():
            if step < len(values):
                g.set_entry(w.entry(index), values[step], defer=True)
    for index in sequences:
        flush(g, how, w.at(index))
    stored = [g.read_entry(w.table, index) for index in sequences]
    first, second = user_load(g, w.at(0)), g.read32(w.at(1), may_fault=True)
    third = g.read32(w.at(2), may_fault=True)
    g.require(word(before) == old.mark, "the former entry was in effect")
    for index, values in sequences.items():
        expect_entry(g, stored[index], values[-1], f"entry {index} in memory after the flush")
    expect_user_reads(g, first, user.mark, "the page of entry 0, last set for user code")
    g.expect(word(second) == new.mark, "entry 1 maps the page it was last set to", expected=new.mark,
             seen=second.ended)
    expect_page_fault(g, third, "an access through entry 2, last cleared, faults")
