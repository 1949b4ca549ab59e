# SPDX-License-Identifier: BSD-2-Clause
"""Rich text as a string: wide enough to read when it is not a terminal, without markup surprises."""

from __future__ import annotations

import io
import shutil
from collections.abc import Callable

from rich.console import Console
from rich.text import Text

from abidance.check.verdict import Verdict

__all__ = ["STYLES", "plain", "printable", "to_text", "verdict_text"]

WIDTH = 100
NARROWEST = 60
STYLES = {
    Verdict.FAIL: "bold red", Verdict.CRASH: "bold red", Verdict.TIMEOUT: "bold red", Verdict.MISS: "magenta",
    Verdict.ERROR: "magenta", Verdict.DIFFERS: "yellow", Verdict.NOT_TESTED: "cyan", Verdict.SKIP: "cyan",
    Verdict.PASS: "green",
}


def to_text(draw: Callable[[Console], None], *, color: bool) -> str:
    """What `draw` prints, as a string; with terminal colours if `color`."""
    width = shutil.get_terminal_size((WIDTH, 24)).columns if color else WIDTH
    buffer = io.StringIO()
    console = Console(file=buffer, width=max(NARROWEST, width), force_terminal=color, no_color=not color,
                      markup=False, highlight=False, emoji=False, soft_wrap=False)
    draw(console)
    return "\n".join(line.rstrip() for line in buffer.getvalue().splitlines()) + "\n"


def verdict_text(verdict: Verdict | None, none: str = "exempt") -> Text:
    """A verdict in its colour."""
    return Text(none, "dim") if verdict is None else Text(verdict.value.replace("_", " "), STYLES[verdict])


def plain(text: str) -> Text:
    """Text that is shown as it is, with control characters made visible."""
    return Text(printable(text))


def printable(text: str) -> str:
    """The text with everything a terminal could obey replaced."""
    return "".join(char if char.isprintable() or char == "\n" else f"\\x{ord(char):02x}" for char in text)
