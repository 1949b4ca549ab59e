# SPDX-License-Identifier: BSD-2-Clause
"""`python -m abidance` is the command `abidance`."""

from __future__ import annotations

import sys

from abidance.cli.main import main

__all__: list[str] = []

if __name__ == "__main__":
    sys.exit(main())
