# SPDX-License-Identifier: BSD-2-Clause
"""Cases: SYSEXIT, and the way in by SYSENTER."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from abidance.abi.vmi.cases.interrupts_tools import (
    NEVER,
    STOP,
    arrivals,
    expect_found,
    expect_only_timer,
    flags_of,
    pending,
    switch,
)
from abidance.abi.vmi.constants import IF, Vector
from abidance.abi.vmi.guest import VmiGuest
from abidance.suite import StateHandle, case

__all__: list[str] = []

EITHER = ("clear", "set")
SEGMENTS = ("ds", "es", "fs", "gs")
KEPT = ("eax", "ebx", "esi", "edi", "ebp")
SYSENTER_ARRIVAL = 0x82
"""The test kernel's own name for an arrival by SYSENTER."""
CALL_REL, JUMP_REL = 1, 2
IA32_SYSENTER_CS, OTHER_CS = 0x174, 0xB0


def _need_processor(g: VmiGuest) -> None:
    if not g.hello.number("sysenter"):
        g.not_tested("the processor has no SYSENTER and SYSEXIT")


def _sysexit(g: VmiGuest, where: str | int, esp: int | None = None, values: Mapping[str, int] | None = None,
             above: Sequence[int] = ()) -> StateHandle:
    """SYSEXIT to a fragment or to code of the case's own, EDX and ECX as the call takes them."""
    eip = g.fragment(where) if isinstance(where, str) else where
    esp = g.user_stack if esp is None else esp
    registers = {**(values or {}), "edx": eip, "ecx": esp}
    return g.transfer_with(registers, "SYSEXIT", eip=eip, esp=esp, extra=above)


@case("vmi.SYSEXIT.resumes-at-edx")
def resumes_at_edx(g: VmiGuest) -> None:
    """User code goes on at the address in EDX, at CPL 3: two different addresses."""
    _need_processor(g)
    for at in (0x100, 0x233):
        eip = g.hello.number("user.data") + at
        g.write(eip, b"\x8C\xCB" + STOP)  # MOV EBX, CS
        state = _sysexit(g, eip)
        if g.expect_stopped(state):
            g.expect_equal(state.eip, eip + 4, "EIP at the stop trap")
            g.expect_equal(state.ebx & 3, 3, "the CPL as the user reads it")


@case("vmi.SYSEXIT.resumes-at-edx")
def user_is_not_privileged(g: VmiGuest) -> None:
    """What SYSEXIT resumes is refused what only the kernel may do."""
    _need_processor(g)
    state = _sysexit(g, "user.gp")
    if g.expect_fault(state, Vector.GP, "a store to CR3 by the user"):
        g.expect_equal(state.fault_cs & 3, 3, "the RPL of CS in the frame of the fault")


@case("vmi.SYSEXIT.stack-from-ecx")
def stack_from_ecx(g: VmiGuest) -> None:
    """ESP is what ECX was: two different stacks."""
    _need_processor(g)
    for esp in (g.user_stack, g.user_stack - 0x6A8):
        state = _sysexit(g, "user.stop", esp)
        if g.expect_stopped(state):
            g.expect_equal(state.esp, esp, "ESP at the stop trap")


@case("vmi.SYSEXIT.user-selectors")
def user_selectors(g: VmiGuest) -> None:
    """CS and SS are 16 and 24 above IA32_SYSENTER_CS with RPL 3, and begin at linear 0."""
    _need_processor(g)
    g.write32(g.user_stack - 4, 0)
    state = _sysexit(g, "user.probe")
    pushed = g.read32(g.user_stack - 4)
    if g.expect_stopped(state):
        g.expect_equal(state.ebx, g.selector("user.cs"), "CS as the user reads it", mask=0xFFFF)
        g.expect_equal(state.ecx, g.selector("user.ds"), "SS as the user reads it", mask=0xFFFF)
        g.expect_equal(state.cs, g.selector("user.cs"), "CS in the frame of the stop trap")
        g.expect_equal(state.ss, g.selector("user.ds"), "SS in the frame of the stop trap")
        g.expect_equal(pushed, state.eax, "what the user pushed, read at linear ESP - 4")


