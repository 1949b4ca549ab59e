# SPDX-License-Identifier: BSD-2-Clause
"""Beside the duties: introductions of groups, and notes on withheld calls and on use."""

from __future__ import annotations

from pathlib import Path

from spec_folders import BASE, folder

from abidance.spec import load


def test_notes_are_kept_with_their_paragraphs(tmp_path: Path) -> None:
    text = (BASE / "calls.yaml").read_text()
    doc = "doc: |-\n  One\n  line.\n\n  Another."
    text = text.replace("summary: Two calls and a topic.", f"summary: Two.\n{doc}")
    notes = "withheld: Leave  it out.\n    usage: Once."
    text = text.replace("summary: Do nothing.", f"summary: Nothing.\n    {notes}")
    spec = load(folder(tmp_path, calls=text))
    assert spec.groups[0].doc == "One line.\n\nAnother."
    ping, add = spec.entry("Ping"), spec.entry("Add")
    assert (ping.withheld, ping.usage) == ("Leave it out.", "Once.")
    assert (add.withheld, add.usage) == (None, None)


def test_notes_are_part_of_the_digest(tmp_path: Path) -> None:
    text = (BASE / "calls.yaml").read_text()
    changed = text.replace("summary: Do nothing.", "summary: Do nothing.\n    usage: Once.")
    assert load(folder(tmp_path, calls=changed)).digest != load(BASE).digest
