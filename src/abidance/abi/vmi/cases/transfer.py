# SPDX-License-Identifier: BSD-2-Clause
"""Cases: IRET. What it resumes is looked at by the stop trap at its target, by code at the target, and
by the frames of interrupts that find the resumed context."""

from __future__ import annotations

from collections.abc import Mapping

from abidance.abi.vmi.cases.interrupts_tools import (
    ARITHMETIC,
    GENERAL,
    MIX,
    NEVER,
    NOPS,
    STOP,
    Code,
    arrivals,
    expect_found,
    expect_only_timer,
    flags_of,
    pending,
    requested_behind_mask,
    switch,
    timers,
)
from abidance.abi.vmi.constants import IF, Vector
from abidance.abi.vmi.guest import VmiGuest
from abidance.kernel import LogEntry
from abidance.suite import StateHandle, case, untested

__all__: list[str] = []

EITHER = ("clear", "set")
SEGMENTS = ("ds", "es", "fs", "gs")
CALL_REL, JUMP_REL = 1, 2
EMPTY = 0x93
"""A selector of RPL 3 whose descriptor in the test kernel's GDT is empty."""
FRAME = 12
LOOP = 3
"""Bytes of the loop in user.wait: an interrupt finds it in there."""


def _to_kernel(g: VmiGuest, eip: int, flags: int = 2, **regs: int) -> StateHandle:
    return g.transfer_with(regs, "IRET", eip=eip, cs=g.selector("kernel.cs"), eflags=flags)


def _to_user(g: VmiGuest, values: Mapping[str, int]) -> StateHandle:
    return g.transfer_with(values, "IRET", eip=g.fragment("user.stop"), cs=g.selector("user.cs"),
                           eflags=0x202, esp=g.user_stack, ss=g.selector("user.ds"))


def _stop(g: VmiGuest, padding: int = 0) -> int:
    """Kernel code of the case's own: nothing, some bytes long, then the stop trap."""
    return Code(g).raw(b"\x90" * padding).raw(STOP).place()


# -- where it goes ----------------------------------------------------------------------------------


@case("vmi.IRET.frame-follows-relocation", for_each=("kernel", "user"))
def frame_follows_relocation(g: VmiGuest, where: str) -> None:
    """From a site patched as the relocation says, every word of the frame is taken from its place."""
    kind, _ = g.fetched("IRET")
    g.require(kind in (CALL_REL, JUMP_REL), "IRET is reached by call or by jump")
    for padding, flags in ((0, 0x045), (3, 0x890)):
        if where == "kernel":
            eip = _stop(g, padding)
            state = _to_kernel(g, eip, 2 | flags)
            esp, cs = state.before.esp + FRAME, g.selector("kernel.cs")
        else:
            eip = g.hello.number("user.data") + 0x100
            g.write(eip, b"\x90" * padding + STOP)
            esp, cs = g.user_stack - 0x20 * padding, g.selector("user.cs")
            state = g.transfer("IRET", eip=eip, cs=cs, eflags=IF | flags, esp=esp, ss=g.selector("user.ds"))
        if not g.expect_stopped(state, "the frame is found"):
            return
        g.require(state.target_kind == kind, "it was reached as the relocation says")
        g.expect_equal(state.eip, eip + padding + 2, "EIP at the stop trap")
        g.expect_equal(state.cs, cs, "CS")
        g.expect_equal(state.eflags, flags, "EFLAGS", mask=ARITHMETIC)
        g.expect_equal(state.esp, esp, "ESP")


@case("vmi.IRET.resumes-kernel")
def resumes_kernel(g: VmiGuest) -> None:
    """Kernel code goes on at EIP with ESP just above the three words, whatever lies there, SS unchanged."""
    for padding, above in ((0, ()), (5, (0x1111_1111, g.user_stack, g.selector("user.ds")))):
        eip = _stop(g, padding)
        state = g.transfer("IRET", eip=eip, cs=g.selector("kernel.cs"), eflags=2, extra=above)
        if g.expect_stopped(state):
            g.expect_equal(state.eip, eip + padding + 2, "EIP at the stop trap")
            g.expect_equal(state.cs, g.selector("kernel.cs"), "CS")
            g.expect_equal(state.esp, state.before.esp + FRAME, "ESP")
            g.expect_equal(state.ss, state.before.ss, "SS")


