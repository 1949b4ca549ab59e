# SPDX-License-Identifier: BSD-2-Clause
"""The public names, and the forms for other tools: JSON and JSON Schema."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path

import msgspec
import pytest
from spec_folders import DATA

import abidance.spec
from abidance.spec import Specification, load
from abidance.spec.schema import AbiDocument, GroupDocument, ProfileDocument

SOURCE = Path(abidance.spec.__file__).parent


def test_all_names_exist_and_are_sorted() -> None:
    names = abidance.spec.__all__
    assert [name for name in names if not hasattr(abidance.spec, name)] == []
    assert sorted(names) == sorted(set(names))


def test_nothing_of_ours_is_imported_but_the_errors() -> None:
    probe = "import sys, abidance.spec; print([m for m in sys.modules if m.startswith('abidance.')])"
    listed = subprocess.run([sys.executable, "-c", probe], capture_output=True, text=True, check=True).stdout
    modules = re.findall(r"'(abidance\.[a-z_.]+)'", listed)
    assert [name for name in modules if not name.startswith(("abidance.spec", "abidance.errors"))] == []


@pytest.mark.parametrize("kind", [AbiDocument, GroupDocument, ProfileDocument])
def test_documents_have_a_json_schema(kind: type[msgspec.Struct]) -> None:
    schema = msgspec.json.schema(kind)
    assert schema["$ref"] == f"#/$defs/{kind.__name__}"
    assert schema["$defs"][kind.__name__]["additionalProperties"] is False


@pytest.mark.parametrize("example", ["base", "sbi", "pvx"])
def test_a_specification_survives_json(example: str) -> None:
    spec = load(DATA / example)
    assert msgspec.json.decode(msgspec.json.encode(spec), type=Specification) == spec
    assert msgspec.json.schema(Specification)["$defs"]


def test_a_specification_cannot_be_changed() -> None:
    spec = load(DATA / "base")
    with pytest.raises(AttributeError):
        spec.abi = "other"  # type: ignore[misc]
    with pytest.raises(AttributeError):
        spec.clauses[0].rev = 2  # type: ignore[misc]


def test_every_module_says_what_it_promises() -> None:
    for path in SOURCE.glob("*.py"):
        lines = path.read_text().splitlines()
        assert lines[0] == "# SPDX-License-Identifier: BSD-2-Clause"
        assert lines[1].startswith('"""')