@case("vmi.SYSEXIT.user-selectors")
def user_selectors_follow_the_register(g: VmiGuest) -> None:
    """With IA32_SYSENTER_CS at another kernel code segment, CS and SS are those that follow it."""
    _need_processor(g)
    gdt = g.hello.number("kernel.gdt")
    for index, source in enumerate(("kernel.cs", "kernel.ds", "user.cs", "user.ds")):
        at = gdt + (g.selector(source) & ~7)
        low, high = g.read32(at).value, g.read32(at + 4).value
        g.call("WriteGDTEntry", eax=gdt, edx=(OTHER_CS >> 3) + index, ecx=low, stack=(high,))
    g.call("WRMSR", ecx=IA32_SYSENTER_CS, eax=OTHER_CS, edx=0)
    state = _sysexit(g, "user.probe")
    if g.expect_stopped(state):
        g.expect_equal(state.ebx, OTHER_CS + 16 | 3, "CS as the user reads it", mask=0xFFFF)
        g.expect_equal(state.ecx, OTHER_CS + 24 | 3, "SS as the user reads it", mask=0xFFFF)
        g.expect_equal(state.eip, g.fragment("user.probe") + 8, "EIP at the stop trap")


@case("vmi.SYSEXIT.enables-interrupts", for_each=EITHER)
def enables_interrupts(g: VmiGuest, before: str) -> None:
    """The flag is set in the user's context, whatever it was before."""
    _need_processor(g)
    switch(g, before == "set")
    mask = g.call("GetInterruptMask")
    state = _sysexit(g, "user.stop")
    g.require(mask.eax & IF == (IF if before == "set" else 0), f"the flag was {before} before")
    if g.expect_stopped(state):
        g.expect_equal(flags_of(state), IF, "bit 9 in the frame of the stop trap")


@case("vmi.SYSEXIT.enabling-is-atomic")
def pending_finds_the_user(g: VmiGuest) -> None:
    """A pending interrupt is delivered from the user's context, with the user's stack in its frame."""
    _need_processor(g)
    code = g.hello.number("user.data") + 0x400
    g.write(code, b"\xB9" + NEVER.to_bytes(4, "little") + b"\x49\x75\xFD" + STOP)
    for esp in (g.user_stack, g.user_stack - 0x128):
        pending(g)
        state = _sysexit(g, code, esp)
        entry = expect_only_timer(g, g.log(), "while user code ran")
        g.expect_stopped(state)
        if entry is not None:
            g.expect(code <= entry.eip <= code + 8, "EIP in the frame", expected="in the user's code",
                     seen=entry.eip)
            g.expect_equal(entry.cs, g.selector("user.cs"), "CS in the frame")
            g.expect_equal(entry.esp, esp, "ESP in the frame")
            g.expect_equal(entry.eflags_image, IF, "EFLAGS in the frame", mask=IF)


@case("vmi.SYSEXIT.enabling-is-atomic", needs=("injection",))
def any_instruction_of_sysexit(g: VmiGuest) -> None:
    """An interrupt requested at any instruction of SYSEXIT finds the user, whole."""
    _need_processor(g)
    code = g.hello.number("user.data") + 0x400
    g.write(code, b"\xB9" + NEVER.to_bytes(4, "little") + b"\x49\x75\xFD" + STOP)
    for after in arrivals(g):
        esp = g.user_stack - 8 * (after & 7)
        state = _sysexit(g, code, esp)
        when = f"with a request after {after} instructions"
        entry = expect_only_timer(g, g.log(), when)
        g.expect_stopped(state)
        expect_found(g, state, *KEPT, *SEGMENTS, what=when)
        if entry is None:
            return
        g.expect(code <= entry.eip <= code + 8, f"EIP in the frame {when}", expected="in the user's code",
                 seen=entry.eip)
        g.expect_equal(entry.cs, g.selector("user.cs"), f"CS in the frame {when}")
        g.expect_equal(entry.esp, esp, f"ESP in the frame {when}")
        if entry.eip > code + 5:
            return


