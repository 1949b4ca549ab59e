# SPDX-License-Identifier: BSD-2-Clause
"""What the guest may rely on of its page tables, whether they are walked or shadowed."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from abidance.abi.vmi.cases.control_tools import another_space
from abidance.abi.vmi.cases.mmu_tools import (
    FLUSHES,
    RW,
    USER,
    entries_of,
    expect_page_fault,
    expect_user_fault,
    expect_user_reads,
    flush,
    hook,
    marked,
    table_of,
    unhook,
    user_load,
    user_store,
    word,
)
from abidance.abi.vmi.constants import ENTRIES, PAGE, PageFlag, Pte
from abidance.abi.vmi.guest import VmiGuest, Window
from abidance.suite import StateHandle, case, untested

__all__: list[str] = []

untested("vmi.tables.may-be-shadowed", "vmi.tables.plain-store-may-hide",
         reason="permission: nothing to violate")


def _make_effective(g: VmiGuest, how: str, linear: int) -> StateHandle:
    """InvalPage, FlushTLB, or SetCR3 with the current directory."""
    return g.call("SetCR3", eax=g.directory) if how == "SetCR3" else flush(g, how, linear)


@case("vmi.tables.plain-store-after-flush", for_each=(*FLUSHES, "SetCR3"))
def plain_store_is_followed(g: VmiGuest, how: str) -> None:
    """Entries that plain stores have made present, changed, cleared or stripped of RW are followed
    afterwards, with no other call."""
    w, old, new = g.window(), marked(g), marked(g)
    changed, cleared = g.map(w, 0, old.phys), g.map(w, 1, old.phys)
    stripped, made = g.map(w, 2, old.phys, USER), w.at(1023)
    before = [g.read32(linear) for linear in (changed, cleared)]
    could, absent = user_store(g, stripped + 4, 1), g.read32(made, may_fault=True)
    values = {0: new.entry(), 1: old.phys, 2: old.entry(Pte.P | Pte.US), 1023: new.entry()}
    for index, value in values.items():
        g.write32(w.entry(index), value)
    for linear in (changed, cleared, stripped, made):
        _make_effective(g, how, linear)
    after, gone = [g.read32(changed), g.read32(made)], g.read32(cleared, may_fault=True)
    denied, readable = user_store(g, stripped + 4, 2), user_load(g, stripped)
    g.require([word(read) for read in before] == [old.mark] * 2, "the pages were in use before")
    g.require(could.stopped, "user code could store before")
    g.require(absent.faulted, "nothing was mapped at the last one before")
    g.expect_equal(after[0], new.mark, "a page whose entry was changed")
    g.expect_equal(after[1], new.mark, "a page whose entry was made present")
    expect_page_fault(g, gone, "an access through a cleared entry faults")
    expect_user_fault(g, denied, "a store of user code through an entry without RW faults")
    expect_user_reads(g, readable, old.mark, "what user code reads through it")


@case("vmi.tables.plain-store-after-flush", for_each=("FlushTLB", "FlushTLB-global", "SetCR3"))
def plain_store_to_directory_is_followed(g: VmiGuest, how: str) -> None:
    """A directory entry changed to another table, cleared, and stored again by plain stores is followed."""
    w, old, new = g.window(), marked(g), marked(g)
    linear = g.map(w, 3, old.phys)
    table = table_of(g, {3: new.entry()})
    before = g.read32(linear)
    g.write32(w.directory_entry, table | USER)
    _make_effective(g, how, linear)
    changed = g.read32(linear)
    g.write32(w.directory_entry, 0)
    _make_effective(g, how, linear)
    cleared = g.read32(linear, may_fault=True)
    g.write32(w.directory_entry, w.table | USER)
    _make_effective(g, how, linear)
    back = g.read32(linear)
    g.require(word(before) == old.mark, "the first table was in use")
    g.expect_equal(changed, new.mark, "the page mapped by the second table")
    expect_page_fault(g, cleared, "an access faults while the directory entry is absent")
    g.expect_equal(back, old.mark, "the page mapped by the first table again")


@case("vmi.tables.guest-reads-own-tables")
def guest_reads_its_own_tables(g: VmiGuest) -> None:
    """Through use by kernel and user, faults and flushes, table and directory read as they were written."""
    w, pages = g.window(), [marked(g) for _ in range(4)]
    wanted = {0: pages[0].entry(), 1: pages[1].entry(USER) | 0xA00, 2: pages[2].entry(Pte.P), 3: 0xFFFF_FFFE,
              4: 0x1234_5678, 511: pages[3].entry(Pte.P | Pte.US | Pte.PWT), 1023: pages[3].entry() | 0x400}
    for index, value in wanted.items():
        g.set_entry(w.entry(index), value)
    directory = g.read(g.directory, PAGE, phys=True)
    used = [g.read32(w.at(index)) for index in (0, 1, 2, 511, 1023)]
    g.write32(w.at(0), 1)
    fault, user = g.read32(w.at(3), may_fault=True), user_store(g, w.at(1), 2)
    g.flush_tlb()
    g.write32(w.at(1023), 3)
    g.flush_tlb(everything=True)
    table, later = g.read(w.table, PAGE, phys=True), g.read(g.directory, PAGE, phys=True)
    marks = [page.mark for page in (*pages, pages[3])]
    g.require([word(read) for read in used] == marks, "the entries were used")
    g.require(fault.faulted and user.stopped, "a fault and an access of user code were taken")
    expected = [wanted.get(index, 0) & ~0x60 for index in range(ENTRIES)]
    _expect_entries(g, entries_of(table.value), expected, "page table")
    _expect_entries(g, entries_of(later.value), entries_of(directory.value), "page directory")
    g.expect_equal(g.read_entry(w.table, 3), 0xFFFF_FFFE, "an absent entry with all other bits set")


@case("vmi.tables.guest-reads-own-tables")
def guest_reads_its_direct_map(g: VmiGuest) -> None:
    """The tables the kernel built before VMI_Init, and has run on since, still hold what it stored."""
    first = g.hello.number("direct.offset") >> 22
    count = g.hello.number("ram.size") >> 22
    names = [name for name in (f"kernel.guard.{number}" for number in range(16)) if name in g.hello]
    guards = {g.hello.number(name) - g.hello.number("direct.offset") >> 12 for name in names}
    for number in range(count):
        entry = g.read_entry(g.directory, first + number)
        g.expect_equal(entry, 3, "P, RW and US of a directory entry of the direct map", mask=7)
        table = g.read(entry & ~0xFFF, PAGE, phys=True)
        frames = range(number * ENTRIES, (number + 1) * ENTRIES)
        expected = [0 if frame in guards else frame << 12 | RW for frame in frames]
        _expect_entries(g, entries_of(table.value), expected, f"table {number} of the direct map")


def _expect_entries(g: VmiGuest, seen: Sequence[int], expected: Sequence[int], what: str) -> None:
    wrong = [index for index, (left, right) in enumerate(zip(seen, expected, strict=True)) if left != right]
    at = wrong[0] if wrong else 0
    g.expect(not wrong, f"all entries of the {what}; first that differs is {at}", expected=expected[at],
             seen=seen[at])


@case("vmi.tables.accessed-bit")
def access_sets_accessed_bit(g: VmiGuest) -> None:
    """A load, a store, an access of user code, and an access after the bit was cleared again, set A in
    the guest's entry."""
    w, page = g.window(), marked(g)
    actions: dict[int, Callable[[int], object]] = {
        0: g.read32, 1: lambda at: g.write32(at, 1), 2: lambda at: user_load(g, at),
        3: lambda at: user_store(g, at, 2), 1023: g.read32}
    for index, act in actions.items():
        for turn in ("the first time", "again"):
            g.set_entry(w.entry(index), page.entry(USER))
            g.invalidate(w.at(index))
            clear = g.read_entry(w.table, index)
            act(w.at(index, 0x20))
            after = g.read_entry(w.table, index)
            if clear & Pte.A:
                g.not_tested("the implementation sets A before an access, so that an access shows nothing")
            g.expect_equal(after, Pte.A, f"A in entry {index} after an access, cleared {turn}", mask=Pte.A)


