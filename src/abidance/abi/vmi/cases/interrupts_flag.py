# SPDX-License-Identifier: BSD-2-Clause
"""Cases: what the virtual interrupt flag means, and what must not change it."""

from __future__ import annotations

from collections.abc import Callable

from abidance.abi.vmi.cases.interrupts_tools import (
    NEVER,
    NOPS,
    STOP,
    Code,
    arrivals,
    expect_only_timer,
    flag_in_frame,
    flags_of,
    found,
    pending,
    program_controllers,
    quiet,
    requested_behind_mask,
    switch,
    timers,
)
from abidance.abi.vmi.constants import IF, Vector
from abidance.abi.vmi.guest import VmiGuest
from abidance.suite import StateHandle, case, untested

__all__: list[str] = []

EITHER = ("clear", "set")
TRIES = 200_000
PIC, IRR, ISR = 0x20, 0x0A, 0x0B


def _iret_with(g: VmiGuest, flag: int) -> StateHandle:
    """IRET within the kernel to code that goes on for a while and then stops."""
    target = Code(g).raw(NOPS).raw(STOP).place()
    return g.transfer("IRET", eip=target, cs=g.selector("kernel.cs"), eflags=2 | flag)


CLEARING: dict[str, Callable[[VmiGuest], StateHandle]] = {
    "DisableInterrupts": lambda g: g.call("DisableInterrupts"),
    "SetInterruptMask": lambda g: g.call("SetInterruptMask", eax=0),
    "handler": lambda g: g.execute("kernel.stop"),
}
SETTING: dict[str, Callable[[VmiGuest], StateHandle]] = {
    "EnableInterrupts": lambda g: g.call("EnableInterrupts"),
    "SetInterruptMask": lambda g: g.call("SetInterruptMask", eax=IF),
    "IRET": lambda g: _iret_with(g, IF),
}


# -- delivery -----------------------------------------------------------------------------------------


@case("vmi.interrupts.none-while-disabled", for_each=tuple(CLEARING))
def none_while_disabled(g: VmiGuest, how: str) -> None:
    """A request is not delivered while the flag is clear, whatever cleared it and whatever is executed."""
    requested_behind_mask(g)
    g.interrupts_on()
    on = g.call("GetInterruptMask")
    cleared = CLEARING[how](g)
    g.port_out(0x21, 0xFE)
    held = [g.execute("kernel.spin", ecx=NEVER), g.execute("kernel.ret"), g.call("GetInterruptMask"),
            g.execute("kernel.ud2", may_fault=True), g.execute("kernel.spin", ecx=NEVER)]
    g.port_out(PIC, IRR)
    still = g.port_in(PIC)
    g.interrupts_on()
    g.execute("kernel.nops")
    entries = g.log()
    g.require(on.eax & IF == IF, "the flag was set before")
    g.require(cleared.irqs == 0, "the request was masked at the controller until the flag was clear")
    for state in held:
        g.expect_equal(state.irqs, 0, f"interrupts delivered during: {state.text}")
    g.expect_equal(still, 1, "the request at the controller", mask=1)
    g.require(len(timers(entries)) >= 1, "the request was a real one")


@case("vmi.interrupts.none-while-disabled")
def none_while_iret_has_cleared_the_flag(g: VmiGuest) -> None:
    """A request is not delivered to kernel code that IRET resumes with the flag clear."""
    requested_behind_mask(g)
    target = Code(g).raw(b"\xE6\x21").raw(NOPS).raw(STOP).place()
    g.interrupts_on()
    on = g.call("GetInterruptMask")
    state = g.transfer("IRET", eip=target, cs=g.selector("kernel.cs"), eflags=2, eax=0xFE)
    g.interrupts_on()
    g.execute("kernel.nops")
    entries = g.log()
    g.require(on.eax & IF == IF, "the flag was set before")
    g.expect_stopped(state)
    g.expect_equal(state.irqs, 0, "interrupts delivered in the resumed code")
    g.require(len(timers(entries)) >= 1, "the request was a real one")


