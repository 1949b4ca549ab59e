# SPDX-License-Identifier: BSD-2-Clause
"""VMI_GetRelocationInfo: what it may answer, and that the answers lead somewhere."""

from __future__ import annotations

from typing import TYPE_CHECKING

from abidance.abi.vmi.cases.bootstrap_later import LATER
from abidance.abi.vmi.cases.bootstrap_tools import (
    CALL_REL,
    CALLS,
    JUMP_REL,
    NONE,
    NOP,
    REACHABLE,
    TYPE,
    transfer_works_at,
)
from abidance.abi.vmi.cases.conventions_uses import (
    SLOT_GET_RELOCATION,
    TRANSFERS,
    USES,
    Reach,
    Trial,
    rom_linear,
    use,
)
from abidance.abi.vmi.cases.interrupts_tools import pending, timers
from abidance.abi.vmi.constants import IF, PAGE, Cr0, Vector
from abidance.abi.vmi.guest import VmiGuest
from abidance.suite import StateHandle, case

if TYPE_CHECKING:
    from abidance.spec import Specification

__all__: list[str] = []

BEYOND = (74, 75, 80, 127, 128, 255, 256, 256 + 29, 256 + 33, 1023, 0x1_0000 + 31, 0x7FFF_FFFF, 0x8000_0000,
          0x8000_0000 + 17, 0xFFFF_0000, 0xFFFF_FFFF)
"""Numbers of no call: next to the last, where bytes, words and signs end, and ones whose low bits are a
call's number."""
UNTRAPPABLE = ("GetInterruptMask", "SetInterruptMask", "IRET")


def ask(g: VmiGuest, number: int) -> StateHandle:
    """Ask for a call number, with everything else in the registers poisoned."""
    return g.execute(rom_linear(g) + SLOT_GET_RELOCATION, eax=number)


def ask_all(g: VmiGuest, numbers: range | tuple[int, ...] = range(CALLS)) -> dict[int, StateHandle]:
    """Ask for each of these numbers."""
    slot = rom_linear(g) + SLOT_GET_RELOCATION
    return {number: g.execute(slot, eax=number) for number in numbers}


def kind_of(state: StateHandle) -> int:
    """The type in an answer."""
    return state.edx & TYPE


def kinds(g: VmiGuest) -> dict[str, int]:
    """The type told for each call of the table, by name."""
    numbered = {entry.name: entry.number for entry in g.spec.entries if entry.number is not None}
    answers = ask_all(g)
    return {name: kind_of(answers[number]) for name, number in numbered.items()}


def returning(spec: Specification) -> list[str]:
    """The calls with uses that return to their caller."""
    return [entry.name for entry in spec.entries
            if entry.number is not None and entry.name in USES and entry.name not in TRANSFERS]


# -- the answer ---------------------------------------------------------------------------------------


@case("vmi.GetRelocationInfo.type-defined")
def type_is_defined(g: VmiGuest) -> None:
    """The low byte of EDX is 0, 1, 2 or 3 for every call number, and for numbers of no call."""
    for number, state in ask_all(g, (*range(CALLS), *BEYOND)).items():
        g.expect(kind_of(state) in (NONE, CALL_REL, JUMP_REL, NOP), f"the type of call {number:#x}",
                 expected="0, 1, 2 or 3", seen=kind_of(state))


@case("vmi.GetRelocationInfo.address-callable", for_each=returning)
def address_carries_the_call_out(g: VmiGuest, entry: str) -> None:
    """A near call to the address told has the effect of the call."""
    kind = kind_of(ask(g, g.entry_number(entry)))
    if kind == JUMP_REL:
        g.not_tested("a routine that is jumped to has no address to return to")
    if kind != CALL_REL:
        nothing_to_call(g, entry)
        return
    use(Trial(g, entry, reach=Reach.ASKED, judged=True))


@case("vmi.GetRelocationInfo.address-callable", for_each=tuple(TRANSFERS))
def address_carries_the_transfer_out(g: VmiGuest, entry: str) -> None:
    """A call or a jump, as the type says, to the address told makes the transfer."""
    answer = ask(g, g.entry_number(entry))
    if kind_of(answer) not in REACHABLE:
        nothing_to_call(g, entry)
        return
    for flag in (0, IF):
        transfer_works_at(g, entry, kind_of(answer), answer.eax, flag)
    use(Trial(g, entry, judged=True))


def nothing_to_call(g: VmiGuest, entry: str) -> None:
    """A call that is not told as CALL_REL or JUMP_REL needs no address: see that it is so told twice."""
    again = kind_of(ask(g, g.entry_number(entry)))
    g.expect(again in (NONE, NOP), f"the type of {entry}, which is not reached by an address", seen=again)


