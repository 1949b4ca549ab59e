# SPDX-License-Identifier: BSD-2-Clause
"""Cases: how interrupts arrive. The image and the frame, the flag in the handler, the registers."""

from __future__ import annotations

from abidance.abi.vmi.cases.interrupts_tools import (
    ARITHMETIC,
    CALL80,
    GENERAL,
    MIX,
    NEVER,
    TIMER,
    expect_found,
    expect_only_timer,
    found,
    kernel_frame,
    low_byte,
    pending,
    requested_behind_mask,
    switch,
    timers,
    traps,
    unmask_and_wait,
    user_frame,
    with_gates,
)
from abidance.abi.vmi.constants import IF, Vector
from abidance.abi.vmi.guest import VmiGuest
from abidance.suite import StateHandle, case

__all__: list[str] = []

EITHER = ("clear", "set")
SEGMENTS = ("ds", "es", "fs", "gs")
PIC_MASK = 0x21
UNMASK = 0xFE


def _abandoned_in_kernel(g: VmiGuest, eflags: int = 2) -> tuple[StateHandle, int, int]:
    """An interrupt that finds the kernel in known registers and flags, and does not return: its state
    and the bounds of where it found it."""
    requested_behind_mask(g)
    code, first, last = unmask_and_wait(g)
    g.irq_policy(abandon=True)
    g.interrupts_on()
    state = g.execute(code.base, eflags=eflags, eax=low_byte(g.poison(), UNMASK),
                      fs=g.selector("user.cs"), gs=g.selector("user.ds"))
    return state, first, last


def _abandoned_in_user(g: VmiGuest, eflags: int = 0x202) -> StateHandle:
    """The same for code at CPL 3, at its first instructions (NEVER turns of a loop that counts ECX)."""
    pending(g)
    g.irq_policy(abandon=True)
    return g.enter_user("user.wait", eflags=eflags, ecx=NEVER, es=g.selector("user.cs"),
                        gs=g.selector("user.cs"))


# -- the image --------------------------------------------------------------------------------------


@case("vmi.interrupts.image-shows-virtual-flag", for_each=("kernel.stop", "kernel.ud2", "kernel.int80"))
def image_of_an_exception(g: VmiGuest, fragment: str) -> None:
    """Bit 9 of an exception's image follows the flag of the kernel code that raised it."""
    for on in (False, True, False):
        switch(g, on)
        mask = g.call("GetInterruptMask")
        state = g.execute(fragment)
        after = found(state)
        expected = IF if on else 0
        g.require(mask.eax & IF == expected, "the flag was as the call left it")
        g.expect_equal(after.eflags, expected, f"the image of {fragment}", mask=IF)


@case("vmi.interrupts.image-shows-virtual-flag")
def image_of_an_interrupt(g: VmiGuest) -> None:
    """Bit 9 is set in the image of an interrupt in the kernel and of one at CPL 3."""
    state, _, _ = _abandoned_in_kernel(g)
    if g.expect_fault(state, TIMER, "the interrupt arrives in the kernel"):
        g.expect_equal(state.fault_eflags, IF, "the image of an interrupt in the kernel", mask=IF)
    user = _abandoned_in_user(g)
    if g.expect_fault(user, TIMER, "the interrupt arrives at CPL 3"):
        g.expect_equal(user.fault_eflags, IF, "the image of an interrupt at CPL 3", mask=IF)


@case("vmi.interrupts.image-shows-arithmetic-flags", for_each=MIX)
def image_shows_arithmetic_flags(g: VmiGuest, flags: int) -> None:
    """Arithmetic flags and DF are in the image of a trap in the kernel, of one at CPL 3, of an interrupt."""
    kernel = g.execute("kernel.stop", eflags=2 | flags)
    user = g.enter_user("user.stop", eflags=0x202 | flags)
    g.expect_equal(kernel.eflags, flags, "the image of a trap in the kernel", mask=ARITHMETIC)
    g.expect_equal(user.eflags, flags, "the image of a trap at CPL 3", mask=ARITHMETIC)
    state, _, _ = _abandoned_in_kernel(g, 2 | flags)
    if g.expect_fault(state, TIMER, "the interrupt arrives in the kernel"):
        g.expect_equal(state.fault_eflags, flags, "the image of an interrupt", mask=ARITHMETIC)


