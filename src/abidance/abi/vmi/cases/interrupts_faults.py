# SPDX-License-Identifier: BSD-2-Clause
"""Cases: faults at pages that nothing has touched before, and at a refused INT n."""

from __future__ import annotations

from itertools import product

from abidance.abi.vmi.cases.interrupts_tools import STOP
from abidance.abi.vmi.constants import PageFlag, Pte, Vector
from abidance.abi.vmi.guest import VmiGuest, Window
from abidance.suite import StateHandle, case

__all__: list[str] = []

FULL = Pte.P | Pte.RW | Pte.US
READ_ONLY, SUPERVISOR = Pte.P | Pte.US, Pte.P | Pte.RW
REFUSED = (("user", "store", READ_ONLY), ("kernel", "store", READ_ONLY), ("user", "load", SUPERVISOR),
           ("user", "store", SUPERVISOR), ("user", "store", Pte.P))
"""Who makes which access to a page that is present, but not for it. CR0.WP is set."""
NAMES = {READ_ONLY: "read-only", SUPERVISOR: "supervisor", Pte.P: "read-only supervisor"}
REFUSALS = tuple(f"{who} {what} {NAMES[flags]}" for who, what, flags in REFUSED)
SINCE = ("its mapping", "a flush", "another directory")
PADDING = (0, 1, 7)
CLOSED = (0x00, 0x0D, 0x0E, 0x20, 0x7F, 0xFE)
"""Vectors whose gates are not open to CPL 3."""


def _access(g: VmiGuest, who: str, what: str, linear: int) -> StateHandle:
    if who == "kernel":
        return g.execute(f"kernel.{what}", eax=linear, may_fault=True)
    return g.enter_user(f"user.{what}", eax=linear, may_fault=True)


def _forget(g: VmiGuest, since: str) -> None:
    """Have the implementation start anew with what it knows of the address space."""
    if since == "a flush":
        g.flush_tlb(everything=True)
    elif since == "another directory":
        g.call("SetCR3", eax=g.copy_directory())
        g.call("SetCR3", eax=g.directory)


def _expect_code(g: VmiGuest, state: StateHandle, linear: int, expected: int, what: str) -> None:
    if g.expect_fault(state, Vector.PF, what):
        g.expect_equal(state.error, expected, f"{what}: the error code", mask=7)
        g.expect_equal(state.cr2, linear, f"{what}: the address")


@case("vmi.exceptions.page-fault-code", for_each=tuple(product(REFUSALS, SINCE)))
def first_access_to_a_present_page(g: VmiGuest, item: tuple[str, str]) -> None:
    """Refused as the first of all, an access to a present page tells that it is present: two pages."""
    refusal, since = item
    who, what, flags = REFUSED[REFUSALS.index(refusal)]
    w = g.window()
    for index in (3, 1022):
        mark = g.poison()
        linear = g.map(w, index, g.page_with(mark), flags)
        _forget(g, since)
        entry = g.read_entry(w.table, index)
        g.require(entry & FULL == flags, "the entry is present and refuses the access")
        state = _access(g, who, what, linear)
        later = g.read32(linear)
        expected = 1 | (what == "store") << 1 | (who == "user") << 2
        _expect_code(g, state, linear, expected, f"a {what} in the {who}, the first access since {since}")
        g.require(later.value == mark, "the page was mapped, and was not written")


def _directory_flags(g: VmiGuest, w: Window, flags: int) -> None:
    g.set_entry(w.directory_entry, w.table | flags, level=PageFlag.PD)
    g.flush_tlb(everything=True)


@case("vmi.exceptions.page-fault-code", for_each=REFUSALS)
def first_access_refused_by_the_directory(g: VmiGuest, refusal: str) -> None:
    """The same where the entry of the directory, not that of the table, refuses the access."""
    who, what, flags = REFUSED[REFUSALS.index(refusal)]
    w, mark = g.window(), g.poison()
    linear = g.map(w, 7, g.page_with(mark), FULL)
    _directory_flags(g, w, flags)
    state = _access(g, who, what, linear)
    later = g.read32(linear)
    expected = 1 | (what == "store") << 1 | (who == "user") << 2
    _expect_code(g, state, linear, expected, f"a {what} in the {who}, the first access")
    g.require(later.value == mark, "the page was mapped, and was not written")


@case("vmi.exceptions.page-fault-code", for_each=tuple(product(("kernel", "user"), ("load", "store"))))
def first_access_to_a_missing_page(g: VmiGuest, item: tuple[str, str]) -> None:
    """An entry that is not present tells so, whatever its other bits are and were never used for."""
    who, what = item
    w = g.window()
    for index, value in ((1, 0), (2, 0xABCD_E000 | (FULL & ~Pte.P)), (3, int(Pte.US))):
        g.set_entry(w.entry(index), value, maps=w.at(index))
        state = _access(g, who, what, w.at(index))
        _expect_code(g, state, w.at(index), (what == "store") << 1 | (who == "user") << 2,
                     f"a {what} in the {who} at the entry {value:#x}")


@case("vmi.exceptions.fault-eip", for_each=CLOSED)
def fault_eip_of_a_refused_int(g: VmiGuest, vector: int) -> None:
    """The frame of the fault that a refused INT n raises points to that INT n, wherever it stands."""
    for padding in PADDING:
        start = g.hello.number("user.data") + 0x600 + 0x20 * padding
        g.write(start, b"\x90" * padding + b"\xCD" + bytes([vector]) + STOP)
        state = g.transfer("IRET", eip=start, cs=g.selector("user.cs"), eflags=0x202, esp=g.user_stack,
                           ss=g.selector("user.ds"), may_fault=True)
        g.require(state.vector == Vector.GP, f"INT {vector:#x} at CPL 3 was refused")
        g.expect_equal(state.fault_eip, start + padding, f"EIP in the frame, {padding} bytes in")
