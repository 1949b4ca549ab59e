# SPDX-License-Identifier: BSD-2-Clause
"""The toy ABI: an `Abi` whose platform is `ToySession`. `install` makes the platform known."""

from __future__ import annotations

import sys
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path

import toy_cases
from toy_kernel import ToySession

from abidance.abi import Abi
from abidance.check import platforms
from abidance.kernel import Hello
from abidance.platform import Artifact, Capabilities, Isolation, Machine
from abidance.spec import Specification, load
from abidance.suite import Guest, Implementation, Mutant
from abidance.suite.load import Suite, build_suite
from abidance.suite.mutant import declared_mutants

HERE = Path(__file__).resolve().parent
CAPABILITIES = Capabilities(Isolation.SNAPSHOT, facts=(("limits", "unenforced"),))


class ToyGuest(Guest):
    """The toy's guest: discovers offers as VMI's does."""

    @classmethod
    def discovered(cls, hello: Hello, spec: Specification) -> frozenset[str]:
        return frozenset(entry.name for entry in spec.entries if f"reloc.{entry.number}" in hello)


@dataclass
class ToyPlatform:
    """Boots toy sessions. `behaviours` are used up one per boot, the last one for ever."""

    name: str = "toybox"
    capabilities: Capabilities = CAPABILITIES
    behaviours: list[str] = field(default_factory=lambda: ["good"])
    offers: tuple[int, ...] = (1, 2)
    boot_error: Exception | None = None
    missing: str | None = None
    booted: list[ToySession] = field(default_factory=list)

    def available(self) -> str | None:
        return self.missing

    def version(self) -> str:
        return "Toybox 1"

    def boot(self, machine: Machine, *, deadline: float) -> ToySession:
        if self.boot_error is not None:
            raise self.boot_error
        behaviour = self.behaviours[min(len(self.booted), len(self.behaviours) - 1)]
        step = 2 if machine.option("mutant") == "Add-adds-two" else 1
        if machine.option("mutant") == "Echo-dies":
            behaviour = "crash"
        session = ToySession(lambda value: value + step, behaviour, self.offers)
        self.booted.append(session)
        return session

    def command(self, machine: Machine) -> list[str]:
        return ["toybox", "--now"]


def _machine(platform: str, mutant: Mutant | None) -> Machine:
    rom = Artifact.of("kernel", HERE / "toy_kernel.py")
    return Machine((rom,), options=(("mutant", mutant.name),) if mutant else ())


class ToyAbi(Abi):
    """An ABI that lies in the tests. `module` holds its cases."""

    def __init__(self, module: str = "toy_cases") -> None:
        super().__init__("toy")
        object.__setattr__(self, "module", module)

    @cached_property
    def spec(self) -> Specification:
        return load(HERE / "toy_spec")

    @cached_property
    def suite(self) -> Suite:
        return build_suite([self.__dict__["module"]], self.spec)

    @cached_property
    def mutants(self) -> tuple[Mutant, ...]:
        return declared_mutants(toy_cases.__name__)

    @property
    def guest(self) -> type[Guest]:
        return ToyGuest

    @property
    def implementations(self) -> tuple[Implementation, ...]:
        return (Implementation("toy", "toy", "a toy", HERE / "toy_profile.yaml", ("toybox",), _machine),)


PLATFORM: list[ToyPlatform] = []


def Current(**_: object) -> ToyPlatform:  # noqa: N802 (stands where a class would)
    """The platform that the test in hand has installed."""
    return PLATFORM[-1]


def install(platform: ToyPlatform, patch: object) -> ToyPlatform:
    """Make `platform` the one called "toybox" (with pytest's monkeypatch)."""
    patch.setitem(platforms.PLATFORMS, "toybox", f"{__name__}:Current")  # type: ignore[attr-defined]
    patch.setattr(sys.modules[__name__], "PLATFORM", [platform])  # type: ignore[attr-defined]
    return platform
