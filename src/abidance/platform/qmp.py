# SPDX-License-Identifier: BSD-2-Clause
"""QEMU's monitor (QMP) for callers that are not asynchronous.

`qemu.qmp` is asyncio; its loop runs in one private thread per process, shared by all monitors.
Every call waits at most `PATIENCE` seconds. A monitor that does not answer, or whose connection is
gone, is a `SessionLost`.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import os
import socket
import threading
from collections.abc import Coroutine
from typing import TypeVar

from qemu.qmp import QMPClient, QMPError

from abidance.errors import SessionLost

__all__ = ["PATIENCE", "Monitor"]

PATIENCE = 10.0
T = TypeVar("T")

logging.getLogger("qemu.qmp").addHandler(logging.NullHandler())
_shared: tuple[int, asyncio.AbstractEventLoop] | None = None
_starting = threading.Lock()


def _loop() -> asyncio.AbstractEventLoop:
    """The loop of this process; started when it is first needed."""
    global _shared  # noqa: PLW0603 (one per process, and a forked process needs its own)
    with _starting:
        if _shared is None or _shared[0] != os.getpid():
            loop = asyncio.new_event_loop()
            threading.Thread(target=loop.run_forever, name="abidance-qmp", daemon=True).start()
            _shared = os.getpid(), loop
        return _shared[1]


class Monitor:
    """One connection. `shutdown` is the reason of QEMU's last SHUTDOWN event, None before one."""

    def __init__(self, connection: socket.socket) -> None:
        self.shutdown: str | None = None
        self._client = QMPClient("abidance")
        self._events: asyncio.Task[None] | None = None
        self._connection = connection

    def connect(self, *, deadline: float) -> None:
        """Wait for QEMU's greeting. Raises SessionLost."""
        self._wait(self._connect(), deadline)

    async def _connect(self) -> None:
        await self._client.connect(self._connection)
        self._events = asyncio.get_running_loop().create_task(self._watch())

    async def _watch(self) -> None:
        with self._client.listener("SHUTDOWN") as events:
            async for event in events:
                data = event.get("data")
                self.shutdown = str(data.get("reason", "unknown") if isinstance(data, dict) else "unknown")

    def _wait(self, coroutine: Coroutine[None, None, T], deadline: float = PATIENCE) -> T:
        future = asyncio.run_coroutine_threadsafe(coroutine, _loop())
        try:
            return future.result(deadline)
        except TimeoutError as error:
            future.cancel()
            raise SessionLost(f"QEMU's monitor has not answered for {deadline:g} s") from error
        except (QMPError, OSError, EOFError) as error:
            raise SessionLost(f"QEMU's monitor: {error}") from error

    def execute(self, command: str, **arguments: object) -> object:
        """Carry out a QMP command and return what it returned. Raises SessionLost."""
        return self._wait(self._client.execute(command, arguments or None))

    def human(self, command: str) -> str:
        """Carry out a command of the human monitor and return its text. Raises SessionLost."""
        return str(self.execute("human-monitor-command", **{"command-line": command}))

    def close(self) -> None:
        """Let go of the connection; may be repeated."""
        with contextlib.suppress(SessionLost):
            self._wait(self._close())
        self._connection.close()

    async def _close(self) -> None:
        if self._events is not None:
            self._events.cancel()
            self._events = None
        with contextlib.suppress(QMPError, OSError, EOFError):
            await self._client.disconnect()
