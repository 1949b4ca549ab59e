# SPDX-License-Identifier: BSD-2-Clause
"""Cases: exceptions and software interrupts as the guest's handlers see them."""

from __future__ import annotations

from dataclasses import dataclass

from abidance.abi.vmi.cases.interrupts_tools import (
    STOP,
    Code,
    found,
    kernel_frame,
    switch,
    traps,
    user_frame,
)
from abidance.abi.vmi.constants import IF, PAGE, Cr0, Pte, Vector
from abidance.abi.vmi.guest import VmiGuest, Window
from abidance.suite import StateHandle, case, untested

__all__: list[str] = []

UNMAPPED = 0x6000_1234
"""A linear address that no table of the test kernel maps, and no window of a case."""
MISSING = 0x90
"""A selector within the GDT whose descriptor is empty; with TI and RPL clear it is its own error code."""
EITHER = ("clear", "set")


@dataclass(frozen=True)
class Raised:
    """How one exception is raised: code, the length of what comes before the instruction that raises
    it, the error code (None: the vector has none; an int: its value), and the kind of exception."""

    name: str
    vector: int
    code: bytes
    skip: int = 0
    error: int | None = None
    trap: bool = False


DIVIDE = Raised("divide", Vector.DE, b"\x31\xC9\xF7\xF1", skip=2)
BREAKPOINT = Raised("breakpoint", Vector.BP, b"\xCC", skip=1, trap=True)
OVERFLOW = Raised("overflow", 4, b"\xB0\x7F\x04\x01\xCE", skip=5, trap=True)
INVALID = Raised("invalid", Vector.UD, b"\x0F\x0B")
DESCRIPTOR = Raised("descriptor", Vector.GP, b"\xB8\x90\x00\x00\x00\x8E\xC0", skip=5, error=MISSING)
STACK = Raised("null-stack", Vector.GP, b"\x31\xC0\x8E\xD0", skip=2, error=0)
READ = Raised("page-read", Vector.PF, b"\xA1" + UNMAPPED.to_bytes(4, "little"), error=0)
PRIVILEGED = Raised("privileged", Vector.GP, b"\x0F\x22\xD8", error=0)
KERNEL = (DIVIDE, BREAKPOINT, OVERFLOW, INVALID, DESCRIPTOR, STACK, READ)
USER = (DIVIDE, BREAKPOINT, OVERFLOW, INVALID, DESCRIPTOR, STACK, READ, PRIVILEGED)
PADDING = (0, 1, 7)


def _in_kernel(g: VmiGuest, raised: Raised, padding: int = 0) -> tuple[StateHandle, int]:
    """Raise it in the kernel: its state, and the EIP its frame must have."""
    start = Code(g).raw(b"\x90" * padding).raw(raised.code).raw(STOP).place()
    return g.execute(start, may_fault=True), start + padding + raised.skip


def _in_user(g: VmiGuest, raised: Raised, padding: int = 0) -> tuple[StateHandle, int]:
    """Raise it at CPL 3, by code in the user's data page."""
    start = g.hello.number("user.data") + 0x100 + 0x40 * padding
    g.write(start, b"\x90" * padding + raised.code + STOP)
    return _to_user(g, start), start + padding + raised.skip


def _to_user(g: VmiGuest, eip: int, **regs: int) -> StateHandle:
    return g.transfer_with(regs, "IRET", eip=eip, cs=g.selector("user.cs"), eflags=0x202, esp=g.user_stack,
                           ss=g.selector("user.ds"), may_fault=True)


# -- delivery ---------------------------------------------------------------------------------------


@case("vmi.exceptions.delivered", for_each=KERNEL)
def delivered_in_the_kernel(g: VmiGuest, raised: Raised) -> None:
    """An exception in the kernel enters the handler of its vector, whatever the virtual flag is."""
    for on in (False, True):
        switch(g, on)
        mask = g.call("GetInterruptMask")
        state, _ = _in_kernel(g, raised)
        entries = g.log()
        g.require(bool(mask.eax & IF) == on, "the flag was as the call left it")
        g.expect_fault(state, raised.vector, f"{raised.name} with the flag {EITHER[on]}")
        g.expect_equal(tuple(entry.vector for entry in entries), (raised.vector,), "handlers entered")


