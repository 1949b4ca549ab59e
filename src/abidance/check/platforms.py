# SPDX-License-Identifier: BSD-2-Clause
"""The platforms by name. A platform is imported when it is asked for."""

from __future__ import annotations

import importlib
from typing import Any

from abidance.errors import UsageError
from abidance.platform import Platform

__all__ = ["GDB_PLATFORMS", "PLATFORMS", "find_platform"]

PLATFORMS = {"unicorn": "abidance.platform.embedded:Embedded", "qemu": "abidance.platform.qemu:Qemu"}
GDB_PLATFORMS = ("qemu",)


def find_platform(name: str, *, gdb: int | None = None) -> Platform:
    """The platform called `name`. With `gdb`, one on which gdb can attach at that port before the
    guest's first instruction. Raises UsageError."""
    if name not in PLATFORMS:
        raise UsageError(f"no platform {name!r}; there are {', '.join(PLATFORMS)}")
    module, _, attribute = PLATFORMS[name].partition(":")
    options: dict[str, Any] = {}
    if gdb is not None:
        if name not in GDB_PLATFORMS:
            raise UsageError(f"--gdb works on {', '.join(GDB_PLATFORMS)}, not on {name}")
        options["gdb"] = gdb
    made: Platform = getattr(importlib.import_module(module), attribute)(**options)
    return made
