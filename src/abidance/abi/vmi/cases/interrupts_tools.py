# SPDX-License-Identifier: BSD-2-Clause
"""What the cases on interrupts, transfers and the kernel stack share: code of a case's own, the flag
as frames show it, interrupt requests at known moments, gates changed in a second IDT. Declares no case.

The kernel clears the virtual flag when a batch ends, that is whenever something is read: whatever
is to happen under one state of the flag has to be queued together.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from typing import TYPE_CHECKING

from abidance.abi.vmi.constants import IF, PAGE
from abidance.abi.vmi.guest import VmiGuest
from abidance.errors import UsageError
from abidance.kernel import Key, LogEntry, LogKind
from abidance.suite import StateHandle

if TYPE_CHECKING:
    from abidance.suite.handles import WordHandle
    from abidance.suite.state import Registers

__all__ = [
    "ARITHMETIC",
    "CALENDAR",
    "CALL80",
    "GENERAL",
    "MIX",
    "NEVER",
    "NOPS",
    "STOP",
    "TIMER",
    "Code",
    "arrivals",
    "can_inject",
    "expect_found",
    "expect_only_timer",
    "flag_in_frame",
    "flags_of",
    "found",
    "kernel_frame",
    "late",
    "low_byte",
    "other_pending",
    "pending",
    "program_controllers",
    "quiet",
    "requested_behind_mask",
    "switch",
    "timers",
    "traps",
    "unmask_and_wait",
    "user_frame",
    "with_gates",
]

TIMER, CALENDAR = 0x20, 0x28
"""Vectors of IRQ 0 and of IRQ 8 as the test kernel programs the controllers."""
CALL80 = 0x80
"""A vector whose gate the test kernel opens to CPL 3."""
ARITHMETIC = 0xCD5
"""CF, PF, AF, ZF, SF, DF and OF."""
MIX = (0x8D5, 0x400, 0x051, 0xC84, 0x000)
"""Mixtures of those flags; each flag is set in one and clear in another."""
GENERAL = ("eax", "ebx", "ecx", "edx", "esi", "edi", "ebp")
STOP = b"\xCD\x81"
NOPS = b"\x90" * 32
NEVER = 0x100
"""Turns of a loop during which nothing is to happen."""
IMAGE_BASE = 0x10_0000
NATIVE = {"EnableInterrupts": b"\xFB", "DisableInterrupts": b"\xFA", "GetInterruptMask": b"\x9C\x58",
          "SetInterruptMask": b"\x50\x9D"}
CALL_REL = 1
REGISTER_BYTES = {"eax": 0xB8, "ecx": 0xB9, "edx": 0xBA, "ebx": 0xBB}
PIC, PIC_MASK, SLAVE, SLAVE_MASK, RTC_INDEX, RTC_DATA = 0x20, 0x21, 0xA0, 0xA1, 0x70, 0x71
CALENDAR_IRQ = 8


class Code:
    """Machine code of a case's own in a page of the arena, run where the direct map shows it.

    It is laid down in order; `here` is the linear address of what comes next, so that a case can
    keep the addresses of the instructions it asks about.
    """

    def __init__(self, g: VmiGuest) -> None:
        self._g = g
        self.base = g.direct(g.page())
        self._bytes = bytearray()

    @property
    def here(self) -> int:
        """The linear address of the next instruction."""
        return self.base + len(self._bytes)

    def raw(self, code: bytes) -> Code:
        """Machine code as it stands; position independent."""
        self._bytes += code
        return self

    def load(self, register: str, value: int) -> Code:
        """MOV of an immediate value to EAX, ECX, EDX or EBX."""
        return self.raw(bytes([REGISTER_BYTES[register]]) + value.to_bytes(4, "little"))

    def call(self, entry: str) -> Code:
        """A patched site: a near call by the entry's relocation, or its native instructions."""
        number = self._g.entry_number(entry)
        answer = self._g.hello.number(f"reloc.{number}", 0)
        kind, address = answer >> 32 & 0xFF, answer & 0xFFFF_FFFF
        if kind != CALL_REL:
            return self.raw(NATIVE[entry])
        relative = (address - (self.here + 5)) & 0xFFFF_FFFF
        return self.raw(b"\xE8" + relative.to_bytes(4, "little"))

    def place(self) -> int:
        """Write it to memory; where it begins."""
        if len(self._bytes) > PAGE:
            raise UsageError("the code does not fit into a page")
        self._g.write(self.base, bytes(self._bytes))
        return self.base


