# SPDX-License-Identifier: BSD-2-Clause
"""The reference hypervisor with the real test kernel, in this process and without a worker.

    `guest.do(ops…)` runs a batch and returns the answers; `guest.call(17, eax=…)`, `guest.run("rdcr0")`,
    `guest.user("probe")` are the usual ones; `guest.hv` is the hypervisor.
"""

from __future__ import annotations

import os
from collections.abc import Callable

import pytest

from abidance.abi.vmi.reference.calls import CALLS
from abidance.abi.vmi.reference.hypervisor import Hypervisor
from abidance.abi.vmi.reference.model import create
from abidance.errors import UnavailableError
from abidance.kernel import built, decode_hello, decode_records, frames, kernel_image
from abidance.kernel.ops import Call, Execute, Log, Mode, Op, Transfer, encode_batch
from abidance.kernel.records import State
from abidance.platform.base import Artifact, Machine
from abidance.platform.mailbox import Mailbox, command_line
from abidance.platform.model import DOORBELL, Reason

NONCE = 0x1122334455667788
USER_CS, USER_DS = 0x73, 0x7B


def machine(**options: str) -> Machine:
    try:
        artifacts = (Artifact.of("kernel", kernel_image("i386", "vmi")),
                     Artifact.of("option-rom", built("vmi", "reference.rom")))
    except UnavailableError as error:
        if os.environ.get("CI") == "true":
            raise
        pytest.skip(str(error))
    line = command_line(NONCE, DOORBELL)
    return Machine(artifacts, options=(("cmdline", line), *options.items()))


class Guest:
    def __init__(self, **options: str) -> None:
        self.hv: Hypervisor = create(machine(**options), DOORBELL)
        self.box = Mailbox(self.hv.ram)
        stop = self.hv.run(10_000_000)
        assert stop.reason is Reason.DOORBELL, stop
        self.hello = decode_hello(frames.decode(self.box.take(), kind=1, seq=0, nonce=NONCE))
        self.index = {name: number for number, name in enumerate(self.hello.registers)}
        self.arena = self.hello.number("arena.base")
        self.direct = self.hello.number("direct.offset")
        self.snap = self.hv.snapshot()
        self.seq = 0

    @property
    def vcpu(self):
        return self.hv.vcpus[0]

    def reset(self) -> None:
        self.hv.restore(self.snap)
        self.seq = 0

    def post(self, *ops: Op) -> None:
        self.seq += 1
        self.box.post(self.seq, frames.encode(2, self.seq, NONCE, encode_batch(ops)))

    def do(self, *ops: Op, budget: int = 20_000_000):
        self.post(*ops)
        while not self.box.answered(self.seq):
            stop = self.hv.run(budget)
            assert stop.reason is Reason.DOORBELL, stop
        payload = frames.decode(self.box.take(), kind=3, seq=self.seq, nonce=NONCE)
        return decode_records(payload, ops)

    def registers(self, values: dict[str, int]):
        return tuple((self.index[name], value) for name, value in values.items())

    def call(self, number: int, mode: Mode = Mode.INLINE, stack=(), **registers: int) -> State:
        return self.do(Call(number, mode=mode, registers=self.registers(registers), stack=stack))[0]

    def run(self, fragment: str, **registers: int) -> State:
        address = self.hello.fragments[f"kernel.{fragment}"]
        return self.do(Execute(address, registers=self.registers(registers)))[0]

    def user(self, fragment: str, how: int = 33, flags: int = 0x202, **registers: int) -> State:
        return self.do(Transfer(
            how, self.hello.fragments[f"user.{fragment}"], cs=USER_CS, ss=USER_DS, flags=flags,
            sp=self.hello.number("user.stack") - 16, registers=self.registers(registers)))[0]

    def after(self, state: State, name: str) -> int:
        return state.after[self.index[name]]

    def log(self):
        return self.do(Log())[0].entries

    def map(self, linear: int, physical: int, flags: int = 3) -> int:
        """Give `linear` a page table of its own at the end of the arena (first time) and set its
        entry by plain stores; the linear address of the entry."""
        table = self.arena + 0x10_0000 + (linear >> 22) * 0x1000
        words = self.hv.memory.words
        words[(self.hello.number("kernel.cr3") >> 2) + (linear >> 22)] = table | 7
        entry = table + (linear >> 10 & 0xFFC)
        words[entry >> 2] = physical | flags if flags else 0
        return self.direct + entry


_shared: list[Guest] = []


@pytest.fixture
def guest() -> Guest:
    if not _shared:
        _shared.append(Guest())
    _shared[0].hv.calls = dict(CALLS)
    _shared[0].reset()
    return _shared[0]


@pytest.fixture
def fresh() -> Callable[..., Guest]:
    return Guest


@pytest.fixture(scope="session")
def describe() -> Callable[..., Machine]:
    """Describes a machine with options; its HELLO carries the nonce `NONCE`."""
    return machine