@case("vmi.IRET.resumes-kernel")
def resumes_kernel_that_was_interrupted(g: VmiGuest) -> None:
    """Code that an interrupt finds goes on behind it, on its own stack, and returns to its caller."""
    requested_behind_mask(g)
    code = Code(g).raw(b"\x68\x78\x56\x34\x12\xE6\x21" + b"\xEB\x00" * 4).raw(NOPS).raw(b"\x5B\xC3").place()
    g.interrupts_on()
    state = g.execute(code, eax=0xFE)
    entry = expect_only_timer(g, g.log(), "while the code ran")
    g.require(entry is not None and code < entry.eip < code + 64, "the interrupt found the code at work")
    g.expect_returned(state)
    g.expect_equal(state.ebx, 0x1234_5678, "what the code had pushed before, popped afterwards")


@case("vmi.IRET.resumes-user")
def resumes_user(g: VmiGuest) -> None:
    """User code goes on at EIP, at CPL 3, with CS, SS and ESP of the frame: two different places."""
    for at, esp in ((0x100, g.user_stack), (0x123, g.user_stack - 0x354)):
        eip = g.hello.number("user.data") + at
        g.write(eip, b"\x8C\xCB\x8C\xD1" + STOP)  # MOV EBX, CS; MOV ECX, SS
        state = g.transfer("IRET", eip=eip, cs=g.selector("user.cs"), eflags=0x202, esp=esp,
                           ss=g.selector("user.ds"))
        if not g.expect_stopped(state):
            continue
        g.expect_equal(state.eip, eip + 6, "EIP at the stop trap")
        g.expect_equal(state.ebx, g.selector("user.cs"), "CS as the user reads it", mask=0xFFFF)
        g.expect_equal(state.ecx, g.selector("user.ds"), "SS as the user reads it", mask=0xFFFF)
        g.expect_equal(state.esp, esp, "ESP")
        g.expect_equal(state.cs, g.selector("user.cs"), "CS in the frame of the stop trap")


@case("vmi.IRET.resumes-user")
def user_is_not_privileged(g: VmiGuest) -> None:
    """What IRET resumes with a CS of RPL 3 is refused what only the kernel may do."""
    state = g.enter_user("user.gp")
    if g.expect_fault(state, Vector.GP, "a store to CR3 by the user"):
        g.expect_equal(state.fault_cs, g.selector("user.cs"), "CS in the frame of the fault")
    linear = g.direct(g.page_with(1))
    load = g.enter_user("user.load", eax=linear, may_fault=True)
    g.expect(load.faulted, "a load of the kernel's memory faults", expected="a fault", seen=load.ended)


# -- the flag ---------------------------------------------------------------------------------------


@case("vmi.IRET.{item}", for_each=("sets-flag", "clears-flag"))
def flag_in_the_kernel(g: VmiGuest, clause: str) -> None:
    """The resumed kernel has the flag of the frame, by GetInterruptMask and by a trap's frame."""
    target = Code(g).call("GetInterruptMask").raw(STOP).place()
    expected = IF if clause == "sets-flag" else 0
    for before in (False, True):
        switch(g, before)
        mask = g.call("GetInterruptMask")
        state = _to_kernel(g, target, 2 | expected)
        g.require(bool(mask.eax & IF) == before, "the flag was as the call left it")
        if g.expect_stopped(state):
            text = f"in the resumed kernel, the flag {EITHER[before]} before IRET"
            g.expect_equal(state.eax, expected, f"GetInterruptMask {text}", mask=IF)
            g.expect_equal(flags_of(state), expected, f"bit 9 in a frame {text}")