@case("vmi.exceptions.delivered", for_each=USER)
def delivered_from_the_user(g: VmiGuest, raised: Raised) -> None:
    """An exception at CPL 3 enters the handler of its vector, each time."""
    for count in (1, 2):
        state, _ = _in_user(g, raised)
        entries = g.log()
        if g.expect_fault(state, raised.vector, f"{raised.name} at CPL 3, time {count}"):
            g.expect_equal(state.fault_cs, g.selector("user.cs"), "CS in the frame")
        g.expect_equal(tuple(entry.vector for entry in entries), (raised.vector,), "handlers entered")


@case("vmi.exceptions.delivered", for_each=("kernel", "user"))
def coprocessor_not_available(g: VmiGuest, where: str) -> None:
    """With TS set an x87 instruction enters the handler of vector 7; with TS clear it does not."""
    g.call("CLTS")
    runs = g.execute("kernel.fpu") if where == "kernel" else g.enter_user("user.fpu")
    g.require(runs.returned or runs.stopped, "the instruction runs while TS is clear")
    cr0 = g.call("GetCR0").eax
    g.call("SetCR0", eax=cr0 | Cr0.TS)
    state = g.execute("kernel.fpu") if where == "kernel" else g.enter_user("user.fpu")
    g.expect_fault(state, Vector.NM, "the instruction while TS is set")


@case("vmi.exceptions.delivered", for_each=("kernel", "user"))
def single_step(g: VmiGuest, where: str) -> None:
    """Once POPF has set TF, the handler of vector 1 is entered after one further instruction."""
    step = b"\x9C\x81\x0C\x24\x00\x01\x00\x00\x9D"  # PUSHF, TF into the image, POPF
    if where == "kernel":
        start = Code(g).raw(step).raw(b"\x90\x90").raw(STOP).place()
        state = g.execute(start, may_fault=True)
    else:
        start = g.hello.number("user.data") + 0x200
        g.write(start, step + b"\x90\x90" + STOP)
        state = _to_user(g, start)
    if g.expect_fault(state, Vector.DB, "an instruction with TF set"):
        g.expect_equal(state.fault_eip, start + len(step) + 1, "EIP in the frame")


# -- error code and EIP -----------------------------------------------------------------------------


@case("vmi.exceptions.error-code", for_each=KERNEL)
def error_code_in_the_kernel(g: VmiGuest, raised: Raised) -> None:
    """The frame in the kernel has an error code if the vector has one: the words below say so."""
    state, eip = _in_kernel(g, raised)
    sp = found(state).esp
    words = kernel_frame(g, state)
    code = g.read32(sp - 16)
    if g.expect_fault(state, raised.vector):
        _expect_words(g, raised, eip, [word.value for word in words], g.selector("kernel.cs"))
        g.expect_equal(state.after.esp, state.before.esp - 4, "the stack pointer above the frame")
        if raised.error is not None:
            g.expect_equal(code, raised.error, "the word below EIP in the frame", mask=0xFFFF)


@case("vmi.exceptions.error-code", for_each=USER)
def error_code_from_the_user(g: VmiGuest, raised: Raised) -> None:
    """The frame of an exception at CPL 3 has an error code if the vector has one, and only then."""
    state, eip = _in_user(g, raised)
    top = g.hello.number("kernel.esp0")
    words = user_frame(g, top)
    code = g.read32(top - 24)
    if g.expect_fault(state, raised.vector):
        _expect_words(g, raised, eip, [word.value for word in words], g.selector("user.cs"))
        g.expect_equal(words[3], g.user_stack, "ESP in the frame")
        if raised.error is not None:
            expected = 4 if raised is READ else raised.error
            g.expect_equal(code, expected, "the word below EIP in the frame", mask=0xFFFF)


