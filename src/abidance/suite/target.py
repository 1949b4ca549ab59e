# SPDX-License-Identifier: BSD-2-Clause
"""Implementations and targets: what is checked, and on what it runs.

An `Implementation` says how to build a `Machine` for a platform, with or without a mutant; a
`Target` is an implementation on a platform, written `native@qemu` (or `native`, for the
implementation's default platform).
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

from abidance.errors import UsageError
from abidance.platform import Machine
from abidance.suite.mutant import Mutant

__all__ = ["Implementation", "Target", "parse_target"]

MachineMaker = Callable[[str, Mutant | None], Machine]


@dataclass(frozen=True)
class Implementation:
    """Something that provides an ABI. `platforms` are names, the first is the default; `make`
    takes the platform's name and a mutant or None, and may raise UnavailableError (not built) or
    UsageError (no such mutant here)."""

    name: str
    abi: str
    summary: str
    profile: Path
    platforms: tuple[str, ...]
    make: MachineMaker

    def machine(self, platform: str, mutant: Mutant | None = None) -> Machine:
        """The machine that runs this implementation on a platform."""
        if platform not in self.platforms:
            known = ", ".join(self.platforms)
            raise UsageError(f"{self.name} does not run on {platform!r}; it runs on {known}")
        if mutant is not None and mutant.on != self.name:
            raise UsageError(f"the mutant {mutant.name} is one of {mutant.on}, not of {self.name}")
        return self.make(platform, mutant)


@dataclass(frozen=True)
class Target:
    """An implementation on a platform."""

    implementation: Implementation
    platform: str

    @property
    def name(self) -> str:
        """Short form: without the platform where it is the default."""
        default = self.platform == self.implementation.platforms[0]
        return self.implementation.name if default else self.full_name

    @property
    def full_name(self) -> str:
        """implementation@platform."""
        return f"{self.implementation.name}@{self.platform}"


def parse_target(text: str, implementations: Sequence[Implementation]) -> Target:
    """The target a user means by `native` or `native@qemu`. Raises UsageError."""
    name, at, platform = text.partition("@")
    known = {made.name: made for made in implementations}
    if name not in known:
        raise UsageError(f"no implementation {name!r}; there are {', '.join(known)}")
    made = known[name]
    if at and platform not in made.platforms:
        raise UsageError(f"{name} does not run on {platform!r}; it runs on {', '.join(made.platforms)}")
    return Target(made, platform or made.platforms[0])
