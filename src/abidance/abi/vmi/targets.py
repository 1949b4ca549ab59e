# SPDX-License-Identifier: BSD-2-Clause
"""VMI's implementations, and the machine each is on each platform."""

from __future__ import annotations

from pathlib import Path

from abidance.errors import UsageError
from abidance.kernel import built, kernel_image
from abidance.platform import Artifact, Machine
from abidance.suite.mutant import Mutant
from abidance.suite.target import Implementation

__all__ = ["IMPLEMENTATIONS"]

ABI, PORT = "vmi", "i386"
PROFILES = Path(__file__).resolve().parent / "profiles"
REFERENCE_MODEL = "abidance.abi.vmi.reference.model:model"
MUTANTS = "abidance.abi.vmi.mutants"
PC_MODEL = "abidance.platform.unicorn.pc:model"


def _machine(platform: str, rom: str, model: str, options: tuple[tuple[str, str], ...] = ()) -> Machine:
    artifacts = (Artifact.of("kernel", kernel_image(PORT, ABI)), Artifact.of("option-rom", built(ABI, rom)))
    return Machine(artifacts, model=model if platform == "unicorn" else None, options=options)


def _reference(platform: str, mutant: Mutant | None) -> Machine:
    if mutant is not None and mutant.change is None:
        raise UsageError(f"the mutant {mutant.name} does not change a hypervisor in Python")
    options = () if mutant is None else (("mutant", mutant.name), ("preload", MUTANTS))
    return _machine(platform, "reference.rom", REFERENCE_MODEL, options)


def _native(platform: str, mutant: Mutant | None) -> Machine:
    return _machine(platform, _rom("native.rom", mutant), PC_MODEL)


def _native_call(platform: str, mutant: Mutant | None) -> Machine:
    return _machine(platform, _rom("native-call.rom", mutant), PC_MODEL)


def _minimal(platform: str, mutant: Mutant | None) -> Machine:
    return _machine(platform, _rom("minimal.rom", mutant), PC_MODEL)


def _rom(original: str, mutant: Mutant | None) -> str:
    if mutant is None:
        return original
    if mutant.rom is None:
        raise UsageError(f"the mutant {mutant.name} is not a ROM")
    return mutant.rom


IMPLEMENTATIONS = (
    Implementation("reference", ABI, "the reference hypervisor: kernel at CPL 1, shadow page tables",
                   PROFILES / "reference.yaml", ("unicorn",), _reference),
    Implementation("native", ABI, "an option ROM that runs native instructions at CPL 0",
                   PROFILES / "native.yaml", ("qemu", "unicorn"), _native),
    Implementation("native-call", ABI, "the same, with IRET and SYSEXIT reached by a call, not by a jump",
                   PROFILES / "native.yaml", ("qemu", "unicorn"), _native_call),
    Implementation("minimal", ABI, "an option ROM with IRET and SYSEXIT and nothing else",
                   PROFILES / "minimal.yaml", ("unicorn", "qemu"), _minimal),
)
