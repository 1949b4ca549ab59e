# SPDX-License-Identifier: BSD-2-Clause
"""The platform qemu with the real test kernel, and code planted in it that does harm."""

from __future__ import annotations

import os
import signal
import socket
import struct
import subprocess
import sys
import textwrap
import threading
import time
from collections.abc import Iterator, Sequence
from dataclasses import replace
from pathlib import Path

import pytest
from processes import gone

from abidance.errors import FrameError, GuestCrashed, GuestTimeout, SessionLost, UnavailableError, UsageError
from abidance.kernel import (
    Answer,
    Data,
    Echo,
    Echoed,
    Execute,
    Op,
    PortIn,
    PortOut,
    PortValue,
    Read,
    Space,
    Write,
    decode_records,
    encode_batch,
    kernel_image,
)
from abidance.platform.base import Artifact, Machine
from abidance.platform.qemu import Qemu
from abidance.platform.qemu_session import QemuSession

ARENA, LINEAR = 0x500000, 0xC0500000
SPIN = b"\xEB\xFE"
TRIPLE_FAULT = b"\x0F\x01\x1D" + struct.pack("<I", LINEAR + 0x100) + b"\x0F\x0B"
KEYBOARD_RESET = b"\xB0\xFE\xE6\x64" + SPIN
CLAIM_ANSWERED = b"\xA1\x08\x00\x40\xC0\xA3\x0C\x00\x40\xC0" + SPIN
ENDLESS_FRAME = b"\xC7\x05\x08\x00\x44\xC0\xFF\xFF\xFF\xFF" + CLAIM_ANSWERED


def machine(*artifacts: Artifact) -> Machine:
    return Machine((Artifact.of("kernel", kernel_image("i386", "vmi")), *artifacts))


def run(session: QemuSession, *ops: Op, deadline: float = 20) -> Sequence[Answer]:
    return decode_records(session.exchange(encode_batch(ops), deadline=deadline), ops)


def plant(session: QemuSession, code: bytes, *, deadline: float = 20) -> Sequence[Answer]:
    return run(session, Write(Space.PHYSICAL, ARENA, code), Execute(LINEAR), deadline=deadline)


@pytest.fixture
def session(qemu_platform: Qemu) -> Iterator[QemuSession]:
    booted = qemu_platform.boot(machine(), deadline=30)
    yield booted
    booted.close()


def test_hello_and_echo(session: QemuSession) -> None:
    assert session.hello.text("port") == "i386"
    for number in range(20):
        assert run(session, Echo((number,), b"abc")) == (Echoed((number,), b"abc"),)


def test_reset_restores_memory_devices_and_mailbox(session: QemuSession) -> None:
    ops = (Read(Space.PHYSICAL, ARENA, 16), PortIn(0x21))
    before = run(session, *ops)
    for _ in range(3):
        run(session, Write(Space.PHYSICAL, ARENA, b"left behind here"), PortOut(0x21, 0xA5))
        assert run(session, *ops) == (Data(b"left behind here"), PortValue(0xA5))
        session.reset()
        assert run(session, *ops) == before


def test_reset_forgets_translated_code(session: QemuSession) -> None:
    """The same address holds other code after each reset; loadvm must not keep the translation."""
    for value in range(1, 6):
        answer = plant(session, b"\xB8" + struct.pack("<I", value) + b"\xC3")[1]
        assert answer.after[0] == value  # type: ignore[union-attr]
        session.reset()


def test_a_spinning_guest_is_a_timeout_and_reset_revives(session: QemuSession) -> None:
    with pytest.raises(GuestTimeout, match="at op 1"):
        plant(session, SPIN, deadline=0.2)
    session.reset()
    assert run(session, Echo((7,))) == (Echoed((7,), b""),)


@pytest.mark.parametrize("code", [TRIPLE_FAULT, KEYBOARD_RESET])
def test_a_crash_says_why_and_reset_revives(session: QemuSession, code: bytes) -> None:
    for _ in range(2):
        with pytest.raises(GuestCrashed, match=r"guest-reset.*at op 1.*EIP=c05000"):
            plant(session, code)
        with pytest.raises(GuestCrashed, match="not been reset"):
            run(session, Echo((1,)))
        session.reset()
        assert run(session, Echo((8,))) == (Echoed((8,), b""),)


@pytest.mark.parametrize("code", [CLAIM_ANSWERED, ENDLESS_FRAME])
def test_a_guest_that_claims_to_have_answered_is_not_believed(session: QemuSession, code: bytes) -> None:
    with pytest.raises(FrameError):
        plant(session, code)
    session.reset()
    assert run(session, Echo((9,))) == (Echoed((9,), b""),)


def test_a_killed_qemu_is_a_lost_session(session: QemuSession) -> None:
    os.kill(session.pid, signal.SIGKILL)
    with pytest.raises(SessionLost, match="status -9"):
        run(session, Echo((1,)))
    with pytest.raises(SessionLost):
        session.reset()


def test_an_idle_machine_is_stopped_and_goes_on(session: QemuSession) -> None:
    for _ in range(3):
        end = time.monotonic() + 20
        while not session.resting:
            assert time.monotonic() < end
            time.sleep(0.01)
        assert run(session, Echo((3,))) == (Echoed((3,), b""),)
        assert not session.resting
        while not session.resting:
            time.sleep(0.01)
        session.reset()


def test_nothing_is_left_behind(session: QemuSession) -> None:
    pid = session.pid
    assert str(Path(f"/proc/{pid}/cwd").readlink()).endswith("(deleted)")
    session.close()
    session.close()
    assert gone(pid)
    with pytest.raises(SessionLost, match="closed"):
        run(session, Echo((1,)))


