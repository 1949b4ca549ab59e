# SPDX-License-Identifier: BSD-2-Clause
"""Instructions that Unicorn leaves to its user: in and out, SYSENTER, RDTSC, CPUID.

A raw hook swallows an exception; it is kept in `failure` for `Cpu.run` to raise.
"""

from __future__ import annotations

import ctypes
from collections.abc import Callable
from typing import Protocol

from unicorn import unicorn_const, x86_const

from abidance.platform.unicorn.engine import Engine

__all__ = ["Instructions", "Ports"]

_MASK = 0xFFFFFFFF
_CPUID_RESULTS = (x86_const.UC_X86_REG_EAX, x86_const.UC_X86_REG_EBX, x86_const.UC_X86_REG_ECX,
                  x86_const.UC_X86_REG_EDX)


class Ports(Protocol):
    """Port I/O. `size` is 1, 2 or 4; called while the CPU runs, so that only `Cpu.stop` and
    `Cpu.now` may be used from inside."""

    def read(self, port: int, size: int) -> int:
        """What `in` gets."""

    def write(self, port: int, size: int, value: int) -> None:
        """What `out` does."""


class Instructions:
    """Hooks on `engine`. `clock` is what RDTSC reads; `identify(EAX, ECX)` what CPUID leaves in EAX, EBX,
    ECX, EDX (None: Unicorn's own)."""

    def __init__(self, engine: Engine, ports: Ports) -> None:
        self._engine, self._ports = engine, ports
        self.clock: Callable[[], int] = lambda: 0
        self.identify: Callable[[int, int], tuple[int, int, int, int] | None] = lambda _leaf, _subleaf: None
        self.failure: BaseException | None = None
        self.sysenter = False
        pointer, word, number, kind = ctypes.c_void_p, ctypes.c_uint32, ctypes.c_int, ctypes.CFUNCTYPE
        table = (
            (x86_const.UC_X86_INS_IN, kind(word, pointer, word, number, pointer), self._in),
            (x86_const.UC_X86_INS_OUT, kind(None, pointer, word, number, word, pointer), self._out),
            (x86_const.UC_X86_INS_SYSENTER, kind(None, pointer, pointer), self._on_sysenter),
            (x86_const.UC_X86_INS_RDTSC, kind(number, pointer, pointer), self._rdtsc),
            (x86_const.UC_X86_INS_CPUID, kind(number, pointer, pointer), self._cpuid),
        )
        for instruction, prototype, body in table:
            engine.hook(unicorn_const.UC_HOOK_INSN, prototype, body, instruction)

    def _in(self, _uc: int, port: int, size: int, _data: int) -> int:
        try:
            return self._ports.read(port & 0xFFFF, size) & (1 << 8 * size) - 1
        except BaseException as error:  # noqa: BLE001 (raised again by run)
            self._fail(error)
            return 0

    def _out(self, _uc: int, port: int, size: int, value: int, _data: int) -> None:
        try:
            self._ports.write(port & 0xFFFF, size, value & (1 << 8 * size) - 1)
        except BaseException as error:  # noqa: BLE001 (raised again by run)
            self._fail(error)

    def _on_sysenter(self, _uc: int, _data: int) -> None:
        self.sysenter = True
        self._engine.stop()

    def _cpuid(self, _uc: int, _data: int) -> int:
        try:
            get, put = self._engine.get, self._engine.set
            values = self.identify(get(x86_const.UC_X86_REG_EAX), get(x86_const.UC_X86_REG_ECX))
            if values is None:
                return 0
            for register, value in zip(_CPUID_RESULTS, values, strict=True):
                put(register, value)
        except BaseException as error:  # noqa: BLE001 (raised again by run)
            self._fail(error)
        return 1

    def _rdtsc(self, _uc: int, _data: int) -> int:
        try:
            value = self.clock()
            self._engine.set(x86_const.UC_X86_REG_EAX, value & _MASK)
            self._engine.set(x86_const.UC_X86_REG_EDX, value >> 32 & _MASK)
        except BaseException as error:  # noqa: BLE001 (raised again by run)
            self._fail(error)
        return 1

    def _fail(self, error: BaseException) -> None:
        self.failure = error
        self._engine.stop()
