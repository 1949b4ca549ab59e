# SPDX-License-Identifier: BSD-2-Clause
"""The digest follows what a specification says, and nothing else."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
from spec_folders import BASE, folder

from abidance.spec import load

ABI = (BASE / "abi.yaml").read_text()
CALLS = (BASE / "calls.yaml").read_text()
SAME = {
    "comments": (ABI, "# more\n" + CALLS.replace("number: 1", "number: 1  # one")),
    "blank lines": (ABI, CALLS.replace("\n    summary", "\n\n    summary")),
    "folding": (ABI, CALLS.replace("text: Ping returns.", "text: >\n          Ping\n          returns.")),
    "quotes": (ABI, CALLS.replace("title: Calls", "title: 'Calls'")),
    "number base": (ABI, CALLS.replace("number: 1", "number: 0x1")),
    "defaults": (ABI, CALLS.replace("number: 1", "number: 1\n    returns: true\n    memory: false")),
    "order of registers": (re.sub(r"(  EAX: 32\n)(  EBX: 32\n)", r"\2\1", ABI), CALLS),
    "order of clobbers": (ABI, CALLS.replace("[EAX, EFLAGS]", "[EFLAGS, EAX]")),
    "order of keys": (ABI, re.sub(r"(        rev: 1\n)(        level: MUST\n)", r"\2\1", CALLS)),
    "line ends": (ABI, CALLS.replace("\n", "\r\n")),
    "style of lists": (ABI, CALLS.replace("evidence: [S 3]", "evidence:\n        - S 3")),
}
OTHER = {
    "number": CALLS.replace("number: 1", "number: 2"),
    "rev": CALLS.replace("rev: 1", "rev: 2", 1),
    "text": CALLS.replace("Ping returns.", "Ping must return."),
    "evidence": CALLS.replace("[S 3]", "[S 4]"),
    "predicate": CALLS.replace("      level: MAY", "      applies_when: cpl > 0\n      level: MAY"),
    "order of inputs": CALLS.replace("where: EAX, type: u32}\n      - {name: right, where: EDX",
                                     "where: EDX, type: u32}\n      - {name: right, where: EAX"),
    "clobber": CALLS.replace("[EAX, EFLAGS]", "[EAX]"),
    "level": CALLS.replace("level: MAY", "level: SHOULD"),
}


@pytest.mark.parametrize("what", SAME)
def test_writing_it_differently_changes_nothing(tmp_path: Path, what: str) -> None:
    abi, calls = SAME[what]
    assert (abi, calls) != (ABI, CALLS)
    assert load(folder(tmp_path, abi=abi, calls=calls)).digest == load(BASE).digest


@pytest.mark.parametrize("what", OTHER)
def test_saying_something_else_changes_it(tmp_path: Path, what: str) -> None:
    assert OTHER[what] != CALLS
    assert load(folder(tmp_path, calls=OTHER[what])).digest != load(BASE).digest


def test_it_is_sha256_in_hex() -> None:
    assert re.fullmatch(r"[0-9a-f]{64}", load(BASE).digest)