@case("vmi.interrupts.delivered-while-enabled")
def delivered_while_enabled(g: VmiGuest) -> None:
    """With the flag set, a timer that runs out interrupts code that makes no call."""
    code = Code(g).raw(b"\xB0\x30\xE6\x43\xB0\x00\xE6\x40\xB0\x02\xE6\x40")
    code.raw(b"\xE4\x21\x49\x75\xFB")
    end = code.here
    code.raw(b"\xC3").place()
    quiet(g)
    g.pic_unmask(0)
    g.irq_policy(abandon=True)
    g.interrupts_on()
    on = g.call("GetInterruptMask")
    state = g.execute(code.base, ecx=TRIES)
    g.require(on.eax & IF == IF, "the flag was set before")
    if g.expect_fault(state, 0x20, "the loop is interrupted by IRQ 0"):
        g.expect(code.base < state.fault_eip <= end, "where it is interrupted",
                 expected="in the loop", seen=state.fault_eip)


@case("vmi.interrupts.delivered-while-enabled")
def delivered_to_user_code(g: VmiGuest) -> None:
    """Code at CPL 3 that makes no call is interrupted as well."""
    quiet(g)
    g.pic_unmask(0)
    g.irq_policy(abandon=True)
    g.timer_once(0x4000)
    g.port_out(PIC, IRR)
    early = g.port_in(PIC)
    state = g.enter_user("user.spin", ecx=0)
    count = found(state)["ecx"]
    g.require(early.value & 1 == 0, "the timer had not run out before user code was entered")
    if g.expect_fault(state, 0x20, "user code is interrupted by IRQ 0"):
        g.expect_equal(state.fault_cs & 3, 3, "the RPL of CS in the frame")
        g.expect(count > 0, "the code ran until then", seen=count)


@case("vmi.interrupts.pending-kept", for_each=tuple(SETTING))
def pending_is_kept(g: VmiGuest, how: str) -> None:
    """A request made while the flag is clear survives calls, traps and time, and then arrives."""
    pending(g)
    between = [g.call("GetInterruptMask"), g.execute("kernel.stop"), g.call("DisableInterrupts"),
               g.call("SetInterruptMask", eax=0), g.execute("kernel.spin", ecx=NEVER)]
    irqs = [state.irqs for state in between]
    g.require(not any(irqs), "nothing is delivered while the flag is clear")
    state = SETTING[how](g)
    g.execute("kernel.nops")
    entries = g.log()
    g.expect(state.returned or state.stopped, f"{state.text} ends normally", seen=state.ended)
    expect_only_timer(g, entries, "once the flag is set")


@case("vmi.interrupts.pending-kept", for_each=("EnableInterrupts", "SetInterruptMask"))
def request_is_not_lost(g: VmiGuest, how: str) -> None:
    """An edge that the timer made while the flag was clear is not forgotten; the timer's own status
    says that it made one, whatever the controller shows."""
    g.interrupts_off()
    g.timer_once(0xFFFF)
    program_controllers(g)
    g.pic_unmask(0)
    wait = Code(g)
    # Latch the status of channel 0 until its output is high: bit 7.
    wait.raw(b"\xB0\xE2\xE6\x43\xE4\x40\xA8\x80\x75\x03\x49\x75\xF3\xC3").place()
    g.timer_once()
    waited = g.execute(wait.base, ecx=TRIES)
    polled = g.poll(PIC, 1, 1, 1000)
    before = g.log()
    g.require(waited.ecx > 0, "the timer's output went high")
    g.require(not before, "nothing was delivered while the flag is clear")
    SETTING[how](g)
    g.execute("kernel.spin", ecx=NEVER)
    entries = g.log()
    expect_only_timer(g, entries, f"by {how}, the controller having shown "
                                  f"{'the request' if polled.matched else 'no request'}")


