# SPDX-License-Identifier: BSD-2-Clause
"""VMI_Init: what it answers, and in which state it leaves the kernel."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING

from abidance.abi.vmi.cases.bootstrap_tools import (
    JUMP_REL,
    NONE,
    NULL,
    RPL,
    SEGMENTS,
    TYPE,
    init_registers,
    init_status,
)
from abidance.abi.vmi.cases.conventions_uses import TRANSFERS, USES, Reach, Trial, use
from abidance.abi.vmi.cases.interrupts_tools import quiet
from abidance.abi.vmi.constants import IF, PAGE, Cr0, Vector
from abidance.abi.vmi.guest import VmiGuest
from abidance.kernel import LogKind
from abidance.suite import StateHandle, case

if TYPE_CHECKING:
    from abidance.spec import Specification

__all__: list[str] = []

FAILED = 0xFFFF_FFFF
SUCCEEDS = "VMI_Init succeeds on this target, and the document names no way to make it fail"
AT_START = Cr0.PG | Cr0.WP | Cr0.NE | Cr0.MP | Cr0.PE | 0x10
"""CR0 as the test kernel loads it before VMI_Init."""
CR0_COUNTS = AT_START & ~0x10
PAE = 0x20
TURNS = 0x1000
"""Turns of a loop during which an interrupt that is not held back would come."""


def called(spec: Specification) -> list[str]:
    """The calls of the table that have uses."""
    return [entry.name for entry in spec.entries if entry.number is not None and entry.name in USES]


@case("vmi.Init.success-is-zero")
def zero_means_entered(g: VmiGuest) -> None:
    """VMI_Init has returned 0, and the kernel runs as the target declares; or another value, and it
    runs at CPL 0 as before."""
    before, after = init_registers(g)
    g.require(before.cs & RPL == 0, "VMI_Init was called at CPL 0")
    declared, seen = int(g.profile.facts["kernel_cpl"]), after.cs & RPL
    if after.eax == 0:
        g.expect_equal(seen, declared, "the kernel's CPL after VMI_Init has returned 0")
        return
    g.expect_equal(seen, 0, "the kernel's CPL after VMI_Init has returned another value than 0")
    if seen == 0:
        g.not_tested(f"VMI_Init returned {after.eax:#x}: the guest has not entered paravirtual mode")


@case("vmi.Init.success-is-zero")
def zero_makes_calls_work(g: VmiGuest) -> None:
    """After 0 the calls offered answer: control registers as the kernel had loaded them, its directory."""
    if init_status(g):
        g.not_tested(f"VMI_Init returned {init_status(g):#x}")
    cr0, cr3, cr4 = (g.call(name) for name in ("GetCR0", "GetCR3", "GetCR4"))
    g.expect_equal(cr0.eax, AT_START, "CR0 after VMI_Init", mask=CR0_COUNTS)
    g.expect_equal(cr3.eax, g.hello.number("kernel.cr3"), "the base of CR3 after VMI_Init", mask=~(PAGE - 1))
    g.expect_equal(cr4.eax, 0, "PAE in CR4 after VMI_Init", mask=PAE)


@case("vmi.Init.failure-value")
def failure_is_minus_one(g: VmiGuest) -> None:
    """A failing VMI_Init returns FFFFFFFFh."""
    status = init_status(g)
    if status == 0:
        g.not_tested(SUCCEEDS)
    g.expect_equal(status, FAILED, "EAX after VMI_Init failed")


@case("vmi.Init.failure-recoverable")
def failure_leaves_native_state(g: VmiGuest) -> None:
    """After a failing VMI_Init the kernel is at CPL 0 with the segments, control registers, tables and
    interrupt flag it had, and its native instructions work."""
    before, after = init_registers(g)
    if after.eax == 0:
        g.not_tested(SUCCEEDS)
    for name in SEGMENTS:
        g.expect_equal(after[name], before[name], f"{name} after VMI_Init failed")
    registers = {name: g.execute(f"kernel.rd{name}") for name in ("cr0", "cr3", "cr4")}
    g.expect_equal(registers["cr0"].eax, AT_START, "CR0 after VMI_Init failed", mask=CR0_COUNTS)
    g.expect_equal(registers["cr3"].eax, g.hello.number("kernel.cr3"), "CR3 after VMI_Init failed")
    g.expect_equal(registers["cr4"].eax, 0, "CR4 after VMI_Init failed")
    g.expect_equal(g.execute("kernel.pushf").eax, 0, "the interrupt flag after VMI_Init failed", mask=IF)
    expect_exceptions(g)
    g.expect_returned(g.execute("kernel.wrcr3", eax=registers["cr3"].eax), "a native MOV to CR3 works")


@case("vmi.Init.selectors-differ-in-rpl")
def selectors_differ_in_rpl(g: VmiGuest) -> None:
    """The segment registers hold after VMI_Init what they held, but for an RPL raised to the kernel's CPL."""
    before, after = init_registers(g)
    if after.eax:
        g.not_tested(f"VMI_Init returned {after.eax:#x}")
    cpl = after.cs & RPL
    for name in SEGMENTS:
        old, new = before[name], after[name]
        g.expect_equal(new, old, f"{name} after VMI_Init, RPL apart", mask=0xFFFF ^ RPL)
        raised = new & RPL == cpl and old & RPL <= cpl and old & NULL != 0
        g.expect(new == old or raised, f"the RPL of {name} after VMI_Init",
                 expected=f"{old & RPL}, or raised to {cpl}", seen=new & RPL)


