# SPDX-License-Identifier: BSD-2-Clause
"""What a specification says beside its duties: introductions of groups, and notes on withheld calls and use."""

from __future__ import annotations

from pathlib import Path

from spec_folders import BASE, folder

from abidance.spec import load


def test_notes_are_kept_with_their_paragraphs(tmp_path: Path) -> None:
    text = (BASE / "calls.yaml").read_text()
    text = text.replace("summary: Two calls and a topic.", "summary: Two.\ndoc: |-\n  One\n  line.\n\n  Another.")
    text = text.replace("summary: Do nothing.", "summary: Nothing.\n    withheld: Leave  it out.\n    usage: Once.")
    spec = load(folder(tmp_path, calls=text))
    assert spec.groups[0].doc == "One line.\n\nAnother."
    ping, add = spec.entry("Ping"), spec.entry("Add")
    assert (ping.withheld, ping.usage) == ("Leave it out.", "Once.")
    assert (add.withheld, add.usage) == (None, None)


def test_notes_are_part_of_the_digest(tmp_path: Path) -> None:
    text = (BASE / "calls.yaml").read_text()
    changed = text.replace("summary: Do nothing.", "summary: Do nothing.\n    usage: Once.")
    assert load(folder(tmp_path, calls=changed)).digest != load(BASE).digest
