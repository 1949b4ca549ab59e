# SPDX-License-Identifier: BSD-2-Clause
"""The clauses stamped on every entry point: what a call preserves, which memory it leaves alone, and
which segments it can do without. The uses are those of `conventions_uses`, on quick and on slow paths,
by pointer and by patched site, with registers that hold something else at each call."""

from __future__ import annotations

from itertools import product
from typing import TYPE_CHECKING

from abidance.abi.vmi.cases import conventions_uses
from abidance.abi.vmi.cases.bootstrap_tools import SEGMENTS, init_registers
from abidance.abi.vmi.cases.conventions_memory import MemoryWatch
from abidance.abi.vmi.cases.conventions_uses import (
    GET_RELOCATION_INFO,
    TRANSFERS,
    Reach,
    Trial,
    elsewhere,
    use,
)
from abidance.abi.vmi.constants import PAGE
from abidance.abi.vmi.guest import VmiGuest
from abidance.suite import StateHandle, case

if TYPE_CHECKING:
    from abidance.spec import Specification

__all__: list[str] = []

GENERAL = ("ebx", "esi", "edi", "ebp", "esp")
INIT = "Init"


def stamped(spec: Specification, template: str) -> list[str]:
    """The entry points with uses, and Init, on which a template has stamped its clause."""
    ids = {clause.id for clause in spec.clauses if clause.stamped}
    return [entry.name for entry in spec.entries
            if f"vmi.{entry.name}.{template}" in ids and entry.name in (*conventions_uses.USES, INIT)]


def returning(spec: Specification) -> list[str]:
    """The entry points that must preserve EBX; Init has a case of its own."""
    return [name for name in stamped(spec, "preserves-ebx") if name != INIT]


def keeps_segments(spec: Specification) -> list[str]:
    """The entry points that must preserve the segment registers."""
    return stamped(spec, "preserves-segments")


def takes_stack_words(spec: Specification) -> list[str]:
    """The entry points of `writes_no_memory` that take arguments on the stack."""
    named = set(stamped(spec, "writes-no-memory"))
    return [entry.name for entry in spec.entries
            if entry.name in named and any(str(item.where).startswith("stack") for item in entry.inputs)]


def trials(g: VmiGuest, entry: str, **fixed: int) -> list[StateHandle]:
    """Every use of an entry point, by pointer and by patched site."""
    reaches = (Reach.POINTER,) if entry == GET_RELOCATION_INFO else (Reach.POINTER, Reach.INLINE)
    return [state for reach in reaches for state in use(Trial(g, entry, fixed=fixed, reach=reach)).states]


@case(*(f"vmi.{{item}}.preserves-{name}" for name in GENERAL), for_each=returning)
def preserves_general(g: VmiGuest, entry: str) -> None:
    """EBX, ESI, EDI and EBP hold after each use what they held before it, and ESP is where it was."""
    states = trials(g, entry)
    g.require(len({state.before.ebx for state in states}) == len(states), "each call is given other values")
    for state in states:
        for name in GENERAL:
            g.expect_preserved(state, name, clause=f"vmi.{entry}.preserves-{name}")


@case("vmi.{item}.preserves-segments", for_each=keeps_segments)
def preserves_segments(g: VmiGuest, entry: str) -> None:
    """CS, SS, DS, ES, FS and GS hold after each use what they held before it, whichever selectors FS
    and GS hold: of user code, of the kernel, or none."""
    user, kernel = g.selector("user.ds"), g.selector("kernel.ds")
    for fs, gs in ((user, kernel), (kernel, 0), (0, user)):
        for state in trials(g, entry, fs=fs, gs=gs):
            g.require((state.before.fs, state.before.gs) == (fs, gs), "FS and GS were loaded")
            g.expect_preserved(state, *SEGMENTS)


@case("vmi.{item}.preserves-eax", for_each=lambda spec: stamped(spec, "preserves-eax"))
def preserves_eax(g: VmiGuest, entry: str) -> None:
    """EAX holds after each use what it held before it."""
    for state in trials(g, entry):
        g.expect_preserved(state, "eax")


@case("vmi.{item}.preserves-ecx", "vmi.{item}.preserves-edx",
      for_each=lambda spec: stamped(spec, "preserves-ecx"))
def preserves_ecx_and_edx(g: VmiGuest, entry: str) -> None:
    """ECX and EDX hold after each use what they held before it, also when an interrupt was delivered."""
    for state in trials(g, entry):
        for name in ("ecx", "edx"):
            g.expect_preserved(state, name, clause=f"vmi.{entry}.preserves-{name}")


@case("vmi.Init.preserves-*")
def init_preserves(g: VmiGuest) -> None:
    """EBX, ESI, EDI, EBP and ESP hold after VMI_Init what they held before it."""
    before, after = init_registers(g)
    for name in GENERAL:
        g.require(before[name] != 0, f"{name} held something at the call")
        g.expect_equal(after[name], before[name], f"{name} after VMI_Init",
                       clause=f"vmi.Init.preserves-{name}")


@case("vmi.{item}.needs-no-data-segments",
      for_each=lambda spec: stamped(spec, "needs-no-data-segments"))
def needs_no_data_segments(g: VmiGuest, entry: str) -> None:
    """The call has its effect with null selectors in DS and ES, by pointer and by patched site, and, as
    some engines let null selectors through, with segments in both that lead nowhere."""
    reaches = (Reach.INLINE,) if entry in TRANSFERS else (Reach.POINTER, Reach.INLINE)
    for selector, reach in product((0, elsewhere(g)), reaches):
        trial = use(Trial(g, entry, fixed={"ds": selector, "es": selector}, reach=reach, judged=True))
        for state in trial.states:
            g.require((state.before.ds, state.before.es) == (selector, selector), "DS and ES were loaded")


@case("vmi.{item}.writes-no-memory", for_each=lambda spec: stamped(spec, "writes-no-memory"))
def writes_no_memory(g: VmiGuest, entry: str) -> None:
    """Tables, descriptors, the image, user pages and the pages of the case are the same before and after
    each use, as are the words above the caller's stack pointer."""
    watch = MemoryWatch(g)
    trial = use(Trial(g, entry, around=watch.look))
    watch.expect_unchanged(f"by {entry}")
    for state in trial.states:
        g.expect_returned(state)
        g.expect(not state.canary_bad, "the caller's stack above the arguments is left alone")


@case("vmi.{item}.writes-no-memory", for_each=takes_stack_words)
def leaves_stack_arguments(g: VmiGuest, entry: str) -> None:
    """The arguments that the caller has put on the stack are after the call what they were."""
    pages = g.hello.number("ram.size") // PAGE
    for word in (0, g.poison() & 0xFFF):
        regs = {"eax": 0, "edx": g.direct(0), "ecx": pages}
        at = g.call_with(regs, entry, stack=(word,)).before.esp
        state = g.call_with(regs, entry, stack=(word,))
        after = g.read32(at)
        g.require(state.before.esp == at, "the argument lies where it lay before")
        g.expect_equal(after, word, "the argument on the stack after the call")
