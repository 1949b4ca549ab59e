# SPDX-License-Identifier: BSD-2-Clause
"""SetLinearMapping: a hint, which maps nothing and must not lead entry calls astray."""

from __future__ import annotations

from abidance.abi.vmi.cases.mmu_tools import (
    USER,
    entries_of,
    expect_entry,
    expect_page_fault,
    expect_user_fault,
    marked,
    user_load,
    user_store,
    word,
)
from abidance.abi.vmi.constants import PAGE, Pte
from abidance.abi.vmi.guest import VmiGuest
from abidance.suite import StateHandle, case, untested

__all__: list[str] = []

untested("vmi.SetLinearMapping.may-be-ignored", reason="permission: nothing to violate")


def announce_range(g: VmiGuest, slot: int, linear: int, phys: int, pages: int = 1) -> StateHandle:
    """SetLinearMapping: `pages` pages at `linear` map the frames from `phys` on."""
    return g.call("SetLinearMapping", eax=slot, edx=linear, ecx=pages, stack=(phys >> 12,))


@case("vmi.SetLinearMapping.maps-nothing", for_each=(1, 2, 3))
def linear_mapping_maps_nothing(g: VmiGuest, slot: int) -> None:
    """A range announced truly keeps its entries and permissions, lends none to its neighbours, and
    can be unmapped."""
    w, private, read_only = g.window(), marked(g), marked(g)
    first, second = g.map(w, 5, private.phys), g.map(w, 6, read_only.phys, Pte.P | Pte.US)
    g.require(read_only.phys == private.phys + PAGE, "the two pages follow one another")
    table = g.read(w.table, PAGE, phys=True).value
    announce_range(g, slot, first, private.phys, 2)
    after = g.read(w.table, PAGE, phys=True)
    words = [g.read32(first), g.read32(second)]
    beside = [g.read32(w.at(index), may_fault=True) for index in (4, 7)]
    user = [user_load(g, first), user_store(g, first, 1), user_store(g, second, 1)]
    g.expect(entries_of(after.value) == entries_of(table), "no entry of the page table has changed")
    g.expect_equal(words[0], private.mark, "the first page of the range")
    g.expect_equal(words[1], read_only.mark, "the second page of the range")
    for read in beside:
        expect_page_fault(g, read, "an access beside the range faults")
    for state, what in zip(user, ("a load from the supervisor page", "a store to it",
                                  "a store to the read-only page"), strict=True):
        expect_user_fault(g, state, f"{what} by user code faults")
    g.set_entry(w.entry(5), 0)
    g.invalidate(first)
    expect_page_fault(g, g.read32(first, may_fault=True), "an access faults once the range has been unmapped")


@case("vmi.SetLinearMapping.serves-entry-calls", for_each=(1, 2, 3))
def linear_mapping_serves_entry_calls(g: VmiGuest, slot: int) -> None:
    """SetPxE and UpdatePxE through a range announced work on both pages of it, down to the last entry."""
    view, first, second = g.window(), g.window(), g.window()
    g.require(second.table == first.table + PAGE, "the two tables follow one another")
    tables = g.map(view, 1, first.table)
    g.map(view, 2, second.table)
    announce_range(g, slot, tables, first.table, 2)
    for w, offset in ((first, 0), (second, PAGE)):
        for index in (0, 513, 1023):
            made, told = marked(g), marked(g)
            before = g.read32(w.at(index), may_fault=True)
            g.set_entry(tables + offset + 4 * index, made.entry())
            stored, mapped = g.read_entry(w.table, index), g.read32(w.at(index))
            g.write32(tables + offset + 4 * index, told.entry())
            g.update_entry(tables + offset + 4 * index)
            g.invalidate(w.at(index))
            updated = g.read32(w.at(index))
            g.require(before.faulted, "nothing was mapped there before")
            expect_entry(g, stored, made.entry(), f"entry {index} in memory after SetPxE through the range")
            g.expect_equal(mapped, made.mark, f"page {index} after SetPxE through the range")
            g.expect_equal(updated, told.mark, f"page {index} after UpdatePxE through the range")