@case("vmi.IRET.sets-flag")
def flag_at_user_level(g: VmiGuest) -> None:
    """The resumed user runs with the flag set, whatever it was before."""
    for before in (False, True):
        switch(g, before)
        mask = g.call("GetInterruptMask")
        state = g.enter_user("user.stop")
        g.require(bool(mask.eax & IF) == before, "the flag was as the call left it")
        if g.expect_stopped(state):
            g.expect_equal(flags_of(state), IF, f"bit 9 in a frame, the flag {EITHER[before]} before IRET")


@case("vmi.IRET.clears-flag")
def cleared_flag_holds_requests(g: VmiGuest) -> None:
    """A request made while the flag was set, and masked at the controller, is held in the resumed code."""
    requested_behind_mask(g)
    target = Code(g).raw(b"\xE6\x21").raw(NOPS).raw(STOP).place()
    g.interrupts_on()
    on = g.call("GetInterruptMask")
    state = _to_kernel(g, target, 2, eax=0xFE)
    g.interrupts_on()
    g.execute("kernel.nops")
    entries = g.log()
    g.require(on.eax & IF == IF, "the flag was set before")
    if g.expect_stopped(state):
        g.expect_equal(state.irqs, 0, "interrupts delivered in the resumed code")
    g.require(len(timers(entries)) >= 1, "the request was a real one")


# -- what is pending --------------------------------------------------------------------------------


def _expect_user_entry(g: VmiGuest, entry: LogEntry | None, esp: int, when: str) -> None:
    """The frame of an interrupt shows user.wait on the given stack."""
    if entry is None:
        return
    first = g.fragment("user.wait")
    g.expect(first <= entry.eip <= first + LOOP, f"EIP in the frame {when}", expected="in the resumed code",
             seen=entry.eip)
    g.expect_equal(entry.cs, g.selector("user.cs"), f"CS in the frame {when}")
    g.expect_equal(entry.esp, esp, f"ESP in the frame {when}")
    g.expect_equal(entry.ss, g.selector("user.ds"), f"SS in the frame {when}")
    g.expect_equal(entry.eflags_image, IF, f"EFLAGS in the frame {when}", mask=IF)


@case("vmi.IRET.delivers-pending", "vmi.IRET.flag-is-atomic")
def pending_finds_the_user(g: VmiGuest) -> None:
    """A pending interrupt is delivered once user code is resumed, and its frame shows that code."""
    for offset in (0, 0x128):
        pending(g)
        esp = g.user_stack - offset
        state = g.enter_user("user.wait", ecx=NEVER, esp=esp)
        entry = expect_only_timer(g, g.log(), "while user code ran")
        g.expect_stopped(state)
        g.expect_equal(state.esp, esp, "ESP at the stop trap")
        _expect_user_entry(g, entry, esp, "of the pending interrupt")


def _expect_kernel_entry(g: VmiGuest, entry: LogEntry | None, state: StateHandle, first: int,
                         when: str) -> None:
    """The frame of an interrupt shows the resumed kernel code with ESP above IRET's frame."""
    if entry is None:
        return
    g.expect(first <= entry.eip <= first + len(NOPS), f"EIP in the frame {when}",
             expected="in the resumed code", seen=entry.eip)
    g.expect_equal(entry.cs, g.selector("kernel.cs"), f"CS in the frame {when}")
    g.expect_equal(entry.esp, state.before.esp + FRAME, f"ESP above the frame {when}")
    g.expect_equal(entry.eflags_image, IF, f"EFLAGS in the frame {when}", mask=IF)


@case("vmi.IRET.delivers-pending", "vmi.IRET.flag-is-atomic")
def pending_finds_the_kernel(g: VmiGuest) -> None:
    """A pending interrupt is delivered once kernel code is resumed with the flag set, and finds that code."""
    target = Code(g).raw(NOPS).raw(STOP).place()
    pending(g)
    state = _to_kernel(g, target, 2 | IF)
    entry = expect_only_timer(g, g.log(), "while the resumed kernel code ran")
    g.expect_stopped(state)
    _expect_kernel_entry(g, entry, state, target, "of the pending interrupt")