@case("vmi.SYSEXIT.preserves-general")
def preserves_general(g: VmiGuest) -> None:
    """EAX, EBX, ESI, EDI and EBP come to the user as they were, twice over."""
    _need_processor(g)
    for pick in range(2):
        values = {name: g.poison() ^ 0xFFFF_FFFF * pick for name in KEPT}
        state = _sysexit(g, "user.stop", values=values)
        if g.expect_stopped(state):
            for name, value in values.items():
                g.expect_equal(state.after[name], value, f"{name} of the user")


@case("vmi.SYSEXIT.preserves-user-segments", for_each=range(4))
def preserves_user_segments(g: VmiGuest, which: int) -> None:
    """DS, ES, FS and GS keep user selectors, each one a selector of its own."""
    _need_processor(g)
    values = {name: g.selector("user.cs" if index == which else "user.ds")
              for index, name in enumerate(SEGMENTS)}
    state = _sysexit(g, "user.stop", values=values)
    if g.expect_stopped(state):
        for name, value in values.items():
            g.expect_equal(state.after[name], value, f"{name} of the user", mask=0xFFFF)


@case("vmi.SYSEXIT.either-relocation", for_each=EITHER)
def reached_as_the_relocation_says(g: VmiGuest, before: str) -> None:
    """From a site patched as the relocation says, nothing on the kernel's stack decides where it goes, and
    the flag is set, a pending interrupt delivered and every other register kept, as the call has it."""
    _need_processor(g)
    kind, _ = g.fetched("SYSEXIT")
    g.require(kind in (CALL_REL, JUMP_REL), "SYSEXIT is reached by call or by jump")
    elsewhere = g.fragment("user.ud2")
    for words in ((), (elsewhere, g.selector("user.cs"), 2, g.user_stack - 64, g.selector("user.ds")),
                  (0, 0, 0, 0, 0)):
        values = {name: g.poison() for name in KEPT}
        switch(g, before == "set")
        mask = g.call("GetInterruptMask")
        state = _sysexit(g, "user.stop", g.user_stack - 16, values, above=words)
        g.require(mask.eax & IF == (IF if before == "set" else 0), f"the flag was {before} before")
        if g.expect_stopped(state):
            g.require(state.target_kind == kind, "it was reached as the relocation says")
            g.expect_equal(state.eip, g.fragment("user.stop") + 2, "EIP at the stop trap")
            g.expect_equal(state.esp, g.user_stack - 16, "ESP at the stop trap")
            g.expect_equal(state.cs, g.selector("user.cs"), "CS at the stop trap")
            g.expect_equal(flags_of(state), IF, "bit 9 in the frame of the stop trap")
            for name, value in values.items():
                g.expect_equal(state.after[name], value, f"{name} of the user")


@case("vmi.SYSEXIT.either-relocation")
def delivers_as_the_relocation_says(g: VmiGuest) -> None:
    """Reached as the relocation says, it has a pending interrupt delivered from the user's context."""
    _need_processor(g)
    kind, _ = g.fetched("SYSEXIT")
    g.require(kind in (CALL_REL, JUMP_REL), "SYSEXIT is reached by call or by jump")
    code = g.hello.number("user.data") + 0x400
    g.write(code, b"\xB9" + NEVER.to_bytes(4, "little") + b"\x49\x75\xFD" + STOP)
    pending(g)
    state = _sysexit(g, code)
    entry = expect_only_timer(g, g.log(), "while user code ran")
    g.expect_stopped(state)
    g.require(state.target_kind == kind, "it was reached as the relocation says")
    if entry is not None:
        g.expect_equal(entry.cs, g.selector("user.cs"), "CS in the frame")
        g.expect_equal(entry.esp, g.user_stack, "ESP in the frame")


@case("vmi.transfer.sysenter-starts-disabled")
def sysenter_starts_disabled(g: VmiGuest) -> None:
    """The handler that SYSENTER enters begins with the flag clear, the user having run with it set."""
    _need_processor(g)
    state = g.enter_user("user.sysenter", edx=g.fragment("user.stop"), ecx=g.user_stack)
    entries = g.log()
    g.require(state.vector == SYSENTER_ARRIVAL, "SYSENTER arrives in the kernel")
    g.require(len(entries) == 1 and entries[0].mask is not None, "the handler could ask for its flag")
    g.expect_equal(entries[0].mask, 0, "GetInterruptMask in the handler", mask=IF)