def _expect_words(g: VmiGuest, raised: Raised, eip: int, words: list[int], cs: int) -> None:
    g.expect_equal(words[0], eip, f"EIP in the frame of {raised.name}")
    g.expect_equal(words[1], cs, f"CS in the frame of {raised.name}", mask=0xFFFF)


@case("vmi.exceptions.fault-eip", for_each=tuple(item for item in KERNEL if not item.trap))
def fault_eip_in_the_kernel(g: VmiGuest, raised: Raised) -> None:
    """The frame of a fault in the kernel points to the instruction, wherever it stands."""
    for padding in PADDING:
        state, eip = _in_kernel(g, raised, padding)
        g.require(state.vector == raised.vector, "the fault was raised")
        g.expect_equal(state.fault_eip, eip, f"EIP in the frame, {padding} bytes in")


@case("vmi.exceptions.fault-eip", for_each=tuple(item for item in USER if not item.trap))
def fault_eip_from_the_user(g: VmiGuest, raised: Raised) -> None:
    """The frame of a fault at CPL 3 points to the instruction, wherever it stands."""
    for padding in PADDING:
        state, eip = _in_user(g, raised, padding)
        g.require(state.vector == raised.vector, "the fault was raised")
        g.expect_equal(state.fault_eip, eip, f"EIP in the frame, {padding} bytes in")


# -- INT n ------------------------------------------------------------------------------------------


def _interrupt(g: VmiGuest, vector: int) -> tuple[StateHandle, int]:
    """INT n at CPL 3: its state and the address of the instruction."""
    start = g.hello.number("user.data") + 0x300
    g.write(start, b"\x90\xCD" + bytes([vector]) + STOP)
    return _to_user(g, start), start + 1


@case("vmi.exceptions.software-interrupt", for_each=(0x80, 3, 4))
def int_through_an_open_gate(g: VmiGuest, vector: int) -> None:
    """INT n through a gate of DPL 3 enters its handler, with the EIP behind it."""
    state, at = _interrupt(g, vector)
    entries = g.log()
    if g.expect_fault(state, vector, f"INT {vector:#x} at CPL 3"):
        g.expect_equal(state.fault_eip, at + 2, "EIP in the frame")
        g.expect_equal(state.fault_cs, g.selector("user.cs"), "CS in the frame")
    g.expect_equal(tuple(entry.vector for entry in entries), (vector,), "handlers entered")


@case("vmi.exceptions.gate-privilege", for_each=(0x00, 0x0D, 0x0E, 0x20, 0x7F, 0xFE))
def int_through_a_closed_gate(g: VmiGuest, vector: int) -> None:
    """INT n through a gate of the kernel's faults with 8n + 2 instead, at the instruction."""
    state, at = _interrupt(g, vector)
    entries = g.log()
    if g.expect_fault(state, Vector.GP, f"INT {vector:#x} at CPL 3", error=8 * vector + 2):
        g.expect_equal(state.fault_eip, at, "EIP in the frame")
    g.expect_equal(tuple(entry.vector for entry in entries), (int(Vector.GP),), "handlers entered")


# -- page faults ------------------------------------------------------------------------------------


def _access(g: VmiGuest, who: str, what: str, linear: int) -> StateHandle:
    """A load or a store of one word in the kernel or at CPL 3."""
    if who == "kernel":
        return g.execute(f"kernel.{what}", eax=linear, may_fault=True)
    return g.enter_user(f"user.{what}", eax=linear, may_fault=True)


ACCESSES = (
    ("kernel", "load", None), ("kernel", "store", None), ("user", "load", None), ("user", "store", None),
    ("user", "load", "supervisor"), ("user", "store", "supervisor"), ("user", "store", "read-only"),
    ("kernel", "store", "read-only"),
)


