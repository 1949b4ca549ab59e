# SPDX-License-Identifier: BSD-2-Clause
"""SetCR2, GetCR2, SetCR3, GetCR3: the fault address and the page directory."""

from __future__ import annotations

from collections.abc import Callable

from abidance.abi.vmi.cases.control_tools import (
    BASE,
    ControlRegisters,
    another_space,
    expect_flag_kept,
    expect_same,
    with_ts,
    without_ts,
)
from abidance.abi.vmi.constants import PAGE, PageFlag, Pte, Vector
from abidance.abi.vmi.guest import VmiGuest, Window
from abidance.suite import case, untested

__all__: list[str] = []

untested("vmi.SetCR3.may-keep-global", "vmi.SetCR3.may-be-queued", reason="permission: nothing to violate")


@case("vmi.SetCR2.loads")
def set_cr2_loads(g: VmiGuest) -> None:
    """GetCR2 returns each value SetCR2 was given, also after calls and traps that are no page faults."""
    for value in (g.poison(), 0, 0xFFFF_FFFF, g.poison()):
        g.call("SetCR2", eax=value)
        g.expect_equal(g.call("GetCR2").eax, value, "GetCR2 after SetCR2")
        invalid, user = g.execute("kernel.ud2", may_fault=True), g.enter_user("user.stop")
        later = g.call("GetCR2")
        g.require(invalid.vector == Vector.UD and user.stopped, "traps were taken that are no page faults")
        g.expect_equal(later.eax, value, "GetCR2 after other traps")


@case("vmi.SetCR2.no-side-effect")
def set_cr2_has_no_side_effect(g: VmiGuest) -> None:
    """SetCR2 changes no other register, flag or mapping, also for addresses of mapped and unmapped pages."""
    w, mark = g.window(), g.poison()
    mapped, unmapped = g.map(w, 1, g.page_with(mark)), w.at(2)
    with_ts(g)
    for value in (unmapped, mapped, unmapped + 0xFFF):
        before = ControlRegisters.of(g)
        g.call("SetCR2", eax=value)
        after = ControlRegisters.of(g)
        seen, missing = g.read32(mapped), g.read32(unmapped, may_fault=True)
        expect_same(g, before, after, ("cr0", "cr3", "cr4"), f"after SetCR2 with {value:#x}")
        g.expect_equal(seen, mark, "a mapped page after SetCR2")
        g.expect(missing.faulted, "a page that is not mapped faults after SetCR2", seen=missing.ended)
        expect_flag_kept(g, "SetCR2", eax=value)


@case("vmi.SetCR3.loads-base")
def set_cr3_loads_base(g: VmiGuest) -> None:
    """Each of three directories is the one that is walked after it has been loaded, every time."""
    here = g.window()
    spaces = [here, another_space(g, here), another_space(g, here)]
    marks = [g.poison() for _ in spaces]
    linear, *_ = [g.map(space, 6, g.page_with(mark)) for space, mark in zip(spaces, marks, strict=True)]
    only_first = g.map(here, 7, g.page_with(marks[0]))
    for number in (0, 1, 0, 2, 1, 2, 0):
        g.call("SetCR3", eax=spaces[number].directory)
        seen, other = g.read32(linear), g.read32(only_first, may_fault=True)
        user = g.enter_user("user.stop")
        g.expect_equal(seen, marks[number], f"the page seen through directory {number}")
        g.expect(other.faulted == (number != 0), "a page that only directory 0 maps", seen=other.ended,
                 expected="mapped" if number == 0 else "a fault")
        g.expect_stopped(user, "user code runs in the directory that was loaded")


@case("vmi.SetCR3.loads-base", "vmi.GetCR3.returns-loaded")
def set_cr3_takes_base_from_bits_31_to_12(g: VmiGuest) -> None:
    """With PWT and PCD set in the value, the base in bits 31 to 12 is loaded and returned all the same."""
    here = g.window()
    there = another_space(g, here)
    first, second = g.poison(), g.poison()
    linear = g.map(here, 0, g.page_with(first))
    g.map(there, 0, g.page_with(second))
    for space, mark in ((there, second), (here, first)):
        g.call("SetCR3", eax=space.directory | Pte.PWT | Pte.PCD)
        g.expect_equal(g.read32(linear), mark, "the page seen", clause="vmi.SetCR3.loads-base")
        g.expect_equal(g.call("GetCR3").eax, space.directory, "the base in GetCR3", mask=BASE,
                       clause="vmi.GetCR3.returns-loaded")


