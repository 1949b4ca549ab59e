# SPDX-License-Identifier: BSD-2-Clause
"""Stamping clauses on entry points: one sentence that holds for many calls is written once.

A template stamps ``<abi>.<entry>.<template>`` on every entry that its selector ``for`` matches. Entries
whose prototype is unknown are never stamped, since nothing is known that they could keep; nor are
commands that have subcommands, since only those are called.
"""

from __future__ import annotations

import re
from collections.abc import Sequence

from msgspec import structs

from abidance.spec.clauses import make_clause
from abidance.spec.problems import Path, near
from abidance.spec.schema import Selector, TemplateDoc
from abidance.spec.scope import File, Scope
from abidance.spec.types import Clause, EntryPoint

__all__ = ["stamp"]

_BLANK = re.compile(r"\{([^{}]*)\}")
_BLANKS = ("entry", "number", "native")


def stamp(
    templates: dict[str, TemplateDoc], entries: Sequence[EntryPoint], scope: Scope, file: File
) -> list[EntryPoint]:
    """`entries` with the clauses of all `templates` added behind their own."""
    stamped = list(entries)
    for name, template in templates.items():
        path: Path = ("templates", name)
        if not _check(template, entries, scope, file, path):
            continue
        hits = 0
        for index, entry in enumerate(stamped):
            if not _matches(template.selector, entry):
                continue
            hits += 1
            clause = _fill(name, template, entry, scope, file, path, report=hits == 1)
            if any(other.id == clause.id for other in entry.clauses):
                mend = f"add {entry.name} to 'exclude', or rename one of the two"
                file.report(path, f"{entry.name} has a clause {name!r} of its own", mend)
            stamped[index] = structs.replace(entry, clauses=(*entry.clauses, clause))
        if not hits:
            file.report((*path, "for"), "matches no entry point", "mend the selector or remove the template")
    return stamped


def _check(
    template: TemplateDoc, entries: Sequence[EntryPoint], scope: Scope, file: File, path: Path
) -> bool:
    before = len(file.problems.found)
    selector, where = template.selector, (*path, "for")
    if selector.register is not None:
        file.known(selector.register, scope.registers, "register", (*where, "register"))
    if selector.carrier is not None:
        file.known(selector.carrier, scope.carriers, "carrier", (*where, "carrier"))
    names = [entry.name for entry in entries]
    for index, name in enumerate(selector.exclude):
        file.known(name, names, "entry point", (*where, "exclude", index))
    blanks = _BLANK.findall(template.text)
    for blank in blanks:
        if blank not in _BLANKS:
            mend = near(blank, _BLANKS)
            file.report((*path, "text"), f"unknown blank {{{blank}}}", mend)
    if "entry" not in blanks:
        file.report((*path, "text"), "does not name the entry point", "write {entry} where its name goes")
    if "native" in blanks and not selector.native:
        file.report((*path, "text"), "{native} for entries that may have none", "add native: true to 'for'")
    return len(file.problems.found) == before


def _matches(selector: Selector, entry: EntryPoint) -> bool:
    unstampable = entry.prototype_unknown is not None or bool(entry.subcommands)
    if unstampable or entry.name in selector.exclude:
        return False
    conditions = (
        selector.carrier is None or entry.carrier == selector.carrier,
        selector.returns is None or entry.returns is selector.returns,
        selector.memory is None or entry.memory is selector.memory,
        selector.segments is None or entry.segments is selector.segments,
        selector.native is None or (entry.native is not None) is selector.native,
        selector.form is None or selector.form in entry.relocations,
        selector.register is None or selector.register not in _used(selector, entry),
    )
    return all(conditions)


def _used(selector: Selector, entry: EntryPoint) -> set[str]:
    registers = {
        "inputs": [name for item in entry.inputs for name in item.registers],
        "results": [name for item in entry.results for name in item.registers],
        "clobbers": list(entry.clobbers),
    }
    return {name for key in selector.not_in for name in registers[key]}


def _fill(
    name: str,
    template: TemplateDoc,
    entry: EntryPoint,
    scope: Scope,
    file: File,
    path: Path,
    *,
    report: bool,
) -> Clause:
    """The clause for `entry`. What is wrong with the template itself is reported for its first entry only."""
    values = {
        "entry": entry.name,
        "number": str(entry.number) if entry.number is not None else "none",
        "native": entry.native or "",
    }
    text = _BLANK.sub(lambda match: values[match[1]], template.text)
    sink = file if report else File(file.name, file.tree, type(file.problems)())
    return make_clause(
        template, entry.name, name, entry.group, scope, sink, path, entry=entry.name, text=text
    )
