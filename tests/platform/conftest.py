# SPDX-License-Identifier: BSD-2-Clause
"""Platforms under test. `mock_model` can be imported by tests and by the workers they start."""

from __future__ import annotations

import os
import sys
from pathlib import Path

import pytest

from abidance.platform.qemu import Qemu

sys.path.append(str(Path(__file__).resolve().parent))


@pytest.fixture(scope="session")
def qemu_platform() -> Qemu:
    """QEMU; where it is missing tests are skipped with the command that installs it, or fail in CI."""
    platform = Qemu()
    remedy = platform.available()
    if remedy is not None:
        message = f"QEMU is not installed; to get it: {remedy}"
        if os.environ.get("CI") == "true":
            pytest.fail(message)
        pytest.skip(message)
    return platform