@case("vmi.Init.keeps-address-space")
def keeps_every_page_apart(g: VmiGuest) -> None:
    """Each page of the kernel's map of the arena is a page of its own, which can be read and written."""
    base, size = g.hello.number("arena.base"), g.hello.number("arena.size")
    pages = range(g.direct(base), g.direct(base + size), PAGE)
    marks = {linear: g.poison() for linear in pages}
    for linear, mark in marks.items():
        g.write32(linear + (mark & 0xFFC), mark)
    reads = {linear: g.read32(linear + (mark & 0xFFC)) for linear, mark in marks.items()}
    g.require(len(set(marks.values())) == len(marks), "the marks differ")
    wrong = [linear for linear, mark in marks.items() if reads[linear].value != mark]
    g.expect(not wrong, "each page of the arena holds its own mark",
             seen=f"{len(wrong)} do not, the first {wrong[0]:#x}" if wrong else None)


@case("vmi.Init.keeps-address-space")
def keeps_second_mappings(g: VmiGuest) -> None:
    """The pages of user code, data and stack are seen at their user address as in the direct map, both
    ways, and by user code."""
    places = {name: g.hello.number(f"user.{name}") for name in ("data", "stack")}
    places["stack"] -= PAGE
    for offset in (0x0, 0xFFC):
        for name, linear in places.items():
            there = g.direct(g.hello.number(f"user.{name}.phys"))
            first, second = g.poison(), g.poison()
            g.write32(linear + offset, first)
            up = g.read32(there + offset)
            g.write32(there + offset, second)
            down = g.read32(linear + offset)
            g.expect_equal(up, first, f"the user's {name} in the direct map")
            g.expect_equal(down, second, f"the user's {name} at its own address")
            loaded = g.enter_user("user.load", eax=linear + offset)
            g.expect_equal(loaded.ebx, second, "what user code loads there")
    code, direct = g.hello.number("user.code"), g.direct(g.hello.number("user.code.phys"))
    same = g.read(code, PAGE).value == g.read(direct, PAGE).value
    g.expect(same, "the user's code is the same at both places")


@case("vmi.Init.calls-live-on-return", for_each=called)
def calls_live_on_return(g: VmiGuest, entry: str) -> None:
    """The call works and has its effect in the state that VMI_Init and the queries have left."""
    if init_status(g):
        g.not_tested(f"VMI_Init returned {init_status(g):#x}")
    if g.fetched(entry)[0] == NONE:
        kind = g.relocation(g.entry_number(entry)).edx & TYPE
        g.expect_equal(kind, NONE, f"the type of {entry}, which was not offered")
        return
    if g.fetched(entry)[0] == JUMP_REL and entry not in TRANSFERS:
        g.not_tested("a routine that is jumped to has no address to return to")
    if entry in FIRST:
        first = FIRST[entry](g)
        g.expect_returned(first, f"{entry} returns as the very first call")
    use(Trial(g, entry, reach=Reach.INLINE, judged=True))


@case("vmi.Init.keeps-interrupts-off")
def keeps_interrupts_off(g: VmiGuest) -> None:
    """The virtual flag is clear at the first look, and a timer that has run out is held back."""
    before, _ = init_registers(g)
    g.require(before.eflags & IF == 0, "VMI_Init was entered with the interrupt flag clear")
    first = g.call("GetInterruptMask")
    g.expect_equal(first.eax, 0, "the mask in the first call after VMI_Init", mask=IF)
    frame = g.execute("kernel.stop")
    g.expect_equal(frame.eflags, 0, "the flag in the frame of a trap", mask=IF)


