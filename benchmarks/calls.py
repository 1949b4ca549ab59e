# SPDX-License-Identifier: BSD-2-Clause
"""What a call costs on the reference: the rate of calls that trap, the length of those that do not."""

from __future__ import annotations

import contextlib
import struct
import time
from collections.abc import Iterator
from typing import Any

from unicorn import unicorn_const, unicorn_py3, x86_const

from abidance.abi import find_abi
from abidance.abi.vmi.guest import VmiGuest
from abidance.check.bench import make_bench
from abidance.kernel import Key
from abidance.suite.target import parse_target
from benchmarks.figures import Figure, alternate

__all__ = ["trapping_calls", "untrapped_instructions"]

CALLS = 20_000
INTERRUPT_CALLS = ("EnableInterrupts", "DisableInterrupts", "GetInterruptMask", "SetInterruptMask")


@contextlib.contextmanager
def _guest(target: str = "reference") -> Iterator[VmiGuest]:
    abi = find_abi("vmi")
    bench = make_bench(abi, parse_target(target, abi.implementations), seed=1)
    session = bench.boot()
    try:
        yield VmiGuest(session, abi.spec, bench.profile, case="benchmark")
    finally:
        session.close()


def _loop(guest: VmiGuest, target: int) -> int:
    """Code that calls `target` EBX times with the same EAX; its linear address."""
    linear = guest.direct(guest.page())
    code = bytearray(b"\x89\xf0\xe8\0\0\0\0\x4b\x75\xf6\xc3")  # mov %esi,%eax; call; dec %ebx; jnz; ret
    struct.pack_into("<I", code, 3, (target - (linear + 7)) & 0xFFFFFFFF)
    guest.write(linear, bytes(code))
    return linear


def _calls_per_second(guest: VmiGuest, code: int) -> float:
    start = time.perf_counter()
    done = guest.execute(code, ebx=CALLS, esi=0x1234)
    if done.ebx != 0:
        raise RuntimeError("the loop did not run to its end")
    return CALLS / (time.perf_counter() - start)


def _empty_hook_per_second() -> float:
    """`int n` into an empty Python hook, the loop otherwise like ours."""
    engine: Any = unicorn_py3
    uc = engine.Uc(unicorn_const.UC_ARCH_X86, unicorn_const.UC_MODE_32)
    uc.mem_map(0x1000, 0x2000)
    uc.mem_write(0x1000, b"\x89\xf0\xe8\x04\0\0\0\x4b\x75\xf6\xf4\xcd\x80\xc3")  # … hlt; int $0x80; ret
    uc.hook_add(unicorn_const.UC_HOOK_INTR, lambda _uc, _number, _data: None)
    uc.reg_write(x86_const.UC_X86_REG_ESP, 0x2F00)
    uc.reg_write(x86_const.UC_X86_REG_EBX, CALLS)
    start = time.perf_counter()
    uc.emu_start(0x1000, 0x100A)
    if uc.reg_read(x86_const.UC_X86_REG_EBX) != 0:
        raise RuntimeError("the empty loop did not run to its end")
    return CALLS / (time.perf_counter() - start)


def trapping_calls() -> list[Figure]:
    """Calls of SetCR2, which always trap, over traps into an empty hook."""
    with _guest() as guest:
        code = _loop(guest, guest.hello.number("reloc.16") & 0xFFFFFFFF)
        ours, empty = alternate(lambda: _calls_per_second(guest, code), _empty_hook_per_second)
    note = f"{ours / 1000:.0f} k calls/s, {empty / 1000:.0f} k empty traps/s"
    return [Figure("trapping calls over empty int n hook", ours / empty, 0.1, at_least=True, note=note)]


def _instructions(guest: VmiGuest, code: int, times: int) -> int:
    guest.set(Key.MARKER, 1)
    guest.execute(code, ebx=times, esi=0).eax  # noqa: B018 (reading runs the batch)
    return guest.control("count")


def untrapped_instructions() -> list[Figure]:
    """Guest instructions of each interrupt call, CALL and RET included, on the reference."""
    figures = []
    with _guest() as guest:
        for name in INTERRUPT_CALLS:
            number = guest.entry_number(name)
            code = _loop(guest, guest.hello.number(f"reloc.{number}") & 0xFFFFFFFF)
            own = 3  # mov, dec and jnz of our loop
            difference = _instructions(guest, code, CALLS + 1) - _instructions(guest, code, 1)
            length = round(difference / CALLS - own, 2)
            figures.append(Figure(f"guest instructions of {name}", length, 12, at_least=False))
    return figures
