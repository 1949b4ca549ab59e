# SPDX-License-Identifier: BSD-2-Clause
"""Rules that need two versions of one line, or a specification of their own."""

from __future__ import annotations

from pathlib import Path

import pytest
from spec_folders import BASE, DATA, folder

from abidance.errors import SpecError
from abidance.spec import Layer, load, problems

ABI = (BASE / "abi.yaml").read_text()
CALLS = (BASE / "calls.yaml").read_text()
SBI = (DATA / "sbi" / "hsm.yaml").read_text()
TEMPLATE = """templates:
  keeps:
    for: {register: EDX%s}
    rev: 1
    level: MUST
    binds: implementation
    layer: core
    evidence: [S 1]
    text: "{entry}, number {number}, keeps EDX."
"""


@pytest.mark.parametrize(
    ("change", "good"),
    [
        ({}, True),
        ({"evidence: [S 1.1, L]": "evidence: [L]"}, False),
        ({"evidence: [S 1.1, L]": "evidence: [L]", "layer: core": "layer: practice"}, True),
        ({"evidence: [S 1.1, L]": "evidence: [L]", "level: MUST": "level: SHOULD"}, True),
        ({"evidence: [S 1.1, L]": "evidence: [L]", "binds: implementation": "binds: guest"}, True),
    ],
)
def test_duties_of_implementations_need_a_normative_source(
    tmp_path: Path, change: dict[str, str], good: bool
) -> None:
    text = CALLS
    for old, new in change.items():
        text = text.replace(old, new, 1)
    assert (problems(folder(tmp_path, calls=text)) == ()) is good


def test_layers_are_kept_apart(tmp_path: Path) -> None:
    text = CALLS.replace("layer: core", "layer: practice", 1)
    assert load(folder(tmp_path, calls=text)).clause("toy.Ping.returns").layer is Layer.PRACTICE


@pytest.mark.parametrize(
    ("more", "stamped"),
    [
        ("", ["Add"]),
        (", not-in: [clobbers]", ["Add"]),
        (", not-in: [results]", ["Ping", "Add"]),
        (", not-in: [inputs, clobbers]", []),
        (", not-in: [results], exclude: [Ping]", ["Add"]),
        (", not-in: [results], memory: true", []),
        (", not-in: [results], native: false", ["Ping", "Add"]),
        (", form: NONE", []),
    ],
)
def test_selectors(tmp_path: Path, more: str, stamped: list[str]) -> None:
    made = folder(tmp_path, abi=ABI + TEMPLATE % more)
    if not stamped:
        assert "matches no entry point" in str(problems(made)[0])
        return
    spec = load(made)
    assert [clause.entry for clause in spec.clauses if clause.stamped] == stamped
    assert spec.clause(f"toy.{stamped[-1]}.keeps").text == "Add, number 1, keeps EDX."


def test_an_entry_without_prototype_is_not_stamped(tmp_path: Path) -> None:
    text = CALLS.replace("    number: 0", "    number: 0\n    prototype: unknown\n    reason: lost")
    spec = load(folder(tmp_path, calls=text, abi=ABI + TEMPLATE % ", not-in: [results]"))
    assert [clause.entry for clause in spec.clauses if clause.stamped] == ["Add"]


@pytest.mark.parametrize(
    ("old", "new", "problem"),
    [
        ("where: a2", "where: a7", "a7 carries the number of the call"),
        ("where: a2", "where: a6", "a6 carries the number of the call"),
        ("where: a2", "where: s0", "carrier 'ecall' has no inputs in s0"),
        ("number: 1", "number: 0", "number 0 is already that of 'HSM.hart_start'"),
        ("hart_stop:", "hart-stop:", "cannot be a name"),
        ("returns: false", "returns: false\n        subcommands: {x: {number: 0, summary: x, evidence: [T]}}",
         "a subcommand has subcommands"),
    ],
)
def test_subcommands(tmp_path: Path, old: str, new: str, problem: str) -> None:
    assert old in SBI
    (error,) = problems(folder(tmp_path, "sbi", hsm=SBI.replace(old, new, 1)))
    assert problem in str(error)
    assert error.place.line


def test_the_real_text_of_a_mistake_is_one_line(tmp_path: Path) -> None:
    with pytest.raises(SpecError) as caught:
        load(folder(tmp_path, calls=CALLS + "\nclauses: {}\n"))
    assert "\n" not in str(caught.value)
