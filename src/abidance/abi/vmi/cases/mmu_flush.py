# SPDX-License-Identifier: BSD-2-Clause
"""InvalPage and FlushTLB: whatever way an entry was changed, it is followed afterwards."""

from __future__ import annotations

from abidance.abi.vmi.cases.control_tools import (
    ControlRegisters,
    another_space,
    expect_same,
    with_ts,
    without_ts,
)
from abidance.abi.vmi.cases.mmu_tools import (
    RW,
    USER,
    Marked,
    expect_entry,
    expect_page_fault,
    expect_user_fault,
    marked,
    table_of,
    unhook,
    user_load,
    user_store,
    word,
)
from abidance.abi.vmi.constants import PageFlag, Pte
from abidance.abi.vmi.guest import VmiGuest, Window
from abidance.suite import case, untested
from abidance.suite.handles import WordHandle

__all__: list[str] = []

PGE = 0x80
GLOBAL = RW | int(Pte.G)

untested("vmi.FlushTLB.may-keep-global", reason="permission: nothing to violate")


def global_pages_on(g: VmiGuest) -> None:
    """Ask for global pages. Where CR4 refuses, entries with G are ordinary ones and must be followed
    all the more."""
    g.call("SetCR4", eax=g.call("GetCR4").eax | PGE, may_fault=True)


def use(g: VmiGuest, w: Window, index: int, page: Marked, flags: int) -> WordHandle:
    """Map a page and read it, so that its translation is in use."""
    return g.read32(g.map(w, index, page.phys, flags))


@case("vmi.InvalPage.drops-translation", for_each=("ordinary", "global"))
def inval_page_drops_translation(g: VmiGuest, kind: str) -> None:
    """After InvalPage an entry changed by a plain store is followed: another page, none, and back."""
    flags = GLOBAL if kind == "global" else RW
    if kind == "global":
        global_pages_on(g)
    w, old, new = g.window(), marked(g), marked(g)
    for index in (0, 1023):
        linear = w.at(index)
        before = use(g, w, index, old, flags)
        g.write32(w.entry(index), new.entry(flags))
        g.invalidate(linear)
        changed = g.read32(linear)
        g.write32(w.entry(index), old.phys)
        g.invalidate(linear)
        cleared = g.read32(linear, may_fault=True)
        g.write32(w.entry(index), old.entry(flags))
        g.invalidate(linear)
        back = g.read32(linear)
        g.require(word(before) == old.mark, "the former translation was in use")
        g.expect_equal(changed, new.mark, "the page after its entry was changed")
        expect_page_fault(g, cleared, "an access faults after its entry was cleared")
        g.expect_equal(back, old.mark, "the page after its entry was stored again")


@case("vmi.InvalPage.drops-translation", for_each=("ordinary", "global"))
def inval_page_drops_permissions(g: VmiGuest, kind: str) -> None:
    """After InvalPage permissions taken from an entry by a plain store are missing for user code."""
    bits = Pte.G if kind == "global" else Pte(0)
    if kind == "global":
        global_pages_on(g)
    w, page = g.window(), marked(g)
    linear = g.map(w, 8, page.phys, USER | bits)
    stored, loaded = user_store(g, linear + 4, 1), user_load(g, linear)
    g.write32(w.entry(8), page.entry(Pte.P | Pte.US | bits))
    g.invalidate(linear)
    read_only, readable = user_store(g, linear + 4, 2), user_load(g, linear)
    g.write32(w.entry(8), page.entry(RW | bits))
    g.invalidate(linear)
    denied = user_load(g, linear)
    g.require(stored.stopped and loaded.stopped, "user code could use the page before")
    expect_user_fault(g, read_only, "a store of user code faults without RW")
    g.expect_stopped(readable, "a load of user code works without RW")
    expect_user_fault(g, denied, "a load of user code faults without US")


@case("vmi.InvalPage.whole-page")
def inval_page_acts_on_whole_page(g: VmiGuest) -> None:
    """Whatever the low bits of the address, both ends of its page follow the changed entry."""
    w = g.window()
    for index, offset in enumerate((0x001, 0x7FF, 0xFFF, 0x800)):
        old, new, linear = marked(g), marked(g), w.at(index)
        before = [use(g, w, index, old, RW), g.read32(linear + 0xFFC)]
        g.write32(w.entry(index), new.entry())
        g.invalidate(linear + offset)
        first, last = g.read32(linear), g.read32(linear + 0xFFC)
        g.require([word(read) for read in before] == [old.mark, old.last], "the former page was mapped")
        g.expect_equal(first, new.mark, f"the first word after InvalPage at offset {offset:#x}")
        g.expect_equal(last, new.last, f"the last word after InvalPage at offset {offset:#x}")


