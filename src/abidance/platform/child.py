# SPDX-License-Identifier: BSD-2-Clause
"""Child processes that die with us and leave nothing behind.

Linux only: PR_SET_PDEATHSIG has the kernel kill the child when the *thread* that started it ends,
so that every child is started from one thread that lives as long as the process does. The child
gets a session of its own (Ctrl-C goes to us alone), an empty working directory that is already
deleted (nobody can put a file there), no core dumps and bounded memory.
"""

from __future__ import annotations

import ctypes
import os
import signal
import subprocess
import sys
import tempfile
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import IO, Protocol

__all__ = ["die_with_parent", "end", "limits", "spawn"]

_PR_SET_PDEATHSIG = 1
_SHIM = """
import ctypes, os, resource, sys
parent, space, size = map(int, sys.argv[1:4])
ctypes.CDLL(None).prctl(1, 9)
if os.getppid() != parent:
    os._exit(1)
for what, limit in ((resource.RLIMIT_AS, space), (resource.RLIMIT_FSIZE, size), (resource.RLIMIT_CORE, 0)):
    hard = resource.getrlimit(what)[1]
    limit = limit if hard == resource.RLIM_INFINITY else min(limit, hard)
    resource.setrlimit(what, (limit, limit))
os.execvp(sys.argv[4], sys.argv[4:])
"""

_nursery: tuple[int, ThreadPoolExecutor] | None = None


def die_with_parent(parent: int) -> None:
    """Have the kernel kill this process when the thread that started it ends. `parent` is the
    process that should still be there; exits at once if it is not."""
    ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)
    if os.getppid() != parent:
        os._exit(1)


def limits(*, memory: int, file: int) -> list[str]:
    """The start of a command line that runs the rest with at most `memory` bytes of address space
    and files of at most `file` bytes, and has it killed with us. Costs about ten milliseconds, and
    nothing runs between fork and exec in a process that has threads."""
    return [sys.executable, "-I", "-S", "-c", _SHIM, str(os.getpid()), str(memory), str(file)]


def spawn(command: Sequence[str], *, fds: Sequence[int], errors: IO[bytes],
          path: str | None = None) -> subprocess.Popen[bytes]:
    """Start a command; it inherits `fds` and writes its output to `errors`. `path` replaces
    PYTHONPATH in its environment. Raises OSError."""
    global _nursery  # noqa: PLW0603 (one per process, and a forked process needs its own)
    if _nursery is None or _nursery[0] != os.getpid():
        _nursery = os.getpid(), ThreadPoolExecutor(1, thread_name_prefix="abidance-nursery")

    environment = dict(os.environ) if path is None else {**os.environ, "PYTHONPATH": path}

    def start() -> subprocess.Popen[bytes]:
        folder = Path(tempfile.mkdtemp(prefix="abidance-"))
        try:
            return subprocess.Popen(
                command, cwd=folder, env=environment, pass_fds=fds, start_new_session=True,
                stdin=subprocess.DEVNULL, stdout=errors, stderr=errors)
        finally:
            folder.rmdir()

    return _nursery[1].submit(start).result()


class Process(Protocol):
    """What `end` needs of a process."""

    def poll(self) -> int | None:
        """The exit status, None while it runs."""

    def kill(self) -> None:
        """End it at once."""

    def wait(self) -> int:
        """Wait for its end; the exit status."""


def end(process: Process) -> int:
    """Kill and reap; the exit status (negative: the signal). May be repeated."""
    if process.poll() is None:
        process.kill()
    return process.wait()