@case("vmi.SetCR3.flushes-nonglobal", for_each=("same", "another-and-back"))
def set_cr3_flushes(g: VmiGuest, how: str) -> None:
    """Entries changed by plain store and by SetPxE, without a flush, are followed after SetCR3."""
    w = g.window()
    there = another_space(g, w)
    marks = [g.poison() for _ in range(4)]
    pages = [g.page_with(mark) for mark in marks]
    stored, called, gone = g.map(w, 0, pages[0]), g.map(w, 1, pages[1]), g.map(w, 2, pages[2])
    before = [g.read32(linear) for linear in (stored, called, gone)]
    g.write32(w.entry(0), pages[3] | Pte.P | Pte.RW)
    g.set_entry(w.entry(1), pages[3] | Pte.P | Pte.RW, maps=called)
    g.write32(w.entry(2), pages[2])
    if how == "another-and-back":
        g.call("SetCR3", eax=there.directory)
    g.call("SetCR3", eax=w.directory)
    after = [g.read32(stored), g.read32(called), g.read32(gone, may_fault=True)]
    g.require([read.value for read in before] == marks[:3], "the old translations were in use before SetCR3")
    g.expect_equal(after[0], marks[3], "the page behind an entry changed by a plain store")
    g.expect_equal(after[1], marks[3], "the page behind an entry changed by SetPxE")
    g.expect(after[2].faulted, "a page whose entry a plain store cleared of P faults", seen=after[2].ended)


@case("vmi.SetCR3.ends-deferral")
def set_cr3_ends_deferral(g: VmiGuest) -> None:
    """Entries set with DEFER, in the directory that is left and in the one that is loaded, are in
    memory after SetCR3 and in effect in both."""
    left = g.window()
    loaded = another_space(g, left)
    marks = [g.poison() for _ in range(4)]
    pages = [g.page_with(mark) for mark in marks]
    linear, fresh = g.map(left, 0, pages[0]), left.at(1)
    g.map(loaded, 0, pages[0])
    before, absent = g.read32(linear), g.read32(fresh, may_fault=True)
    values = [page | Pte.P | Pte.RW for page in pages]
    for entry, value in ((left.entry(0), values[1]), (left.entry(1), values[2]),
                         (loaded.entry(0), values[2]), (loaded.entry(1), values[3])):
        g.set_entry(entry, value, defer=True)
    g.call("SetCR3", eax=loaded.directory)
    words = [g.read_entry(left.table, 0), g.read_entry(left.table, 1),
             g.read_entry(loaded.table, 0), g.read_entry(loaded.table, 1)]
    there = [g.read32(linear), g.read32(fresh)]
    g.call("SetCR3", eax=left.directory)
    back = [g.read32(linear), g.read32(fresh)]
    g.require(before.value == marks[0] and absent.faulted, "the former translations were in use before")
    for word, value in zip(words, (values[1], values[2], values[2], values[3]), strict=True):
        g.expect_equal(word, value, "an entry set with DEFER, as memory holds it after SetCR3",
                       mask=~int(Pte.A | Pte.D) & 0xFFFF_FFFF)
    g.expect_equal(there[0], marks[2], "a changed entry of the directory that was loaded: its page")
    g.expect_equal(there[1], marks[3], "a new entry of the directory that was loaded: its page")
    g.expect_equal(back[0], marks[1], "a changed entry of the directory that was left: its page")
    g.expect_equal(back[1], marks[2], "a new entry of the directory that was left: its page")


@case("vmi.SetCR3.keeps-other-registers")
def set_cr3_keeps_other_registers(g: VmiGuest) -> None:
    """SetCR3 changes neither CR0, with TS set or clear, nor CR2, CR4 or the virtual interrupt flag."""
    there = another_space(g, g.window())
    for space, prepare in ((there.directory, with_ts), (g.directory, without_ts), (g.directory, with_ts)):
        prepare(g)
        g.call("SetCR2", eax=g.poison())
        before = ControlRegisters.of(g)
        g.call("SetCR3", eax=space)
        after = ControlRegisters.of(g)
        g.expect_equal(after.cr3, space, "the base in GetCR3 after SetCR3")
        expect_same(g, before, after, ("cr0", "cr2", "cr4"), "after SetCR3")
        expect_flag_kept(g, "SetCR3", eax=space)


@case("vmi.GetCR2.fault-address")
def get_cr2_returns_fault_address(g: VmiGuest) -> None:
    """In the handler and after it, GetCR2 returns the address of the access, not of its page: for
    reads and writes, of kernel and user, to missing and to protected pages."""
    w = g.window()
    protected = g.map(w, 3, g.page(), Pte.P | Pte.US)
    for linear in (w.at(5, 0x124), w.at(700, 0xFFC), w.at(5), w.at(5, 0x124)):
        read = g.read32(linear, may_fault=True)
        seen = g.call("GetCR2")
        g.require(read.faulted and read.fault.vector == Vector.PF, "a read of a missing page faults")
        g.expect_equal(read.fault.address, linear, "GetCR2 in the handler of the kernel's read")
        g.expect_equal(seen.eax, linear, "GetCR2 after it")
    write = g.write32(w.at(9, 0x40), 1, may_fault=True)
    g.require(write.faulted, "a write to a missing page faults")
    g.expect_equal(write.fault.address, w.at(9, 0x40), "GetCR2 in the handler of the kernel's write")
    for fragment, linear in (("user.load", w.at(11, 0x888)), ("user.store", protected + 0x44)):
        user = g.enter_user(fragment, eax=linear, ebx=0, may_fault=True)
        g.require(user.vector == Vector.PF, f"{fragment} faults")
        g.expect_equal(user.cr2, linear, f"GetCR2 in the handler of {fragment}")


