# SPDX-License-Identifier: BSD-2-Clause
"""Records: what the test kernel answers, checked byte by byte and turned into typed answers.

A result is ``u32 count, u32 status`` (0: complete) and then for each op ``u16 op, u16 status, u16 nvals,
u16 0, u32 index, u32 blob length``, ``nvals`` u64 values, and the blob padded with zeros to 8 bytes.
Everything here comes from a guest: whatever is impossible raises RecordError, and nothing else does.
"""

from __future__ import annotations

import struct
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from enum import IntEnum

from abidance.errors import RecordError
from abidance.kernel import ops as _ops

__all__ = [
    "MAX_REGISTERS",
    "UNKNOWN",
    "Answer",
    "Data",
    "Done",
    "Echoed",
    "Fault",
    "LogEntries",
    "LogEntry",
    "LogKind",
    "Outcome",
    "Polled",
    "PortValue",
    "Refused",
    "State",
    "decode_records",
]

UNKNOWN = 0xFFFF_FFFF_FFFF_FFFF
"""Value of a field that the kernel could not find out."""
MAX_REGISTERS = 40
_HEAD = struct.Struct("<HHHHII")
_LOG_WORDS = 16
_STATE_TAIL = 12


class Outcome(IntEnum):
    """How a Call, Execute, Transfer or an ABI's own op ended."""

    RETURNED = 0
    FAULT = 1
    """An exception or an unexpected interrupt; vector, error and the fault fields tell."""
    STOP = 2
    """The stop trap was reached; ``after`` are the registers there."""
    NOT_CALLABLE = 3
    """Nothing was run: the relocation's type does not fit, or there is no native equivalent."""


class LogKind(IntEnum):
    """What a LogEntry records."""

    IRQ = 1
    FAULT = 2
    STOP = 3


@dataclass(frozen=True)
class Echoed:
    """Answer to Echo."""

    values: tuple[int, ...]
    blob: bytes


@dataclass(frozen=True)
class Data:
    """Answer to Read."""

    data: bytes


@dataclass(frozen=True)
class Done:
    """Answer to Write, PortOut and Set: it was done."""


@dataclass(frozen=True)
class Fault:
    """Status 1: the op itself faulted.

    ``address`` is CR2 of a page fault; ``done`` bytes were moved before it.
    """

    vector: int
    error: int
    address: int
    done: int


@dataclass(frozen=True)
class Refused:
    """Status 2: the kernel did not carry the op out. ``reason``: 1 arguments, 2 unknown op, 3 no room."""

    reason: int


@dataclass(frozen=True)
class PortValue:
    """Answer to PortIn."""

    value: int


@dataclass(frozen=True)
class Polled:
    """Answer to Poll."""

    matched: bool
    polls: int
    last: int


@dataclass(frozen=True)
class LogEntry:
    """One trap as the kernel's handler saw it; ``mask``: the ABI's interrupt mask there, if known."""

    kind: LogKind
    vector: int
    error: int
    eip: int
    cs: int
    eflags_image: int
    eflags_register: int
    esp: int
    ss: int
    mask: int | None
    cr2: int
    sequence: int
    nested: bool


@dataclass(frozen=True)
class LogEntries:
    """Answer to Log. ``lost`` entries did not fit."""

    entries: tuple[LogEntry, ...]
    lost: int


@dataclass(frozen=True)
class State:
    """Registers before and after, and how it ended. Indices are those of HELLO's register table."""

    outcome: Outcome
    before: tuple[int, ...]
    after: tuple[int, ...]
    vector: int
    error: int
    fault_eip: int
    fault_cs: int
    cr2: int
    fault_eflags: int
    site: int
    canary_bad: int
    irqs: int
    target_kind: int
    target: int
    mask_after: int | None

    @property
    def returned(self) -> bool:
        """The routine came back to its caller."""
        return self.outcome is Outcome.RETURNED

    @property
    def faulted(self) -> bool:
        """It ended in an exception."""
        return self.outcome is Outcome.FAULT

    @property
    def stopped(self) -> bool:
        """It reached the stop trap."""
        return self.outcome is Outcome.STOP


Answer = Echoed | Data | Done | Fault | Refused | PortValue | Polled | LogEntries | State


@dataclass(frozen=True)
class _Raw:
    op: int
    status: int
    values: tuple[int, ...]
    index: int
    blob: bytes

    def exactly(self, values: int, *, blob: int = 0) -> tuple[int, ...]:
        if len(self.values) != values or len(self.blob) != blob:
            raise RecordError(f"record {self.index} (op {self.op:#x}) has {len(self.values)} values and "
                              f"{len(self.blob)} blob bytes, expected {values} and {blob}")
        return self.values


def _optional(value: int) -> int | None:
    return None if value == UNKNOWN else value