@case("vmi.exceptions.page-fault-code", for_each=ACCESSES)
def page_fault_code(g: VmiGuest, access: tuple[str, str, str | None]) -> None:
    """Bits 0 to 2 tell presence, write and user, for one kind of access to one kind of page."""
    who, what, page = access
    flags = {None: Pte.P | Pte.RW | Pte.US, "supervisor": Pte.P | Pte.RW, "read-only": Pte.P | Pte.US}[page]
    w = g.window()
    linear = g.map(w, 5, g.page_with(0x5EED_0001), flags)
    good = _access(g, "kernel", "load", linear)
    g.require(good.ebx == 0x5EED_0001, "the page is mapped")
    if page is None:
        allowed = _access(g, who, what, linear)
        g.require(allowed.returned or allowed.stopped, "the access works while the page is mapped")
        g.set_entry(w.entry(5), 0, maps=linear)
        g.invalidate(linear)
    state = _access(g, who, what, linear)
    expected = (page is not None) | (what == "store") << 1 | (who == "user") << 2
    if g.expect_fault(state, Vector.PF, f"a {what} in the {who} of a {page or 'missing'} page"):
        g.expect_equal(state.error, expected, "the error code", mask=7)


@case("vmi.exceptions.page-fault-code")
def page_fault_code_without_a_table(g: VmiGuest) -> None:
    """Where the directory has no table, the fault says that the page is not present."""
    for who, expected in (("kernel", 0), ("user", 4)):
        state = _access(g, who, "load", UNMAPPED)
        if g.expect_fault(state, Vector.PF, f"a load in the {who} where there is no table"):
            g.expect_equal(state.error, expected, "the error code", mask=7)


def _fill(g: VmiGuest, w: Window, pages: int) -> list[int]:
    """Map pages with a word of their own each, and flush; their linear addresses."""
    addresses = [g.map(w, 3 * index, g.page_with(0xF00D_0000 + index), Pte.P | Pte.RW | Pte.US)
                 for index in range(pages)]
    g.flush_tlb()
    return addresses


@case("vmi.exceptions.no-hidden-faults", for_each=("kernel", "user"))
def no_hidden_faults(g: VmiGuest, who: str) -> None:
    """First accesses to mapped pages, before and after flushes, never show a fault to the guest."""
    w = g.window()
    addresses = _fill(g, w, 12)
    faults: list[tuple[int, StateHandle, StateHandle]] = []
    g.require(not g.log(), "nothing has faulted so far")
    for index, linear in enumerate(addresses):
        faults.append((index, _access(g, who, "load", linear), _access(g, who, "store", linear + 4)))
    g.flush_tlb(everything=True)
    for index, linear in enumerate(reversed(addresses)):
        faults.append((len(addresses) - 1 - index, _access(g, who, "load", linear),
                       _access(g, who, "store", linear + 8)))
    for index, load, store in faults:
        g.expect(not load.faulted, f"a load of mapped page {index} faults", expected="no fault",
                 seen=load.ended)
        g.expect(not store.faulted, f"a store to mapped page {index} faults", expected="no fault",
                 seen=store.ended)
        g.require(load.faulted or load.ebx == 0xF00D_0000 + index, "the page is the one that was mapped")
    g.expect_equal(len(traps(g.log(), Vector.PF)), 0, "page faults that the guest's handler saw")


@case("vmi.exceptions.no-hidden-faults")
def no_hidden_faults_after_a_change_of_directory(g: VmiGuest) -> None:
    """Nor after SetCR3: the kernel, the direct map and user pages are there as in the tables."""
    copy = g.copy_directory()
    g.call("SetCR3", eax=copy)
    words = [g.read32(g.direct(phys)) for phys in range(g.hello.number("arena.base"),
                                                        g.hello.number("arena.base") + 32 * PAGE, PAGE)]
    user = g.enter_user("user.probe")
    g.call("SetCR3", eax=g.directory)
    again = g.enter_user("user.probe")
    for word in words:
        g.expect(not word.faulted, "a read of the direct map faults", expected="no fault", seen=word.ended)
    g.expect(user.stopped and again.stopped, "user code runs in both address spaces", seen=user.ended)
    g.expect_equal(len(traps(g.log(), Vector.PF)), 0, "page faults that the guest's handler saw")
    g.require(found(user).cs == g.selector("user.cs"), "user code had run")


untested("vmi.exceptions.eip-inside-calls",
         reason="permission: nothing to violate")