def _touches_new_pages(g: VmiGuest, w: Window) -> None:
    for index in range(8):
        g.write32(g.map(w, index, g.page()), index)


def _stores_to_live_table(g: VmiGuest, w: Window) -> None:
    linear = g.map(w, 9, g.page())
    g.read32(linear)
    g.write32(w.entry(10), 0x1234_5000)
    g.write32(w.entry(9), 0)
    g.invalidate(linear)


def _flushes_and_reads(g: VmiGuest, w: Window) -> None:
    linear = g.map(w, 11, g.page(), Pte.P | Pte.RW | Pte.US)
    for everything in (False, True):
        g.flush_tlb(everything=everything)
        g.read32(linear)
        g.enter_user("user.store", eax=linear, ebx=1)


def _changes_directory(g: VmiGuest, w: Window) -> None:
    there = another_space(g, w)
    linear = g.map(there, 12, g.page())
    g.call("SetCR3", eax=there.directory)
    g.write32(linear, 1)
    g.call("SetCR3", eax=w.directory)


def _dirties_clean_pages(g: VmiGuest, w: Window) -> None:
    linear = g.map(w, 13, g.page())
    g.read32(linear)
    g.write32(linear, 1)
    g.set_entry(w.directory_entry, w.table | Pte.P | Pte.RW | Pte.US, level=PageFlag.PD)
    g.flush_tlb()
    g.write32(linear + PAGE - 4, 2)


ACTIVITIES: dict[str, Callable[[VmiGuest, Window], None]] = {
    "new-pages": _touches_new_pages,
    "store-to-table": _stores_to_live_table,
    "flush": _flushes_and_reads,
    "directory-change": _changes_directory,
    "dirty-bits": _dirties_clean_pages,
}


@case("vmi.GetCR2.only-guest-faults", for_each=tuple(ACTIVITIES))
def get_cr2_shows_only_guest_faults(g: VmiGuest, activity: str) -> None:
    """What SetCR2 or a fault left in CR2 stays while the guest does what may fault in the hypervisor."""
    w = g.window()
    value = g.poison()
    g.call("SetCR2", eax=value)
    ACTIVITIES[activity](g, w)
    g.expect_equal(g.call("GetCR2").eax, value, f"GetCR2 after SetCR2 and activity {activity}")
    missing = g.read32(w.at(1000, 0x10), may_fault=True)
    ACTIVITIES[activity](g, w)
    g.require(missing.faulted, "a read of a missing page faults")
    g.expect_equal(g.call("GetCR2").eax, w.at(1000, 0x10), f"GetCR2 after a fault and activity {activity}")


@case("vmi.GetCR3.returns-loaded")
def get_cr3_returns_loaded(g: VmiGuest) -> None:
    """GetCR3 returns the base of the directory last loaded, which is the one in effect, also after
    flushes, page faults and visits to user mode."""
    here = g.window()
    spaces = [another_space(g, here), another_space(g, here), here]
    marks = [g.poison() for _ in spaces]
    linear, *_ = [g.map(space, 2, g.page_with(mark)) for space, mark in zip(spaces, marks, strict=True)]
    for space, mark in zip(spaces, marks, strict=True):
        g.call("SetCR3", eax=space.directory)
        at_once = g.call("GetCR3")
        seen = g.read32(linear)
        g.flush_tlb()
        g.flush_tlb(everything=True)
        fault, user = g.read32(here.at(999), may_fault=True), g.enter_user("user.stop")
        later = g.call("GetCR3")
        g.require(seen.value == mark and fault.faulted and user.stopped, "the directory is the one in effect")
        g.expect_equal(at_once.eax, space.directory, "the base in GetCR3 after SetCR3", mask=BASE)
        g.expect_equal(later.eax, space.directory, "the base in GetCR3 after flushes and traps", mask=BASE)


@case("vmi.GetCR3.after-init")
def get_cr3_returns_base_from_before_init(g: VmiGuest) -> None:
    """Before any SetCR3, GetCR3 returns the base that the kernel had loaded when it called VMI_Init."""
    first = g.call("GetCR3")
    table, mark = g.window(), g.poison()
    seen = g.read32(g.map(table, 0, g.page_with(mark)))
    later = g.call("GetCR3")
    loaded = g.hello.number("kernel.cr3")
    g.expect_equal(first.eax, loaded, "the base in GetCR3", mask=BASE)
    g.require(seen.value == mark, "an entry of that directory is in effect")
    g.expect_equal(later.eax, loaded, "the base in GetCR3 after an entry was set", mask=BASE)
