# SPDX-License-Identifier: BSD-2-Clause
"""Profiles: what one implementation declares, checked against the specification.

A profile states a value for every profile key (or takes its default) and the entry points it offers.
What a platform decides is laid over it at run time with `Profile.with_facts`.
"""

from __future__ import annotations

import pathlib
from collections.abc import Mapping

from msgspec import Struct, structs

from abidance.errors import InputError, UsageError
from abidance.spec.expression import Value
from abidance.spec.kinds import Decider, FactType
from abidance.spec.problems import Path, Problems, near
from abidance.spec.schema import OffersDoc, ProfileDocument
from abidance.spec.scope import File
from abidance.spec.shape import WRONG, shape
from abidance.spec.tree import Node, read_tree
from abidance.spec.types import Clause, ProfileKey, Specification

__all__ = ["Choice", "Profile", "load_profile"]

_PYTHON: dict[FactType, type[Value]] = {FactType.INT: int, FactType.STR: str, FactType.BOOL: bool}


class Choice(Struct, frozen=True):
    """A fact as declared, and the id of the clause that permits this value (None if none is needed)."""

    key: str
    value: bool | int | str
    permitted_by: str | None


class Profile(Struct, frozen=True):
    """What an implementation declares.

    `facts` has a value for each profile key, except those that the platform decides and has not yet
    decided; `offers` the names of the entry points it offers; `keys` the declarations of all keys.
    """

    name: str
    summary: str | None
    facts: Mapping[str, bool | int | str]
    offers: frozenset[str]
    keys: tuple[ProfileKey, ...]

    @property
    def choices(self) -> tuple[Choice, ...]:
        """The facts, each with the clause that permits it, in the order in which the keys are declared."""
        return tuple(
            Choice(key.name, self.facts[key.name], key.permission(self.facts[key.name]))
            for key in self.keys
            if key.name in self.facts
        )

    def binds(self, clause: Clause, entry: str | None = None) -> bool:
        """Whether `clause` binds under this profile; `entry` stands in for the entry of the clause itself.

        Raises: `UsageError` if the platform has not yet decided a fact that the clause asks for.
        """
        return self.exempt(clause, entry) is None

    def exempt(self, clause: Clause, entry: str | None = None) -> str | None:
        """Why `clause` does not bind under this profile, in a few words; None if it binds.

        Raises: `UsageError` if the platform has not yet decided a fact that the clause asks for.
        """
        needed = entry or clause.entry
        if needed is not None and needed not in self.offers:
            return f"{needed} is not offered"
        if clause.applies_when is None:
            return None
        for name in sorted(clause.applies_when.names - self.facts.keys()):
            raise UsageError(f"{clause.id} depends on {name!r}, which the platform has not decided")
        if clause.applies_when.evaluate(self.facts, self.offers):
            return None
        return f"applies when {clause.applies_when}"

    def with_facts(self, **facts: bool | int | str) -> Profile:
        """This profile with facts that a platform decides, or that a command line overrides.

        Raises: `UsageError` if a key is not declared or a value is not one of its values.
        """
        table = {key.name: key for key in self.keys}
        for name, value in facts.items():
            if name not in table:
                raise UsageError(f"no profile key {name!r}; {near(name, table)}")
            wrong = _unfit(table[name], value)
            if wrong:
                raise UsageError(f"{name}: {wrong[0]}; {wrong[1]}")
        return structs.replace(self, facts={**self.facts, **facts})


def _unfit(key: ProfileKey, value: Value) -> tuple[str, str] | None:
    """What is wrong with `value` for `key` and the mend, or None."""
    if type(value) is not _PYTHON[key.type]:
        mend = "quote it" if key.type is FactType.STR else f"write a value of type {key.type.value}"
        return f"{value!r} is not of type {key.type.value}", mend
    if key.values and value not in key.values:
        return f"{value!r} is not allowed", near(str(value), [str(item) for item in key.values])
    return None


def load_profile(spec: Specification, path: pathlib.Path) -> Profile:
    """The profile in the file at `path`, checked against `spec`.

    Raises: `InputError` for the first mistake, with the others as notes.
    """
    problems = Problems(InputError)
    tree = read_tree(path, InputError)
    doc = shape(tree, ProfileDocument, problems)
    problems.raise_first()
    assert doc is not WRONG
    file = File(str(path), tree, problems)
    facts = _facts(doc, spec, tree, file)
    offers = _offers(doc, spec, file)
    problems.raise_first()
    return Profile(doc.name, doc.summary, facts, offers, spec.profile_keys)


def _facts(doc: ProfileDocument, spec: Specification, tree: Node, file: File) -> dict[str, Value]:
    keys = {key.name: key for key in spec.profile_keys}
    facts: dict[str, Value] = {}
    for name, given in doc.facts.items():
        path: Path = ("facts", name)
        if not file.known(name, keys, "profile key", path):
            continue
        value = _as_text(tree, path, given) if keys[name].type is FactType.STR else given
        wrong = _unfit(keys[name], value)
        if wrong:
            file.problems.add(file.begin(path), path, *wrong)
            continue
        facts[name] = value
    for key in keys.values():
        if key.name in doc.facts:
            continue
        if key.default is not None:
            facts[key.name] = key.default
        elif key.decided_by is Decider.IMPLEMENTATION:
            file.report(("facts",), f"says nothing about {key.name!r}", f"add it: {key.doc}")
    return facts


def _as_text(tree: Node, path: Path, given: Value) -> Value:
    """A scalar for a key of type str is the text as written: ``version: 3.10`` stays "3.10"."""
    node = tree.value_at(path)
    return node.text.strip() if node is not None and node.text is not None else given


def _offers(doc: ProfileDocument, spec: Specification, file: File) -> frozenset[str]:
    names = [entry.name for entry in spec.entries]
    if not isinstance(doc.offers, OffersDoc):
        return frozenset(_known(doc.offers, names, file, ("offers",)))
    classes = [item.name for item in spec.classes]
    if not file.known(doc.offers.conformance, classes, "conformance class", ("offers", "class")):
        return frozenset()
    offered = set(spec.conformance(doc.offers.conformance).calls)
    for index, name in enumerate(_known(doc.offers.exclude, names, file, ("offers", "except"))):
        if name not in offered:
            problem = f"class {doc.offers.conformance!r} has no call {name!r} to leave out"
            file.report(("offers", "except", index), problem, "remove it")
        offered.discard(name)
    return frozenset(offered.union(_known(doc.offers.also, names, file, ("offers", "also"))))


def _known(words: tuple[str, ...], names: list[str], file: File, path: Path) -> list[str]:
    found: list[str] = []
    for index, word in enumerate(words):
        if word in found:
            file.report((*path, index), f"{word!r} twice", "remove one")
        if file.known(word, names, "entry point", (*path, index)):
            found.append(word)
    return found
