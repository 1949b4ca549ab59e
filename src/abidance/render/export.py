# SPDX-License-Identifier: BSD-2-Clause
"""A specification as canonical JSON, for other programs: a versioned format, the same bytes every time.

The order is that of the document: entries by number, fixed places last; clauses by group. Keys stand in
the order of the types. Values that may need 64 bits (of constants, MSRs and leaves) are hex strings such as
``"0xFFFFF000"``; sizes, offsets and numbers of calls are plain integers. Clauses stand once, under
``clauses``; entries name theirs. Evidence is text: ``"S part 4"``. A predicate is text in the language's own
grammar, null where a clause always applies.
"""

from __future__ import annotations

from typing import Any

import msgspec

from abidance.spec import Evidence, Predicate, Specification

__all__ = ["FORMAT", "FORMAT_VERSION", "encode"]

FORMAT, FORMAT_VERSION = "abidance-specification", 1

_WIDE = {"constants": ("value",), "msrs": ("number", "reset"), "leaves": ("leaf", "subleaf")}


def encode(spec: Specification) -> bytes:
    """`spec`, indented, with a newline at the end."""
    content: dict[str, Any] = {}
    for name in spec.__struct_fields__:
        items = getattr(spec, name)
        content[name] = [_item(name, item) for item in items] if isinstance(items, tuple) else items
    whole = {"format": FORMAT, "format_version": FORMAT_VERSION, **content}
    return msgspec.json.format(msgspec.json.encode(whole), indent=1) + b"\n"


def _item(kind: str, item: msgspec.Struct) -> dict[str, Any]:
    made = {name: _value(getattr(item, name)) for name in item.__struct_fields__}
    for key in _WIDE.get(kind, ()):
        if isinstance(made[key], int):
            made[key] = f"{made[key]:#x}" if made[key] < 0 else f"0x{made[key]:X}"
    if kind == "entries":
        made["clauses"] = [clause["id"] for clause in made["clauses"]]
    if kind in ("profile_keys", "start"):
        pairs = "permitted_by" if kind == "profile_keys" else "registers"
        made[pairs] = [list(pair) for pair in made[pairs]]
    return made


def _value(value: Any) -> Any:
    """`value` as JSON has it: enumerations as their words, evidence and predicates as text."""
    if isinstance(value, Evidence | Predicate):
        return str(value)
    if isinstance(value, tuple):
        return [_value(item) for item in value]
    if isinstance(value, msgspec.Struct):
        return {name: _value(getattr(value, name)) for name in value.__struct_fields__}
    return msgspec.to_builtins(value)
