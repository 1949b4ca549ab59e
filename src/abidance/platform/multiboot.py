# SPDX-License-Identifier: BSD-2-Clause
"""Load a Multiboot 1 kernel into a RAM buffer, as a boot loader would, for embedded models.

Two kinds of image are taken: a 32-bit little-endian i386 ELF executable (program headers), and a
raw image whose Multiboot header carries addresses (flag 16, the "a.out kludge"). Every offset,
size and address comes from the file and is checked against the file, the RAM and the place of the
boot information before a byte is copied; what is wrong is an `InputError`.

Facts: Multiboot Specification 0.6.96, sections 3.1 (header), 3.2 (machine state) and 3.3 (boot
information); System V ABI, "ELF Header" and "Program Header".
"""

from __future__ import annotations

import struct
from dataclasses import dataclass

from abidance.errors import InputError, Place

__all__ = ["BOOT_MAGIC", "Loaded", "load", "say"]

BOOT_MAGIC = 0x2BADB002
"""What EAX holds when the kernel is entered; EBX holds `Loaded.info`."""

_HEADER_MAGIC = 0x1BADB002
_SEARCH = 8192
_FLAG_ADDRESSES = 1 << 16
_SUPPORTED = 0x3
_INFO_MEMORY, _INFO_CMDLINE, _INFO_MMAP, _INFO_NAME = 1 << 0, 1 << 2, 1 << 6, 1 << 9
_INFO_SIZE = 120
_INFO_BASE, _INFO_LIMIT = 0x9000, 0xA000
_LOW_MEMORY, _HIGH_MEMORY = 0x9FC00, 0x100000
_PT_LOAD, _EM_386, _ET_EXEC = 1, 3, 2
_NAME = b"abidance\0"


@dataclass(frozen=True)
class Loaded:
    """Where to start: `entry` is a physical address, `info` the boot information's (for EBX),
    `top` the first physical address above everything the image occupies."""

    entry: int
    info: int
    top: int


@dataclass(frozen=True)
class _Segment:
    address: int
    offset: int
    filled: int
    size: int


def load(image: bytes, ram: memoryview, cmdline: str, *, name: str = "kernel") -> Loaded:
    """Copy the kernel in `image` into `ram` (guest-physical from 0) and build the boot information
    with `cmdline` at 9000h. Raises InputError, naming the file `name`."""
    return _Loader(image, ram, name).load(cmdline)


def say(ram: memoryview, cmdline: str, *, name: str = "kernel") -> None:
    """Tell a kernel that has been loaded but not entered another command line. Raises InputError."""
    _Loader(b"", ram, name).information(cmdline)


