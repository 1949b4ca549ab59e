# SPDX-License-Identifier: BSD-2-Clause
"""VMI's mutants: named defects of the reference and of the native ROM, a module per topic.

`MUTANTS` holds all that the modules here declare; it is looked up when it is first asked for.
"""

from __future__ import annotations

from functools import cache
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from abidance.suite.mutant import Mutant

    MUTANTS: tuple[Mutant, ...]

__all__ = ["MUTANTS"]


@cache
def _load() -> tuple[Mutant, ...]:
    from abidance.suite.load import load_mutants
    return load_mutants(__name__)


def __getattr__(name: str) -> tuple[Mutant, ...]:
    if name == "MUTANTS":
        return _load()
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
