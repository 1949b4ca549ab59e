# SPDX-License-Identifier: BSD-2-Clause
"""The embedded platform against models that spin, crash, babble, answer twice and die."""

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

from abidance.errors import FrameError, GuestCrashed, GuestTimeout, ModelFailed, SessionLost, UsageError
from abidance.platform import embedded
from abidance.platform.base import Machine
from abidance.platform.embedded import Embedded, EmbeddedSession

HERE = Path(__file__).resolve().parent
Boot = Callable[..., EmbeddedSession]


@pytest.fixture
def boot() -> Iterator[Boot]:
    sessions: list[EmbeddedSession] = []

    def begin(behaviour: str = "good", *, model: str = "mock_model:make") -> EmbeddedSession:
        machine = Machine((), model=model, options=(("behaviour", behaviour),))
        sessions.append(Embedded().boot(machine, deadline=1))
        return sessions[-1]

    yield begin
    for session in sessions:
        session.close()


def test_batches_are_answered_in_order(boot: Boot) -> None:
    session = boot()
    assert session.hello.text("port") == "mock"
    for payload in (b"", b"one", b"x" * 200_000):
        assert session.exchange(payload) == payload


def test_a_batch_that_is_too_long_is_refused_and_nothing_is_lost(boot: Boot) -> None:
    session = boot()
    with pytest.raises(UsageError, match="does not fit"):
        session.exchange(bytes(0x40000))
    assert session.exchange(b"next") == b"next"


def test_reset_restores_what_the_model_remembers(boot: Boot) -> None:
    session = boot()
    session.exchange(b"1")
    session.exchange(b"2")
    assert session.control("count") == 2
    session.reset()
    assert session.control("count") == 0
    assert session.exchange(b"3") == b"3"


def test_control(boot: Boot) -> None:
    session = boot()
    assert session.control("add", a=2, b=3) == 5
    with pytest.raises(UsageError, match="no control command"):
        session.control("fly")
    assert session.exchange(b"still there") == b"still there"


@pytest.mark.parametrize(("behaviour", "words"), [
    ("twice", "sequence number"), ("foreign", "nonce"), ("stale", "sequence number"), ("damaged", "CRC-32"),
    ("babble", "magic"), ("endless", "payload bytes"),
])
def test_what_is_not_the_expected_answer_is_no_answer(boot: Boot, behaviour: str, words: str) -> None:
    with pytest.raises((FrameError, UsageError), match=words):
        boot(behaviour).exchange(b"x")


def test_a_spinning_guest_times_out_after_the_same_number_of_slices(boot: Boot) -> None:
    session = boot("spin")
    with pytest.raises(GuestTimeout, match="20000000 instructions"):
        session.exchange(b"x", deadline=2)
    assert session.control("count") == 20
    session.reset()
    assert session.control("count") == 0


def test_a_guest_that_only_rings_times_out_where_it_was(boot: Boot) -> None:
    with pytest.raises(GuestTimeout, match="at op 3"):
        boot("ring").exchange(b"x", deadline=0.1)


def test_a_crash_says_why_and_reset_revives(boot: Boot) -> None:
    session = boot("crash")
    with pytest.raises(GuestCrashed, match="triple fault at 0xc0101234"):
        session.exchange(b"x")
    session.reset()
    with pytest.raises(GuestCrashed):
        session.exchange(b"x")


def test_an_exception_in_the_model_is_its_death_and_names_the_place(boot: Boot) -> None:
    session = boot("raise")
    with pytest.raises(ModelFailed, match=r"KeyError.*no such shadow page.*mock_model\.py:\d+ do_raise"):
        session.exchange(b"x")
    session.reset()


@pytest.mark.parametrize(("behaviour", "words"), [("die", "status 3"), ("segfault", "status -11")])
def test_a_dead_worker_is_a_lost_session(boot: Boot, behaviour: str, words: str) -> None:
    session = boot(behaviour)
    with pytest.raises(SessionLost, match=words):
        session.exchange(b"x")
    with pytest.raises(SessionLost, match="lost before"):
        session.reset()


def test_a_killed_worker_is_a_lost_session(boot: Boot) -> None:
    session = boot()
    os.kill(session.pid, signal.SIGKILL)
    with pytest.raises(SessionLost):
        session.exchange(b"x")


def test_a_worker_that_hangs_is_killed(boot: Boot, monkeypatch: pytest.MonkeyPatch) -> None:
    session = boot("hang")
    pid = session.pid
    monkeypatch.setattr(embedded, "GRACE", 0.2)
    with pytest.raises(SessionLost, match="was killed"):
        session.exchange(b"x", deadline=0.01)
    assert gone(pid)


def test_close_ends_the_worker_and_may_be_repeated(boot: Boot) -> None:
    session = boot()
    pid = session.pid
    session.close()
    session.close()
    assert gone(pid)
    with pytest.raises(SessionLost):
        session.exchange(b"x")


@pytest.mark.parametrize(("behaviour", "error", "words"), [
    ("mute", GuestTimeout, "not entered"), ("no-hello", FrameError, "kind"),
    ("unbuildable", UsageError, "cannot be built"),
])
def test_a_boot_without_hello(boot: Boot, behaviour: str, error: type[Exception], words: str) -> None:
    with pytest.raises(error, match=words):
        boot(behaviour)


@pytest.mark.parametrize("model", ["no.such.module:make", "mock_model:nothing", "mock_model", ""])
def test_a_model_that_does_not_exist(boot: Boot, model: str) -> None:
    with pytest.raises(UsageError):
        boot(model=model)


def test_a_machine_without_a_model_or_with_too_many_cpus() -> None:
    with pytest.raises(UsageError, match="needs a model"):
        Embedded().boot(Machine(()), deadline=1)
    with pytest.raises(UsageError, match="CPU"):
        Embedded().boot(Machine((), cpus=64, model="mock_model:make"), deadline=1)


PARENT = """
    import sys, time
    sys.path[:0] = {paths}
    from abidance.platform.base import Machine
    from abidance.platform.embedded import Embedded
    machine = Machine((), model="mock_model:make", options=(("behaviour", "hang"),))
    session = Embedded().boot(machine, deadline=1)
    print(session.pid, flush=True)
    session.exchange(b"x")
"""


@pytest.mark.parametrize("how", [signal.SIGKILL, signal.SIGINT])
def test_the_worker_dies_with_its_parent(how: signal.Signals) -> None:
    """SIGINT as Ctrl-C sends it, to the whole foreground group: the worker must not see it."""
    script = textwrap.dedent(PARENT).format(paths=[str(HERE), *sys.path])
    with subprocess.Popen([sys.executable, "-c", script], stdout=subprocess.PIPE, stderr=subprocess.PIPE,
                          start_new_session=True) as parent:
        assert parent.stdout is not None
        worker = int(parent.stdout.readline())
        assert os.getpgid(worker) != os.getpgid(parent.pid)
        os.killpg(parent.pid, how)
        parent.wait(20)
    assert gone(worker)