class _Loader:
    def __init__(self, image: bytes, ram: memoryview, name: str) -> None:
        self.image, self.ram, self.name = image, ram, name

    def load(self, cmdline: str) -> Loaded:
        where, flags = self._find_header()
        if flags & 0xFFFF & ~_SUPPORTED:
            raise self._wrong("header", f"flags {flags & 0xFFFF:#06x} ask for more than is provided")
        if flags & _FLAG_ADDRESSES:
            entry, segments = self._addresses(where)
        else:
            entry, segments = self._elf()
        for segment in segments:
            self._place(segment)
        if not any(s.address <= entry < s.address + s.size for s in segments):
            raise self._wrong("entry", f"entry point {entry:#x} lies outside the image")
        top = max(s.address + s.size for s in segments)
        return Loaded(entry, self.information(cmdline), top)

    def _wrong(self, key: str, problem: str) -> InputError:
        return InputError(Place(self.name), key, problem, mend="give a Multiboot 1 kernel for i386")

    def _find_header(self) -> tuple[int, int]:
        for offset in range(0, min(_SEARCH, len(self.image)) - 11, 4):
            magic, flags, checksum = struct.unpack_from("<III", self.image, offset)
            if magic == _HEADER_MAGIC and (magic + flags + checksum) & 0xFFFFFFFF == 0:
                return offset, flags
        raise self._wrong("header", f"no Multiboot header in the first {_SEARCH} bytes")

    def _addresses(self, where: int) -> tuple[int, list[_Segment]]:
        if where + 32 > len(self.image):
            raise self._wrong("header", "the address fields lie beyond the end of the file")
        header, start, load_end, bss_end, entry = struct.unpack_from("<IIIII", self.image, where + 12)
        offset = where - (header - start)
        if header < start or offset < 0:
            raise self._wrong("load_addr", f"{start:#x} lies before the start of the file")
        filled = load_end - start if load_end else len(self.image) - offset
        size = bss_end - start if bss_end else filled
        if filled < 0 or size < filled:
            raise self._wrong("load_end_addr", "load_addr, load_end_addr, bss_end_addr are out of order")
        return entry, [_Segment(start, offset, filled, size)]

    def _elf(self) -> tuple[int, list[_Segment]]:
        image = self.image
        if len(image) < 52 or image[:6] != b"\x7fELF\x01\x01":
            raise self._wrong("image", "neither a 32-bit ELF file nor address fields in the header")
        kind, machine = struct.unpack_from("<HH", image, 16)
        if kind != _ET_EXEC or machine != _EM_386:
            raise self._wrong("image", f"ELF type {kind}, machine {machine}: not an i386 executable")
        entry, table = struct.unpack_from("<II", image, 24)
        size, count = struct.unpack_from("<HH", image, 42)
        if size < 32 or table + size * count > len(image):
            raise self._wrong("program headers", "they lie beyond the end of the file")
        segments: list[_Segment] = []
        start: int | None = None
        for index in range(count):
            at = table + index * size
            kind, offset, virtual, physical, filled, length = struct.unpack_from("<IIIIII", image, at)
            if kind != _PT_LOAD or not length:
                continue
            segments.append(_Segment(physical, offset, filled, length))
            if virtual <= entry < virtual + length:
                start = entry - virtual + physical
        if not segments:
            raise self._wrong("program headers", "no loadable segment")
        # Linkers write e_entry as a virtual or as a physical address; QEMU and GRUB take both.
        if any(s.address <= entry < s.address + s.size for s in segments) or start is None:
            start = entry
        return start, segments

    def _place(self, segment: _Segment) -> None:
        start, end = segment.address, segment.address + segment.size
        if segment.filled > segment.size or segment.offset + segment.filled > len(self.image):
            raise self._wrong("segment", f"{start:#x}: {segment.filled:#x} bytes are not all in the file")
        if end > len(self.ram):
            raise self._wrong("segment", f"{start:#x}..{end:#x} exceeds the RAM ({len(self.ram):#x})")
        if start < _HIGH_MEMORY:
            raise self._wrong("segment", f"{start:#x}..{end:#x} reaches into the first megabyte")
        self.ram[start:start + segment.filled] = self.image[segment.offset:segment.offset + segment.filled]
        self.ram[start + segment.filled:end] = bytes(segment.size - segment.filled)

    def information(self, cmdline: str) -> int:
        """Lay out information, memory map, loader name and command line in the page at 9000h."""
        try:
            text = cmdline.encode("ascii") + b"\0"
        except UnicodeEncodeError as error:
            raise self._wrong("cmdline", "the command line is not ASCII") from error
        high = len(self.ram) - _HIGH_MEMORY
        regions = ((0, _LOW_MEMORY, 1), (0xF0000, 0x10000, 2), (_HIGH_MEMORY, high, 1))
        memory_map = b"".join(struct.pack("<IQQI", 20, *region) for region in regions)
        map_at = _INFO_BASE + _INFO_SIZE
        name_at = map_at + len(memory_map)
        text_at = name_at + len(_NAME)
        if text_at + len(text) > _INFO_LIMIT or len(self.ram) < _INFO_LIMIT:
            raise self._wrong("cmdline", f"{len(text)} bytes are too long for the boot information")
        info = bytearray(_INFO_SIZE)
        flags = _INFO_MEMORY | _INFO_CMDLINE | _INFO_MMAP | _INFO_NAME
        struct.pack_into("<III", info, 0, flags, _LOW_MEMORY >> 10, high >> 10)
        struct.pack_into("<I", info, 16, text_at)
        struct.pack_into("<II", info, 44, len(memory_map), map_at)
        struct.pack_into("<I", info, 64, name_at)
        block = bytes(info) + memory_map + _NAME + text
        self.ram[_INFO_BASE:_INFO_BASE + len(block)] = block
        return _INFO_BASE
