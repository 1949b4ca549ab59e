# SPDX-License-Identifier: BSD-2-Clause
"""The command line. `main` parses and dispatches; each command is a module, imported when used."""

from __future__ import annotations

__all__: list[str] = []
