# SPDX-License-Identifier: BSD-2-Clause
"""The one exception tree of Abidance.

    AbidanceError                 everything this package raises on purpose
    ├── UsageError                the user asked for something that cannot be (exit 2)
    │   └── UnavailableError      a needed program is missing; ``remedy`` says how to get it
    ├── InputError                a file the user gave is wrong; carries file, line, column, key
    │   └── SpecError             … and that file is part of a specification
    ├── LinkError                 bytes that came from a guest are not a valid answer
    │   ├── FrameError            a frame is damaged, foreign, repeated or out of order
    │   └── RecordError           a frame is intact but what it says is impossible
    └── SessionError              the guest or what executes it can no longer answer
        ├── GuestCrashed          the guest died: triple fault, reset, shutdown
        ├── GuestTimeout          the guest's own budget ran out
        ├── ModelFailed           the Python that plays hypervisor or board raised: a defect of ours
        └── SessionLost           what executes the guest is gone (killed, pipe closed)

No traceback reaches a user for anything in this tree: the command line turns each into one
message and an exit status.
"""

from __future__ import annotations

from dataclasses import dataclass

__all__ = [
    "AbidanceError",
    "FrameError",
    "GuestCrashed",
    "GuestTimeout",
    "InputError",
    "LinkError",
    "ModelFailed",
    "Place",
    "RecordError",
    "SessionError",
    "SessionLost",
    "SpecError",
    "UnavailableError",
    "UsageError",
]


class AbidanceError(Exception):
    """Base of everything this package raises on purpose."""


class UsageError(AbidanceError):
    """The request itself cannot be carried out: unknown target, clause, option value."""


class UnavailableError(UsageError):
    """A program that the request needs is not installed; ``remedy`` is the command that mends it."""

    def __init__(self, message: str, *, remedy: str) -> None:
        super().__init__(f"{message} (to get it: {remedy})")
        self.remedy = remedy


@dataclass(frozen=True)
class Place:
    """Where in a file something stands; line and column count from 1, 0 means unknown."""

    file: str
    line: int = 0
    column: int = 0

    def __str__(self) -> str:
        if not self.line:
            return self.file
        return f"{self.file}:{self.line}:{self.column}" if self.column else f"{self.file}:{self.line}"


class InputError(AbidanceError):
    """A file the user gave is wrong. The text reads ``file:line:column: key: what is wrong; mend``."""

    def __init__(self, place: Place, key: str, problem: str, *, mend: str) -> None:
        self.place, self.key, self.problem, self.mend = place, key, problem, mend
        where = f"{place}: {key}: " if key else f"{place}: "
        super().__init__(f"{where}{problem}; {mend}")


class SpecError(InputError):
    """A specification file is wrong."""


class LinkError(AbidanceError):
    """Bytes that came from a guest are not a valid answer. Never a PASS; the verdict is ERROR."""


class FrameError(LinkError):
    """A frame is damaged, truncated, foreign (nonce), repeated or out of order (sequence)."""


class RecordError(LinkError):
    """The frame is intact, but a record in it is impossible (count, length, index, value)."""


class SessionError(AbidanceError):
    """The session cannot answer any more; it must be reset or reopened."""


class GuestCrashed(SessionError):
    """The guest died: triple fault, reset or shutdown that no case asked for. Verdict CRASH."""


class GuestTimeout(SessionError):
    """The guest's own budget (instructions or deadline) ran out. Verdict TIMEOUT."""


class ModelFailed(SessionError):
    """The model that plays hypervisor or board raised an exception. That says nothing about the
    clause being tested; the verdict is ERROR, and a mutant that ends so has not been killed."""


class SessionLost(SessionError):
    """What executes the guest is gone: killed child, closed pipe, dead line. Verdict MISS."""
