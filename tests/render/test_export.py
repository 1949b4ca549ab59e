# SPDX-License-Identifier: BSD-2-Clause
"""The canonical JSON: format, order, wide values, and the call table against that of the known sources."""

from __future__ import annotations

import csv
import json
from pathlib import Path
from typing import Any

import pytest

from abidance.abi import find_abi
from abidance.cli.main import main
from abidance.render.export import encode

DATA = Path(__file__).parent / "data"

#: Where the export says other places than the table, and why.
DIFFERENCES = {
    ("GetGDT", "results"): "written through the pointer that is the argument: 'memory', no result of its own",
    ("GetIDT", "results"): "written through the pointer that is the argument: 'memory', no result of its own",
}


@pytest.fixture(scope="module")
def exported() -> dict[str, Any]:
    made: dict[str, Any] = json.loads(encode(find_abi("vmi").spec))
    return made


def table() -> list[dict[str, str]]:
    lines = (DATA / "calls.csv").read_text(encoding="utf-8").splitlines()
    return list(csv.DictReader(line for line in lines if not line.startswith("#")))


def test_the_head_says_what_it_is(exported: dict[str, Any]) -> None:
    assert list(exported)[:4] == ["format", "format_version", "abi", "version"]
    assert (exported["format"], exported["format_version"]) == ("abidance-specification", 1)
    assert exported["digest"] == find_abi("vmi").spec.digest


def test_numbers_and_names(exported: dict[str, Any]) -> None:
    calls = [(entry["number"], entry["name"]) for entry in exported["entries"] if entry["numbers"]]
    assert calls == [(int(row["number"]), row["name"]) for row in table()]
    assert len(calls) == 74


@pytest.mark.parametrize(("column", "key"), [("arguments", "inputs"), ("results", "results")])
def test_places(exported: dict[str, Any], column: str, key: str) -> None:
    entries = {entry["name"]: entry for entry in exported["entries"]}
    different = []
    for row in table():
        entry = entries[row["name"]]
        assert (row[column] == "?") == (entry["prototype_unknown"] is not None)
        if row[column] != "?" and [item["where"] for item in entry[key]] != row[column].split():
            different.append((row["name"], column))
    assert different == [name for name in DIFFERENCES if name[1] == column]


def test_what_differs_is_said_in_the_document(exported: dict[str, Any]) -> None:
    for name, _ in DIFFERENCES:
        entry = next(entry for entry in exported["entries"] if entry["name"] == name)
        assert entry["memory"]
        assert entry["inputs"][0]["type"].endswith("*")


def test_the_same_bytes_every_time_and_every_way(tmp_path: Path, capsysbinary: Any) -> None:
    spec = find_abi("vmi").spec
    assert encode(spec) == encode(spec)
    assert main(["export", "vmi", "-o", str(tmp_path / "vmi.json")]) == 0
    assert main(["export", "vmi"]) == 0
    assert (tmp_path / "vmi.json").read_bytes() == capsysbinary.readouterr().out == encode(spec)


def test_wide_values_are_hex_strings_and_no_integer_is_beyond_what_every_reader_keeps(
    exported: dict[str, Any],
) -> None:
    values = {item["name"]: item["value"] for item in exported["constants"]}
    assert values["VMI_SIGNATURE"] == "0x696D5663"
    assert all(isinstance(value, str) for value in values.values())

    def integers(value: Any) -> list[int]:
        if isinstance(value, dict):
            return [number for inner in value.values() for number in integers(inner)]
        if isinstance(value, list):
            return [number for inner in value for number in integers(inner)]
        return [value] if isinstance(value, int) else []

    assert max(integers(exported)) < 1 << 53


def test_every_clause_stands_once_and_every_reference_leads_somewhere(exported: dict[str, Any]) -> None:
    ids = [clause["id"] for clause in exported["clauses"]]
    assert len(ids) == len(set(ids)) == len(find_abi("vmi").spec.clauses)
    for entry in exported["entries"]:
        assert set(entry["clauses"]) <= set(ids)
    clause = next(item for item in exported["clauses"] if item["id"] == "vmi.SetPxE.stores-value")
    assert (clause["level"], clause["binds"], clause["layer"]) == ("MUST", "implementation", "core")
    assert clause["evidence"][0].startswith("S ")
    assert all(item["applies_when"] is None or isinstance(item["applies_when"], str)
               for item in exported["clauses"])


def test_unknown_abi_and_unwritable_file(tmp_path: Path) -> None:
    assert main(["export", "nothing"]) == 2
    assert main(["export", "vmi", "-o", str(tmp_path)]) == 2
