# SPDX-License-Identifier: BSD-2-Clause
"""Physical memory that the host and any number of Unicorn instances see at once.

A `Ram` is host memory, page aligned, mapped into each `Uc` by pointer: a store by the guest is
visible to the host at once and the other way round, and two CPUs share it. The one thing it does
not do is to tell an engine that the host changed code; see `Cpu.forget_code`.

What is `restorable` is a file in memory from the start. The first `save` maps it privately in its
own place, which copies nothing (from then on a forked process has memory of its own, too). The
kernel's page map tells which pages have left the file: a later `save` keeps only those, and going
back costs what has changed, not what there is (40 us for a case that touches 30 pages, where
comparing 16 MiB takes 2 ms). Elsewhere than on Linux everything is copied and compared.
"""

from __future__ import annotations

import ctypes
import mmap
import os
import sys
import weakref
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

__all__ = ["PAGE", "Copy", "Part", "Ram"]

PAGE = 4096
_CHUNK = 64 * 1024
_LINUX = sys.platform == "linux"


@dataclass(frozen=True, eq=False)
class Copy:
    """Contents at one moment: those of the file `base`, but for `pages` (by offset); or `whole`. Lives
    no longer than its Ram. Equal to whatever has the same bytes."""

    size: int
    base: int = -1
    pages: Mapping[int, bytes] = field(default_factory=dict)
    whole: bytes = b""

    def __bytes__(self) -> bytes:
        if self.base < 0:
            return self.whole
        data = bytearray(os.pread(self.base, self.size, 0))
        for offset, page in self.pages.items():
            data[offset:offset + PAGE] = page
        return bytes(data)

    def __eq__(self, other: object) -> bool:
        return bytes(self) == bytes(other) if isinstance(other, Copy | bytes) else NotImplemented

    __hash__ = None  # type: ignore[assignment]


class Ram:
    """`size` bytes (a multiple of 4096), zero at first, at guest-physical address `base`.

    `view` is a writable memoryview of bytes, `words` the same as 32-bit little-endian words (index
    = offset / 4), `address` the host address. Offsets count from `base`. What is not `writable` ignores
    the CPUs' writes. What is not `restorable` is saved by copying all of it.
    """

    writable = True

    def __init__(self, size: int, base: int = 0, *, restorable: bool = False) -> None:
        if size <= 0 or size % PAGE:
            raise ValueError(f"{size:#x} is not a positive number of whole pages")
        self.size, self.base = size, base
        self._file, self._private = -1, False
        if restorable and _LINUX:
            self._file = os.memfd_create("ram", os.MFD_CLOEXEC)
            weakref.finalize(self, os.close, self._file)
            os.truncate(self._file, size)
        flags = {"flags": mmap.MAP_PRIVATE | mmap.MAP_ANONYMOUS} if _LINUX and not restorable else {}
        self._map = mmap.mmap(self._file, size, **flags)
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

    def save(self) -> Copy:
        """Everything, for `restore`."""
        if self._file >= 0 and not self._private:
            access = mmap.PROT_READ | mmap.PROT_WRITE
            there = _LIBC.mmap(self.address, self.size, access, mmap.MAP_PRIVATE | _MAP_FIXED, self._file, 0)
            self._private = there == self.address
        departed = self._departed() if self._private else None
        if departed is None:
            return Copy(self.size, whole=bytes(self.view))
        places = (at for start, end in departed for at in range(start, end, PAGE))
        pages = {at: bytes(self.view[at:at + PAGE]) for at in places}
        return Copy(self.size, self._file, pages)

    def changed(self) -> list[tuple[int, int]]:
        """The (start, end) offsets of all pages that may differ from the first copy."""
        departed = self._departed() if self._private else None
        return [(0, self.size)] if departed is None else departed

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

    def restore(self, saved: Copy) -> list[tuple[int, int]]:
        """Back to a copy of `save`; returns the (start, end) offsets of the pages that changed."""
        if saved.size != self.size:
            raise ValueError("the copy is of another size")
        departed = self._departed() if self._private and saved.base == self._file else None
        if departed is None:
            return self._compare(bytes(saved))
        changed = _put(self, saved.pages)
        for start, end in _without(departed, saved.pages):
            if _LIBC.madvise(self.address + start, end - start, mmap.MADV_DONTNEED):
                return self._compare(bytes(saved))
            changed.append((start, end))
        return changed

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
        self._file, self._private = -1, False


def _put(ram: Ram, pages: Mapping[int, bytes]) -> list[tuple[int, int]]:
    """Put back those of `pages` that differ; their (start, end)."""
    changed = [at for at, page in pages.items() if bytes(ram.view[at:at + PAGE]) != page]
    for at in changed:
        ram.view[at:at + PAGE] = pages[at]
    return [(at, at + PAGE) for at in changed]


def _without(ranges: list[tuple[int, int]], pages: Mapping[int, bytes]) -> list[tuple[int, int]]:
    """The parts of `ranges` that are none of `pages`."""
    if not pages:
        return ranges
    return [(at, at + PAGE) for start, end in ranges for at in range(start, end, PAGE) if at not in pages]


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