@case("vmi.Init.keeps-interrupts-off")
def holds_a_timer_back(g: VmiGuest) -> None:
    """Without any call since VMI_Init a timer that has run out is not delivered."""
    g.pending_timer()
    spun = g.execute("kernel.spin", ecx=TURNS)
    g.expect_equal(spun.irqs, 0, "interrupts delivered before any call has enabled them")


@case("vmi.Init.keeps-exception-delivery")
def exceptions_arrive(g: VmiGuest) -> None:
    """Exceptions of the kernel and of user code arrive at the gates that were loaded natively, on the
    stack that the TSS names."""
    expect_exceptions(g)
    g.log()
    g.enter_user("user.int80", may_fault=True)
    entries = [entry for entry in g.log() if entry.vector == 0x80]
    g.expect_equal(len(entries), 1, "traps logged by the gate of vector 80h")
    esp0 = g.read32(g.hello.number("kernel.tss") + 4).value
    g.expect_equal(g.read32(esp0 - 8), g.user_stack, "the user's ESP in the frame below the TSS's ESP0")


@case("vmi.Init.keeps-exception-delivery")
def interrupts_arrive(g: VmiGuest) -> None:
    """A timer interrupt arrives at the gate that was loaded natively, and the loop it found goes on."""
    quiet(g)
    g.pending_timer()
    g.log()
    g.interrupts_on()
    spun = g.execute("kernel.spin", ecx=TURNS)
    entries = [entry for entry in g.log() if entry.kind is LogKind.IRQ]
    g.expect_returned(spun)
    g.expect_equal(tuple(entry.vector for entry in entries), (0x20,), "the vectors of interrupts delivered")


def expect_exceptions(g: VmiGuest) -> None:
    """Expect exceptions of the kernel and of user code at their vectors, found where they arose."""
    raised = {"ud2": Vector.UD, "int3": Vector.BP, "div0": Vector.DE}
    for side in ("kernel", "user"):
        for name, vector in raised.items():
            where = f"{side}.{name}"
            run = g.execute if side == "kernel" else g.enter_user
            state = run(where, may_fault=True)
            if g.expect_fault(state, vector, f"{where} arrives"):
                g.expect_equal((state.fault_cs & RPL == RPL), side == "user", f"{where} found user code")
                distance = state.fault_eip - g.fragment(where)
                g.expect(0 <= distance < 16, f"{where} found its own instruction", seen=distance)
    nothing = 0x4000_0000 + (g.poison() & 0xFFFFC)
    fault = g.execute("kernel.load", eax=nothing, may_fault=True)
    if g.expect_fault(fault, Vector.PF, "a load where nothing is mapped", error=0):
        g.expect_equal(fault.cr2, nothing, "the address of the page fault")


def _stored(g: VmiGuest, entry: str) -> StateHandle:
    page, value = g.page(), 0x1234_5000
    linear = g.direct(page) + 8
    if entry == "SetPxE":
        state = g.call(entry, eax=value, edx=linear, ecx=1)
    else:
        g.write32(linear, value)
        state = g.call(entry, eax=linear, edx=1)
    g.expect_equal(g.read32(linear), value, f"the entry in memory after the first {entry}")
    return state


def _returns(g: VmiGuest, entry: str, value: int, mask: int) -> StateHandle:
    state = g.call(entry)
    g.expect_equal(state.eax, value, f"what the first {entry} returns", mask=mask)
    return state


FIRST: dict[str, Callable[[VmiGuest], StateHandle]] = {
    "GetCR0": lambda g: _returns(g, "GetCR0", AT_START, CR0_COUNTS),
    "GetCR3": lambda g: _returns(g, "GetCR3", g.hello.number("kernel.cr3"), ~(PAGE - 1)),
    "GetCR4": lambda g: _returns(g, "GetCR4", 0, PAE),
    "GetCR2": lambda g: g.call("GetCR2"),
    "SetCR0": lambda g: g.call("SetCR0", eax=int(AT_START)),
    "SetCR2": lambda g: g.call("SetCR2", eax=g.poison()),
    "SetCR3": lambda g: g.call("SetCR3", eax=g.hello.number("kernel.cr3")),
    "SetCR4": lambda g: g.call("SetCR4", eax=0),
    "CLTS": lambda g: g.call("CLTS"),
    "SetPxE": lambda g: _stored(g, "SetPxE"),
    "UpdatePxE": lambda g: _stored(g, "UpdatePxE"),
    "InvalPage": lambda g: g.invalidate(g.direct(g.hello.number("arena.base"))),
    "FlushTLB": lambda g: g.flush_tlb(everything=True),
    "SetLazyMode": lambda g: g.call("SetLazyMode", eax=0),
}
"""Calls that need no preparation by another call, made first of all."""
