# SPDX-License-Identifier: BSD-2-Clause
"""The PC model under the test kernel, without any ROM unless a test says so."""

from __future__ import annotations

import struct
from collections.abc import Iterator, Sequence
from pathlib import Path

import pytest

from abidance.errors import GuestCrashed, GuestTimeout, UsageError
from abidance.kernel import (
    Answer,
    Data,
    Echo,
    Echoed,
    Execute,
    Key,
    Log,
    LogEntries,
    LogKind,
    Op,
    Outcome,
    PortIn,
    PortOut,
    PortValue,
    Read,
    Set,
    Space,
    State,
    Transfer,
    Write,
    decode_records,
    encode_batch,
    kernel_image,
)
from abidance.platform import Artifact, Machine
from abidance.platform.embedded import Embedded, EmbeddedSession

MODEL = "abidance.platform.unicorn.pc:model"
ARENA, LINEAR = 0x500000, 0xC0500000
STI, CLI, HLT, NOP, RET = b"\xFB", b"\xFA", b"\xF4", b"\x90", b"\xC3"
UNMASK = PortOut(0x21, 0xFE)


def machine(*roms: Path, model: str = MODEL, cpus: int = 1) -> Machine:
    kernel = Artifact.of("kernel", kernel_image("i386", "vmi"))
    return Machine((kernel, *(Artifact.of("option-rom", rom) for rom in roms)), model=model, cpus=cpus)


@pytest.fixture(scope="module")
def shared() -> Iterator[EmbeddedSession]:
    session = Embedded().boot(machine(), deadline=5)
    yield session
    session.close()


@pytest.fixture
def session(shared: EmbeddedSession) -> EmbeddedSession:
    shared.reset()
    return shared


def run(session: EmbeddedSession, *ops: Op, deadline: float = 2) -> Sequence[Answer]:
    return decode_records(session.exchange(encode_batch(ops), deadline=deadline), ops)


def plant(code: bytes) -> tuple[Op, Op]:
    return Write(Space.PHYSICAL, ARENA, code), Execute(LINEAR)


def irq_addresses(session: EmbeddedSession) -> list[int]:
    (log,) = run(session, Log())
    assert isinstance(log, LogEntries)
    return [entry.eip - LINEAR for entry in log.entries if entry.kind is LogKind.IRQ]


def rom(path: Path, text: bytes, *, units: int = 1, size: int = 512, spoil: int = 0) -> Path:
    image = bytearray((b"\x55\xAA" + bytes([units]) + b"\xCB" + text).ljust(size - 1, b"\0"))
    image.append(-sum(image) + spoil & 0xFF)
    path.write_bytes(image)
    return path


def test_echo_and_reset(session: EmbeddedSession) -> None:
    before = run(session, Read(Space.PHYSICAL, ARENA, 4), PortIn(0x21))
    run(session, Write(Space.PHYSICAL, ARENA, b"left"), PortOut(0x21, 0))
    session.reset()
    assert run(session, Read(Space.PHYSICAL, ARENA, 4), PortIn(0x21)) == before


def test_reset_forgets_translated_code(session: EmbeddedSession) -> None:
    for value in range(1, 5):
        _, state = run(session, *plant(b"\xB8" + struct.pack("<I", value) + RET))
        assert isinstance(state, State)
        assert state.after[0] == value
        session.reset()


def test_the_same_batch_takes_the_same_instructions(session: EmbeddedSession) -> None:
    counts = []
    for _ in range(3):
        run(session, Set(Key.MARKER, 1), *plant(NOP * 10 + RET), Echo((1, 2)))
        counts.append(session.control("count"))
        session.reset()
    assert counts[0] == counts[1] == counts[2] > 10


def test_roms_are_placed_as_a_bios_does_and_are_read_only(tmp_path: Path) -> None:
    roms = (rom(tmp_path / "a", b"one", units=5, size=5 * 512), rom(tmp_path / "b", b"two"))
    session = Embedded().boot(machine(*roms), deadline=5)
    try:
        hello = session.hello
        places = [hello.number(f"rom.{index}.phys") for index in range(hello.number("rom.count"))]
        assert places == [0xC0000, 0xC1000]
        answers = run(session, Write(Space.PHYSICAL, 0xC0000, bytes(64)), Read(Space.PHYSICAL, 0xC0000, 512),
                      Read(Space.PHYSICAL, 0xC1000, 512), Read(Space.PHYSICAL, 0xA0000, 4))
        one, two = (path.read_bytes()[:512] for path in roms)
        assert answers[1:] == (Data(one), Data(two), Data(b"\xFF" * 4))
    finally:
        session.close()


@pytest.mark.parametrize(("changes", "words"), [
    ({"spoil": 1}, "checksum"), ({"units": 2}, "announces"), ({"units": 0}, "announces"),
])
def test_roms_a_bios_would_not_run(tmp_path: Path, changes: dict[str, int], words: str) -> None:
    with pytest.raises(UsageError, match=words):
        Embedded().boot(machine(rom(tmp_path / "rom", b"", **changes)), deadline=5)


