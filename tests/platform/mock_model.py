# SPDX-License-Identifier: BSD-2-Clause
"""A model without an engine, whose guest behaves as the option "behaviour" says."""

from __future__ import annotations

import os
import signal
import struct
import time
from collections.abc import Mapping

from abidance.errors import UsageError
from abidance.kernel import frames
from abidance.platform.base import Machine
from abidance.platform.mailbox import BASE
from abidance.platform.model import Stop

HOST_SEQ, KERNEL_SEQ, STAGE, READY, FROM_HOST, FROM_KERNEL = 8, 12, 16, 20, 0x1000, 0x40000


def item(name: str, value: int | bytes) -> bytes:
    kind, data = (1, value.to_bytes(8, "little")) if isinstance(value, int) else (2, value)
    head = struct.pack("<BBHI", kind, len(name), 0, len(data))
    return head + name.encode() + bytes(-len(name) % 8) + data + bytes(-len(data) % 8)


HELLO = item("protocol", 1) + item("registers", 1) + item("register.0", b"eax") + item("port", b"mock")


class MockModel:
    """Answers a batch with its own payload, in as many instructions as the payload has bytes."""

    def __init__(self, machine: Machine) -> None:
        self.ram = memoryview(bytearray(machine.memory))
        self.behaviour = machine.option("behaviour", "good")
        words = dict(word.split("=") for word in machine.option("cmdline").split())
        self.nonce = int(words["nonce"], 16)
        self.count = 0

    def word(self, offset: int) -> int:
        return int(struct.unpack_from("<I", self.ram, BASE + offset)[0])

    def set_word(self, offset: int, value: int) -> None:
        struct.pack_into("<I", self.ram, BASE + offset, value)

    def put(self, frame: bytes) -> None:
        at = BASE + FROM_KERNEL
        self.ram[at:at + len(frame)] = frame

    def run(self, budget: int) -> Stop:
        if not self.word(READY):
            if self.behaviour == "mute":
                return Stop.BUDGET
            kind = frames.Kind.RESULT if self.behaviour == "no-hello" else frames.Kind.HELLO
            self.put(frames.encode(kind, 0, self.nonce, HELLO))
            self.set_word(STAGE, 7)
            self.set_word(READY, 1)
            return Stop.DOORBELL
        action = getattr(self, "do_" + self.behaviour.replace("-", "_"))
        result = action()
        return result if isinstance(result, Stop) else Stop.DOORBELL

    def batch(self) -> tuple[int, bytes]:
        at = BASE + FROM_HOST
        length = frames.frame_length(bytes(self.ram[at:at + frames.HEADER_SIZE]), limit=0x3F000)
        seq = self.word(HOST_SEQ)
        frame = bytes(self.ram[at:at + length])
        return seq, frames.decode(frame, kind=frames.Kind.BATCH, seq=seq, nonce=self.nonce)

    def answer(self, *, nonce: int = 0, seq: int = 0, flip: bool = False) -> None:
        number, payload = self.batch()
        frame = bytearray(frames.encode(frames.Kind.RESULT, number + seq, self.nonce ^ nonce, payload))
        if flip:
            frame[frames.HEADER_SIZE] ^= 1
        self.put(bytes(frame))
        self.set_word(KERNEL_SEQ, number)

    def do_good(self) -> None:
        self.count += 1
        self.answer()

    def do_twice(self) -> Stop:
        self.answer()
        self.answer(seq=1)
        return Stop.DOORBELL

    def do_foreign(self) -> None:
        self.answer(nonce=1)

    def do_stale(self) -> None:
        self.answer(seq=-1)

    def do_damaged(self) -> None:
        self.answer(flip=True)

    def do_babble(self) -> None:
        self.put(b"\xA5" * 4096)
        self.set_word(KERNEL_SEQ, self.word(HOST_SEQ))

    def do_endless(self) -> None:
        self.put(struct.pack("<IHHIIQ", frames.MAGIC, 1, 3, 0xFFFFFFFF, 1, self.nonce))
        self.set_word(KERNEL_SEQ, self.word(HOST_SEQ))

    def do_spin(self) -> Stop:
        self.count += 1
        return Stop.BUDGET

    def do_ring(self) -> None:
        self.set_word(24, 3)

    def do_crash(self) -> Stop:
        return Stop.CRASH("triple fault at 0xc0101234")

    def do_raise(self) -> None:
        raise KeyError("no such shadow page")

    def do_die(self) -> None:
        os._exit(3)

    def do_segfault(self) -> None:
        os.kill(os.getpid(), signal.SIGSEGV)
        time.sleep(60)

    def do_hang(self) -> None:
        time.sleep(600)

    def snapshot(self) -> object:
        return bytes(self.ram[BASE:BASE + 64]), self.count

    def restore(self, snap: object) -> None:
        assert isinstance(snap, tuple)
        self.ram[BASE:BASE + 64], self.count = snap

    def control(self, command: str, values: Mapping[str, int]) -> int:
        if command == "count":
            return self.count
        if command == "add":
            return values["a"] + values["b"]
        raise UsageError(f"no control command {command!r}")


def make(machine: Machine, doorbell: int) -> MockModel:
    assert doorbell == 0x5E9
    if machine.option("behaviour") == "unbuildable":
        raise UsageError("this machine cannot be built")
    return MockModel(machine)