# -- the flag ---------------------------------------------------------------------------------------


def switch(g: VmiGuest, on: bool) -> None:
    """Queue the call that makes the virtual flag what is wanted."""
    if on:
        g.interrupts_on()
    else:
        g.interrupts_off()


def flag_in_frame(g: VmiGuest) -> StateHandle:
    """Queue a trap: bit 9 of its `.eflags` is the flag as the frame shows it. Trapping clears it."""
    return g.execute("kernel.stop")


def flags_of(state: StateHandle) -> int:
    """Bit 9 of the image in the frame of the trap that ended an operation."""
    return state.eflags & IF


# -- the log ----------------------------------------------------------------------------------------


def timers(entries: Iterable[LogEntry]) -> list[LogEntry]:
    """The entries of IRQ 0 at its usual vector."""
    return [entry for entry in entries if entry.kind is LogKind.IRQ and entry.vector == TIMER]


def traps(entries: Iterable[LogEntry], vector: int) -> list[LogEntry]:
    """The entries of one vector."""
    return [entry for entry in entries if entry.vector == vector]


def expect_only_timer(g: VmiGuest, entries: tuple[LogEntry, ...], what: str, *,
                      clause: str | None = None) -> LogEntry | None:
    """State that IRQ 0 was logged exactly once, and no other interrupt; its entry if so."""
    seen = tuple(entry.vector for entry in entries if entry.kind is LogKind.IRQ)
    held = g.expect_equal(seen, (TIMER,), f"the vectors of the interrupts delivered {what}", clause=clause)
    return timers(entries)[0] if held else None


def late(g: VmiGuest, eip: int, site: int, length: int = 5) -> bool:
    """Whether a frame's EIP shows that the caller had gone on behind its patched call: it lies in the
    kernel's image, and neither in the call nor directly behind it."""
    first, last = g.direct(IMAGE_BASE), g.direct(g.hello.number("kernel.end.phys"))
    return first <= eip < last and not site <= eip <= site + length


# -- frames -----------------------------------------------------------------------------------------


def kernel_frame(g: VmiGuest, state: StateHandle) -> list[WordHandle]:
    """Queue reads of the three words below the stack pointer that a trap in the kernel interrupted."""
    return [g.read32(state.esp - 12 + 4 * index) for index in range(3)]


def user_frame(g: VmiGuest, top: int) -> list[WordHandle]:
    """Queue reads of the five words below a kernel stack's top: EIP, CS, EFLAGS, ESP, SS."""
    return [g.read32(top - 20 + 4 * index) for index in range(5)]


def found(state: StateHandle) -> Registers:
    """The registers of the context that a fault, an abandoned interrupt or the stop trap found,
    however it ended."""
    _ = state.outcome  # asking makes a fault the case's business
    return state.after


def expect_found(g: VmiGuest, state: StateHandle, *names: str, what: str, clause: str | None = None) -> None:
    """State that the context which a trap found holds what was loaded into these registers."""
    after = found(state)
    for name in names:
        g.expect_equal(after[name], state.before[name], f"{name} {what}", clause=clause)


# -- requests at known moments ------------------------------------------------------------------------


def program_controllers(g: VmiGuest, master: int = TIMER, slave: int = CALENDAR) -> None:
    """Initialise both controllers with these vector bases; ICW1 forgets every request. All lines masked."""
    for port, base, cascade in ((PIC, master, 4), (SLAVE, slave, 2)):
        for at, value in ((port, 0x11), (port + 1, base), (port + 1, cascade), (port + 1, 1),
                          (port + 1, 0xFF)):
            g.port_out(at, value)


