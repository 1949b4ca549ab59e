# SPDX-License-Identifier: BSD-2-Clause
"""Effects of calls that this edition only names, where what they stand for is plainly defined by the
instruction: made by `VmiGuest.call`, which is native where the answer is NONE and nothing where it is NOP.
Declares no case."""

from __future__ import annotations

from collections.abc import Callable

from abidance.abi.vmi.cases.interrupts_tools import STOP
from abidance.abi.vmi.constants import PAGE, Vector
from abidance.abi.vmi.guest import VmiGuest

__all__ = ["LATER"]

GDT_ENTRIES, GATES = 32, 256
TSS_SIZE, TSS_ESP0 = 104, 4
LOAD_BY_ES = b"\x06\x8E\xC0\x26\x8B\x07\x07\xC3"
"""PUSH %ES; MOV %EAX, %ES; MOV %ES:(%EDI), %EAX; POP %ES; RET."""
DATA, LDT, TSS = 0x0040_F300, 0x0000_8200, 0x0000_8900
"""Upper words of descriptors: writable data of DPL 3, LDT, free 32-bit TSS."""
SYSENTER = (0x174, 0x175, 0x176)
MASTER_MASK = 0x21


def _descriptor(base: int, limit: int, kind: int) -> tuple[int, int]:
    return limit & 0xFFFF | (base & 0xFFFF) << 16, kind | base >> 16 & 0xFF | base & 0xFF00_0000


def _pointer(g: VmiGuest, base: int, limit: int) -> int:
    at = g.direct(g.page())
    g.write(at, limit.to_bytes(2, "little") + base.to_bytes(4, "little"))
    return at


def _free(g: VmiGuest, count: int = 1) -> int:
    """The first of so many empty entries of the GDT."""
    table = g.read(g.hello.number("kernel.gdt"), GDT_ENTRIES * 8).value
    return next(at for at in range(1, GDT_ENTRIES - count) if not any(table[8 * at:8 * (at + count)]))


def _marked(g: VmiGuest) -> tuple[tuple[int, int], int]:
    """A descriptor of a data segment whose first word is a mark of its own, and the mark."""
    mark = g.poison()
    return _descriptor(g.direct(g.page_with(mark)), PAGE - 1, DATA), mark


def _seen(g: VmiGuest, selector: int, mark: int, what: str) -> None:
    code = g.direct(g.page())
    g.write(code, LOAD_BY_ES)
    state = g.execute(code, eax=selector, edi=0, may_fault=True)
    if g.expect_returned(state, f"a load by a segment of {what}"):
        g.expect_equal(state.eax, mark, f"the word at the base of the segment of {what}")


def _cpuid(g: VmiGuest) -> None:
    first, again, leaf = (g.call("CPUID", eax=number, ecx=0) for number in (0, 0, 1))
    name = b"".join(value.to_bytes(4, "little") for value in (first.ebx, first.edx, first.ecx))
    g.expect(first.eax >= 1, "the highest leaf that CPUID tells", seen=first.eax)
    g.expect(name.isascii() and name.decode("latin-1").isprintable(), "the name that CPUID tells", seen=name)
    g.expect((first.eax, first.ebx) == (again.eax, again.ebx), "CPUID tells the same again")
    g.expect(leaf.edx & 1 == 1, "leaf 1 tells of an x87 unit", seen=leaf.edx)


def _msr(g: VmiGuest) -> None:
    if not g.hello.number("sysenter"):
        g.not_tested("the processor has no SYSENTER registers, and the document names no other")
    code = g.direct(g.page())
    g.write(code, STOP)
    esp = g.hello.number("kernel.esp0")
    for values in ((0xB0, esp - 0x200, code + 64), (g.selector("kernel.cs") & ~3, esp - 0x100, code)):
        for number, value in zip(SYSENTER, values, strict=True):
            g.call("WRMSR", ecx=number, eax=value, edx=0)
        for number, value in zip(SYSENTER, values, strict=True):
            read = g.call("RDMSR", ecx=number)
            g.expect_equal(read.eax, value, f"RDMSR of {number:#x} after WRMSR")
            g.expect_equal(read.edx, 0, f"the upper half of {number:#x}")
    state = g.enter_user("user.sysenter", may_fault=True)
    if g.expect_stopped(state, "SYSENTER enters the kernel where WRMSR has said"):
        g.expect_equal(state.eip, code + len(STOP), "EIP there")
        g.expect_equal(state.esp, esp - 0x100, "ESP there")


