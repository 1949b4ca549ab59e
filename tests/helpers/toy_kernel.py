# SPDX-License-Identifier: BSD-2-Clause
"""The guest's side of a session in Python: answers batches as the test kernel would.

`ToySession` behaves as told: it can add wrongly, fault, hang, die, be killed, or answer damaged bytes.
"""

from __future__ import annotations

import struct
from collections.abc import Callable
from types import MappingProxyType

from abidance.errors import FrameError, GuestCrashed, GuestTimeout, SessionLost, UsageError
from abidance.kernel import Hello

NAMES = ("eax", "ecx", "edx", "ebx", "esp", "ebp", "esi", "edi", "eip", "eflags", "cs", "ss", "ds", "es",
         "fs", "gs")
RETURNED, FAULT, STOP, NOT_CALLABLE = range(4)
UNKNOWN = (1 << 64) - 1


def hello(offers: tuple[int, ...] = (1, 2)) -> Hello:
    """What the toy's kernel announces."""
    items: dict[str, int | bytes] = {"protocol": 1, "registers": len(NAMES), "port": b"toy", "abi.active": 1,
                                     "fragment.kernel.ret": 0xC0100000}
    items |= {f"register.{index}": name.encode() for index, name in enumerate(NAMES)}
    items |= {f"reloc.{number}": 1 << 32 | 0xC00C0000 for number in offers}
    return Hello(MappingProxyType(items))


def state(before: list[int], after: list[int], outcome: int = RETURNED, *, vector: int = 0, error: int = 0,
          fault_eip: int = 0, cr2: int = 0) -> bytes:
    """The values of a State record."""
    tail = [vector, error, fault_eip, 0x60, cr2, 0x2, 0xC0101000, 0, 0, 1, 0xC00C0000, UNKNOWN]
    values = [outcome, len(NAMES), *before, *after, *tail]
    return struct.pack(f"<{len(values)}Q", *values)


def record(op: int, index: int, values: bytes = b"", blob: bytes = b"", status: int = 0) -> bytes:
    """A record of a result."""
    return struct.pack("<HHHHII", op, status, len(values) // 8, 0, index, len(blob)) + values + blob \
        + bytes(-len(blob) % 8)


class ToySession:
    """A session whose Add is `add`; `behaviour` is what call 2 (Echo) does instead of echoing."""

    def __init__(self, add: Callable[[int], int] = lambda value: value + 1, behaviour: str = "good",
                 offers: tuple[int, ...] = (1, 2)) -> None:
        self.add, self.behaviour, self.hello = add, behaviour, hello(offers)
        self.memory: dict[int, int] = {}
        self.resets = self.exchanges = 0
        self.closed = False

    def exchange(self, batch: bytes, *, deadline: float | None = None) -> bytes:
        if self.closed:
            raise SessionLost("the session is closed")
        self.exchanges += 1
        count, _ = struct.unpack_from("<II", batch)
        offset, records = 8, []
        for index in range(count):
            code, nargs, length = struct.unpack_from("<HHI", batch, offset)
            args = struct.unpack_from(f"<{nargs}Q", batch, offset + 8)
            start = offset + 8 + 8 * nargs
            records.append(self.carry_out(code, args, batch[start:start + length], index))
            offset = start + length + -length % 8
        answer = struct.pack("<II", count, 0) + b"".join(records)
        return answer[:-4] if self.behaviour == "cut" else answer

    def carry_out(self, code: int, args: tuple[int, ...], blob: bytes, index: int) -> bytes:
        if code == 2:
            return self.read(args, index)
        if code == 3:
            self.memory.update((args[1] + at, byte) for at, byte in enumerate(blob))
            return record(code, index)
        if code == 4:
            return self.call(args, index)
        if code == 11:
            return record(code, index)
        raise UsageError(f"the toy does not know op {code}")

    def read(self, args: tuple[int, ...], index: int) -> bytes:
        _, address, length = args
        if address == 0:
            return record(2, index, struct.pack("<4Q", 14, 0, 0, 0), status=1)
        data = bytes(self.memory.get(address + at, 0) for at in range(length))
        return record(2, index, blob=data)

    def call(self, args: tuple[int, ...], index: int) -> bytes:
        entry, _, _, count, _ = args[:5]
        pairs = args[5:5 + 2 * count]
        before = [0] * len(NAMES)
        for at in range(0, len(pairs), 2):
            before[pairs[at]] = pairs[at + 1]
        after = list(before)
        if entry == 1:
            after[0] = self.add(before[0]) & 0xFFFFFFFF
            return record(4, index, state(before, after))
        return self.echo(before, after, index)

    def echo(self, before: list[int], after: list[int], index: int) -> bytes:
        match self.behaviour:
            case "hang":
                raise GuestTimeout("the guest used up its budget")
            case "crash":
                raise GuestCrashed("triple fault")
            case "killed":
                raise SessionLost("the worker was killed")
            case "damaged":
                raise FrameError("the CRC does not match")
            case "fault":
                return record(4, index, state(before, after, FAULT, vector=13, error=8, fault_eip=0xC00C0010))
            case "none":
                return record(4, index, state(before, after, NOT_CALLABLE))
            case "clobber":
                after[3] ^= 1
            case "wrong":
                after[0] ^= 1
            case "refuse":
                return record(4, index, struct.pack("<Q", 1), status=2)
        return record(4, index, state(before, after))

    def control(self, command: str, **values: int) -> int:
        raise UsageError(f"the toy cannot {command}")

    def reset(self) -> None:
        if self.closed:
            raise SessionLost("the session is closed")
        self.resets += 1
        self.memory.clear()

    def close(self) -> None:
        self.closed = True
