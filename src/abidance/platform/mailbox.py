# SPDX-License-Identifier: BSD-2-Clause
"""The mailbox: where host and test kernel leave each other frames in shared RAM.

    +0h      u32 magic             +10h  u32 stage (see `STAGES`)
    +4h      u32 version           +14h  u32 1 once HELLO is there
    +8h      u32 host sequence     +18h  u32 progress: index of the op being carried out
    +Ch      u32 kernel sequence          +1Ch  u32 x 5: what a panicking kernel met:
                                                vector, error code, EIP, CR2, ESP
    +1000h   frame host -> kernel, at most 3F000h bytes
    +40000h  frame kernel -> host, at most C0000h bytes

Each side raises its own sequence number after its frame is in place. The guest may change
anything in here at any time: a frame is copied out once and checked as a copy.
"""

from __future__ import annotations

from abidance.errors import UsageError
from abidance.kernel import frames

__all__ = ["BASE", "FROM_HOST_SIZE", "FROM_KERNEL_SIZE", "SIZE", "STAGES", "Mailbox", "command_line"]

BASE = 0x400000
SIZE = 0x100000
_HOST_SEQ, _KERNEL_SEQ, _STAGE, _HELLO, _PROGRESS, _PANIC = 2, 3, 4, 5, 6, 7
_PANICKED = 0xEE
_FROM_HOST, FROM_HOST_SIZE = 0x1000, 0x3F000
_FROM_KERNEL, FROM_KERNEL_SIZE = 0x40000, 0xC0000
STAGES = ("not entered", "entered", "turning paging on", "scanning for ROMs", "calling the ABI's Init",
          "Init returned", "asking for relocations", "HELLO sent")


def command_line(nonce: int, doorbell: int | None) -> str:
    """The kernel's command line: where the mailbox is, whom HELLO answers, where to ring."""
    bell = "" if doorbell is None else f" doorbell={doorbell:#x}"
    return f"mailbox={BASE:#x} nonce={nonce:#x}{bell}"


class Mailbox:
    """One mailbox in guest RAM; `ram` is guest-physical memory from 0."""

    def __init__(self, ram: memoryview) -> None:
        if len(ram) < BASE + SIZE:
            raise UsageError(f"{len(ram) >> 20} MiB of guest RAM do not reach beyond the mailbox")
        self._bytes = ram[BASE:BASE + SIZE]
        self._words = self._bytes[:48].cast("I")

    def close(self) -> None:
        """Let go of the RAM."""
        self._words.release()
        self._bytes.release()

    def post(self, seq: int, frame: bytes) -> None:
        """Put a frame in place, then raise the host sequence number. UsageError if it is too long."""
        if len(frame) > FROM_HOST_SIZE:
            raise UsageError(f"a frame of {len(frame)} bytes does not fit into the mailbox")
        self._bytes[_FROM_HOST:_FROM_HOST + len(frame)] = frame
        self._words[_HOST_SEQ] = seq

    def answered(self, seq: int) -> bool:
        """Whether the kernel says that it has completed the frame `seq`."""
        return self._words[_KERNEL_SEQ] == seq

    def greeted(self) -> bool:
        """Whether HELLO is in place."""
        return self._words[_HELLO] == 1

    def take(self) -> bytes:
        """A copy of the kernel's frame, cut to the length it announces. Raises FrameError."""
        area = self._bytes[_FROM_KERNEL:_FROM_KERNEL + FROM_KERNEL_SIZE]
        length = frames.frame_length(bytes(area[:frames.HEADER_SIZE]), limit=FROM_KERNEL_SIZE)
        return bytes(area[:length])

    def position(self) -> str:
        """Where the kernel says that it is, for messages."""
        stage = self._words[_STAGE]
        if stage < len(STAGES) - 1:
            return STAGES[stage]
        if stage == len(STAGES) - 1:
            return f"at op {self._words[_PROGRESS]}"
        if stage == _PANICKED:
            words = self._words[_PANIC:_PANIC + 5].tolist()
            return "in panic: vector {}, error {:#x}, eip {:#x}, cr2 {:#x}, esp {:#x}".format(*words)
        return f"at the unknown stage {stage}"
