# SPDX-License-Identifier: BSD-2-Clause
"""A specification together with the files it came from, so that a finding can name its line."""

from __future__ import annotations

import pathlib
import re
from collections.abc import Callable, Iterator
from functools import cached_property

from abidance.errors import InputError
from abidance.spec.load import ABI_FILE
from abidance.spec.problems import Path, Problems
from abidance.spec.scope import File
from abidance.spec.tree import read_tree
from abidance.spec.types import Clause, EntryPoint, Specification

__all__ = ["Folder", "Rule", "Spot"]

#: A place that a finding can stand at: the file and the way to the key in it.
Spot = tuple[File, Path]


class Folder:
    """`spec`, and where each part of it is written."""

    def __init__(self, directory: pathlib.Path, spec: Specification) -> None:
        self.spec, self.problems = spec, Problems()
        self.base = self._file(directory / ABI_FILE)
        self.groups = {group.name: self._file(directory / f"{group.name}.yaml") for group in spec.groups}

    def _file(self, path: pathlib.Path) -> File:
        return File(str(path), read_tree(path), self.problems)

    def findings(self) -> tuple[InputError, ...]:
        """What has been reported, by file in the order of the folder, then by line."""
        order = [file.name for file in (self.base, *self.groups.values())]
        return tuple(sorted(self.problems.found, key=lambda item: (
            order.index(item.place.file), item.place.line, item.place.column)))

    def report(self, spot: Spot, problem: str, mend: str) -> None:
        """Note a finding."""
        file, path = spot
        file.report(path, problem, mend)

    def entry(self, entry: EntryPoint, *more: str | int) -> Spot:
        """Where an entry point, or something under it, is written."""
        parent, _, name = entry.name.rpartition(".")
        path: Path = ("entries", parent, "subcommands", name) if parent else ("entries", name)
        return self.groups[entry.group], (*path, *more)

    def clause(self, clause: Clause, *more: str | int) -> Spot:
        """Where a clause, or something in it, is written; for a stamped one the template."""
        slug = clause.id.rpartition(".")[2]
        if clause.stamped:
            return self.base, ("templates", slug, *more)
        if clause.entry is not None and clause.subject == clause.entry:
            return self.entry(self.spec.entry(clause.entry), "clauses", slug, *more)
        return self.groups[clause.group], ("clauses", clause.subject, slug, *more)

    def part(self, kind: str, group: str, name: str, *more: str | int) -> Spot:
        """Where a constant, structure, event, MSR, leaf or start state is written."""
        return self.groups[group], (kind, name, *more)

    def clauses(self) -> Iterator[Clause]:
        """Every clause once: of the clauses that a template stamps, the first."""
        seen: set[str] = set()
        for clause in self.spec.clauses:
            slug = clause.id.rpartition(".")[2]
            if clause.stamped and slug in seen:
                continue
            if clause.stamped:
                seen.add(slug)
            yield clause

    def notes(self) -> Iterator[tuple[Spot, str]]:
        """Every text that is not normative, and where it stands."""
        for group in self.spec.groups:
            for key in ("summary", "doc"):
                if text := getattr(group, key):
                    yield (self.groups[group.name], (key,)), text
        yield from self._entry_notes()
        for kind in ("constants", "structures", "events", "msrs", "leaves", "start"):
            for item in getattr(self.spec, kind):
                if item.doc:
                    yield self.part(kind, item.group, item.name, "doc"), item.doc
        yield from self._base_notes()

    @cached_property
    def words(self) -> frozenset[str]:
        """Every word of every text, normative or not."""
        texts = [clause.text for clause in self.spec.clauses]
        texts += [text for _, text in self.notes()]
        texts += [f"{field.name} {field.doc}" for item in self.spec.structures for field in item.fields]
        return frozenset(re.findall(r"\w+", "\n".join(texts)))

    def _entry_notes(self) -> Iterator[tuple[Spot, str]]:
        for entry in self.spec.entries:
            for key in ("summary", "doc", "withheld", "usage"):
                if text := getattr(entry, key):
                    yield self.entry(entry, key), text
            for side in ("inputs", "results"):
                for index, operand in enumerate(getattr(entry, side)):
                    if operand.doc:
                        yield self.entry(entry, side, index, "doc"), operand.doc

    def _base_notes(self) -> Iterator[tuple[Spot, str]]:
        yield (self.base, ("summary",)), self.spec.summary
        for item in self.spec.classes:
            for key in ("title", "doc"):
                if text := getattr(item, key):
                    yield (self.base, ("classes", item.name, key)), text
        for fact in self.spec.profile_keys:
            yield (self.base, ("profile", fact.name, "doc")), fact.doc
        for carrier in self.spec.carriers:
            if carrier.doc:
                yield (self.base, ("carriers", carrier.name, "doc")), carrier.doc


Rule = Callable[[Folder], None]
