# SPDX-License-Identifier: BSD-2-Clause
"""Collecting what is wrong with a file, so that one run shows every independent mistake.

A `Problems` gathers errors of one class (`SpecError` for a specification, `InputError` for a
profile) for one file. Nothing is raised until the caller asks with `raise_first`, because a
person who mends a file wants the whole list. `near` words the "did you mean" half of a mend.
"""

from __future__ import annotations

import difflib
from collections.abc import Iterable

from abidance.errors import InputError, Place, SpecError

__all__ = ["Path", "Problems", "dotted", "near"]

#: The way to a node: mapping keys and sequence indices from the top of the file.
Path = tuple[str | int, ...]


def dotted(path: Path) -> str:
    """``("entries", "SetCR3", "clobbers", 2)`` as ``entries.SetCR3.clobbers[2]``."""
    text = ""
    for step in path:
        if isinstance(step, int):
            text += f"[{step}]"
        else:
            text += f".{step}" if text else step
    return text


def near(word: str, known: Iterable[str], *, otherwise: str = "") -> str:
    """The mend for a word that is not among `known`: the nearest one, else the list, else `otherwise`."""
    names = sorted(set(known))
    folded = {name.casefold(): name for name in names}
    close = difflib.get_close_matches(word.casefold(), folded, n=5, cutoff=0.6)
    if close:
        swapped = [name for name in close if sorted(name) == sorted(word.casefold())]
        return f"did you mean {folded[(swapped or close)[0]]!r}?"
    if otherwise:
        return otherwise
    if not names:
        return "none is declared"
    shown = ", ".join(names[:12])
    return f"use one of: {shown}{', …' if len(names) > 12 else ''}"


class Problems:
    """The errors found so far, in the order found. `kind` is the class they are made as."""

    def __init__(self, kind: type[InputError] = SpecError) -> None:
        self.kind = kind
        self.found: list[InputError] = []

    def add(self, place: Place, path: Path, problem: str, mend: str) -> None:
        """Note that `problem` stands at `place` under key `path`, and how it is mended."""
        self.found.append(self.kind(place, dotted(path), problem, mend=mend))

    def raise_first(self) -> None:
        """Raise the first error, with the others attached as notes; return if there is none.

        Raises: `SpecError` or `InputError`, as this collection was made.
        """
        if not self.found:
            return
        first, *others = self.found
        for other in others:
            first.add_note(str(other))
        raise first
