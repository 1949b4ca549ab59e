# SPDX-License-Identifier: BSD-2-Clause
"""A thin layer over one `Uc`: batched registers, exact stops, and the little Unicorn keeps to itself.

Unicorn delivers nothing through the guest's IDT and refuses `reg_write` of a CS or SS of another
ring, so that whoever delivers exceptions by hand needs four fields that have no register id: the
current privilege level, the error code of the last exception, whether it came from an `int`
instruction, and `old_exception`, which Unicorn never resets (it would turn the second fault into
vector 8). All four are in what `uc_context_save` copies. `Layout.measure` finds where, by running
instructions whose effect on them is known; nothing is assumed about the library's build. The
number of instructions of the current `emu_start` is found in the engine the same way.

Measured (Unicorn 2.1.4): save 0.3 us, restore 0.3 us, a whole `int` at CPL 3 to a handler at CPL 0
and back by `iretd` 5 us.
"""

from __future__ import annotations

import ctypes
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from typing import Any

from unicorn import unicorn_const, x86_const
from unicorn.unicorn_py3.unicorn import Uc, uclib

from abidance.errors import SessionLost
from abidance.platform.unicorn.ram import Ram

__all__ = [
    "CR2",
    "CS",
    "DS",
    "EAX",
    "EBP",
    "EBX",
    "ECX",
    "EDI",
    "EDX",
    "EFLAGS",
    "EIP",
    "ES",
    "ESI",
    "ESP",
    "FS",
    "GS",
    "SS",
    "Engine",
    "Layout",
    "Registers",
]

EAX, ECX, EDX, EBX, ESP, EBP, ESI, EDI, EIP, EFLAGS, CS, SS, DS, ES, FS, GS, CR2 = range(17)
_NAMES = ("EAX", "ECX", "EDX", "EBX", "ESP", "EBP", "ESI", "EDI", "EIP", "EFLAGS", "CS", "SS", "DS", "ES",
          "FS", "GS", "CR2")
_IDS = [getattr(x86_const, f"UC_X86_REG_{name}") for name in _NAMES]
_GENERAL = 10
_LIB = ctypes.CDLL(uclib._name)
_LIB.uc_emu_start.argtypes = [
    ctypes.c_void_p, ctypes.c_uint64, ctypes.c_uint64, ctypes.c_uint64, ctypes.c_size_t]
# For calls that are over at once: letting other threads run meanwhile costs more than they do.
_BRIEF = ctypes.PyDLL(uclib._name)


class Registers:
    """A fixed list of registers read and written in one call each; `values` holds one 64-bit word
    per register (those of `shared`, if it is given, which may have more)."""

    def __init__(self, handle: ctypes.c_void_p, ids: list[int], shared: Any = None) -> None:
        count = len(ids)
        self.values = (ctypes.c_uint64 * count)() if shared is None else shared
        self._ids = (ctypes.c_int * count)(*ids)
        base = ctypes.addressof(self.values)
        self._pointers = (ctypes.c_void_p * count)(*(base + 8 * i for i in range(count)))
        arguments = (handle, ctypes.cast(self._ids, ctypes.c_void_p),
                     ctypes.cast(self._pointers, ctypes.c_void_p), ctypes.c_int(count))
        self.read: Callable[[], int] = partial(_BRIEF.uc_reg_read_batch, *arguments)
        """Fetch all."""
        self.write: Callable[[], int] = partial(_BRIEF.uc_reg_write_batch, *arguments)
        """Store all; 0, or Unicorn's error number."""


@dataclass(frozen=True)
class Layout:
    """Where this build of Unicorn keeps the four fields of a saved context, and the counter of the
    engine, in bytes."""

    cpl: int
    error: int
    software: int
    old: int
    counter: int


