# SPDX-License-Identifier: BSD-2-Clause
"""Fixtures for all tests, and the way to the modules in tests/helpers."""

from __future__ import annotations

import os
import shutil
import sys
from pathlib import Path

import pytest

HERE = Path(__file__).resolve().parent
sys.path.append(str(HERE / "helpers"))

QEMU = "qemu-system-i386"
REMEDY = "apt-get install qemu-system-x86"


@pytest.fixture(scope="session")
def qemu() -> str:
    """The path of QEMU. Without it a test is skipped with the command that installs it; in CI it fails."""
    found = shutil.which(QEMU)
    if found is None:
        message = f"{QEMU} is not installed; to get it: {REMEDY}"
        if os.environ.get("CI") == "true":
            pytest.fail(message)
        pytest.skip(message)
    return found