def quiet(g: VmiGuest) -> None:
    """No request at the controllers and none to come: what firmware has left of the timer is stopped
    (counting anew takes the place of the old count), let run out, and forgotten. The flag is clear."""
    g.interrupts_off()
    g.timer_once(0xFFFF)
    program_controllers(g)
    g.timer_once(1)
    g.wait_irq_pending(0)
    program_controllers(g)


def pending(g: VmiGuest) -> None:
    """IRQ 0 unmasked and requested, once, while the flag is clear."""
    quiet(g)
    g.pending_timer()


def requested_behind_mask(g: VmiGuest) -> None:
    """Have IRQ 0 requested at the controller, with every line masked there: whoever clears its bit in
    port 21h lets it through."""
    quiet(g)
    g.timer_once()
    g.wait_irq_pending(0)


def unmask_and_wait(g: VmiGuest) -> tuple[Code, int, int]:
    """Code that unmasks IRQ 0 (AL = FEh) and goes on without touching registers, flags or stack, for
    `requested_behind_mask`: the interrupt arrives at an instruction whose state is known. The code,
    and the first and the last address at which the interrupt can find it."""
    code = Code(g).raw(b"\xE6\x21")
    first = code.here
    code.raw(b"\xEB\x00" * 8).raw(NOPS)
    last = code.here
    code.raw(b"\xC3").place()
    return code, first, last


def low_byte(value: int, byte: int) -> int:
    """A value with its low byte replaced."""
    return value & ~0xFF | byte


def can_inject(g: VmiGuest) -> bool:
    """Whether the platform can raise a line after an exact number of instructions."""
    try:
        g.control("count")
    except UsageError:
        return False
    return True


def arrivals(g: VmiGuest, limit: int = 400) -> Iterator[int]:
    """The moments at which IRQ 0 can be made to arrive in the next operation (its line unmasked, the
    flag off): with injection after 0, 1, 2 … instructions of it, until the case stops asking;
    elsewhere one moment, before it begins."""
    if not can_inject(g):
        pending(g)
        yield 0
        return
    for after in range(limit):
        g.pic_unmask(0)
        g.inject(0, after)
        yield after
    g.require(False, f"the interrupt goes past the operation within {limit} instructions")


def other_pending(g: VmiGuest) -> None:
    """Beside IRQ 0, make IRQ 8 pending at the slave controller: by injection, or by the periodic
    interrupt of the real-time clock. Leaves both lines unmasked. The flag has to be off."""
    pending(g)
    if can_inject(g):
        g.port_out(PIC_MASK, 0xFA)
        g.port_out(SLAVE_MASK, 0xFE)
        g.inject(CALENDAR_IRQ, 1)
        g.execute("kernel.nops")
        g.set(Key.MARKER, 0)
    else:
        for index, value in ((0x0A, 0x26), (0x0B, 0x42)):
            g.port_out(RTC_INDEX, index)
            g.port_out(RTC_DATA, value)
        g.port_out(PIC_MASK, 0xFA)
        g.port_out(SLAVE_MASK, 0xFE)
    g.wait_irq_pending(CALENDAR_IRQ)
    g.wait_irq_pending(0)


# -- gates ------------------------------------------------------------------------------------------


def with_gates(g: VmiGuest, change: Mapping[int, bytes] | None = None, *, trap: Iterable[int] = ()) -> int:
    """Load a copy of the IDT (SetIDT) in which some gates differ: `change` has new contents, `trap`
    are made trap gates. The copy's linear address."""
    table = bytearray(g.read(g.hello.number("kernel.idt"), 2048).value)
    for vector, gate in (change or {}).items():
        table[8 * vector:8 * vector + 8] = gate
    for vector in trap:
        table[8 * vector + 5] |= 1
    here, pointer = g.direct(g.page()), g.direct(g.page())
    g.write(here, bytes(table))
    g.write(pointer, (2047).to_bytes(2, "little") + here.to_bytes(4, "little"))
    g.call("SetIDT", eax=pointer)
    return here
