# SPDX-License-Identifier: BSD-2-Clause
"""Sequence numbers and nonces of a session, the same over every transport.

The nonce is the session's; HELLO carries it with sequence number 0. Every exchange has the next
sequence number, and no reset ever makes one come again, so that an answer left over from before a
reset, or from another session, is never taken for the one expected.
"""

from __future__ import annotations

import secrets

from abidance.errors import FrameError, RecordError, UsageError
from abidance.kernel import frames
from abidance.kernel.hello import Hello, decode_hello
from abidance.kernel.ops import MAX_BATCH

__all__ = ["Link"]


class Link:
    """One session's numbering. `nonce` goes onto the kernel's command line."""

    def __init__(self) -> None:
        self.nonce = secrets.randbits(64)
        self.seq = 0

    def hello(self, frame: bytes) -> Hello:
        """What a HELLO frame says. Raises FrameError, also if its contents are impossible."""
        payload = frames.decode(frame, kind=frames.Kind.HELLO, seq=0, nonce=self.nonce)
        try:
            return decode_hello(payload)
        except RecordError as error:
            raise FrameError(f"HELLO says something impossible: {error}") from error

    def next(self, batch: bytes) -> bytes:
        """The frame that sends `batch`; `seq` moves on with it.
        UsageError, and nothing moved, if it is too long."""
        if len(batch) > MAX_BATCH:
            raise UsageError(f"a batch of {len(batch)} bytes does not fit; at most {MAX_BATCH}")
        self.seq += 1
        return frames.encode(frames.Kind.BATCH, self.seq, self.nonce, batch)

    def answer(self, frame: bytes) -> bytes:
        """The payload of the answer to the last `next`. Raises FrameError for anything else."""
        return frames.decode(frame, kind=frames.Kind.RESULT, seq=self.seq, nonce=self.nonce)
