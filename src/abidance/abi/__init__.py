# SPDX-License-Identifier: BSD-2-Clause
"""One folder per ABI; nothing outside a folder knows the ABI it describes."""

from __future__ import annotations

__all__: list[str] = []
