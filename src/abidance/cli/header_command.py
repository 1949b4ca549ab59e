# SPDX-License-Identifier: BSD-2-Clause
"""`abidance header`: the specification as a header for C or a module for Rust."""

from __future__ import annotations

import argparse

from abidance.abi import find_abi
from abidance.cli.export_command import put

__all__ = ["run"]


def run(options: argparse.Namespace) -> int:
    """Carry out the command."""
    spec = find_abi(options.abi).spec
    if options.lang == "rust":
        from abidance.render import rust
        return put(rust.encode(spec), options.output)
    from abidance.render import c_header
    return put(c_header.encode(spec), options.output)
