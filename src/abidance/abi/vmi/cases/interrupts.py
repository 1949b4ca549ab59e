# SPDX-License-Identifier: BSD-2-Clause
"""Cases: the four calls on the virtual interrupt flag. The flag is looked at in three ways: by
GetInterruptMask, in the EFLAGS image of a trap's frame, and by what becomes of a pending interrupt."""

from __future__ import annotations

from abidance.abi.vmi.cases.interrupts_tools import (
    CALENDAR,
    NEVER,
    NOPS,
    STOP,
    TIMER,
    Code,
    arrivals,
    expect_only_timer,
    flag_in_frame,
    flags_of,
    late,
    other_pending,
    pending,
    quiet,
    switch,
    timers,
)
from abidance.abi.vmi.constants import IF
from abidance.abi.vmi.guest import VmiGuest
from abidance.suite import case, untested

__all__: list[str] = []

EITHER = ("clear", "set")
HELD = 12
"""Requests that have to be held one after the other before the instructions of a call count as done."""
BITS = tuple(bit for bit in range(32) if bit not in (8, 9))
"""All but bit 9 itself and TF, which VMware's own native form lets single-step the caller."""
WHOLE = 0xFFFF_FFFF & ~(IF | 0x100 | 0x7000)
"""As many bits as can be set without TF, IOPL and NT."""


def _prepare(g: VmiGuest, entry: str, on: bool) -> None:
    """Make the flag what is wanted by another call than the one that is looked at."""
    if entry in ("EnableInterrupts", "DisableInterrupts"):
        g.call("SetInterruptMask", eax=IF if on else 0)
    else:
        switch(g, on)


def _flag_after(g: VmiGuest, before: str, entry: str, expected: int, eax: int = 0) -> None:
    """The flag after a call, by GetInterruptMask and by a trap's frame, from a known flag before."""
    _prepare(g, entry, before == "set")
    was = flag_in_frame(g)
    _prepare(g, entry, before == "set")
    called = g.call(entry, eax=eax)
    mask = g.call("GetInterruptMask")
    image = flag_in_frame(g)
    g.require(flags_of(was) == (IF if before == "set" else 0), f"the flag was {before} before the call")
    g.expect_returned(called)
    text = f"after {entry}, called with the flag {before}"
    g.expect_equal(mask.eax, expected, f"GetInterruptMask {text}", mask=IF)
    g.expect_equal(flags_of(image), expected, f"bit 9 in the frame of a trap {text}")


def _delivers_pending(g: VmiGuest, entry: str, *, inline: bool, eax: int = 0) -> None:
    """A pending interrupt arrives in the call, before the caller goes on, and arrives once."""
    pending(g)
    g.require(not g.log(), "nothing is delivered while the flag is clear")
    called = g.call(entry, inline=inline, eax=eax)
    after = g.execute("kernel.spin", ecx=NEVER)
    entries = g.log()
    g.expect_returned(called)
    g.expect_equal(called.irqs, 1, f"interrupts delivered by the end of {entry}")
    g.expect_equal(after.irqs, 0, "interrupts delivered again afterwards")
    entry_seen = expect_only_timer(g, entries, f"by {entry}")
    if entry_seen is not None and inline:
        g.expect(not late(g, entry_seen.eip, called.site),
                 "where the pending interrupt finds the caller of the patched call",
                 expected="in the call or directly behind it", seen=entry_seen.eip)


# -- EnableInterrupts ---------------------------------------------------------------------------------


@case("vmi.EnableInterrupts.sets-flag", for_each=EITHER)
def enable_sets_flag(g: VmiGuest, before: str) -> None:
    """The flag is set after EnableInterrupts, whatever it was before."""
    _flag_after(g, before, "EnableInterrupts", IF)


