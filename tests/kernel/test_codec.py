# SPDX-License-Identifier: BSD-2-Clause
"""Codecs: what is right goes through unchanged, and nothing that is wrong goes through at all."""

from __future__ import annotations

import struct
from contextlib import suppress

import pytest
from hypothesis import assume, given
from hypothesis import strategies as st

import abidance.kernel
from abidance.errors import FrameError, RecordError, UnavailableError, UsageError
from abidance.kernel import (
    AbiOp,
    Call,
    Echo,
    Echoed,
    Execute,
    Log,
    LogEntries,
    Poll,
    Polled,
    PortIn,
    PortOut,
    Read,
    Set,
    Space,
    State,
    Transfer,
    Write,
    built,
    decode_hello,
    decode_records,
    encode_batch,
)
from abidance.kernel.frames import FRAME_OVERHEAD, HEADER_SIZE, Kind, decode, encode, frame_length
from abidance.kernel.ops import MAX_READ, Op

U64 = st.integers(0, 2**64 - 1)
PAYLOAD = st.binary(max_size=200)
REGISTERS = st.lists(st.tuples(st.integers(0, 15), U64), max_size=16).map(tuple)
WORDS = st.lists(U64, max_size=8).map(tuple)
OPS: st.SearchStrategy[Op] = st.one_of(
    st.builds(Echo, WORDS, PAYLOAD), st.builds(Read, st.sampled_from(Space), U64, st.integers(0, MAX_READ)),
    st.builds(Write, st.sampled_from(Space), U64, PAYLOAD), st.just(Log()),
    st.builds(Call, st.integers(0, 80), registers=REGISTERS, stack=WORDS),
    st.builds(Execute, U64, U64, REGISTERS), st.builds(Transfer, U64, U64, registers=REGISTERS),
    st.builds(PortIn, U64), st.builds(PortOut, U64, U64), st.builds(Poll, U64, U64, U64, U64),
    st.builds(Set, U64, U64), st.builds(AbiOp, st.integers(0x100, 0xFFFF), WORDS))


def record(op: Op, index: int, values: tuple[int, ...] = (), blob: bytes = b"", status: int = 0) -> bytes:
    head = struct.pack("<HHHHII", op.number, status, len(values), 0, index, len(blob))
    return head + struct.pack(f"<{len(values)}Q", *values) + blob + bytes(-len(blob) % 8)


def result(*records: bytes) -> bytes:
    return struct.pack("<II", len(records), 0) + b"".join(records)


@given(st.sampled_from(Kind), st.integers(0, 2**32 - 1), U64, PAYLOAD)
def test_frames_round_trip(kind: Kind, seq: int, nonce: int, payload: bytes) -> None:
    frame = encode(kind, seq, nonce, payload)
    assert len(frame) == FRAME_OVERHEAD + len(payload)
    assert frame_length(frame[:HEADER_SIZE], limit=1000) == len(frame)
    assert decode(frame, kind=kind, seq=seq, nonce=nonce) == payload


@given(PAYLOAD, st.data())
def test_one_changed_byte_is_noticed(payload: bytes, data: st.DataObject) -> None:
    frame = encode(Kind.RESULT, 7, 99, payload)
    at = data.draw(st.integers(0, len(frame) - 1))
    changed = bytearray(frame)
    changed[at] ^= data.draw(st.integers(1, 255))
    with pytest.raises(FrameError):
        decode(bytes(changed), kind=Kind.RESULT, seq=7, nonce=99)


@given(PAYLOAD, st.data())
def test_one_dropped_or_inserted_byte_is_noticed(payload: bytes, data: st.DataObject) -> None:
    frame = encode(Kind.RESULT, 7, 99, payload)
    at = data.draw(st.integers(0, len(frame) - 1))
    inserted = frame[:at] + bytes([data.draw(st.integers(0, 255))]) + frame[at:]
    for wrong in (frame[:at] + frame[at + 1:], inserted, frame[:at]):
        with pytest.raises(FrameError):
            decode(wrong, kind=Kind.RESULT, seq=7, nonce=99)