@case("vmi.GetRelocationInfo.unknown-is-none")
def unknown_is_none(g: VmiGuest) -> None:
    """Numbers from 74 on are answered NONE, also those that equal a call's number in their low bits."""
    known = [number for number, state in ask_all(g).items() if kind_of(state) != NONE]
    g.require(bool(known), "some call is answered otherwise")
    shifted = tuple(number + (1 << bit) for number in known for bit in (7, 8, 16, 24, 31))
    for number, state in ask_all(g, (*range(CALLS, 0x100), *BEYOND, *shifted)).items():
        g.expect_equal(kind_of(state), NONE, f"the type of call number {number:#x}")


@case("vmi.GetRelocationInfo.stable")
def answers_are_stable(g: VmiGuest) -> None:
    """The same type and address, whatever is in the other registers, after calls, in either order."""
    first = ask_all(g)
    slot = rom_linear(g) + SLOT_GET_RELOCATION
    second = {number: g.execute(slot, eax=number, edx=0xFFFF_FFFF, ecx=0)
              for number in reversed(range(CALLS))}
    g.interrupts_on()
    g.call("SetCR3", eax=g.copy_directory())
    g.call("SetLazyMode", eax=0)
    g.enter_user("user.stop")
    third = ask_all(g)
    for number, state in first.items():
        told = g.fetched(number)
        for when, other in (("at first", state), ("the second time", second[number]),
                            ("after other calls", third[number])):
            g.expect_equal((kind_of(other), other.eax), told, f"type and address of call {number} {when}")


@case("vmi.GetRelocationInfo.idempotent")
def asking_changes_nothing(g: VmiGuest) -> None:
    """The flag, the control registers, mappings and later answers are as before, however often it asks."""
    mark = g.poison()
    linear = g.map(g.window(), 1, g.page_with(mark))
    names = ("GetCR0", "GetCR2", "GetCR3", "GetCR4")
    g.call("SetCR2", eax=g.poison())
    before = [g.call(name).eax for name in names]
    for on in (True, False):
        turned = g.interrupts_on() if on else g.interrupts_off()
        answers = ask_all(g, (*range(CALLS), *BEYOND))
        last = list(answers.values())[-1]
        wanted, turned_to = IF if on else 0, turned.mask_after
        g.require(turned_to is not None and turned_to & IF == wanted, "the flag was as wanted")
        g.expect_equal(last.mask_after or 0, wanted, "the virtual flag after asking", mask=IF)
        for number in range(CALLS):
            later = (kind_of(answers[number]), answers[number].eax)
            g.expect_equal(later, g.fetched(number), f"a later answer for call {number}")
    for name, value in zip(names, before, strict=True):
        g.expect_equal(g.call(name).eax, value, f"{name} after asking")
    g.expect_equal(g.read32(linear), mark, "a mapped page after asking")


@case("vmi.GetRelocationInfo.idempotent", for_each=("clear", "set"))
def asking_leaves_what_was_set(g: VmiGuest, ts: str) -> None:
    """What the guest has set itself since start is in force after asking: TS either way, another
    directory, CR2, segments, the controllers' masks, a pending interrupt."""
    wanted = int(Cr0.TS) if ts == "set" else 0
    here, mark, address = g.window(), g.poison(), g.poison()
    g.map(here, 0, g.page_with(g.poison()))
    there = g.window(directory=g.copy_directory(), linear=here.linear)
    g.map(there, 0, g.page_with(mark))
    pending(g)
    g.call("SetCR3", eax=there.directory)
    g.call("SetCR0", eax=g.call("GetCR0").eax & ~Cr0.TS | wanted)
    g.call("SetCR2", eax=address)
    shown = [g.call(name).eax for name in ("GetCR0", "GetCR4")]
    g.require(shown[0] & Cr0.TS == wanted, f"TS was {ts} before")
    g.log()
    states = ask_all(g, (*range(CALLS), *BEYOND))
    cr0, cr2, cr3, cr4 = (g.call(f"GetCR{number}") for number in (0, 2, 3, 4))
    seen, masks = g.read32(here.linear), g.port_in(0x21)
    unit = g.execute("kernel.fpu", may_fault=True)
    early = timers(g.log())
    g.expect_equal(cr0.eax, shown[0], "CR0 after asking")
    g.expect_equal(cr2.eax, address, "CR2 after asking")
    g.expect_equal(cr3.eax, there.directory, "the base in CR3 after asking", mask=~(PAGE - 1))
    g.expect_equal(cr4.eax, shown[1], "CR4 after asking")
    g.expect_equal(seen, mark, "the page seen through the directory that was loaded")
    g.expect_equal(masks, 0xFE, "the mask of the interrupt controller after asking")
    g.expect_equal(unit.vector or 0, Vector.NM if wanted else 0, "the vector that an x87 instruction raises")
    g.expect_equal(len(early), 0, "pending interrupts delivered by asking")
    for state in states.values():
        for name in ("ds", "es", "fs", "gs", "ss", "cs"):
            g.expect_equal(state.after[name], state.before[name], f"{name} after {state.text}")
    g.interrupts_on()
    g.execute("kernel.nops")
    g.expect_equal(len(timers(g.log())), 1, "pending interrupts delivered once the flag is set")


