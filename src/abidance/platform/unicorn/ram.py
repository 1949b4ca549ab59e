# SPDX-License-Identifier: BSD-2-Clause
"""Physical memory that the host and any number of Unicorn instances see at once.

A `Ram` is anonymous host memory, page aligned, mapped into each `Uc` by pointer: a store by the
guest is visible to the host at once and the other way round, and two CPUs share it. The one thing
it does not do is to tell an engine that the host changed code; see `Cpu.forget_code`.

Going back to a saved copy costs what has changed since, not what there is: on Linux the saved
contents become a file in memory that is mapped privately in their place, the kernel's page map
tells which pages have left it, and those are thrown away (40 us for a case that touches 30 pages,
where comparing 16 MiB takes 2 ms). Elsewhere all is compared.
"""

from __future__ import annotations

import ctypes
import mmap
import os
import sys
from pathlib import Path

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
        self._baseline: bytes | None = None
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
        saved = bytes(self.view)
        if sys.platform == "linux" and self._rebase(saved):
            self._baseline = saved
        return saved

    def _rebase(self, saved: bytes) -> bool:
        """Put a private mapping of a file with the same contents in the place of the memory."""
        file = os.memfd_create("ram", os.MFD_CLOEXEC)
        try:
            if os.write(file, saved) != len(saved):
                return False
            access = mmap.PROT_READ | mmap.PROT_WRITE
            there = _LIBC.mmap(self.address, self.size, access, mmap.MAP_PRIVATE | _MAP_FIXED, file, 0)
        finally:
            os.close(file)
        return bool(there == self.address)

    def _departed(self) -> list[tuple[int, int]] | None:
        """(start, end) of the runs of pages that are no longer those of the file; None if unknown."""
        try:
            with Path("/proc/self/pagemap").open("rb", buffering=0) as pagemap:
                pagemap.seek(self.address // PAGE * 8)
                flags = pagemap.read(self.size // PAGE * 8)[7::8].translate(_DEPARTED)
        except OSError:
            return None
        if len(flags) != self.size // PAGE:
            return None
        runs, at = [], flags.find(1)
        while at >= 0:
            end = flags.find(0, at)
            end = len(flags) if end < 0 else end
            runs.append((at * PAGE, end * PAGE))
            at = flags.find(1, end)
        return runs

    def restore(self, saved: bytes) -> list[tuple[int, int]]:
        """Back to a copy of `save`; returns the (start, end) offsets of the pages that changed."""
        if len(saved) != self.size:
            raise ValueError("the copy is of another size")
        runs = self._departed() if saved is self._baseline else None
        if runs is None:
            return self._compare(saved)
        for start, end in runs:
            if _LIBC.madvise(self.address + start, end - start, mmap.MADV_DONTNEED):
                return self._compare(saved)
        return runs

    def _compare(self, saved: bytes) -> list[tuple[int, int]]:
        """Restore by looking at everything."""
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
        self._baseline = None


_MAP_FIXED = 0x10
# In the top byte of a page map entry: 80h present, 40h swapped out, 20h a page of the file.
_DEPARTED = bytes(int(bool(flags & 0xC0) and not flags & 0x20) for flags in range(256))
_LIBC = ctypes.CDLL(None)
_LIBC.mmap.argtypes = [
    ctypes.c_void_p, ctypes.c_size_t, ctypes.c_int, ctypes.c_int, ctypes.c_int, ctypes.c_long]
_LIBC.mmap.restype = ctypes.c_void_p
_LIBC.madvise.argtypes = [ctypes.c_void_p, ctypes.c_size_t, ctypes.c_int]
_LIBC.memcmp.argtypes = [ctypes.c_void_p, ctypes.c_void_p, ctypes.c_size_t]
_LIBC.memcmp.restype = ctypes.c_int