@case("vmi.EnableInterrupts.sets-flag")
def enable_works_again_and_again(g: VmiGuest) -> None:
    """Every EnableInterrupts after a DisableInterrupts sets the flag, not only the first one."""
    masks = []
    for _ in range(3):
        g.interrupts_off()
        off = g.call("GetInterruptMask")
        g.interrupts_on()
        masks.append((off, g.call("GetInterruptMask"), flag_in_frame(g)))
    for off, on, image in masks:
        g.require(off.eax & IF == 0, "the flag was clear in between")
        g.expect_equal(on.eax, IF, "GetInterruptMask after EnableInterrupts", mask=IF)
        g.expect_equal(flags_of(image), IF, "bit 9 in the frame of a trap after EnableInterrupts")


@case("vmi.EnableInterrupts.delivers-pending", for_each=("called", "inline"))
def enable_delivers_pending(g: VmiGuest, how: str) -> None:
    """A pending timer interrupt arrives before the caller of EnableInterrupts goes on."""
    _delivers_pending(g, "EnableInterrupts", inline=how == "inline")


@case("vmi.EnableInterrupts.delivers-every-pending")
def enable_delivers_every_pending(g: VmiGuest) -> None:
    """The requests of both controllers arrive before the caller of EnableInterrupts goes on."""
    other_pending(g)
    g.require(not g.log(), "nothing is delivered while the flag is clear")
    called = g.call("EnableInterrupts", inline=True)
    after = g.execute("kernel.spin", ecx=NEVER)
    entries = g.log()
    g.expect_returned(called)
    g.expect_equal(tuple(sorted(entry.vector for entry in entries)), (TIMER, CALENDAR), "vectors delivered")
    g.expect_equal(called.irqs, 2, "interrupts delivered by the end of EnableInterrupts")
    g.expect_equal(after.irqs, 0, "interrupts delivered afterwards")
    for entry in entries:
        g.expect(not late(g, entry.eip, called.site),
                 f"where interrupt {entry.vector:#x} finds the caller of the patched call",
                 expected="in the call or directly behind it", seen=entry.eip)


# -- DisableInterrupts --------------------------------------------------------------------------------


@case("vmi.DisableInterrupts.clears-flag", for_each=EITHER)
def disable_clears_flag(g: VmiGuest, before: str) -> None:
    """The flag is clear after DisableInterrupts, whatever it was before."""
    _flag_after(g, before, "DisableInterrupts", 0)


@case("vmi.DisableInterrupts.holds-at-once", for_each=("called", "inline"))
def disable_holds(g: VmiGuest, how: str) -> None:
    """An interrupt requested after DisableInterrupts is held, however long the caller goes on."""
    quiet(g)
    g.pic_unmask(0)
    g.interrupts_on()
    on = g.call("GetInterruptMask")
    off = g.call("DisableInterrupts", inline=how == "inline")
    g.timer_once()
    polled = g.poll(0x20, 1, 1, 1_000_000)
    spin = g.execute("kernel.spin", ecx=NEVER)
    g.interrupts_on()
    entries = g.log()
    g.require(on.eax & IF == IF, "the flag was set before")
    g.expect_returned(off)
    g.require(polled.matched or bool(timers(entries)), "the timer requested its interrupt")
    g.expect(polled.matched, "the request stays with the controller", expected="a request on IRQ 0",
             seen=f"delivered at {timers(entries)[0].eip:#010x}" if timers(entries) else "none")
    g.expect_equal(spin.irqs, 0, "interrupts delivered while the flag is clear")
    expect_only_timer(g, entries, "once interrupts are enabled again")


