# SPDX-License-Identifier: BSD-2-Clause
"""A small PC for the CPU model's tests: flat segments for rings 0, 1 and 3, an IDT whose 256
handlers only halt, a TSS, and paging with chosen holes.

    `lab.at(3, "int $0x42")` runs the instruction at CPL 3; the handler that is reached halts, so
    that `lab.vector`, `lab.frame()` and the registers show what the delivery did.
"""

from __future__ import annotations

import struct
import subprocess
import sys
import tempfile
from collections.abc import Callable
from functools import cache
from pathlib import Path

import pytest
from elftools.elf.elffile import ELFFile
from unicorn import x86_const

from abidance.platform.unicorn.cpu import Cpu, Exit
from abidance.platform.unicorn.engine import CS, EFLAGS, EIP, ESP, SS
from abidance.platform.unicorn.ram import PAGE, Ram

GDT, IDT, TSS, DIRECTORY, TABLE = 0x2000, 0x3000, 0x4000, 0x5000, 0x6000
CODE, HANDLERS, STACK0, STACK1, STACK3 = 0x8000, 0x10000, 0x20000, 0x22000, 0x24000
PAGES = 64
SELECTORS = {0: (0x08, 0x10), 1: (0x19, 0x21), 3: (0x2B, 0x33)}
STACKS = {0: STACK0, 1: STACK1, 3: STACK3}
TSS_SELECTOR, CALL_GATE = 0x38, 0x40


def descriptor(base: int, limit: int, access: int, flags: int) -> int:
    return (limit & 0xFFFF | (base & 0xFFFFFF) << 16 | access << 40 | (limit >> 16 & 15) << 48
            | flags << 52 | base >> 24 << 56)


@cache
def assemble(text: str, at: int) -> tuple[bytes, dict[str, int]]:
    """32-bit AT&T assembly as bytes for address `at`, and its labels."""
    with tempfile.TemporaryDirectory() as folder:
        source, script, output = (Path(folder) / name for name in ("a.S", "a.ld", "a.elf"))
        source.write_text(f".code32\n.text\n{text}\n")
        script.write_text(f"SECTIONS {{ . = {at:#x}; .text : {{ KEEP(*(.text)) }} "
                          "/DISCARD/ : { *(.note*) *(.comment) } }")
        subprocess.run([
            sys.executable, "-m", "ziglang", "cc", "-target", "x86-freestanding", "-nostdlib", "-static",
            f"-Wl,-T,{script}", "-Wl,-e,0", "-o", str(output), str(source)], check=True)
        with output.open("rb") as file:
            elf = ELFFile(file)
            table = elf.get_section_by_name(".symtab")
            labels = {symbol.name: symbol["st_value"] for symbol in table.iter_symbols() if symbol.name}
            return elf.get_section_by_name(".text").data(), labels


