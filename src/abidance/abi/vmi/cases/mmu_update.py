# SPDX-License-Identifier: BSD-2-Clause
"""UpdatePxE: the guest has stored an entry itself and tells of it."""

from __future__ import annotations

from abidance.abi.vmi.cases.mmu_tools import (
    FLUSHES,
    RW,
    USER,
    expect_entry,
    expect_page_fault,
    expect_user_fault,
    expect_user_reads,
    flush,
    marked,
    table_of,
    unhook,
    user_load,
    user_store,
    word,
)
from abidance.abi.vmi.constants import PAGE, PageFlag, Pte
from abidance.abi.vmi.guest import VmiGuest
from abidance.suite import case, untested

__all__: list[str] = []

untested("vmi.UpdatePxE.may-defer",
         reason="permission: nothing to violate, and a guest must not look between DEFER and the flush")


@case("vmi.UpdatePxE.maps")
def update_maps_at_once(g: VmiGuest) -> None:
    """A present entry stored where none was maps its page at once after UpdatePxE, with no flush."""
    w = g.window()
    for index in (0, 1, 511, 1023):
        page, linear = marked(g), w.at(index)
        before = g.read32(linear, may_fault=True)
        g.write32(w.entry(index), page.entry(USER))
        g.update_entry(w.entry(index))
        first, last = g.read32(linear), g.read32(linear + PAGE - 4)
        user = user_load(g, linear)
        g.write32(linear + 0x40, page.mark ^ index)
        g.require(before.faulted, "nothing was mapped there before")
        g.expect_equal(first, page.mark, f"the first word of page {index}")
        g.expect_equal(last, page.last, f"the last word of page {index}")
        expect_user_reads(g, user, page.mark, f"what user code reads from page {index}")
        g.expect_equal(g.read32(page.phys + 0x40, phys=True), page.mark ^ index, "memory after a store")


@case("vmi.UpdatePxE.resynchronises-after-flush", for_each=FLUSHES)
def update_follows_changed_entry(g: VmiGuest, how: str) -> None:
    """Present entries that the guest has changed to another page, or cleared, are followed after
    UpdatePxE and the flush, every time."""
    w, pages = g.window(), [marked(g), marked(g)]
    linear = g.map(w, 3, pages[0].phys)
    for new, old in ((pages[1], pages[0]), (pages[0], pages[1])):
        before = g.read32(linear)
        g.write32(w.entry(3), new.entry())
        g.update_entry(w.entry(3))
        flush(g, how, linear)
        after = g.read32(linear)
        g.require(word(before) == old.mark, "the former page was mapped")
        g.expect_equal(after, new.mark, "the page mapped after the flush")
    before = g.read32(linear)
    g.write32(w.entry(3), pages[0].phys)
    g.update_entry(w.entry(3))
    flush(g, how, linear)
    gone = g.read32(linear, may_fault=True)
    g.require(word(before) == pages[0].mark, "the page was mapped")
    expect_page_fault(g, gone, "an access through the cleared entry faults")


@case("vmi.UpdatePxE.resynchronises-after-flush", for_each=FLUSHES)
def update_follows_permissions(g: VmiGuest, how: str) -> None:
    """RW and US that the guest has taken from an entry are missed after UpdatePxE and the flush."""
    w, page = g.window(), marked(g)
    linear = g.map(w, 6, page.phys, USER)
    stored, loaded = user_store(g, linear + 4, 1), user_load(g, linear)
    g.write32(w.entry(6), page.entry(Pte.P | Pte.US))
    g.update_entry(w.entry(6))
    flush(g, how, linear)
    read_only, readable = user_store(g, linear + 4, 2), user_load(g, linear)
    g.write32(w.entry(6), page.entry(RW))
    g.update_entry(w.entry(6))
    flush(g, how, linear)
    denied, kernel = user_load(g, linear), g.read32(linear)
    g.require(stored.stopped and loaded.stopped, "user code could use the page before")
    expect_user_fault(g, read_only, "a store of user code faults without RW")
    expect_user_reads(g, readable, page.mark, "what user code reads without RW")
    expect_user_fault(g, denied, "a load of user code faults without US")
    g.expect_equal(kernel, page.mark, "what the kernel reads without US")


