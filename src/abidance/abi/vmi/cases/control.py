# SPDX-License-Identifier: BSD-2-Clause
"""SetCR0, GetCR0, CLTS: what TS does to x87 instructions, what WP does to stores."""

from __future__ import annotations

from abidance.abi.vmi.cases.control_tools import (
    ControlRegisters,
    expect_flag_kept,
    expect_same,
    expect_x87_faults,
    expect_x87_runs,
    with_ts,
    without_ts,
)
from abidance.abi.vmi.constants import Cr0, Pte, Vector
from abidance.abi.vmi.guest import VmiGuest
from abidance.suite import case, untested

__all__: list[str] = []

untested("vmi.SetCR0.may-refuse-clear", "vmi.SetCR0.may-flush-tlb",
         reason="permission: nothing to violate; refused-stays-shown looks at what is left of it")


@case("vmi.SetCR0.accepts-current")
def set_cr0_accepts_current(g: VmiGuest) -> None:
    """Writing back what GetCR0 shows, as it is at start and with TS set or clear, changes no control
    register, flag or mapping."""
    start = ControlRegisters.of(g)
    g.expect_returned(g.call("SetCR0", eax=start.cr0), "SetCR0 with the value at start returns")
    expect_same(g, start, ControlRegisters.of(g), ("cr0", "cr2", "cr3", "cr4"), "after the first SetCR0")
    mark = g.poison()
    linear = g.map(g.window(), 3, g.page_with(mark))
    for prepare, ts in ((without_ts, 0), (with_ts, Cr0.TS)):
        prepare(g)
        g.call("SetCR2", eax=g.poison())
        before = ControlRegisters.of(g)
        g.require(before.cr0 & Cr0.TS == ts, f"GetCR0 shows TS as {ts:#x} before")
        g.expect_returned(g.call("SetCR0", eax=before.cr0), "SetCR0 with the current value returns")
        expect_same(g, before, ControlRegisters.of(g), ("cr0", "cr2", "cr3", "cr4"), "after it")
        expect_flag_kept(g, "SetCR0", eax=before.cr0)
        g.expect_equal(g.read32(linear), mark, "a page that was mapped before")


@case("vmi.SetCR0.sets-ts")
def set_cr0_sets_ts(g: VmiGuest) -> None:
    """With TS set GetCR0 shows it and x87 instructions raise vector 7, also after one has been taken."""
    for turn in ("the first time", "the second time"):
        without_ts(g)
        runs = g.execute("kernel.fpu", may_fault=True)
        g.require(runs.returned, f"x87 instructions execute before TS is set {turn}")
        with_ts(g)
        g.expect_equal(g.call("GetCR0").eax, Cr0.TS, f"TS in GetCR0, set {turn}", mask=Cr0.TS)
        expect_x87_faults(g, f"with TS set {turn}")
        g.expect_equal(g.call("GetCR0").eax, Cr0.TS, "TS in GetCR0 after the fault", mask=Cr0.TS)


@case("vmi.SetCR0.clears-ts")
def set_cr0_clears_ts(g: VmiGuest) -> None:
    """With TS and EM clear again GetCR0 shows TS clear and x87 instructions execute."""
    for turn in ("the first time", "the second time"):
        with_ts(g)
        faults = g.execute("kernel.fpu", may_fault=True)
        g.require(faults.vector == Vector.NM, f"x87 instructions fault before TS is cleared {turn}")
        without_ts(g)
        g.expect_equal(g.call("GetCR0").eax, 0, f"TS in GetCR0, cleared {turn}", mask=Cr0.TS)
        expect_x87_runs(g, f"with TS clear {turn}")


def _pg_stays_shown(g: VmiGuest, value: int) -> None:
    """Ask to clear PG, alone and with PE, and expect both to stay shown and in effect. Only where
    the profile says that they refuse: where they do not, clearing them ends the guest."""
    w, mark = g.window(), g.poison()
    linear = g.map(w, 0, g.page_with(mark))
    for bits in (Cr0.PG, Cr0.PG | Cr0.PE):
        g.call("SetCR0", eax=value & ~bits, may_fault=True)
        shown, mapped = g.call("GetCR0"), g.read32(linear)
        unmapped = g.read32(w.at(7), may_fault=True)
        g.expect_equal(shown.eax, Cr0.PG | Cr0.PE, "PG and PE in GetCR0", mask=Cr0.PG | Cr0.PE)
        g.expect_equal(mapped, mark, "a mapped page")
        g.expect(unmapped.faulted, "a page that is not mapped faults", seen=unmapped.ended)


@case("vmi.SetCR0.refused-stays-shown")
def set_cr0_refused_stays_shown(g: VmiGuest) -> None:
    """After SetCR0 is asked to clear WP, stores to a read-only page go as GetCR0 shows WP; PG and PE,
    where they refuse, stay shown and in effect."""
    page = g.page_with(0x1111_1111)
    linear = g.map(g.window(), 0, page, Pte.P)
    value = g.call("GetCR0").eax
    g.call("SetCR0", eax=value | Cr0.WP)
    was_set = g.call("GetCR0")
    denied = g.write32(linear, 0x2222_2222, may_fault=True)
    g.call("SetCR0", eax=value & ~Cr0.WP, may_fault=True)
    shown = g.call("GetCR0")
    tried = g.write32(linear, 0x3333_3333, may_fault=True)
    kept = g.read32(page, phys=True)
    g.require(was_set.eax & Cr0.WP != 0 and denied.faulted, "WP was set and in effect before")
    if shown.eax & Cr0.WP:
        g.expect(tried.faulted, "WP is still shown, so a store to a read-only page faults", seen=tried.ended)
        g.expect_equal(kept, 0x1111_1111, "the read-only page")
    else:
        g.expect(not tried.faulted, "WP is no longer shown, so a store to a read-only page succeeds",
                 seen=tried.ended)
        g.expect_equal(kept, 0x3333_3333, "the page that was stored to")
    if g.profile.facts.get("cr_refuses_clear") == "yes":
        _pg_stays_shown(g, value)