@given(st.binary(max_size=100))
def test_arbitrary_bytes_are_no_frame(data: bytes) -> None:
    with pytest.raises(FrameError):
        decode(data, kind=Kind.RESULT, seq=1, nonce=1)


@pytest.mark.parametrize("other", [{"kind": Kind.HELLO}, {"seq": 2}, {"nonce": 2}])
def test_foreign_frames_are_refused(other: dict[str, int]) -> None:
    frame = encode(Kind.RESULT, 1, 1, b"x")
    with pytest.raises(FrameError):
        decode(frame, **{"kind": Kind.RESULT, "seq": 1, "nonce": 1, **other})  # type: ignore[arg-type]


def test_a_frame_may_not_announce_more_than_fits() -> None:
    with pytest.raises(FrameError, match="more than fit"):
        frame_length(encode(Kind.HELLO, 0, 0, bytes(100)), limit=100)


@given(st.lists(OPS, max_size=5))
def test_batches_are_aligned_and_counted(ops: list[Op]) -> None:
    assume(sum(op.answer_limit for op in ops) < 0x90000)
    payload = encode_batch(ops)
    assert struct.unpack_from("<II", payload) == (len(ops), 0)
    offset = 8
    for op in ops:
        number, nargs, blob = struct.unpack_from("<HHI", payload, offset)
        assert number == op.number
        offset += 8 + 8 * nargs + blob + -blob % 8
    assert offset == len(payload)


@pytest.mark.parametrize("ops", [
    [Echo((-1,))], [Echo((1 << 64,))], [AbiOp(4)], [Read(Space.LINEAR, 0, MAX_READ + 1)],
    [Write(Space.LINEAR, 0, bytes(0x40000))], [Read(Space.LINEAR, 0, MAX_READ)] * 4])
def test_batches_that_cannot_be_are_usage_errors(ops: list[Op]) -> None:
    with pytest.raises(UsageError):
        encode_batch(ops)


@given(st.lists(OPS, max_size=4), st.binary(max_size=400))
def test_hostile_results_raise_record_error_only(ops: list[Op], data: bytes) -> None:
    for payload in (data, struct.pack("<II", len(ops), 0) + data):
        with suppress(RecordError):
            decode_records(payload, ops)


@given(OPS, st.integers(0, 3), st.lists(U64, max_size=60).map(tuple), PAYLOAD)
def test_hostile_records_raise_record_error_only(op: Op, status: int, values: tuple[int, ...],
                                                 blob: bytes) -> None:
    with suppress(RecordError):
        decode_records(result(record(op, 0, values, blob, status)), [op])


STATE = (1, 2, 10, 11, 20, 21, 14, 2, 0x1000, 0x61, 0xF000, 0x202, 0x2000, 3, 1, 2, 0x3000, 2**64 - 1)


def test_state_is_decoded_field_by_field() -> None:
    (state,) = decode_records(result(record(Call(1), 0, STATE)), [Call(1)])
    assert isinstance(state, State)
    assert state.faulted
    assert (state.before, state.after) == ((10, 11), (20, 21))
    assert (state.vector, state.error, state.fault_eip, state.fault_cs) == (14, 2, 0x1000, 0x61)
    assert (state.cr2, state.fault_eflags, state.site, state.canary_bad) == (0xF000, 0x202, 0x2000, 3)
    assert (state.irqs, state.target_kind, state.target, state.mask_after) == (1, 2, 0x3000, None)


@pytest.mark.parametrize("values", [STATE[:-1], (*STATE, 0), (4, *STATE[1:]), (0, 0, *STATE[6:]), ()])
def test_impossible_states(values: tuple[int, ...]) -> None:
    with pytest.raises(RecordError):
        decode_records(result(record(Call(1), 0, values)), [Call(1)])


