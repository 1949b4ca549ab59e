# SPDX-License-Identifier: BSD-2-Clause
"""Specification folders for the tests: the examples under data/, and copies of them with files laid over."""

from __future__ import annotations

import shutil
from pathlib import Path

from abidance.errors import InputError
from abidance.spec import load, load_profile, problems

__all__ = ["BASE", "DATA", "folder", "mistakes"]

DATA = Path(__file__).parent / "data"
BASE = DATA / "base"


def folder(into: Path, example: str = "base", **files: str) -> Path:
    """A copy of an example under `into`, with `files` (stem=text) written over it."""
    target = into / example
    shutil.copytree(DATA / example, target)
    for stem, text in files.items():
        (target / f"{stem}.yaml").write_text(text, encoding="utf-8")
    return target


def mistakes(kind: str, text: str, into: Path) -> list[str]:
    """What is wrong with `text` as abi.yaml, as a further group ``other``, or as a profile of the base.

    File names are shown without their folder.
    """
    if kind == "profile":
        path = into / "one.yaml"
        path.write_text(text, encoding="utf-8")
        try:
            load_profile(load(BASE), path)
        except InputError as error:
            notes: list[str] = getattr(error, "__notes__", [])
            return [line.replace(f"{into}/", "") for line in (str(error), *notes)]
        return []
    made = folder(into, **{"abi" if kind == "abi" else "other": text})
    return [str(error).replace(f"{made}/", "").replace(f"{made}", ".") for error in problems(made)]