class Engine:
    """One Uc in 32-bit protected mode at CPL 0, with physical memory `rams`.

    `values` (indices `EAX` … `GS`, `CR2`) are the guest's registers after `run`; the first ten are
    written back before the next. `vector` is the interrupt that ended the run, or -1.
    """

    def __init__(self, rams: list[Ram], layout: Layout | None = None) -> None:
        self.uc: Any = Uc(unicorn_const.UC_ARCH_X86, unicorn_const.UC_MODE_32)
        # The address to run until is looked up in the guest's page tables after every run, and a miss
        # there overwrites CR2 and old_exception: have no such address.
        self.uc.ctl_exits_enabled(True)
        for ram in rams:
            self.uc.mem_map_ptr(ram.base, ram.size, unicorn_const.UC_PROT_ALL, ram.address)
            if not ram.writable:
                rights = unicorn_const.UC_PROT_READ | unicorn_const.UC_PROT_EXEC
                self.uc.mem_protect(ram.base, ram.size, rights)
        self.handle = ctypes.c_void_p(ctypes.cast(self.uc._uch, ctypes.c_void_p).value)
        self.all = Registers(self.handle, _IDS)
        self.values = self.all.values
        self.fetch = self.all.read
        two = (ctypes.c_uint64 * 2).from_buffer(self.values, 8 * EIP)
        self._fetch_two = Registers(self.handle, _IDS[EIP:EFLAGS + 1], two).read
        self._general = Registers(self.handle, _IDS[:_GENERAL], self.values)
        self.stack_and_code = Registers(self.handle, [_IDS[SS], _IDS[CS]])
        self._context = self.uc.context_save()
        self._saved = ctypes.c_void_p(ctypes.cast(self._context.context, ctypes.c_void_p).value)
        self._kept: list[Any] = []
        self.vector = -1
        self.stop: Callable[[], int] = partial(_BRIEF.uc_emu_stop, self.handle)
        """From a hook: stop after the current instruction."""
        self.commit: Callable[[], int] = self._general.write
        """Write the first ten registers back; `run` does."""
        self.save: Callable[[], int] = partial(_BRIEF.uc_context_save, self.handle, self._saved)
        """Copy the CPU, for the properties below and for `load`."""
        self.load: Callable[[], int] = partial(_BRIEF.uc_context_restore, self.handle, self._saved)
        """Put the copy back, with what was changed in it."""
        self._start: Callable[..., int] = partial(_LIB.uc_emu_start, self.handle)
        self.hook(unicorn_const.UC_HOOK_INTR, ctypes.CFUNCTYPE(None, ctypes.c_void_p, ctypes.c_uint32,
                                                                ctypes.c_void_p), self._interrupt)
        self.hook(unicorn_const.UC_HOOK_INSN_INVALID, ctypes.CFUNCTYPE(ctypes.c_bool, ctypes.c_void_p,
                                                                        ctypes.c_void_p), self._invalid)
        # True drops the write and goes on.
        self.hook(unicorn_const.UC_HOOK_MEM_WRITE_PROT, ctypes.CFUNCTYPE(
            ctypes.c_bool, ctypes.c_void_p, ctypes.c_int, ctypes.c_uint64, ctypes.c_int, ctypes.c_int64,
            ctypes.c_void_p), _drop)
        if layout is not None:
            self.adopt(layout)

    def adopt(self, layout: Layout) -> None:
        """Use these offsets from now on. The low bits of `level` are `cpl`; `counter` is `started`."""
        base = self._saved.value or 0
        self.level = ctypes.c_uint8.from_address(base + layout.cpl)
        self._error = ctypes.c_uint32.from_address(base + layout.error)
        self._software = ctypes.c_uint32.from_address(base + layout.software)
        self._old = ctypes.c_int32.from_address(base + layout.old)
        self.counter = ctypes.c_uint64.from_address((self.handle.value or 0) + layout.counter)

    def hook(self, kind: int, prototype: Any, body: Callable[..., Any],
             instruction: int | None = None) -> None:
        """Add a raw hook; `instruction` is for UC_HOOK_INSN. A raw hook
        swallows exceptions: `body` must keep them itself."""
        callback = prototype(body)
        self._kept.append(callback)
        number = ctypes.c_size_t()
        extra = () if instruction is None else (ctypes.c_int(instruction),)
        status = _LIB.uc_hook_add(self.handle, ctypes.byref(number), ctypes.c_int(kind), callback, None,
                                  ctypes.c_uint64(1), ctypes.c_uint64(0), *extra)
        if status:
            raise SessionLost(f"Unicorn refused a hook (error {status})")

    def _interrupt(self, _uc: int, vector: int, _data: int) -> None:
        self.vector = vector
        self.stop()

    def _invalid(self, _uc: int, _data: int) -> bool:
        self.vector = 6
        self.stop()
        return True

    def run(self, limit: int) -> int:
        """Run at most `limit` (>= 1) instructions from the values; returns Unicorn's error number.
        Counting is always on, because turning it on or off throws away all translated code."""
        self.vector = -1
        self.commit()
        status = self._start(self.values[EIP], 0, 0, limit)
        self.fetch()
        return status

    def step(self) -> int:
        """Run one instruction from where the CPU is, and fetch EIP and EFLAGS alone: `commit` before the
        first of several, `fetch` after the last."""
        self.vector = -1
        status = self._start(self.values[EIP], 0, 0, 1)
        self._fetch_two()
        return status

    @property
    def started(self) -> int:
        """Instructions begun in this run (one more than the limit when the limit ended it)."""
        return self.counter.value

    @property
    def cpl(self) -> int:
        """The privilege level in the saved copy."""
        return self.level.value & 3

    @property
    def error(self) -> int:
        """The error code of the last exception, in the saved copy."""
        return self._error.value

    @property
    def software(self) -> bool:
        """Whether the last interrupt came from an int, int3, into or int1 instruction."""
        return bool(self._software.value)

    def set_ring(self, cpl: int) -> None:
        """Make the CPU one that stands at `cpl` and has no exception in flight; CS and SS are to be
        written afterwards, the general registers by the next run."""
        self.save()
        self.level.value = self.level.value & 0xFC | cpl
        self._old.value = -1
        self.load()

    def settle(self) -> None:
        """Forget the exception in flight, so that the next one is a first one."""
        self.save()
        if self._old.value != -1:
            self._old.value = -1
            self.load()

    def write_stack_and_code(self, ss: int, cs: int) -> int:
        """Load SS, then CS, through their descriptors; Unicorn's error number."""
        self.stack_and_code.values[0], self.stack_and_code.values[1] = ss, cs
        return self.stack_and_code.write()

    def get(self, register: int) -> Any:
        """One register by its Unicorn id."""
        return self.uc.reg_read(register)

    def set(self, register: int, value: Any) -> None:
        """Write one register by its Unicorn id."""
        self.uc.reg_write(register, value)

    def contents(self) -> bytes:
        """The saved copy as bytes."""
        return bytes(self._context)

    def replace(self, contents: bytes) -> None:
        """Make `contents` (of the same process and library) the saved copy, and load it."""
        ctypes.memmove(self._saved, contents, len(contents))
        self.load()


def _drop(_uc: int, _access: int, _address: int, _size: int, _value: int, _data: int) -> bool:
    return True