@case("vmi.interrupts.delivered-once")
def delivered_once(g: VmiGuest) -> None:
    """Each of three requests arrives once; afterwards the controller holds neither request nor service."""
    for count in (1, 2, 3):
        pending(g)
        g.interrupts_on()
        g.execute("kernel.spin", ecx=NEVER)
        g.interrupts_off()
        g.interrupts_on()
        g.execute("kernel.spin", ecx=NEVER)
        g.interrupts_off()
        g.port_out(PIC, ISR)
        serving = g.port_in(PIC)
        g.port_out(PIC, IRR)
        requested = g.port_in(PIC)
        entries = g.log()
        expect_only_timer(g, entries, f"for request {count}")
        g.expect_equal(serving, 0, "IRQ 0 in service after its end of interrupt", mask=1)
        g.expect_equal(requested, 0, "IRQ 0 requested after it was delivered", mask=1)


@case("vmi.interrupts.pending-kept", "vmi.interrupts.delivered-once", "vmi.interrupts.registers-kept",
      for_each=("EnableInterrupts", "SetInterruptMask"))
def arrives_at_any_instruction_of(g: VmiGuest, entry: str) -> None:
    """A request at any instruction of the call that sets the flag arrives once and disturbs nothing."""
    code = Code(g).load("eax", IF).call(entry)
    behind = code.here
    start = code.raw(NOPS).raw(STOP).place()
    for after in arrivals(g):
        state = g.execute(start)
        entries = g.log()
        when = f"with a request after {after} instructions"
        logged = expect_only_timer(g, entries, when, clause="vmi.interrupts.delivered-once")
        g.expect(bool(timers(entries)), f"the interrupt is not lost {when}",
                 clause="vmi.interrupts.pending-kept")
        g.expect_stopped(state)
        g.expect_equal(flags_of(state), IF, f"the flag afterwards, {when}",
                       clause="vmi.interrupts.pending-kept")
        for name in ("ebx", "ecx", "edx", "esi", "edi", "ebp", "ds", "es", "fs", "gs"):
            g.expect_equal(state.after[name], state.before[name], f"{name} {when}",
                           clause="vmi.interrupts.registers-kept")
        if logged is None:
            break
        g.expect(not start <= logged.eip < behind, f"where the interrupt finds the caller, {when}",
                 expected="not before the call", seen=logged.eip, clause="vmi.interrupts.pending-kept")
        if behind < logged.eip <= behind + len(NOPS):
            break


# -- what the flag is not -----------------------------------------------------------------------------


@case("vmi.interrupts.pushf-shows-hardware-flag", for_each=EITHER)
def pushf_shows_bit_9_set(g: VmiGuest, flag: str) -> None:
    """PUSHF in the kernel shows bit 9 set under either state of the virtual flag."""
    switch(g, flag == "set")
    mask = g.call("GetInterruptMask")
    pushed = g.execute("kernel.pushf")
    g.require(mask.eax & IF == (IF if flag == "set" else 0), f"the virtual flag was {flag}")
    g.expect_equal(pushed.eax, IF, "EFLAGS as PUSHF shows it", mask=IF)


def _unchanged(g: VmiGuest, flag: str, act: Callable[[], StateHandle], *, clause: str | None = None) -> None:
    """The virtual flag after something that must not change it: to GetInterruptMask, to a frame, and
    to a pending interrupt."""
    expected = IF if flag == "set" else 0
    requested_behind_mask(g)
    switch(g, flag == "set")
    before = g.call("GetInterruptMask")
    acted = act()
    after = g.call("GetInterruptMask")
    g.port_out(0x21, 0xFE)
    g.execute("kernel.nops")
    count = g.log()
    g.require(before.eax & IF == expected, f"the virtual flag was {flag} before")
    g.expect_equal(after.eax, expected, f"GetInterruptMask after: {acted.text}", mask=IF, clause=clause)
    g.expect_equal(len(timers(count)), int(flag == "set"), f"interrupts that arrive after: {acted.text}",
                   clause=clause)


