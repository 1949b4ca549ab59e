# SPDX-License-Identifier: BSD-2-Clause
"""Cases: Halt. A Halt that sleeps over its interrupt shows as TIMEOUT; one that does not wait shows by
the interrupt that has not been delivered when it returns."""

from __future__ import annotations

from abidance.abi.vmi.cases.interrupts_tools import (
    Code,
    expect_only_timer,
    flag_in_frame,
    flags_of,
    late,
    pending,
    quiet,
    switch,
)
from abidance.abi.vmi.constants import IF
from abidance.abi.vmi.guest import VmiGuest
from abidance.suite import StateHandle, case
from abidance.suite.handles import PortHandle

__all__: list[str] = []

EITHER = ("clear", "set")
PIC, IRR = 0x20, 0x0A
LONG = 0xC000
"""Ticks of the timer, about 41 ms: Halt is reached long before."""


def _halt_before_the_timer(g: VmiGuest, on: bool, *,
                           inline: bool) -> tuple[StateHandle, StateHandle, PortHandle]:
    """Start the timer, then Halt while it still runs: the flag as read before, Halt, and the requests
    at the controller just before it."""
    quiet(g)
    g.pic_unmask(0)
    switch(g, on)
    mask = g.call("GetInterruptMask")
    g.timer_once(LONG)
    g.port_out(PIC, IRR)
    early = g.port_in(PIC)
    return mask, g.call("Halt", inline=inline), early


@case("vmi.Halt.wakes-on-interrupt", "vmi.Halt.waits-for-interrupt", for_each=("called", "inline"))
def waits_and_wakes(g: VmiGuest, how: str) -> None:
    """Halt returns after the timer's interrupt has been delivered and handled, and not before; twice."""
    for count in (1, 2):
        _, halt, early = _halt_before_the_timer(g, on=count == 2, inline=how == "inline")
        after = g.execute("kernel.ret")
        entries = g.log()
        g.require(early.value & 1 == 0, "the timer had not run out before Halt")
        g.expect_returned(halt, f"Halt returns, time {count}", clause="vmi.Halt.wakes-on-interrupt")
        g.expect_equal(halt.irqs, 1, "interrupts delivered by the time Halt has returned",
                       clause="vmi.Halt.waits-for-interrupt")
        g.expect_equal(after.irqs, 0, "interrupts delivered only afterwards",
                       clause="vmi.Halt.waits-for-interrupt")
        entry = expect_only_timer(g, entries, "in all", clause="vmi.Halt.wakes-on-interrupt")
        if entry is not None and how == "inline":
            g.expect(not late(g, entry.eip, halt.site), "where the interrupt finds the caller",
                     expected="in Halt or directly behind it", seen=entry.eip,
                     clause="vmi.Halt.waits-for-interrupt")


@case("vmi.Halt.enables-interrupts", for_each=EITHER)
def enables_interrupts(g: VmiGuest, before: str) -> None:
    """The interrupt comes through, and the flag is set when Halt returns, whatever it was before."""
    mask, halt, early = _halt_before_the_timer(g, before == "set", inline=False)
    after = g.call("GetInterruptMask")
    image = flag_in_frame(g)
    g.require(mask.eax & IF == (IF if before == "set" else 0), f"the flag was {before} before Halt")
    g.require(early.value & 1 == 0, "the timer had not run out before Halt")
    if g.expect_returned(halt):
        g.expect_equal(halt.irqs, 1, "interrupts delivered by the time Halt has returned")
        g.expect_equal(after.eax, IF, "GetInterruptMask after Halt", mask=IF)
        g.expect_equal(flags_of(image), IF, "bit 9 in the frame of a trap after Halt")


@case("vmi.Halt.no-lost-wakeup", for_each=("called", "inline"))
def no_lost_wakeup(g: VmiGuest, how: str) -> None:
    """An interrupt that is pending when Halt is called is delivered and wakes it; again and again."""
    for count in (1, 2, 3):
        pending(g)
        g.require(not g.log(), "nothing is delivered while the flag is clear")
        halt = g.call("Halt", inline=how == "inline")
        entries = g.log()
        g.expect_returned(halt, f"Halt returns, time {count}")
        g.expect_equal(halt.irqs, 1, "interrupts delivered by the time Halt has returned")
        expect_only_timer(g, entries, f"in all, time {count}")


@case("vmi.Halt.image-enabled", for_each=("pending", "waited-for"))
def image_enabled(g: VmiGuest, how: str) -> None:
    """Bit 9 is set in the image of the interrupt that wakes Halt, pending before or waited for."""
    if how == "pending":
        pending(g)
        mask = g.call("GetInterruptMask")
        g.call("Halt")
    else:
        mask, _, early = _halt_before_the_timer(g, on=False, inline=False)
        g.require(early.value & 1 == 0, "the timer had not run out before Halt")
    entry = expect_only_timer(g, g.log(), "in all")
    g.require(mask.eax & IF == 0, "the flag was clear before Halt")
    if entry is not None:
        g.expect_equal(entry.eflags_image, IF, "the image of the interrupt", mask=IF)


@case("vmi.Halt.wakes-on-interrupt")
def caller_goes_on_behind_halt(g: VmiGuest) -> None:
    """Code that halts goes on with its next instruction when the handler has returned."""
    if not g.offers("Halt"):
        g.skip("Halt is not offered")
    _, address = g.fetched("Halt")
    code = Code(g)
    code.raw(b"\xE8" + ((address - code.base - 5) & 0xFFFF_FFFF).to_bytes(4, "little"))
    code.load("ebx", 0x0DDB_A115).raw(b"\xC3").place()
    pending(g)
    state = g.execute(code.base)
    entries = g.log()
    if g.expect_returned(state):
        g.expect_equal(state.ebx, 0x0DDB_A115, "what the code does behind Halt")
    expect_only_timer(g, entries, "in all")
