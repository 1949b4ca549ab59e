# SPDX-License-Identifier: BSD-2-Clause
"""HELLO: what the test kernel says about itself, its machine and the ABI it found.

The payload is a row of items ``u8 type (1: u64, 2: bytes), u8 name length, u16 0, u32 value length``,
the name padded to 8 bytes, the value padded to 8 bytes. docs/test-kernel.md lists the names.
"""

from __future__ import annotations

import struct
from collections.abc import Mapping
from dataclasses import dataclass
from types import MappingProxyType

from abidance.errors import RecordError

__all__ = ["Hello", "decode_hello"]

_HEAD = struct.Struct("<BBHI")
_NUMBER, _BYTES = 1, 2
PROTOCOL = 1


@dataclass(frozen=True)
class Hello:
    """Typed access by name; a name or type that is not there raises RecordError."""

    items: Mapping[str, int | bytes]

    def __contains__(self, name: object) -> bool:
        return name in self.items

    def number(self, name: str, default: int | None = None) -> int:
        """The number called ``name``. Raises RecordError if there is none and no default."""
        value = self.items.get(name, default)
        if not isinstance(value, int):
            raise RecordError(f"HELLO has no number {name!r}")
        return value

    def blob(self, name: str) -> bytes:
        """The bytes called ``name``. Raises RecordError if there are none."""
        value = self.items.get(name)
        if not isinstance(value, bytes):
            raise RecordError(f"HELLO has no bytes {name!r}")
        return value

    def text(self, name: str) -> str:
        """The printable ASCII text called ``name``. Raises RecordError if there is none."""
        data = self.blob(name)
        if any(not 0x20 <= byte < 0x7F for byte in data):
            raise RecordError(f"HELLO's {name!r} is not printable text")
        return data.decode("ascii")

    @property
    def registers(self) -> tuple[str, ...]:
        """The register table: names in the order of the State's values."""
        return tuple(self.text(f"register.{index}") for index in range(self.number("registers")))

    @property
    def fragments(self) -> Mapping[str, int]:
        """Linear address of each code fragment, by its name without ``fragment.``."""
        prefix = "fragment."
        return MappingProxyType({name.removeprefix(prefix): value for name, value in self.items.items()
                                 if name.startswith(prefix) and isinstance(value, int)})


def decode_hello(payload: bytes) -> Hello:
    """Checked contents of a HELLO payload. Raises RecordError, and only that, on impossible bytes."""
    items: dict[str, int | bytes] = {}
    offset = 0
    while offset < len(payload):
        if len(payload) - offset < _HEAD.size:
            raise RecordError("HELLO is cut off in an item's head")
        kind, name_length, zero, length = _HEAD.unpack_from(payload, offset)
        start = offset + _HEAD.size
        value = start + name_length + -name_length % 8
        offset = value + length + -length % 8
        if offset > len(payload):
            raise RecordError("HELLO is cut off in an item")
        padding = payload[start + name_length:value] + payload[value + length:offset]
        raw = bytes(payload[start:start + name_length])
        if zero or any(padding) or not raw or any(not 0x21 <= byte < 0x7F for byte in raw):
            raise RecordError("HELLO has an item with an impossible name or padding")
        name = raw.decode("ascii")
        if name in items or kind not in (_NUMBER, _BYTES) or (kind == _NUMBER and length != 8):
            raise RecordError(f"HELLO's item {name!r} is repeated or of an impossible type")
        data = bytes(payload[value:value + length])
        items[name] = int.from_bytes(data, "little") if kind == _NUMBER else data
    hello = Hello(MappingProxyType(items))
    if hello.number("protocol") != PROTOCOL or not 0 < hello.number("registers") <= 40:
        raise RecordError(f"HELLO speaks protocol {hello.number('protocol')}, expected {PROTOCOL}")
    _ = hello.registers
    return hello