@case("vmi.tables.accessed-bit")
def access_sets_accessed_bit_of_directory(g: VmiGuest) -> None:
    """An access through a directory entry sets A in it."""
    w, page = g.window(), marked(g)
    linear = g.map(w, 9, page.phys)
    for turn in ("the first time", "again"):
        unhook(g, w)
        hook(g, w, w.table)
        clear = g.read32(w.directory_entry)
        seen = g.read32(linear)
        after = g.read32(w.directory_entry)
        if clear.value & Pte.A:
            g.not_tested("the implementation sets A before an access, so that an access shows nothing")
        g.require(word(seen) == page.mark, "the page is mapped")
        g.expect_equal(after, Pte.A, f"A in the directory entry after an access, {turn}", mask=Pte.A)


@case("vmi.tables.dirty-bit")
def write_sets_dirty_bit(g: VmiGuest) -> None:
    """A store of kernel or user sets D in the guest's entry, also where loads came first, and again
    after the bit was cleared."""
    w, page = g.window(), marked(g)
    actions: dict[int, Callable[[int], object]] = {
        0: lambda at: g.write32(at, 1), 1: lambda at: user_store(g, at, 2), 1023: lambda at: g.write32(at, 3)}
    for index, act in actions.items():
        for turn in ("the first time", "again"):
            g.set_entry(w.entry(index), page.entry(USER))
            g.invalidate(w.at(index))
            loaded = [g.read32(w.at(index)), g.read32(w.at(index))]
            clear = g.read_entry(w.table, index)
            act(w.at(index, 0x20))
            after = g.read_entry(w.table, index)
            g.require([word(read) for read in loaded] == [page.mark] * 2, "the page was loaded from before")
            if clear & Pte.D:
                g.not_tested("the implementation sets D before a store, so that a store shows nothing")
            g.expect_equal(after, Pte.D, f"D in entry {index} after a store, cleared {turn}", mask=Pte.D)


