# SPDX-License-Identifier: BSD-2-Clause
"""Shadow entries are made on demand, remember what they came from, and go when they are told."""

from __future__ import annotations

import pytest

from abidance.abi.vmi.reference.shadow import HOLE, NOWHERE, PRIVATE, Shadow
from abidance.platform.unicorn.ram import Ram
from abidance.platform.unicorn.walk import Fault

DIRECTORY, TABLE, OTHER = 0x1000, 0x2000, 0x3000
ACCESSED, DIRTY = 0x20, 0x40


class World:
    def __init__(self) -> None:
        self.ram, self.private, self.flushes = Ram(0x10_0000), Ram(Shadow.SIZE, PRIVATE), 0
        self.shadow = Shadow(self.ram, self.private, self._flush)
        self.shadow.load(DIRECTORY)
        self.ram.words[DIRECTORY >> 2] = TABLE | 7
        self.flushes = 0

    def _flush(self) -> None:
        self.flushes += 1

    def entry(self, page: int, value: int, table: int = TABLE) -> None:
        self.ram.words[(table >> 2) + page] = value

    def guest(self, page: int) -> int:
        return self.ram.words[(TABLE >> 2) + page]

    def at(self, linear: int, write: bool = False, user: bool = False) -> int:
        return self.shadow.translate(linear, write=write, user=user)

    def real(self, linear: int) -> int:
        """The entry that the processor sees."""
        return self.private.words[linear >> 12]


@pytest.fixture
def world() -> World:
    return World()


def test_an_entry_is_made_at_the_first_use(world):
    world.entry(5, 0x8003)
    assert not world.real(0x5000)
    assert world.at(0x5123) == 0x8123
    assert world.real(0x5000) & 0xFFFFF001 == 0x8001


def test_a_store_without_a_call_stays_invisible_until_the_entry_is_dropped(world):
    world.entry(5, 0x8003)
    world.at(0x5000)
    world.entry(5, 0x9003)
    assert world.at(0x5000) == 0x8000
    world.shadow.entry_changed(TABLE + 20)
    assert world.at(0x5000) == 0x9000


def test_a_store_becomes_visible_where_nothing_was_mapped(world):
    with pytest.raises(Fault):
        world.at(0x5000)
    world.entry(5, 0x8003)
    assert world.at(0x5000) == 0x8000


@pytest.mark.parametrize("how", ["invalidate", "flush", "load"])
def test_what_drops_an_entry(world, how):
    world.entry(5, 0x8003)
    world.at(0x5000)
    world.entry(5, 0x9003)
    {"invalidate": lambda: world.shadow.invalidate(0x5ABC), "flush": world.shadow.flush,
     "load": lambda: world.shadow.load(DIRECTORY)}[how]()
    assert world.flushes
    assert world.at(0x5000) == 0x9000


def test_a_changed_directory_entry_drops_everything_below_it_and_nothing_else(world):
    world.ram.words[(DIRECTORY >> 2) + 1] = OTHER | 7
    world.entry(5, 0x8003)
    world.entry(6, 0xA003)
    world.entry(0, 0xB003, OTHER)
    for linear in (0x5000, 0x6000, 0x40_0000):
        world.at(linear)
    world.shadow.entry_changed(DIRECTORY)
    assert [world.shadow.cached(linear) for linear in (0x5000, 0x6000, 0x40_0000)] == [False, False, True]


def test_two_addresses_of_one_table_are_dropped_together(world):
    world.ram.words[(DIRECTORY >> 2) + 1] = TABLE | 7
    world.entry(5, 0x8003)
    assert world.at(0x5000) == world.at(0x40_5000) == 0x8000
    world.entry(5, 0x9003)
    world.shadow.entry_changed(TABLE + 20)
    assert world.at(0x5000) == world.at(0x40_5000) == 0x9000


def test_accessed_and_dirty_reach_the_guests_own_entries(world):
    world.entry(5, 0x8003)
    world.at(0x5000)
    assert world.guest(5) == 0x8003 | ACCESSED
    assert world.ram.words[DIRECTORY >> 2] & ACCESSED
    assert not world.real(0x5000) & 2, "a write must fault so that the dirty bit can be set"
    world.at(0x5000, write=True)
    assert world.guest(5) == 0x8003 | ACCESSED | DIRTY
    assert world.real(0x5000) & 2


def test_a_clean_entry_sets_its_bits_again_after_it_was_announced(world):
    world.entry(5, 0x8003)
    world.at(0x5000, write=True)
    world.entry(5, 0x8003)
    world.shadow.entry_changed(TABLE + 20)
    world.at(0x5000, write=True)
    assert world.guest(5) == 0x8003 | ACCESSED | DIRTY


@pytest.mark.parametrize(("flags", "write", "user", "error"), [
    (0, False, False, 0), (0, True, True, 6), (1, True, False, 3), (3, False, True, 5), (5, True, True, 7)])
def test_the_guests_tables_decide_the_error_code(world, flags, write, user, error):
    world.entry(5, 0x8000 | flags if flags else 0)
    with pytest.raises(Fault) as caught:
        world.at(0x5678, write=write, user=user)
    assert (caught.value.vector, caught.value.error, caught.value.address) == (14, error, 0x5678)


def test_without_write_protection_the_kernel_writes_and_the_user_does_not(world):
    world.shadow.protect = False
    world.entry(5, 0x8005)
    world.at(0x5000, write=True)
    assert world.real(0x5000) & 7 == 3
    world.at(0x5000, user=True)
    assert world.real(0x5000) & 7 == 5
    with pytest.raises(Fault):
        world.at(0x5000, write=True, user=True)


def test_a_large_page_is_one_entry(world):
    world.shadow.large = True
    world.ram.words[DIRECTORY >> 2] = 0x83
    assert world.at(0x7123) == 0x7123
    assert world.at(0x8123) == 0x8123
    world.ram.words[DIRECTORY >> 2] = TABLE | 7
    world.entry(8, 0x9003)
    world.shadow.invalidate(0x7000)
    assert world.at(0x8123) == 0x9123


@pytest.mark.parametrize("frame", [0x10_0000, PRIVATE, PRIVATE + 0x40_0000, 0xFFFF_F000])
def test_no_guest_table_can_name_private_memory(world, frame):
    world.entry(5, frame | 3)
    assert world.at(0x5010) == NOWHERE + 0x10


def test_directories_and_tables_outside_memory_harm_nobody(world):
    for base in (PRIVATE, 0xFFFF_F000, 0x7FFF_F000):
        world.shadow.load(base)
        assert world.at(0x5000) & ~0xFFF == NOWHERE


def test_the_hole_is_the_hypervisors(world):
    assert world.at(HOLE, write=True) == world.shadow.shared
    for linear in (HOLE, HOLE + 0x1000, 0xFFFF_F000):
        with pytest.raises(Fault):
            world.at(linear, user=True)
    world.ram.words[(DIRECTORY >> 2) + (HOLE >> 22)] = TABLE | 7
    world.entry(1, 0x8007)
    with pytest.raises(Fault):
        world.at(HOLE + 0x1000)
    world.shadow.flush()
    assert world.at(HOLE) == world.shadow.shared
