# SPDX-License-Identifier: BSD-2-Clause
"""Platforms: what executes guest code. Knows no ABI; see `base` for the contract."""

from __future__ import annotations

from abidance.platform.base import Artifact, Capabilities, Isolation, Machine, Platform, Session

__all__ = ["Artifact", "Capabilities", "Isolation", "Machine", "Platform", "Session"]
