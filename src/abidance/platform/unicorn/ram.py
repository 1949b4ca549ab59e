# SPDX-License-Identifier: BSD-2-Clause
"""Physical memory that the host and any number of Unicorn instances see at once.

A `Ram` is anonymous host memory, page aligned, mapped into each `Uc` by pointer: a store by the
guest is visible to the host at once and the other way round, and two CPUs share it. The one thing
it does not do is to tell an engine that the host changed code; see `Cpu.forget_code`.
"""

from __future__ import annotations

import ctypes
import mmap

__all__ = ["PAGE", "Part", "Ram"]

PAGE = 4096
_CHUNK = 64 * 1024


class Ram:
    """`size` bytes (a multiple of 4096), zero at first, at guest-physical address `base`.

    `view` is a writable memoryview of bytes, `words` the same as 32-bit little-endian words (index
    = offset / 4), `address` the host address. Offsets count from `base`. What is not `writable` ignores
    the CPUs' writes.
    """

    writable = True

    def __init__(self, size: int, base: int = 0) -> None:
        if size <= 0 or size % PAGE:
            raise ValueError(f"{size:#x} is not a positive number of whole pages")
        self.size, self.base = size, base
        self._map = mmap.mmap(-1, size)
        self.view = memoryview(self._map)
        self.words = self.view.cast("I")
        self.address = ctypes.addressof(ctypes.c_char.from_buffer(self._map))

    def read(self, offset: int, length: int) -> bytes:
        """A copy of `length` bytes; IndexError beyond the end."""
        self._check(offset, length)
        return bytes(self.view[offset:offset + length])

    def write(self, offset: int, data: bytes) -> None:
        """Store bytes; IndexError beyond the end."""
        self._check(offset, len(data))
        self.view[offset:offset + len(data)] = data

    def _check(self, offset: int, length: int) -> None:
        if offset < 0 or length < 0 or offset + length > self.size:
            raise IndexError(f"{offset:#x}+{length:#x} is outside {self.size:#x} bytes")

    def save(self) -> bytes:
        """A copy of everything, for `restore`."""
        return bytes(self.view)

    def restore(self, saved: bytes) -> list[tuple[int, int]]:
        """Back to a copy of `save`; returns the (start, end) offsets of the pages that changed."""
        if len(saved) != self.size:
            raise ValueError("the copy is of another size")
        changed: list[tuple[int, int]] = []
        source = ctypes.cast(ctypes.c_char_p(saved), ctypes.c_void_p).value or 0
        compare, move = _LIBC.memcmp, ctypes.memmove
        for chunk in range(0, self.size, _CHUNK):
            length = min(_CHUNK, self.size - chunk)
            if not compare(self.address + chunk, source + chunk, length):
                continue
            for page in range(chunk, chunk + length, PAGE):
                if compare(self.address + page, source + page, PAGE):
                    move(self.address + page, source + page, PAGE)
                    changed.append((page, page + PAGE))
        return changed


class Part(Ram):
    """Bytes `start` to `end` of another Ram as memory of its own right; both see the same bytes."""

    def __init__(self, whole: Ram, start: int, end: int, *, writable: bool = True) -> None:
        self.size, self.base, self.writable = end - start, whole.base + start, writable
        self.view = whole.view[start:end]
        self.words = self.view.cast("I")
        self.address = whole.address + start


_LIBC = ctypes.CDLL(None)
_LIBC.memcmp.argtypes = [ctypes.c_void_p, ctypes.c_void_p, ctypes.c_size_t]
_LIBC.memcmp.restype = ctypes.c_int
