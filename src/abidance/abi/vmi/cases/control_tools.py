# SPDX-License-Identifier: BSD-2-Clause
"""What the cases on control registers share: all four registers at one moment, the x87 probe, a
second address space. Declares no case."""

from __future__ import annotations

from dataclasses import dataclass

from abidance.abi.vmi.constants import IF, Cr0, Vector
from abidance.abi.vmi.guest import VmiGuest, Window
from abidance.suite import StateHandle

__all__ = [
    "BASE",
    "ControlRegisters",
    "another_space",
    "expect_flag_kept",
    "expect_same",
    "expect_x87_faults",
    "expect_x87_runs",
    "with_ts",
    "without_ts",
]

BASE = 0xFFFF_F000
"""Bits of CR3 that hold the base; the others of GetCR3 are left free."""


@dataclass(frozen=True)
class ControlRegisters:
    """Calls of GetCR0, GetCR2, GetCR3 and GetCR4 queued together; read them late."""

    reads: tuple[StateHandle, StateHandle, StateHandle, StateHandle]

    @classmethod
    def of(cls, g: VmiGuest) -> ControlRegisters:
        """Queue the four calls."""
        return cls((g.call("GetCR0"), g.call("GetCR2"), g.call("GetCR3"), g.call("GetCR4")))

    @property
    def cr0(self) -> int:
        """What GetCR0 returned."""
        return self.reads[0].eax

    @property
    def cr2(self) -> int:
        """What GetCR2 returned."""
        return self.reads[1].eax

    @property
    def cr3(self) -> int:
        """The base that GetCR3 returned."""
        return self.reads[2].eax & BASE

    @property
    def cr4(self) -> int:
        """What GetCR4 returned."""
        return self.reads[3].eax


def expect_same(g: VmiGuest, before: ControlRegisters, after: ControlRegisters, names: tuple[str, ...],
                what: str) -> None:
    """Expect the named registers ("cr0", "cr3") to show the same at both moments."""
    for name in names:
        g.expect_equal(getattr(after, name), getattr(before, name), f"{name.upper()} {what}")


def expect_flag_kept(g: VmiGuest, entry: str, *, eax: int) -> None:
    """Expect a call to leave the virtual interrupt flag as it is, on and off."""
    for turn, wanted in ((g.interrupts_on, IF), (g.interrupts_off, 0)):
        turned = turn()
        called = g.call(entry, eax=eax)
        g.expect_returned(called, f"{entry} returns")
        before, after = turned.mask_after, called.mask_after
        g.require(before is not None and before & IF == wanted, f"the flag is {'on' if wanted else 'off'}")
        g.expect_equal(after, wanted, f"the virtual interrupt flag after {entry}", mask=IF)


def without_ts(g: VmiGuest) -> int:
    """Clear TS and EM by SetCR0; the value that was passed."""
    value = g.call("GetCR0").eax & ~(Cr0.TS | Cr0.EM)
    g.call("SetCR0", eax=value)
    return value


def with_ts(g: VmiGuest) -> int:
    """Set TS, and clear EM, by SetCR0; the value that was passed."""
    value = g.call("GetCR0").eax & ~Cr0.EM | Cr0.TS
    g.call("SetCR0", eax=value)
    return value


def expect_x87_runs(g: VmiGuest, when: str) -> None:
    """Expect x87 instructions to execute, in the kernel and in user mode."""
    kernel, user = g.execute("kernel.fpu", may_fault=True), g.enter_user("user.fpu", may_fault=True)
    g.expect_returned(kernel, f"an x87 instruction of the kernel executes {when}")
    g.expect_stopped(user, f"an x87 instruction of user code executes {when}")


def expect_x87_faults(g: VmiGuest, when: str) -> None:
    """Expect x87 instructions to raise vector 7, in the kernel and in user mode."""
    kernel, user = g.execute("kernel.fpu", may_fault=True), g.enter_user("user.fpu", may_fault=True)
    g.expect_fault(kernel, Vector.NM, f"an x87 instruction of the kernel faults {when}")
    g.expect_fault(user, Vector.NM, f"an x87 instruction of user code faults {when}")


def another_space(g: VmiGuest, here: Window) -> Window:
    """A copy of the kernel's directory in which the window's linear range has a table of its own;
    not loaded."""
    return g.window(directory=g.copy_directory(), linear=here.linear)
