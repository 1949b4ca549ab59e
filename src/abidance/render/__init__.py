# SPDX-License-Identifier: BSD-2-Clause
"""The specification in the forms that others read: canonical JSON, headers, a web site.

Everything is made from the loaded specification and knows no ABI. What only a certain ABI has (which
diagrams it is drawn in, where its facts came from) it reads from files beside that ABI's specification.
"""

from __future__ import annotations

__all__: list[str] = []
