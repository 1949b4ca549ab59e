# SPDX-License-Identifier: BSD-2-Clause
"""The ABIs this package knows: one folder each, found by looking, listed nowhere.

A folder is an ABI if it has `spec/abi.yaml`. By convention it holds

    spec/         the specification
    guest.py      GUEST, the Guest class its cases use
    targets.py    IMPLEMENTATIONS
    cases/        modules of cases
    mutants/      modules of mutants
"""

from __future__ import annotations

import importlib
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING

from abidance.errors import UsageError

if TYPE_CHECKING:
    from abidance.spec import Specification
    from abidance.suite.guest import Guest
    from abidance.suite.load import Suite
    from abidance.suite.mutant import Mutant
    from abidance.suite.target import Implementation, Target

__all__ = ["Abi", "abi_names", "find_abi"]

HERE = Path(__file__).resolve().parent


@dataclass(frozen=True)
class Abi:
    """One ABI folder. Everything is loaded when it is first asked for."""

    name: str

    @property
    def directory(self) -> Path:
        """The folder."""
        return HERE / self.name

    @property
    def package(self) -> str:
        """Its name as a package."""
        return f"{__name__}.{self.name}"

    @cached_property
    def spec(self) -> Specification:
        """The specification. Raises SpecError."""
        from abidance.spec import load
        return load(self.directory / "spec")

    @cached_property
    def suite(self) -> Suite:
        """The cases, matched with the specification. Raises InputError."""
        from abidance.suite.load import load_suite
        return load_suite(f"{self.package}.cases", self.spec)

    @cached_property
    def mutants(self) -> tuple[Mutant, ...]:
        """The mutants. Raises InputError."""
        from abidance.suite.load import load_mutants
        return load_mutants(f"{self.package}.mutants")

    @property
    def guest(self) -> type[Guest]:
        """The Guest class of its cases."""
        made: type[Guest] = importlib.import_module(f"{self.package}.guest").GUEST
        return made

    @property
    def implementations(self) -> tuple[Implementation, ...]:
        """What can be checked."""
        made: tuple[Implementation, ...] = importlib.import_module(f"{self.package}.targets").IMPLEMENTATIONS
        return made

    def target(self, text: str) -> Target:
        """The target a user means. Raises UsageError."""
        from abidance.suite.target import parse_target
        return parse_target(text, self.implementations)

    def mutant(self, name: str) -> Mutant:
        """The mutant with this name. Raises UsageError."""
        for made in self.mutants:
            if made.name == name:
                return made
        raise UsageError(f"no mutant {name!r} of {self.name}")


def abi_names() -> tuple[str, ...]:
    """The names of all ABI folders, sorted."""
    return tuple(sorted(found.parent.parent.name for found in HERE.glob("*/spec/abi.yaml")))


def find_abi(name: str) -> Abi:
    """The ABI called `name`. Raises UsageError that lists what there is."""
    if name not in abi_names():
        raise UsageError(f"no ABI {name!r}; there are {', '.join(abi_names())}")
    return Abi(name)
