# SPDX-License-Identifier: BSD-2-Clause
"""Numbering of a session, and the mailbox it goes through."""

from __future__ import annotations

import struct

import pytest
from mock_model import HELLO

from abidance.errors import FrameError, UsageError
from abidance.kernel import frames
from abidance.platform.link import Link
from abidance.platform.mailbox import BASE, SIZE, Mailbox, command_line

RESULT = frames.Kind.RESULT


def test_answers_are_taken_once_and_in_order() -> None:
    link = Link()
    first = link.next(b"a")
    assert frames.decode(first, kind=frames.Kind.BATCH, seq=1, nonce=link.nonce) == b"a"
    answer = frames.encode(RESULT, 1, link.nonce, b"A")
    assert link.answer(answer) == b"A"
    link.next(b"b")
    with pytest.raises(FrameError, match="sequence number"):
        link.answer(answer)
    assert link.answer(frames.encode(RESULT, 2, link.nonce, b"B")) == b"B"


def test_sessions_do_not_take_each_others_answers() -> None:
    one, other = Link(), Link()
    one.next(b"")
    other.next(b"")
    with pytest.raises(FrameError, match="nonce"):
        one.answer(frames.encode(RESULT, 1, other.nonce, b""))


def test_hello_must_be_ours_and_possible() -> None:
    link = Link()
    assert link.hello(frames.encode(frames.Kind.HELLO, 0, link.nonce, HELLO)).text("port") == "mock"
    for frame in (frames.encode(frames.Kind.HELLO, 0, link.nonce ^ 1, HELLO),
                  frames.encode(frames.Kind.HELLO, 1, link.nonce, HELLO),
                  frames.encode(frames.Kind.HELLO, 0, link.nonce, HELLO[:-3])):
        with pytest.raises(FrameError):
            link.hello(frame)


def test_mailbox_layout() -> None:
    ram = memoryview(bytearray(BASE + SIZE))
    box = Mailbox(ram)
    assert not box.greeted()
    struct.pack_into("<III", ram, BASE + 16, 7, 1, 5)
    assert box.greeted()
    assert box.position() == "at op 5"
    box.post(9, b"frame")
    assert struct.unpack_from("<I", ram, BASE + 8) == (9,)
    assert bytes(ram[BASE + 0x1000:BASE + 0x1005]) == b"frame"
    assert not box.answered(9)
    struct.pack_into("<I", ram, BASE + 12, 9)
    assert box.answered(9)
    frame = frames.encode(RESULT, 9, 1, b"payload")
    ram[BASE + 0x40000:BASE + 0x40000 + len(frame)] = frame
    assert box.take() == frame


def test_mailbox_tells_where_a_kernel_panicked() -> None:
    ram = memoryview(bytearray(BASE + SIZE))
    struct.pack_into("<I", ram, BASE + 16, 0xEE)
    struct.pack_into("<5I", ram, BASE + 28, 14, 2, 0xC0101234, 0xDEAD0000, 0xC0118000)
    assert "vector 14, error 0x2, eip 0xc0101234, cr2 0xdead0000" in Mailbox(ram).position()


def test_mailbox_refuses_what_does_not_fit() -> None:
    with pytest.raises(UsageError, match="mailbox"):
        Mailbox(memoryview(bytearray(BASE)))
    ram = memoryview(bytearray(BASE + SIZE))
    with pytest.raises(UsageError, match="fit"):
        Mailbox(ram).post(1, bytes(0x3F001))
    struct.pack_into("<IHHI", ram, BASE + 0x40000, frames.MAGIC, 1, 3, 0xC0000)
    with pytest.raises(FrameError):
        Mailbox(ram).take()


def test_command_line() -> None:
    assert command_line(0xAB, None) == "mailbox=0x400000 nonce=0xab"
    assert command_line(0xAB, 0x5E9).endswith(" doorbell=0x5e9")
