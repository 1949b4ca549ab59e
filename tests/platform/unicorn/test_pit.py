# SPDX-License-Identifier: BSD-2-Clause
"""The 8254, by the mode definitions of its data sheet."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from abidance.platform.unicorn.pit import PIT


def loaded(control: int, *count: int, channel: int = 0) -> PIT:
    pit = PIT()
    pit.advance(1000)
    pit.write(0x43, control)
    for byte in count:
        pit.write(0x40 + channel, byte)
    return pit


def edges(pit: PIT, ticks: int) -> list[int]:
    return [tick for tick in range(1, ticks + 1) if pit.advance(1)]


def test_nothing_happens_without_a_count() -> None:
    pit = loaded(0x30)
    assert pit.ticks_to_edge() is None
    assert not pit.advance(10_000_000)


def test_mode_0_rises_once_n_plus_one_ticks_after_the_count() -> None:
    pit = loaded(0x30, 5, 0)
    assert pit.ticks_to_edge() == 6
    assert edges(pit, 70_000) == [6]
    assert pit.ticks_to_edge() is None


def test_mode_0_zero_means_65536() -> None:
    assert loaded(0x30, 0, 0).ticks_to_edge() == 65537


def test_mode_0_first_byte_stops_the_count() -> None:
    pit = loaded(0x30, 5, 0)
    pit.advance(3)
    pit.write(0x40, 7)
    assert not pit.advance(100)
    pit.write(0x40, 0)
    assert pit.ticks_to_edge() == 8


def test_mode_2_has_a_rising_edge_every_n_ticks() -> None:
    assert edges(loaded(0x34, 4, 0), 14) == [5, 9, 13]


def test_mode_3_has_a_rising_edge_every_n_ticks() -> None:
    assert edges(loaded(0x36, 5, 0), 16) == [6, 11, 16]


def test_mode_4_strobes_once() -> None:
    assert edges(loaded(0x38, 4, 0), 100) == [6]


def test_modes_6_and_7_are_modes_2_and_3() -> None:
    assert edges(loaded(0x3C, 4, 0), 9) == [5, 9]


@pytest.mark.parametrize("control", [0x32, 0x3A])
def test_gated_modes_never_start(control: int) -> None:
    pit = loaded(0x30)
    pit.write(0x43, control)
    pit.advance(0)
    pit.write(0x40, 4)
    pit.write(0x40, 0)
    assert pit.ticks_to_edge() is None
    assert not pit.advance(1000)


def test_a_control_word_that_raises_the_output_is_an_edge() -> None:
    pit = loaded(0x30)
    pit.write(0x43, 0x34)
    assert pit.ticks_to_edge() == 0
    assert pit.advance(0)
    assert not pit.advance(0)


def test_a_new_count_in_mode_2_waits_for_the_end_of_the_cycle() -> None:
    pit = loaded(0x34, 10, 0)
    pit.advance(25)
    pit.write(0x40, 3)
    pit.write(0x40, 0)
    assert edges(pit, 13) == [6, 9, 12]


def test_several_edges_in_one_step_are_one() -> None:
    pit = loaded(0x34, 4, 0)
    assert pit.advance(100)
    assert pit.ticks_to_edge() == 1


@pytest.mark.parametrize(("control", "writes", "length"), [
    (0x10, [7], 7), (0x20, [7], 0x700), (0x30, [7, 1], 0x107), (0x31, [0x99, 1], 199), (0x31, [0, 0], 10_000),
])
def test_access_and_bcd(control: int, writes: list[int], length: int) -> None:
    assert loaded(control, *writes).ticks_to_edge() == length + 1


def test_reading_low_then_high() -> None:
    pit = loaded(0x34, 0x34, 0x12)
    pit.advance(1)
    assert pit.read(0x40) | pit.read(0x40) << 8 == 0x1234
    pit.advance(0x35)
    assert pit.read(0x40) | pit.read(0x40) << 8 == 0x11FF


def test_latch_holds_until_read_and_ignores_a_second() -> None:
    pit = loaded(0x34, 0x34, 0x12)
    pit.advance(1)
    pit.write(0x43, 0x00)
    pit.advance(7)
    pit.write(0x43, 0x00)
    assert [pit.read(0x40), pit.read(0x40)] == [0x34, 0x12]
    assert [pit.read(0x40), pit.read(0x40)] == [0x2D, 0x12]


def test_mode_0_counts_on_below_zero() -> None:
    pit = loaded(0x30, 2, 0)
    pit.advance(4)
    assert pit.read(0x40) | pit.read(0x40) << 8 == 0xFFFF


def test_mode_3_counts_by_two() -> None:
    pit = loaded(0x36, 8, 0)
    pit.advance(1)
    seen = []
    for _ in range(8):
        seen.append(pit.read(0x40) | pit.read(0x40) << 8)
        pit.advance(1)
    assert seen == [8, 6, 4, 2, 8, 6, 4, 2]


def test_read_back_status_then_count() -> None:
    pit = loaded(0x34, 9, 0)
    pit.write(0x43, 0xC2)
    assert pit.read(0x40) == 0xF4
    assert [pit.read(0x40), pit.read(0x40)] == [9, 0]
    pit.advance(1)
    pit.write(0x43, 0xE2)
    assert pit.read(0x40) == 0xB4


def test_other_channels_reach_no_interrupt() -> None:
    pit = loaded(0xB4, 4, 0, channel=2)
    assert pit.ticks_to_edge() is None
    assert not pit.advance(100)
    pit.write(0x43, 0x80)
    assert pit.read(0x42) in (1, 2, 3, 4)


def test_the_control_port_reads_ones_and_others_are_refused() -> None:
    assert PIT().read(0x43) == 0xFF
    with pytest.raises(ValueError):
        PIT().read(0x44)


def test_snapshot() -> None:
    pit = loaded(0x34, 9, 0)
    pit.write(0x43, 0x00)
    saved = pit.snapshot()
    pit.advance(5)
    pit.read(0x40)
    pit.restore(saved)
    assert pit.ticks_to_edge() == 10
    assert [pit.read(0x40), pit.read(0x40)] == [9, 0]


@given(st.sampled_from([0x30, 0x34, 0x36, 0x38]),
       st.integers(2, 99), st.lists(st.integers(1, 97), max_size=8))
def test_steps_of_any_size_see_the_same_edges(control: int, count: int, steps: list[int]) -> None:
    coarse, fine = loaded(control, count & 0xFF, count >> 8), loaded(control, count & 0xFF, count >> 8)
    for step in steps:
        due = coarse.ticks_to_edge()
        edge = coarse.advance(step)
        assert edge == (due is not None and due <= step)
        assert edge == bool(edges(fine, step))
