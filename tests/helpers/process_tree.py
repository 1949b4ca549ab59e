# SPDX-License-Identifier: BSD-2-Clause
"""Who started whom, from /proc; zombies do not count."""

from __future__ import annotations

import os
import signal
import time
from contextlib import suppress
from pathlib import Path

__all__ = ["all_gone", "descendants", "kill"]


def _table() -> dict[int, int]:
    """Parent of every process that is not a zombie."""
    found = {}
    for path in Path("/proc").glob("[0-9]*/stat"):
        with suppress(OSError):
            state, parent = path.read_text().rpartition(")")[2].split()[:2]
            if state != "Z":
                found[int(path.parent.name)] = int(parent)
    return found


def descendants(pid: int, *, depth: int = 1) -> list[int]:
    """The processes that `pid` started, theirs, and so on, from `depth` generations down."""
    table = _table()
    generation, found = [pid], []
    for level in range(1, 10):
        generation = [child for child, parent in table.items() if parent in generation]
        if level >= depth:
            found += generation
    return found


def all_gone(pids: list[int], *, within: float = 30.0) -> bool:
    """Whether they all end before long."""
    end = time.monotonic() + within
    while time.monotonic() < end:
        if not set(pids) & set(_table()):
            return True
        time.sleep(0.02)
    return False


def kill(pids: list[int]) -> None:
    """SIGKILL."""
    for pid in pids:
        with suppress(ProcessLookupError):
            os.kill(pid, signal.SIGKILL)
