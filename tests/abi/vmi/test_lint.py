# SPDX-License-Identifier: BSD-2-Clause
"""The document of VMI has nothing to mend."""

from __future__ import annotations

from abidance.abi import find_abi
from abidance.spec.lint import lint


def test_no_findings() -> None:
    assert [str(item) for item in lint(find_abi("vmi").directory / "spec")] == []
