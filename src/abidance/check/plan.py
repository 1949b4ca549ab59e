# SPDX-License-Identifier: BSD-2-Clause
"""What is to run on a target: the selection a user made, against what binds the target.

A case runs if it names a selected clause that binds the target; what a platform lacks makes it
NOT_TESTED beforehand, with the reason.
"""

from __future__ import annotations

import difflib
from collections.abc import Collection
from dataclasses import dataclass
from fnmatch import fnmatchcase

from abidance.check.attempt import Ending, unattempted
from abidance.check.bench import Bench, Task
from abidance.check.results import BOUND, EXEMPT, GUEST, CaseResult
from abidance.check.verdict import Verdict
from abidance.errors import UsageError
from abidance.spec import Binds, Clause, Predicate, Specification
from abidance.suite.case import Case
from abidance.suite.load import Suite

__all__ = ["Plan", "Selection", "did_you_mean", "make_plan", "select", "standing_of"]

PREDICATE_MARKS = frozenset("=<>()' ")


@dataclass(frozen=True)
class Selection:
    """The clauses and cases a user asked for; `words` are the options as given."""

    clauses: tuple[Clause, ...]
    cases: tuple[Case, ...]
    words: tuple[str, ...] = ()

    @property
    def partial(self) -> bool:
        """Whether it is less than everything."""
        return bool(self.words)


@dataclass(frozen=True)
class Plan:
    """`tasks` are to run; `waived` have their result already."""

    tasks: tuple[Task, ...]
    waived: tuple[CaseResult, ...]
    order: tuple[str, ...]


def select(spec: Specification, suite: Suite, clauses: Collection[str], cases: Collection[str]) -> Selection:
    """Match clause globs and case ids or globs. Raises UsageError (with a suggestion) for one that
    matches nothing."""
    words = (*(f"--clause {name}" for name in clauses), *(f"--case {name}" for name in cases))
    chosen = tuple(_matching(spec, clauses)) if clauses else spec.clauses
    if not cases:
        return Selection(chosen, suite.cases, words)
    picked = tuple(_picked(suite, cases))
    wanted = {name for case in picked for name in case.clauses}
    return Selection(tuple(item for item in chosen if item.id in wanted), picked, words)


def make_plan(bench: Bench, selection: Selection) -> Plan:
    """What to run on a bench."""
    judged = {item.id: item for item in selection.clauses if standing_of(item, bench)[0] == BOUND}
    tasks, waived, order = [], [], []
    for case in selection.cases:
        clauses = tuple(judged[name] for name in case.clauses if name in judged)
        if not clauses:
            continue
        order.append(case.id)
        lacking = next((need for need in case.needs if not _met(need, bench)), None)
        if lacking is None:
            tasks.append(Task(case, clauses))
        else:
            ending = Ending(Verdict.NOT_TESTED, _lack(lacking, bench))
            waived.append(unattempted(case, clauses, ending, bench.rerun(case)))
    return Plan(tuple(tasks), tuple(waived), tuple(order))


def standing_of(clause: Clause, bench: Bench) -> tuple[str, str]:
    """Whether a clause binds the target, and why not."""
    if clause.binds is Binds.GUEST:
        return GUEST, "binds guests"
    why = bench.profile.exempt(clause)
    if why is None:
        return BOUND, ""
    predicate, facts = clause.applies_when, bench.profile.facts
    here = [] if predicate is None or "applies when" not in why else sorted(predicate.names & set(facts))
    return EXEMPT, why + "".join(f"; here {name} = {facts[name]!r}" for name in here)


def _met(need: str, bench: Bench) -> bool:
    if _is_predicate(need):
        return Predicate.parse(need).evaluate(bench.profile.facts, bench.profile.offers)
    return bench.platform.capabilities.has(need)


def _lack(need: str, bench: Bench) -> str:
    where = f"{bench.target.full_name}"
    if not _is_predicate(need):
        return f"needs the platform capability {need!r}, which {bench.platform.name} does not have"
    predicate = Predicate.parse(need)
    facts = ", ".join(f"{name} = {bench.profile.facts.get(name)!r}" for name in sorted(predicate.names))
    return f"needs {need}; on {where} {facts or 'it does not hold'}"


def _is_predicate(need: str) -> bool:
    return bool(PREDICATE_MARKS & set(need))


def _matching(spec: Specification, globs: Collection[str]) -> list[Clause]:
    found: dict[str, Clause] = {}
    for glob in globs:
        matched = spec.match(glob)
        if not matched:
            raise UsageError(f"no clause matches {glob!r}{did_you_mean(glob, [c.id for c in spec.clauses])}")
        found.update((clause.id, clause) for clause in matched)
    return [clause for clause in spec.clauses if clause.id in found]


def _picked(suite: Suite, names: Collection[str]) -> list[Case]:
    ids = [case.id for case in suite.cases]
    wanted: set[str] = set()
    for name in names:
        # An id may hold brackets, which a glob would take for a set: the exact id comes first.
        matched = [name] if name in ids else [ident for ident in ids if fnmatchcase(ident, name)]
        if not matched:
            raise UsageError(f"no case {name!r}{did_you_mean(name, ids)}")
        wanted.update(matched)
    return [case for case in suite.cases if case.id in wanted]


def did_you_mean(name: str, known: Collection[str]) -> str:
    """"; did you mean X or Y?", or nothing."""
    near = difflib.get_close_matches(name, known, n=2, cutoff=0.6)
    if not near:
        tail = name.rpartition(".")[2].rpartition("/")[2]
        near = [item for item in known if tail and item.endswith(tail)][:2]
    return f"; did you mean {' or '.join(near)}?" if near else ""
