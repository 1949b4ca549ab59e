# SPDX-License-Identifier: BSD-2-Clause
"""One running QEMU: its process, its monitor, its mailbox.

`reset` is a `loadvm` of the snapshot that was taken just after HELLO; it restores CPU, devices and
RAM, the mailbox included. A guest that dies leaves the machine halted (-no-reboot -no-shutdown), so
that it can be told why, and revived.

Nothing is left behind on any path: RAM and snapshot are anonymous memory, the monitor is a socket
pair, the working directory is empty and already deleted (a file bios.bin there would replace
SeaBIOS), and the process dies with us. An idle guest spins on the mailbox; after `IDLE` seconds the
machine is stopped until the next exchange.
"""

from __future__ import annotations

import contextlib
import mmap
import os
import re
import socket
import subprocess
import tempfile
import threading
import time
from collections.abc import Callable, Iterator

from abidance.errors import GuestCrashed, GuestTimeout, SessionLost, UsageError
from abidance.kernel.hello import Hello
from abidance.platform import child, mailbox, qcow2
from abidance.platform.base import MIB
from abidance.platform.link import Link
from abidance.platform.qmp import Monitor

__all__ = ["IDLE", "QemuSession"]

IDLE = 0.05
EXCHANGE_DEADLINE = 10.0
_SPIN = 100e-6
_NAP, _LONGEST_NAP = 50e-6, 1e-3
_HANG_UP = 2.0
_SNAPSHOT = "hello"
_REGISTERS = re.compile(r"\b(EIP|ESP|CR0|CR2|CR3)=([0-9a-f]{8})")