@pytest.mark.parametrize("after", range(5))
def test_sti_holds_off_for_one_instruction(session: EmbeddedSession, after: int) -> None:
    """sti; nop; nop; nop; ret: whenever the line rises, nothing arrives before the first nop is done."""
    session.control("inject", irq=0, after=after)
    run(session, UNMASK, Set(Key.MARKER, 1), *plant(STI + NOP * 3 + RET))
    assert irq_addresses(session) == [max(after, 2)]


def test_sti_cli_lets_nothing_in(session: EmbeddedSession) -> None:
    session.control("inject", irq=0, after=0)
    run(session, UNMASK, Set(Key.MARKER, 1), *plant((STI + CLI) * 4 + NOP + RET))
    assert irq_addresses(session) == []


def test_sti_hlt_sleeps_until_the_timer(session: EmbeddedSession) -> None:
    timer = (PortOut(0x43, 0x30), PortOut(0x40, 0xFF), PortOut(0x40, 0xFF))
    run(session, UNMASK, Set(Key.MARKER, 1), *timer, *plant(STI + HLT + RET))
    assert irq_addresses(session) == [2]
    assert session.control("count") < 65536


def test_other_lines_arrive_at_their_vectors(session: EmbeddedSession) -> None:
    session.control("inject", irq=12, after=1)
    run(session, PortOut(0x21, 0xFB), PortOut(0xA1, 0xEF), Set(Key.MARKER, 1), *plant(STI + NOP * 3 + RET))
    (log,) = run(session, Log())
    assert isinstance(log, LogEntries)
    assert [entry.vector for entry in log.entries] == [0x2C]


@pytest.mark.parametrize("code", [b"\xEB\xFE", HLT + b"\xEB\xFD"])
def test_a_guest_that_never_comes_back_times_out(session: EmbeddedSession, code: bytes) -> None:
    with pytest.raises(GuestTimeout, match="at op 1"):
        run(session, *plant(code), deadline=0.1)
    session.reset()
    assert run(session, Echo((1,))) == (Echoed((1,), b""),)


@pytest.mark.parametrize(("code", "words"), [
    (b"\x0F\x01\x1D" + struct.pack("<I", LINEAR + 0x100) + b"\x0F\x0B", "triple fault"),
    (b"\xB0\xFE\xE6\x64", "port 0x64"), (b"\xB0\x01\xE6\x92", "port 0x92"),
])
def test_a_crash_says_why_and_reset_revives(session: EmbeddedSession, code: bytes, words: str) -> None:
    with pytest.raises(GuestCrashed, match=words):
        run(session, *plant(code))
    session.reset()
    assert run(session, Echo((1,))) == (Echoed((1,), b""),)


def test_ports_without_a_device_read_ones(session: EmbeddedSession) -> None:
    ops = (PortOut(0x80, 5), PortOut(0x70, 0x0B), PortIn(0x71), PortIn(0x300, 4), PortIn(0x64))
    answers = run(session, *ops)
    assert answers[3] == PortValue(0xFFFFFFFF)
    assert answers[4] == PortValue(0)


@pytest.mark.parametrize(("command", "values"), [
    ("fly", {}), ("inject", {}), ("inject", {"irq": 2, "after": 1}), ("inject", {"irq": 16, "after": 1}),
    ("inject", {"irq": 0, "after": -1}),
])
def test_control_refuses_nonsense(session: EmbeddedSession, command: str, values: dict[str, int]) -> None:
    with pytest.raises(UsageError):
        session.control(command, **values)


def user_out(session: EmbeddedSession, port: int, *, flags: int = 0x202) -> State:
    hello = session.hello
    registers = ((hello.registers.index("edx"), port),)
    (state,) = run(session, Transfer(0xFFFF, hello.fragments["user.out"], cs=0x73, flags=flags, ss=0x7B,
                                     sp=hello.number("user.stack"), registers=registers))
    assert isinstance(state, State)
    return state


def test_the_user_has_no_ports_but_by_iopl_or_bitmap(session: EmbeddedSession) -> None:
    tss = session.hello.number("kernel.tss")
    denied = user_out(session, 0x21)
    assert (denied.outcome, denied.vector, denied.error) == (Outcome.FAULT, 13, 0)
    assert denied.fault_eip == session.hello.fragments["user.out"]
    assert run(session, PortIn(0x21)) == (PortValue(0xFF),)
    assert user_out(session, 0x21, flags=0x3202).stopped
    assert run(session, PortIn(0x21)) != (PortValue(0xFF),)
    # A bitmap that begins with the TSS itself: its first word (the back link) stands for ports 0..15.
    for word, stopped in ((b"\0\0", True), (b"\x01\0", False), (b"\xFE\xFF", True)):
        run(session, Write(Space.LINEAR, tss + 0x66, b"\0\0"), Write(Space.LINEAR, tss, word))
        assert user_out(session, 0).stopped == stopped
