# SPDX-License-Identifier: BSD-2-Clause
"""Shadow page tables: what the processor walks in place of the guest's tables.

The guest's tables are plain memory that nothing watches. A shadow entry is made when the processor
faults for want of one, by walking the guest's tables with the access at hand, and lives until a
call says that what it came from has changed: so a store without a call stays invisible for a page
that has been used, and becomes visible at the next fault otherwise. That is how the document
describes it (section 6.10), and how a translation cache behaves that never forgets by itself.

One flat array of 2^20 entries (4 MiB of private memory, touched as used) and a directory that
points into it. Every entry remembers the guest entries it was made from. Writable shadow entries
are only made once the guest's entry is dirty, so that accessed and dirty bits always reach the
guest's own entries. A frame outside guest RAM is replaced by one where there is nothing, so that
no guest table can name private memory.

The hole above `HOLE` belongs to the hypervisor: one shared page, out of reach of CPL 3.
"""

from __future__ import annotations

from collections.abc import Callable

from abidance.platform.unicorn.ram import PAGE, Ram
from abidance.platform.unicorn.walk import PRESENT, USER, WRITABLE, Fault, Mapping, walk

__all__ = ["HOLE", "NOWHERE", "PRIVATE", "GuestMemory", "Shadow"]

HOLE = 0xFC000000
"""virtual_top: the lowest linear address that is the hypervisor's (64 MiB, section 2.5)."""

PRIVATE = 0xE0000000
"""Physical address of private memory, per CPU: tables, directory, shared page."""

NOWHERE = 0xD0000000
"""Physical address where there is never anything."""

_ENTRIES = 1 << 20
_FRAME = 0xFFFFF000
_ACCESS = PRESENT | WRITABLE | USER


class GuestMemory:
    """Guest RAM as the words a page-table walk needs; nothing else can be reached through it."""

    def __init__(self, ram: Ram) -> None:
        self._words, self._size = ram.words, ram.size

    def load(self, physical: int) -> int:
        """A word; ones where there is no RAM."""
        return int(self._words[physical >> 2]) if physical < self._size else 0xFFFFFFFF

    def store(self, physical: int, value: int) -> None:
        """Store a word; nothing where there is no RAM."""
        if physical < self._size:
            self._words[physical >> 2] = value & 0xFFFFFFFF


class Shadow:
    """The shadow tables of one CPU. `flush_tlb` tells the processor that entries became weaker."""

    SIZE = 4 * _ENTRIES + 2 * PAGE

    def __init__(self, ram: Ram, private: Ram, flush_tlb: Callable[[], None]) -> None:
        self.memory = GuestMemory(ram)
        self._top = ram.size
        self._entries = private.words
        self._flush_tlb = flush_tlb
        self.directory = private.base + 4 * _ENTRIES
        self.shared = private.base + 4 * _ENTRIES + PAGE
        self.base, self.protect, self.large = 0, True, False
        self._sources: dict[int, tuple[int, int]] = {}
        self._users: dict[int, set[int]] = {}
        for index in range(1024):
            private.words[_ENTRIES + index] = private.base + index * PAGE | _ACCESS
        self._entries[HOLE >> 12] = self.shared | PRESENT | WRITABLE

    # -- translation -----------------------------------------------------------------------------

    def translate(self, linear: int, *, write: bool, user: bool) -> int:
        """The physical address that the processor would use, making the entry if need be. Raises
        Fault(14) with the guest's error code."""
        entry = self._entries[linear >> 12]
        needed = PRESENT | (WRITABLE if write else 0) | (USER if user else 0)
        if entry & needed != needed:
            self.fill(linear, write=write, user=user)
            entry = self._entries[linear >> 12]
        return int(entry & _FRAME | linear & PAGE - 1)

    def fill(self, linear: int, *, write: bool, user: bool) -> None:
        """Make or widen the shadow entry for an access that faulted. Raises Fault(14) if the guest's
        own tables forbid the access."""
        page = linear >> 12
        if linear >= HOLE:
            raise Fault(14, self._entries[page] & PRESENT | write << 1 | user << 2, linear)
        self.install(page, self.look_up(linear, write=write, user=user), write=write)

    def look_up(self, linear: int, *, write: bool, user: bool) -> Mapping:
        """What the guest's tables say, with accessed and dirty bits set."""
        return walk(self.memory, self.base, linear, write=write, user=user, protect=self.protect,
                    large=self.large)

    def install(self, page: int, found: Mapping, *, write: bool) -> None:
        """Put what was found into the shadow entry of linear page `page`."""
        frame = found.frame if found.frame < self._top else NOWHERE
        entry = frame | PRESENT
        if found.writable and found.dirty:
            entry |= WRITABLE
        if found.user:
            entry |= USER
        if write and not found.writable:
            # CR0.WP is clear and the kernel writes: for the user the page must stay read-only, and
            # one entry cannot say both, so the user loses it until its own next fault.
            entry = frame | PRESENT | WRITABLE
        old = self._entries[page]
        self._entries[page] = entry
        if old & PRESENT and (old & _FRAME != frame or old & _ACCESS & ~entry):
            self._flush_tlb()
        self._remember(page, found.pde, found.pte)

    def _remember(self, page: int, pde: int, pte: int) -> None:
        self._forget(page)
        self._sources[page] = (pde, pte)
        self._users.setdefault(pde, set()).add(page)
        if pte:
            self._users.setdefault(pte, set()).add(page)

    def _forget(self, page: int) -> None:
        for source in self._sources.pop(page, ()):
            users = self._users.get(source)
            if users is not None:
                users.discard(page)
                if not users:
                    del self._users[source]

    # -- invalidation ----------------------------------------------------------------------------

    def entry_changed(self, physical: int) -> None:
        """The guest's entry at `physical` (PTE or PDE) is not what it was: drop all that came from
        it."""
        self._drop(list(self._users.get(physical & ~3, ())))

    def invalidate(self, linear: int) -> None:
        """Drop the entry of the page that holds `linear`; with 4 MiB pages, of the whole of it."""
        page = linear >> 12
        source = self._sources.get(page)
        if source is None:
            return
        pde, pte = source
        self._drop([page] if pte else list(self._users[pde]))

    def flush(self) -> None:
        """Drop every entry, global pages included."""
        for page in self._sources:
            self._entries[page] = 0
        self._sources.clear()
        self._users.clear()
        self._flush_tlb()

    def load(self, base: int) -> None:
        """Walk another guest directory from now on."""
        self.base = base
        self.flush()

    def _drop(self, pages: list[int]) -> None:
        for page in pages:
            self._entries[page] = 0
            self._forget(page)
        if pages:
            self._flush_tlb()

    def cached(self, linear: int) -> bool:
        """Whether there is a shadow entry for the page of `linear`."""
        return linear >> 12 in self._sources
