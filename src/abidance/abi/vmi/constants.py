# SPDX-License-Identifier: BSD-2-Clause
"""Numbers of i386 and of VMI that cases and helpers share. Sources: the Intel manuals for the
hardware's bits, [S] appendix A and [M] for VMI's flags (vmi facts, section 6.10 and 6.11)."""

from __future__ import annotations

from enum import IntEnum, IntFlag

__all__ = ["ENTRIES", "IF", "PAGE", "Cr0", "Flush", "Lazy", "PageFlag", "Pte", "Vector"]

PAGE = 0x1000
"""Bytes in a page."""
ENTRIES = 1024
"""Entries in a page table or page directory without PAE."""
IF = 0x200
"""The interrupt flag in EFLAGS and in interrupt masks."""


class Pte(IntFlag):
    """Bits of a page-table or page-directory entry without PAE."""

    P = 0x001
    RW = 0x002
    US = 0x004
    PWT = 0x008
    PCD = 0x010
    A = 0x020
    D = 0x040
    PS = 0x080
    G = 0x100


class Cr0(IntFlag):
    """Bits of CR0."""

    PE = 0x0000_0001
    MP = 0x0000_0002
    EM = 0x0000_0004
    TS = 0x0000_0008
    NE = 0x0000_0020
    WP = 0x0001_0000
    AM = 0x0004_0000
    PG = 0x8000_0000


class Vector(IntEnum):
    """Exception vectors."""

    DE = 0
    DB = 1
    BP = 3
    UD = 6
    NM = 7
    DF = 8
    TS = 10
    NP = 11
    SS = 12
    GP = 13
    PF = 14


class PageFlag(IntFlag):
    """Flags of SetPxE, UpdatePxE, AllocatePage and ReleasePage."""

    PT = 0x01
    PD = 0x02
    PDP = 0x04
    PAE = 0x10
    CURRENT_AS = 0x10
    """SetPxE and UpdatePxE only: bits 31..12 hold the linear address the entry maps."""
    CLONE = 0x20
    DEFER = 0x20
    """SetPxE and UpdatePxE only: may be queued until a TLB flush or invalidation."""
    ZEROED = 0x40


class Flush(IntFlag):
    """Flags of FlushTLB."""

    TLB = 1
    GLOBAL = 2


class Lazy(IntEnum):
    """Modes of SetLazyMode."""

    OFF = 0
    MMU = 1
    CPU = 2
