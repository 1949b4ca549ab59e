# SPDX-License-Identifier: BSD-2-Clause
"""Loading a specification folder: abi.yaml and one further file per group.

Steps, each of which reports all it finds before the next begins: read every file (first mistake of each
file), shape it (every mistake), then resolve names and check rules across the folder (every mistake).
"""

from __future__ import annotations

import pathlib
from collections.abc import Iterable, Sequence
from typing import Any

from msgspec import structs

from abidance.errors import InputError, Place, SpecError
from abidance.spec.base import check_permissions, make_classes, make_scope
from abidance.spec.clauses import make_clause, paragraphs
from abidance.spec.digest import digest
from abidance.spec.entries import declared_entries, make_entries
from abidance.spec.problems import Path, Problems, near
from abidance.spec.schema import AbiDocument, GroupDocument
from abidance.spec.scope import File, Scope
from abidance.spec.shape import WRONG, shape
from abidance.spec.structures import GroupParts, make_parts
from abidance.spec.templates import stamp
from abidance.spec.tree import read_tree
from abidance.spec.types import Clause, ConformanceClass, EntryPoint, Group, Specification

__all__ = ["load", "problems"]

ABI_FILE = "abi.yaml"


def load(directory: pathlib.Path) -> Specification:
    """The specification in `directory`.

    Raises: `SpecError` for the first mistake, with all others of the same step as notes.
    """
    found = Problems()
    spec = _Loader(pathlib.Path(directory), found).load()
    found.raise_first()
    assert spec is not None
    return spec


def problems(directory: pathlib.Path) -> tuple[InputError, ...]:
    """Every mistake that loading `directory` finds; empty if it loads."""
    found = Problems()
    _Loader(pathlib.Path(directory), found).load()
    return tuple(found.found)


class _Loader:
    def __init__(self, directory: pathlib.Path, problems: Problems) -> None:
        self.directory, self.problems = directory, problems
        self.groups: list[tuple[GroupDocument, File]] = []

    def load(self) -> Specification | None:
        base = self.read(self.directory / ABI_FILE, AbiDocument)
        self.read_groups(base[0] if base else None)
        if self.problems.found or base is None:
            return None
        return self.resolve(*base)

    def read(self, path: pathlib.Path, kind: Any) -> tuple[Any, File] | None:
        try:
            tree = read_tree(path)
        except SpecError as error:
            self.problems.found.append(error)
            return None
        file = File(str(path), tree, self.problems)
        doc = shape(tree, kind, self.problems)
        return None if doc is WRONG else (doc, file)

    def read_groups(self, base: AbiDocument | None) -> None:
        present = sorted(path.stem for path in self.directory.glob("*.yaml") if path.name != ABI_FILE)
        wanted = list(base.groups) if base and base.groups else present
        for index, name in enumerate(wanted):
            path = self.directory / f"{name}.yaml"
            if name not in present:
                self.at_base(("groups", index), f"group file {path} is missing", near(name, present))
                continue
            read = self.read(path, GroupDocument)
            if read is None:
                continue
            doc, file = read
            if doc.group != name:
                problem = f"group {doc.group!r} in a file named {name}.yaml"
                file.report(("group",), problem, "rename one of the two")
            self.groups.append((doc, file))
        for name in present:
            if name not in wanted:
                place = Place(str(self.directory / f"{name}.yaml"), 1, 1)
                self.problems.add(place, (), "a group that abi.yaml does not list", f"add {name} to 'groups'")
        if not wanted and base is not None:
            place = Place(str(self.directory))
            self.problems.add(place, (), "no group file", "write one file per group beside abi.yaml")

    def at_base(self, path: Path, problem: str, mend: str) -> None:
        tree = read_tree(self.directory / ABI_FILE)
        self.problems.add(tree.find(path), path, problem, mend)

    def resolve(self, base: AbiDocument, file: File) -> Specification | None:
        scope = make_scope(base, file)
        if self.problems.found:
            return None  # names that are missing here would be reported wherever they are used
        self.declare(scope)
        for name, carrier in scope.carriers.items():
            if carrier.msr is not None:
                file.known(carrier.msr, scope.msrs, "MSR", ("carriers", name, "msr"))
        entries: list[EntryPoint] = []
        topics: list[Clause] = []
        parts: list[GroupParts] = []
        for doc, group_file in self.groups:
            entries += make_entries(doc.entries, doc.group, scope, group_file)
            topics += self.topics(doc, scope, group_file)
            parts.append(make_parts(doc, scope, group_file))
        self.unique_numbers(entries)
        self.unique_names()
        entries = stamp(base.templates, entries, scope, file)
        clauses = _ordered([doc.group for doc, _ in self.groups], entries, topics)
        self.unique_ids(clauses)
        check_permissions(scope.keys.values(), clauses, file)
        classes = make_classes(base, entries, clauses, file)
        if self.problems.found:
            return None
        spec = _assemble(base, scope, [doc for doc, _ in self.groups], entries, clauses, classes, parts)
        return structs.replace(spec, digest=digest(spec))

    def declare(self, scope: Scope) -> None:
        """Make the names of all groups known before any of them is resolved."""
        for doc, _ in self.groups:
            scope.entries.update(declared_entries(doc.entries))
            scope.structures.update({name: item.size for name, item in doc.structures.items()})
            scope.msrs.update(doc.msrs)

    def topics(self, doc: GroupDocument, scope: Scope, file: File) -> list[Clause]:
        made: list[Clause] = []
        for topic, clauses in doc.clauses.items():
            for slug, clause in clauses.items():
                path: Path = ("clauses", topic, slug)
                if clause.entry is not None:
                    file.known(clause.entry, scope.entries, "entry point", (*path, "entry"))
                made.append(
                    make_clause(clause, topic, slug, doc.group, scope, file, path, entry=clause.entry)
                )
        return made

    def unique_numbers(self, entries: Iterable[EntryPoint]) -> None:
        taken: dict[tuple[int, ...], EntryPoint] = {}
        for entry in entries:
            if not entry.numbers:
                continue
            other = taken.setdefault(entry.numbers, entry)
            if other is not entry:
                path = (*self.path_of(entry), "number")
                problem = f"number {entry.number} is already that of {other.name!r} (group {other.group})"
                self.file_of(entry.group).report(path, problem, "give each entry its own number")

    def unique_names(self) -> None:
        """Names of one kind must differ across files; within a file the reader has seen to it."""
        for kind in ("entries", "constants", "structures", "events", "msrs", "leaves", "start"):
            taken: dict[str, str] = {}
            for doc, file in self.groups:
                for name in getattr(doc, kind):
                    if name in taken:
                        problem = f"{name!r} is already declared in group {taken[name]}"
                        file.report((kind, name), problem, "keep one of the two")
                    taken[name] = doc.group

    def unique_ids(self, clauses: Iterable[Clause]) -> None:
        taken: dict[str, Clause] = {}
        for clause in clauses:
            other = taken.setdefault(clause.id, clause)
            if other is not clause and other.group != clause.group:
                slug = clause.id.rpartition(".")[2]
                path: Path = ("clauses", clause.subject, slug)
                problem = f"clause {clause.id} is already in group {other.group}"
                self.file_of(clause.group).report(path, problem, "rename one of the two")

    def file_of(self, group: str) -> File:
        return next(file for doc, file in self.groups if doc.group == group)

    @staticmethod
    def path_of(entry: EntryPoint) -> Path:
        parent, _, name = entry.name.rpartition(".")
        return ("entries", parent, "subcommands", name) if parent else ("entries", name)


