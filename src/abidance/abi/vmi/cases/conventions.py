# SPDX-License-Identifier: BSD-2-Clause
"""What holds for every call beside its own effect: the direction flag, the x87 unit, FS and GS."""

from __future__ import annotations

from itertools import product
from typing import TYPE_CHECKING

from abidance.abi.vmi.cases.bootstrap_tools import init_registers
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
FRSTOR_FNSAVE = 108
"""Bytes of an x87 image in 32-bit protected mode."""
SAVED = ((0, 2, "control word"), (4, 2, "status word"), (8, 2, "tag word"), (28, 80, "data registers"))
"""The parts of it that instructions of the x87 unit itself do not change behind the guest's back."""
LOAD_X87, SAVE_X87 = b"\xDD\x20\xC3", b"\xDD\x30\x9B\xC3"
"""FRSTOR (%EAX); RET and FNSAVE (%EAX); FWAIT; RET."""

PLAIN = {"SetCR0": lambda g: g.call("GetCR0").eax,
         "CLTS": lambda g: g.poison(), "GetCR0": lambda g: g.poison()}
"""EAX for calls whose uses set TS, under which the x87 unit could not be loaded: they are made alone."""

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


class X87:
    """Code of a case's own that loads and saves the state of the x87 unit."""

    def __init__(self, g: VmiGuest) -> None:
        self._g, self._pages = g, [g.direct(g.page()) for _ in range(2)]
        code = g.direct(g.page())
        self._load, self._save = code, code + 16
        g.write(self._load, LOAD_X87)
        g.write(self._save, SAVE_X87)

    def load(self) -> bytes:
        """Load a state with other values in every register each time; the image loaded."""
        image = bytearray(FRSTOR_FNSAVE)
        image[0:2] = (0x037F ^ self._g.rng.choice((0, 0x0300, 0x0C00))).to_bytes(2, "little")
        image[4:6] = (self._g.rng.randrange(8) << 11).to_bytes(2, "little")
        for at in range(28, FRSTOR_FNSAVE, 10):
            mantissa = self._g.rng.getrandbits(63) | 1 << 63
            image[at:at + 8] = mantissa.to_bytes(8, "little")
            image[at + 8:at + 10] = self._g.rng.randrange(0x3F00, 0x40FF).to_bytes(2, "little")
        self._g.write(self._pages[0], bytes(image))
        self._g.execute(self._load, eax=self._pages[0])
        return bytes(image)

    def save(self) -> bytes:
        """The state now; the unit is initialised by it."""
        self._g.execute(self._save, eax=self._pages[1])
        return self._g.read(self._pages[1], FRSTOR_FNSAVE).value


@case("vmi.convention.keeps-fpu-state", for_each=returning)
def keeps_x87_state(g: VmiGuest, entry: str) -> None:
    """The control, status, tag and data registers of the x87 unit are after each use what they were."""
    g.call("CLTS")
    unit = X87(g)
    first = unit.load()
    g.require(unit.save()[28:] == first[28:], "what is loaded into the x87 unit can be read back")
    images: list[bytes] = []

    def around() -> None:
        images.append(unit.load() if not len(images) % 2 else unit.save())

    if entry in PLAIN:
        around()
        g.call(entry, eax=PLAIN[entry](g))
        around()
    else:
        use(Trial(g, entry, around=around))
    g.require(len(images) >= 2, "the call was made")
    for before, after in zip(images[::2], images[1::2], strict=True):
        for at, size, what in SAVED:
            g.expect_equal(after[at:at + size], before[at:at + size], f"the {what} after {entry}")


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
