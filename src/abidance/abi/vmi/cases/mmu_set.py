# SPDX-License-Identifier: BSD-2-Clause
"""SetPxE on page-table entries, at once: what lands in memory, and what addresses map."""

from __future__ import annotations

from abidance.abi.vmi.cases.mmu_tools import (
    FLUSHES,
    RW,
    USER,
    all_but_accessed_dirty,
    entries_of,
    expect_entry,
    expect_page_fault,
    expect_user_fault,
    expect_user_reads,
    flush,
    marked,
    user_load,
    user_store,
    word,
)
from abidance.abi.vmi.constants import PAGE, Cr0, PageFlag, Pte
from abidance.abi.vmi.guest import VmiGuest
from abidance.suite import case, untested

__all__: list[str] = []

INDICES = (0, 1, 511, 1023)

untested("vmi.SetPxE.may-defer",
         reason="permission: nothing to violate, and a guest must not look between DEFER and the flush")


@case("vmi.SetPxE.stores-value")
def set_pxe_stores_value(g: VmiGuest) -> None:
    """The word at ptep reads as each value passed, in several places of the table, after each call."""
    w, page, other = g.window(), marked(g), marked(g)
    for index in INDICES:
        for value in (page.entry(), other.entry(USER | Pte.PWT | Pte.PCD), 0, page.entry(Pte.P),
                      other.entry(RW | Pte.G), page.phys):
            g.set_entry(w.entry(index), value)
            expect_entry(g, g.read_entry(w.table, index), value, f"entry {index} set to {value:#x}")
            expect_entry(g, g.read32(w.entry(index)), value, f"entry {index} read at ptep")
            g.invalidate(w.at(index))


@case("vmi.SetPxE.keeps-software-bits")
def set_pxe_keeps_software_bits(g: VmiGuest) -> None:
    """Bits 9 to 11 of a present entry read back as passed, also after it was used and flushed."""
    w, page = g.window(), marked(g)
    for bits in (0xE00, 0x200, 0x400, 0x800, 0x000, 0xA00):
        g.set_entry(w.entry(5), page.entry() | bits)
        at_once = g.read_entry(w.table, 5)
        g.invalidate(w.at(5))
        g.write32(w.at(5), bits)
        used = g.read_entry(w.table, 5)
        expect_entry(g, at_once, page.entry() | bits, f"an entry with software bits {bits:#x}")
        expect_entry(g, used, page.entry() | bits, f"an entry with software bits {bits:#x} after use")


@case("vmi.SetPxE.keeps-software-bits")
def set_pxe_keeps_absent_entries(g: VmiGuest) -> None:
    """Every bit of an entry that is not present reads back as passed, also after an access has
    faulted on it and after a flush."""
    w = g.window()
    for value in (0xFFFF_FFFE, 0x5A5A_5A5A & ~1, 0xA5A5_A5A4, 0x0000_0E60, 0x8000_0002, 0):
        g.set_entry(w.entry(8), value)
        at_once = g.read_entry(w.table, 8)
        access = g.read32(w.at(8), may_fault=True)
        g.flush_tlb(everything=True)
        later = g.read_entry(w.table, 8)
        g.require(access.faulted, "the entry is not present")
        g.expect_equal(at_once, value, "an absent entry after SetPxE")
        g.expect_equal(later, value, "an absent entry after a fault on it and a flush")


