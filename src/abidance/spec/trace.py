# SPDX-License-Identifier: BSD-2-Clause
"""The trace of a specification: each fact it was written from, and where it went.

A trace is one YAML file beside a specification folder. It lists facts by section of the collection they
were gathered in; each says what of the specification holds it, or why nothing normative does. `load_trace`
checks every name against the specification, so that a trace never outlives the document.
"""

from __future__ import annotations

import pathlib
from collections.abc import Iterator
from typing import Annotated

import msgspec
from msgspec import Meta, Struct

from abidance.errors import InputError
from abidance.spec.clauses import paragraphs
from abidance.spec.problems import Path, Problems
from abidance.spec.scope import File
from abidance.spec.shape import shape
from abidance.spec.tree import read_tree
from abidance.spec.types import Specification

__all__ = ["Fact", "Section", "Trace", "load_trace"]

Text = Annotated[str, Meta(min_length=1)]
Names = tuple[Text, ...]


class Fact(Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """One fact by a short description, and the names of what holds it.

    `clauses` are ids; `structures` names, or ``structure.field``; `notes` entry points or groups whose
    remarks (which bind nobody) hold it; the others names of their kind. `not_normative` says why the fact,
    or the rest of it, binds nobody. A fact has at least one of all these.
    """

    fact: Text
    clauses: Names = ()
    entries: Names = ()
    structures: Names = ()
    constants: Names = ()
    events: Names = ()
    profile: Names = ()
    classes: Names = ()
    notes: Names = ()
    not_normative: Text | None = msgspec.field(name="not-normative", default=None)

    @property
    def names(self) -> Iterator[tuple[str, str]]:
        """Each name with the key it stands under."""
        for kind in KINDS:
            for name in getattr(self, kind):
                yield kind, name


class Section(Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """A section of the collection: `number` as ``6.10``, and its facts in order."""

    number: Text
    title: Text
    facts: Annotated[tuple[Fact, ...], Meta(min_length=1)]


class Trace(Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """All sections in order."""

    title: Text
    summary: Text
    sections: Annotated[tuple[Section, ...], Meta(min_length=1)]

    @property
    def facts(self) -> Iterator[Fact]:
        """All facts in order."""
        for section in self.sections:
            yield from section.facts

    def holding(self, kind: str, name: str) -> tuple[Fact, ...]:
        """The facts that name a part of the specification under key `kind`, such as "clauses"."""
        return tuple(fact for fact in self.facts if name in getattr(fact, kind))


KINDS = ("clauses", "entries", "structures", "constants", "events", "profile", "classes", "notes")
"""The keys of a fact that name parts of a specification."""


def load_trace(spec: Specification, path: pathlib.Path) -> Trace:
    """The trace in the file at `path`, every name in it checked against `spec`.

    Raises: `InputError` for the first mistake, with the others as notes.
    """
    problems = Problems(InputError)
    tree = read_tree(path, InputError)
    trace = shape(tree, Trace, problems)
    problems.raise_first()
    assert isinstance(trace, Trace)
    _check(trace, _known(spec), File(str(path), tree, problems))
    problems.raise_first()
    return msgspec.structs.replace(trace, summary=paragraphs(trace.summary))


def _known(spec: Specification) -> dict[str, set[str]]:
    fields = {f"{item.name}.{field.name}" for item in spec.structures for field in item.fields}
    entries = {item.name for item in spec.entries}
    return {
        "clauses": {item.id for item in spec.clauses},
        "entries": entries,
        "structures": {item.name for item in spec.structures} | fields,
        "constants": {item.name for item in spec.constants},
        "events": {item.name for item in spec.events} | {item.name for item in spec.start},
        "profile": {item.name for item in spec.profile_keys},
        "classes": {item.name for item in spec.classes},
        "notes": entries | {item.name for item in spec.groups},
    }


def _check(trace: Trace, known: dict[str, set[str]], file: File) -> None:
    numbers: set[str] = set()
    for index, section in enumerate(trace.sections):
        path: Path = ("sections", index)
        if section.number in numbers:
            file.report((*path, "number"), f"a second section {section.number}", "join the two")
        numbers.add(section.number)
        for place, fact in enumerate(section.facts):
            _check_fact(fact, known, file, (*path, "facts", place))


def _check_fact(fact: Fact, known: dict[str, set[str]], file: File, path: Path) -> None:
    counts = dict.fromkeys(KINDS, 0)
    for kind, name in fact.names:
        file.known(name, known[kind], f"name among {kind}", (*path, kind, counts[kind]))
        counts[kind] += 1
    if not any(counts.values()) and fact.not_normative is None:
        file.report(path, "a fact that nothing holds", "name what holds it, or say not-normative: because …")
