# SPDX-License-Identifier: BSD-2-Clause
"""Workers come from a zygote, or from one that has booted their machine before; neither outlives us."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import textwrap
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from processes import gone

from abidance.errors import SessionLost
from abidance.platform import zygote
from abidance.platform.base import Artifact, Machine
from abidance.platform.embedded import Embedded, EmbeddedSession

HERE = Path(__file__).resolve().parent
Boot = Callable[..., EmbeddedSession]


@pytest.fixture
def boot(monkeypatch: pytest.MonkeyPatch) -> Iterator[Boot]:
    """Boots; zygotes are this test's own."""
    monkeypatch.setattr(zygote, "_current", None)
    monkeypatch.setattr(zygote, "_warm", {})
    monkeypatch.setattr(zygote, "_boots", zygote.Counter())
    sessions: list[EmbeddedSession] = []

    def begin(behaviour: str = "good", *, artifacts: tuple[Artifact, ...] = (), mutant: str = "",
              tag: str = "") -> EmbeddedSession:
        options = (("behaviour", behaviour), ("tag", tag), ("mutant", mutant))
        machine = Machine(artifacts, model="renewable_model:make", options=options)
        sessions.append(Embedded().boot(machine, deadline=1))
        return sessions[-1]

    yield begin
    for session in sessions:
        session.close()
    for one in (zygote._current, *zygote._warm.values()):
        if one is not None:
            one.end()


def renewed(session: EmbeddedSession) -> int:
    assert session.exchange(b"payload") == b"payload"
    return session.control("renewed")


def test_the_third_machine_of_a_kind_goes_on_from_a_warm_start(boot: Boot) -> None:
    assert [renewed(boot(mutant=f"mutant-{number}")) for number in range(5)] == [0, 0, 1, 1, 1]
    assert renewed(boot(tag="another kind")) == 0


def test_what_one_worker_does_is_not_seen_by_the_next(boot: Boot) -> None:
    for _ in range(4):
        session = boot()
        session.exchange(b"x")
        assert session.control("count") == 1


def test_an_artifact_without_a_digest_is_read_anew_each_time(boot: Boot) -> None:
    unknown = Artifact("kernel", HERE / "renewable_model.py")
    known = Artifact.of("kernel", unknown.path)
    assert [renewed(boot(artifacts=(unknown,))) for _ in range(4)] == [0, 0, 0, 0]
    assert [renewed(boot(artifacts=(known,))) for _ in range(3)] == [0, 0, 1]


def test_a_guest_that_kills_the_warm_zygote_costs_only_the_warmth(boot: Boot) -> None:
    assert [renewed(boot("fatal-start")) for _ in range(5)] == [0, 0, 0, 0, 0]


def test_a_killed_zygote_loses_its_sessions_and_another_takes_over(boot: Boot) -> None:
    session = boot()
    assert zygote._current is not None
    first = zygote._current.process.pid
    os.kill(first, signal.SIGKILL)
    assert gone(session.pid)
    with pytest.raises(SessionLost):
        session.exchange(b"x")
    assert renewed(boot()) == 0
    assert zygote._current.process.pid != first


def test_a_killed_warm_zygote_is_done_without(boot: Boot) -> None:
    session = [boot() for _ in range(3)][-1]
    (warm,) = zygote._warm.values()
    assert warm is not None
    assert renewed(session) == 1
    os.kill(warm.process.pid, signal.SIGKILL)
    assert gone(session.pid)
    with pytest.raises(SessionLost):
        session.exchange(b"x")
    assert [renewed(boot()) for _ in range(2)] == [0, 0]


PARENT = """
    import sys
    sys.path[:0] = {paths}
    from abidance.platform import zygote
    from abidance.platform.base import Machine
    from abidance.platform.embedded import Embedded
    machine = Machine((), model="renewable_model:make", options=(("behaviour", "hang"),))
    sessions = [Embedded().boot(machine, deadline=1) for _ in range(3)]
    (warm,) = zygote._warm.values()
    print(zygote._current.process.pid, warm.process.pid, *(one.pid for one in sessions), flush=True)
    sessions[2].exchange(b"x")
"""


@pytest.mark.parametrize("how", [signal.SIGKILL, signal.SIGINT])
def test_everybody_dies_with_the_parent(how: signal.Signals) -> None:
    script = textwrap.dedent(PARENT).format(paths=[str(HERE), *sys.path])
    with subprocess.Popen([sys.executable, "-c", script], stdout=subprocess.PIPE, stderr=subprocess.PIPE,
                          start_new_session=True) as parent:
        assert parent.stdout is not None
        others = [int(word) for word in parent.stdout.readline().split()]
        os.killpg(parent.pid, how)
        parent.wait(20)
    assert len(others) == 5
    assert all(gone(pid) for pid in others)