def _state(raw: _Raw) -> State:
    values = raw.values
    count = values[1] if len(values) >= 2 else 0
    if not 0 < count <= MAX_REGISTERS or len(values) != 2 + 2 * count + _STATE_TAIL or raw.blob:
        raise RecordError(f"record {raw.index}: {len(values)} values are no State of {count} registers")
    if values[0] not in Outcome.__members__.values():
        raise RecordError(f"record {raw.index}: outcome {values[0]} does not exist")
    before, after = values[2:2 + count], values[2 + count:2 + 2 * count]
    vector, error, eip, cs, cr2, flags, site, canary, irqs, kind, target, mask = values[2 + 2 * count:]
    return State(Outcome(values[0]), before, after, vector, error, eip, cs, cr2, flags, site, canary, irqs,
                 kind, target, _optional(mask))


def _log_entry(words: tuple[int, ...], index: int) -> LogEntry:
    if words[0] not in LogKind.__members__.values() or words[12] > 1:
        raise RecordError(f"record {index}: a log entry has kind {words[0]}, nested {words[12]}")
    vector, error, eip, cs, image, register, esp, ss, mask, cr2, sequence = words[1:12]
    return LogEntry(LogKind(words[0]), vector, error, eip, cs, image, register, esp, ss, _optional(mask), cr2,
                    sequence, bool(words[12]))


def _log(raw: _Raw) -> LogEntries:
    if len(raw.values) != 2 or len(raw.blob) != raw.values[0] * _LOG_WORDS * 8:
        raise RecordError(f"record {raw.index}: the log's length is not that of its entries")
    rows = struct.iter_unpack(f"<{_LOG_WORDS}Q", raw.blob)
    return LogEntries(tuple(_log_entry(row, raw.index) for row in rows), lost=raw.values[1])


def _polled(raw: _Raw) -> Polled:
    matched, polls, last = raw.exactly(3)
    if matched > 1 or last > 0xFF:
        raise RecordError(f"record {raw.index}: impossible answer to POLL")
    return Polled(bool(matched), polls, last)


def _read(raw: _Raw, op: _ops.Op) -> Data:
    length = op.length if isinstance(op, _ops.Read) else 0
    raw.exactly(0, blob=length)
    return Data(raw.blob)


def _echoed(raw: _Raw, op: _ops.Op) -> Echoed:
    if not isinstance(op, _ops.Echo) or raw.values != op.arguments or raw.blob != op.blob:
        raise RecordError(f"record {raw.index}: the echo differs from what was sent")
    return Echoed(raw.values, raw.blob)


def _done(raw: _Raw) -> Done:
    raw.exactly(0)
    return Done()


_DECODERS: dict[type[_ops.Op], Callable[[_Raw, _ops.Op], Answer]] = {
    _ops.Echo: _echoed,
    _ops.Read: _read,
    _ops.Write: lambda raw, _: _done(raw),
    _ops.Call: lambda raw, _: _state(raw),
    _ops.Execute: lambda raw, _: _state(raw),
    _ops.Transfer: lambda raw, _: _state(raw),
    _ops.Log: lambda raw, _: _log(raw),
    _ops.PortIn: lambda raw, _: PortValue(raw.exactly(1)[0]),
    _ops.PortOut: lambda raw, _: _done(raw),
    _ops.Poll: lambda raw, _: _polled(raw),
    _ops.Set: lambda raw, _: _done(raw),
    _ops.AbiOp: lambda raw, _: _state(raw),
}


def _answer(raw: _Raw, op: _ops.Op) -> Answer:
    if raw.status == 1:
        return Fault(*raw.exactly(4))
    if raw.status == 2:
        return Refused(*raw.exactly(1))
    if raw.status:
        raise RecordError(f"record {raw.index}: status {raw.status} does not exist")
    return _DECODERS[type(op)](raw, op)


def _take(payload: bytes, offset: int, index: int) -> tuple[_Raw, int]:
    """The raw record at ``offset`` and the offset after it."""
    if len(payload) - offset < _HEAD.size:
        raise RecordError(f"result cut off before record {index}")
    code, status, count, zero, seen, length = _HEAD.unpack_from(payload, offset)
    start = offset + _HEAD.size
    blob = start + 8 * count
    end = blob + length + -length % 8
    if end > len(payload):
        raise RecordError(f"record {index} is longer than the result")
    if zero or seen != index or any(payload[blob + length:end]):
        raise RecordError(f"record {index} has a wrong index {seen}, or bytes that must be zero are not")
    values = struct.unpack_from(f"<{count}Q", payload, start)
    return _Raw(code, status, values, index, bytes(payload[blob:blob + length])), end


def decode_records(payload: bytes, ops: Sequence[_ops.Op]) -> tuple[Answer, ...]:
    """One answer for each op, in order. Raises RecordError, and only that, on impossible bytes."""
    if len(payload) < 8:
        raise RecordError(f"a result of {len(payload)} bytes has no header")
    count, status = struct.unpack_from("<II", payload)
    if status or count != len(ops):
        raise RecordError(f"result has status {status} and {count} records for {len(ops)} ops")
    offset, answers = 8, []
    for index, op in enumerate(ops):
        raw, offset = _take(payload, offset, index)
        if raw.op != op.number:
            raise RecordError(f"record {index} answers op {raw.op:#x}, asked was {op.number:#x}")
        answers.append(_answer(raw, op))
    if offset != len(payload):
        raise RecordError(f"{len(payload) - offset} bytes follow the last record")
    return tuple(answers)
