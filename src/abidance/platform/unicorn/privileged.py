# SPDX-License-Identifier: BSD-2-Clause
"""Decodes the privileged and sensitive instructions of 32-bit x86 code, and nothing else.

`decode` takes the bytes at EIP and names the instruction, its length and its operand; whoever
emulates a guest outside CPL 0 decides what it does. Anything not in the table is None, which is
the normal case: most general-protection faults are just that.

Facts: Intel SDM volume 2, opcode maps; volume 3, "Privileged instructions".
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from enum import Enum, auto

__all__ = ["Instruction", "Operand", "Privileged", "decode"]

LONGEST = 15


class Privileged(Enum):
    """The instructions `decode` knows. `mov` to and from control and debug registers are apart."""

    CLI = auto()
    STI = auto()
    HLT = auto()
    PUSHF = auto()
    POPF = auto()
    IRET = auto()
    INT = auto()
    IN = auto()
    OUT = auto()
    INS = auto()
    OUTS = auto()
    SLDT = auto()
    STR = auto()
    LLDT = auto()
    LTR = auto()
    SGDT = auto()
    SIDT = auto()
    LGDT = auto()
    LIDT = auto()
    SMSW = auto()
    LMSW = auto()
    INVLPG = auto()
    CLTS = auto()
    INVD = auto()
    WBINVD = auto()
    READ_CR = auto()
    WRITE_CR = auto()
    READ_DR = auto()
    WRITE_DR = auto()
    WRMSR = auto()
    RDTSC = auto()
    RDMSR = auto()
    RDPMC = auto()
    SYSENTER = auto()
    SYSEXIT = auto()


@dataclass(frozen=True, slots=True)
class Operand:
    """A register (`register` 0..7, EAX first) or memory at base + index * scale + displacement
    (`register` is None; absent base or index are None; `segment` 0..5 = CS SS DS ES FS GS in the
    order of `engine`, as register index)."""

    register: int | None
    base: int | None = None
    index: int | None = None
    scale: int = 1
    displacement: int = 0
    segment: int = 12

    def offset(self, registers: Callable[[int], int]) -> int:
        """The offset in the segment; `registers` maps 0..7 to the value of EAX…EDI."""
        at = self.displacement
        if self.base is not None:
            at += registers(self.base)
        if self.index is not None:
            at += registers(self.index) * self.scale
        return at & 0xFFFFFFFF


@dataclass(frozen=True, slots=True)
class Instruction:
    """One decoded instruction: `length` with prefixes, `number` the control or debug register or
    the interrupt vector, `wide` False with an operand-size prefix."""

    kind: Privileged
    length: int
    number: int = 0
    operand: Operand | None = None
    wide: bool = True


_SEGMENTS = {0x2E: 10, 0x36: 11, 0x3E: 12, 0x26: 13, 0x64: 14, 0x65: 15}
_IGNORED = {0xF2, 0xF3}
_ONE = {
    0xFA: Privileged.CLI, 0xFB: Privileged.STI, 0xF4: Privileged.HLT, 0x9C: Privileged.PUSHF,
    0x9D: Privileged.POPF, 0xCF: Privileged.IRET, 0xEC: Privileged.IN, 0xED: Privileged.IN,
    0xEE: Privileged.OUT, 0xEF: Privileged.OUT, 0x6C: Privileged.INS, 0x6D: Privileged.INS,
    0x6E: Privileged.OUTS, 0x6F: Privileged.OUTS,
}
_ONE_BYTE = {
    0xCD: Privileged.INT, 0xE4: Privileged.IN, 0xE5: Privileged.IN, 0xE6: Privileged.OUT,
    0xE7: Privileged.OUT,
}
_TWO = {
    0x06: Privileged.CLTS, 0x08: Privileged.INVD, 0x09: Privileged.WBINVD, 0x30: Privileged.WRMSR,
    0x31: Privileged.RDTSC, 0x32: Privileged.RDMSR, 0x33: Privileged.RDPMC, 0x34: Privileged.SYSENTER,
    0x35: Privileged.SYSEXIT,
}
_MOVES = {
    0x20: Privileged.READ_CR, 0x21: Privileged.READ_DR, 0x22: Privileged.WRITE_CR, 0x23: Privileged.WRITE_DR,
}
_GROUP6 = {0: Privileged.SLDT, 1: Privileged.STR, 2: Privileged.LLDT, 3: Privileged.LTR}
_GROUP7 = {
    0: Privileged.SGDT, 1: Privileged.SIDT, 2: Privileged.LGDT, 3: Privileged.LIDT, 4: Privileged.SMSW,
    6: Privileged.LMSW, 7: Privileged.INVLPG,
}
_MEMORY_ONLY = {Privileged.SGDT, Privileged.SIDT, Privileged.LGDT, Privileged.LIDT, Privileged.INVLPG}
_EBP, _ESP = 5, 4


def decode(code: bytes) -> Instruction | None:
    """The privileged or sensitive instruction at the start of `code` (up to 15 bytes; fewer if the
    next page is not there), or None. 16-bit addressing and LOCK are not decoded."""
    at, segment, wide = 0, None, True
    while at < len(code) and at < LONGEST:
        byte = code[at]
        if byte in _SEGMENTS:
            segment = _SEGMENTS[byte]
        elif byte == 0x66:
            wide = False
        elif byte not in _IGNORED:
            break
        at += 1
    try:
        return _opcode(code, at, segment, wide)
    except IndexError:
        return None


def _opcode(code: bytes, at: int, segment: int | None, wide: bool) -> Instruction | None:
    byte = code[at]
    if byte in _ONE:
        return Instruction(_ONE[byte], at + 1, wide=wide)
    if byte in _ONE_BYTE:
        return Instruction(_ONE_BYTE[byte], at + 2, number=code[at + 1], wide=wide)
    if byte != 0x0F:
        return None
    second = code[at + 1]
    if second in _TWO:
        return Instruction(_TWO[second], at + 2, wide=wide)
    if second in _MOVES:
        # The mod field of a move to or from a control register is ignored: always a register.
        modrm = code[at + 2]
        return Instruction(_MOVES[second], at + 3, modrm >> 3 & 7, Operand(modrm & 7))
    if second not in {0x00, 0x01}:
        return None
    kind = (_GROUP7 if second else _GROUP6).get(code[at + 2] >> 3 & 7)
    if kind is None:
        return None
    operand, length = _operand(code, at + 2, segment)
    if operand.register is not None and kind in _MEMORY_ONLY:
        return None
    return Instruction(kind, length, 0, operand, wide)


def _operand(code: bytes, at: int, segment: int | None) -> tuple[Operand, int]:
    """The operand of the ModRM byte at `at`, and the offset after it (32-bit addressing)."""
    modrm = code[at]
    mod, rm = modrm >> 6, modrm & 7
    at += 1
    if mod == 3:
        return Operand(rm), at
    base: int | None = rm
    index, scale = None, 1
    if rm == _ESP:
        sib = code[at]
        at += 1
        base, scale = sib & 7, 1 << (sib >> 6)
        index = None if sib >> 3 & 7 == _ESP else sib >> 3 & 7
    size = {0: 0, 1: 1, 2: 4}[mod]
    if mod == 0 and base == _EBP:
        base, size = None, 4
    if at + size > len(code):
        raise IndexError
    displacement = int.from_bytes(code[at:at + size], "little", signed=True)
    if segment is None:
        segment = 11 if base in {_EBP, _ESP} else 12
    return Operand(None, base, index, scale, displacement, segment), at + size
