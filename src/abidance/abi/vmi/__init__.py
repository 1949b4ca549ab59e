# SPDX-License-Identifier: BSD-2-Clause
"""VMI: VMware's paravirtual Virtual Machine Interface for i386, API 3.0.

Not virtual machine introspection, which shares the letters. The folder holds everything
particular to this ABI: the specification (`spec/`, whose path is `SPECIFICATION`), the
implementations (`reference/`, `roms/`), the cases (`cases/`), the mutants (`mutants/`) and the
targets (`targets.py`).
"""

from __future__ import annotations

from pathlib import Path

__all__ = ["SPECIFICATION"]

#: The folder of the specification, for `abidance.spec.load`.
SPECIFICATION: Path = Path(__file__).resolve().parent / "spec"
