# SPDX-License-Identifier: BSD-2-Clause
"""The platform "unicorn": a model in Python, run by a worker process.

Workers are forked from a zygote that has the imports behind it: the module of `machine.model`
and the one that the option "preload" names, if any.

Guest time is virtual: a deadline of one second is a budget of `GUEST_HZ` instructions, so that a
timeout comes at the same instruction on every machine. Wall time is watched as well, with a wide
margin (`PATIENCE`, `GRACE`); a worker that exceeds it is killed, and that is a `SessionLost`.
An exception in the model is reported as `ModelFailed`, with its place: that is a defect of the model,
not a verdict on the guest or on a clause.
"""

from __future__ import annotations

import contextlib
import importlib.metadata
import importlib.util
import os
import socket
import subprocess
import sys
import tempfile
import time
from dataclasses import dataclass, replace
from pathlib import Path

from abidance.errors import GuestCrashed, GuestTimeout, ModelFailed, SessionLost, UnavailableError, UsageError
from abidance.kernel.hello import Hello
from abidance.platform import child, mailbox, messages
from abidance.platform.base import Capabilities, Isolation, Machine
from abidance.platform.link import Link
from abidance.platform.model import DOORBELL
from abidance.platform.zygote import Forked, fork_worker

__all__ = ["GUEST_HZ", "Embedded", "EmbeddedSession"]

GUEST_HZ = 10_000_000
EXCHANGE_DEADLINE = 10.0
PATIENCE, GRACE = 20.0, 10.0
_HANG_UP = 2.0
REMEDY = "pip install unicorn==2.1.4"
_CAPABILITIES = Capabilities(
    isolation=Isolation.SNAPSHOT, shared_memory=True, deterministic=True, injection=True,
    facts=(("limits", "unenforced"),))


@dataclass(frozen=True)
class Embedded:
    """The platform. `machine.model` names the factory."""

    name: str = "unicorn"
    capabilities: Capabilities = _CAPABILITIES

    def available(self) -> str | None:
        """None if Unicorn can be imported, else the command that installs it."""
        return None if importlib.util.find_spec("unicorn") else REMEDY

    def version(self) -> str:
        """The engine's name and version. Raises UnavailableError."""
        try:
            return f"Unicorn {importlib.metadata.version('unicorn')}"
        except importlib.metadata.PackageNotFoundError as error:
            raise UnavailableError("Unicorn is not installed", remedy=REMEDY) from error

    def boot(self, machine: Machine, *, deadline: float) -> EmbeddedSession:
        """Start a worker and wait for HELLO. Raises UsageError, SessionError, FrameError."""
        if machine.model is None:
            raise UsageError("the platform unicorn needs a model, and this machine names none")
        if machine.cpus > self.capabilities.cpus:
            raise UsageError(f"the platform unicorn runs {self.capabilities.cpus} CPU, not {machine.cpus}")
        session = EmbeddedSession()
        try:
            session.start(machine, deadline)
        except BaseException:
            session.close()
            raise
        return session

    def command(self, machine: Machine) -> list[str]:
        """The worker's command line; it speaks `abidance.platform.messages` on descriptor 3."""
        machine.kernel()
        return _command(3)


def _command(descriptor: int) -> list[str]:
    return [sys.executable, "-P", "-m", "abidance.platform.worker", str(descriptor), str(os.getpid())]


