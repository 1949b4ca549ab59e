# SPDX-License-Identifier: BSD-2-Clause
"""Cases: DisableInterrupts called with the flag clear, a request during the call, and two requests that
wait at once."""

from __future__ import annotations

from collections.abc import Callable
from itertools import product

from abidance.abi.vmi.cases.interrupts_tools import (
    CALENDAR,
    NEVER,
    NOPS,
    STOP,
    TIMER,
    Code,
    flag_in_frame,
    flags_of,
    late,
    other_pending,
    quiet,
    requested_behind_mask,
    timers,
)
from abidance.abi.vmi.constants import IF
from abidance.abi.vmi.guest import VmiGuest
from abidance.kernel import Key, LogEntry, LogKind
from abidance.suite import StateHandle, case

__all__: list[str] = []

MOMENTS = 40
"""Instructions of a call at which a request comes, at most."""
BEHIND = 3
"""Moments behind the end of the call that are tried as well."""
SITE_LENGTH = {"called": 7, "inline": 5}
"""Bytes of the test kernel's call instruction: by a pointer in memory, and a patched one."""
PIC_MASK, ALL_BUT_TIMER = 0x21, 0xFE


def _nothing(g: VmiGuest) -> None:
    """The test kernel begins each batch with the flag clear."""
    g.flush()


CLEARED: dict[str, Callable[[VmiGuest], object]] = {
    "the kernel": _nothing,
    "SetInterruptMask": lambda g: (g.call("SetInterruptMask", eax=IF), g.call("SetInterruptMask", eax=0)),
    "a trap": lambda g: (g.call("SetInterruptMask", eax=IF), g.execute("kernel.stop")),
    "DisableInterrupts": lambda g: (g.call("SetInterruptMask", eax=IF), g.call("DisableInterrupts")),
}
"""What has cleared the flag, from set, before DisableInterrupts is called."""


def disable_and_ask(g: VmiGuest, how: str) -> StateHandle:
    """Queue DisableInterrupts and the question for the mask."""
    g.call("DisableInterrupts", inline=how == "inline")
    return g.call("GetInterruptMask")


@case("vmi.DisableInterrupts.clears-flag", for_each=tuple(product(CLEARED, ("called", "inline"))))
def disable_keeps_flag_clear(g: VmiGuest, item: tuple[str, str]) -> None:
    """Called with the flag already clear, once and again, it leaves it clear: to the mask, to a frame and to
    a request."""
    who, how = item
    requested_behind_mask(g)
    g.log()
    CLEARED[who](g)
    before = g.call("GetInterruptMask")
    masks = [disable_and_ask(g, how) for _ in range(2)]
    g.port_out(PIC_MASK, ALL_BUT_TIMER)
    spun, image = g.execute("kernel.spin", ecx=NEVER), flag_in_frame(g)
    g.call("SetInterruptMask", eax=IF)
    g.execute("kernel.nops")
    entries = g.log()
    g.require(before.eax & IF == 0, f"{who} had cleared the flag")
    for count, mask in enumerate(masks, 1):
        g.expect_equal(mask.eax, 0, f"the flag, clear before, after {count} DisableInterrupts", mask=IF)
    g.expect_equal(spun.irqs, 0, "interrupts delivered afterwards")
    g.expect_equal(flags_of(image), 0, "bit 9 in the frame of a trap afterwards")
    g.require(len(timers(entries)) == 1, "the request was a real one")


@case("vmi.DisableInterrupts.clears-flag")
def disable_behind_iret_keeps_flag_clear(g: VmiGuest) -> None:
    """So it does where IRET has cleared the flag."""
    target = Code(g).call("DisableInterrupts").call("GetInterruptMask").raw(STOP).place()
    g.call("SetInterruptMask", eax=IF)
    on = g.call("GetInterruptMask")
    state = g.transfer("IRET", eip=target, cs=g.selector("kernel.cs"), eflags=2)
    g.require(on.eax & IF == IF, "the flag was set before IRET")
    g.expect_equal(state.eax, 0, "the flag after DisableInterrupts", mask=IF)
    g.expect_equal(flags_of(state), 0, "bit 9 in the frame of a trap")


