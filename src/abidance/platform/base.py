# SPDX-License-Identifier: BSD-2-Clause
"""What executes guest code, seen from the outside: machines, platforms, sessions.

A `Machine` describes what to boot, a `Platform` boots it, and the `Session` that comes back
exchanges batches with the test kernel until it is closed. No platform knows any ABI: option
ROMs, models and command lines arrive as data.

Every wait has a deadline, and what goes wrong is one of the classes in `abidance.errors`:

    GuestCrashed   the guest (or the model that plays its hypervisor) died; reset() may revive it
    GuestTimeout   the guest's budget ran out; reset() may revive it
    SessionLost    what executes the guest is gone; boot again
    FrameError     an answer came and is not to be trusted
"""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from enum import Enum
from pathlib import Path
from typing import TYPE_CHECKING, Protocol

from abidance.errors import UsageError

if TYPE_CHECKING:
    from abidance.kernel.hello import Hello

__all__ = ["MIB", "ROLES", "Artifact", "Capabilities", "Isolation", "Machine", "Platform", "Session"]

MIB = 1 << 20
ROLES = ("kernel", "option-rom", "firmware", "disk")


@dataclass(frozen=True)
class Artifact:
    """A file the machine is made of; `role` is one of `ROLES`, `digest` the SHA-256 in hex."""

    role: str
    path: Path
    digest: str = ""

    def __post_init__(self) -> None:
        if self.role not in ROLES:
            raise UsageError(f"no artifact role {self.role!r}; the roles are {', '.join(ROLES)}")

    @classmethod
    def of(cls, role: str, path: Path) -> Artifact:
        """The artifact at `path` with its digest; UsageError if the file cannot be read."""
        try:
            digest = hashlib.sha256(path.read_bytes()).hexdigest()
        except OSError as error:
            raise UsageError(f"cannot read the {role} {path}: {error.strerror}") from error
        return cls(role, path, digest)


@dataclass(frozen=True)
class Machine:
    """What to boot. `memory` in bytes; `model` ("package.module:factory") and `options` (handed
    to the factory as they stand) mean something on embedded platforms only."""

    artifacts: tuple[Artifact, ...]
    cpus: int = 1
    memory: int = 16 * MIB
    model: str | None = None
    options: tuple[tuple[str, str], ...] = ()

    def role(self, role: str) -> tuple[Artifact, ...]:
        """The artifacts with this role, in order."""
        return tuple(artifact for artifact in self.artifacts if artifact.role == role)

    def kernel(self) -> Artifact:
        """The one kernel; UsageError if there is none or more than one."""
        kernels = self.role("kernel")
        if len(kernels) != 1:
            raise UsageError(f"a machine needs exactly one kernel, this one has {len(kernels)}")
        return kernels[0]

    def option(self, name: str, default: str = "") -> str:
        """The value of the last option called `name`."""
        return dict(self.options).get(name, default)


class Isolation(Enum):
    """How `Session.reset` returns the machine to the state just after HELLO."""

    SNAPSHOT = "snapshot"
    REBOOT = "reboot"
    NONE = "none"


@dataclass(frozen=True)
class Capabilities:
    """What a platform can do. `facts` are the profile facts that the platform, and not the
    implementation, decides: ("limits", "unenforced")."""

    isolation: Isolation
    cpus: int = 1
    shared_memory: bool = False
    deterministic: bool = False
    injection: bool = False
    facts: tuple[tuple[str, str | int | bool], ...] = ()

    def has(self, name: str) -> bool:
        """Whether a case that `needs` this capability can run: injection, deterministic,
        shared_memory, isolation, smp."""
        table = {
            "injection": self.injection,
            "deterministic": self.deterministic,
            "shared_memory": self.shared_memory,
            "isolation": self.isolation is not Isolation.NONE,
            "smp": self.cpus > 1,
        }
        if name not in table:
            raise UsageError(f"no platform capability {name!r}; known are {', '.join(table)}")
        return table[name]


class Session(Protocol):
    """A booted machine whose test kernel has said HELLO."""

    @property
    def hello(self) -> Hello:
        """What the kernel announced, as decoded from its frame."""

    def exchange(self, batch: bytes, *, deadline: float | None = None) -> bytes:
        """Send a BATCH payload, return the RESULT payload; framing, sequence number and nonce are
        done inside. `deadline` in seconds, None for the platform's own; an embedded platform
        turns it into a number of guest instructions, so that its timeouts are deterministic.
        Raises GuestCrashed, GuestTimeout, SessionLost, FrameError."""

    def control(self, command: str, **values: int) -> int:
        """Ask something of the platform itself. With the `injection` capability:
        "inject" (irq, after): raise the line `irq` as an edge after exactly `after` guest
        instructions, counted from the first instruction of the target of the next op that the kernel
        marks (see `abidance.kernel.Key.MARKER`); "count": guest instructions executed since the last
        such target was reached. UsageError if the platform cannot."""

    def reset(self) -> None:
        """Back to the state just after HELLO. Raises SessionLost."""

    def close(self) -> None:
        """End everything the session started and remove everything it made; may be repeated."""


class Platform(Protocol):
    """Something that boots machines."""

    @property
    def name(self) -> str:
        """The name in targets: "unicorn" in reference@unicorn."""

    @property
    def capabilities(self) -> Capabilities:
        """What it can do."""

    def available(self) -> str | None:
        """None if it can be used here, else the command that installs what is missing."""

    def version(self) -> str:
        """The engine and its version, for reports."""

    def boot(self, machine: Machine, *, deadline: float) -> Session:
        """Boot and wait for HELLO, at most `deadline` seconds. Raises UnavailableError, UsageError
        and what `Session.exchange` raises."""

    def command(self, machine: Machine) -> list[str]:
        """The command line a person could run, with placeholders for what boot() makes up."""
