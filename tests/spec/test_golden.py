# SPDX-License-Identifier: BSD-2-Clause
"""One mistake a file: data/bad/<kind>-<what>.yaml says in ``#! line:column: key: message`` what it gives."""

from __future__ import annotations

from pathlib import Path

import pytest
from spec_folders import BASE, DATA, folder, mistakes

from abidance.errors import SpecError
from abidance.spec import load, problems

BAD = sorted((DATA / "bad").glob("*.yaml"))
OWN = {"abi": "abi.yaml", "group": "other.yaml", "profile": "one.yaml"}


def test_there_are_enough_of_them() -> None:
    assert len(BAD) >= 90


@pytest.mark.parametrize("path", BAD, ids=lambda path: path.stem)
def test_each_mistake_is_reported_once_where_it_stands(path: Path, tmp_path: Path) -> None:
    kind = path.stem.partition("-")[0]
    text = path.read_text(encoding="utf-8")
    lines = [line.strip() for line in text.splitlines()]
    marked = [line.removeprefix("#! ") for line in lines if line.startswith("#! ")]
    expected = [line if line[0].isalpha() else f"{OWN[kind]}:{line}" for line in marked]
    assert len(expected) == 1
    assert mistakes(kind, text, tmp_path) == expected


def test_a_load_raises_the_first_mistake_and_notes_the_others(tmp_path: Path) -> None:
    text = (BASE / "calls.yaml").read_text().replace("level: MAY", "level: MIGHT")
    made = folder(tmp_path, calls=text.replace("number: 1", "number: one"))
    with pytest.raises(SpecError) as caught:
        load(made)
    assert caught.value.key == "entries.Add.number"
    assert caught.value.place.line == 19
    assert [note.split(": ")[1] for note in caught.value.__notes__] == ["clauses.ring.may-differ.level"]
    assert len(problems(made)) == 2


def test_one_mistake_in_each_of_two_files_gives_two(tmp_path: Path) -> None:
    made = folder(tmp_path, calls="group: [\n", more="summary: x\nsummary: y\n")
    assert [error.place.file.rpartition("/")[2] for error in problems(made)] == ["calls.yaml", "more.yaml"]


def test_a_folder_without_groups(tmp_path: Path) -> None:
    made = folder(tmp_path)
    (made / "calls.yaml").unlink()
    assert "no group file" in str(problems(made)[0])


def test_a_group_that_abi_yaml_does_not_list(tmp_path: Path) -> None:
    made = folder(tmp_path, abi=(BASE / "abi.yaml").read_text() + "groups: [calls]\n", extra="group: extra\n")
    assert "a group that abi.yaml does not list" in str(problems(made)[0])


def test_a_folder_that_does_not_exist(tmp_path: Path) -> None:
    with pytest.raises(SpecError, match=r"abi\.yaml: cannot be read"):
        load(tmp_path / "nowhere")


def test_bytes_that_are_not_utf8(tmp_path: Path) -> None:
    made = folder(tmp_path)
    (made / "calls.yaml").write_bytes(b"group: calls\ntitle: caf\xe9\n")
    (error,) = problems(made)
    assert str(error) == f"{made}/calls.yaml:2:11: byte 0xe9 is not UTF-8; save the file as UTF-8"


def test_every_problem_of_a_file_has_a_place_and_a_mend() -> None:
    for path in BAD:
        assert "; " in path.read_text().split("#! ")[1].splitlines()[0]
