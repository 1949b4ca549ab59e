# SPDX-License-Identifier: BSD-2-Clause
"""The option ROM of the reference hypervisor, as it lies in guest memory.

The image says where its relocation table and its trapping stubs are (64 bytes after the header, "ABIDREF");
everything is checked, so that another ROM is refused with a reason. Changes (which calls are
offered, how, and where) are made before the guest runs and keep the checksum right.

Table: one word per call, type << 16 | offset. Stubs: 4 bytes each, `int; ret`, indexed by number.
"""

from __future__ import annotations

import struct

from abidance.errors import UsageError

__all__ = ["BASE", "CALL_REL", "INIT", "IRET", "JUMP_REL", "NONE", "NOP", "SERVE", "Image"]

BASE = 0xC0000
NONE, CALL_REL, JUMP_REL, NOP = range(4)
CALLS, IRET, INIT, SERVE = 74, 33, 74, 75
_DESCRIPTOR, _MAGIC, _STUB, _INT = 0x90, b"ABIDREF\0", 4, 2


class Image:
    """The ROM in `ram` at physical C0000h. `sites` maps the physical address after a stub's `int` to its
    number."""

    def __init__(self, image: bytes, ram: memoryview) -> None:
        size = image[2] * 512 if len(image) > 2 else 0
        if not 0 < size <= len(image) or BASE + size > len(ram):
            raise UsageError(f"an option ROM of {len(image)} bytes whose length byte says {size}")
        magic, table, calls, stubs, count = struct.unpack_from("<8s4I", image, _DESCRIPTOR)
        if magic != _MAGIC or calls != CALLS or count != SERVE + 1:
            raise UsageError("this option ROM is not the reference hypervisor's")
        if table + 4 * calls > size or stubs + _STUB * count > size:
            raise UsageError("the option ROM's tables lie outside it")
        self.size = size
        self._table: int = table
        self._stubs: int = stubs
        self.sites = {BASE + stubs + _STUB * number + _INT: number for number in range(SERVE + 1)}
        self._bytes = ram[BASE:BASE + size]
        self._bytes[:] = image[:size]

    def relocation(self, number: int) -> tuple[int, int]:
        """Type and offset of a call."""
        word: int = struct.unpack_from("<I", self._bytes, self._table + 4 * number)[0]
        return word >> 16, word & 0xFFFF

    def offered(self, number: int) -> bool:
        """Whether the table offers the call."""
        return self.relocation(number)[0] != NONE

    def offer(self, number: int, kind: int, offset: int) -> None:
        """Answer `kind` and the routine at `offset` for a call."""
        struct.pack_into("<I", self._bytes, self._table + 4 * number, kind << 16 | offset if kind else 0)
        self._sum()

    def retype(self, number: int, kind: int) -> None:
        """Keep the routine, answer another type."""
        self.offer(number, kind, self.relocation(number)[1])

    def withhold(self, number: int) -> None:
        """Answer NONE."""
        self.offer(number, NONE, 0)

    def trap(self, number: int) -> None:
        """Let the call trap, whatever ROM code answered it before."""
        self.offer(number, CALL_REL, self.stub(number))

    def stub(self, number: int) -> int:
        """The offset of a stub."""
        return self._stubs + _STUB * number

    def patch(self, offset: int, code: bytes) -> None:
        """Replace bytes of the image."""
        self._bytes[offset:offset + len(code)] = code
        self._sum()

    def read(self, offset: int, length: int) -> bytes:
        """Bytes of the image."""
        return bytes(self._bytes[offset:offset + length])

    def _sum(self) -> None:
        self._bytes[-1] = (self._bytes[-1] - sum(self._bytes)) & 0xFF