def _ordered(groups: list[str], entries: list[EntryPoint], topics: list[Clause]) -> list[Clause]:
    """All clauses by group; in a group those of its entries first, then those of its topics."""
    made: list[Clause] = []
    for group in groups:
        made += [clause for entry in entries if entry.group == group for clause in entry.clauses]
        made += [clause for clause in topics if clause.group == group]
    return made


def _assemble(
    base: AbiDocument,
    scope: Scope,
    docs: Sequence[GroupDocument],
    entries: Sequence[EntryPoint],
    clauses: Sequence[Clause],
    classes: Sequence[ConformanceClass],
    parts: Sequence[GroupParts],
) -> Specification:
    """The specification without its digest."""
    return Specification(
        abi=base.abi,
        version=base.version,
        title=base.title,
        summary=paragraphs(base.summary),
        sources=tuple(scope.sources.values()),
        registers=tuple(scope.registers.values()),
        carriers=tuple(scope.carriers.values()),
        groups=tuple(_group(doc) for doc in docs),
        entries=tuple(sorted(entries, key=_by_number)),
        clauses=tuple(clauses),
        classes=tuple(classes),
        constants=tuple(item for part in parts for item in part.constants),
        structures=tuple(item for part in parts for item in part.structures),
        events=tuple(item for part in parts for item in part.events),
        msrs=tuple(item for part in parts for item in part.msrs),
        leaves=tuple(item for part in parts for item in part.leaves),
        start=tuple(item for part in parts for item in part.start),
        profile_keys=tuple(scope.keys.values()),
        digest="",
    )


def _by_number(entry: EntryPoint) -> tuple[bool, tuple[int, ...], int]:
    return not entry.numbers, entry.numbers, entry.slot or 0


def _group(doc: GroupDocument) -> Group:
    return Group(
        name=doc.group,
        title=doc.title,
        summary=paragraphs(doc.summary),
        doc=paragraphs(doc.doc) if doc.doc else None,
        entries=tuple(declared_entries(doc.entries)),
        topics=tuple(doc.clauses),
    )
