# SPDX-License-Identifier: BSD-2-Clause
"""Frames: one message between host and test kernel, told apart from every damaged or foreign one.

    offset 0   u32 magic 0x44494241 ("ABID")     offset 12  u32 sequence number
    offset 4   u16 version, 1                    offset 16  u64 nonce of the session
    offset 6   u16 kind                          offset 24  payload
    offset 8   u32 payload length                then       u32 CRC-32 (zlib's) of all before it

Little endian. A frame is accepted only if every field is the expected one and nothing follows it, so
that a lost, repeated, damaged or foreign answer is never taken for an answer. docs/test-kernel.md.
"""

from __future__ import annotations

import struct
import zlib
from enum import IntEnum

from abidance.errors import FrameError

__all__ = ["FRAME_OVERHEAD", "HEADER_SIZE", "MAGIC", "VERSION", "Kind", "decode", "encode", "frame_length"]

MAGIC = 0x44494241
VERSION = 1
_HEADER = struct.Struct("<IHHIIQ")
HEADER_SIZE = _HEADER.size
FRAME_OVERHEAD = HEADER_SIZE + 4


class Kind(IntEnum):
    """What a frame carries."""

    HELLO = 1
    BATCH = 2
    RESULT = 3


def encode(kind: Kind, seq: int, nonce: int, payload: bytes) -> bytes:
    """The frame that carries ``payload``; ``seq`` is u32, ``nonce`` u64."""
    body = _HEADER.pack(MAGIC, VERSION, kind, len(payload), seq, nonce) + payload
    return body + struct.pack("<I", zlib.crc32(body))


def frame_length(header: bytes, *, limit: int) -> int:
    """Length in bytes of the frame that begins with ``header``, at most ``limit``. Raises FrameError."""
    if len(header) < HEADER_SIZE:
        raise FrameError(f"frame cut off in its header: {len(header)} of {HEADER_SIZE} bytes")
    magic, version, _, length, _, _ = _HEADER.unpack_from(header)
    if magic != MAGIC or version != VERSION:
        raise FrameError(f"not a frame: magic {magic:#010x}, version {version}")
    if length > limit - FRAME_OVERHEAD:
        raise FrameError(f"frame announces {length} payload bytes, more than fit into {limit}")
    return FRAME_OVERHEAD + int(length)


def decode(data: bytes, *, kind: Kind, seq: int, nonce: int) -> bytes:
    """Payload of the one frame that ``data`` is. Raises FrameError unless every byte is as expected."""
    total = frame_length(data[:HEADER_SIZE], limit=max(len(data), FRAME_OVERHEAD))
    if len(data) != total:
        raise FrameError(f"frame of {total} bytes arrived as {len(data)} bytes")
    (crc,) = struct.unpack_from("<I", data, total - 4)
    if zlib.crc32(data[:total - 4]) != crc:
        raise FrameError("frame damaged: CRC-32 differs")
    _, _, seen_kind, _, seen_seq, seen_nonce = _HEADER.unpack_from(data)
    for what, seen, expected in (("kind", seen_kind, kind), ("sequence number", seen_seq, seq),
                                 ("nonce", seen_nonce, nonce)):
        if seen != expected:
            raise FrameError(f"frame has {what} {seen:#x}, expected {int(expected):#x}")
    return bytes(data[HEADER_SIZE:total - 4])