@case("vmi.UpdatePxE.leaves-entry")
def update_leaves_entry(g: VmiGuest) -> None:
    """UpdatePxE changes no word of the table: the entry, present or not, and its neighbours stay."""
    w, page = g.window(), marked(g)
    for index in (0, 511, 1023):
        for value in (page.entry(RW) | 0xA00, 0xFFFF_FFFE, page.entry(USER), 0x5A5A_5A5A & ~1, 0):
            g.write32(w.entry(index), value)
            before = g.read(w.table, PAGE, phys=True)
            g.update_entry(w.entry(index))
            stored, after = g.read_entry(w.table, index), g.read(w.table, PAGE, phys=True)
            at = 4 * index
            g.require(before.value[at:at + 4] == value.to_bytes(4, "little"), "the entry was stored")
            expect_entry(g, stored, value, f"entry {index} after UpdatePxE")
            g.expect(before.value[:at] == after.value[:at] and before.value[at + 4:] == after.value[at + 4:],
                     f"the other entries after UpdatePxE of entry {index} are as before")
            g.invalidate(w.at(index))


@case("vmi.UpdatePxE.directory-level")
def update_installs_table(g: VmiGuest) -> None:
    """A directory entry that the guest has stored is in effect after UpdatePxE with PD; so is, after
    a flush, another table stored over it, and its absence."""
    w, first, second = g.window(), marked(g), marked(g)
    unhook(g, w)
    tables = [table_of(g, {0: page.entry(), 1023: page.entry()}) for page in (first, second)]
    before = g.read32(w.at(0), may_fault=True)
    g.write32(w.directory_entry, tables[0] | USER)
    g.update_entry(w.directory_entry, level=PageFlag.PD)
    made = [g.read32(w.at(index)) for index in (0, 1023)]
    g.write32(w.directory_entry, tables[1] | USER)
    g.update_entry(w.directory_entry, level=PageFlag.PD)
    g.flush_tlb()
    changed = [g.read32(w.at(index)) for index in (0, 1023)]
    g.write32(w.directory_entry, 0)
    g.update_entry(w.directory_entry, level=PageFlag.PD)
    g.flush_tlb()
    gone = g.read32(w.at(0), may_fault=True)
    g.require(before.faulted, "nothing was mapped there before")
    for read in made:
        g.expect_equal(read, first.mark, "the page mapped through the new table")
    for read in changed:
        g.expect_equal(read, second.mark, "the page mapped through the table stored over it")
    expect_page_fault(g, gone, "an access faults after the directory entry was cleared")


@case("vmi.UpdatePxE.deferred-in-effect-after-flush", for_each=FLUSHES)
def update_deferred_takes_effect(g: VmiGuest, how: str) -> None:
    """Entries that were made present, changed or cleared, and told of with DEFER, are followed after
    the flush."""
    w, old, new = g.window(), marked(g), marked(g)
    changed, cleared, made = g.map(w, 0, old.phys), g.map(w, 1, old.phys), w.at(1023)
    for index, linear, value, maps in ((0, changed, new.entry(), changed), (1, cleared, 0, None),
                                       (1023, made, new.entry(), made)):
        before = g.read32(linear, may_fault=True)
        g.write32(w.entry(index), value)
        g.update_entry(w.entry(index), defer=True, maps=maps)
        flush(g, how, linear)
        stored, after = g.read_entry(w.table, index), g.read32(linear, may_fault=True)
        g.require(word(before) == (None if linear == made else old.mark), "the former entry was in effect")
        expect_entry(g, stored, value, f"entry {index} in memory after the flush")
        if value:
            g.expect(word(after) == new.mark, f"page {index} is mapped as the entry says", seen=after.ended,
                     expected=new.mark)
        else:
            expect_page_fault(g, after, f"an access to page {index}, whose entry was cleared, faults")


@case("vmi.UpdatePxE.address-flag-same-effect")
def update_with_address_has_same_effect(g: VmiGuest) -> None:
    """With CURRENT_AS and the address an entry that was stored maps at once, remaps and unmaps as without."""
    w, pages = g.window(), [marked(g), marked(g)]
    for index, given in ((30, True), (31, False), (1023, True)):
        linear, seen = w.at(index), []
        maps = linear if given else None
        absent = g.read32(linear, may_fault=True)
        for page in pages:
            g.write32(w.entry(index), page.entry())
            g.update_entry(w.entry(index), maps=maps)
            if page is pages[1]:
                g.invalidate(linear)
            seen.append(g.read32(linear))
        g.write32(w.entry(index), 0)
        g.update_entry(w.entry(index), maps=maps)
        g.invalidate(linear)
        gone = g.read32(linear, may_fault=True)
        how = "with" if given else "without"
        g.require(absent.faulted, "nothing was mapped there before")
        g.expect_equal(seen[0], pages[0].mark, f"the page mapped at once {how} CURRENT_AS")
        g.expect_equal(seen[1], pages[1].mark, f"the page mapped after a change {how} CURRENT_AS")
        expect_page_fault(g, gone, f"an access faults after the entry was cleared {how} CURRENT_AS")
