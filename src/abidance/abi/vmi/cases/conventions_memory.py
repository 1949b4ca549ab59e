# SPDX-License-Identifier: BSD-2-Clause
"""Looking at guest memory without carrying it to the host: sums made by the guest itself, over all
that a stray store would most likely hit. Declares no case.

The sums are made by code of the case, between other operations of one batch, so that looking does not
end the batch (which would clear the virtual interrupt flag).
"""

from __future__ import annotations

from dataclasses import dataclass

from abidance.abi.vmi.constants import ENTRIES, PAGE, Pte
from abidance.abi.vmi.guest import VmiGuest
from abidance.suite import StateHandle

__all__ = ["MemoryWatch", "Range"]

SUM = bytes.fromhex(
    "31ff"      # xor  %edi,%edi
    "8b1e"      # mov  (%esi),%ebx      next word
    "21d3"      # and  %edx,%ebx        under the mask
    "c1c705"    # rol  $5,%edi          so that order counts
    "31df"      # xor  %ebx,%edi
    "8d7f01"    # lea  1(%edi),%edi
    "83c604"    # add  $4,%esi
    "49"        # dec  %ecx
    "75ee"      # jnz  next word
    "89f8"      # mov  %edi,%eax
    "c3")       # ret
"""EAX = sum of the ECX words from ESI on, each under the mask EDX."""
ALL = 0xFFFF_FFFF
TABLE = ALL & ~int(Pte.A | Pte.D)
DESCRIPTORS = ALL & ~0x160
"""Descriptors without the accessed bit of their type (bit 8 of the high word)."""
CASE_PAGES, SPARE_PAGES = 24, 24
"""Pages of the arena that a case may have taken, some of them page tables; and pages behind them."""
GDT_BYTES, IDT_BYTES, TSS_BYTES, IMAGE_BYTES = 0x100, 0x800, 104, 0x1000


@dataclass(frozen=True)
class Range:
    """Words to watch: `linear` address, length in bytes, and the bits of each word that count."""

    name: str
    linear: int
    length: int
    mask: int = ALL


class MemoryWatch:
    """Sums over guest memory at every `look`; looks come in pairs, before and after something."""

    def __init__(self, g: VmiGuest) -> None:
        self._g = g
        self._code = g.direct(g.page())
        g.write(self._code, SUM)
        self._ranges = watched(g)
        self._looks: list[list[StateHandle]] = []
        self._prove()

    def look(self) -> None:
        """Queue the sums."""
        self._looks.append([self._sum(item) for item in self._ranges])

    def expect_unchanged(self, by_what: str) -> None:
        """Expect the two looks of each pair to have seen the same."""
        self._g.require(bool(self._looks) and not len(self._looks) % 2, "memory was looked at in pairs")
        for before, after in zip(self._looks[::2], self._looks[1::2], strict=True):
            for item, one, other in zip(self._ranges, before, after, strict=True):
                self._g.expect_equal(other.eax, one.eax, f"{item.name} left alone {by_what}: their sum")

    def _sum(self, item: Range) -> StateHandle:
        return self._g.execute(self._code, esi=item.linear, ecx=item.length // 4, edx=item.mask)

    def _prove(self) -> None:
        """See that one changed word, wherever it lies, changes the sum, and that masked bits do not."""
        page = self._g.direct(self._g.page())
        item = Range("probe", page, PAGE, TABLE)
        sums = [self._sum(item)]
        for offset, value in ((0, 1), (0, 0), (0, Pte.A), (PAGE - 4, 0x8000_0000)):
            self._g.write32(page + offset, int(value))
            sums.append(self._sum(item))
        seen = [state.eax for state in sums]
        self._g.require(seen[0] == seen[2] == seen[3] and len({seen[0], seen[1], seen[4]}) == 3,
                        "sums show what was changed")


def watched(g: VmiGuest) -> list[Range]:
    """What is watched: everything that holds still while the test kernel itself runs."""
    hello, page0 = g.hello, g.direct(0)
    directory = g.direct(g.directory)
    arena, taken = g.direct(hello.number("arena.base")), CASE_PAGES * PAGE
    found = [
        Range("the page directory", directory, PAGE, TABLE),
        Range("the first page of memory", page0, PAGE),
        Range("the GDT", hello.number("kernel.gdt"), GDT_BYTES, DESCRIPTORS),
        Range("the IDT", hello.number("kernel.idt"), IDT_BYTES),
        Range("the TSS", hello.number("kernel.tss"), TSS_BYTES),
        Range("the pages of the case", arena, taken, TABLE),
        Range("memory that nobody uses", arena + taken, SPARE_PAGES * PAGE),
    ]
    found += [Range(f"the user's {name}", g.direct(hello.number(f"user.{name}.phys")), PAGE)
              for name in ("code", "data")]
    if hello.number("rom.phys"):
        found.append(Range("the image", g.direct(hello.number("rom.phys")), IMAGE_BYTES))
    entries = g.read(g.directory, PAGE, phys=True).value
    for index in range(ENTRIES):
        entry = int.from_bytes(entries[4 * index:4 * index + 4], "little")
        if entry & Pte.P:
            table = g.direct(entry & ~(PAGE - 1))
            found.append(Range(f"the page table of {index << 22:#010x}", table, PAGE, TABLE))
    return found