@case("vmi.GetCR0.as-native")
def get_cr0_shows_mode(g: VmiGuest) -> None:
    """While a linear address is translated to another physical one, GetCR0 shows PE and PG."""
    mark = g.poison()
    linear = g.map(g.window(), 9, g.page_with(mark))
    shown = g.call("GetCR0")
    g.require(g.read32(linear).value == mark, "the guest runs with paging")
    g.expect_equal(shown.eax, Cr0.PE | Cr0.PG, "PE and PG in GetCR0", mask=Cr0.PE | Cr0.PG)


@case("vmi.GetCR0.as-native")
def get_cr0_shows_ts(g: VmiGuest) -> None:
    """GetCR0 shows TS as SetCR0 and CLTS last left it, also after traps."""
    with_ts(g)
    g.expect_equal(g.call("GetCR0").eax, Cr0.TS, "TS after SetCR0 set it", mask=Cr0.TS)
    g.enter_user("user.stop")
    g.expect_equal(g.call("GetCR0").eax, Cr0.TS, "TS after a visit to user mode", mask=Cr0.TS)
    g.require(g.execute("kernel.fpu", may_fault=True).vector == Vector.NM, "TS is in effect")
    g.expect_equal(g.call("GetCR0").eax, Cr0.TS, "TS after vector 7", mask=Cr0.TS)
    g.call("CLTS")
    g.expect_equal(g.call("GetCR0").eax, 0, "TS after CLTS", mask=Cr0.TS)
    with_ts(g)
    g.expect_equal(g.call("GetCR0").eax, Cr0.TS, "TS after SetCR0 set it again", mask=Cr0.TS)
    without_ts(g)
    g.expect_equal(g.call("GetCR0").eax, 0, "TS after SetCR0 cleared it", mask=Cr0.TS)


@case("vmi.CLTS.clears-ts")
def clts_clears_ts(g: VmiGuest) -> None:
    """After CLTS GetCR0 shows TS clear and x87 instructions execute, every time."""
    for turn in ("the first time", "the second time"):
        with_ts(g)
        faults = g.execute("kernel.fpu", may_fault=True)
        g.require(faults.vector == Vector.NM, f"x87 instructions fault before CLTS {turn}")
        g.call("CLTS")
        g.expect_equal(g.call("GetCR0").eax, 0, f"TS in GetCR0 after CLTS {turn}", mask=Cr0.TS)
        expect_x87_runs(g, f"after CLTS {turn}")


@case("vmi.CLTS.only-ts")
def clts_clears_only_ts(g: VmiGuest) -> None:
    """CLTS changes no bit of CR0 but TS, whatever the others are, and nothing when TS is clear."""
    original = g.call("GetCR0").eax
    for others in (Cr0(0), Cr0.EM, Cr0.MP, Cr0.EM | Cr0.MP | Cr0.AM):
        g.call("SetCR0", eax=original & ~(Cr0.EM | Cr0.MP | Cr0.AM) | others | Cr0.TS, may_fault=True)
        before = g.call("GetCR0")
        g.call("CLTS")
        once = g.call("GetCR0")
        g.call("CLTS")
        twice = g.call("GetCR0")
        g.require(before.eax & Cr0.TS == Cr0.TS, "TS was set before CLTS")
        g.expect_equal(once.eax, before.eax & ~Cr0.TS, "CR0 after CLTS")
        g.expect_equal(twice.eax, before.eax & ~Cr0.TS, "CR0 after CLTS with TS already clear")


@case("vmi.control.shown-bits-in-effect")
def shown_wp_protects(g: VmiGuest) -> None:
    """While GetCR0 shows WP, the kernel's stores to read-only pages, supervisor and user, fault."""
    w, page = g.window(), g.page_with(0x5555_5555)
    g.call("SetCR0", eax=g.call("GetCR0").eax | Cr0.WP)
    shown = g.call("GetCR0")
    if not shown.eax & Cr0.WP:
        g.not_tested("the implementation does not show WP, not even when it is asked to set it")
    for index, flags in ((0, Pte.P), (1, Pte.P | Pte.US)):
        linear = g.map(w, index, page, flags)
        read, stored = g.read32(linear), g.write32(linear, 0x6666_6666, may_fault=True)
        g.require(read.value == 0x5555_5555, "the page is mapped")
        g.expect(stored.faulted, f"a store of the kernel through entry flags {flags:#x} faults",
                 seen=stored.ended)
        g.expect_equal(g.read32(page, phys=True), 0x5555_5555, "the page after it")
    written = g.map(w, 2, page, Pte.P | Pte.RW)
    g.write32(written, 0x7777_7777)
    g.expect_equal(g.read32(page, phys=True), 0x7777_7777, "the page after a store through a writable entry")
