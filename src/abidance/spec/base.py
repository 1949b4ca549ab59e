# SPDX-License-Identifier: BSD-2-Clause
"""What abi.yaml declares for all groups: sources, registers, carriers, profile keys, conformance classes."""

from __future__ import annotations

import fnmatch
from collections.abc import Iterable, Sequence

from abidance.spec.clauses import paragraphs
from abidance.spec.kinds import CarrierKind, Decider, FactType, RegisterKind
from abidance.spec.places import part_names
from abidance.spec.problems import Path, near
from abidance.spec.schema import AbiDocument, CarrierDoc, ProfileKeyDoc, RegisterDoc
from abidance.spec.scope import File, Scope
from abidance.spec.types import Carrier, Clause, ConformanceClass, EntryPoint, ProfileKey, Register, Source

__all__ = ["check_permissions", "make_classes", "make_scope"]

#: What a carrier of a kind must say besides its kind; no other kind may say it.
_NEEDS = {
    CarrierKind.HYPERCALL_PAGE: "slot",
    CarrierKind.INTERRUPT: "vector",
    CarrierKind.MSR_WRITE: "msr",
    CarrierKind.MSR_READ: "msr",
}


def make_scope(doc: AbiDocument, file: File) -> Scope:
    """The names that `doc` declares; problems go to `file`."""
    sources = {
        tag: Source(tag, item.title, item.normative, item.doc) for tag, item in doc.sources.items()
    }
    for tag in sources:
        if " " in tag or "," in tag:
            file.report(("sources", tag), f"{tag!r} cannot be a tag", "use one word")
    scope = Scope(doc.abi, sources, {name: _register(name, item) for name, item in doc.registers.items()})
    for name, carrier in doc.carriers.items():
        made = _carrier(name, carrier, scope, file)
        if made is not None:
            scope.carriers[name] = made
    for name, key in doc.profile.items():
        scope.keys[name] = _profile_key(name, key, file)
    return scope


def _register(name: str, doc: RegisterDoc | int) -> Register:
    if isinstance(doc, int):
        return Register(name, doc, RegisterKind.GENERAL, None)
    return Register(name, doc.bits, doc.kind, doc.doc)


def _carrier(name: str, doc: CarrierDoc, scope: Scope, file: File) -> Carrier | None:
    path: Path = ("carriers", name)
    kinds = {kind.value: kind for kind in CarrierKind}
    kind = doc.kind or kinds.get(name)
    if kind is None:
        file.report(path, f"{name!r} is no kind of carrier", near(name, kinds, otherwise="add 'kind'"))
        return None
    for key in ("slot", "vector", "msr"):
        given, needed = getattr(doc, key) is not None, _NEEDS.get(kind) == key
        if needed and not given:
            file.report(path, f"kind {kind.value} without {key!r}", f"add {key!r}")
        elif given and not needed:
            file.report((*path, key), f"{key!r} means nothing for kind {kind.value}", "remove it")
    for key in ("number_in", "subcommand_in"):
        register = getattr(doc, key)
        if register is not None:
            file.known(register, scope.registers, "register", (*path, key))
    for key in ("arguments", "results", "clobbers"):
        for index, place in enumerate(getattr(doc, key)):
            for word in part_names(place):
                file.known(word, scope.registers, "register", (*path, key, index))
    return Carrier(
        name=name,
        kind=kind,
        doc=paragraphs(doc.doc) if doc.doc else None,
        number_in=doc.number_in,
        subcommand_in=doc.subcommand_in,
        forms=doc.forms,
        arguments=doc.arguments,
        results=doc.results,
        clobbers=doc.clobbers,
        slot=doc.slot,
        vector=doc.vector,
        msr=doc.msr,
    )


