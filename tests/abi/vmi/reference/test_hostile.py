# SPDX-License-Identifier: BSD-2-Clause
"""A guest may crash itself; it never crashes or outwits the hypervisor."""

from __future__ import annotations

import struct

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from abidance.abi.vmi.reference.shadow import HOLE, PRIVATE
from abidance.kernel.ops import Call, Execute, Mode, PortOut, Read, Space, Write
from abidance.platform.model import Reason, Stop

IF = 0x200
WORDS = st.one_of(st.integers(0, 0xFFFFFFFF), st.sampled_from(
    [0, 1, 2, 3, 0x20, 0x31, 0xC0000000, 0xC0108000, 0xC0500000, 0xC0500FFE, HOLE, HOLE + 4, PRIVATE,
     0xFFFFFFFF, 0xFFFFFFFC, 0x108000, 0x500000]))
OFFERED = [14, 15, 16, 17, 18, 19, 20, 21, 22, 28, 29, 30, 31, 32, 35, 38, 40, 46, 47, 48, 73]


def survive(guest, *ops) -> Stop:
    """Run a batch to its end or its death; an exception of ours fails the test."""
    guest.post(*ops)
    for _ in range(20):
        stop = guest.hv.run(1_000_000)
        if stop.reason is Reason.CRASH or guest.box.answered(guest.seq):
            break
    assert "no progress" not in stop.detail, stop.detail
    return stop


@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.lists(st.tuples(st.sampled_from(OFFERED), WORDS, WORDS, WORDS, WORDS), min_size=1, max_size=6))
def test_any_arguments(guest, calls):
    guest.reset()
    survive(guest, *(Call(number, mode=Mode.INLINE, registers=guest.registers({"eax": a, "edx": d, "ecx": c}),
                          stack=(s,)) for number, a, d, c, s in calls))


@settings(max_examples=25, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.sampled_from([14, 17, 33, 34, 35, 38]), st.binary(min_size=64, max_size=64))
def test_any_directory_and_any_state(guest, number, garbage):
    guest.reset()
    guest.hv.memory.write(guest.arena, garbage * 64)
    survive(guest, Call(17, registers=guest.registers({"eax": guest.arena})), Call(number))


def test_an_unmapped_entry_is_a_page_fault_in_the_guest(guest):
    state = guest.call(38, eax=0, edx=0x10, ecx=1)
    assert (state.vector, state.error, state.cr2) == (14, 2, 0x10)
    assert guest.call(40, eax=0x10, edx=1).vector == 14


def test_the_shared_page_is_not_believed(guest):
    for word in (0xFFFFFFFF, 0, IF, ~IF & 0xFFFFFFFF):
        shared = struct.pack("<II", word, 0xFFFFFFFF)
        scribble = Write(Space.LINEAR, HOLE, shared)
        answers = guest.do(scribble, Call(31), scribble, Call(29))
        assert guest.after(answers[1], "eax") == word & IF
        assert answers[3].returned
        assert answers[3].irqs == 0


def test_the_hole_is_out_of_the_users_reach(guest):
    for address in (HOLE, HOLE + 0x1000, 0xFFFFF000):
        for fragment in ("load", "store"):
            state = guest.user(fragment, eax=address)
            assert (state.vector, state.cr2) == (14, address)
            assert state.error & 4


def test_private_memory_cannot_be_mapped(guest):
    guest.map(0x4000_0000, PRIVATE, flags=3)
    assert guest.do(Read(Space.LINEAR, 0x4000_0000, 8))[0].data == b"\xFF" * 8


def test_a_call_gate_to_cpl_0_ends_the_guest_and_not_the_hypervisor(guest):
    gdt, arena = guest.hello.number("kernel.gdt") - guest.direct, guest.arena
    code = guest.direct + arena
    memory = guest.hv.memory
    limit = guest.vcpu.gdtr[1]
    at = limit + 1 - 16
    memory.write(gdt + at, struct.pack("<Q", 0x00CF9A000000FFFF))
    memory.write(gdt + at + 8, struct.pack("<HHHH", code + 16 & 0xFFFF, at, 0xEC00, code + 16 >> 16))
    memory.write(arena, b"\x9A" + struct.pack("<IH", 0, at + 8) + b"\xC3" + b"\x90" * 8 + b"\xF4" * 16)
    stop = survive(guest, Execute(code))
    assert stop.reason is Reason.CRASH or guest.box.answered(guest.seq)


def test_a_guest_that_loses_its_tables_dies_of_a_triple_fault(guest):
    guest.hv.memory.write(guest.arena, bytes(4096))
    stop = survive(guest, Call(17, registers=guest.registers({"eax": guest.arena})))
    assert stop.reason is Reason.CRASH
    assert "triple fault" in stop.detail


def test_a_reset_through_the_keyboard_controller_is_a_crash(guest):
    stop = survive(guest, PortOut(0x64, 0xFE))
    assert stop.reason is Reason.CRASH
    assert "reset" in stop.detail
    guest.reset()
    assert guest.call(19).returned


def test_a_defect_of_the_hypervisor_is_not_taken_for_the_guests_death(guest, monkeypatch):
    def broken(vcpu):
        raise ZeroDivisionError("mutant")
    monkeypatch.setitem(guest.hv.calls, 19, broken)
    with pytest.raises(ZeroDivisionError, match="mutant"):
        survive(guest, Call(19))
    monkeypatch.undo()
    guest.reset()
    assert guest.call(19).returned


@pytest.mark.parametrize("number", [0, 1, 36, 39, 44, 72])
def test_a_stub_of_a_call_that_is_not_offered_is_the_guests_own_int(guest, number):
    state = guest.do(Execute(guest.direct + 0xC0000 + guest.hv.image.stub(number)))[0]
    assert state.faulted
    assert state.vector in {0xF0, 13, 11}
