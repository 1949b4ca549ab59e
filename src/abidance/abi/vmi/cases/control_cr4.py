# SPDX-License-Identifier: BSD-2-Clause
"""SetCR4, GetCR4: large pages follow what is shown; and native reads of the control registers."""

from __future__ import annotations

from abidance.abi.vmi.cases.control_tools import (
    BASE,
    ControlRegisters,
    another_space,
    expect_flag_kept,
    expect_same,
    with_ts,
    without_ts,
)
from abidance.abi.vmi.constants import PAGE, PageFlag, Pte
from abidance.abi.vmi.guest import VmiGuest, Window
from abidance.suite import case, untested

__all__: list[str] = []

PSE, PAE, PGE = 0x10, 0x20, 0x80
LARGE = 0x80_0000
"""Physical address, 4 MiB aligned, of RAM that the test kernel does not use."""
LARGE_SIZE = 0x40_0000
FEATURES = (("DE", 0x08, 2), ("PSE", PSE, 3), ("MCE", 0x40, 7), ("PGE", PGE, 13), ("OSFXSR", 0x200, 24))
"""Name, bit of CR4, and number of the bit of CPUID leaf 1 EDX that reports it."""

untested("vmi.SetCR4.may-refuse-clear", "vmi.SetCR4.may-flush-tlb", reason="permission: nothing to violate")


def set_pse(g: VmiGuest, value: int, on: bool) -> bool:
    """Ask SetCR4 for PSE on or off; whether GetCR4 then shows it. Flushes."""
    g.call("SetCR4", eax=value | PSE if on else value & ~PSE, may_fault=True)
    shown = g.call("GetCR4")
    g.flush_tlb(everything=True)
    return shown.eax & PSE != 0


def large_entry(g: VmiGuest, w: Window) -> None:
    """Point the window's directory entry at LARGE as a large page, through not present."""
    g.set_entry(w.directory_entry, 0, level=PageFlag.PD)
    g.flush_tlb(everything=True)
    g.set_entry(w.directory_entry, LARGE | Pte.P | Pte.RW | Pte.PS, level=PageFlag.PD)
    g.flush_tlb(everything=True)


def require_free_ram(g: VmiGuest) -> None:
    """See that LARGE is RAM beyond the test kernel and the arena."""
    arena_end = g.hello.number("arena.base") + g.hello.number("arena.size")
    g.require(g.hello.number("kernel.end.phys") <= LARGE >= arena_end, "4 MiB of RAM are free")
    g.require(g.hello.number("ram.size") >= LARGE + LARGE_SIZE, "4 MiB of RAM are there")


@case("vmi.SetCR4.accepts-current")
def set_cr4_accepts_current(g: VmiGuest) -> None:
    """Writing back what GetCR4 shows, as it is at start and later, changes no control register, flag
    or mapping."""
    start = ControlRegisters.of(g)
    g.expect_returned(g.call("SetCR4", eax=start.cr4), "SetCR4 with the value at start returns")
    expect_same(g, start, ControlRegisters.of(g), ("cr0", "cr2", "cr3", "cr4"), "after the first SetCR4")
    mark = g.poison()
    linear = g.map(g.window(), 5, g.page_with(mark))
    original = g.call("GetCR4").eax
    for wanted in (original, original | PGE):
        g.call("SetCR4", eax=wanted, may_fault=True)
        g.call("SetCR2", eax=g.poison())
        with_ts(g)
        before = ControlRegisters.of(g)
        g.expect_returned(g.call("SetCR4", eax=before.cr4), "SetCR4 with the current value returns")
        expect_same(g, before, ControlRegisters.of(g), ("cr0", "cr2", "cr3", "cr4"), "after it")
        expect_flag_kept(g, "SetCR4", eax=before.cr4)
        g.expect_equal(g.read32(linear), mark, "a page that was mapped before")


@case("vmi.SetCR4.sets-feature")
def set_cr4_sets_reported_features(g: VmiGuest) -> None:
    """Each feature that CPUID reports is shown by GetCR4 once SetCR4 has been asked to set it, beside
    those set before."""
    reported = g.call("CPUID", eax=1, ecx=0).edx
    original = g.call("GetCR4").eax
    asked = [(name, bit) for name, bit, number in FEATURES if reported >> number & 1 and not original & bit]
    g.require(bool(asked), "CPUID reports a feature that is not on yet")
    wanted = original
    for name, bit in asked:
        wanted |= bit
        g.expect_returned(g.call("SetCR4", eax=wanted), f"SetCR4 with {name} set returns")
        shown = g.call("GetCR4").eax
        g.expect_equal(shown, bit, f"{name} in GetCR4 after SetCR4 set it", mask=bit)
        wanted = original | (wanted & shown)


