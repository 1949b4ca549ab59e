# SPDX-License-Identifier: BSD-2-Clause
"""A bare QEMU with a shared-memory mailbox, driven by hand: the kernel's tests need no platform room."""

from __future__ import annotations

import ctypes
import mmap
import os
import secrets
import shutil
import signal
import struct
import subprocess
import time
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

import pytest

from abidance.kernel import Answer, Hello, Op, decode_hello, decode_records, encode_batch, kernel_image
from abidance.kernel.frames import HEADER_SIZE, Kind, decode, encode, frame_length

ENGINE = "qemu-system-i386"
MAILBOX, HOST_SEQ, KERNEL_SEQ, STAGE, READY, IN, OUT = 0x400000, 8, 12, 16, 20, 0x1000, 0x40000
RAM = 16 << 20
DEADLINE = 20.0


def die_with_parent() -> None:
    ctypes.CDLL(None).prctl(1, signal.SIGKILL)


class Bench:
    """One QEMU running the test kernel."""

    def __init__(self, folder: Path, *options: str, words: str = "") -> None:
        self.nonce = secrets.randbits(64)
        memory = folder / "ram"
        command = [ENGINE, "-accel", "tcg", "-display", "none", "-no-reboot", "-nodefaults",
                   "-no-user-config", "-m", "16M", "-machine", "pc,memory-backend=ram0", "-vga", "none",
                   "-net", "none",
                   "-object", f"memory-backend-file,id=ram0,size=16M,mem-path={memory},share=on",
                   "-kernel", str(kernel_image("i386", "vmi")),
                   "-append", f"mailbox={MAILBOX:#x} nonce={self.nonce:#x} {words}", *options]
        memory.write_bytes(b"")
        os.truncate(memory, RAM)
        with memory.open("r+b") as file:
            self.ram = mmap.mmap(file.fileno(), RAM)
        self.seq = 0
        self.process = subprocess.Popen(  # no thread of ours runs between fork and exec
            command, stdin=subprocess.DEVNULL, preexec_fn=die_with_parent)  # noqa: PLW1509
        try:
            self.wait(lambda: self.word(READY) == 1, "HELLO")
            self.hello: Hello = decode_hello(self.take(Kind.HELLO))
        except BaseException:
            self.close()
            raise

    def word(self, offset: int) -> int:
        return int(struct.unpack_from("<I", self.ram, MAILBOX + offset)[0])

    def wait(self, done: Callable[[], bool], what: str) -> None:
        end = time.monotonic() + DEADLINE
        while not done():
            if self.process.poll() is not None:
                raise AssertionError(f"QEMU ended before {what}")
            if time.monotonic() > end:
                panic = [hex(self.word(28 + 4 * i)) for i in range(5)]
                raise AssertionError(f"no {what}; stage {self.word(STAGE):#x}, panic {panic}")
            time.sleep(0.0002)

    def take(self, kind: Kind) -> bytes:
        at = MAILBOX + OUT
        length = frame_length(self.ram[at:at + HEADER_SIZE], limit=0xC0000)
        return decode(self.ram[at:at + length], kind=kind, seq=self.seq, nonce=self.nonce)

    def raw(self, payload: bytes, *, nonce: int | None = None) -> bytes:
        self.seq += 1
        frame = encode(Kind.BATCH, self.seq, self.nonce if nonce is None else nonce, payload)
        self.ram[MAILBOX + IN:MAILBOX + IN + len(frame)] = frame
        struct.pack_into("<I", self.ram, MAILBOX + HOST_SEQ, self.seq)
        self.wait(lambda: self.word(KERNEL_SEQ) == self.seq, f"result {self.seq}")
        return self.take(Kind.RESULT)

    def run(self, *ops: Op) -> Sequence[Answer]:
        return decode_records(self.raw(encode_batch(ops)), ops)

    def close(self) -> None:
        self.process.kill()
        self.process.wait()
        self.ram.close()


@pytest.fixture(scope="session")
def engine() -> str:
    if shutil.which(ENGINE) is None:
        message = f"{ENGINE} is missing; to get it: apt-get install qemu-system-x86"
        if os.environ.get("CI") == "true":
            pytest.fail(message)
        pytest.skip(message)
    return ENGINE


@pytest.fixture
def bench(engine: str, tmp_path: Path) -> Iterator[Bench]:
    machine = Bench(tmp_path)
    yield machine
    machine.close()


@pytest.fixture
def start(engine: str, tmp_path: Path) -> Iterator[Callable[..., Bench]]:
    machines: list[Bench] = []

    def begin(*options: str, words: str = "") -> Bench:
        folder = tmp_path / str(len(machines))
        folder.mkdir()
        machines.append(Bench(folder, *options, words=words))
        return machines[-1]

    yield begin
    for machine in machines:
        machine.close()
