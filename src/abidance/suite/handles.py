# SPDX-License-Identifier: BSD-2-Clause
"""Handles: the answers of queued operations. Reading one carries out everything queued before it.

A handle never lets a case take a fault for a result: reading a register of a call that did not
return records a finding and ends the case, unless the case asked for `.faulted`, `.outcome` or
`.vector` first or queued the operation with `may_fault=True`. An operation that went wrong and
was never looked at is a finding too, when the case ends.
"""

from __future__ import annotations

from typing import NoReturn, Protocol

from abidance.errors import RecordError
from abidance.kernel import (
    Answer,
    Data,
    Fault,
    LogEntries,
    LogEntry,
    Polled,
    PortValue,
    Refused,
)

__all__ = [
    "BytesHandle",
    "DoneHandle",
    "FaultableHandle",
    "Handle",
    "LogHandle",
    "PollHandle",
    "PortHandle",
    "WordHandle",
    "vector_name",
]

VECTORS = {0: "#DE", 1: "#DB", 3: "#BP", 4: "#OF", 6: "#UD", 7: "#NM", 8: "#DF", 10: "#TS", 11: "#NP",
           12: "#SS", 13: "#GP", 14: "#PF", 16: "#MF", 17: "#AC"}


class Owner(Protocol):
    """What a handle needs of its guest."""

    def flush(self) -> None:
        """Carry out everything queued."""

    def violated(self, what: str, expected: str, seen: str) -> NoReturn:
        """Record a finding and end the case."""


class Handle:
    """The answer of one queued operation."""

    def __init__(self, owner: Owner, text: str, *, may_fault: bool = False) -> None:
        self._owner, self._text = owner, text
        self._answer: Answer | None = None
        self._looked = may_fault

    def __bool__(self) -> bool:
        raise TypeError("a handle is not a truth value; read one of its properties")

    def settle(self, answer: Answer) -> None:
        """Take the answer; the guest calls this once."""
        if isinstance(answer, Refused):
            reason = {1: "bad arguments", 2: "unknown operation", 3: "no room"}.get(answer.reason, "?")
            raise RecordError(f"the test kernel refused to {self._text}: {reason}")
        self._answer = answer

    @property
    def answer(self) -> Answer:
        """The answer as the kernel sent it, without any check."""
        if self._answer is None:
            self._owner.flush()
        if self._answer is None:
            raise RecordError(f"no answer came for: {self._text}")
        return self._answer

    @property
    def text(self) -> str:
        """The operation in readable form."""
        return self._text

    @property
    def ended(self) -> str:
        """How it ended, in readable form; empty while it is queued."""
        return "" if self._answer is None else self._ended(self._answer)

    @property
    def done(self) -> str:
        """The operation, and how it ended once it has been carried out, in one readable line."""
        return f"{self._text} -> {self.ended}" if self.ended else self._text

    def unseen_problem(self) -> str | None:
        """What went wrong without the case looking at it, for the end of the case."""
        if self._looked or self._answer is None:
            return None
        return self._problem(self._answer)

    def _problem(self, answer: Answer) -> str | None:
        raise NotImplementedError

    def _ended(self, answer: Answer) -> str:
        return self._problem(answer) or "done"


class FaultableHandle(Handle):
    """An operation that either is done or faults: a read or write of guest memory or a port."""

    @property
    def faulted(self) -> bool:
        """Whether the access faulted; asking makes a fault the case's business."""
        self._looked = True
        return isinstance(self.answer, Fault)

    @property
    def fault(self) -> Fault:
        """The fault; a finding if there was none."""
        self._looked = True
        answer = self.answer
        if not isinstance(answer, Fault):
            self._owner.violated(f"{self._text} faults", "a fault", self.ended)
        return answer

    def _problem(self, answer: Answer) -> str | None:
        if not isinstance(answer, Fault):
            return None
        return (f"faulted: vector {vector_name(answer.vector)}, error {answer.error:#x}, "
                f"cr2 {answer.address:#010x}")

    def _checked(self) -> Answer:
        answer = self.answer
        problem = self._problem(answer)
        if problem:
            self._owner.violated(f"{self._text} succeeds", "no fault", problem)
        return answer


class DoneHandle(FaultableHandle):
    """An operation without a result."""

    def check(self) -> None:
        """Carry it out now; a finding if it faulted."""
        self._checked()


class BytesHandle(FaultableHandle):
    """Bytes read from guest memory."""

    @property
    def value(self) -> bytes:
        """The bytes; a finding if the read faulted."""
        answer = self._checked()
        if not isinstance(answer, Data):
            raise RecordError(f"the answer to {self._text} holds no bytes")
        return answer.data

    def _ended(self, answer: Answer) -> str:
        if isinstance(answer, Data):
            return answer.data[:16].hex(" ", -4) + (" …" if len(answer.data) > 16 else "")
        return super()._ended(answer)


class WordHandle(FaultableHandle):
    """A little-endian integer read from guest memory."""

    @property
    def value(self) -> int:
        """The integer; a finding if the read faulted."""
        answer = self._checked()
        if not isinstance(answer, Data):
            raise RecordError(f"the answer to {self._text} holds no word")
        return int.from_bytes(answer.data, "little")

    def __int__(self) -> int:
        return self.value

    __index__ = __int__

    def _ended(self, answer: Answer) -> str:
        if isinstance(answer, Data):
            return f"{int.from_bytes(answer.data, 'little'):#010x}"
        return super()._ended(answer)


class PortHandle(FaultableHandle):
    """A value read from an I/O port."""

    @property
    def value(self) -> int:
        """The value; a finding if the instruction faulted."""
        answer = self._checked()
        if not isinstance(answer, PortValue):
            raise RecordError(f"the answer to {self._text} holds no value")
        return answer.value

    def __int__(self) -> int:
        return self.value

    __index__ = __int__

    def _ended(self, answer: Answer) -> str:
        return f"{answer.value:#x}" if isinstance(answer, PortValue) else super()._ended(answer)


class PollHandle(FaultableHandle):
    """What became of waiting at a port."""

    @property
    def polled(self) -> Polled:
        """Whether it matched, how many reads it took, and the last value."""
        answer = self._checked()
        if not isinstance(answer, Polled):
            raise RecordError(f"the answer to {self._text} is none of POLL")
        return answer

    @property
    def matched(self) -> bool:
        """Whether the value came."""
        return self.polled.matched

    def _ended(self, answer: Answer) -> str:
        if isinstance(answer, Polled):
            return f"{'matched' if answer.matched else 'never matched'}, last {answer.last:#x}"
        return super()._ended(answer)


class LogHandle(FaultableHandle):
    """The kernel's trap log."""

    @property
    def entries(self) -> tuple[LogEntry, ...]:
        """The entries, oldest first. RecordError if some did not fit: then nothing can be concluded."""
        answer = self._checked()
        if not isinstance(answer, LogEntries):
            raise RecordError(f"the answer to {self._text} is no log")
        if answer.lost:
            raise RecordError(f"the trap log overflowed: {answer.lost} entries lost")
        return answer.entries

    def _ended(self, answer: Answer) -> str:
        if isinstance(answer, LogEntries):
            shown = [f"{e.kind.name.lower()} {e.vector:#x} at {e.eip:#x}" for e in answer.entries]
            return ", ".join(shown) or "empty"
        return super()._ended(answer)


def vector_name(vector: int) -> str:
    """A vector with its name if it is an exception's: "13 (#GP)"."""
    return f"{vector} ({VECTORS[vector]})" if vector in VECTORS else f"{vector:#x}"


