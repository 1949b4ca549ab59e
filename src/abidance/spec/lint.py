# SPDX-License-Identifier: BSD-2-Clause
"""What a schema cannot check: style, cross references, gaps, and what is declared and never used.

`lint` gives the mistakes that loading finds or, once a folder loads, the findings of every rule. A finding
reads like a mistake of the loader: ``file:line:column: key: what is wrong; how it is mended``. Rules look at
the loaded specification; the trees of the files only tell them where a thing stands.
"""

from __future__ import annotations

import pathlib

from abidance.errors import InputError, UsageError
from abidance.spec import lint_parts, lint_text, lint_use
from abidance.spec.lint_folder import Folder
from abidance.spec.load import ABI_FILE, load, problems

__all__ = ["lint"]


def lint(directory: pathlib.Path) -> tuple[InputError, ...]:
    """Everything that is to be mended in the folder, in the order of files and lines.

    Raises: `UsageError` if `directory` is no specification folder at all.
    """
    if not (directory / ABI_FILE).is_file():
        raise UsageError(f"{directory} is no specification: it has no {ABI_FILE}")
    mistakes = problems(directory)
    if mistakes:
        return mistakes
    folder = Folder(directory, load(directory))
    for rule in (*lint_text.RULES, *lint_parts.RULES, *lint_use.RULES):
        rule(folder)
    return folder.findings()
