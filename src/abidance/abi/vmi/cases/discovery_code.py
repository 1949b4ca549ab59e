# SPDX-License-Identifier: BSD-2-Clause
"""The code of the image: what its slots reach, and that it works where it is mapped."""

from __future__ import annotations

from abidance.abi.vmi.cases.bootstrap_tools import CALLS, REACHABLE, RPL, TYPE, init_registers
from abidance.abi.vmi.cases.conventions_uses import SLOT_GET_RELOCATION, TRANSFERS, rom_linear
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


@case("vmi.rom.in-place")
def works_at_another_mapping(g: VmiGuest) -> None:
    """Asked through a second mapping of the same physical pages, it answers with the same types, and
    routines that it tells in that mapping work."""
    found = image(g)
    linear, w = rom_linear(g), g.window()
    first, count = found.phys & ~(PAGE - 1), -(-found.end // PAGE) - found.phys // PAGE
    g.require(count < ENTRIES, "the image fits into a window")
    for index in range(count):
        g.map(w, index, first + index * PAGE, Pte.P | Pte.RW)
    slot = w.linear + found.phys - first + SLOT_GET_RELOCATION
    g.require(g.read(slot, 8).value == g.read(linear + SLOT_GET_RELOCATION, 8).value, "both mappings show it")
    for name in ("GetInterruptMask", "GetCR3", "SetCR2", "IRET", "Reboot"):
        state, (kind, _) = g.execute(slot, eax=g.entry_number(name)), g.fetched(name)
        g.expect_equal(state.edx, kind, f"the type of {name}", mask=TYPE)
        if name == "GetCR3" and kind in REACHABLE:
            g.expect_equal(g.execute(state.eax).eax, g.directory, "what GetCR3 returns", mask=~(PAGE - 1))