@case("vmi.InvalPage.ends-deferral")
def inval_page_ends_deferral(g: VmiGuest) -> None:
    """Updates of other pages, tables and spaces that were deferred are stored after InvalPage of one
    address, and new entries among them are in effect."""
    w = g.window()
    other, there = g.window(), another_space(g, w)
    pages = [marked(g) for _ in range(4)]
    invalidated = g.map(w, 0, pages[0].phys)
    absent = [g.read32(address, may_fault=True) for address in (w.at(1), w.at(1023), other.at(5))]
    g.set_entry(w.entry(1), pages[1].entry(), defer=True)
    g.write32(w.entry(1023), pages[2].entry())
    g.update_entry(w.entry(1023), defer=True)
    g.set_entry(other.entry(5), pages[3].entry(), defer=True)
    g.set_entry(there.entry(7), pages[3].entry(), defer=True)
    g.invalidate(invalidated)
    stored = [g.read_entry(w.table, 1), g.read_entry(other.table, 5), g.read_entry(there.table, 7)]
    seen = [g.read32(w.at(1)), g.read32(w.at(1023)), g.read32(other.at(5))]
    g.require(all(read.faulted for read in absent), "nothing was mapped there before")
    for value, page in zip(stored, (pages[1], pages[3], pages[3]), strict=True):
        expect_entry(g, value, page.entry(), "an entry set with DEFER, in memory")
    for read, page in zip(seen, pages[1:], strict=True):
        g.expect_equal(read, page.mark, "a page whose entry was set or told of with DEFER")


@case("vmi.InvalPage.unmapped-harmless")
def inval_page_of_unmapped_address(g: VmiGuest) -> None:
    """InvalPage of addresses without an entry or without a table raises nothing and maps nothing."""
    w, page = g.window(), marked(g)
    linear = g.map(w, 4, page.phys)
    no_table = w.linear + 64 * 0x40_0000
    g.set_entry(w.entry(6), 0xDEAD_BEE0)
    for address in (w.at(5), w.at(3, 0xFFF), w.at(6), no_table, 0):
        before = g.read32(address, may_fault=True)
        call = g.call("InvalPage", eax=address, may_fault=True)
        after, mapped = g.read32(address, may_fault=True), g.read32(linear)
        g.require(before.faulted, f"{address:#x} is not mapped")
        g.expect_returned(call, f"InvalPage of {address:#x}, which is not mapped, returns")
        expect_page_fault(g, after, f"an access to {address:#x} faults after InvalPage")
        g.expect_equal(mapped, page.mark, "a page that is mapped elsewhere")
    expect_entry(g, g.read_entry(w.table, 4), page.entry(), "the entry of a page mapped elsewhere")
    g.expect_equal(g.read_entry(w.table, 6), 0xDEAD_BEE0, "the absent entry of an address invalidated")


@case("vmi.InvalPage.others-kept")
def inval_page_keeps_others(g: VmiGuest) -> None:
    """Pages beside the one invalidated, in its table and in others, and absent ones, stay as they were."""
    windows = [g.window(), g.window()]
    pages = {(w.linear, index): marked(g) for w in windows for index in (0, 1, 2, 1023)}
    for w in windows:
        for index in (0, 1, 2, 1023):
            g.map(w, index, pages[w.linear, index].phys, USER)
    before = [g.read32(w.at(index)) for w in windows for index in (0, 1, 2, 1023)]
    absent = g.read32(windows[0].at(3), may_fault=True)
    for address in (windows[0].at(1), windows[0].at(1023), windows[1].at(0)):
        g.invalidate(address)
        after = {(w.linear, index): g.read32(w.at(index)) for w in windows for index in (0, 1, 2, 1023)}
        missing = g.read32(windows[0].at(3), may_fault=True)
        user = user_load(g, windows[0].at(2))
        for key, page in pages.items():
            g.expect_equal(after[key], page.mark, f"page {key[1]} of the range at {key[0]:#x}")
        expect_page_fault(g, missing, "an access to a page that was absent faults")
        g.expect_stopped(user, "user code can use a page beside the one invalidated")
    marks = [page.mark for page in pages.values()]
    g.require([word(read) for read in before] == marks, "all were mapped before")
    g.require(absent.faulted, "a page was absent before")


@case("vmi.FlushTLB.drops-nonglobal")
def flush_drops_nonglobal(g: VmiGuest) -> None:
    """After FlushTLB with 1, entries of both levels changed by plain stores are followed, in all ranges."""
    windows = [g.window(), g.window(), g.window()]
    old, new = marked(g), marked(g)
    for w, flags in zip(windows, (USER, RW, USER), strict=True):
        before = [use(g, w, index, old, flags) for index in (0, 511, 1023)]
        g.write32(w.entry(0), new.entry(flags))
        g.write32(w.entry(511), old.phys)
        g.write32(w.entry(1023), old.entry(Pte.P | Pte.US))
        g.call("FlushTLB", eax=1)
        changed, gone = g.read32(w.at(0)), g.read32(w.at(511), may_fault=True)
        denied = user_store(g, w.at(1023, 8), 1)
        g.require([word(read) for read in before] == [old.mark] * 3, "the former translations were in use")
        g.expect_equal(changed, new.mark, "a page whose entry was changed")
        expect_page_fault(g, gone, "an access faults after its entry was cleared")
        expect_user_fault(g, denied, "a store of user code faults after its entry lost RW")
    table = table_of(g, {0: old.entry(), 1: new.entry()})
    before_table = g.read32(windows[0].at(0))
    g.write32(windows[0].directory_entry, table | USER)
    g.call("FlushTLB", eax=1)
    through = [g.read32(windows[0].at(0)), g.read32(windows[0].at(1))]
    g.require(word(before_table) == new.mark, "the former table was in use")
    g.expect_equal(through[0], old.mark, "a page of the table that a directory entry was changed to")
    g.expect_equal(through[1], new.mark, "another page of it")