# -- the flag in the handler ------------------------------------------------------------------------


@case("vmi.interrupts.interrupt-gate-clears-flag", "vmi.interrupts.handler-flag-readable")
def interrupt_gate_clears_flag(g: VmiGuest) -> None:
    """Handlers behind interrupt gates begin with the flag clear: in the kernel, at CPL 3, for an IRQ."""
    g.interrupts_on()
    kernel = g.execute("kernel.int80")
    user = g.enter_user("user.int80")
    pending(g)
    g.interrupts_on()
    g.execute("kernel.nops")
    entries = g.log()
    g.require(found(kernel).eflags & found(user).eflags & IF == IF, "the interrupted contexts had it set")
    g.require(len(traps(entries, CALL80)) == 2 and len(timers(entries)) == 1, "all three were entered")
    for entry in entries:
        g.require(entry.mask is not None, "the handler could ask for its flag")
        g.expect_equal(entry.mask, 0, f"GetInterruptMask in the handler of vector {entry.vector:#x}", mask=IF)


@case("vmi.interrupts.interrupt-gate-clears-flag")
def interrupt_gate_holds_requests(g: VmiGuest) -> None:
    """A request that is pending when a handler behind an interrupt gate is entered waits for its end."""
    requested_behind_mask(g)
    g.interrupts_on()
    trapped = g.execute("kernel.int80")
    g.port_out(PIC_MASK, UNMASK)
    held = g.execute("kernel.spin", ecx=NEVER)
    g.interrupts_on()
    g.execute("kernel.nops")
    entries = g.log()
    g.require(found(trapped).eflags & IF == IF, "the interrupted context had the flag set")
    g.expect_equal(held.irqs, 0, "interrupts delivered while the handler has not returned")
    g.require(len(timers(entries)) >= 1, "the request was a real one")


@case("vmi.interrupts.trap-gate-keeps-flag", "vmi.interrupts.handler-flag-readable", for_each=EITHER)
def trap_gate_keeps_flag(g: VmiGuest, flag: str) -> None:
    """Handlers behind trap gates begin with the flag of the context that trapped."""
    with_gates(g, trap=(CALL80, Vector.UD))
    states = []
    for fragment in ("kernel.int80", "kernel.ud2"):
        switch(g, flag == "set")
        states.append(g.execute(fragment))
    if flag == "set":
        states.append(g.enter_user("user.int80"))
    expected = IF if flag == "set" else 0
    entries = g.log()
    for state, entry in zip(states, entries, strict=True):
        g.require(found(state).eflags & IF == expected, f"the flag was {flag} in the context that trapped")
        g.require(entry.mask is not None, "the handler could ask for its flag")
        g.expect_equal(entry.mask, expected, f"GetInterruptMask in the handler of {state.text}", mask=IF)


# -- frames and registers ---------------------------------------------------------------------------


@case("vmi.interrupts.kernel-frame")
def kernel_frame_of_an_interrupt(g: VmiGuest) -> None:
    """EIP, CS and EFLAGS lie directly below the stack pointer that the interrupt found."""
    state, first, last = _abandoned_in_kernel(g, 2 | 0x8D5)
    g.require(state.vector == TIMER, "the interrupt arrived in the kernel")
    after = found(state)
    words = kernel_frame(g, state)
    g.expect_equal(after.esp, state.before.esp - 4, "the stack pointer above the frame")
    g.expect_equal(after.ss, state.before.ss, "SS")
    g.expect(first <= words[0].value <= last, "EIP in the frame", expected="where the interrupt arrived",
             seen=words[0])
    g.expect_equal(words[1], g.selector("kernel.cs"), "CS in the frame", mask=0xFFFF)
    g.expect_equal(words[2], IF | 0x8D5, "EFLAGS in the frame", mask=IF | ARITHMETIC)