@case("vmi.DisableInterrupts.holds-at-once", needs=("injection",))
def disable_holds_what_arrives_during_the_call(g: VmiGuest) -> None:
    """An interrupt at any instruction of DisableInterrupts is delivered in it, or held until enabled."""
    code = Code(g).call("EnableInterrupts").raw(NOPS[:2]).call("DisableInterrupts")
    behind = code.here
    start = code.raw(NOPS[:HELD]).raw(b"\xC3").place()
    held = early = 0
    for after in arrivals(g):
        ran = g.execute(start)
        off = g.call("GetInterruptMask")
        g.interrupts_on()
        entries = g.log()
        when = f"with a request after {after} instructions"
        entry = expect_only_timer(g, entries, when)
        g.expect_equal(off.irqs, 0, f"interrupts delivered before they are enabled again, {when}")
        g.expect_equal(off.eax, 0, f"the flag afterwards, {when}", mask=IF)
        if entry is None or held >= HELD:
            break
        if ran.irqs:
            early += 1
            g.expect(not behind <= entry.eip < behind + HELD,
                     f"where the interrupt finds the caller, {when}", expected="not behind DisableInterrupts",
                     seen=entry.eip)
        else:
            held += 1
    g.require(early > 0, "some of the requests came before DisableInterrupts had finished")


# -- GetInterruptMask ---------------------------------------------------------------------------------


@case("vmi.GetInterruptMask.reports-flag")
def mask_reports_flag(g: VmiGuest) -> None:
    """Bit 9 follows the flag, set and cleared by the calls, as the frame of a trap shows it."""
    for on in (True, False, True, True, False, False):
        switch(g, on)
        mask = g.call("GetInterruptMask")
        inline = g.call("GetInterruptMask", inline=True)
        image = flag_in_frame(g)
        g.require(flags_of(image) == (IF if on else 0), "the flag is as the calls left it")
        g.expect_equal(mask.eax, flags_of(image), "GetInterruptMask", mask=IF)
        g.expect_equal(inline.eax, flags_of(image), "GetInterruptMask at a patched site", mask=IF)


@case("vmi.GetInterruptMask.reports-flag", for_each=EITHER)
def mask_reports_flag_that_iret_left(g: VmiGuest, flag: str) -> None:
    """Bit 9 follows the flag that IRET took from its frame."""
    target = Code(g).call("GetInterruptMask").raw(STOP).place()
    switch(g, flag == "clear")
    state = g.transfer("IRET", eip=target, cs=g.selector("kernel.cs"), eflags=0x202 if flag == "set" else 2)
    g.require(flags_of(state) == (IF if flag == "set" else 0), f"the flag is {flag} after IRET")
    g.expect_equal(state.eax, flags_of(state), "GetInterruptMask after IRET", mask=IF)


@case("vmi.GetInterruptMask.leaves-flag", for_each=EITHER)
def mask_leaves_flag(g: VmiGuest, flag: str) -> None:
    """Asking does not change the flag: not in frames, and not for a pending interrupt."""
    pending(g)
    switch(g, flag == "set")
    asked = [g.call("GetInterruptMask", eax=value) for value in (0, IF, 0xFFFF_FFFF)]
    image = flag_in_frame(g)
    if flag == "set":
        g.require(len(timers(g.log())) == 1, "the pending interrupt found the flag set")
    else:
        g.expect_equal(len(timers(g.log())), 0, "pending interrupts delivered while asking")
    for state in asked:
        g.expect_equal(state.irqs, 0, "interrupts delivered by asking")
    g.expect_equal(flags_of(image), IF if flag == "set" else 0, "bit 9 in the frame of a trap after asking")


# -- SetInterruptMask ---------------------------------------------------------------------------------


@case("vmi.SetInterruptMask.sets-flag", for_each=EITHER)
def set_mask_sets_flag(g: VmiGuest, before: str) -> None:
    """The flag is set after SetInterruptMask(0x200), whatever it was before."""
    _flag_after(g, before, "SetInterruptMask", IF, eax=IF)


@case("vmi.SetInterruptMask.clears-flag", for_each=EITHER)
def set_mask_clears_flag(g: VmiGuest, before: str) -> None:
    """The flag is clear after SetInterruptMask(0), whatever it was before."""
    _flag_after(g, before, "SetInterruptMask", 0, eax=0)