@case("vmi.tables.user-bit")
def user_bit_needs_both_levels(g: VmiGuest) -> None:
    """User code reaches a page exactly when US is set in both entries; the kernel always."""
    w, inner, outer = g.window(), marked(g), marked(g)
    g.map(w, 0, outer.phys, USER)
    g.map(w, 1, inner.phys, RW)
    for flags, directory in ((USER, True), (RW, False), (USER, True)):
        hook(g, w, w.table, flags)
        g.flush_tlb()
        for index, page, bit in ((0, outer, True), (1, inner, False)):
            load, store = user_load(g, w.at(index)), user_store(g, w.at(index, 8), 5)
            kernel = g.read32(w.at(index))
            levels = f"US {int(directory)} in the directory entry and {int(bit)} in the table entry"
            if directory and bit:
                expect_user_reads(g, load, page.mark, f"a load of user code with {levels}")
                g.expect_stopped(store, f"a store of user code with {levels}")
            else:
                expect_user_fault(g, load, f"a load of user code with {levels} faults")
                expect_user_fault(g, store, f"a store of user code with {levels} faults")
            g.expect_equal(kernel, page.mark, f"a load of the kernel with {levels}")


@case("vmi.tables.alias-coherent")
def aliases_show_the_same(g: VmiGuest) -> None:
    """What is stored through one address of a page is seen through the others at once: in one table, in
    another, by user code, in the direct map."""
    first, second, page = g.window(), g.window(), marked(g)
    places = [g.map(first, 0, page.phys, USER), g.map(first, 1023, page.phys, USER),
              g.map(second, 5, page.phys, USER), g.direct(page.phys)]
    warm = [g.read32(linear) for linear in places]
    g.require([word(read) for read in warm] == [page.mark] * 4, "all map the page")
    for number, target in enumerate(places):
        value = g.poison()
        g.write32(target + 0x123 * 4, value)
        seen = [g.read32(linear + 0x123 * 4) for linear in places]
        for read in seen:
            g.expect_equal(read, value, f"what is seen after a store through address {number}")
    value = g.poison()
    user_store(g, places[1], value)
    for linear in places:
        g.expect_equal(g.read32(linear), value, "what is seen after a store of user code")
    expect_user_reads(g, user_load(g, places[2]), value, "what user code sees through another address")