@case("vmi.GetCR4.as-native")
def get_cr4_does_not_show_pae(g: VmiGuest) -> None:
    """While addresses are translated by two-level tables, GetCR4 does not show PAE."""
    w = g.window()
    marks = {index: g.poison() for index in (0, 512, 1023)}
    reads = [(mark, g.read32(g.map(w, index, g.page_with(mark)))) for index, mark in marks.items()]
    shown = g.call("GetCR4")
    g.require(all(read.value == mark for mark, read in reads), "two-level tables are in effect")
    g.expect_equal(shown.eax, 0, "PAE in GetCR4", mask=PAE)


@case("vmi.GetCR4.as-native")
def get_cr4_shows_pse_in_effect(g: VmiGuest) -> None:
    """A directory entry with PS set is a large page exactly when GetCR4 shows PSE, else a table."""
    require_free_ram(g)
    w, small, large, index = g.window(), g.poison(), g.poison(), 0x155
    page, value = g.page_with(small), g.call("GetCR4").eax
    g.write(LARGE, bytes(PAGE), phys=True)
    g.announce(LARGE, PageFlag.PT)
    g.set_entry(g.direct(LARGE) + 4 * index, page | Pte.P | Pte.RW)
    g.write32(LARGE + index * PAGE, large, phys=True)
    for on in (False, True, False):
        g.set_entry(w.directory_entry, 0, level=PageFlag.PD)
        shown = set_pse(g, value, on)
        large_entry(g, w)
        kind = "shown an entry with PS is a large page" if shown else "hidden an entry with PS names a table"
        g.expect_equal(g.read32(w.at(index)), large if shown else small, f"with PSE {kind}: what is read")


@case("vmi.control.shown-bits-in-effect")
def shown_pse_maps_large_pages(g: VmiGuest) -> None:
    """While GetCR4 shows PSE, one directory entry maps 4 MiB, for reading and for writing."""
    require_free_ram(g)
    w, value = g.window(), g.call("GetCR4").eax
    if not set_pse(g, value, on=True):
        g.not_tested("the implementation does not show PSE, not even when it is asked to set it")
    marks = {offset: g.poison() for offset in (0, 0x1F_F004, LARGE_SIZE - 4)}
    for offset, mark in marks.items():
        g.write32(LARGE + offset, mark, phys=True)
    before = g.read32(w.linear, may_fault=True)
    large_entry(g, w)
    seen = {offset: g.read32(w.linear + offset) for offset in marks}
    for offset, mark in marks.items():
        g.write32(w.linear + offset, mark ^ 0xFFFF)
    stored = {offset: g.read32(LARGE + offset, phys=True) for offset in marks}
    g.require(before.faulted, "nothing was mapped there before")
    for offset, mark in marks.items():
        g.expect_equal(seen[offset], mark, f"the word at {offset:#x} of the large page")
        g.expect_equal(stored[offset], mark ^ 0xFFFF, f"memory after a store at {offset:#x} of it")


@case("vmi.control.native-reads")
def native_reads_show_the_same(g: VmiGuest) -> None:
    """MOV from CR0, CR2, CR3 and CR4 shows what the calls return, also after each has been changed."""
    there = another_space(g, g.window())
    for space, prepare in ((g.directory, without_ts), (there.directory, with_ts)):
        prepare(g)
        g.call("SetCR3", eax=space)
        g.call("SetCR2", eax=g.poison())
        called = ControlRegisters.of(g)
        native = [g.execute(f"kernel.rdcr{number}") for number in (0, 2, 3, 4)]
        g.expect_equal(native[0].eax, called.cr0, "CR0 read natively")
        g.expect_equal(native[1].eax, called.cr2, "CR2 read natively")
        g.expect_equal(native[2].eax, called.cr3, "the base in CR3 read natively", mask=BASE)
        g.expect_equal(native[3].eax, called.cr4, "CR4 read natively")
        g.call("SetCR4", eax=called.cr4 | PGE, may_fault=True)
