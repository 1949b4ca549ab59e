# SPDX-License-Identifier: BSD-2-Clause
"""The protocol between the embedded platform and a model: a machine written in Python.

A model lives in a worker process. It owns the guest's RAM and runs the guest in slices; the
worker puts frames into the mailbox between slices and looks for answers whenever the guest rings
the doorbell (a write to I/O port `doorbell`). A write to port `doorbell` + 1 is the *marker*: the
test kernel makes it, with the linear address of the call's target in EAX, immediately before it
loads the call's registers; instructions are counted from the target's first.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from enum import Enum
from typing import ClassVar, Protocol

from abidance.platform.base import Machine

__all__ = ["DOORBELL", "LATE", "MARKER", "Factory", "Model", "Reason", "Renew", "Stop"]

DOORBELL = 0x5E9
MARKER = DOORBELL + 1


class Reason(Enum):
    """Why `Model.run` came back."""

    DOORBELL = "doorbell"
    BUDGET = "budget"
    CRASH = "crash"


@dataclass(frozen=True)
class Stop:
    """How a run ended. `used` is the number of guest instructions it took, approximately; 0 means
    that the model does not know, and the worker then charges a fixed number."""

    reason: Reason
    detail: str = ""
    used: int = 0

    DOORBELL: ClassVar[Stop]
    BUDGET: ClassVar[Stop]

    @staticmethod
    def CRASH(detail: str, used: int = 0) -> Stop:  # noqa: N802 (reads as the third constant)
        """The guest died: `detail` says of what (triple fault, reset, …) and where."""
        return Stop(Reason.CRASH, detail, used)


Stop.DOORBELL = Stop(Reason.DOORBELL)
Stop.BUDGET = Stop(Reason.BUDGET)


class Model(Protocol):
    """A machine in Python. Any exception that leaves a method counts as the model's death."""

    @property
    def ram(self) -> memoryview:
        """The guest's physical RAM from 0 to memory, writable. The host writes here only while the
        guest stands still, and never over code."""

    def run(self, budget: int) -> Stop:
        """Run about `budget` guest instructions, or until the doorbell, or until the guest dies.
        Virtual time: the same calls from the same state do the same."""

    def snapshot(self) -> object:
        """Everything the guest can observe, RAM included."""

    def restore(self, snap: object) -> None:
        """Back to a snapshot of this model; `ram` stays the same object."""

    def control(self, command: str, values: Mapping[str, int]) -> int:
        """"inject" (irq, after), "count", or the model's own; UsageError for any other."""


Factory = Callable[[Machine, int], Model]
"""Makes a model from a machine and the doorbell port. It loads the multiboot kernel itself (see
`abidance.platform.multiboot`), with the command line from `machine.option("cmdline")`."""

LATE = ("cmdline", "mutant", "preload")
"""Options that `renew` can still put into effect."""

Renew = Callable[[Model, Machine], None]
"""A function called `renew` beside a factory: make a model, which has been restored to a snapshot
taken before its first run, the one that the factory would make for this machine. The machine differs
from the one it was made for in options of `LATE` alone. A factory that has none is always called."""
