# SPDX-License-Identifier: BSD-2-Clause
"""Where output goes, and what happens when it cannot.

Standard output gets one finished text at a time. A reader that has gone (`| head`) ends the
program quietly with the status it would have had; an output that cannot be written (a full disk)
is said on standard error. Files are checked before a run and replaced atomically after it.
"""

from __future__ import annotations

import contextlib
import os
import stat
import sys
import tempfile
from pathlib import Path

from abidance.errors import AbidanceError, UsageError

__all__ = ["OutputClosedError", "OutputError", "check_writable", "color_wanted", "emit", "same_file",
           "silence", "warn", "write_file"]


class OutputError(AbidanceError):
    """Standard output cannot be written; the text says why."""


class OutputClosedError(OutputError):
    """Nobody reads standard output any more; `status` is the exit status to end with."""

    def __init__(self, status: int) -> None:
        super().__init__("standard output was closed")
        self.status = status


def emit(text: str, *, status: int = 0) -> None:
    """Write to standard output and flush. Raises OutputError, OutputClosedError (with `status`)."""
    if sys.stdout is None:
        raise OutputError("there is no standard output")
    try:
        sys.stdout.write(text)
        sys.stdout.flush()
    except BrokenPipeError as error:
        raise OutputClosedError(status) from error
    except UnicodeEncodeError:
        encoding = sys.stdout.encoding or "ascii"
        emit(text.encode(encoding, "replace").decode(encoding), status=status)
    except (OSError, ValueError) as error:
        why = getattr(error, "strerror", None) or error
        raise OutputError(f"cannot write to standard output: {why}") from error


def warn(text: str) -> None:
    """One line to standard error, if anybody is there to read it."""
    with contextlib.suppress(OSError, ValueError, AttributeError):
        print(f"abidance: {text}", file=sys.stderr, flush=True)


def silence() -> None:
    """Keep the interpreter from complaining at exit about an output that has gone."""
    for stream in (sys.stdout, sys.stderr):
        try:
            if stream is not None:
                stream.flush()
        except (OSError, ValueError):
            with contextlib.suppress(OSError, ValueError):
                os.dup2(os.open(os.devnull, os.O_WRONLY), stream.fileno())


def color_wanted() -> bool:
    """Whether standard output is a terminal that wants colours."""
    return sys.stdout is not None and sys.stdout.isatty() and not os.environ.get("NO_COLOR")


def check_writable(name: str | None) -> Path | None:
    """The path of a file to be written later, found writable now. Raises UsageError."""
    if name is None:
        return None
    if not name:
        raise UsageError("the name of a file to write is empty")
    path = Path(name)
    try:
        if path.is_dir():
            raise UsageError(f"cannot write {name}: it is a directory")
        if _is_special(path):
            return path
        with tempfile.TemporaryFile(dir=path.parent):
            pass
        if path.exists() and not os.access(path, os.W_OK):
            raise UsageError(f"cannot write {name}: permission denied")
    except (OSError, ValueError) as error:
        raise UsageError(f"cannot write {name}: {getattr(error, 'strerror', None) or error}") from error
    return path


def same_file(one: Path, other: Path) -> bool:
    """Whether writing both would leave only the second. Devices and pipes take both."""
    return one.resolve() == other.resolve() and not _is_special(one)


def write_file(path: Path, data: bytes) -> None:
    """Replace a file at once: it holds the old content or the new, never a part. Devices and
    pipes are written directly. Raises UsageError."""
    try:
        if _is_special(path):
            path.write_bytes(data)
            return
        handle, name = tempfile.mkstemp(dir=path.parent, prefix=f".{path.name}.")
        try:
            with os.fdopen(handle, "wb") as file:
                file.write(data)
                file.flush()
                os.fsync(file.fileno())
            Path(name).chmod(_mode(path))
            Path(name).replace(path)
        except BaseException:
            Path(name).unlink(missing_ok=True)
            raise
    except (OSError, ValueError) as error:
        raise UsageError(f"cannot write {path}: {getattr(error, 'strerror', None) or error}") from error


def _is_special(path: Path) -> bool:
    return path.exists() and not stat.S_ISREG(path.stat().st_mode)


def _mode(path: Path) -> int:
    """The mode the file has, or would get by plain creation."""
    if path.exists():
        return stat.S_IMODE(path.stat().st_mode)
    mask = os.umask(0)
    os.umask(mask)
    return 0o666 & ~mask