@case("vmi.GetRelocationInfo.reserved-bits-clear")
def reserved_bits_are_clear(g: VmiGuest) -> None:
    """Bits 31 to 8 of EDX are zero, whatever EDX held at the call."""
    for number, state in ask_all(g, (*range(CALLS), *BEYOND)).items():
        g.expect_equal(state.edx >> 8, 0, f"bits 31 to 8 of EDX for call {number:#x}")


@case("vmi.GetRelocationInfo.none-address-zero")
def none_has_no_address(g: VmiGuest) -> None:
    """EAX is zero where the type is NONE."""
    for number, state in ask_all(g, (*range(CALLS), *BEYOND)).items():
        if kind_of(state) == NONE:
            g.expect_equal(state.eax, 0, f"the address of call {number:#x}, which is answered NONE")


# -- the types ----------------------------------------------------------------------------------------


@case("vmi.relocation.none-keeps-native")
def native_instructions_work(g: VmiGuest) -> None:
    """For each call answered NONE the native instructions have the effect of the call."""
    told = kinds(g)
    absent = [name for name in USES if told.get(name) == NONE and g.spec.entry(name).relocations]
    if not absent:
        some_native(g, told)
    for name in absent:
        use(Trial(g, name, reach=Reach.NATIVE, judged=True))
        g.interrupts_off()
        g.call("SetCR3", eax=g.directory)


@case("vmi.relocation.none-keeps-native", for_each=tuple(LATER))
def native_instructions_of_later_calls_work(g: VmiGuest, names: tuple[str, ...]) -> None:
    """So have those of the calls that this edition only names, where all of them are answered NONE."""
    told = kinds(g)
    if all(told[name] == NONE for name in names):
        LATER[names](g)
    else:
        some_native(g, told)


def some_native(g: VmiGuest, told: dict[str, int]) -> None:
    """Where what was to be looked at is offered: the first calls that are not, if there are any."""
    absent = [names for names in LATER if all(told[name] == NONE for name in names)]
    if not absent:
        g.skip("every call whose native form is plain is offered")
    LATER[absent[0]](g)


@case("vmi.relocation.untrappable-offered", for_each=UNTRAPPABLE)
def untrappable_is_offered(g: VmiGuest, entry: str) -> None:
    """With the kernel above CPL 0 the call whose native form does not trap is not answered NONE."""
    g.require(g.execute("kernel.pushcs").eax & 3 != 0, "the kernel runs above CPL 0")
    kind = kind_of(ask(g, g.entry_number(entry)))
    g.expect(kind != NONE, f"the type of {entry}", expected="another than 0 (NONE)", seen=kind)


@case("vmi.relocation.transfer-types", for_each=tuple(TRANSFERS))
def transfer_is_no_nop(g: VmiGuest, entry: str) -> None:
    """The transfer is not answered NOP."""
    kind = kind_of(ask(g, g.entry_number(entry)))
    g.expect(kind != NOP, f"the type of {entry}", expected="another than 3 (NOP)", seen=kind)


@case("vmi.relocation.jump-only-for-transfers")
def only_transfers_are_jumps(g: VmiGuest) -> None:
    """No call but IRET and SYSEXIT is answered JUMP_REL."""
    for name, kind in kinds(g).items():
        if name not in TRANSFERS:
            g.expect(kind != JUMP_REL, f"the type of {name}", expected="another than 2 (JUMP_REL)", seen=kind)


@case("vmi.relocation.nop-means-nothing")
def nop_means_nothing(g: VmiGuest) -> None:
    """Leaving out each call that is answered NOP has the effect of the call."""
    told = kinds(g)
    needless = [name for name in USES if told.get(name) == NOP]
    later = [names for names in LATER if any(told[name] == NOP for name in names)]
    if not needless and not later:
        g.skip("no call whose effect can be seen is answered NOP")
    for names in later:
        LATER[names](g)
    for name in needless:
        trial = use(Trial(g, name, reach=Reach.INLINE, judged=True))
        for state in trial.states:
            g.require(state.target_kind == NOP, "the call was left out")
            g.expect_returned(state)


@case("vmi.relocation.nop-not-for-results")
def results_are_no_nops(g: VmiGuest) -> None:
    """No call that returns a result is answered NOP."""
    told = kinds(g)
    for entry in g.spec.entries:
        if entry.number is not None and entry.results:
            kind = told[entry.name]
            g.expect(kind != NOP, f"the type of {entry.name}", expected="another than 3 (NOP)", seen=kind)


@case("vmi.relocation.transfer-offered", for_each=tuple(TRANSFERS))
def transfer_is_offered(g: VmiGuest, entry: str) -> None:
    """The transfer is told by an address, and it works."""
    kind = kind_of(ask(g, g.entry_number(entry)))
    if g.expect(kind != NONE, f"the type of {entry}", expected="another than 0 (NONE)", seen=kind):
        use(Trial(g, entry, judged=True))
