# SPDX-License-Identifier: BSD-2-Clause
"""VMI's mutants: named defects of the reference and of the native ROM, a module per topic.

`MUTANTS` holds all that the modules here declare.
"""

from __future__ import annotations

from abidance.suite.load import load_mutants

__all__ = ["MUTANTS"]

MUTANTS = load_mutants(__name__)
