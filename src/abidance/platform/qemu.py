# SPDX-License-Identifier: BSD-2-Clause
"""The platform "qemu": qemu-system-i386 with its code translator, an independent PC.

SeaBIOS loads the option ROMs as on a real PC, QEMU's Multiboot loader the test kernel. The guest's
RAM is memory shared with us, in which the mailbox lies. QEMU runs sandboxed, without network,
display or default devices; interrupt controllers, timer, real-time clock and local APIC are there.
What happens to the process is in `abidance.platform.qemu_session`.
"""

from __future__ import annotations

import functools
import shutil
import subprocess
from dataclasses import dataclass

from abidance.errors import UnavailableError, UsageError
from abidance.platform import mailbox
from abidance.platform.base import MIB, Capabilities, Isolation, Machine
from abidance.platform.qemu_session import QemuSession

__all__ = ["Qemu"]

PROGRAM = "qemu-system-i386"
REMEDY = "apt-get install qemu-system-x86"
WORDS = "QEMU emulator version "
VERSION_SECONDS = 15.0
_CAPABILITIES = Capabilities(
    isolation=Isolation.SNAPSHOT, shared_memory=True, facts=(("limits", "unenforced"),))
_RAM_HERE, _NONCE_HERE = "/dev/shm/abidance-ram", 1


def _quoted(path: object) -> str:
    """A file name inside a QEMU option, where a comma ends a value unless it is doubled."""
    return str(path).replace(",", ",,")


@dataclass(frozen=True)
class Qemu:
    """The platform. `gdb`: a port on 127.0.0.1 at which gdb may take the guest from its first
    instruction; the machine then waits for gdb, and deadlines do not count."""

    gdb: int | None = None
    program: str = PROGRAM
    name: str = "qemu"
    capabilities: Capabilities = _CAPABILITIES

    def available(self) -> str | None:
        """None if QEMU is installed, else the command that installs it."""
        return None if shutil.which(self.program) else REMEDY

    def version(self) -> str:
        """QEMU's own words, "QEMU emulator version 7.2.22 (…)". Raises UnavailableError if the program
        does not run, does not answer within VERSION_SECONDS, or is something else."""
        words, problem = _version(self.program)
        if problem:
            raise UnavailableError(f"{self.program} {problem}", remedy=REMEDY)
        return words

    def boot(self, machine: Machine, *, deadline: float) -> QemuSession:
        """Boot and wait for HELLO. Raises UnavailableError, UsageError, SessionError, FrameError."""
        if self.available() is not None:
            raise UnavailableError(f"{self.program} is not installed", remedy=REMEDY)
        session = QemuSession(functools.partial(self._arguments, machine), machine.memory,
                              patient=self.gdb is not None)
        try:
            session.start(deadline)
        except BaseException:
            session.close()
            raise
        return session

    def command(self, machine: Machine) -> list[str]:
        """The same machine for a person: no monitor, no snapshot, RAM in a file in /dev/shm."""
        return self._arguments(machine, _RAM_HERE, mailbox.command_line(_NONCE_HERE, None))

    def _arguments(self, machine: Machine, ram: str, cmdline: str) -> list[str]:
        if machine.role("disk"):
            raise UsageError("the platform qemu does not attach disks")
        if machine.cpus > self.capabilities.cpus:
            raise UsageError(f"the platform qemu runs {self.capabilities.cpus} CPU, not {machine.cpus}")
        if machine.memory % MIB:
            raise UsageError(f"memory must be whole MiB, not {machine.memory} bytes")
        words = [
            self.program, "-nodefaults", "-no-user-config", "-display", "none",
            "-machine", "pc,memory-backend=ram,acpi=off,hpet=off,smm=off,vmport=off,usb=off",
            "-accel", "tcg,thread=single,tb-size=16", "-cpu", "qemu32", "-m", str(machine.memory // MIB),
            "-object", f"memory-backend-file,id=ram,size={machine.memory},mem-path={_quoted(ram)},share=on",
            "-kernel", str(machine.kernel().path.resolve()), "-append", cmdline,
            "-no-reboot", "-no-shutdown",
            "-sandbox", "on,obsolete=deny,elevateprivileges=deny,spawn=deny,resourcecontrol=deny",
        ]
        for artifact in machine.role("option-rom"):
            words += ["-option-rom", _quoted(artifact.path.resolve())]
        for artifact in machine.role("firmware"):
            words += ["-bios", str(artifact.path.resolve())]
        if self.gdb is not None:
            words += ["-gdb", f"tcp:127.0.0.1:{self.gdb},server=on,wait=off", "-S"]
        return words


@functools.cache
def _version(program: str) -> tuple[str, str]:
    """The first line of what the program says of itself, or what is wrong with it: asked once."""
    try:
        done = subprocess.run([program, "--version"], stdin=subprocess.DEVNULL, capture_output=True,
                              timeout=VERSION_SECONDS, check=False)
    except subprocess.TimeoutExpired:
        return "", f"--version gave no answer in {VERSION_SECONDS:.0f} s"
    except OSError as error:
        return "", f"does not run: {error.strerror}"
    if done.returncode:
        return "", f"does not run: --version ended with status {done.returncode}"
    words = done.stdout.partition(b"\n")[0].decode("ascii", "replace").strip()
    return (words, "") if words.startswith(WORDS) else ("", "is not QEMU: it does not say its version")
