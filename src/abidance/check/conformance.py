# SPDX-License-Identifier: BSD-2-Clause
"""Conformance to classes: calls that stand or fall together.

A target conforms to a class if it offers all its calls, violates none of its clauses, nothing of
it is undecided, and of every call at least one clause about its effect was seen to hold. Further
clauses nobody tested do not count against it, but are counted.
"""

from __future__ import annotations

from collections.abc import Collection, Sequence

from abidance.check.results import BOUND, ClassResult, ClauseResult
from abidance.check.verdict import Verdict
from abidance.errors import UsageError
from abidance.spec import ConformanceClass, Specification

__all__ = ["conformance", "describe", "members", "required_classes"]

NAMES_SHOWN = 6


def members(spec: Specification, name: str) -> tuple[frozenset[str], frozenset[str]]:
    """The calls and the clause ids of a class, those of included classes among them."""
    item = spec.conformance(name)
    return frozenset(item.calls), frozenset(item.clauses)


def conformance(spec: Specification, offers: Collection[str], clauses: Sequence[ClauseResult],
                required: Collection[str] = ()) -> tuple[ClassResult, ...]:
    """The result for every class, in the order of the specification."""
    return tuple(_class(spec, item, offers, clauses, item.name in required) for item in spec.classes)


def required_classes(spec: Specification, names: Collection[str]) -> tuple[str, ...]:
    """The names, checked. Raises UsageError that lists the classes."""
    known = [item.name for item in spec.classes]
    for name in names:
        if name not in known:
            raise UsageError(f"no conformance class {name!r}; there are {', '.join(known)}")
    return tuple(names)


def describe(target: str, classes: Sequence[ClassResult], offered: Sequence[str], calls: int) -> str:
    """What a target conforms to and what it does not offer, in one line for a newcomer."""
    good = [item.name for item in classes if item.conforms]
    open_ones = [item.name for item in classes if item.conforms is None]
    shown = f" ({', '.join(offered)})" if 0 < len(offered) <= NAMES_SHOWN else ""
    absent = calls - len(offered)
    parts = [f"{target} conforms to {', '.join(good)}" if good else f"{target} conforms to no class",
             f"offers {len(offered)} of {calls} calls{shown}"]
    if absent:
        parts.append(f"does not offer the other {absent}: there a guest keeps its native instructions")
    if open_ones:
        parts.append(f"undecided: {', '.join(open_ones)}")
    return "; ".join(parts) + "."


def _class(spec: Specification, item: ConformanceClass, offers: Collection[str],
           results: Sequence[ClauseResult], required: bool) -> ClassResult:
    calls, clauses = members(spec, item.name)
    own = [result for result in results if result.id in clauses and result.standing == BOUND]
    missing = tuple(entry.name for entry in spec.entries if entry.name in calls - set(offers))
    judged = [(result.id, result.verdict) for result in own if result.verdict is not None]
    violated = tuple(name for name, verdict in judged if verdict.is_finding)
    undecided = tuple(name for name, verdict in judged if verdict.is_undecided)
    passed = sum(result.verdict is Verdict.PASS for result in own)
    shown = {result.entry for result in own if result.verdict is Verdict.PASS and not result.stamped}
    unseen = tuple(entry.name for entry in spec.entries if entry.name in calls - shown)
    conforms: bool | None = not missing and not violated
    if conforms and (undecided or unseen or not passed):
        conforms = None
    return ClassResult(
        item.name, item.title, conforms, missing, violated, undecided, () if missing else unseen,
        sum(result.verdict is Verdict.NOT_TESTED for result in own), passed, required)
