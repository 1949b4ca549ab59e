# SPDX-License-Identifier: BSD-2-Clause
"""What the embedded platform and its worker process say to each other.

Over one stream socket: u32 length (little endian), then a MessagePack map that msgspec tells apart
by its "type". One request, one reply.
"""

from __future__ import annotations

import socket
import struct
from typing import TypeVar

import msgspec

from abidance.errors import SessionLost

__all__ = [
    "Answered", "Boot", "Control", "Crashed", "Done", "Exchange", "Expired", "Failed", "Refused", "Reply",
    "Request", "Reset", "Value", "receive", "send",
]

_LENGTH = struct.Struct("<I")
_LIMIT = 4 << 20
T = TypeVar("T")


class _Message(msgspec.Struct, frozen=True, tag=True):
    pass


class Boot(_Message, frozen=True):
    """Make the model (`factory` is "package.module:name") and run it until HELLO. `artifacts` are
    (role, absolute path, digest)."""

    factory: str
    artifacts: tuple[tuple[str, str, str], ...]
    cpus: int
    memory: int
    options: tuple[tuple[str, str], ...]
    budget: int


class Exchange(_Message, frozen=True):
    """Post a frame and run at most `budget` instructions until its answer."""

    seq: int
    frame: bytes
    budget: int


class Control(_Message, frozen=True):
    """Hand a command to the model."""

    command: str
    values: dict[str, int]


class Reset(_Message, frozen=True):
    """Restore the snapshot taken just after HELLO."""


class Answered(_Message, frozen=True):
    """The kernel's frame, unchecked."""

    frame: bytes


class Value(_Message, frozen=True):
    """What the model answered to a Control."""

    value: int


class Done(_Message, frozen=True):
    """The reset is done."""


class Crashed(_Message, frozen=True):
    """The guest died."""

    detail: str


class Expired(_Message, frozen=True):
    """The budget ran out first."""

    detail: str


class Failed(_Message, frozen=True):
    """The model raised an exception; `detail` says which and where."""

    detail: str


class Refused(_Message, frozen=True):
    """What was asked cannot be done; nothing has happened."""

    detail: str


Request = Boot | Exchange | Control | Reset
Reply = Answered | Value | Done | Crashed | Expired | Failed | Refused


def send(connection: socket.socket, message: Request | Reply) -> None:
    """Send one message. Raises SessionLost."""
    data = msgspec.msgpack.encode(message)
    try:
        connection.sendall(_LENGTH.pack(len(data)) + data)
    except OSError as error:
        raise SessionLost(f"the other side is gone: {error}") from error


def receive(connection: socket.socket, kind: type[T] | object) -> T:
    """Receive one message of the union `kind`. Raises SessionLost, also for a message that is not
    one; TimeoutError if the socket's own timeout runs out."""
    (length,) = _LENGTH.unpack(_exactly(connection, _LENGTH.size))
    if length > _LIMIT:
        raise SessionLost(f"a message of {length} bytes is impossible")
    try:
        message: T = msgspec.msgpack.decode(_exactly(connection, length), type=kind)
    except (msgspec.DecodeError, UnicodeDecodeError) as error:
        raise SessionLost(f"not a message: {error}") from error
    return message


def _exactly(connection: socket.socket, count: int) -> bytes:
    data = bytearray()
    while len(data) < count:
        try:
            part = connection.recv(min(count - len(data), 1 << 18))
        except TimeoutError:
            raise
        except OSError as error:
            raise SessionLost(f"the other side is gone: {error}") from error
        if not part:
            raise SessionLost("the other side is gone")
        data += part
    return bytes(data)
