# SPDX-License-Identifier: BSD-2-Clause
"""Cases: UpdateKernelStack. The stack in force is the one on which the frame of a trap from CPL 3 lies."""

from __future__ import annotations

from dataclasses import dataclass

from abidance.abi.vmi.cases.interrupts_tools import (
    expect_only_timer,
    found,
    kernel_frame,
    pending,
    user_frame,
)
from abidance.abi.vmi.constants import PAGE
from abidance.abi.vmi.guest import VmiGuest
from abidance.suite import StateHandle, case, untested

__all__: list[str] = []

TSS_ESP0, TSS_SS0 = 4, 8
MARK = 0x5AFE_0000
WORDS = 5


@dataclass(frozen=True)
class Stack:
    """A kernel stack of the case's own, two pages; `top` is its ESP0."""

    top: int

    @classmethod
    def make(cls, g: VmiGuest, below: int = 0) -> Stack:
        """A fresh one whose ESP0 lies `below` bytes below the end of its pages."""
        first, second = g.page(), g.page()
        g.require(second == first + PAGE, "the arena hands out pages in order")
        return cls(g.direct(second) + PAGE - below)

    def store(self, g: VmiGuest) -> None:
        """Store it in the TSS, as a guest does first."""
        tss = g.hello.number("kernel.tss")
        g.write32(tss + TSS_ESP0, self.top)
        g.write32(tss + TSS_SS0, g.selector("kernel.ss"))

    def announce(self, g: VmiGuest) -> StateHandle:
        """UpdateKernelStack."""
        return g.call("UpdateKernelStack", eax=g.selector("kernel.ss"), edx=self.top)

    def mark(self, g: VmiGuest) -> None:
        """Fill the place of a frame with marks."""
        for index in range(WORDS):
            g.write32(self.top - 4 * WORDS + 4 * index, MARK + index)


def _expect_frame(g: VmiGuest, stack: Stack, state: StateHandle, esp: int, what: str) -> None:
    """The frame of a trap from CPL 3 lies directly below a stack's ESP0."""
    words = user_frame(g, stack.top)
    after = found(state)
    g.require(after.cs == g.selector("user.cs"), "the trap came from CPL 3")
    g.expect_equal(words[0], after.eip, f"EIP just below ESP0, {what}")
    g.expect_equal(words[1], g.selector("user.cs"), f"CS just below ESP0, {what}", mask=0xFFFF)
    g.expect_equal(words[3], esp, f"the user's ESP just below ESP0, {what}")
    g.expect_equal(words[4], g.selector("user.ds"), f"the user's SS just below ESP0, {what}", mask=0xFFFF)


def _expect_unused(g: VmiGuest, stack: Stack, what: str) -> None:
    """Nothing has been pushed where a frame on this stack would lie."""
    words = [word.value for word in user_frame(g, stack.top)]
    g.expect_equal(tuple(words), tuple(MARK + index for index in range(WORDS)), what)


@case("vmi.UpdateKernelStack.used-when-stored")
def used_when_stored(g: VmiGuest) -> None:
    """A trap from CPL 3 pushes its frame on the stack stored and announced: two, one after the other."""
    old = Stack(g.hello.number("kernel.esp0"))
    for count, below in enumerate((0, 0x740), 1):
        new = Stack.make(g, below)
        old.mark(g)
        new.mark(g)
        new.store(g)
        g.expect_returned(new.announce(g))
        esp = g.user_stack - 0x10 * count
        state = g.enter_user("user.stop", esp=esp)
        _expect_frame(g, new, state, esp, f"stack {count}")
        _expect_unused(g, old, f"the words below the ESP0 before, with stack {count} announced")
        old = new


