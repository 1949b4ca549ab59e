# SPDX-License-Identifier: BSD-2-Clause
"""Calls that are interrupted: at each of their instructions a timer interrupt arrives, whose handler asks
for the interrupt mask and leaves by IRET, both calls themselves."""

from __future__ import annotations

from typing import TYPE_CHECKING

from abidance.abi.vmi.cases.bootstrap_tools import CALL_REL
from abidance.abi.vmi.cases.conventions_uses import GET_RELOCATION_INFO, TRANSFERS, USES, Reach, Trial, use
from abidance.abi.vmi.cases.interrupts_tools import quiet, timers
from abidance.abi.vmi.constants import IF
from abidance.abi.vmi.guest import VmiGuest
from abidance.kernel import Key
from abidance.suite import case

if TYPE_CHECKING:
    from abidance.spec import Specification

__all__: list[str] = []

MOMENTS = 24
"""Instructions of a call at which it is interrupted, at most."""
IMAGE_BASE = 0x10_0000
OF_THE_FLAG = ("EnableInterrupts", "DisableInterrupts", "GetInterruptMask", "SetInterruptMask", "Halt")
"""Calls whose effect is the flag itself: `FLAG_AFTER`; Halt is interrupted by its nature."""
FEW = 4
FLAG_AFTER = {
    "GetInterruptMask": ("GetInterruptMask", None, IF),
    "EnableInterrupts": ("EnableInterrupts", None, IF),
    "DisableInterrupts": ("DisableInterrupts", None, 0),
    "SetInterruptMask-on": ("SetInterruptMask", IF | 2, IF),
    "SetInterruptMask-off": ("SetInterruptMask", 2, 0),
}
"""Uses of the calls of the flag: the call, EAX if it takes a mask, and the flag afterwards."""
GENERAL = ("ebx", "esi", "edi", "ebp", "esp")


def interruptible(spec: Specification) -> list[str]:
    """The entry points with uses that return and do not concern the flag."""
    return [entry.name for entry in spec.entries
            if entry.name in USES and entry.name not in (*TRANSFERS, *OF_THE_FLAG)]


class Interrupter:
    """Has IRQ 0 arrive `after` instructions into each call of a trial, the flag set. `inside` counts
    the interrupts that found code outside the kernel's image: the call."""

    def __init__(self, g: VmiGuest) -> None:
        self._g, self._begun = g, False
        self.after = self.inside = self.delivered = 0

    def around(self) -> None:
        """Before a call, make the interrupt come; after it, see where it came."""
        g, self._begun = self._g, not self._begun
        if self._begun:
            quiet(g)
            g.pic_unmask(0)
            g.log()
            g.inject(0, self.after)
            g.set(Key.MARKER, 0)
            g.interrupts_on()
            g.set(Key.MARKER, 1)
            return
        g.set(Key.MARKER, 0)
        g.interrupts_off()
        first, last = g.direct(IMAGE_BASE), g.direct(g.hello.number("kernel.end.phys"))
        found = timers(g.log())
        self.delivered += len(found)
        self.inside += sum(not first <= entry.eip < last for entry in found)


@case("vmi.convention.interrupt-safe", needs=("injection",), for_each=interruptible)
def completes_when_interrupted(g: VmiGuest, entry: str) -> None:
    """Interrupted at any of its instructions, the call has its effect and preserves what it must."""
    reach = Reach.POINTER if entry == GET_RELOCATION_INFO else Reach.INLINE
    interrupter, total = Interrupter(g), 0
    for after in range(MOMENTS):
        interrupter.after, interrupter.inside = after, 0
        trial = Trial(g, entry, reach=reach, judged=True, around=interrupter.around)
        trial.when = f" interrupted after {after} instructions"
        for state in use(trial).states:
            g.expect_returned(state, f"{entry}{trial.when} returns")
            g.expect_preserved(state, *GENERAL)
        total += interrupter.inside
        if not interrupter.inside:
            break
    g.require(interrupter.delivered > 0, "interrupts were delivered")
    offered = entry == GET_RELOCATION_INFO or g.fetched(entry)[0] == CALL_REL
    g.require(total > 0 or not offered, "an interrupt found the call in its routine")


@case("vmi.convention.interrupt-safe", needs=("injection",), for_each=tuple(FLAG_AFTER))
def flag_calls_complete_when_interrupted(g: VmiGuest, use_of: str) -> None:
    """Interrupted at any of its instructions, by a handler that finds the flag clear, a call of the flag
    made with the flag set leaves and tells the flag as it should."""
    entry, mask, wanted = FLAG_AFTER[use_of]
    interrupter = Interrupter(g)
    for after in range(MOMENTS):
        interrupter.after, interrupter.inside = after, 0
        interrupter.around()
        state = g.call(entry, inline=True) if mask is None else g.call(entry, inline=True, eax=mask)
        interrupter.around()
        when = f"{entry} interrupted after {after} instructions"
        g.expect_equal(state.mask_after or 0, wanted, f"the flag after {when}", mask=IF)
        if entry == "GetInterruptMask":
            g.expect_equal(state.eax, IF, f"the mask that {when} returns", mask=IF)
        g.expect_preserved(state, *GENERAL, "ecx", "edx")
        if not interrupter.inside and after > FEW:
            break
    g.require(interrupter.delivered > 0, "interrupts were delivered")
