# SPDX-License-Identifier: BSD-2-Clause
"""A hypervisor that goes on from a warm start does what one made from nothing does, to the instruction."""

from __future__ import annotations

import pytest

from abidance.abi.vmi.mutants import MUTANTS
from abidance.abi.vmi.reference.model import create
from abidance.kernel import Call, Execute, Log, PortOut, Space, Write, encode_batch
from abidance.kernel.frames import Kind, encode
from abidance.platform import messages
from abidance.platform.mailbox import Mailbox
from abidance.platform.model import DOORBELL
from abidance.platform.warm import kind_of, machine_of, warm_up

FACTORY = "abidance.abi.vmi.reference.model:model"
ROM_MUTANTS = [one.name for one in MUTANTS if one.name.startswith(("ROM-", "Relocation-"))]
CALL_MUTANTS = [one.name for one in MUTANTS if one.name.startswith("SetCR")]
BUDGET = 10_000_000


@pytest.fixture(scope="module")
def boot(describe):
    def request(budget=BUDGET, **options):
        made = describe(**options)
        artifacts = tuple((one.role, str(one.path), one.digest) for one in made.artifacts)
        return messages.Boot(FACTORY, artifacts, made.cpus, made.memory, made.options, budget)
    return request


def history(hv, nonce) -> list[object]:
    """What a host sees of a boot, and of a batch, twice from just after HELLO."""
    box = Mailbox(hv.ram)

    def now() -> list[object]:
        return [box.position(), box.take(), hv.time.now, hv.vcpus[0].cpu.executed, bytes(hv.memory.save())]

    seen: list[object] = [hv.run(BUDGET), box.greeted()]
    if not box.greeted():
        return seen
    seen += now()
    snap, code = hv.snapshot(), 0xC0500000
    batch = encode_batch([
        PortOut(0x21, 0xFE), Call(38, registers=((0, 3), (2, code), (1, 1))), Call(46), Call(31), Call(29),
        Write(Space.LINEAR, code, b"\x40\xC3"), Execute(code), Call(17, registers=((0, 0x1000),)), Log()])
    for seq in (1, 2):
        box.post(seq, encode(Kind.BATCH, seq, nonce, batch))
        seen += [hv.run(BUDGET), *now()]
        hv.restore(snap)
    return seen


@pytest.mark.parametrize("name", ["", *CALL_MUTANTS[::10], *ROM_MUTANTS[::4]])
def test_warm_and_cold_do_the_same(boot, name):
    wanted = machine_of(boot(**({"mutant": name} if name else {})))
    nonce = int(dict(word.split("=") for word in wanted.option("cmdline").split())["nonce"], 16)
    warm = warm_up(boot())
    assert warm is not None
    again = warm.take(wanted)
    assert again is warm.model
    assert history(again, nonce) == history(create(wanted, DOORBELL), nonce)


def test_only_machines_of_its_kind(boot):
    warm = warm_up(boot())
    assert warm is not None
    assert warm.take(machine_of(boot(iret="jump"))) is None
    assert warm.take(machine_of(boot(withhold="15"))) is None
    assert warm.kind == kind_of(machine_of(boot(mutant=CALL_MUTANTS[0])))


def test_a_guest_that_does_not_come_to_its_hello_leaves_nothing(boot):
    assert warm_up(boot(budget=1000)) is None
