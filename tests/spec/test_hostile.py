# SPDX-License-Identifier: BSD-2-Clause
"""Whatever stands in a file, loading it ends in a specification or in a `SpecError`."""

from __future__ import annotations

import contextlib
import tempfile
from pathlib import Path

from hypothesis import given, settings
from hypothesis import strategies as st
from spec_folders import BASE, folder

from abidance.errors import SpecError
from abidance.spec import load
from abidance.spec.tree import parse_tree

CALLS = (BASE / "calls.yaml").read_text()
PIECES = [
    "\t", "&a ", "*a", "!!", "%YAML 9.9\n", "%TAG ! tag:x\n", "---\n", "...\n", "? ", "<<: ", "|9\n", ">-\n",
    '"\\U00110000"', '"\\xZZ"', "\x00", "\ufeff", "\x85", "\u2028", "\ud7ff", "\U0010ffff", "!<", "- [",
    "{", "}", "]", ": ", "''", '"', "@", "`", "0x" + "f" * 40, "9" * 5000,
]
SNIPPETS = st.sampled_from(PIECES)


@settings(max_examples=200, deadline=None)
@given(st.text(max_size=200) | st.lists(SNIPPETS | st.text(max_size=5), max_size=20).map("".join))
def test_any_text(text: str) -> None:
    with contextlib.suppress(SpecError):
        parse_tree(text, "f")


@settings(max_examples=100, deadline=None)
@given(st.integers(0, len(CALLS)), st.integers(0, 40), SNIPPETS | st.text(max_size=8))
def test_a_good_file_with_a_piece_replaced(at: int, length: int, piece: str) -> None:
    text = CALLS[:at] + piece + CALLS[at + length :]
    with tempfile.TemporaryDirectory() as scratch, contextlib.suppress(SpecError):
        load(folder(Path(scratch), calls=text.encode("utf-8", "replace").decode()))


@settings(max_examples=60, deadline=None)
@given(st.binary(max_size=200))
def test_any_bytes(data: bytes) -> None:
    with tempfile.TemporaryDirectory() as scratch:
        made = folder(Path(scratch))
        (made / "calls.yaml").write_bytes(data)
        with contextlib.suppress(SpecError):
            load(made)
