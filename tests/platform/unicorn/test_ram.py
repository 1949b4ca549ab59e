# SPDX-License-Identifier: BSD-2-Clause
"""Memory comes back exactly, by either way, and says where it had changed."""

from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from abidance.platform.unicorn.ram import PAGE, Copy, Part, Ram

SIZE = 64 * PAGE


@pytest.fixture(params=["page map", "comparison"])
def ram(request, monkeypatch):
    if request.param == "comparison":
        monkeypatch.setattr(Ram, "_departed", lambda self: None)
    return Ram(SIZE, restorable=True)


def pages(ranges) -> set[int]:
    return {page for start, end in ranges for page in range(start // PAGE, end // PAGE)}


def test_only_what_changed_comes_back(ram):
    ram.write(0, bytes(range(256)) * 16)
    saved = ram.save()
    assert ram.restore(saved) == []
    ram.write(5 * PAGE - 2, b"abcd")
    ram.words[(63 * PAGE) >> 2] = 1
    ram.read(30 * PAGE, 10)
    assert pages(ram.restore(saved)) == {4, 5, 63}
    assert ram.save() == saved


def test_an_older_copy_can_be_restored_too(ram):
    first = ram.save()
    ram.write(PAGE, b"x")
    second = ram.save()
    ram.write(2 * PAGE, b"y")
    assert pages(ram.restore(first)) == {1, 2}
    ram.write(3 * PAGE, b"z")
    assert 3 in pages(ram.restore(second))
    assert bytes(ram.view) == bytes(second)


def test_views_and_parts_stay_the_same_memory(ram):
    part = Part(ram, PAGE, 3 * PAGE)
    view, words = ram.view, part.words
    saved = ram.save()
    words[0] = 0x12345678
    assert view[PAGE:PAGE + 4] == b"\x78\x56\x34\x12"
    ram.restore(saved)
    assert (words[0], part.base, part.size) == (0, PAGE, 2 * PAGE)


@settings(deadline=None, max_examples=30)
@given(st.lists(st.tuples(st.integers(0, SIZE - 9), st.binary(min_size=1, max_size=8)), max_size=20))
def test_restoring_undoes_any_writes(writes):
    ram = Ram(SIZE, restorable=True)
    ram.write(100, b"before")
    saved = ram.save()
    for at, data in writes:
        ram.write(at, data)
    changed = pages(ram.restore(saved))
    assert bytes(ram.view) == bytes(saved)
    assert {page for at, data in writes for page in (at // PAGE, (at + len(data) - 1) // PAGE)
            if data.strip(b"\0")} <= changed | {0}


def test_addresses_are_checked(ram):
    for at, length in ((-1, 1), (SIZE, 1), (SIZE - 1, 2), (0, -1)):
        with pytest.raises(IndexError):
            ram.read(at, length)
    with pytest.raises(ValueError, match="another size"):
        ram.restore(Copy(1))
    with pytest.raises(ValueError, match="whole pages"):
        Ram(100)