@case("vmi.UpdateKernelStack.used-when-stored")
def back_to_the_first_stack(g: VmiGuest) -> None:
    """An earlier stack can be announced again and is then the one that is used."""
    first, second = Stack(g.hello.number("kernel.esp0")), Stack.make(g)
    for count, stack in enumerate((second, first, second, first), 1):
        other = first if stack is second else second
        stack.store(g)
        stack.announce(g)
        other.mark(g)
        state = g.enter_user("user.stop", esp=g.user_stack - 4 * count)
        _expect_frame(g, stack, state, g.user_stack - 4 * count, f"after change {count}")
        _expect_unused(g, other, f"the words below the other ESP0 after change {count}")


@case("vmi.UpdateKernelStack.announced-counts")
def announced_counts(g: VmiGuest) -> None:
    """The stack announced is used though the TSS in memory still holds another one."""
    stored, announced = Stack.make(g), Stack.make(g, 0x200)
    stored.store(g)
    stored.announce(g)
    before = g.enter_user("user.stop")
    _expect_frame(g, stored, before, g.user_stack, "with the stored stack announced")
    stored.mark(g)
    announced.announce(g)
    state = g.enter_user("user.stop", esp=g.user_stack - 0x40)
    _expect_frame(g, announced, state, g.user_stack - 0x40, "with another one announced than stored")
    _expect_unused(g, stored, "the words below the ESP0 that the TSS in memory holds")


@case("vmi.UpdateKernelStack.stays-announced")
def stays_announced(g: VmiGuest) -> None:
    """Traps, faults and interrupts from CPL 3 all use the announced stack, one after the other."""
    new = Stack.make(g, 0x100)
    new.store(g)
    new.announce(g)
    if g.profile.facts["update_kernel_stack"] == "effective":
        Stack.make(g).store(g)  # not announced: what the TSS in memory says must not count again
    for fragment in ("user.stop", "user.ud2", "user.int80", "user.gp", "user.stop"):
        new.mark(g)
        state = g.enter_user(fragment, esp=g.user_stack - 0x30, may_fault=True)
        _expect_frame(g, new, state, g.user_stack - 0x30, f"by {fragment}")
    g.call("GetInterruptMask")
    g.execute("kernel.stop")
    pending(g)
    g.irq_policy(abandon=True)
    new.mark(g)
    state = g.enter_user("user.wait", esp=g.user_stack - 0x50, ecx=0x100)
    g.require(state.vector == 0x20, "the interrupt arrived at CPL 3")
    _expect_frame(g, new, state, g.user_stack - 0x50, "by an interrupt")


@case("vmi.UpdateKernelStack.stays-announced")
def serves_returns_too(g: VmiGuest) -> None:
    """User code that is interrupted on the announced stack is resumed and traps on it again."""
    new = Stack.make(g)
    new.store(g)
    new.announce(g)
    pending(g)
    state = g.enter_user("user.wait", esp=g.user_stack - 0x60, ecx=0x800)
    expect_only_timer(g, g.log(), "while user code ran")
    g.expect_stopped(state)
    _expect_frame(g, new, state, g.user_stack - 0x60, "behind an interrupt")


@case("vmi.UpdateKernelStack.leaves-current-stack")
def leaves_current_stack(g: VmiGuest) -> None:
    """The caller goes on upon its own stack, and so do traps in the kernel."""
    new = Stack.make(g)
    new.mark(g)
    new.store(g)
    state = new.announce(g)
    if g.expect_returned(state):
        g.expect_preserved(state, "esp", "ss")
        g.expect(not state.canary_bad, "the words above the caller's stack pointer are as they were")
    trap = g.execute("kernel.stop")
    words = kernel_frame(g, trap)
    g.expect_equal(trap.esp, trap.before.esp - 4, "the stack pointer above the frame of a trap in the kernel")
    g.expect_equal(words[0], g.fragment("kernel.stop") + 2, "EIP in the frame of a trap in the kernel")
    _expect_unused(g, new, "the words below the announced ESP0")


untested("vmi.UpdateKernelStack.may-be-empty", "vmi.UpdateKernelStack.may-be-queued",
         reason="permission: nothing to violate")
