# SPDX-License-Identifier: BSD-2-Clause
"""Cases: EFLAGS as PUSHF shows it in the kernel, in handlers and elsewhere, while the flag is virtual."""

from __future__ import annotations

from collections.abc import Callable

from abidance.abi.vmi.cases.interrupts_tools import NEVER, STOP, TIMER, Code, pending, switch, traps
from abidance.abi.vmi.constants import IF, Vector
from abidance.abi.vmi.guest import VmiGuest
from abidance.suite import case

__all__: list[str] = []

EITHER = ("clear", "set")
PUSHF = b"\x9C\x5E"
"""PUSHF; POP %ESI."""
CALL80 = 0x80


def _timer_in_kernel(g: VmiGuest) -> None:
    pending(g)
    g.interrupts_on()
    g.execute("kernel.spin", ecx=NEVER)


def _timer_in_user(g: VmiGuest) -> None:
    pending(g)
    code = g.hello.number("user.data") + 0x500
    g.write(code, b"\xB9" + NEVER.to_bytes(4, "little") + b"\x49\x75\xFD" + STOP)
    g.transfer("IRET", eip=code, cs=g.selector("user.cs"), eflags=0x202, esp=g.user_stack,
               ss=g.selector("user.ds"))


def _fault_with_flag(g: VmiGuest, on: bool) -> None:
    switch(g, on)
    g.execute("kernel.ud2", may_fault=True)


def _fault_in_user(g: VmiGuest) -> None:
    g.enter_user("user.ud2", may_fault=True)


def _call_by_user(g: VmiGuest) -> None:
    g.enter_user("user.int80", may_fault=True)


HANDLERS: dict[str, tuple[int, Callable[[VmiGuest], None]]] = {
    "timer-in-kernel": (TIMER, _timer_in_kernel),
    "timer-in-user": (TIMER, _timer_in_user),
    "fault-in-kernel-flag-clear": (Vector.UD, lambda g: _fault_with_flag(g, on=False)),
    "fault-in-kernel-flag-set": (Vector.UD, lambda g: _fault_with_flag(g, on=True)),
    "fault-in-user": (Vector.UD, _fault_in_user),
    "call-by-user": (CALL80, _call_by_user),
}
"""What enters a handler: the vector logged, and how it is brought about."""


@case("vmi.interrupts.pushf-shows-hardware-flag", for_each=tuple(HANDLERS))
def handlers_begin_with_bit_9_set(g: VmiGuest, how: str) -> None:
    """PUSHF as the first instruction of a handler shows bit 9 set, though the virtual flag is clear there."""
    vector, enter = HANDLERS[how]
    for count in ("first", "again"):
        g.log()
        enter(g)
        entries = traps(g.log(), vector)
        g.require(len(entries) == 1 and entries[0].mask is not None, "the handler was entered and could ask")
        g.require(not (entries[0].mask or 0) & IF, "the virtual flag is clear in the handler")
        g.expect_equal(entries[0].eflags_register, IF, f"EFLAGS to the handler's PUSHF, {count}", mask=IF)


@case("vmi.interrupts.pushf-shows-hardware-flag", for_each=EITHER)
def resumed_code_has_bit_9_set(g: VmiGuest, flag: str) -> None:
    """Nor does IRET to kernel code, with the flag set or clear in its frame, clear bit 9 of EFLAGS."""
    target = Code(g).raw(PUSHF).call("GetInterruptMask").raw(STOP).place()
    wanted = IF if flag == "set" else 0
    for on in (False, True):
        switch(g, on)
        state = g.transfer("IRET", eip=target, cs=g.selector("kernel.cs"), eflags=2 | wanted)
        g.require(state.eax & IF == wanted, f"the virtual flag is {flag} after IRET")
        g.expect_equal(state.esi, IF, "EFLAGS as PUSHF shows it behind IRET", mask=IF)


@case("vmi.interrupts.pushf-shows-hardware-flag",
      for_each=("EnableInterrupts", "DisableInterrupts", "GetInterruptMask", "SetInterruptMask"))
def calls_leave_bit_9_set(g: VmiGuest, entry: str) -> None:
    """Directly behind each call of the flag PUSHF shows bit 9 set, whichever way the flag was and is."""
    for on in (False, True):
        for value in (0, IF):
            code = Code(g).load("eax", value).call(entry).raw(PUSHF).raw(STOP).place()
            switch(g, on)
            mask = g.call("GetInterruptMask")
            state = g.execute(code)
            g.require(mask.eax & IF == (IF if on else 0), "the virtual flag was as wanted before")
            if g.expect_stopped(state):
                g.expect_equal(state.esi, IF, f"EFLAGS as PUSHF shows it behind {entry}", mask=IF)