class EmbeddedSession:
    """A worker with a booted model. Not for several threads at once."""

    def __init__(self) -> None:
        self._link = Link()
        self._hello: Hello | None = None
        self._resources = contextlib.ExitStack()
        self._process: Forked | None = None
        self._connection: socket.socket | None = None

    @property
    def hello(self) -> Hello:
        """What the kernel announced."""
        if self._hello is None:
            raise UsageError("the session has not been started")
        return self._hello

    @property
    def pid(self) -> int:
        """Process id of the worker."""
        if self._process is None:
            raise SessionLost("there is no worker")
        return self._process.pid

    def start(self, machine: Machine, deadline: float) -> None:
        """Start the worker, boot the model, wait for HELLO."""
        cmdline = mailbox.command_line(self._link.nonce, DOORBELL)
        machine = replace(machine, options=(*machine.options, ("cmdline", cmdline)))
        artifacts = tuple((a.role, str(a.path.resolve()), a.digest) for a in machine.artifacts)
        boot = messages.Boot(
            factory=machine.model or "", artifacts=artifacts, cpus=machine.cpus, memory=machine.memory,
            options=machine.options, budget=int(deadline * GUEST_HZ))
        self._spawn(boot, tuple(filter(None, (boot.factory.partition(":")[0], machine.option("preload")))))
        reply = self._ask(boot, deadline)
        self._hello = self._link.hello(self._frame(reply))

    def _spawn(self, boot: messages.Boot, modules: tuple[str, ...]) -> None:
        keep = self._resources
        ours, theirs = socket.socketpair()
        keep.callback(ours.close)
        keep.callback(theirs.close)
        self._errors = keep.enter_context(tempfile.TemporaryFile())  # noqa: SIM115 (close() closes it)
        self._process = fork_worker(theirs.fileno(), self._errors.fileno(), modules=modules,
                                    path=_search_path(), boot=boot)
        keep.callback(child.end, self._process)
        theirs.close()
        self._connection = ours

    def exchange(self, batch: bytes, *, deadline: float | None = None) -> bytes:
        """Send a batch; its result must come within `deadline` * GUEST_HZ guest instructions."""
        seconds = EXCHANGE_DEADLINE if deadline is None else deadline
        frame = self._link.next(batch)
        request = messages.Exchange(self._link.seq, frame, max(1, int(seconds * GUEST_HZ)))
        return self._link.answer(self._frame(self._ask(request, seconds)))

    def control(self, command: str, **values: int) -> int:
        """Hand a command to the model. Raises UsageError if it knows no such command."""
        reply = self._ask(messages.Control(command, values), EXCHANGE_DEADLINE)
        if not isinstance(reply, messages.Value):
            raise self._lost(f"the worker answered {type(reply).__name__} to a control command")
        return reply.value

    def reset(self) -> None:
        """Restore the snapshot taken just after HELLO. Raises SessionLost."""
        reply = self._ask(messages.Reset(), EXCHANGE_DEADLINE)
        if not isinstance(reply, messages.Done):
            raise self._lost(f"the worker answered {type(reply).__name__} to a reset")

    def close(self) -> None:
        """Kill the worker."""
        self._connection = None
        self._resources.close()

    def _frame(self, reply: messages.Reply) -> bytes:
        if not isinstance(reply, messages.Answered):
            raise self._lost(f"the worker answered {type(reply).__name__} to a frame")
        return reply.frame

    def _ask(self, request: messages.Request, deadline: float) -> messages.Reply:
        """One request, one reply; what a reply reports as wrong is raised."""
        if self._connection is None:
            raise SessionLost("the session has been closed, or lost before")
        wall = GRACE + PATIENCE * deadline
        started = time.monotonic()
        self._connection.settimeout(wall)
        try:
            messages.send(self._connection, request)
            reply: messages.Reply = messages.receive(self._connection, messages.Reply)
        except TimeoutError as error:
            took = time.monotonic() - started
            raise self._lost(f"the worker had not answered after {took:.1f} s and was killed") from error
        except SessionLost as error:
            raise self._lost(f"{error}; the worker {self._ending()}") from error
        match reply:
            case messages.Crashed(detail):
                raise GuestCrashed(detail)
            case messages.Failed(detail):
                raise ModelFailed(f"the model failed: {detail}")
            case messages.Expired(detail):
                raise GuestTimeout(detail)
            case messages.Refused(detail):
                raise UsageError(detail)
        return reply

    def _lost(self, why: str) -> SessionLost:
        """Kill the worker and say how it ended."""
        self._connection = None
        if self._process is None:
            return SessionLost(why)
        child.end(self._process)
        self._errors.seek(0)
        words = self._errors.read(2000).decode(errors="replace").strip()
        return SessionLost(why + (f": {words}" if words else ""))

    def _ending(self) -> str:
        """How the worker ended, given a moment to do so once it has hung up."""
        if self._process is None:
            return "was not started"
        try:
            return f"ended with status {self._process.wait(_HANG_UP)}"
        except subprocess.TimeoutExpired:
            return "hung up and went on"


def _search_path() -> str:
    """Our own module search path in absolute form: the worker has another working directory."""
    return os.pathsep.join(str(Path(entry).absolute()) for entry in sys.path)