def test_option_roms_are_loaded_and_read_only(qemu_platform: Qemu, tmp_path: Path) -> None:
    image = bytearray(b"\x55\xAA\x01\xCB,a comma in the name is no separator".ljust(511, b"\0"))
    image.append(-sum(image) & 0xFF)
    path = tmp_path / "a,b.rom"
    path.write_bytes(image)
    session = qemu_platform.boot(machine(Artifact.of("option-rom", path)), deadline=30)
    try:
        hello = session.hello
        (at,) = (hello.number(f"rom.{index}.phys") for index in range(hello.number("rom.count"))
                 if hello.blob(f"rom.{index}.header").startswith(image[:40]))
        ops = (Read(Space.PHYSICAL, at, 512), Write(Space.PHYSICAL, at + 4, b"XXXX"),
               Read(Space.PHYSICAL, at, 512))
        assert run(session, *ops)[::2] == (Data(bytes(image)), Data(bytes(image)))
    finally:
        session.close()


def test_a_machine_that_does_not_boot(qemu_platform: Qemu, tmp_path: Path) -> None:
    path = tmp_path / "kernel"
    path.write_bytes(b"not a kernel")
    with pytest.raises(SessionLost, match="QEMU ended with status"):
        qemu_platform.boot(Machine((Artifact.of("kernel", path),)), deadline=30)


def test_a_kernel_that_never_says_hello(qemu_platform: Qemu, tmp_path: Path) -> None:
    header = struct.pack("<8I", 0x1BADB002, 1 << 16, -0x1BADB002 - (1 << 16) & 0xFFFFFFFF, 0x100000, 0x100000,
                         0, 0, 0x100020)
    path = tmp_path / "kernel"
    path.write_bytes(header + SPIN + bytes(64))
    with pytest.raises(GuestTimeout, match="not entered"):
        qemu_platform.boot(Machine((Artifact.of("kernel", path),)), deadline=3)


@pytest.mark.parametrize("change", [
    {"artifacts": ()}, {"cpus": 99}, {"memory": 12345}, {"memory": 1 << 20},
])
def test_impossible_machines(qemu_platform: Qemu, change: dict[str, object]) -> None:
    with pytest.raises(UsageError):
        qemu_platform.boot(replace(machine(), **change), deadline=1)  # type: ignore[arg-type]


def test_control_offers_nothing(session: QemuSession) -> None:
    with pytest.raises(UsageError, match="inject"):
        session.control("inject", irq=0, after=1)


def test_without_qemu_the_remedy_is_named() -> None:
    platform = Qemu(program="no-such-qemu")
    assert platform.available() == "apt-get install qemu-system-x86"
    with pytest.raises(UnavailableError, match="apt-get"):
        platform.boot(machine(), deadline=1)
    with pytest.raises(UnavailableError, match="apt-get"):
        platform.version()


@pytest.mark.parametrize(("script", "problem"), [
    ("exit 7", "ended with status 7"),
    (r"printf '\\377\\376\\n'", "is not QEMU"),
    ("echo hello", "is not QEMU"),
])
def test_what_is_not_qemu_is_said(tmp_path: Path, script: str, problem: str) -> None:
    program = tmp_path / "qemu-system-i386"
    program.write_text(f"#!/bin/sh\n{script}\n")
    program.chmod(0o755)
    with pytest.raises(UnavailableError, match=problem):
        Qemu(program=str(program)).version()


def test_command_and_version(qemu_platform: Qemu) -> None:
    words = replace(qemu_platform, gdb=1234).command(machine())
    assert words[0] == "qemu-system-i386"
    assert "-S" in words
    assert "tcp:127.0.0.1:1234,server=on,wait=off" in words
    assert words[words.index("-append") + 1].startswith("mailbox=0x400000 nonce=")
    assert "version" in qemu_platform.version()


def test_gdb_decides_when_the_guest_starts(qemu_platform: Qemu) -> None:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    sessions: list[QemuSession] = []
    platform = replace(qemu_platform, gdb=port)
    booting = threading.Thread(target=lambda: sessions.append(platform.boot(machine(), deadline=30)))
    booting.start()
    end = time.monotonic() + 30
    while True:
        try:
            gdb = socket.create_connection(("127.0.0.1", port), timeout=30)
            break
        except OSError:
            assert time.monotonic() < end
            time.sleep(0.02)
    with gdb:
        assert not sessions
        gdb.sendall(b"+$D#44")
        booting.join(30)
    assert sessions
    assert run(sessions[0], Echo((1,))) == (Echoed((1,), b""),)
    sessions[0].close()


PARENT = """
    import sys, time
    sys.path[:0] = {paths}
    from abidance.kernel import kernel_image
    from abidance.platform.base import Artifact, Machine
    from abidance.platform.qemu import Qemu
    session = Qemu().boot(Machine((Artifact.of("kernel", kernel_image("i386", "vmi")),)), deadline=30)
    print(session.pid, flush=True)
    time.sleep(60)
"""


@pytest.mark.parametrize("how", [signal.SIGKILL, signal.SIGINT])
def test_qemu_dies_with_us(qemu_platform: Qemu, how: signal.Signals) -> None:
    script = textwrap.dedent(PARENT).format(paths=sys.path)
    with subprocess.Popen([sys.executable, "-c", script], stdout=subprocess.PIPE, stderr=subprocess.PIPE,
                          start_new_session=True) as parent:
        assert parent.stdout is not None
        child = int(parent.stdout.readline())
        os.killpg(parent.pid, how)
        parent.wait(20)
    assert gone(child)