class Lab:
    def __init__(self) -> None:
        self.ram = Ram(PAGES * PAGE)
        self.written: list[tuple[int, int, int]] = []
        self.on_read: Callable[[int], int] = lambda port: port & 0xFF
        self.on_write: Callable[[int], None] = lambda port: None
        self.cpu = Cpu([self.ram], self)
        self.gates = dict.fromkeys(range(256), (0x08, 0x8E))
        self._tables()

    def read(self, port: int, size: int) -> int:
        return self.on_read(port)

    def write(self, port: int, size: int, value: int) -> None:
        self.written.append((port, size, value))
        self.on_write(port)

    def _tables(self) -> None:
        flat = [descriptor(0, 0xFFFFF, access | dpl << 5, 0xC)
                for dpl in (0, 1, 3) for access in (0x9B, 0x93)]
        tss = descriptor(TSS, 0x67, 0x89, 0)
        self.ram.write(GDT, struct.pack("<8Q", 0, *flat, tss))
        self.ram.write(TSS, struct.pack("<IIIII", 0, STACK0, 0x10, STACK1, 0x21))
        self.ram.write(DIRECTORY, struct.pack("<I", TABLE | 7))
        self.ram.write(TABLE, struct.pack(f"<{PAGES}I", *(page << 12 | 7 for page in range(PAGES))))
        self.ram.write(HANDLERS, (b"\xF4" + b"\x90" * 15) * 256)
        self.ram.write(0x1000, assemble(
            f"ltr %ax; mov ${DIRECTORY},%ebx; mov %ebx,%cr3; mov $0x80010011,%ebx; mov %ebx,%cr0; hlt",
            0x1000)[0])
        engine = self.cpu.engine
        engine.set(x86_const.UC_X86_REG_GDTR, (0, GDT, 0x7F, 0))
        engine.set(x86_const.UC_X86_REG_IDTR, (0, IDT, 0x7FF, 0))
        engine.write_stack_and_code(0x10, 0x08)
        self.cpu.regs[0], self.cpu.regs[EIP], self.cpu.regs[ESP] = TSS_SELECTOR, 0x1000, STACK0
        assert self.cpu.run(100) is Exit.HALT
        for segment in (12, 13, 14, 15):
            self.cpu.load_segment(segment, 0x33)

    def gate(self, vector: int, selector: int = 0x08, access: int = 0x8E) -> None:
        """Gate type and DPL are in `access`: 8E interrupt, 8F trap, EE interrupt with DPL 3."""
        self.gates[vector] = (selector, access)

    def protect(self, address: int, flags: int) -> None:
        """Page-table flags of one page (0 = not there)."""
        self.ram.words[(TABLE >> 2) + (address >> 12)] = (address & ~0xFFF | flags) if flags else 0
        self.cpu.flush_tlb()

    def entry(self, address: int) -> int:
        return self.ram.words[(TABLE >> 2) + (address >> 12)]

    def place(self, text: str, at: int = CODE) -> dict[str, int]:
        code, labels = assemble(text, at)
        self.ram.write(at, code)
        self.cpu.forget_code([(at, at + len(code))])
        return labels

    def at(self, ring: int, text: str, limit: int = 1000, flags: int = 0x202, **registers: int) -> Exit:
        """Run `text` at `ring` until the end of one delivery's handler, a halt or the limit."""
        self.start(ring, text, flags, **registers)
        return self.go(limit)

    def start(self, ring: int, text: str, flags: int = 0x202, **registers: int) -> None:
        for vector, (selector, access) in self.gates.items():
            handler = HANDLERS + 16 * vector
            self.ram.write(IDT + 8 * vector, struct.pack(
                "<HHHH", handler & 0xFFFF, selector, access << 8, handler >> 16))
        self.labels = self.place(text)
        regs = self.cpu.regs
        for index in range(8):
            regs[index] = 0xA0 + index
        code, stack = SELECTORS[ring]
        regs[EFLAGS] = flags
        self.cpu.load_ring(ring, code, stack)
        for name, value in registers.items():
            regs[["eax", "ecx", "edx", "ebx", "esp", "ebp", "esi", "edi"].index(name)] = value
        if "esp" not in registers:
            regs[ESP] = STACKS[ring]
        regs[EIP] = CODE

    def go(self, limit: int = 1000) -> Exit:
        result = self.cpu.run(limit)
        if result is Exit.EVENT:
            self.cpu.reflect()
            result = self.cpu.run(limit)
        return result

    @property
    def vector(self) -> int | None:
        """The handler the CPU halted in."""
        at = self.cpu.regs[EIP] - 1 - HANDLERS
        return at // 16 if 0 <= at < 4096 and at % 16 == 0 else None

    @property
    def cr2(self) -> int:
        return self.cpu.engine.get(x86_const.UC_X86_REG_CR2)

    def stack(self, count: int) -> list[int]:
        return list(struct.unpack(f"<{count}I", self.ram.read(self.cpu.regs[ESP], 4 * count)))

    @property
    def ring(self) -> int:
        assert self.cpu.regs[CS] & 3 == self.cpu.regs[SS] & 3 == self.cpu.cpl
        return self.cpu.cpl


@pytest.fixture
def lab() -> Lab:
    return Lab()