class QemuSession:
    """A booted machine. Not for several threads at once."""

    def __init__(self, arguments: Callable[[str, str], list[str]], memory: int, *, patient: bool) -> None:
        self._arguments, self._memory, self._patient = arguments, memory, patient
        self._link = Link()
        self._hello: Hello | None = None
        self._resources = contextlib.ExitStack()
        self._busy = threading.RLock()
        self._stopped = self._crashed = self._closed = False
        self._touched = time.monotonic()
        self._finished = threading.Event()

    @property
    def hello(self) -> Hello:
        """What the kernel announced."""
        if self._hello is None:
            raise UsageError("the session has not been started")
        return self._hello

    @property
    def pid(self) -> int:
        """Process id of QEMU."""
        return self._process.pid

    @property
    def resting(self) -> bool:
        """Whether the machine is stopped because nobody has wanted anything of it."""
        return self._stopped

    def start(self, deadline: float) -> None:
        """Start QEMU, wait for HELLO, take the snapshot."""
        until = time.monotonic() + deadline
        self._spawn()
        try:
            self._monitor.connect(deadline=deadline)
        except SessionLost:
            with contextlib.suppress(subprocess.TimeoutExpired):
                self._process.wait(_HANG_UP)
            self._check()
            raise
        if self._patient:
            until = float("inf")
        self._await(self._mailbox.greeted, until, "HELLO")
        self._hello = self._link.hello(self._mailbox.take())
        self._order(f"savevm {_SNAPSHOT}")
        if not self._patient:
            watch = threading.Thread(target=self._rest, name="abidance-qemu-idle", daemon=True)
            watch.start()
            self._resources.callback(watch.join)
            self._resources.callback(self._finished.set)

    def _spawn(self) -> None:
        """Everything that close() undoes, in order; the process goes first."""
        keep = self._resources
        ours, theirs = socket.socketpair()
        keep.callback(theirs.close)
        ram, image = os.memfd_create("abidance-ram"), os.memfd_create("abidance-snapshot")
        keep.callback(os.close, image)
        keep.callback(os.close, ram)
        os.truncate(ram, self._memory)
        os.pwrite(image, qcow2.empty_image(), 0)
        memory = keep.enter_context(mmap.mmap(ram, self._memory))
        self._ram = keep.enter_context(memoryview(memory))
        self._mailbox = mailbox.Mailbox(self._ram)
        keep.callback(self._mailbox.close)
        self._errors = keep.enter_context(tempfile.TemporaryFile())  # noqa: SIM115 (close() closes it)
        self._monitor = Monitor(ours)
        keep.callback(self._monitor.close)
        fds = (ram, image, theirs.fileno())
        command = self._command(*fds)
        bounds = child.limits(memory=2048 * MIB + self._memory, file=256 * MIB + self._memory)
        try:
            self._process = child.spawn(bounds + command, fds=fds, errors=self._errors)
        except OSError as error:
            raise SessionLost(f"cannot start {command[0]}: {error}") from error
        keep.callback(child.end, self._process)
        theirs.close()

    def _command(self, ram: int, image: int, monitor: int) -> list[str]:
        """The whole command line, with the file descriptors that QEMU inherits."""
        return [
            *self._arguments(f"/dev/fd/{ram}", mailbox.command_line(self._link.nonce, None)),
            "-drive", f"if=none,id=snapshot,format=qcow2,file=/dev/fd/{image},file.locking=off",
            "-chardev", f"socket,id=monitor,fd={monitor}", "-mon", "chardev=monitor,mode=control",
        ]

    def exchange(self, batch: bytes, *, deadline: float | None = None) -> bytes:
        """Send a batch, wait at most `deadline` seconds (default 10) for its result."""
        with self._active():
            if self._crashed:
                raise GuestCrashed("the guest has crashed and has not been reset")
            frame = self._link.next(batch)
            seq = self._link.seq
            self._mailbox.post(seq, frame)
            seconds = float("inf") if self._patient else EXCHANGE_DEADLINE if deadline is None else deadline
            self._await(lambda: self._mailbox.answered(seq), time.monotonic() + seconds, f"answer {seq}")
            return self._link.answer(self._mailbox.take())

    def control(self, command: str, **values: int) -> int:
        """QEMU offers nothing here. Raises UsageError."""
        raise UsageError(f"the platform qemu cannot {command!r} ({len(values)} values given)")

    def reset(self) -> None:
        """Restore the snapshot taken just after HELLO. Raises SessionLost."""
        with self._active(wake=False):
            dead = self._crashed or self._monitor.shutdown is not None
            if dead:
                self._revive()
            self._order(f"loadvm {_SNAPSHOT}")
            if dead:
                self._monitor.execute("set-action", reboot="shutdown")
                self._stopped, self._crashed = True, False

    def close(self) -> None:
        """Kill QEMU and give everything back."""
        self._closed = True
        self._resources.close()

    def _order(self, command: str) -> None:
        """A command of the human monitor that says nothing when it succeeds."""
        complaint = self._monitor.human(command).strip()
        if complaint:
            raise SessionLost(f"QEMU refused {command!r}: {complaint}")

    def _revive(self) -> None:
        """Lead a machine that has shut down back to a state in which loadvm and cont are allowed."""
        self._monitor.execute("set-action", reboot="reset")
        self._monitor.execute("system_reset")
        until = time.monotonic() + 10
        while "prelaunch" not in str(self._monitor.execute("query-status")):
            if time.monotonic() > until:
                raise SessionLost("QEMU did not carry out a system_reset")
            time.sleep(_LONGEST_NAP)
        self._monitor.shutdown = None

    def _await(self, ready: Callable[[], bool], until: float, what: str) -> None:
        """Spin briefly, then look ever less often; every sign of death ends the wait."""
        spun = time.monotonic() + _SPIN
        nap = _NAP
        while not ready():
            now = time.monotonic()
            if now < spun:
                continue
            self._check()
            if now > until:
                where = self._mailbox.position()
                raise GuestTimeout(f"no {what} before the deadline; the kernel was {where}")
            time.sleep(nap)
            nap = min(nap * 2, _LONGEST_NAP)

    def _check(self) -> None:
        """Raise what has become of guest or process, if anything has."""
        status = self._process.poll()
        if status is not None:
            self._errors.seek(0)
            words = self._errors.read(2000).decode(errors="replace").strip()
            raise SessionLost(f"QEMU ended with status {status}" + (f": {words}" if words else ""))
        if self._monitor.shutdown is not None:
            self._crashed = True
            registers = _REGISTERS.findall(self._monitor.human("info registers"))
            where = " ".join(f"{name}={value}" for name, value in registers)
            raise GuestCrashed(f"the guest died ({self._monitor.shutdown}: triple fault or reset request); "
                               f"the kernel was {self._mailbox.position()}; {where}")

    @contextlib.contextmanager
    def _active(self, *, wake: bool = True) -> Iterator[None]:
        """Keep the idle watch away; by default with the machine running."""
        if self._closed:
            raise SessionLost("the session has been closed")
        with self._busy:
            if wake and self._stopped and self._monitor.shutdown is None:
                self._monitor.execute("cont")
                self._stopped = False
            try:
                yield
            finally:
                self._touched = time.monotonic()

    def _rest(self) -> None:
        """Stop the machine whenever nobody has wanted anything of it for a while."""
        while not self._finished.wait(IDLE / 2):
            if self._stopped or not self._busy.acquire(blocking=False):
                continue
            try:
                if time.monotonic() >= self._touched + IDLE:
                    self._monitor.execute("stop")
                    self._stopped = True
            except SessionLost:
                return  # whoever wants the next exchange will be told
            finally:
                self._busy.release()
