# SPDX-License-Identifier: BSD-2-Clause
"""A guest under a ROM, on QEMU and on the PC model, driven op by op."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator

import pytest

from abidance.kernel import (
    Answer,
    Call,
    Hello,
    Mode,
    Op,
    State,
    Transfer,
    built,
    decode_records,
    encode_batch,
    kernel_image,
)
from abidance.platform import Artifact, Machine, Platform, Session
from abidance.platform.embedded import Embedded
from abidance.platform.qemu import Qemu

PC = "abidance.platform.unicorn.pc:model"
PLATFORMS: dict[str, Callable[[], Platform]] = {"qemu": Qemu, "unicorn": Embedded}


class Guest:
    """A booted session and short forms of the ops."""

    def __init__(self, session: Session) -> None:
        self.session = session

    @property
    def hello(self) -> Hello:
        return self.session.hello

    def run(self, *ops: Op) -> tuple[Answer, ...]:
        return tuple(decode_records(self.session.exchange(encode_batch(ops), deadline=2), ops))

    def registers(self, **registers: int) -> tuple[tuple[int, int], ...]:
        names = self.hello.registers
        return tuple((names.index(name), value & 0xFFFFFFFF) for name, value in registers.items())

    def state(self, op: Op) -> State:
        (state,) = self.run(op)
        assert isinstance(state, State), state
        return state

    def call(self, entry: int, *, mode: Mode = Mode.RELOCATION, flags: int | None = None,
             stack: tuple[int, ...] = (), **registers: int) -> State:
        return self.state(Call(entry, mode, flags, self.registers(**registers), stack))

    def value(self, entry: int) -> int:
        return self.after(self.call(entry), "eax")

    def after(self, state: State, name: str) -> int:
        return state.after[self.hello.registers.index(name)]

    def transfer(self, how: int, fragment: str, **frame: int) -> State:
        return self.state(Transfer(how, self.hello.fragments[fragment], **frame))  # type: ignore[arg-type]


def available(name: str) -> Platform:
    platform = PLATFORMS[name]()
    remedy = platform.available()
    if remedy is not None:
        message = f"{name} is not installed; to get it: {remedy}"
        if os.environ.get("CI") == "true":
            pytest.fail(message)
        pytest.skip(message)
    return platform


def booted(platform: str, rom: str) -> Session:
    machine = Machine((Artifact.of("kernel", kernel_image("i386", "vmi")),
                       Artifact.of("option-rom", built("vmi", rom))), model=PC)
    return available(platform).boot(machine, deadline=30)


@pytest.fixture(params=["qemu", "unicorn"])
def platform(request: pytest.FixtureRequest) -> str:
    return str(request.param)


@pytest.fixture
def boot() -> Iterator[Callable[[str, str], Guest]]:
    sessions: list[Session] = []

    def begin(platform: str, rom: str) -> Guest:
        sessions.append(booted(platform, rom))
        return Guest(sessions[-1])

    yield begin
    for session in sessions:
        session.close()


@pytest.fixture
def start(platform: str, boot: Callable[[str, str], Guest]) -> Callable[[str], Guest]:
    return lambda rom: boot(platform, rom)


@pytest.fixture(scope="module", params=["native.rom@qemu", "native.rom@unicorn", "native-call.rom@qemu",
                                        "native-call.rom@unicorn"])
def shared(request: pytest.FixtureRequest) -> Iterator[Guest]:
    rom, _, name = request.param.partition("@")
    session = booted(name, rom)
    yield Guest(session)
    session.close()


@pytest.fixture
def guest(shared: Guest) -> Guest:
    """A guest just after HELLO."""
    shared.session.reset()
    return shared
