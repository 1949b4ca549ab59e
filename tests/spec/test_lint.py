# SPDX-License-Identifier: BSD-2-Clause
"""One finding a file: data/lint/<file>-<what>.yaml says in ``#! line:column: key: message`` what it gives."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from spec_folders import BASE, DATA, folder

from abidance.cli.main import main
from abidance.errors import UsageError
from abidance.spec.json_schema import json_schema
from abidance.spec.lint import lint

FOUND = sorted((DATA / "lint").glob("*.yaml"))
Capture = pytest.CaptureFixture[str]


def findings(directory: Path) -> list[str]:
    return [str(item).replace(f"{directory}/", "") for item in lint(directory)]


def test_there_are_enough_of_them() -> None:
    assert len(FOUND) >= 30


def test_the_tidy_folder_has_none() -> None:
    assert findings(DATA / "tidy") == []


@pytest.mark.parametrize("path", FOUND, ids=lambda path: path.stem)
def test_each_is_found_once_where_it_stands(path: Path, tmp_path: Path) -> None:
    stem = path.stem.partition("-")[0]
    text = path.read_text(encoding="utf-8")
    (expected,) = [line.strip()[3:] for line in text.splitlines() if line.strip().startswith("#! ")]
    made = folder(tmp_path, "tidy", **{stem: text})
    assert findings(made) == [expected if expected[0].isalpha() else f"{stem}.yaml:{expected}"]


def test_mistakes_of_the_loader_come_first(tmp_path: Path) -> None:
    text = (DATA / "tidy" / "calls.yaml").read_text().replace("level: MAY", "level: MIGHT", 1)
    (line,) = findings(folder(tmp_path, "tidy", calls=text.replace("caller.", "caller")))
    assert "expected MUST | MUST NOT | SHOULD | MAY" in line


def test_findings_are_in_the_order_of_the_files(tmp_path: Path) -> None:
    text = (DATA / "tidy" / "calls.yaml").read_text().replace("caller.", "caller").replace("sum.", "sum")
    base = (DATA / "tidy" / "abi.yaml").read_text().replace("EBX: 32", "EBX: 32\n  ESI: 32")
    keys = [line.split(":")[0:2] for line in findings(folder(tmp_path, "tidy", abi=base, calls=text))]
    assert keys == [["abi.yaml", "12"], ["calls.yaml", "19"], ["calls.yaml", "41"]]


def test_what_is_no_folder() -> None:
    with pytest.raises(UsageError, match=r"no abi\.yaml"):
        lint(DATA / "nowhere")


def test_the_command(tmp_path: Path, capsys: Capture) -> None:
    assert main(["lint", "--dir", str(DATA / "tidy")]) == 0
    assert "tidy: 0 findings" in capsys.readouterr().out
    assert main(["lint", "--dir", str(BASE)]) == 1
    assert "toy" not in capsys.readouterr().err
    assert main(["lint", "--dir", str(tmp_path)]) == 2
    assert main(["lint"]) == 2
    assert main(["lint", "nothing"]) == 2


def test_the_schema_is_written_and_complete(tmp_path: Path) -> None:
    path = tmp_path / "schema.json"
    assert main(["lint", "--schema", str(path)]) == 0
    assert path.read_bytes() == json_schema()
    schema = json.loads(path.read_text())
    text = json.dumps(schema)
    wanted = {ref.split('"')[0] for ref in text.split("#/$defs/")[1:]}
    assert wanted <= set(schema["$defs"])
    assert schema["then"] == {"$ref": "#/$defs/GroupDocument"}
    assert schema["$defs"]["ClauseDoc"]["additionalProperties"] is False
