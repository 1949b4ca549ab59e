# SPDX-License-Identifier: BSD-2-Clause
"""What holds for every call beside its own effect: the direction flag, the x87 and SSE units,
FS and GS."""

from __future__ import annotations

from itertools import product
from typing import TYPE_CHECKING

from abidance.abi.vmi.cases.bootstrap_tools import init_registers
from abidance.abi.vmi.cases.conventions_units import UNITS, Unit
from abidance.abi.vmi.cases.conventions_uses import (
    GET_RELOCATION_INFO,
    TRANSFERS,
    USES,
    Reach,
    Trial,
    elsewhere,
    use,
)
from abidance.abi.vmi.guest import VmiGuest
from abidance.suite import case, untested

if TYPE_CHECKING:
    from abidance.spec import Specification

__all__: list[str] = []

DF = 0x400
PLAIN = {"SetCR0": lambda g: g.call("GetCR0").eax,
         "CLTS": lambda g: g.poison(), "GetCR0": lambda g: g.poison()}
"""EAX for calls whose uses set TS, under which neither unit could be saved: they are made alone."""

untested("vmi.convention.acts-on-calling-cpu", reason="needs a second processor in the test kernel")
untested("vmi.segments.descriptor-calls-may-reload", reason="permission: nothing to violate")


def returning(spec: Specification) -> list[str]:
    """The entry points with uses that return to their caller."""
    return [entry.name for entry in spec.entries if entry.name in USES and entry.name not in TRANSFERS]


@case("vmi.convention.keeps-direction-clear", for_each=returning)
def keeps_direction_clear(g: VmiGuest, entry: str) -> None:
    """A use made with the direction flag clear comes back with it clear."""
    reaches = (Reach.POINTER,) if entry == GET_RELOCATION_INFO else (Reach.POINTER, Reach.INLINE)
    for reach in reaches:
        for state in use(Trial(g, entry, reach=reach)).states:
            g.require(state.before.eflags & DF == 0, "the direction flag was clear at the call")
            g.expect_equal(state.eflags, 0, f"the direction flag after {entry}", mask=DF)


@case("vmi.convention.keeps-direction-clear")
def init_keeps_direction_clear(g: VmiGuest) -> None:
    """VMI_Init comes back with the direction flag clear."""
    before, after = init_registers(g)
    g.require(before.eflags & DF == 0, "the direction flag was clear at the call")
    g.expect_equal(after.eflags, 0, "the direction flag after VMI_Init", mask=DF)


def usable(g: VmiGuest, name: str) -> Unit:
    """The unit, enabled, and seen to give back what is loaded: two different images."""
    g.call("CLTS")
    unit = UNITS[name](g)
    unit.enable()
    for _ in range(2):
        loaded, saved = unit.load(), unit.save()
        for at, size, what in unit.parts:
            g.require(saved[at:at + size] == loaded[at:at + size] or what == "tag word",
                      f"the {what} can be loaded and read back")
    return unit


class Watch:
    """Loads a unit before each call of a trial and saves it behind; the pairs of images."""

    def __init__(self, unit: Unit) -> None:
        self._unit, self._images = unit, list[bytes]()

    def around(self) -> None:
        """Load or save, in turn."""
        self._images.append(self._unit.save() if len(self._images) % 2 else self._unit.load())

    def judge(self, g: VmiGuest, entry: str) -> None:
        """Expect each image saved to be the one that was loaded before."""
        g.require(len(self._images) >= 2, "the call was made")
        for before, after in zip(self._images[::2], self._images[1::2], strict=True):
            for at, size, what in self._unit.parts:
                g.expect_equal(after[at:at + size], before[at:at + size], f"the {what} after {entry}")


def keeps_unit(g: VmiGuest, name: str, entry: str) -> None:
    """Load the unit, make each use of the call, and expect it to hold what was loaded."""
    watch = Watch(usable(g, name))
    if entry in PLAIN:
        value = PLAIN[entry](g)
        watch.around()
        g.call(entry, eax=value)
        watch.around()
    else:
        use(Trial(g, entry, around=watch.around))
    watch.judge(g, entry)


@case("vmi.convention.keeps-fpu-state", for_each=returning)
def keeps_x87_state(g: VmiGuest, entry: str) -> None:
    """The control, status, tag and data registers of the x87 unit are after each use what they were."""
    keeps_unit(g, "x87", entry)


@case("vmi.convention.keeps-fpu-state", for_each=returning)
def keeps_sse_state(g: VmiGuest, entry: str) -> None:
    """XMM0 to XMM7 and MXCSR are after each use what they were."""
    keeps_unit(g, "SSE", entry)


@case("vmi.convention.keeps-fpu-state", for_each=tuple(product(TRANSFERS, UNITS)))
def transfer_keeps_units(g: VmiGuest, item: tuple[str, str]) -> None:
    """The unit holds behind a transfer to user code and its trap back what was loaded before."""
    entry, name = item
    watch = Watch(usable(g, name))
    for _ in range(2):
        watch.around()
        state = g.enter_user("user.stop") if entry == "IRET" else g.sysexit("user.stop")
        g.require(state.stopped, "user code was reached")
        watch.around()
    watch.judge(g, entry)


@case("vmi.segments.fs-gs-unused", for_each=tuple(USES))
def works_without_fs_and_gs(g: VmiGuest, entry: str) -> None:
    """The call has its effect with null selectors in FS and GS, and with segments in both that lead
    nowhere."""
    simple = entry in TRANSFERS or entry == GET_RELOCATION_INFO
    reaches = (Reach.INLINE,) if simple else (Reach.POINTER, Reach.INLINE)
    for selector, reach in product((0, elsewhere(g)), reaches):
        trial = use(Trial(g, entry, fixed={"fs": selector, "gs": selector}, reach=reach, judged=True))
        for state in trial.states:
            g.require((state.before.fs, state.before.gs) == (selector, selector), "FS and GS were loaded")
