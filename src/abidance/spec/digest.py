# SPDX-License-Identifier: BSD-2-Clause
"""The digest of a specification: SHA-256 over what it says, not over how its files are written.

Comments, layout, the order of keys and entries, and defaults written out do not change it; any change of
a number, a name, a level, a predicate's tree or a word of text does. Two runs are comparable if and only
if their digests are equal.
"""

from __future__ import annotations

import hashlib

import msgspec

from abidance.spec.types import Specification

__all__ = ["digest"]

#: Named collections whose order means nothing. Order inside an item (operands, fields, frames) counts.
_UNORDERED = {
    "sources": "tag",
    "registers": "name",
    "carriers": "name",
    "groups": "name",
    "entries": "name",
    "clauses": "id",
    "classes": "name",
    "constants": "name",
    "structures": "name",
    "events": "name",
    "msrs": "name",
    "leaves": "name",
    "start": "name",
    "profile_keys": "name",
}


def digest(spec: Specification) -> str:
    """The digest of `spec` in hex; the field `digest` itself is left out."""
    content = msgspec.to_builtins(spec)
    del content["digest"]
    for key, name in _UNORDERED.items():
        content[key] = sorted(content[key], key=lambda item, name=name: item[name])  # type: ignore[misc]
    for group in content["groups"]:
        group["entries"], group["topics"] = sorted(group["entries"]), sorted(group["topics"])
    for entry in content["entries"]:
        entry["clauses"] = sorted(clause["id"] for clause in entry["clauses"])
        entry["clobbers"] = sorted(entry["clobbers"])
        entry["subcommands"] = sorted(entry["subcommands"])
    for item in content["classes"]:
        for key in ("calls", "includes", "clauses"):
            item[key] = sorted(item[key])
    for key in content["profile_keys"]:
        key["permitted_by"] = sorted(key["permitted_by"])
    return hashlib.sha256(msgspec.json.encode(content, order="sorted")).hexdigest()
