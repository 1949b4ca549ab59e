# SPDX-License-Identifier: BSD-2-Clause
"""How a case is declared, and how declarations become cases.

    @case("vmi.SetCR3.loads-base")
    def set_cr3_loads_base(g: VmiGuest) -> None:
        ...

The case's id is `vmi/control/set-cr3-loads-base`: ABI, module, function. Names of clauses are
checked when the suite is loaded: an id that does not exist, a pattern that matches nothing, or a
clause whose `rev` has moved is an InputError, so that a case never outlives the text it proves.
"""

from __future__ import annotations

import inspect
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, TypeVar

from abidance.errors import InputError, Place, UsageError

if TYPE_CHECKING:
    from abidance.spec import Specification

__all__ = ["Case", "CaseDeclaration", "UntestedDeclaration", "case", "declarations", "is_glob", "label",
           "untested"]

Body = Callable[..., None]
Items = Sequence[Any] | Callable[["Specification"], Iterable[Any]]
NOWHERE = Place("")
BodyT = TypeVar("BodyT", bound=Body)


@dataclass(frozen=True)
class Case:
    """One test. `clauses` are exact ids; `needs` are platform capabilities or predicates over
    profile facts; `item` is what `for_each` handed over (None without it)."""

    id: str
    clauses: tuple[str, ...]
    body: Body
    needs: tuple[str, ...] = ()
    item: Any = None
    summary: str = ""
    place: Place = NOWHERE
    stamped: bool = False

    def run(self, guest: Any) -> None:
        """Carry the case out on a guest."""
        if self.stamped:
            self.body(guest, self.item)
        else:
            self.body(guest)


@dataclass(frozen=True)
class CaseDeclaration:
    """A function under `@case`, not yet matched with a specification."""

    patterns: tuple[str, ...]
    body: Body
    needs: tuple[str, ...]
    rev: int
    for_each: Items | None

    @property
    def place(self) -> Place:
        """Where the function stands."""
        code = self.body.__code__
        return Place(code.co_filename, code.co_firstlineno, 1)

    def cases(self, spec: Specification) -> list[Case]:
        """The cases this declaration makes: one, or one per item of `for_each`."""
        module = _dashes(self.body.__module__.rpartition(".")[2])
        base = f"{spec.abi}/{module}/{_dashes(self.body.__name__)}"
        if self.for_each is None:
            return [self._case(spec, base, None)]
        items = list(self.for_each(spec) if callable(self.for_each) else self.for_each)
        if not items:
            raise InputError(self.place, base, "for_each has no items", mend="mend the list")
        return [self._case(spec, f"{base}[{label(item)}]", item) for item in items]

    def _case(self, spec: Specification, ident: str, item: Any) -> Case:
        stamped = self.for_each is not None
        names = [p.replace("{item}", label(item)) if stamped else p for p in self.patterns]
        clauses: dict[str, None] = {}
        for name in names:
            clauses.update(dict.fromkeys(self._resolve(spec, ident, name)))
        summary = (inspect.getdoc(self.body) or "").partition("\n")[0]
        return Case(ident, tuple(clauses), self.body, self.needs, item, summary, self.place, stamped)

    def _resolve(self, spec: Specification, ident: str, name: str) -> list[str]:
        pattern, at, wanted = name.partition("@")
        rev = int(wanted) if at and wanted.isdigit() else self.rev
        try:
            found = [spec.clause(pattern)] if not is_glob(pattern) else list(spec.match(pattern))
        except (KeyError, UsageError) as error:
            raise InputError(self.place, ident, f"no clause {pattern}",
                             mend="name a clause of the specification") from error
        if not found:
            raise InputError(self.place, ident, f"no clause matches {pattern}",
                             mend="name a clause of the specification")
        for clause in found:
            if clause.rev != rev:
                raise InputError(
                    self.place, ident, f"{clause.id} is at rev {clause.rev}, the case says rev {rev}",
                    mend=f"read the clause again, then say {clause.id}@{clause.rev}")
        return [clause.id for clause in found]


@dataclass(frozen=True)
class UntestedDeclaration:
    """Why clauses that match these patterns have no case."""

    patterns: tuple[str, ...]
    reason: str
    place: Place


_declared: dict[str, list[CaseDeclaration | UntestedDeclaration]] = {}


def case(*clauses: str, needs: Sequence[str] = (), rev: int = 1,
         for_each: Items | None = None) -> Callable[[BodyT], BodyT]:
    """Declare a case that proves `clauses` (ids or globs, each may end in @rev).

    `needs`: what the target's platform must have ("injection"), or a predicate over the profile
    ("limits == 'enforced'"); what is missing makes the case NOT_TESTED with that reason.
    `for_each`: items, or a function from the specification to items: one case each, `{item}` in
    the clause names stands for the item, and the function gets it as second argument.
    """
    def declare(body: BodyT) -> BodyT:
        _declare(body.__module__, CaseDeclaration(tuple(clauses), body, tuple(needs), rev, for_each))
        return body

    if not clauses:
        raise TypeError("a case names at least one clause")
    return declare


def untested(*clauses: str, reason: str) -> None:
    """Say why clauses (ids or globs) have no case. Cases for a clause take precedence over a glob;
    naming a clause that has a case by its exact id is an error, because the reason is stale."""
    frame = inspect.stack()[1]
    place = Place(frame.filename, frame.lineno, 1)
    if not reason.strip():
        raise InputError(place, "untested", "the reason is empty", mend="say why there is no case")
    module = frame.frame.f_globals.get("__name__", "")
    _declare(module, UntestedDeclaration(tuple(clauses), reason, place))


def declarations(module: str) -> tuple[CaseDeclaration | UntestedDeclaration, ...]:
    """What a module declared, in order."""
    return tuple(_declared.get(module, ()))


def label(item: Any) -> str:
    """How an item of `for_each` stands in ids: its `name` if it has one, else its text."""
    name = getattr(item, "name", None)
    if isinstance(name, str):
        return name
    if isinstance(item, tuple):
        return ",".join(label(part) for part in item)
    return str(item)


def _declare(module: str, declaration: CaseDeclaration | UntestedDeclaration) -> None:
    _declared.setdefault(module, []).append(declaration)


def _dashes(name: str) -> str:
    return name.strip("_").replace("_", "-")


def is_glob(name: str) -> bool:
    """Whether a clause name is a pattern."""
    return any(mark in name for mark in "*?[")
