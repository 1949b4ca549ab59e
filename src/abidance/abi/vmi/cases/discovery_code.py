# SPDX-License-Identifier: BSD-2-Clause
"""The code of the image: what its slots reach, and that it works where it is mapped."""

from __future__ import annotations

from abidance.abi.vmi.cases.bootstrap_tools import (
    CALL_REL,
    CALLS,
    REACHABLE,
    RPL,
    TYPE,
    init_registers,
    transfer_works_at,
)
from abidance.abi.vmi.cases.conventions_uses import (
    GET_RELOCATION_INFO,
    SLOT_GET_RELOCATION,
    TRANSFERS,
    USES,
    Reach,
    Trial,
    rom_linear,
    use,
)
from abidance.abi.vmi.cases.discovery_image import image
from abidance.abi.vmi.constants import ENTRIES, PAGE, Pte
from abidance.abi.vmi.guest import VmiGuest
from abidance.suite import case

__all__: list[str] = []


@case("vmi.rom.entry-slots")
def slot_80_reaches_init(g: VmiGuest) -> None:
    """A near call to offset 80h has entered paravirtual mode: it came back with 0 and the CPL declared."""
    before, after = init_registers(g)
    g.require(before.cs & 3 == 0, "VMI_Init was called at CPL 0")
    g.expect_equal(after.eax & 0xFFFF_FFFF, 0, "EAX after a near call to offset 80h")
    g.expect_equal(after.esp, before.esp, "ESP after a near call to offset 80h")
    g.expect_equal(after.cs & RPL, int(g.profile.facts["kernel_cpl"]), "the kernel's CPL directly afterwards")


@case("vmi.rom.entry-slots")
def slot_88_reaches_the_query(g: VmiGuest) -> None:
    """A near call to offset 88h tells of each call: those that the target offers, and apart."""
    slot = rom_linear(g) + SLOT_GET_RELOCATION
    numbered = [entry for entry in g.spec.entries if entry.number is not None]
    offered = [entry.name for entry in numbered if entry.name in g.profile.offers]
    answers = {name: g.execute(slot, eax=g.entry_number(name)) for name in offered}
    kinds = {name: state.edx & TYPE for name, state in answers.items()}
    g.expect(any(kinds.values()) or not offered, "the calls that the target offers",
             expected="at least one of another type than NONE", seen=str(kinds))
    different = {(kinds[name], state.eax) for name, state in answers.items()}
    g.expect(len(different) > 1 or len(offered) < len(TRANSFERS), "the answers depend on the call asked for",
             seen=f"{len(different)} answer for {len(offered)} calls")
    told: dict[int, str] = {}
    for name in ("IRET", "SYSEXIT", "EnableInterrupts", "DisableInterrupts"):
        if kinds.get(name) in REACHABLE:
            address = answers[name].eax
            g.expect(address not in told, f"the routine of {name} is one of its own",
                     seen=f"that of {told.get(address)}")
            told[address] = name


@case("vmi.rom.in-place")
def works_where_it_is_mapped(g: VmiGuest) -> None:
    """At the linear address where the kernel maps it, which is not its physical one, the code works, and
    no routine is told by its physical address."""
    found, linear = image(g), rom_linear(g)
    g.require(linear != found.phys, "the image is mapped at another address than its physical one")
    states = [g.relocation(number) for number in range(CALLS)]
    for number, state in enumerate(states):
        if state.edx & TYPE in REACHABLE:
            g.expect(not found.phys <= state.eax < found.end,
                     f"the routine of call {number} is where it is mapped", seen=f"{state.eax:#x}")
    for name in ("GetInterruptMask", "GetCR3", "GetCR2"):
        if g.fetched(name)[0] in REACHABLE:
            g.expect_returned(g.call(name), f"{name} works there")


def second_mapping(g: VmiGuest) -> tuple[int, int, int]:
    """Map the image's physical pages a second time, one page apart from where 4 MiB begin: how far it lies
    from the first mapping, and where the image begins and ends in the first."""
    found, linear, w = image(g), rom_linear(g), g.window()
    first, count = found.phys & ~(PAGE - 1), -(-found.end // PAGE) - found.phys // PAGE
    g.require(count < ENTRIES, "the image fits into a window")
    for index in range(count):
        g.map(w, index + 1, first + index * PAGE, Pte.P | Pte.RW)
    there = w.at(1) + found.phys - first
    shown = [g.read(at, found.end - found.phys) for at in (linear, there)]
    g.require(shown[0].value == shown[1].value, "both mappings show the image")
    return there - linear, linear, linear + found.end - found.phys


@case("vmi.rom.in-place")
def query_works_at_another_mapping(g: VmiGuest) -> None:
    """Asked at offset 88h of a second mapping, it answers every number with the type it has."""
    away, linear, _ = second_mapping(g)
    slot = linear + away + SLOT_GET_RELOCATION
    states = {number: g.execute(slot, eax=number) for number in range(CALLS)}
    for number, state in states.items():
        g.expect_equal(state.edx, g.fetched(number)[0], f"the type of call {number}", mask=TYPE)


@case("vmi.rom.in-place", for_each=tuple(name for name in USES if name != GET_RELOCATION_INFO))
def routines_work_at_another_mapping(g: VmiGuest, entry: str) -> None:
    """What is told through a second mapping carries the call out, and so does a routine inside the image
    when it is reached at its place in the second mapping."""
    away, start, end = second_mapping(g)
    slot = start + away + SLOT_GET_RELOCATION
    state, (kind, told) = g.execute(slot, eax=g.entry_number(entry)), g.fetched(entry)
    g.expect_equal(state.edx, kind, f"the type of {entry}", mask=TYPE)
    addresses = {state.eax} | ({told + away} if start <= told < end else set())
    for address in sorted(addresses if kind in REACHABLE else ()):
        if entry in TRANSFERS:
            transfer_works_at(g, entry, kind, address, 0)
        elif kind == CALL_REL:
            trial = Trial(g, entry, judged=True)
            trial.reach, trial.asked, trial.when = Reach.ASKED, address, f" at {address:#x}"
            use(trial)
            g.call("SetCR3", eax=g.directory)
            g.interrupts_off()