@case("vmi.SetLinearMapping.serves-entry-calls")
def linear_mapping_serves_all_slots(g: VmiGuest) -> None:
    """Four slots that announce four ranges serve entry calls through each of them, in any order."""
    view, windows = g.window(), [g.window() for _ in range(3)]
    ranges = [g.map(view, 10 * number, w.table) for number, w in enumerate(windows)]
    for slot, (linear, w) in enumerate(zip(ranges, windows, strict=True), 1):
        announce_range(g, slot, linear, w.table)
    direct, absent = g.window(), [g.read32(w.at(77), may_fault=True) for w in windows]
    for number in (2, 0, 1):
        page = marked(g)
        g.set_entry(ranges[number] + 4 * 77, page.entry())
        g.set_entry(direct.entry(number), page.entry())
        seen, other = g.read32(windows[number].at(77)), g.read32(direct.at(number))
        g.expect_equal(seen, page.mark, f"the page set through the range of slot {number + 1}")
        g.expect_equal(other, page.mark, "the page set through the direct map, in slot 0")
    g.require(all(read.faulted for read in absent), "nothing was mapped there before")


@case("vmi.SetLinearMapping.slot-replaced", for_each=(1, 2, 3))
def linear_mapping_slot_is_replaced(g: VmiGuest, slot: int) -> None:
    """When a range maps another table and its slot is set again, SetPxE through it reaches that table."""
    view, first, second = g.window(), g.window(), g.window()
    pages = [marked(g) for _ in range(3)]
    linear = g.map(view, 1, first.table)
    announce_range(g, slot, linear, first.table)
    g.set_entry(linear + 4 * 20, pages[0].entry())
    used = g.read32(first.at(20))
    g.map(view, 1, second.table)
    announce_range(g, slot, linear, second.table)
    absent = g.read32(second.at(20), may_fault=True)
    g.set_entry(linear + 4 * 20, pages[1].entry())
    stored, spared = g.read_entry(second.table, 20), g.read_entry(first.table, 20)
    seen, kept = g.read32(second.at(20)), g.read32(first.at(20))
    g.map(view, 1, first.table)
    announce_range(g, slot, linear, first.table)
    g.set_entry(linear + 4 * 21, pages[2].entry(USER))
    back, foreign = g.read32(first.at(21)), g.read_entry(second.table, 21)
    g.require(word(used) == pages[0].mark and absent.faulted, "the range was used for the first table")
    expect_entry(g, stored, pages[1].entry(), "the entry of the second table")
    expect_entry(g, spared, pages[0].entry(), "the entry of the first table")
    g.expect_equal(seen, pages[1].mark, "the page mapped by the second table")
    g.expect_equal(kept, pages[0].mark, "the page mapped by the first table")
    g.expect_equal(back, pages[2].mark, "the page mapped by the first table when the range maps it again")
    g.expect_equal(foreign, 0, "the same entry of the second table")


@case("vmi.SetLinearMapping.slot-replaced")
def linear_mapping_slot_moves(g: VmiGuest) -> None:
    """When a slot is set again for another linear range, SetPxE through the new range works."""
    view, first, second = g.window(), g.window(), g.window()
    pages = [marked(g), marked(g)]
    ranges = [g.map(view, index, w.table) for index, w in ((1, first), (500, second))]
    for linear, w, page in zip(ranges, (first, second), pages, strict=True):
        announce_range(g, 1, linear, w.table)
        absent = g.read32(w.at(33), may_fault=True)
        g.set_entry(linear + 4 * 33, page.entry())
        stored, seen = g.read_entry(w.table, 33), g.read32(w.at(33))
        g.require(absent.faulted, "nothing was mapped there before")
        expect_entry(g, stored, page.entry(), "the entry set through the range")
        g.expect_equal(seen, page.mark, "the page that it maps")
    expect_entry(g, g.read_entry(first.table, 33), pages[0].entry(), "the entry set through the former range")
