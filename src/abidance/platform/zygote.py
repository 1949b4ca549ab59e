# SPDX-License-Identifier: BSD-2-Clause
"""One process that has imported everything a worker needs, and forks a worker when asked.

A worker that starts from nothing spends four fifths of its boot on imports; a suite that tries
hundreds of mutants boots hundreds of workers. The zygote is started when the first worker is
wanted and dies with us; its workers die with it (PR_SET_PDEATHSIG). It holds no engine and runs
no guest: it only imports, forks and reaps.

A kind of machine that is booted again and again (mutants) gets a zygote of its own that has booted
it once (see `warm`); should that guest harm it, workers come from the first one as before.

Over a SOCK_SEQPACKET socket, one request and one reply, MessagePack: `Fork` with two descriptors
(the worker's socket, its error output) is answered by the pid with a pidfd; `Reap` by the status;
`Boot` by whether that left something to go on with.
"""

from __future__ import annotations

import contextlib
import gc
import importlib
import os
import resource
import select
import signal
import socket
import subprocess
import sys
import tempfile
import threading
from collections import Counter
from dataclasses import dataclass

import msgspec

from abidance.errors import SessionLost
from abidance.platform import child, messages
from abidance.platform.base import Machine
from abidance.platform.warm import Warm, kind_of, machine_of, warm_up
from abidance.platform.worker import serve

__all__ = ["Forked", "fork_worker", "main"]

_REQUEST = 1 << 16
_STARTED = 30.0
_OFTEN, _KINDS = 3, 4
"""A kind of machine is warmed up when it is booted for the third time; that many kinds at most."""


class Fork(msgspec.Struct, frozen=True, tag=True):
    """Import `modules` (those that can be), then fork a worker."""

    modules: tuple[str, ...]


class Reap(msgspec.Struct, frozen=True, tag=True):
    """Wait for a worker that is ending, and say how it ended."""

    pid: int


Request = Fork | Reap | messages.Boot


@dataclass
class Forked:
    """A worker, with the part of `subprocess.Popen` that its owner needs."""

    pid: int
    descriptor: int
    zygote: _Zygote
    returncode: int | None = None

    def poll(self) -> int | None:
        """The exit status (negative: the signal), None while it runs."""
        if self.returncode is None and select.select([self.descriptor], [], [], 0)[0]:
            self._reap()
        return self.returncode

    def wait(self, timeout: float | None = None) -> int:
        """The exit status once it has ended. Raises subprocess.TimeoutExpired."""
        if self.returncode is None:
            if not select.select([self.descriptor], [], [], timeout)[0]:
                raise subprocess.TimeoutExpired("worker", timeout or 0.0)
            self._reap()
        return self.returncode if self.returncode is not None else -signal.SIGKILL

    def kill(self) -> None:
        """End it at once."""
        with contextlib.suppress(ProcessLookupError):
            signal.pidfd_send_signal(self.descriptor, signal.SIGKILL)

    def _reap(self) -> None:
        self.returncode = self.zygote.reap(self.pid)
        os.close(self.descriptor)


class _Zygote:
    """Our end of the one zygote of this process."""

    def __init__(self, path: str) -> None:
        self.owner = os.getpid()
        self._lock = threading.Lock()
        self._socket, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        self._socket.settimeout(_STARTED)
        command = [sys.executable, "-P", "-m", __name__, str(theirs.fileno()), str(os.getpid())]
        with theirs, tempfile.TemporaryFile() as errors:
            self.process = child.spawn(command, fds=(theirs.fileno(),), errors=errors, path=path)

    def fork(self, modules: tuple[str, ...], descriptors: tuple[int, int]) -> Forked:
        """A new worker. Raises OSError if the zygote has gone."""
        with self._lock:
            socket.send_fds(self._socket, [msgspec.msgpack.encode(Fork(modules))], descriptors)
            answer, fds, _, _ = socket.recv_fds(self._socket, _REQUEST, 1)
        if len(fds) != 1:
            raise ConnectionResetError("the zygote has gone")
        return Forked(msgspec.msgpack.decode(answer, type=int), fds[0], self)

    def reap(self, pid: int) -> int:
        """The status of a worker that has ended; that of SIGKILL if the zygote has gone with it."""
        try:
            with self._lock:
                self._socket.send(msgspec.msgpack.encode(Reap(pid)))
                return msgspec.msgpack.decode(self._socket.recv(_REQUEST), type=int)
        except (OSError, msgspec.MsgspecError):
            return -signal.SIGKILL

    def warm(self, boot: messages.Boot) -> bool:
        """Have it boot a machine, for all workers to come. Raises OSError."""
        with self._lock:
            self._socket.send(msgspec.msgpack.encode(boot))
            answer = self._socket.recv(_REQUEST)
        if not answer:
            raise ConnectionResetError("the zygote has gone")
        return msgspec.msgpack.decode(answer, type=bool)

    def end(self) -> None:
        """Let go of it."""
        self._socket.close()
        child.end(self.process)


