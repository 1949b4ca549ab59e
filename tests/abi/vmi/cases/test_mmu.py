# SPDX-License-Identifier: BSD-2-Clause
"""The cases on page tables leave the accessed and dirty bits out of what they compare, and nothing else."""

from __future__ import annotations

from abidance.abi.vmi.cases.mmu_tools import ACCESSED_DIRTY, Marked, all_but_accessed_dirty, entries_of


def test_only_accessed_and_dirty_are_left_out() -> None:
    assert ACCESSED_DIRTY == 0x60
    assert all_but_accessed_dirty(0xFFFF_FFFF) == 0xFFFF_FF9F
    assert all_but_accessed_dirty(0x1234_5063) == 0x1234_5003


def test_entries_of_a_table_are_little_endian_words() -> None:
    assert entries_of(bytes.fromhex("67 50 34 12 00 00 00 00 9e ff ff ff")) == [0x1234_5007, 0, 0xFFFF_FF9E]


def test_entry_of_a_marked_page_keeps_the_whole_address() -> None:
    page = Marked(0x0060_F000, 0x0000_00FF)
    assert page.entry(0x107) == 0x0060_F107
    assert page.last == 0xFFFF_FF00
