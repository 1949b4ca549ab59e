# SPDX-License-Identifier: BSD-2-Clause
"""Queued work is done in order, at the points the document names, and never lost or doubled."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from abidance.abi.vmi.reference.deferral import CPU, MMU, OFF, Deferral
from abidance.platform.unicorn.walk import Fault


def test_outside_a_mode_work_is_done_at_once():
    queue, done = Deferral(), []
    queue.update(False, done.append, 1)
    queue.change(done.append, 2)
    assert done == [1, 2]


def test_a_deferred_update_waits_for_a_flush():
    queue, done = Deferral(), []
    queue.update(True, done.append, 1)
    assert done == []
    queue.flush_updates()
    queue.flush_updates()
    assert done == [1]


def test_modes_queue_their_own_kind_only():
    queue, done = Deferral(), []
    queue.set_mode(MMU)
    queue.update(False, done.append, 1)
    queue.change(done.append, 2)
    assert done == [2]
    queue.set_mode(CPU)
    assert done == [2, 1]
    queue.change(done.append, 3)
    queue.update(False, done.append, 4)
    assert done == [2, 1, 4]
    queue.set_mode(OFF)
    assert done == [2, 1, 4, 3]


def test_an_unknown_mode_is_none():
    queue = Deferral()
    queue.set_mode(0xFFFFFFFF)
    assert queue.mode == OFF


def test_work_that_faults_is_dropped_and_the_rest_goes_on():
    queue, done = Deferral(), []

    def fault(value: int) -> None:
        raise Fault(14, 0, value)

    queue.update(True, fault, 1)
    queue.update(True, done.append, 2)
    queue.flush_updates()
    assert (done, queue.updates) == ([2], [])


@given(st.lists(st.tuples(st.booleans(), st.integers(0, 3), st.integers(0, 99))))
def test_the_last_value_of_every_entry_wins(steps):
    queue, memory, expected = Deferral(), {}, {}
    for defer, entry, value in steps:
        queue.update(defer, memory.__setitem__, entry, value)
        expected[entry] = value
        if not defer:
            assert memory == expected
    queue.flush_updates()
    assert memory == expected
