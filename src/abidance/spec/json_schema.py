# SPDX-License-Identifier: BSD-2-Clause
"""A JSON Schema of the files of a specification folder, for editors, generated from the types of `schema`.

One schema serves both kinds of file: what has the key ``group`` is judged as a group file, everything else
as abi.yaml, so that an editor's message is about the file at hand.
"""

from __future__ import annotations

from typing import Any

import msgspec

from abidance.spec.schema import AbiDocument, GroupDocument

__all__ = ["json_schema"]


def json_schema() -> bytes:
    """The schema, draft 2020-12, indented, with a newline at the end."""
    kinds = (AbiDocument, GroupDocument)
    (base, group), parts = msgspec.json.schema_components(kinds, ref_template="#/$defs/{name}")
    whole: dict[str, Any] = {
        "$schema": "https://json-schema.org/draft/2020-12/schema",
        "title": "Specification of an ABI for Abidance: abi.yaml and the group files beside it",
        "if": {"type": "object", "required": ["group"]},
        "then": group,
        "else": base,
        "$defs": {name: parts[name] for name in sorted(parts)},
    }
    return msgspec.json.format(msgspec.json.encode(whole), indent=2) + b"\n"