@case("vmi.IRET.flag-is-atomic", needs=("injection",))
def any_instruction_on_the_way_to_the_user(g: VmiGuest) -> None:
    """An interrupt requested at any instruction of IRET finds the resumed user, whole."""
    first = g.fragment("user.wait")
    for after in arrivals(g):
        state = g.enter_user("user.wait", ecx=NEVER, esp=g.user_stack - 8 * (after & 7))
        when = f"with a request after {after} instructions"
        entry = expect_only_timer(g, g.log(), when)
        g.expect_stopped(state)
        _expect_user_entry(g, entry, g.user_stack - 8 * (after & 7), when)
        expect_found(g, state, "eax", "ebx", "edx", "esi", "edi", "ebp", *SEGMENTS, what=when)
        if entry is None or entry.eip > first:
            break


@case("vmi.IRET.flag-is-atomic", needs=("injection",))
def any_instruction_on_the_way_to_the_kernel(g: VmiGuest) -> None:
    """An interrupt requested at any instruction of IRET finds the resumed kernel code, whole."""
    target = Code(g).raw(NOPS).raw(STOP).place()
    for after in arrivals(g):
        state = _to_kernel(g, target, 2 | IF)
        when = f"with a request after {after} instructions"
        entry = expect_only_timer(g, g.log(), when)
        g.expect_stopped(state)
        _expect_kernel_entry(g, entry, state, target, when)
        expect_found(g, state, *GENERAL, *SEGMENTS, what=when)
        if entry is None or entry.eip > target + 2:
            break


# -- what it keeps ----------------------------------------------------------------------------------


@case("vmi.IRET.restores-arithmetic-flags", for_each=MIX)
def restores_arithmetic_flags(g: VmiGuest, flags: int) -> None:
    """The arithmetic flags and DF of kernel and user are those of the frame."""
    kernel = _to_kernel(g, _stop(g), 2 | flags)
    user = g.enter_user("user.stop", eflags=0x202 | flags)
    g.expect_equal(kernel.eflags, flags, "EFLAGS of the resumed kernel", mask=ARITHMETIC)
    g.expect_equal(user.eflags, flags, "EFLAGS of the resumed user", mask=ARITHMETIC)


@case("vmi.IRET.preserves-general", for_each=("kernel", "user"))
def preserves_general(g: VmiGuest, where: str) -> None:
    """The resumed context has the general registers with which IRET was reached, twice over."""
    for pick in range(2):
        values = {name: g.poison() ^ 0xFFFF_FFFF * pick for name in GENERAL}
        state = (_to_kernel(g, g.fragment("kernel.stop"), **values) if where == "kernel"
                 else _to_user(g, values))
        if g.expect_stopped(state):
            for name, value in values.items():
                g.expect_equal(state.after[name], value, f"{name} of the resumed {where}")


@case("vmi.IRET.preserves-user-segments", for_each=range(4))
def preserves_user_segments(g: VmiGuest, which: int) -> None:
    """DS, ES, FS and GS keep user selectors across the return, each one a selector of its own."""
    values = {name: g.selector("user.cs" if index == which else "user.ds")
              for index, name in enumerate(SEGMENTS)}
    state = _to_user(g, values)
    if g.expect_stopped(state):
        for name, value in values.items():
            g.expect_equal(state.after[name], value, f"{name} of the resumed user", mask=0xFFFF)


@case("vmi.IRET.fault-at-site", for_each=("empty-cs", "null-cs", "null-ss", "data-as-code"))
def fault_at_site(g: VmiGuest, what: str) -> None:
    """A frame that cannot be returned to faults at the guest's own call or jump."""
    cs, ss = g.selector("user.cs"), g.selector("user.ds")
    cs, ss = {"empty-cs": (EMPTY, ss), "null-cs": (0, ss), "null-ss": (cs, 0), "data-as-code": (ss, ss)}[what]
    state = g.transfer("IRET", eip=g.fragment("user.stop"), cs=cs, eflags=0x202, esp=g.user_stack, ss=ss)
    g.require(state.faulted, "the frame is refused")
    g.expect_equal(state.fault_eip, state.site, "EIP in the frame of the fault")


untested("vmi.IRET.may-keep-iopl", "vmi.IRET.virtual-8086-optional",
         reason="permission: nothing to violate")
