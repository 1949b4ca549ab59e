# SPDX-License-Identifier: BSD-2-Clause
"""The kernel on a bare QEMU without a VMI ROM: HELLO, memory, ports, hostile batches."""

from __future__ import annotations

import struct

import pytest

from abidance.errors import RecordError
from abidance.kernel import (
    AbiOp,
    Data,
    Done,
    Echo,
    Fault,
    Outcome,
    PortIn,
    PortOut,
    PortValue,
    Read,
    Refused,
    Set,
    Space,
    Write,
    decode_records,
    encode_batch,
)

PAGE_FAULT, GENERAL_PROTECTION = 14, 13


def test_hello_without_a_rom(bench) -> None:
    hello = bench.hello
    assert hello.text("port") == "i386"
    assert hello.text("abi") == "vmi"
    assert hello.number("abi.active") == 0
    assert hello.registers[:4] == ("eax", "ecx", "edx", "ebx")
    assert (hello.number("cpl.before"), hello.number("cpl.after")) == (0, 0)
    assert hello.number("kernel.end.phys") < 0x400000
    assert {"kernel.ret", "kernel.wrcr3", "user.stop", "user.spin"} <= hello.fragments.keys()
    assert all(hello.text(f"rom.{i}.verdict") == "not-vmi" for i in range(hello.number("rom.count")))


def test_echo_and_memory(bench) -> None:
    arena = bench.hello.number("arena.base")
    linear = bench.hello.number("direct.offset") + arena
    answers = bench.run(
        Echo((1, 1 << 63), b"abc"),
        Write(Space.PHYSICAL, arena, b"\x11\x22\x33\x44\x55"),
        Read(Space.LINEAR, linear, 5),
        Write(Space.LINEAR, linear + 1, b"\xAA"),
        Read(Space.PHYSICAL, arena, 8))
    assert answers[0].blob == b"abc"
    assert answers[1:3] == (Done(), Data(b"\x11\x22\x33\x44\x55"))
    assert answers[4] == Data(b"\x11\xAA\x33\x44\x55\0\0\0")
    assert bench.ram[arena:arena + 2] == b"\x11\xAA"


def test_memory_faults_are_answers(bench) -> None:
    edge = bench.hello.number("direct.offset") + bench.hello.number("ram.size")
    read, write, low, after = bench.run(
        Read(Space.LINEAR, edge - 8, 16), Write(Space.LINEAR, edge - 4, bytes(8)),
        Read(Space.LINEAR, 0, 1), Echo((7,)))
    assert read == Fault(PAGE_FAULT, 0, edge, 8)
    assert write == Fault(PAGE_FAULT, 2, edge, 4)
    assert low == Fault(PAGE_FAULT, 0, 0, 0)
    assert after.values == (7,)


def test_addresses_outside_are_refused(bench) -> None:
    size = bench.hello.number("ram.size")
    answers = bench.run(Read(Space.PHYSICAL, size, 4), Read(Space.LINEAR, 1 << 32, 4))
    assert answers == (Refused(1), Refused(1))


def test_ports_and_settings(bench) -> None:
    answers = bench.run(PortIn(0x21), PortIn(0xA1), PortOut(0x80, 1), Set(17, 5), Set(99, 1), Set(0, 0))
    assert answers == (PortValue(0xFF), PortValue(0xFF), Done(), Done(), Refused(1), Refused(1))


def test_reloc_without_a_rom_is_not_callable(bench) -> None:
    state, unknown = bench.run(AbiOp(0x100, (17, 0)), AbiOp(0x1FF))
    assert state.outcome is Outcome.NOT_CALLABLE
    assert unknown == Refused(2)


@pytest.mark.parametrize("change", ["nonce", "count", "cut", "long"])
def test_damaged_batches_are_refused_and_survived(bench, change: str) -> None:
    ops = (Echo((1,)), Echo((2,)))
    payload = bytearray(encode_batch(ops))
    if change == "count":
        payload[:4] = struct.pack("<I", 3)
    elif change == "cut":
        payload = payload[:-4]
    elif change == "long":
        payload[12:16] = struct.pack("<I", 0xFFFF_FFF8)
    answer = bench.raw(bytes(payload), nonce=bench.nonce ^ (change == "nonce"))
    with pytest.raises(RecordError, match="status"):
        decode_records(answer, ops)
    assert bench.run(Echo((3,)))[0].values == (3,)


def test_a_full_result_is_cut_not_overrun(bench) -> None:
    ops = [Read(Space.PHYSICAL, 0x500000, 0x40000)] * 4
    payload = struct.pack("<II", len(ops), 0) + b"".join(op.encode() for op in ops)
    answer = bench.raw(payload)
    count, status = struct.unpack_from("<II", answer)
    assert (count, status) != (4, 0) or Refused(3) in decode_records(answer, ops)
    assert bench.run(Echo((3,)))[0].values == (3,)
