# SPDX-License-Identifier: BSD-2-Clause
"""The embedded platform's child process: runs one model, in slices.

`python -m abidance.platform.worker FD PARENT`: FD is a socket on which `messages` travel, PARENT the
process that must still be there. Ctrl-C does not reach it; it dies with its parent. A guest that
spins, an engine that crashes and a model that raises harm nobody but this process.
"""

from __future__ import annotations

import resource
import signal
import socket
import sys
import traceback
from collections.abc import Callable
from pathlib import Path

from abidance.errors import AbidanceError, GuestCrashed, SessionLost, UsageError
from abidance.platform import messages
from abidance.platform.child import die_with_parent
from abidance.platform.mailbox import Mailbox
from abidance.platform.model import DOORBELL, Model, Reason
from abidance.platform.warm import Warm, find, machine_of

__all__ = ["SLICE", "Worker", "main", "serve"]

SLICE = 1_000_000
_DOORBELL_CHARGE = 1_000
_TRACE_LINES = 3


def _trace(error: BaseException) -> str:
    """An exception in one line: what, and the innermost places."""
    frames = traceback.extract_tb(error.__traceback__)[-_TRACE_LINES:]
    places = " < ".join(f"{Path(f.filename).name}:{f.lineno} {f.name}" for f in reversed(frames))
    return f"{type(error).__name__}: {error} [{places}]"


class Worker:
    """One model and its mailbox; `warm` is tried before a model is made."""

    def __init__(self, warm: Warm | None = None) -> None:
        self._warm = warm
        self._model: Model | None = None
        self._mailbox: Mailbox | None = None
        self._snapshot: object = None

    def handle(self, request: messages.Request) -> messages.Reply:
        """Carry out one request. Every exception becomes a reply: the model is foreign code, and the
        parent must hear of whatever it does."""
        try:
            match request:
                case messages.Boot():
                    return self._boot(request)
                case messages.Exchange(seq, frame, budget):
                    return self._exchange(seq, frame, budget)
                case messages.Control(command, values):
                    return messages.Value(self._booted().control(command, values))
                case messages.Reset():
                    self._booted().restore(self._snapshot)
                    return messages.Done()
        except GuestCrashed as error:
            return messages.Crashed(str(error))
        except AbidanceError as error:
            return messages.Refused(str(error))
        except Exception as error:  # noqa: BLE001
            return messages.Failed(_trace(error))

    def _booted(self) -> Model:
        if self._model is None:
            raise UsageError("nothing has been booted")
        return self._model

    def _boot(self, request: messages.Boot) -> messages.Reply:
        machine = machine_of(request)
        warm, self._warm = self._warm, None
        model = warm.take(machine) if warm is not None else None
        if model is None:
            model = find(request.factory)[0](machine, DOORBELL)
        box = Mailbox(model.ram)
        self._model, self._mailbox = model, box
        ended = self._run(box.greeted, request.budget)
        if ended is None:
            self._snapshot = model.snapshot()
            return messages.Answered(box.take())
        return ended

    def _exchange(self, seq: int, frame: bytes, budget: int) -> messages.Reply:
        box = self._mailbox
        if box is None:
            raise UsageError("nothing has been booted")
        box.post(seq, frame)
        ended = self._run(lambda: box.answered(seq), budget)
        return messages.Answered(box.take()) if ended is None else ended

    def _run(self, ready: Callable[[], bool], budget: int) -> messages.Reply | None:
        """Run until `ready` (None), or say why not."""
        model = self._booted()
        left = budget
        while left > 0:
            stop = model.run(min(left, SLICE))
            if stop.reason is Reason.CRASH:
                return messages.Crashed(stop.detail)
            if ready():
                return None
            left -= stop.used or (_DOORBELL_CHARGE if stop.reason is Reason.DOORBELL else SLICE)
        where = self._mailbox.position() if self._mailbox else "not loaded"
        return messages.Expired(f"no answer within {budget} instructions; the kernel was {where}")


def main() -> int:
    """Serve until the parent hangs up."""
    descriptor, parent = map(int, sys.argv[1:3])
    die_with_parent(parent)
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    with socket.socket(fileno=descriptor) as connection:
        return serve(connection)


def serve(connection: socket.socket, warm: Warm | None = None) -> int:
    """Answer requests until the other side hangs up; the exit status."""
    worker = Worker(warm)
    while True:
        try:
            request: messages.Request = messages.receive(connection, messages.Request)
            messages.send(connection, worker.handle(request))
        except SessionLost:
            return 0


if __name__ == "__main__":
    sys.exit(main())
