# SPDX-License-Identifier: BSD-2-Clause
"""SetLazyMode and the processor's state: what the CPU mode may queue, and what no mode may touch."""

from __future__ import annotations

from collections.abc import Callable
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
from abidance.abi.vmi.cases.mmu_tools import expect_entry, expect_page_fault, marked, word
from abidance.abi.vmi.constants import IF, PAGE, Cr0, Lazy, Vector
from abidance.abi.vmi.guest import VmiGuest
from abidance.suite import case

__all__: list[str] = []

TSS_ESP0, TSS_SS0 = 4, 8


@dataclass(frozen=True)
class _Stack:
    """Two pages of the arena as a kernel stack."""

    top: int
    selector: int

    @classmethod
    def make(cls, g: VmiGuest) -> _Stack:
        low, high = g.page(), g.page()
        g.require(high == low + PAGE, "the two pages of the stack follow one another")
        return cls(g.direct(high) + PAGE, g.read32(g.hello.number("kernel.tss") + TSS_SS0).value & 0xFFFF)

    def announce(self, g: VmiGuest) -> None:
        """Store it in the TSS, then call UpdateKernelStack, as guests do."""
        g.write32(g.hello.number("kernel.tss") + TSS_ESP0, self.top)
        g.call("UpdateKernelStack", eax=self.selector, edx=self.top)

    def frame(self, g: VmiGuest) -> tuple[int, int, int]:
        """SS, ESP and CS in the frame at its top."""
        words = [g.read32(self.top - at) for at in (4, 8, 16)]
        return words[0].value & 0xFFFF, words[1].value, words[2].value & 0xFFFF


@case("vmi.SetLazyMode.off-puts-cpu-state-into-effect", for_each=("CLTS", "SetCR3", "UpdateKernelStack"))
def lazy_off_puts_cpu_state_into_effect(g: VmiGuest, last: str) -> None:
    """UpdateKernelStack, SetCR3 and CLTS made in the CPU mode, whichever comes last, are in effect
    after SetLazyMode with 0."""
    here, marks = g.window(), (g.poison(), g.poison())
    there = another_space(g, here)
    linear = g.map(here, 0, g.page_with(marks[0]))
    g.map(there, 0, g.page_with(marks[1]))
    with_ts(g)
    former, faults = g.read32(linear), g.execute("kernel.fpu", may_fault=True)
    before, stack = _Stack.make(g), _Stack.make(g)
    before.announce(g)
    g.enter_user("user.stop")
    wanted = (g.selector("user.ds"), g.user_stack, g.selector("user.cs"))
    g.require(before.frame(g) == wanted, "another stack was announced and in use before")
    g.require(stack.frame(g) == (0, 0, 0), "the new stack had not been used")
    calls: dict[str, Callable[[], object]] = {
        "UpdateKernelStack": lambda: stack.announce(g),
        "SetCR3": lambda: g.call("SetCR3", eax=there.directory),
        "CLTS": lambda: g.call("CLTS")}
    g.lazy(Lazy.CPU)
    for name in (*(name for name in calls if name != last), last):
        calls[name]()
    g.lazy(Lazy.OFF)
    seen, cr3, cr0 = g.read32(linear), g.call("GetCR3"), g.call("GetCR0")
    g.enter_user("user.stop")
    frame = stack.frame(g)
    g.require(word(former) == marks[0], "the former directory was in effect")
    g.require(faults.vector == Vector.NM, "TS was in effect")
    g.expect_equal(seen, marks[1], "the page seen, through the directory loaded in the mode")
    g.expect_equal(cr3.eax, there.directory, "the base in GetCR3", mask=BASE)
    g.expect_equal(cr0.eax, 0, "TS in GetCR0", mask=Cr0.TS)
    expect_x87_runs(g, "after the mode in which CLTS was called")
    g.expect_equal(frame, wanted, "SS, ESP and CS in the frame on the stack announced in the mode")


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


@case("vmi.SetLazyMode.off-when-off")
def lazy_off_repeats_nothing(g: VmiGuest) -> None:
    """SetLazyMode with 0 after a mode has ended undoes nothing that was done since."""
    w, queued, since = g.window(), marked(g), marked(g)
    g.lazy(Lazy.MMU)
    for index in (0, 1):
        g.set_entry(w.entry(index), queued.entry())
    g.lazy(Lazy.OFF)
    before = [g.read32(w.at(index), may_fault=True) for index in (0, 1)]
    with_ts(g)
    g.lazy(Lazy.CPU)
    g.call("CLTS")
    g.lazy(Lazy.OFF)
    cleared = g.call("GetCR0")
    with_ts(g)
    g.set_entry(w.entry(0), since.entry())
    g.set_entry(w.entry(1), 0)
    g.flush_tlb()
    g.lazy(Lazy.OFF)
    words, cr0 = [g.read_entry(w.table, 0), g.read_entry(w.table, 1)], g.call("GetCR0")
    g.flush_tlb()
    seen, absent = g.read32(w.at(0), may_fault=True), g.read32(w.at(1), may_fault=True)
    g.require([word(read) for read in before] == [queued.mark] * 2, "what the mode set was in effect")
    g.require(cleared.eax & Cr0.TS == 0, "TS was cleared in the mode")
    expect_entry(g, words[0], since.entry(), "an entry changed after the mode, in memory")
    expect_entry(g, words[1], 0, "an entry cleared after the mode, in memory")
    g.expect(word(seen) == since.mark, "the page of an entry changed after the mode", expected=since.mark,
             seen=seen.ended)
    expect_page_fault(g, absent, "an access through an entry cleared after the mode faults")
    g.expect_equal(cr0.eax, Cr0.TS, "TS in GetCR0, set after the mode", mask=Cr0.TS)


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
