# SPDX-License-Identifier: BSD-2-Clause
"""The 8259 pair, by the sentences of its data sheet."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from abidance.platform.unicorn.pic import PIC

MASTER, SLAVE = (0x20, 0x21), (0xA0, 0xA1)
EOI = 0x20


def initialised(*, icw4: int = 0x01, icw1: int = 0x11) -> PIC:
    pic = PIC()
    for (command, data), base, wiring in ((MASTER, 0x20, 4), (SLAVE, 0x28, 2)):
        pic.write(command, icw1)
        pic.write(data, base)
        pic.write(data, wiring)
        if icw1 & 1:
            pic.write(data, icw4)
        pic.write(data, 0)
    return pic


def read_register(pic: PIC, port: int, ocw3: int) -> int:
    pic.write(port, ocw3)
    return pic.read(port)


def irr(pic: PIC, port: int = 0x20) -> int:
    return read_register(pic, port, 0x0A)


def isr(pic: PIC, port: int = 0x20) -> int:
    return read_register(pic, port, 0x0B)


@pytest.mark.parametrize("irq", [0, 1, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15])
def test_each_input_has_its_vector(irq: int) -> None:
    pic = initialised()
    assert pic.pending() is None
    pic.request(irq)
    assert pic.pending() == 0x20 + irq
    assert pic.acknowledge() == 0x20 + irq
    assert pic.pending() is None
    assert isr(pic) == (1 << irq if irq < 8 else 4)
    assert isr(pic, 0xA0) == (0 if irq < 8 else 1 << irq - 8)


@pytest.mark.parametrize("irq", [-1, 2, 16])
def test_there_is_no_such_input(irq: int) -> None:
    with pytest.raises(ValueError):
        PIC().request(irq)


def test_the_vector_takes_its_low_bits_from_the_input() -> None:
    pic = PIC()
    for value, port in ((0x11, 0x20), (0x47, 0x21), (4, 0x21), (1, 0x21), (0, 0x21)):
        pic.write(port, value)
    pic.request(3)
    assert pic.acknowledge() == 0x43


def test_mask_holds_back_and_releases() -> None:
    pic = initialised()
    pic.write(0x21, 0xFF)
    assert pic.read(0x21) == 0xFF
    pic.request(0)
    assert pic.pending() is None
    assert irr(pic) == 1
    pic.write(0x21, 0xFE)
    assert pic.pending() == 0x20


def test_higher_priority_interrupts_lower_and_not_the_reverse() -> None:
    pic = initialised()
    pic.request(4)
    assert pic.acknowledge() == 0x24
    pic.request(5)
    assert pic.pending() is None
    pic.request(1)
    assert pic.acknowledge() == 0x21
    assert isr(pic) == 0x12
    pic.write(0x20, EOI)
    assert isr(pic) == 0x10
    pic.write(0x20, EOI)
    assert pic.pending() == 0x25


def test_slave_ranks_between_irq1_and_irq3() -> None:
    pic = initialised()
    pic.request(3)
    pic.request(12)
    assert pic.acknowledge() == 0x2C
    assert pic.pending() is None
    pic.request(1)
    assert pic.pending() == 0x21


def test_slave_needs_both_ends() -> None:
    pic = initialised()
    pic.request(12)
    pic.acknowledge()
    pic.request(12)
    pic.write(0x20, EOI)
    assert pic.pending() is None
    pic.write(0xA0, EOI)
    assert pic.pending() == 0x2C


def test_slave_in_service_lets_a_higher_slave_input_in_only_when_specially_nested() -> None:
    for icw4, expected in ((0x01, None), (0x11, 0x28)):
        pic = initialised(icw4=icw4)
        pic.request(12)
        pic.acknowledge()
        pic.request(8)
        assert pic.pending() == expected


def test_specific_end_of_interrupt() -> None:
    pic = initialised()
    pic.request(4)
    pic.acknowledge()
    pic.request(1)
    pic.acknowledge()
    pic.write(0x20, 0x60 | 4)
    assert isr(pic) == 0x02


def test_edge_triggering_needs_a_fall_first() -> None:
    pic = initialised()
    pic.drive(0, True)
    pic.acknowledge()
    pic.write(0x20, EOI)
    pic.drive(0, True)
    assert pic.pending() is None
    pic.drive(0, False)
    pic.drive(0, True)
    assert pic.pending() == 0x20


def test_initialising_forgets_edges_but_not_levels() -> None:
    pic = PIC()
    pic.request(0)
    fresh = initialised()
    assert fresh.pending() is None
    for value, port in ((0x11, 0x20), (0x20, 0x21), (4, 0x21), (1, 0x21)):
        pic.write(port, value)
    assert pic.pending() is None
    pic.drive(0, True)
    assert pic.pending() is None


def test_level_triggering_repeats_while_the_line_is_high() -> None:
    pic = initialised(icw1=0x19)
    pic.drive(5, True)
    assert pic.acknowledge() == 0x25
    assert pic.pending() is None
    pic.write(0x20, EOI)
    assert pic.pending() == 0x25
    pic.drive(5, False)
    assert pic.pending() is None


def test_a_request_that_vanishes_is_spurious_irq7_and_not_in_service() -> None:
    pic = initialised()
    pic.drive(4, True)
    assert pic.pending() == 0x24
    pic.drive(4, False)
    assert pic.pending() is None
    assert pic.acknowledge() == 0x27
    assert isr(pic) == 0


def test_a_request_that_vanishes_at_the_slave_is_spurious_too() -> None:
    pic = initialised()
    pic.drive(12, True)
    pic.drive(12, False)
    assert pic.acknowledge() == 0x27
    assert isr(pic, 0xA0) == 0


def test_automatic_end() -> None:
    pic = initialised(icw4=0x03)
    pic.request(4)
    assert pic.acknowledge() == 0x24
    assert isr(pic) == 0
    pic.request(5)
    assert pic.pending() == 0x25


def test_rotation_makes_the_ended_input_the_lowest() -> None:
    pic = initialised()
    pic.request(4)
    pic.acknowledge()
    pic.write(0x20, 0xA0)
    pic.request(4)
    pic.request(5)
    assert pic.pending() == 0x25


def test_set_priority() -> None:
    pic = initialised()
    pic.write(0x20, 0xC0 | 5)
    pic.request(0)
    pic.request(6)
    assert pic.pending() == 0x26


def test_special_mask_mode_lets_lower_inputs_through() -> None:
    pic = initialised()
    pic.request(3)
    pic.acknowledge()
    pic.request(6)
    assert pic.pending() is None
    pic.write(0x21, 0x08)
    assert pic.pending() is None
    pic.write(0x20, 0x68)
    assert pic.pending() == 0x26
    pic.write(0x20, EOI)
    assert isr(pic) == 0x08


def test_poll_serves_the_highest() -> None:
    pic = initialised()
    pic.request(5)
    pic.write(0x20, 0x0C)
    assert pic.read(0x20) == 0x85
    assert isr(pic) == 0x20
    pic.write(0x20, 0x0C)
    assert not pic.read(0x20) & 0x80


def test_without_icw4_its_functions_are_off() -> None:
    pic = initialised(icw4=0x03)
    pic.write(0x20, 0x10)
    pic.write(0x21, 0x20)
    pic.write(0x21, 4)
    pic.write(0x21, 0xFE)
    assert pic.read(0x21) == 0xFE
    pic.request(0)
    pic.acknowledge()
    assert isr(pic) == 1


def test_snapshot() -> None:
    pic = initialised()
    pic.request(1)
    saved = pic.snapshot()
    pic.acknowledge()
    pic.request(9)
    pic.restore(saved)
    assert pic.pending() == 0x21
    assert isr(pic) == 0
    assert irr(pic, 0xA0) == 0


@given(st.lists(st.one_of(
    st.tuples(st.just("write"), st.sampled_from([0x20, 0x21, 0xA0, 0xA1]), st.integers(0, 255)),
    st.tuples(st.just("drive"), st.sampled_from([0, 1, 3, 7, 8, 15]), st.integers(0, 1)),
    st.tuples(st.just("read"), st.sampled_from([0x20, 0x21, 0xA0, 0xA1]), st.just(0)),
), max_size=40))
def test_what_pending_promises_acknowledge_keeps(actions: list[tuple[str, int, int]]) -> None:
    pic = initialised()
    for kind, where, value in actions:
        if kind == "write":
            pic.write(where, value)
        elif kind == "drive":
            pic.drive(where, bool(value))
        else:
            assert 0 <= pic.read(where) <= 255
        expected = pic.pending()
        if expected is not None:
            assert pic.acknowledge() == expected