def _gdt(g: VmiGuest) -> None:
    """SetGDT, GetGDT: two tables with different segments under one selector."""
    old, index = g.read(g.hello.number("kernel.gdt"), GDT_ENTRIES * 8).value, _free(g)
    for _ in range(2):
        (low, high), mark = _marked(g)
        table = bytearray(old)
        table[8 * index:8 * index + 8] = low.to_bytes(4, "little") + high.to_bytes(4, "little")
        base = g.direct(g.page())
        g.write(base, bytes(table))
        g.call("SetGDT", eax=_pointer(g, base, len(table) - 1))
        _seen(g, index << 3 | 3, mark, "the table that SetGDT loads")
        _stored(g, "GetGDT", base, len(table) - 1)


def _stored(g: VmiGuest, entry: str, base: int, limit: int) -> None:
    at = g.direct(g.page())
    g.call(entry, eax=at)
    expected = limit.to_bytes(2, "little") + base.to_bytes(4, "little")
    g.expect_equal(g.read(at, 6), expected, f"limit and base that {entry} stores")


def _idt(g: VmiGuest) -> None:
    """SetIDT, GetIDT, WriteIDTEntry: an invalid instruction enters the gate that is loaded or written."""
    old, index = g.read(g.hello.number("kernel.idt"), GATES * 8).value, int(Vector.UD)
    table, gates = g.hello.number("kernel.idt"), {at: old[8 * at:8 * at + 8] for at in (3, 4, index)}
    for vector in (3, 4):
        base = g.direct(g.page())
        g.write(base, old[:8 * index] + gates[vector] + old[8 * index + 8:])
        g.call("SetIDT", eax=_pointer(g, base, len(old) - 1))
        state = g.execute("kernel.ud2", may_fault=True)
        g.expect_fault(state, vector, "an invalid instruction under the table that SetIDT loads")
        _stored(g, "GetIDT", base, len(old) - 1)
    g.call("SetIDT", eax=_pointer(g, table, len(old) - 1))
    for vector in (3, index, 4):
        low, high = (int.from_bytes(gates[vector][at:at + 4], "little") for at in (0, 4))
        g.call("WriteIDTEntry", eax=table, edx=index, ecx=low, stack=(high,))
        state = g.execute("kernel.ud2", may_fault=True)
        g.expect_fault(state, vector, "an invalid instruction under the gate that WriteIDTEntry writes")


def _write_gdt(g: VmiGuest, index: int, descriptor: tuple[int, int]) -> None:
    g.call("WriteGDTEntry", eax=g.hello.number("kernel.gdt"), edx=index, ecx=descriptor[0],
           stack=(descriptor[1],))


def _gdt_entry(g: VmiGuest) -> None:
    index = _free(g, 2)
    for at in (index, index + 1, index):
        descriptor, mark = _marked(g)
        _write_gdt(g, at, descriptor)
        _seen(g, at << 3 | 3, mark, "the descriptor that WriteGDTEntry writes")


def _ldt(g: VmiGuest) -> None:
    """SetLDT, GetLDT, WriteLDTEntry: two tables, each with two segments."""
    index = _free(g, 2)
    for at in (index, index + 1):
        base = g.direct(g.page())
        _write_gdt(g, at, _descriptor(base, 8 * 4 - 1, LDT))
        g.call("SetLDT", eax=at << 3)
        for slot in (1, 3):
            (low, high), mark = _marked(g)
            g.call("WriteLDTEntry", eax=base, edx=slot, ecx=low, stack=(high,))
            _seen(g, slot << 3 | 7, mark, "the local table that SetLDT loads")
        g.expect_equal(g.call("GetLDT").eax, at << 3, "the selector that GetLDT tells", mask=0xFFFF)


def _tr(g: VmiGuest) -> None:
    """SetTR, GetTR: two further tasks' segments, whose stacks the next trap of the user takes."""
    index, old = _free(g, 2), g.read(g.hello.number("kernel.tss"), TSS_SIZE).value
    esp0 = int.from_bytes(old[TSS_ESP0:TSS_ESP0 + 4], "little")
    for at, offset in ((index, 0x140), (index + 1, 0x280)):
        base, esp = g.direct(g.page()), esp0 - offset
        g.write(base, old[:TSS_ESP0] + esp.to_bytes(4, "little") + old[TSS_ESP0 + 4:])
        _write_gdt(g, at, _descriptor(base, TSS_SIZE - 1, TSS))
        g.call("SetTR", eax=at << 3)
        g.write32(esp - 8, 0)
        g.enter_user("user.int80", esp=g.user_stack - offset, may_fault=True)
        g.expect_equal(g.read32(esp - 8), g.user_stack - offset, "ESP of the user below the new ESP0")
        g.expect_equal(g.call("GetTR").eax, at << 3, "the selector that GetTR tells", mask=0xFFFF)