_current: _Zygote | None = None
_warm: dict[Machine, _Zygote | None] = {}
_boots: Counter[Machine] = Counter()
_guard = threading.Lock()


def fork_worker(descriptor: int, errors: int, *, modules: tuple[str, ...], path: str,
                boot: messages.Boot) -> Forked:
    """A worker that serves the socket `descriptor` and writes what goes wrong to `errors`. `path`
    is the module search path, `modules` what it will want to import, `boot` what it will be asked
    first. Raises SessionLost."""
    kind = kind_of(machine_of(boot))
    warm = _warm_zygote(kind, path, boot)
    if warm is not None:
        try:
            return warm.fork(modules, (descriptor, errors))
        except OSError:
            _cool(kind)
    problem: OSError | None = None
    for _ in range(2):
        try:
            return _zygote(path).fork(modules, (descriptor, errors))
        except OSError as error:
            problem = error
            _forget()
    raise SessionLost(f"cannot start a worker: {problem}") from problem


def _warm_zygote(kind: Machine, path: str, boot: messages.Boot) -> _Zygote | None:
    """The zygote that has booted this kind of machine, if it is wanted often enough."""
    with _guard:
        _boots[kind] += 1
        room = sum(zygote is not None for zygote in _warm.values()) < _KINDS
        if kind not in _warm and _boots[kind] >= _OFTEN and room:
            _warm[kind] = _start_warm(path, boot) if all(one.digest for one in kind.artifacts) else None
        zygote = _warm.get(kind)
        return zygote if zygote is not None and zygote.owner == os.getpid() else None


def _start_warm(path: str, boot: messages.Boot) -> _Zygote | None:
    zygote = _Zygote(path)
    with contextlib.suppress(OSError, msgspec.MsgspecError):
        if zygote.warm(boot):
            return zygote
    zygote.end()
    return None


def _cool(kind: Machine) -> None:
    """Do without the zygote of this kind from now on."""
    with _guard:
        zygote = _warm.get(kind)
        _warm[kind] = None
        if zygote is not None:
            zygote.end()


def _zygote(path: str) -> _Zygote:
    global _current  # noqa: PLW0603 (one per process, and a forked process needs its own)
    with _guard:
        if _current is None or _current.owner != os.getpid() or _current.process.poll() is not None:
            _current = _Zygote(path)
        return _current


def _forget() -> None:
    global _current  # noqa: PLW0603
    with _guard:
        if _current is not None and _current.owner == os.getpid():
            _current.end()
        _current = None


def main() -> int:
    """Serve requests until the one who started us hangs up."""
    descriptor, parent = map(int, sys.argv[1:3])
    child.die_with_parent(parent)
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    warm: Warm | None = None
    with socket.socket(fileno=descriptor) as control:
        while True:
            data, fds, _, _ = socket.recv_fds(control, _REQUEST, 2)
            if not data:
                return 0
            match msgspec.msgpack.decode(data, type=Request):
                case messages.Boot() as boot:
                    warm = _warm_up(boot)
                    control.send(msgspec.msgpack.encode(warm is not None))
                case Fork(modules):
                    _fork(control, modules, fds, warm)
                case Reap(pid):
                    status = os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])
                    control.send(msgspec.msgpack.encode(status))


def _warm_up(boot: messages.Boot) -> Warm | None:
    with contextlib.suppress(Exception):  # the worker will meet it too, and report it
        return warm_up(boot)
    return None


def _fork(control: socket.socket, modules: tuple[str, ...], fds: list[int], warm: Warm | None) -> None:
    for name in modules:
        with contextlib.suppress(Exception):  # the worker will meet it too, and report it
            importlib.import_module(name)
    gc.freeze()
    here = os.getpid()
    pid = os.fork()
    if not pid:
        control.close()
        _become_worker(here, fds, warm)
    descriptor = os.pidfd_open(pid)
    socket.send_fds(control, [msgspec.msgpack.encode(pid)], [descriptor])
    for fd in (descriptor, *fds):
        os.close(fd)


def _become_worker(parent: int, fds: list[int], warm: Warm | None) -> None:
    """Serve one session and end; nothing of the zygote goes on in here."""
    status = 1
    try:
        descriptor, errors = fds
        child.die_with_parent(parent)
        for standard in (1, 2):
            os.dup2(errors, standard)
        os.close(errors)
        with socket.socket(fileno=descriptor) as connection:
            status = serve(connection, warm)
    finally:
        with contextlib.suppress(OSError, ValueError):
            sys.stdout.flush()
            sys.stderr.flush()
        os._exit(status)


if __name__ == "__main__":
    sys.exit(main())
