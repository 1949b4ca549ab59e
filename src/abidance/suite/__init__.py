# SPDX-License-Identifier: BSD-2-Clause
"""The language that cases, mutants and targets are written in. Knows no ABI and no runner."""

from __future__ import annotations

from abidance.suite.case import Case, case, untested
from abidance.suite.guest import Guest
from abidance.suite.handles import Handle
from abidance.suite.mutant import Mutant, mutant, rom_mutant
from abidance.suite.state import StateHandle
from abidance.suite.target import Implementation, Target

__all__ = [
    "Case",
    "Guest",
    "Handle",
    "Implementation",
    "Mutant",
    "StateHandle",
    "Target",
    "case",
    "mutant",
    "rom_mutant",
    "untested",
]
