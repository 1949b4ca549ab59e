# SPDX-License-Identifier: BSD-2-Clause
"""docs/specification-language.md: its examples load, and it names every key there is."""

from __future__ import annotations

import re
from pathlib import Path

import msgspec
import pytest

from abidance.spec import load, load_profile, schema

DOCUMENT = Path(__file__).parents[2] / "docs" / "specification-language.md"
TEXT = DOCUMENT.read_text(encoding="utf-8")
DOCS = [
    kind
    for name, kind in vars(schema).items()
    if name in schema.__all__ and isinstance(kind, type) and issubclass(kind, msgspec.Struct)
]


def test_the_examples_load(tmp_path: Path) -> None:
    abi, group, profile = re.findall(r"```yaml\n(.*?)```", TEXT, flags=re.DOTALL)
    (tmp_path / "spec").mkdir()
    (tmp_path / "spec" / "abi.yaml").write_text(abi)
    (tmp_path / "spec" / "mmu.yaml").write_text(group)
    (tmp_path / "profile.yaml").write_text(profile)
    spec = load(tmp_path / "spec")
    assert [clause.id for clause in spec.clauses] == [
        "toy.SetEntry.stores",
        "toy.SetEntry.visible-at-flush",
        "toy.SetEntry.preserves-ebx",
        "toy.tables.may-be-shadowed",
    ]
    assert load_profile(spec, tmp_path / "profile.yaml").binds(spec.clauses[1])


@pytest.mark.parametrize("kind", DOCS, ids=lambda kind: kind.__name__)
def test_every_key_is_described(kind: type[msgspec.Struct]) -> None:
    keys = [field.encode_name for field in msgspec.structs.fields(kind)]
    assert [key for key in keys if f"`{key}`" not in TEXT] == []


VOCABULARIES = ["Access", "CarrierKind", "Discovery", "Level", "RegisterKind", "UpdateProtocol"]


@pytest.mark.parametrize("name", VOCABULARIES)
def test_every_word_of_a_vocabulary_is_described(name: str) -> None:
    words = [str(member.value) for member in getattr(schema, name)]
    assert [word for word in words if word not in TEXT] == []
