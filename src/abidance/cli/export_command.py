# SPDX-License-Identifier: BSD-2-Clause
"""`abidance export`: the specification as canonical JSON."""

from __future__ import annotations

import argparse

from abidance.abi import find_abi
from abidance.check.verdict import GOOD
from abidance.cli.output import check_writable, emit, write_file

__all__ = ["put", "run"]


def run(options: argparse.Namespace) -> int:
    """Carry out the command."""
    from abidance.render.export import encode
    return put(encode(find_abi(options.abi).spec), options.output)


def put(data: bytes, name: str | None) -> int:
    """Write to the file of that name, or to standard output if there is none. Raises UsageError."""
    path = check_writable(name)
    if path is None:
        emit(data.decode())
    else:
        write_file(path, data)
    return GOOD