def _dr(g: VmiGuest) -> None:
    """SetDR, GetDR: MOV to and from DR0 to DR3. The kernel has no native form of the calls: it uses the
    instructions themselves."""
    for turn in (0, 0xFFFF_FFFF):
        values = [g.poison() ^ turn for _ in range(4)]
        codes = [(b"\x0F\x23" + bytes([0xC0 | number << 3]) + b"\xC3",
                  b"\x0F\x21" + bytes([0xC0 | number << 3]) + b"\xC3") for number in range(4)]
        code = g.direct(g.page())
        for number, (write, read) in enumerate(codes):
            g.write(code + 32 * number, write)
            g.write(code + 32 * number + 16, read)
        for number, value in enumerate(values):
            g.execute(code + 32 * number, eax=value)
        for number, value in enumerate(values):
            g.expect_equal(g.execute(code + 32 * number + 16).eax, value, f"DR{number} after MOV to it")


def _wbinvd(g: VmiGuest) -> None:
    mark = g.poison()
    page = g.page_with(mark)
    g.expect_returned(g.call("WBINVD"), "WBINVD")
    g.expect_equal(g.read32(page, phys=True), mark, "memory behind WBINVD")


def _rdtsc(g: VmiGuest) -> None:
    states = [g.call("RDTSC") for _ in range(3)]
    counts = [state.edx << 32 | state.eax for state in states]
    g.expect(counts == sorted(counts), "the counts that RDTSC tells do not go down", seen=tuple(counts))
    g.expect(counts[0] < counts[2], "they go on", seen=tuple(counts))


def _ports(g: VmiGuest) -> None:
    """INB, OUTB, INSB, OUTSB at the mask of the interrupt controller, all requests held back."""
    for value in (0xA5, 0x5E):
        g.call("OUTB", edx=MASTER_MASK, eax=value)
        g.expect_equal(g.port_in(MASTER_MASK), value, "the port after OUTB")
        g.expect_equal(g.call("INB", edx=MASTER_MASK).eax, value, "what INB reads", mask=0xFF)
        page = g.direct(g.page())
        g.write(page, bytes([0x11, 0x22, value ^ 0xFF]))
        g.call("INSB", edx=MASTER_MASK, edi=page + 16, ecx=3)
        g.expect_equal(g.read(page + 15, 5), bytes([0, value, value, value, 0]), "what INSB stores")
        g.call("OUTSB", edx=MASTER_MASK, esi=page, ecx=3)
        g.expect_equal(g.port_in(MASTER_MASK), value ^ 0xFF, "the port after OUTSB")


def _iodelay(g: VmiGuest) -> None:
    g.expect_preserved(g.call("IODelay"), "ebx", "esi", "edi", "ebp")


def _set_pxe_long(g: VmiGuest) -> None:
    at = g.direct(g.page()) + 8
    for low, high in ((0x1234_5000, 0x0000_0007), (0x5432_1002, 0)):
        g.call("SetPxELong", eax=low, edx=high, ecx=at, stack=(0,))
        g.expect_equal(g.read(at, 8), low.to_bytes(4, "little") + high.to_bytes(4, "little"), "the entry")


LATER: dict[tuple[str, ...], Callable[[VmiGuest], None]] = {
    ("CPUID",): _cpuid, ("WRMSR", "RDMSR"): _msr, ("SetGDT", "GetGDT"): _gdt,
    ("SetIDT", "GetIDT", "WriteIDTEntry"): _idt, ("WriteGDTEntry",): _gdt_entry,
    ("SetLDT", "GetLDT", "WriteLDTEntry"): _ldt, ("SetTR", "GetTR"): _tr, ("SetDR", "GetDR"): _dr,
    ("WBINVD",): _wbinvd, ("RDTSC",): _rdtsc, ("INB", "OUTB", "INSB", "OUTSB"): _ports,
    ("IODelay",): _iodelay, ("SetPxELong",): _set_pxe_long,
}
"""Calls whose native form is plain, and what shows their effect. Not here: RDPMC and the local APIC, which a
processor may lack; further widths of port access, for want of a port that both engines have; SetIOPLMask,
the calls of time, start-up and power, which no instruction alone replaces."""