def test_log_entries_are_decoded_and_checked() -> None:
    entry = (2, 14, 4, 0x1000, 0x61, 0x202, 0x46, 0x8000, 0x69, 2**64 - 1, 0xF00, 5, 1, 0, 0, 0)
    (log,) = decode_records(result(record(Log(), 0, (1, 9), struct.pack("<16Q", *entry))), [Log()])
    assert isinstance(log, LogEntries)
    assert log.lost == 9
    assert (log.entries[0].vector, log.entries[0].mask, log.entries[0].nested) == (14, None, True)
    wrong = struct.pack("<16Q", 4, *entry[1:])
    for values, blob in (((2, 0), struct.pack("<16Q", *entry)), ((1, 0), wrong), ((1,), b"")):
        with pytest.raises(RecordError):
            decode_records(result(record(Log(), 0, values, blob)), [Log()])


@pytest.mark.parametrize("payload", [
    b"", bytes(7), result(record(Set(1, 1), 0)) + b"\0", result(record(Set(1, 1), 1)), result(),
    result(record(PortIn(1), 0)), result(record(Set(1, 1), 0, status=3)), result(record(Set(1, 1), 0, (1,))),
    result(record(Set(1, 1), 0), record(Set(1, 1), 1)), struct.pack("<II", 1, 1) + record(Set(1, 1), 0)])
def test_results_that_do_not_fit_the_batch(payload: bytes) -> None:
    with pytest.raises(RecordError):
        decode_records(payload, [Set(1, 1)])


def test_echo_must_be_an_echo_and_poll_possible() -> None:
    op = Echo((1, 2), b"abc")
    assert decode_records(result(record(op, 0, (1, 2), b"abc")), [op]) == (Echoed((1, 2), b"abc"),)
    with pytest.raises(RecordError):
        decode_records(result(record(op, 0, (1, 3), b"abc")), [op])
    poll = Poll(1, 1, 1, 5)
    assert decode_records(result(record(poll, 0, (1, 5, 255))), [poll]) == (Polled(True, 5, 255),)
    with pytest.raises(RecordError):
        decode_records(result(record(poll, 0, (2, 5, 255))), [poll])


def item(kind: int, name: bytes, value: bytes) -> bytes:
    head = struct.pack("<BBHI", kind, len(name), 0, len(value))
    return head + name + bytes(-len(name) % 8) + value + bytes(-len(value) % 8)


def number(name: bytes, value: int) -> bytes:
    return item(1, name, value.to_bytes(8, "little"))


HELLO = number(b"protocol", 1) + number(b"registers", 1) + item(2, b"register.0", b"eax")


def test_hello_is_decoded() -> None:
    hello = decode_hello(HELLO + number(b"fragment.kernel.ret", 0x1234) + item(2, b"raw", b"\xff"))
    assert hello.registers == ("eax",)
    assert hello.fragments == {"kernel.ret": 0x1234}
    assert hello.number("missing", 5) == 5
    assert "raw" in hello
    for wrong in (lambda: hello.number("raw"), lambda: hello.blob("protocol"), lambda: hello.text("raw")):
        with pytest.raises(RecordError):
            wrong()


@pytest.mark.parametrize("payload", [
    b"", HELLO[:-1], HELLO + HELLO, HELLO + item(3, b"x", b""), HELLO + item(1, b"x", b"1234"),
    HELLO + item(2, b"", b""), HELLO + item(2, b"a b", b""), number(b"protocol", 2) + HELLO[24:],
    number(b"protocol", 1) + number(b"registers", 2) + item(2, b"register.0", b"eax"),
    number(b"protocol", 1) + number(b"registers", 2**63)])
def test_impossible_hellos(payload: bytes) -> None:
    with pytest.raises(RecordError):
        decode_hello(payload)


@given(st.binary(max_size=300))
def test_hostile_hellos_raise_record_error_only(data: bytes) -> None:
    for payload in (data, HELLO + data):
        with suppress(RecordError):
            decode_hello(payload)


def test_missing_images_say_how_to_get_them() -> None:
    with pytest.raises(UnavailableError, match="hatch_build"):
        built("vmi", "no-such.rom")


def test_the_public_names_are_there() -> None:
    assert all(hasattr(abidance.kernel, name) for name in abidance.kernel.__all__)
    assert abidance.kernel.__all__ == sorted(abidance.kernel.__all__, key=lambda n: (n.islower(), n))