@case("vmi.interrupts.kernel-frame", for_each=EITHER)
def kernel_frame_of_a_trap(g: VmiGuest, flag: str) -> None:
    """The frame of INT in the kernel has three words on the interrupted stack, under either flag."""
    switch(g, flag == "set")
    state = g.execute("kernel.stop", eflags=2 | 0x450)
    words = kernel_frame(g, state)
    g.expect_equal(state.esp, state.before.esp - 4, "the stack pointer above the frame")
    g.expect_equal(words[0], g.fragment("kernel.stop") + 2, "EIP in the frame")
    g.expect_equal(words[1], g.selector("kernel.cs"), "CS in the frame", mask=0xFFFF)
    g.expect_equal(words[2], 0x450 | (IF if flag == "set" else 0), "EFLAGS in the frame",
                   mask=IF | ARITHMETIC)


@case("vmi.interrupts.user-frame", for_each=("stop", "interrupt"))
def user_frame_words(g: VmiGuest, how: str) -> None:
    """EIP, CS, EFLAGS, ESP and SS lie directly below the top of the kernel stack."""
    top = g.hello.number("kernel.esp0")
    if how == "interrupt":
        state = _abandoned_in_user(g, 0x202 | 0x890)
        g.require(state.vector == TIMER, "the interrupt arrived at CPL 3")
    else:
        state = g.enter_user("user.stop", eflags=0x202 | 0x890)
    words = user_frame(g, top)
    first = g.fragment("user.wait" if how == "interrupt" else "user.stop")
    low, high = (first, first + 3) if how == "interrupt" else (first + 2, first + 2)
    g.require(found(state).cs == g.selector("user.cs"), "the trap came from CPL 3")
    g.expect(low <= words[0].value <= high, "EIP in the frame", expected=low, seen=words[0])
    g.expect_equal(words[1], g.selector("user.cs"), "CS in the frame", mask=0xFFFF)
    g.expect_equal(words[2], IF if how == "interrupt" else IF | 0x890, "EFLAGS in the frame",
                   mask=IF if how == "interrupt" else IF | ARITHMETIC)
    g.expect_equal(words[3], g.user_stack, "ESP in the frame")
    g.expect_equal(words[4], g.selector("user.ds"), "SS in the frame", mask=0xFFFF)


@case("vmi.interrupts.user-frame")
def user_frame_has_the_user_stack(g: VmiGuest) -> None:
    """ESP in the frame is the user's own, two different ones."""
    for offset in (0x40, 0x804):
        state = g.enter_user("user.stop", esp=g.user_stack - offset)
        words = user_frame(g, g.hello.number("kernel.esp0"))
        g.expect_stopped(state)
        g.expect_equal(words[3], g.user_stack - offset, "ESP in the frame")


@case("vmi.interrupts.registers-kept")
def registers_kept_in_the_kernel(g: VmiGuest) -> None:
    """The handler of an interrupt in the kernel finds every register as it was."""
    state, _, _ = _abandoned_in_kernel(g)
    g.require(state.vector == TIMER, "the interrupt arrived in the kernel")
    expect_found(g, state, *GENERAL, *SEGMENTS, what="in the handler of an interrupt in the kernel")


@case("vmi.interrupts.registers-kept")
def registers_kept_at_user_level(g: VmiGuest) -> None:
    """The handler of an interrupt at CPL 3 finds every register as it was (ECX counts)."""
    state = _abandoned_in_user(g)
    g.require(state.vector == TIMER, "the interrupt arrived at CPL 3")
    kept = tuple(name for name in GENERAL if name != "ecx")
    expect_found(g, state, *kept, *SEGMENTS, what="in the handler of an interrupt at CPL 3")
    count = found(state).ecx
    g.expect(0 < count <= NEVER, "ECX in the handler of an interrupt at CPL 3",
             expected=f"what is left of {NEVER:#x}", seen=count)


@case("vmi.interrupts.registers-kept")
def registers_kept_across_the_handler(g: VmiGuest) -> None:
    """Code that is interrupted and gone back to ends with the registers it had."""
    requested_behind_mask(g)
    code, first, last = unmask_and_wait(g)
    g.interrupts_on()
    state = g.execute(code.base, eax=low_byte(g.poison(), UNMASK), fs=g.selector("user.cs"),
                      gs=g.selector("user.ds"))
    entry = expect_only_timer(g, g.log(), "while the code ran")
    g.require(entry is not None and first <= entry.eip <= last, "the interrupt found the code at work")
    g.expect_preserved(state, *GENERAL, *SEGMENTS, "esp")
