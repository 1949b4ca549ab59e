# SPDX-License-Identifier: BSD-2-Clause
"""Finds where this build of Unicorn keeps what has no register id, and refuses to guess.

Runs a dozen instructions whose effect is known, in an engine of its own, at CPL 0, 1 and 3, and
compares the contexts that `uc_context_save` gives. Each of the four fields must be found in exactly
one place; otherwise `measure` says so and nothing runs. Takes 6 ms, once per process.
"""

from __future__ import annotations

import ctypes
import struct
from functools import cache

from unicorn import unicorn_const, x86_const

from abidance.errors import UnavailableError
from abidance.platform.unicorn.engine import CS, EAX, EIP, ESP, Engine, Layout
from abidance.platform.unicorn.ram import PAGE, Ram

__all__ = ["measure"]

_VERSION = f"{unicorn_const.UC_API_MAJOR}.{unicorn_const.UC_API_MINOR}.{unicorn_const.UC_API_PATCH}"


@cache
def measure() -> Layout:
    """The offsets. Raises UnavailableError if this Unicorn does not fit."""
    return _Calibration().layout()


_GDT, _CODE, _STACK, _ENTRY, _DIRECTORY = 0x2000, 0x1000, 0x8000, 0x1010, 0x3000
_FLAT = 0x00CF_0000_0000_FFFF


class _Calibration:
    """Runs a dozen instructions in an engine of its own at CPL 0, 1 and 3 and compares contexts."""

    def __init__(self) -> None:
        self.ram = Ram(16 * PAGE)
        self.engine = Engine([self.ram])
        descriptors = [0]
        for dpl in (0, 1, 3):
            descriptors += [_FLAT | (0x9B | dpl << 5) << 40, _FLAT | (0x93 | dpl << 5) << 40]
        self.ram.write(_GDT, struct.pack("<7Q", *descriptors))
        # One page of user code and data each way; linear 200000h is mapped nowhere.
        table = _DIRECTORY + PAGE
        self.ram.write(_DIRECTORY, struct.pack("<I", table | 7))
        self.ram.write(table, struct.pack("<16I", *(page << 12 | 7 for page in range(16))))
        self.ram.write(_CODE, b"\xCF")  # iretl
        # mov (%eax),%ebx; mov %ebx,(%eax); int $13; nop …
        self.ram.write(_ENTRY, bytes.fromhex("8b18 8918 cd0d 90909090"))
        engine = self.engine
        engine.set(x86_const.UC_X86_REG_GDTR, (0, _GDT, 0xFF, 0))
        engine.set(x86_const.UC_X86_REG_CR3, _DIRECTORY)
        engine.set(x86_const.UC_X86_REG_CR0, 0x80010011)
        engine.write_stack_and_code(0x10, 0x08)
        engine.set(x86_const.UC_X86_REG_DS, 0x33)
        engine.save()
        self.fresh = engine.contents()

    def enter(self, cpl: int) -> bytes:
        """A context at `cpl`, by a real iretd."""
        self.engine.replace(self.fresh)
        code, stack = {0: (0x08, 0x10), 1: (0x19, 0x21), 3: (0x2B, 0x33)}[cpl]
        self.ram.write(_STACK, struct.pack("<5I", _ENTRY, code, 0x202, _STACK + 0x100, stack))
        self.engine.all.read()
        values = self.engine.values
        values[EIP], values[ESP], values[EAX] = _CODE, _STACK, 0x20_0000
        self.engine.run(1)
        if values[EIP] != _ENTRY or values[CS] & 3 != cpl:
            raise _unfit("iretd does not reach another ring")
        self.engine.save()
        return self.engine.contents()

    def step(self, eip: int, vector: int) -> bytes:
        """The context after one instruction that must end in `vector`."""
        self.engine.values[EIP] = eip
        self.engine.run(10)
        if self.engine.vector != vector:
            raise _unfit(f"interrupt {self.engine.vector} where {vector} was due")
        self.engine.save()
        return self.engine.contents()

    def layout(self) -> Layout:
        zero, one, three = self.enter(0), self.enter(1), self.enter(3)
        cpl = _only("the privilege level", [
            i for i, values in enumerate(zip(zero, one, three, strict=True))
            if [value & 3 for value in values] == [0, 1, 3] and len({value & 0xFC for value in values}) == 1])
        read = self.step(_ENTRY, 14)
        self.enter(3)
        wrote = self.step(_ENTRY + 2, 14)
        software = self.step(_ENTRY + 4, 13)
        old = _only("old_exception", [
            i for i in _words(three) if (_at(three, i), _at(read, i)) == (0xFFFFFFFF, 14)])
        error = _only("the error code", [
            i for i in _words(three) if (_at(read, i), _at(wrote, i)) == (4, 6)])
        is_int = _only("the kind of interrupt", [
            i for i in range(error - 64, error + 64, 4)
            if (_at(read, i), _at(wrote, i), _at(software, i)) == (0, 0, 1)])
        return Layout(cpl, error, is_int, old, self.counter())

    def counter(self) -> int:
        """The engine's instruction counter stands before the limit; a run that the limit ended
        leaves it at limit + 1. Reads only memory that malloc gave to the engine."""
        libc = ctypes.CDLL(None)
        libc.malloc_usable_size.argtypes, libc.malloc_usable_size.restype = [ctypes.c_void_p], ctypes.c_size_t
        size = libc.malloc_usable_size(self.engine.handle)
        found: set[int] | None = None
        for limit in (3, 2):
            self.enter(0)
            self.engine.values[EIP] = _ENTRY + 6
            self.engine.run(limit)
            memory = ctypes.string_at(self.engine.handle.value or 0, size)
            pattern = struct.pack("<QQ", limit + 1, limit)
            here = {i for i in range(0, size - 15, 8) if memory[i:i + 16] == pattern}
            found = here if found is None else found & here
        return _only("the instruction counter", sorted(found or ()))


def _words(context: bytes) -> range:
    return range(0, len(context) - 3, 4)


def _at(context: bytes, offset: int) -> int:
    return int.from_bytes(context[offset:offset + 4], "little")


def _only(what: str, places: list[int]) -> int:
    if len(places) != 1:
        raise _unfit(f"{what} is in {len(places)} places")
    return places[0]


def _unfit(why: str) -> UnavailableError:
    return UnavailableError(f"unicorn {_VERSION} does not keep its CPU as expected: {why}",
                            remedy="pip install unicorn==2.1.4")
