# SPDX-License-Identifier: BSD-2-Clause
"""Memory as one CPU reaches it: physical words and bytes, and linear bytes through its environment."""

from __future__ import annotations

from typing import TYPE_CHECKING

from abidance.platform.unicorn.ram import PAGE, Ram

if TYPE_CHECKING:
    from abidance.platform.unicorn.gates import Environment

__all__ = ["Access"]

_MASK = 0xFFFFFFFF


class Access:
    """`rams` is all there is; elsewhere reads give ones and writes do nothing. `environment` translates
    linear addresses."""

    rams: list[Ram]
    environment: Environment

    def load(self, physical: int) -> int:
        """A 32-bit word of physical memory (a multiple of 4); ones where there is none."""
        for ram in self.rams:
            offset = physical - ram.base
            if 0 <= offset < ram.size:
                return int(ram.words[offset >> 2])
        return _MASK

    def store(self, physical: int, value: int) -> None:
        """Store a 32-bit word; nothing happens where there is no memory."""
        for ram in self.rams:
            offset = physical - ram.base
            if 0 <= offset < ram.size and ram.writable:
                ram.words[offset >> 2] = value & _MASK

    def read_physical(self, physical: int, length: int) -> bytes:
        """Bytes of physical memory within one page."""
        for ram in self.rams:
            offset = physical - ram.base
            if 0 <= offset < ram.size:
                return bytes(ram.view[offset:offset + length])
        return b"\xFF" * length

    def write_physical(self, physical: int, data: bytes) -> None:
        """Store bytes within one page."""
        for ram in self.rams:
            offset = physical - ram.base
            if 0 <= offset < ram.size and ram.writable:
                ram.view[offset:offset + len(data)] = data

    def read_linear(self, linear: int, length: int, *, user: bool = False) -> bytes:
        """Bytes as the CPU would read them. Raises Fault(14)."""
        return b"".join(self.read_physical(self.environment.translate(at, write=False, user=user), size)
                        for at, size in _pages(linear, length))

    def write_linear(self, linear: int, data: bytes, *, user: bool = False) -> None:
        """Store bytes as the CPU would; nothing is stored if any page faults. Raises Fault(14)."""
        pieces = [(self.environment.translate(at, write=True, user=user), size)
                  for at, size in _pages(linear, len(data))]
        done = 0
        for physical, size in pieces:
            self.write_physical(physical, data[done:done + size])
            done += size

    def load_pair(self, linear: int) -> tuple[int, int]:
        """Two 32-bit words (a descriptor, a gate) read as the system does. Raises Fault(14)."""
        value = int.from_bytes(self.read_linear(linear & _MASK, 8), "little")
        return value & _MASK, value >> 32


def _pages(linear: int, length: int) -> list[tuple[int, int]]:
    """A range of linear addresses cut at page ends (and at 4 GiB), as (address, size)."""
    pieces = []
    while length:
        size = min(length, PAGE - linear % PAGE)
        pieces.append((linear, size))
        linear, length = linear + size & _MASK, length - size
    return pieces
