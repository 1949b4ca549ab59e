# SPDX-License-Identifier: BSD-2-Clause
"""A module of cases or mutants that cannot be imported is a mistake in a file, said with its line."""

from __future__ import annotations

import importlib
from pathlib import Path

import pytest

from abidance.errors import InputError
from abidance.suite.load import load_mutants


@pytest.mark.parametrize(("text", "line", "problem"), [
    ("x = 1\ndef (:\n", 2, "invalid syntax"),
    ("x = 1\n\nimport no_such_module_at_all\n", 3, "ModuleNotFoundError: No module named"),
    ("1 / 0\n", 1, "ZeroDivisionError: division by zero"),
    ("raise SystemExit(0)\n", 1, "SystemExit: 0"),
])
def test_a_module_that_does_not_import(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, text: str, line: int,
                                       problem: str) -> None:
    package = f"broken_{line}_{abs(hash(text))}"
    (tmp_path / package).mkdir()
    (tmp_path / package / "__init__.py").write_text("")
    (tmp_path / package / "wrong.py").write_text(text)
    monkeypatch.syspath_prepend(str(tmp_path))
    importlib.invalidate_caches()
    with pytest.raises(InputError) as caught:
        load_mutants(package)
    assert caught.value.place.file.endswith("wrong.py")
    assert caught.value.place.line == line
    assert problem in str(caught.value)
