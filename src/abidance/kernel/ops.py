# SPDX-License-Identifier: BSD-2-Clause
"""Ops: what the host asks the test kernel to do, as frozen dataclasses that encode themselves.

A batch is ``u32 count, u32 0`` and then for each op ``u16 code, u16 nargs, u32 blob length``, ``nargs``
u64 arguments, and the blob padded with zeros to 8 bytes (little endian). The kernel carries the ops out
in order and answers one record for each (``records.py``). docs/test-kernel.md describes each op.

Codes below 0x100 belong to the kernel; from 0x100 on they belong to the ABI's module (``AbiOp``).
Registers are pairs (index in the register table that HELLO announces, value).
"""

from __future__ import annotations

import struct
from collections.abc import Sequence
from dataclasses import dataclass
from enum import IntEnum
from typing import ClassVar, Protocol, runtime_checkable

from abidance.errors import UsageError

__all__ = [
    "ABI_OPS",
    "DEFAULT",
    "MAX_BATCH",
    "MAX_READ",
    "MAX_RESULT",
    "NATIVE_RETURN",
    "AbiOp",
    "Call",
    "Echo",
    "Execute",
    "Key",
    "Log",
    "Mode",
    "Op",
    "Poll",
    "PortIn",
    "PortOut",
    "Read",
    "Registers",
    "Set",
    "Space",
    "Transfer",
    "Write",
    "encode_batch",
]

MAX_BATCH = 0x3F000 - 28
"""Longest batch payload in bytes (the mailbox's host-to-kernel area less a frame's overhead)."""
MAX_RESULT = 0xC0000 - 28
"""Longest result payload in bytes."""
MAX_READ = 0x40000
"""Most bytes that one Read may ask for."""
DEFAULT = 0xFFFF_FFFF_FFFF_FFFF
"""Argument that means "not given": the kernel takes its default."""
NATIVE_RETURN = 0xFFFF
"""``Transfer.how``: the processor's own return from interrupt, whatever the ABI offers."""
ABI_OPS = 0x100
_HEAD = struct.Struct("<HHI")
_STATE_RESULT = 16 + 8 * (2 + 2 * 40 + 12)

Registers = tuple[tuple[int, int], ...]


class Space(IntEnum):
    """Address space of Read and Write."""

    LINEAR = 0
    PHYSICAL = 1


class Mode(IntEnum):
    """How Call and Transfer reach an entry point."""

    RELOCATION = 0
    """By a near call through the fetched relocation."""
    INLINE = 1
    """From a site patched with a near call, a jump, nops or native code, as real guests do."""
    NATIVE = 2
    """By the native instruction, whatever the ABI offers."""


class Key(IntEnum):
    """What Set changes. ``POISON + i``: default value of register i in Call, Execute and Transfer."""

    IRQ_POLICY = 1
    """0: log and return from an interrupt (default); 1: if it interrupts a routine, log it and end the op."""
    MARKER = 2
    """1: write port doorbell + 1 (EAX = target address) just before the target's registers are loaded."""
    ACKNOWLEDGE = 3
    """0: send end-of-interrupt for a logged interrupt (default); 1: do not."""
    POISON = 16


@runtime_checkable
class Op(Protocol):
    """Anything that can stand in a batch."""

    @property
    def number(self) -> int:
        """Code of the op, u16."""

    @property
    def answer_limit(self) -> int:
        """Most bytes that the op's record can have."""

    def encode(self) -> bytes:
        """The op's bytes in a batch."""


def _pack(code: int, arguments: Sequence[int], blob: bytes = b"") -> bytes:
    for argument in arguments:
        if not 0 <= argument <= DEFAULT:
            raise UsageError(f"op {code:#x}: the argument {argument:#x} is not an unsigned 64-bit number")
    head = _HEAD.pack(code, len(arguments), len(blob))
    return head + struct.pack(f"<{len(arguments)}Q", *arguments) + blob + bytes(-len(blob) % 8)


def _optional(value: int | None) -> int:
    return DEFAULT if value is None else value


def _registers(registers: Registers) -> list[int]:
    return [number for pair in registers for number in pair]


@dataclass(frozen=True)
class Echo:
    """1 ECHO: answer the same arguments and the same blob."""

    arguments: tuple[int, ...] = ()
    blob: bytes = b""
    number: ClassVar[int] = 1

    @property
    def answer_limit(self) -> int:
        """Header, arguments, padded blob."""
        return 24 + 8 * len(self.arguments) + len(self.blob)

    def encode(self) -> bytes:
        """Arguments and blob as they are."""
        return _pack(self.number, self.arguments, self.blob)


@dataclass(frozen=True)
class Read:
    """2 READ: bytes of memory, by 32-bit loads where address and length are multiples of 4."""

    space: Space
    address: int
    length: int
    number: ClassVar[int] = 2

    @property
    def answer_limit(self) -> int:
        """Header, fault values, padded blob."""
        return 64 + self.length

    def encode(self) -> bytes:
        """space, address, length."""
        if not 0 <= self.length <= MAX_READ:
            raise UsageError(f"cannot read {self.length} bytes with one op; the most is {MAX_READ}")
        return _pack(self.number, (self.space, self.address, self.length))


@dataclass(frozen=True)
class Write:
    """3 WRITE: bytes to memory, by 32-bit stores where address and length are multiples of 4."""

    space: Space
    address: int
    data: bytes
    number: ClassVar[int] = 3
    answer_limit: ClassVar[int] = 64

    def encode(self) -> bytes:
        """space, address; blob: the data."""
        return _pack(self.number, (self.space, self.address), self.data)