@case("vmi.DisableInterrupts.holds-at-once", needs=("injection",), for_each=("called", "inline"))
def disable_holds_a_request_of_any_moment(g: VmiGuest, how: str) -> None:
    """The flag set by a call of its own, a request at each instruction of DisableInterrupts arrives in it,
    or not before interrupts are enabled again."""
    held = inside = 0
    for after in range(MOMENTS):
        off, spun, mask, entries = _disabled(g, how, after)
        when = f"with a request {after} instructions into DisableInterrupts"
        g.expect_returned(off)
        g.expect_equal(spun.irqs, 0, f"interrupts delivered while the caller goes on, {when}")
        g.expect_equal(mask.eax, 0, f"the flag afterwards, {when}", mask=IF)
        if not g.expect_equal(len(timers(entries)), 1, f"interrupts delivered in the end, {when}"):
            break
        if off.irqs:
            inside += 1
            where = timers(entries)[0].eip
            g.expect(not late(g, where, off.site, SITE_LENGTH[how] - 1), f"where it finds the caller, {when}",
                     expected="in DisableInterrupts", seen=where)
        else:
            held += 1
        if held > BEHIND:
            break
    g.require(held > 0, "some of the requests came when DisableInterrupts had done its work")
    g.require(inside > 0, "some of the requests came before that")


def _disabled(g: VmiGuest, how: str, after: int) -> tuple[StateHandle, StateHandle, StateHandle,
                                                         tuple[LogEntry, ...]]:
    """EnableInterrupts, then DisableInterrupts with a request after so many of its instructions, in one
    batch; then a loop, the mask, and EnableInterrupts."""
    quiet(g)
    g.pic_unmask(0)
    g.log()
    g.inject(0, after)
    g.set(Key.MARKER, 0)
    g.interrupts_on()
    on = g.call("GetInterruptMask")
    g.set(Key.MARKER, 1)
    off = g.call("DisableInterrupts", inline=how == "inline")
    g.set(Key.MARKER, 0)
    spun, mask = g.execute("kernel.spin", ecx=NEVER), g.call("GetInterruptMask")
    g.interrupts_on()
    g.execute("kernel.nops")
    entries = g.log()
    g.require(on.eax & IF == IF and on.irqs == 0, "the flag was set, and nothing had arrived before the call")
    return off, spun, mask, entries


def _iret(g: VmiGuest) -> StateHandle:
    target = Code(g).raw(NOPS).raw(STOP).place()
    return g.transfer("IRET", eip=target, cs=g.selector("kernel.cs"), eflags=0x202)


SETTING: dict[str, Callable[[VmiGuest], StateHandle]] = {
    "EnableInterrupts": lambda g: g.call("EnableInterrupts"),
    "SetInterruptMask": lambda g: g.call("SetInterruptMask", eax=IF),
    "IRET": _iret,
    "IRET-to-user": lambda g: g.enter_user("user.wait", ecx=NEVER),
}


@case("vmi.interrupts.pending-kept", for_each=tuple(SETTING))
def two_requests_are_kept(g: VmiGuest, how: str) -> None:
    """Of two requests that wait at once, one at each controller, both survive calls, traps and time, and
    both arrive once the flag is set."""
    other_pending(g)
    between = [g.call("GetInterruptMask"), g.execute("kernel.stop"), g.call("DisableInterrupts"),
               g.call("SetInterruptMask", eax=0), g.execute("kernel.spin", ecx=NEVER)]
    early = g.log()
    irqs = [state.irqs for state in between]
    g.require(not any(irqs) and not [entry for entry in early if entry.kind is LogKind.IRQ],
              "nothing is delivered while the flag is clear")
    state = SETTING[how](g)
    g.interrupts_on()
    g.execute("kernel.spin", ecx=NEVER)
    entries = g.log()
    g.expect(state.returned or state.stopped, f"{state.text} ends normally", seen=state.ended)
    seen = tuple(sorted(entry.vector for entry in entries if entry.kind is LogKind.IRQ))
    g.expect_equal(seen, (TIMER, CALENDAR), "the vectors of the interrupts that arrive once the flag is set")
