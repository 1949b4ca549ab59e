# SPDX-License-Identifier: BSD-2-Clause
"""Results in the forms people and machines read: table, findings, JSON, JUnit XML, KTAP.

Every function takes results and returns text; nothing here runs anything or writes a file.
"""

from __future__ import annotations

__all__: list[str] = []
