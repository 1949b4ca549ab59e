# SPDX-License-Identifier: BSD-2-Clause
"""SetLazyMode: what may be queued in a mode is in effect when it ends, at a flush, at a fault."""

from __future__ import annotations

from dataclasses import dataclass

from abidance.abi.vmi.cases.control_tools import (
    BASE,
    ControlRegisters,
    another_space,
    expect_flag_kept,
    expect_same,
    expect_x87_runs,
    with_ts,
    without_ts,
)
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
from abidance.abi.vmi.constants import IF, PAGE, Cr0, Lazy, PageFlag, Vector
from abidance.abi.vmi.guest import VmiGuest, Window
from abidance.suite import case, untested
from abidance.suite.handles import WordHandle

__all__: list[str] = []

TSS_ESP0, TSS_SS0 = 4, 8

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


@dataclass(frozen=True)
class _Stack:
    """Two pages of the arena as a kernel stack, announced in the TSS but not yet by the call."""

    top: int
    selector: int

    @classmethod
    def prepare(cls, g: VmiGuest) -> _Stack:
        low, high = g.page(), g.page()
        g.require(high == low + PAGE, "the two pages of the stack follow one another")
        tss = g.hello.number("kernel.tss")
        made = cls(g.direct(high) + PAGE, g.read32(tss + TSS_SS0).value & 0xFFFF)
        g.write32(tss + TSS_ESP0, made.top)
        return made


@case("vmi.SetLazyMode.off-puts-cpu-state-into-effect")
def lazy_off_puts_cpu_state_into_effect(g: VmiGuest) -> None:
    """UpdateKernelStack, SetCR3 and CLTS made in the CPU mode are in effect after SetLazyMode with 0."""
    here, marks = g.window(), (g.poison(), g.poison())
    there = another_space(g, here)
    linear = g.map(here, 0, g.page_with(marks[0]))
    g.map(there, 0, g.page_with(marks[1]))
    with_ts(g)
    former, faults = g.read32(linear), g.execute("kernel.fpu", may_fault=True)
    stack = _Stack.prepare(g)
    empty = g.read(stack.top - 20, 20)
    g.lazy(Lazy.CPU)
    g.call("UpdateKernelStack", eax=stack.selector, edx=stack.top)
    g.call("SetCR3", eax=there.directory)
    g.call("CLTS")
    g.lazy(Lazy.OFF)
    seen, cr3, cr0 = g.read32(linear), g.call("GetCR3"), g.call("GetCR0")
    g.enter_user("user.stop")
    frame = [g.read32(stack.top - at).value for at in (4, 8, 16)]
    g.require(word(former) == marks[0], "the former directory was in effect")
    g.require(faults.vector == Vector.NM, "TS was in effect")
    g.require(empty.value == bytes(20), "the new stack had not been used")
    g.expect_equal(seen, marks[1], "the page seen, through the directory loaded in the mode")
    g.expect_equal(cr3.eax, there.directory, "the base in GetCR3", mask=BASE)
    g.expect_equal(cr0.eax, 0, "TS in GetCR0", mask=Cr0.TS)
    expect_x87_runs(g, "after the mode in which CLTS was called")
    g.expect_equal(frame[0], g.selector("user.ds"), "SS in the frame on the stack announced", mask=0xFFFF)
    g.expect_equal(frame[1], g.user_stack, "ESP in the frame on the stack announced")
    g.expect_equal(frame[2], g.selector("user.cs"), "CS in the frame on the stack announced", mask=0xFFFF)


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


@case("vmi.SetLazyMode.off-when-off")
def lazy_off_when_off(g: VmiGuest) -> None:
    """SetLazyMode with 0 outside a mode changes no register, flag, entry or mapping, nor does another."""
    w, page = g.window(), marked(g)
    linear = g.map(w, 2, page.phys)
    g.set_entry(w.entry(3), 0x5555_5554)
    for prepare in (with_ts, without_ts):
        prepare(g)
        g.call("SetCR2", eax=g.poison())
        before = ControlRegisters.of(g)
        g.lazy(Lazy.OFF)
        g.lazy(Lazy.OFF)
        after = ControlRegisters.of(g)
        seen, absent = g.read32(linear), g.read32(w.at(3), may_fault=True)
        expect_same(g, before, after, ("cr0", "cr3", "cr4", "cr2"), "after SetLazyMode with 0")
        g.expect_equal(seen, page.mark, "a page that was mapped before")
        expect_page_fault(g, absent, "an access to a page that was absent before faults")
        expect_flag_kept(g, "SetLazyMode", eax=int(Lazy.OFF))
    expect_entry(g, g.read_entry(w.table, 2), page.entry(), "an entry after SetLazyMode with 0")
    g.expect_equal(g.read_entry(w.table, 3), 0x5555_5554, "an absent entry after SetLazyMode with 0")


@case("vmi.SetLazyMode.changes-nothing-itself", for_each=(Lazy.MMU, Lazy.CPU))
def lazy_mode_changes_nothing_itself(g: VmiGuest, mode: Lazy) -> None:
    """Entering a mode changes no control register, virtual interrupt flag or mapping, and nothing has
    changed when it ends."""
    w, page = g.window(), marked(g)
    linear = g.map(w, 2, page.phys)
    for prepare, turn, wanted in ((with_ts, g.interrupts_on, IF), (without_ts, g.interrupts_off, 0)):
        prepare(g)
        g.call("SetCR2", eax=g.poison())
        before = ControlRegisters.of(g)
        turned = turn()
        entered = g.lazy(mode)
        inside = ControlRegisters.of(g)
        seen = g.read32(linear)
        ended = g.lazy(Lazy.OFF)
        after = ControlRegisters.of(g)
        absent = g.read32(w.at(3), may_fault=True)
        g.require(turned.mask_after is not None and turned.mask_after & IF == wanted, "the flag was set up")
        for moment, name in ((inside, "in the mode"), (after, "after the mode")):
            expect_same(g, before, moment, ("cr0", "cr2", "cr3", "cr4"), name)
        for state, name in ((entered, "in the mode"), (ended, "after the mode")):
            g.expect_equal(state.mask_after, wanted, f"the virtual interrupt flag {name}", mask=IF)
        g.expect_equal(seen, page.mark, "a mapped page in the mode")
        expect_page_fault(g, absent, "an access to an absent page faults after the mode")