@case("vmi.interrupts.popf-leaves-virtual-flag", for_each=EITHER)
def popf_leaves_virtual_flag(g: VmiGuest, flag: str) -> None:
    """POPF in the kernel with bit 9 the other way round leaves the virtual flag as it is."""
    value = 0x002 if flag == "set" else 0x202
    _unchanged(g, flag, lambda: g.execute("kernel.popf", eax=value))
    switch(g, flag == "set")
    g.execute("kernel.popf", eax=value)
    image = flag_in_frame(g)
    g.expect_equal(flags_of(image), IF if flag == "set" else 0, "bit 9 in the frame of a trap after POPF")


@case("vmi.interrupts.native-iret-leaves-virtual-flag", for_each=EITHER)
def native_iret_leaves_virtual_flag(g: VmiGuest, flag: str) -> None:
    """A native IRET in the kernel with bit 9 the other way round leaves the virtual flag as it is."""
    code = Code(g).call("GetInterruptMask").raw(STOP).place()
    for value in (0x002, 0x202):
        switch(g, flag == "set")
        before = g.call("GetInterruptMask")
        state = g.transfer("native", eip=code, cs=g.selector("kernel.cs"), eflags=value)
        expected = IF if flag == "set" else 0
        g.require(before.eax & IF == expected, f"the virtual flag was {flag} before")
        g.expect_equal(state.eax, expected, f"GetInterruptMask after a native IRET with {value:#x}", mask=IF)
        g.expect_equal(flags_of(state), expected, f"bit 9 in a frame after a native IRET with {value:#x}")


@case("vmi.interrupts.native-cli-sti", for_each=("kernel.cli", "kernel.sti"))
def native_cli_sti_stay_in_bounds(g: VmiGuest, fragment: str) -> None:
    """A native CLI or STI in the kernel comes back or raises a general-protection fault, nothing else."""
    for on in (False, True):
        switch(g, on)
        state = g.execute(fragment)
        on_after = g.interrupts_on()
        off_after = g.interrupts_off()
        mask = g.call("GetInterruptMask")
        g.expect(state.returned or (state.vector == Vector.GP and state.error == 0),
                 f"how {fragment} ends", expected="a return, or #GP(0)", seen=state.ended)
        g.expect(on_after.returned and off_after.returned, "the calls work afterwards")
        g.expect_equal(mask.eax, 0, "the flag after DisableInterrupts", mask=IF)


@case("vmi.interrupts.user-cannot-mask", for_each=("user.cli", "user.sti"))
def user_cannot_cli(g: VmiGuest, fragment: str) -> None:
    """CLI and STI at CPL 3 leave the flag of the user's context set."""
    state = g.enter_user(fragment)
    after = found(state)
    g.require(state.stopped or state.vector == Vector.GP, "the instruction was refused or ignored")
    g.expect_equal(after.eflags, IF, f"bit 9 in the frame after {fragment}", mask=IF)
    again = g.enter_user("user.stop")
    g.expect_equal(flags_of(again), IF, "the flag on the way back to the user")


@case("vmi.interrupts.user-cannot-mask", for_each=(0x000, 0x200, 0x3000))
def user_cannot_popf(g: VmiGuest, value: int) -> None:
    """POPF at CPL 3 changes arithmetic flags, but neither the flag nor the right to change it."""
    state = g.enter_user("user.popf", eax=value | 0x041)
    refused = g.enter_user("user.cli")
    g.expect_stopped(state)
    g.require(state.eflags & 0x041 == 0x041, "POPF did change the arithmetic flags")
    g.expect_equal(flags_of(state), IF, f"bit 9 in a frame after POPF with {value:#x}")
    g.expect_equal(state.eax, IF, f"bit 9 in EFLAGS after POPF with {value:#x}", mask=IF)
    g.expect_equal(found(refused).eflags, IF, "bit 9 in the frame after a CLI at CPL 3", mask=IF)


untested("vmi.interrupts.register-may-differ", "vmi.interrupts.nmi-optional",
         reason="permission: nothing to violate")