def _profile_key(name: str, doc: ProfileKeyDoc, file: File) -> ProfileKey:
    path: Path = ("profile", name)
    wanted = {FactType.INT: int, FactType.STR: str, FactType.BOOL: bool}[doc.type]
    for index, value in enumerate(doc.values):
        if type(value) is not wanted:
            mend = "leave values out" if wanted is bool else f"write a value of type {doc.type.value}"
            file.report((*path, "values", index), f"{value!r} is not of type {doc.type.value}", mend)
    if doc.default is not None:
        if type(doc.default) is not wanted:
            mend = f"write a value of type {doc.type.value}"
            file.report((*path, "default"), f"{doc.default!r} is not of type {doc.type.value}", mend)
        elif doc.values and doc.default not in doc.values:
            mend = near(str(doc.default), [str(value) for value in doc.values])
            file.report((*path, "default"), f"{doc.default!r} is not among the values", mend)
    if doc.permitted_by is None and doc.decided_by is Decider.IMPLEMENTATION:
        mend = "add permitted_by: <clause id>, or decided_by: platform"
        file.report(path, "a choice that no clause permits", mend)
    return ProfileKey(
        name=name,
        type=doc.type,
        doc=paragraphs(doc.doc),
        values=doc.values,
        default=doc.default,
        permitted_by=_permissions(doc, path, file),
        decided_by=doc.decided_by,
    )


def _permissions(doc: ProfileKeyDoc, path: Path, file: File) -> tuple[tuple[str, str], ...]:
    if doc.permitted_by is None:
        return ()
    if isinstance(doc.permitted_by, str):
        return (("", doc.permitted_by),)
    values = ["true", "false"] if doc.type is FactType.BOOL else [str(value) for value in doc.values]
    for value in doc.permitted_by:
        if values:
            file.known(value, values, "value", (*path, "permitted_by", value))
    return tuple(doc.permitted_by.items())


def check_permissions(keys: Iterable[ProfileKey], clauses: Iterable[Clause], file: File) -> None:
    """Report profile keys whose `permitted_by` names a clause that does not exist."""
    ids = [clause.id for clause in clauses]
    for key in keys:
        for value, clause_id in key.permitted_by:
            path: Path = ("profile", key.name, "permitted_by")
            file.known(clause_id, ids, "clause", (*path, value) if value else path)


def make_classes(
    doc: AbiDocument, entries: Sequence[EntryPoint], clauses: Sequence[Clause], file: File
) -> tuple[ConformanceClass, ...]:
    """The conformance classes, patterns expanded; unknown members and include cycles are reported."""
    calls, ids = [entry.name for entry in entries], [clause.id for clause in clauses]
    made: list[ConformanceClass] = []
    for name, item in doc.classes.items():
        path: Path = ("classes", name)
        for index, other in enumerate(item.includes):
            file.known(other, doc.classes, "class", (*path, "includes", index))
        made.append(
            ConformanceClass(
                name=name,
                title=item.title,
                doc=paragraphs(item.doc) if item.doc else None,
                calls=_expand(item.calls, calls, "entry point", file, (*path, "calls")),
                includes=item.includes,
                clauses=_expand(item.clauses, ids, "clause", file, (*path, "clauses")),
            )
        )
    _check_cycles(doc, file)
    return tuple(made)


def _expand(
    words: Sequence[str], names: Sequence[str], what: str, file: File, path: Path
) -> tuple[str, ...]:
    found: dict[str, None] = {}
    for index, word in enumerate(words):
        if "*" in word or "?" in word:
            matches = [name for name in names if fnmatch.fnmatchcase(name, word)]
            if not matches:
                file.report((*path, index), f"no {what} matches {word!r}", "mend the pattern or remove it")
            found.update(dict.fromkeys(matches))
        elif file.known(word, names, what, (*path, index)):
            if word in found:
                file.report((*path, index), f"{what} {word!r} twice", "remove one")
            found[word] = None
    return tuple(found)


def _check_cycles(doc: AbiDocument, file: File) -> None:
    """Report the first include of each class from which the class can be reached again."""
    for name, item in doc.classes.items():
        for index, other in enumerate(item.includes):
            way = _way(doc, other, name)
            if way:
                problem = "includes itself: " + " → ".join((name, *way))
                file.report(("classes", name, "includes", index), problem, "break the cycle")
                return


def _way(doc: AbiDocument, start: str, goal: str) -> tuple[str, ...]:
    """The classes from `start` to `goal` along includes, or nothing if there is no way."""
    ways: list[tuple[str, ...]] = [(start,)]
    seen = set[str]()
    while ways:
        way = ways.pop()
        if way[-1] == goal:
            return way
        if way[-1] in seen or way[-1] not in doc.classes:
            continue
        seen.add(way[-1])
        ways.extend((*way, other) for other in doc.classes[way[-1]].includes)
    return ()
