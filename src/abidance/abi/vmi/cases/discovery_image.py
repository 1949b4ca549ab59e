# SPDX-License-Identifier: BSD-2-Clause
"""The ROM image as a case sees it: found by looking at memory, not by trusting that it was found.
Declares no case."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from functools import cached_property
from struct import unpack_from

from abidance.abi.vmi.guest import VmiGuest

__all__ = ["HEADER_SIZE", "LENGTH_UNIT", "PCI_SIZE", "PNP_SIZE", "ROM_SIGNATURE", "SCAN_END", "SCAN_START",
           "SCAN_STEP", "VMI_SIGNATURE", "Image", "candidates", "field", "image", "scan_memory"]

ROM_SIGNATURE, VMI_SIGNATURE = b"\x55\xAA", b"cVmi"
SCAN_START, SCAN_END, SCAN_STEP = 0xC_0000, 0xE_0000, 0x800
LENGTH_UNIT, HEADER_SIZE, PCI_SIZE, PNP_SIZE = 512, 0x90, 24, 18
SIGNATURE_OFFSET = 8
CHUNK = 0x1_0000


def field(data: bytes, offset: int, size: int) -> int:
    """A little-endian field of 1, 2 or 4 bytes."""
    return int.from_bytes(data[offset:offset + size], "little")


@dataclass(frozen=True)
class Image:
    """An image in memory: where it starts, and its bytes over the length its header gives (the bare
    header if that is shorter)."""

    phys: int
    data: bytes

    @property
    def length(self) -> int:
        """The length in bytes that the byte at offset 2 gives."""
        return self.data[2] * LENGTH_UNIT

    @property
    def end(self) -> int:
        """The physical address behind the image."""
        return self.phys + self.length

    def word(self, offset: int) -> int:
        """The 16-bit word at an offset."""
        return field(self.data, offset, 2)

    def long(self, offset: int) -> int:
        """The 32-bit word at an offset."""
        return field(self.data, offset, 4)

    def part(self, offset: int, size: int) -> bytes | None:
        """Bytes of the image, None if they do not all lie inside it."""
        end = offset + size
        return self.data[offset:end] if end <= min(self.length, len(self.data)) else None

    def string(self, offset: int) -> bytes | None:
        """The bytes up to a NUL, None if no NUL follows inside the image."""
        inside = self.data[offset:self.length]
        return inside.partition(b"\0")[0] if b"\0" in inside else None

    @cached_property
    def pci(self) -> bytes | None:
        """The PCI data structure, None if there is none inside the image."""
        offset = self.word(0x18)
        return self.part(offset, PCI_SIZE) if offset else None

    @cached_property
    def pnp(self) -> bytes | None:
        """The PnP expansion header, None if there is none inside the image."""
        offset = self.word(0x1A)
        return self.part(offset, PNP_SIZE) if offset else None


def scan_memory(g: VmiGuest) -> bytes:
    """Physical memory from C0000h up to E0000h and as much behind it as an image can reach."""
    handles = [g.read(at, CHUNK, phys=True) for at in range(SCAN_START, SCAN_END + CHUNK, CHUNK)]
    return b"".join(handle.value for handle in handles)


def candidates(memory: bytes) -> Iterator[int]:
    """Offsets in scanned memory at which the VMI signature stands where a header would have it."""
    at = memory.find(VMI_SIGNATURE)
    while at >= 0:
        if at >= SIGNATURE_OFFSET:
            yield at - SIGNATURE_OFFSET
        at = memory.find(VMI_SIGNATURE, at + 1)


def image(g: VmiGuest) -> Image:
    """The image the test kernel has taken; where it has taken none, the one that looks most like one
    meant for it (both signatures, then the VMI signature alone at a place that is looked at, then
    anywhere). That there is one at all is a precondition of the case."""
    taken = g.hello.number("rom.phys")
    memory = scan_memory(g)
    if taken:
        return _image(memory, taken - SCAN_START)
    found = list(candidates(memory))
    g.require(bool(found), "an image with the VMI signature is in memory")
    return _image(memory, min(found, key=lambda at: _rank(memory, at)))


def _rank(memory: bytes, at: int) -> tuple[bool, bool, int]:
    return memory[at:at + 2] != ROM_SIGNATURE, bool(at % SCAN_STEP), at


def _image(memory: bytes, at: int) -> Image:
    (blocks,) = unpack_from("<B", memory, at + 2)
    size = max(blocks * LENGTH_UNIT, HEADER_SIZE)
    return Image(SCAN_START + at, memory[at:at + size])