@case("vmi.FlushTLB.drops-global")
def flush_drops_global(g: VmiGuest) -> None:
    """After FlushTLB with 3, changed entries of global and of other pages are followed, in several ranges."""
    global_pages_on(g)
    windows = [g.window(), g.window()]
    old, new = marked(g), marked(g)
    for w in windows:
        before = [use(g, w, 0, old, GLOBAL), use(g, w, 1, old, GLOBAL), use(g, w, 2, old, RW),
                  use(g, w, 1023, old, GLOBAL)]
        g.write32(w.entry(0), new.entry(GLOBAL))
        g.set_entry(w.entry(1), new.entry(GLOBAL))
        g.write32(w.entry(2), new.entry(RW))
        g.write32(w.entry(1023), old.phys)
        g.call("FlushTLB", eax=3)
        after = [g.read32(w.at(index)) for index in (0, 1, 2)]
        gone = g.read32(w.at(1023), may_fault=True)
        g.require([word(read) for read in before] == [old.mark] * 4, "the former translations were in use")
        for read, name in zip(after, ("a global page changed by a store", "a global page changed by SetPxE",
                                      "a page that is not global"), strict=True):
            g.expect_equal(read, new.mark, name)
        expect_page_fault(g, gone, "an access to a global page faults after its entry was cleared")


@case("vmi.FlushTLB.ends-deferral", for_each=(1, 3))
def flush_ends_deferral(g: VmiGuest, flags: int) -> None:
    """All deferred updates, of SetPxE and UpdatePxE, in several tables and on both levels, are in effect."""
    first, second, third = g.window(), g.window(), g.window()
    old, new = marked(g), marked(g)
    g.map(first, 0, old.phys)
    g.map(first, 1, old.phys)
    unhook(g, third)
    table = table_of(g, {9: new.entry()})
    before = [g.read32(first.at(0)), g.read32(first.at(1))]
    absent = [g.read32(address, may_fault=True) for address in (first.at(2), second.at(1023), third.at(9))]
    g.set_entry(first.entry(0), new.entry(), defer=True)
    g.set_entry(first.entry(1), 0, defer=True)
    g.set_entry(first.entry(2), new.entry(), defer=True, maps=first.at(2))
    g.write32(second.entry(1023), new.entry())
    g.update_entry(second.entry(1023), defer=True)
    g.set_entry(third.directory_entry, table | USER, level=PageFlag.PD, defer=True)
    g.call("FlushTLB", eax=flags)
    words = [(g.read_entry(first.table, 0), new.entry()), (g.read_entry(first.table, 1), 0),
             (g.read_entry(first.table, 2), new.entry()),
             (g.read32(third.directory_entry).value, table | USER)]
    mapped = [g.read32(address) for address in (first.at(0), first.at(2), second.at(1023), third.at(9))]
    gone = g.read32(first.at(1), may_fault=True)
    g.require([word(read) for read in before] == [old.mark] * 2, "the former translations were in use")
    g.require(all(read.faulted for read in absent), "the others were not mapped")
    for seen, value in words:
        expect_entry(g, seen, value, "an entry set with DEFER, in memory")
    for read in mapped:
        g.expect_equal(read, new.mark, "a page whose entry was set or told of with DEFER")
    expect_page_fault(g, gone, "an access through an entry cleared with DEFER faults")


@case("vmi.FlushTLB.keeps-control-registers", for_each=(1, 3))
def flush_keeps_control_registers(g: VmiGuest, flags: int) -> None:
    """FlushTLB leaves CR0, CR2, CR3 and CR4 as they were, with TS set or clear and PGE on or off."""
    there = another_space(g, g.window())
    original = g.call("GetCR4").eax
    for pge, prepare, space in ((0, without_ts, g.directory), (PGE, with_ts, there.directory),
                                (0, with_ts, there.directory), (PGE, without_ts, g.directory)):
        g.call("SetCR4", eax=original & ~PGE | pge, may_fault=True)
        g.call("SetCR3", eax=space)
        prepare(g)
        g.call("SetCR2", eax=g.poison())
        before = ControlRegisters.of(g)
        g.expect_returned(g.call("FlushTLB", eax=flags), "FlushTLB returns")
        after = ControlRegisters.of(g)
        expect_same(g, before, after, ("cr0", "cr2", "cr3", "cr4"), f"after FlushTLB with {flags}")
