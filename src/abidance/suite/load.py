# SPDX-License-Identifier: BSD-2-Clause
"""Load the cases or mutants of a package: import its modules, match them with a specification.

Everything that can be wrong with a suite is found here and raised as InputError: a clause that
does not exist or has moved, two cases or mutants with one id, a reason for a clause that has a
case after all.
"""

from __future__ import annotations

import hashlib
import importlib
import importlib.util
import pkgutil
import traceback
from collections.abc import Iterator
from dataclasses import dataclass
from fnmatch import fnmatchcase
from functools import cached_property
from pathlib import Path
from types import ModuleType
from typing import TYPE_CHECKING

from abidance.errors import AbidanceError, InputError, Place, UsageError
from abidance.suite.case import Case, UntestedDeclaration, declarations, is_glob
from abidance.suite.mutant import Mutant, declared_mutants

if TYPE_CHECKING:
    from abidance.spec import Specification

__all__ = ["Suite", "build_suite", "load_mutants", "load_suite", "source_digest"]


@dataclass(frozen=True)
class Suite:
    """All cases of an ABI, in order of their ids' first appearance, and why clauses have none."""

    cases: tuple[Case, ...]
    reasons: tuple[UntestedDeclaration, ...] = ()
    digest: str = ""

    @cached_property
    def by_clause(self) -> dict[str, tuple[Case, ...]]:
        """The cases of each clause that has any."""
        table: dict[str, list[Case]] = {}
        for made in self.cases:
            for clause in made.clauses:
                table.setdefault(clause, []).append(made)
        return {clause: tuple(cases) for clause, cases in table.items()}

    def case(self, ident: str) -> Case:
        """The case with this id; UsageError if there is none."""
        for made in self.cases:
            if made.id == ident:
                return made
        raise UsageError(f"no case {ident!r}")

    def reason(self, clause: str) -> str | None:
        """The registered reason why a clause has no case: an exact id before a glob."""
        found = None
        for declared in self.reasons:
            if clause in declared.patterns:
                return declared.reason
            if any(fnmatchcase(clause, pattern) for pattern in declared.patterns):
                found = found or declared.reason
        return found


def load_suite(package: str, spec: Specification) -> Suite:
    """The suite in a package (a missing package is an empty suite). Raises InputError."""
    modules = list(_modules(package))
    return build_suite([module.__name__ for module in modules], spec, source_digest(modules))


def build_suite(modules: list[str], spec: Specification, digest: str = "") -> Suite:
    """The suite that these imported modules declared. Raises InputError."""
    cases: dict[str, Case] = {}
    reasons: list[UntestedDeclaration] = []
    for module in modules:
        for declared in declarations(module):
            if isinstance(declared, UntestedDeclaration):
                reasons.append(declared)
                continue
            for made in declared.cases(spec):
                if made.id in cases:
                    problem = f"a second case with this id (first: {cases[made.id].place})"
                    raise InputError(made.place, made.id, problem, mend="rename one of the functions")
                cases[made.id] = made
    suite = Suite(tuple(cases.values()), tuple(reasons), digest)
    _check_reasons(suite, spec)
    return suite


def load_mutants(package: str) -> tuple[Mutant, ...]:
    """The mutants in a package (a missing package has none). Raises InputError for a name used twice."""
    found: dict[str, Mutant] = {}
    for module in _modules(package):
        for made in declared_mutants(module.__name__):
            if made.name in found:
                raise InputError(made.place, made.name, "a second mutant with this name",
                                 mend="choose another name")
            found[made.name] = made
    return tuple(found.values())


def source_digest(modules: list[ModuleType]) -> str:
    """SHA-256 over the names and sources of modules, in hex."""
    digest = hashlib.sha256()
    for module in sorted(modules, key=lambda item: item.__name__):
        digest.update(module.__name__.encode() + b"\0")
        digest.update(Path(module.__file__ or "").read_bytes() + b"\0")
    return digest.hexdigest()


def _modules(package: str) -> Iterator[ModuleType]:
    if importlib.util.find_spec(package) is None:
        return
    root = importlib.import_module(package)
    if root.__file__:
        yield root
    for found in sorted(pkgutil.iter_modules(root.__path__), key=lambda item: item.name):
        yield _imported(f"{package}.{found.name}")


def _imported(name: str) -> ModuleType:
    """A module of the suite. Whatever it raises is a mistake in a file, and is said with its line."""
    try:
        return importlib.import_module(name)
    except AbidanceError:
        raise
    except SyntaxError as error:
        place = Place(error.filename or name, error.lineno or 0, error.offset or 0)
        raise InputError(place, name, error.msg, mend="mend the Python syntax here") from error
    except (Exception, SystemExit) as error:
        found = importlib.util.find_spec(name)
        file = found.origin if found is not None and found.origin else name
        lines = [frame.lineno or 0 for frame in traceback.extract_tb(error.__traceback__)
                 if frame.filename == file]
        problem = f"{type(error).__name__}: {error}"
        raise InputError(Place(file, lines[-1] if lines else 0), name, problem,
                         mend="a module of the suite must import without an error") from error


def _check_reasons(suite: Suite, spec: Specification) -> None:
    for declared in suite.reasons:
        for pattern in declared.patterns:
            matched = spec.match(pattern)
            if not matched:
                raise InputError(declared.place, pattern, "no clause matches",
                                 mend="remove the reason or mend the id")
            if not is_glob(pattern) and pattern in suite.by_clause:
                raise InputError(declared.place, pattern, f"has a case ({suite.by_clause[pattern][0].id})",
                                 mend="remove the reason")
