# SPDX-License-Identifier: BSD-2-Clause
"""`abidance lint`: what is wrong with a specification, one line for each finding."""

from __future__ import annotations

import argparse
from pathlib import Path

from abidance.abi import find_abi
from abidance.check.verdict import FINDING, GOOD
from abidance.cli.output import check_writable, emit, write_file
from abidance.errors import UsageError

__all__ = ["run"]


def run(options: argparse.Namespace) -> int:
    """Carry out the command: 1 if there is a finding. UsageError if there is nothing to look at."""
    schema = check_writable(options.schema)
    if schema is not None:
        from abidance.spec.json_schema import json_schema
        write_file(schema, json_schema())
    directory = _directory(options)
    if directory is None:
        return GOOD
    from abidance.spec.lint import lint
    found = lint(directory)
    text = "".join(f"{item}\n" for item in found)
    count = f"{len(found)} findings" if len(found) != 1 else "1 finding"
    status = FINDING if found else GOOD
    emit(f"{text}{directory}: {count}\n", status=status)
    return status


def _directory(options: argparse.Namespace) -> Path | None:
    """The folder to look at; None if only the schema was asked for."""
    if options.dir is not None:
        return Path(options.dir)
    if options.abi is not None:
        return find_abi(options.abi).directory / "spec"
    if options.schema is not None:
        return None
    raise UsageError("name an ABI, or a folder with --dir")
