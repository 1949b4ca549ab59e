# SPDX-License-Identifier: BSD-2-Clause
"""Results as JSON: versioned, with a JSON Schema generated from the types.

Two runs with the same seed give the same bytes but for the value of "times". A file of another
format or a newer version is refused with an InputError.
"""

from __future__ import annotations

from pathlib import Path

import msgspec

from abidance.check.results import FORMAT, FORMAT_VERSION, Run
from abidance.errors import InputError, Place

__all__ = ["decode", "encode", "schema"]


def encode(run: msgspec.Struct) -> bytes:
    """A run, indented, with a newline at the end."""
    return msgspec.json.format(msgspec.json.encode(run), indent=1) + b"\n"


def decode(data: bytes, path: Path) -> Run:
    """The run in these bytes. Raises InputError."""
    try:
        run = msgspec.json.decode(data, type=Run)
    except (msgspec.MsgspecError, ValueError) as error:
        raise InputError(Place(str(path)), "", f"not a results file: {error}",
                         mend="write one with abidance check --json") from error
    if run.format != FORMAT or run.version > FORMAT_VERSION:
        raise InputError(Place(str(path)), "version", f"{run.format} version {run.version} is not known here",
                         mend=f"this program reads {FORMAT} up to version {FORMAT_VERSION}")
    return run


def schema(kind: type[msgspec.Struct] = Run) -> bytes:
    """The JSON Schema of results, generated from the types."""
    return msgspec.json.format(msgspec.json.encode(msgspec.json.schema(kind)), indent=1) + b"\n"


if __name__ == "__main__":
    import sys
    sys.stdout.buffer.write(schema())