@case("vmi.SetPxE.touches-only-entry")
def set_pxe_touches_only_entry(g: VmiGuest) -> None:
    """No other word of the table changes when an entry is set, changed or cleared."""
    w, page = g.window(), marked(g)
    neighbours = {index: g.poison() & ~1 for index in (0, 2, 3, 510, 512, 514, 1021, 1022)}
    for index, value in neighbours.items():
        g.set_entry(w.entry(index), value)
    expected = [neighbours.get(index, 0) for index in range(PAGE // 4)]
    for index in (1, 511, 513, 1023):
        for value in (page.entry(), page.entry(USER), 0xFFFF_FFFE, page.entry()):
            g.set_entry(w.entry(index), value)
            expected[index] = value
            words = entries_of(g.read(w.table, PAGE, phys=True).value)
            changed = tuple(at for at, (seen, wanted) in enumerate(zip(words, expected, strict=True))
                            if at != index and seen != all_but_accessed_dirty(wanted))
            g.expect(not changed, f"no other entry has changed after SetPxE of entry {index}",
                     expected="none", seen=changed)
            g.invalidate(w.at(index))


@case("vmi.SetPxE.maps")
def set_pxe_maps_at_once(g: VmiGuest) -> None:
    """An entry made present maps its page at once, with no flush, though an access has just faulted."""
    w = g.window()
    for index in INDICES:
        page, linear = marked(g), w.at(index)
        before = g.read32(linear, may_fault=True)
        g.set_entry(w.entry(index), page.entry())
        first, last = g.read32(linear), g.read32(linear + PAGE - 4)
        g.write32(linear + 0x40, page.mark ^ index)
        stored = g.read32(page.phys + 0x40, phys=True)
        g.require(before.faulted, "nothing was mapped there before")
        g.expect_equal(first, page.mark, f"the first word of page {index}")
        g.expect_equal(last, page.last, f"the last word of page {index}")
        g.expect_equal(stored, page.mark ^ index, f"memory after a store to page {index}")


@case("vmi.SetPxE.maps")
def set_pxe_maps_again_after_unmapping(g: VmiGuest) -> None:
    """An entry that was cleared and flushed maps another page, for user code, at once when it is set."""
    w, old, new = g.window(), marked(g), marked(g)
    linear = g.map(w, 20, old.phys, USER)
    used = g.read32(linear)
    g.set_entry(w.entry(20), 0)
    g.invalidate(linear)
    gone = g.read32(linear, may_fault=True)
    g.set_entry(w.entry(20), new.entry(USER))
    user = user_load(g, linear)
    g.require(word(used) == old.mark and gone.faulted, "the former page was mapped, and then no page")
    expect_user_reads(g, user, new.mark, "the page that user code sees")
    g.expect_equal(g.read32(linear), new.mark, "the page that the kernel sees")


@case("vmi.SetPxE.remaps-after-flush", for_each=FLUSHES)
def set_pxe_remaps(g: VmiGuest, how: str) -> None:
    """After a present entry has been changed and flushed, reads and writes go to the new page."""
    w, pages = g.window(), [marked(g), marked(g)]
    linear = g.map(w, 3, pages[0].phys)
    for new, old in ((pages[1], pages[0]), (pages[0], pages[1]), (pages[1], pages[0])):
        before = g.read32(linear)
        g.set_entry(w.entry(3), new.entry())
        flush(g, how, linear)
        after = g.read32(linear)
        g.write32(linear + 0x80, new.mark)
        stored, spared = g.read32(new.phys + 0x80, phys=True), g.read32(old.phys + 0x80, phys=True)
        g.write32(new.phys + 0x80, 0, phys=True)
        g.require(word(before) == old.mark, "the former page was mapped")
        g.expect_equal(after, new.mark, "the page mapped after the flush")
        g.expect_equal(stored, new.mark, "the new page after a store")
        g.expect_equal(spared, 0, "the former page after a store")


@case("vmi.SetPxE.remaps-after-flush", for_each=FLUSHES)
def set_pxe_outlasts_older_deferred(g: VmiGuest, how: str) -> None:
    """An entry set with DEFER and then without keeps the later value over the flush."""
    w, first, deferred, last = g.window(), marked(g), marked(g), marked(g)
    linear = g.map(w, 4, first.phys)
    before = g.read32(linear)
    g.set_entry(w.entry(4), deferred.entry(), defer=True)
    g.set_entry(w.entry(4), last.entry())
    flush(g, how, linear)
    g.require(word(before) == first.mark, "the first page was mapped")
    g.expect_equal(g.read32(linear), last.mark, "the page mapped after the flush")


@case("vmi.SetPxE.unmaps-after-flush", for_each=FLUSHES)
def set_pxe_unmaps(g: VmiGuest, how: str) -> None:
    """After an entry has lost P, with or without its other bits, and a flush, every access faults."""
    w = g.window()
    for index, keep in ((2, 0), (1023, 0xFFFF_FFFE)):
        page = marked(g)
        linear = g.map(w, index, page.phys, USER)
        before, user = g.read32(linear), user_load(g, linear)
        g.set_entry(w.entry(index), page.entry(USER) & keep)
        flush(g, how, linear)
        read, write = g.read32(linear, may_fault=True), g.write32(linear, 0, may_fault=True)
        user_read = user_load(g, linear)
        g.require(word(before) == page.mark and user.stopped, "the page was mapped")
        expect_page_fault(g, read, "a read of the kernel faults")
        expect_page_fault(g, write, "a write of the kernel faults")
        expect_user_fault(g, user_read, "a read of user code faults")
        g.expect_equal(g.read32(page.phys, phys=True), page.mark, "the page that was mapped")


@case("vmi.SetPxE.protects-after-flush", for_each=FLUSHES)
def set_pxe_takes_write_permission(g: VmiGuest, how: str) -> None:
    """After an entry has lost RW and a flush, stores fault and loads do not; RW can be given back."""
    w, page = g.window(), marked(g)
    linear = g.map(w, 6, page.phys, USER)
    g.call("SetCR0", eax=g.call("GetCR0").eax | Cr0.WP)
    protects_kernel = g.call("GetCR0").eax & Cr0.WP
    for turn in (1, 2):
        allowed = user_store(g, linear + 8, turn)
        g.write32(linear + 8, turn)
        g.set_entry(w.entry(6), page.entry(Pte.P | Pte.US))
        flush(g, how, linear)
        user, kernel = user_store(g, linear + 8, 77), g.write32(linear + 8, 88, may_fault=True)
        seen, reads = g.read32(linear), user_load(g, linear)
        g.require(allowed.stopped, "user code could store before")
        expect_user_fault(g, user, "a store of user code faults")
        if protects_kernel:
            expect_page_fault(g, kernel, "a store of the kernel faults while WP is shown")
            g.expect_equal(g.read32(page.phys + 8, phys=True), turn, "the word that was stored to")
        g.expect_equal(seen, page.mark, "what the kernel reads from the page")
        expect_user_reads(g, reads, page.mark, "what user code reads from the page")
        g.set_entry(w.entry(6), page.entry(USER))
        flush(g, how, linear)


@case("vmi.SetPxE.protects-after-flush", for_each=FLUSHES)
def set_pxe_takes_user_permission(g: VmiGuest, how: str) -> None:
    """After an entry has lost US and a flush, accesses of user code fault, those of the kernel do not."""
    w, page = g.window(), marked(g)
    linear = g.map(w, 7, page.phys, USER)
    before = user_load(g, linear)
    g.set_entry(w.entry(7), page.entry(RW))
    flush(g, how, linear)
    load, store, kernel = user_load(g, linear), user_store(g, linear, 1), g.read32(linear)
    g.require(before.stopped and before.ebx == page.mark, "user code could read the page before")
    expect_user_fault(g, load, "a load of user code faults")
    expect_user_fault(g, store, "a store of user code faults")
    g.expect_equal(kernel, page.mark, "what the kernel reads from the page")


@case("vmi.SetPxE.stale-until-flush")
def set_pxe_leaves_old_or_new(g: VmiGuest) -> None:
    """Between the change of a present entry and the flush an access sees the former page or the new one."""
    w, old, new = g.window(), marked(g), marked(g)
    linear = g.map(w, 9, old.phys)
    before = g.read32(linear)
    g.set_entry(w.entry(9), new.entry())
    between = g.read32(linear, may_fault=True)
    g.require(word(before) == old.mark, "the former page was mapped")
    g.expect(word(between) in (old.mark, new.mark), "an access sees the former page or the new one",
             expected=(old.mark, new.mark), seen=between.ended)


@case("vmi.SetPxE.address-flag-same-effect")
def set_pxe_with_address_has_same_effect(g: VmiGuest) -> None:
    """With CURRENT_AS and the address an entry is stored, maps at once, remaps and unmaps as without."""
    w, pages = g.window(), [marked(g), marked(g)]
    for index, given in ((30, True), (31, False), (1023, True)):
        linear = w.at(index)
        maps = linear if given else None
        absent = g.read32(linear, may_fault=True)
        g.set_entry(w.entry(index), pages[0].entry(), maps=maps)
        stored, mapped = g.read_entry(w.table, index), g.read32(linear)
        g.set_entry(w.entry(index), pages[1].entry(), maps=maps)
        g.invalidate(linear)
        remapped = g.read32(linear)
        g.set_entry(w.entry(index), 0, maps=maps)
        g.invalidate(linear)
        gone, cleared = g.read32(linear, may_fault=True), g.read_entry(w.table, index)
        how = "with" if given else "without"
        g.require(absent.faulted, "nothing was mapped there before")
        expect_entry(g, stored, pages[0].entry(), f"the entry set {how} CURRENT_AS")
        g.expect_equal(mapped, pages[0].mark, f"the page mapped at once {how} CURRENT_AS")
        g.expect_equal(remapped, pages[1].mark, f"the page mapped after a change {how} CURRENT_AS")
        expect_page_fault(g, gone, f"an access faults after the entry was cleared {how} CURRENT_AS")
        g.expect_equal(cleared, 0, f"the entry cleared {how} CURRENT_AS")


@case("vmi.SetPxE.address-flag-same-effect")
def set_pxe_deferred_with_address(g: VmiGuest) -> None:
    """CURRENT_AS together with DEFER, as guests pass them, has the effect of DEFER."""
    w, pages = g.window(), [marked(g), marked(g)]
    linear = w.at(40)
    for page in pages:
        g.set_entry(w.entry(40), page.entry(), level=PageFlag.PT, defer=True, maps=linear)
        g.invalidate(linear)
        expect_entry(g, g.read_entry(w.table, 40), page.entry(), "the entry after the flush")
        g.expect_equal(g.read32(linear), page.mark, "the page after the flush")