@dataclass(frozen=True)
class Call:
    """4 CALL: an entry point of the ABI. Answers State.

    ``flags`` None: only the reserved bit set, interrupt flag as it is. ``stack`` is pushed so that
    ``stack[0]`` lies just above the return address.
    """

    entry: int
    mode: Mode = Mode.RELOCATION
    flags: int | None = None
    registers: Registers = ()
    stack: tuple[int, ...] = ()
    number: ClassVar[int] = 4
    answer_limit: ClassVar[int] = _STATE_RESULT

    def encode(self) -> bytes:
        """entry, mode, flags, register count, stack count, (index, value)…, stack words…."""
        return _pack(self.number, (self.entry, self.mode, _optional(self.flags), len(self.registers),
                                   len(self.stack), *_registers(self.registers), *self.stack))


@dataclass(frozen=True)
class Execute:
    """5 EXEC: kernel-mode code at a linear address, entered by a near call. Answers State."""

    address: int
    flags: int | None = None
    registers: Registers = ()
    stack: tuple[int, ...] = ()
    number: ClassVar[int] = 5
    answer_limit: ClassVar[int] = _STATE_RESULT

    def encode(self) -> bytes:
        """address, flags, register count, stack count, (index, value)…, stack words…."""
        return _pack(self.number, (self.address, _optional(self.flags), len(self.registers), len(self.stack),
                                   *_registers(self.registers), *self.stack))


@dataclass(frozen=True)
class Transfer:
    """6 TRANSFER: leave by the ABI's return entry ``how`` (VMI: 33 IRET, 34 SYSEXIT). Answers State.

    A frame EIP, CS, EFLAGS and, if ``sp`` is given, ESP, SS is built on the op stack. For SYSEXIT, EDX is
    ``pc`` and ECX is ``sp``. ``frame_extra`` words follow (ES, DS, FS, GS of a return to V8086).
    """

    how: int
    pc: int
    cs: int | None = None
    flags: int | None = None
    sp: int | None = None
    ss: int | None = None
    registers: Registers = ()
    frame_extra: tuple[int, ...] = ()
    mode: Mode = Mode.INLINE
    number: ClassVar[int] = 6
    answer_limit: ClassVar[int] = _STATE_RESULT

    def encode(self) -> bytes:
        """how, mode, pc, cs, flags, sp, ss, register count, extra count, (index, value)…, extra words…."""
        frame = (_optional(word) for word in (self.cs, self.flags, self.sp, self.ss))
        return _pack(self.number, (self.how, self.mode, self.pc, *frame, len(self.registers),
                                   len(self.frame_extra), *_registers(self.registers), *self.frame_extra))


@dataclass(frozen=True)
class Log:
    """7 LOG: take all entries out of the kernel's trap log."""

    number: ClassVar[int] = 7
    answer_limit: ClassVar[int] = 32 + 256 * 128

    def encode(self) -> bytes:
        """No argument."""
        return _pack(self.number, ())


@dataclass(frozen=True)
class PortIn:
    """8 IN: read an I/O port with ``size`` 1, 2 or 4 bytes."""

    port: int
    size: int = 1
    number: ClassVar[int] = 8
    answer_limit: ClassVar[int] = 64

    def encode(self) -> bytes:
        """port, size."""
        return _pack(self.number, (self.port, self.size))


@dataclass(frozen=True)
class PortOut:
    """9 OUT: write an I/O port with ``size`` 1, 2 or 4 bytes."""

    port: int
    value: int
    size: int = 1
    number: ClassVar[int] = 9
    answer_limit: ClassVar[int] = 64

    def encode(self) -> bytes:
        """port, size, value."""
        return _pack(self.number, (self.port, self.size, self.value))


@dataclass(frozen=True)
class Poll:
    """10 POLL: read an 8-bit port until ``byte & mask == value``, at most ``limit`` times."""

    port: int
    mask: int
    value: int
    limit: int
    number: ClassVar[int] = 10
    answer_limit: ClassVar[int] = 64

    def encode(self) -> bytes:
        """port, mask, value, limit."""
        return _pack(self.number, (self.port, self.mask, self.value, self.limit))


@dataclass(frozen=True)
class Set:
    """11 SET: change a setting of the kernel (see Key) until the session is reset."""

    key: int
    value: int
    number: ClassVar[int] = 11
    answer_limit: ClassVar[int] = 64

    def encode(self) -> bytes:
        """key, value."""
        return _pack(self.number, (self.key, self.value))


@dataclass(frozen=True)
class AbiOp:
    """An op of the ABI's module, code 0x100 or above; answers State. VMI: 0x100 RELOC(number, EDX)."""

    number: int
    arguments: tuple[int, ...] = ()
    blob: bytes = b""
    answer_limit: ClassVar[int] = _STATE_RESULT

    def encode(self) -> bytes:
        """Arguments and blob as they are."""
        if not ABI_OPS <= self.number <= 0xFFFF:
            raise UsageError(f"{self.number:#x} is not the code of an op of an ABI module")
        return _pack(self.number, self.arguments, self.blob)


def encode_batch(ops: Sequence[Op]) -> bytes:
    """Payload of the BATCH frame. Raises UsageError if batch or result could be too long for the mailbox."""
    payload = struct.pack("<II", len(ops), 0) + b"".join(op.encode() for op in ops)
    if len(payload) > MAX_BATCH or 8 + sum(op.answer_limit for op in ops) > MAX_RESULT:
        raise UsageError(f"a batch of {len(ops)} ops is too long for the mailbox; send it in parts")
    return payload
