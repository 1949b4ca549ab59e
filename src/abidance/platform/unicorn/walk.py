# SPDX-License-Identifier: BSD-2-Clause
"""Walks i386 page tables (two levels, 4 KiB pages, 4 MiB pages with CR4.PSE) as the hardware does.

Answers what `UC_HOOK_INTR` leaves out: whether an access is permitted, with which error code it
faults, and which entries it went through; sets the accessed and dirty bits of a walk that
succeeds. Knows memory only through 32-bit words, so that a shadow MMU can use it on guest tables.

Error code of vector 14: bit 0 the page was present, bit 1 it was a write, bit 2 it came from CPL 3.
Facts: Intel SDM volume 3, "32-bit paging", "Access rights", "Page-fault exceptions".
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Protocol

from abidance.errors import AbidanceError

__all__ = [
    "ACCESSED", "DIRTY", "LARGE", "PAGE_FAULT", "PRESENT", "USER", "WRITABLE", "Fault", "Mapping", "Words",
    "walk",
]

PRESENT, WRITABLE, USER, ACCESSED, DIRTY, LARGE = 0x01, 0x02, 0x04, 0x20, 0x40, 0x80
PAGE_FAULT = 14


class Fault(AbidanceError):
    """The guest is to get exception `vector`; `error` its error code or None, `address` CR2 of a
    page fault. Never leaves the CPU model or the hypervisor built on it."""

    def __init__(self, vector: int, error: int | None = None, address: int = 0) -> None:
        super().__init__(f"vector {vector}, error {error}, address {address:#x}")
        self.vector, self.error, self.address = vector, error, address


class Words(Protocol):
    """Physical memory as 32-bit words at addresses that are multiples of 4."""

    def load(self, physical: int) -> int:
        """The word; all ones where there is no memory."""

    def store(self, physical: int, value: int) -> None:
        """Store it; nothing happens where there is no memory."""


@dataclass(frozen=True, slots=True)
class Mapping:
    """Where a linear page leads: `frame` physical address of its 4 KiB frame, the rights of both
    levels combined, `dirty` as in the last-level entry after the walk, and the physical addresses
    of the entries (`pte` is 0 for a 4 MiB page)."""

    frame: int
    writable: bool
    user: bool
    dirty: bool
    pde: int
    pte: int


def walk(memory: Words, directory: int, linear: int, *, write: bool, user: bool, protect: bool = True,
         large: bool = False, mark: bool = True) -> Mapping:
    """The mapping of `linear` in the directory at physical `directory`, for an access that is a
    `write` or a read and comes from CPL 3 (`user`) or not. `protect` is CR0.WP, `large` CR4.PSE;
    with `mark` the accessed and dirty bits are set. Raises Fault(14) with the error code."""
    pde_at = (directory & 0xFFFFF000) + (linear >> 20 & 0xFFC)
    pde = memory.load(pde_at)
    if not pde & PRESENT:
        raise Fault(PAGE_FAULT, write << 1 | user << 2, linear)
    pte_at = 0
    if large and pde & LARGE:
        rights, entry, last_at = pde, pde, pde_at
        frame = pde & 0xFFC00000 | linear & 0x003FF000
    else:
        pte_at = last_at = (pde & 0xFFFFF000) + (linear >> 10 & 0xFFC)
        entry = memory.load(pte_at)
        if not entry & PRESENT:
            raise Fault(PAGE_FAULT, write << 1 | user << 2, linear)
        rights, frame = pde & entry, entry & 0xFFFFF000
    writable, reachable = bool(rights & WRITABLE), bool(rights & USER)
    if (user and not reachable) or (write and not writable and (user or protect)):
        raise Fault(PAGE_FAULT, PRESENT | write << 1 | user << 2, linear)
    dirty = bool(entry & DIRTY) or (write and mark)
    if mark:
        if pte_at and not pde & ACCESSED:
            memory.store(pde_at, pde | ACCESSED)
        marked = entry | ACCESSED | (DIRTY if write else 0)
        if marked != entry:
            memory.store(last_at, marked)
    return Mapping(frame, writable, reachable, dirty, pde_at, pte_at)