def _expect_space(g: VmiGuest, w: Window, marks: Sequence[int | None], what: str) -> None:
    for index, mark in enumerate(marks):
        seen = g.read32(w.at(index), may_fault=True)
        if mark is None:
            expect_page_fault(g, seen, f"an access to page {index} of {what} faults")
        else:
            g.expect(word(seen) == mark, f"page {index} of {what}", expected=mark, seen=seen.ended)


@case("vmi.tables.address-spaces-apart")
def address_spaces_stay_apart(g: VmiGuest) -> None:
    """Entries made, changed and cleared in the tables of one directory leave the other as it was,
    whichever of the two is loaded."""
    here = g.window()
    a, b, c = marked(g), marked(g), marked(g)
    for index in (0, 1, 3):
        g.map(here, index, a.phys)
    first = (a.mark, a.mark, None, a.mark)
    before = [g.read32(here.at(index), may_fault=True) for index in range(4)]
    g.require(tuple(word(read) for read in before) == first, "the first directory is in effect")
    there = another_space(g, here)
    g.map(there, 1, b.phys)
    _expect_space(g, here, first, "the first directory once the second has a table of its own")
    for index, value in ((0, b.entry()), (1, c.entry()), (2, b.entry()), (2, 0), (2, c.entry())):
        g.set_entry(there.entry(index), value)
        g.flush_tlb()
        _expect_space(g, here, first, "the first directory while the second is changed")
    g.call("SetCR3", eax=there.directory)
    second = (b.mark, c.mark, c.mark, None)
    _expect_space(g, there, second, "the second directory")
    for index, value in ((0, 0), (1, b.entry()), (2, a.entry())):
        g.set_entry(here.entry(index), value)
        g.invalidate(there.at(index))
        _expect_space(g, there, second, "the second directory while the first is changed")
    g.set_entry(there.entry(1), 0, maps=there.at(1), level=PageFlag.PT)
    g.invalidate(there.at(1))
    g.call("SetCR3", eax=here.directory)
    _expect_space(g, here, (None, b.mark, a.mark, a.mark), "the first directory after that")


@case("vmi.tables.address-spaces-apart")
def directory_entries_stay_apart(g: VmiGuest) -> None:
    """A directory entry that is set, changed or cleared in one directory leaves that range of the
    other as it was, present or absent, whichever of the two is loaded."""
    here, empty, a, b = g.window(), g.window(), marked(g), marked(g)
    linear = g.map(here, 4, a.phys)
    unhook(g, empty)
    before = [g.read32(linear), g.read32(empty.at(4), may_fault=True)]
    g.require([word(read) for read in before] == [a.mark, None], "one range is mapped and one is not")
    directory = g.copy_directory()
    table = table_of(g, {4: b.entry()})
    entries = [g.direct(directory) + 4 * (w.linear >> 22) for w in (here, empty)]
    for entry, value in zip((*entries, entries[0]), (table | USER, table | USER, 0), strict=True):
        g.set_entry(entry, value, level=PageFlag.PD)
        g.flush_tlb()
        kept, absent = g.read32(linear, may_fault=True), g.read32(empty.at(4), may_fault=True)
        g.expect(word(kept) == a.mark, "the range that the directory loaded maps", expected=a.mark,
                 seen=kept.ended)
        expect_page_fault(g, absent, "an access to the range that it does not map faults")
    g.call("SetCR3", eax=directory)
    gone, mapped = g.read32(linear, may_fault=True), g.read32(empty.at(4), may_fault=True)
    expect_page_fault(g, gone, "an access to the range that only the first directory maps faults")
    g.expect(word(mapped) == b.mark, "the range that only the second directory maps", expected=b.mark,
             seen=mapped.ended)