@case("vmi.SetInterruptMask.{item}", for_each=("sets-flag", "clears-flag"))
def set_mask_takes_what_get_mask_gave(g: VmiGuest, clause: str) -> None:
    """A value that GetInterruptMask returned brings the flag back, with whatever other bits it has."""
    expected = IF if clause == "sets-flag" else 0
    switch(g, on=bool(expected))
    value = g.call("GetInterruptMask").eax
    switch(g, on=not expected)
    changed = g.call("GetInterruptMask")
    g.call("SetInterruptMask", eax=value)
    restored = g.call("GetInterruptMask")
    image = flag_in_frame(g)
    g.require(value & IF == expected, "the flag was known to begin with")
    g.require(changed.eax & IF != expected, "the flag was the other way round in between")
    g.expect_equal(restored.eax, expected, "GetInterruptMask afterwards", mask=IF)
    g.expect_equal(flags_of(image), expected, "bit 9 in the frame of a trap afterwards")


@case("vmi.SetInterruptMask.delivers-pending", for_each=("called", "inline"))
def set_mask_delivers_pending(g: VmiGuest, how: str) -> None:
    """A pending timer interrupt arrives before the caller of SetInterruptMask(0x200) goes on."""
    _delivers_pending(g, "SetInterruptMask", inline=how == "inline", eax=IF)


@case("vmi.SetInterruptMask.ignores-other-bits")
def set_mask_looks_at_one_bit(g: VmiGuest) -> None:
    """Each other bit alone, and nearly all of them together, leave the flag as bit 9 has it."""
    asked = []
    for other in (*(1 << bit for bit in BITS), WHOLE):
        for value in (other, other | IF):
            switch(g, not value & IF)
            g.call("SetInterruptMask", eax=value)
            asked.append((value, g.call("GetInterruptMask")))
    switch(g, on=True)
    g.call("SetInterruptMask", eax=WHOLE)
    clear = flag_in_frame(g)
    g.call("SetInterruptMask", eax=WHOLE | IF)
    image = flag_in_frame(g)
    for value, mask in asked:
        g.expect_equal(mask.eax, value & IF, f"the flag after SetInterruptMask({value:#x})", mask=IF)
    g.expect_equal(flags_of(clear), 0, f"bit 9 in the frame of a trap after SetInterruptMask({WHOLE:#x})")
    g.expect_equal(flags_of(image), IF, "bit 9 in the frame of a trap after SetInterruptMask with bit 9 too")


@case("vmi.SetInterruptMask.keeps-system-flags",
      for_each=("TF", "NT", "IOPL", "RF", "VM", "AC", "ID"))
def set_mask_keeps_system_flags(g: VmiGuest, name: str) -> None:
    """A system flag in EAX does not find its way into EFLAGS."""
    bit = {"TF": 0x100, "NT": 0x4000, "IOPL": 0x3000, "RF": 0x1_0000, "VM": 0x2_0000, "AC": 0x4_0000,
           "ID": 0x20_0000}[name]
    code = Code(g).raw(b"\x9C\x5E").load("eax", bit).call("SetInterruptMask").raw(b"\x9C\x5F").raw(STOP)
    state = g.execute(code.place())
    if g.expect_stopped(state, f"SetInterruptMask({bit:#x}) comes back to its caller"):
        g.expect_equal(state.edi, state.esi, f"{name} in EFLAGS afterwards", mask=bit)


@case("vmi.SetInterruptMask.preserves-eax", for_each=EITHER)
def set_mask_preserves_eax(g: VmiGuest, flag: str) -> None:
    """EAX is as it was at the call."""
    value = g.poison() & ~0x7300 | (IF if flag == "set" else 0)
    g.expect_preserved(g.call("SetInterruptMask", eax=value), "eax")


untested("vmi.GetInterruptMask.other-bits",
         reason="permission: nothing to violate")
