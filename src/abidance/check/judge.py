# SPDX-License-Identifier: BSD-2-Clause
"""From results of cases to results of clauses: each clause has the worst verdict of its cases."""

from __future__ import annotations

from collections.abc import Collection, Iterable

from abidance.check.bench import Bench
from abidance.check.plan import Selection, standing_of
from abidance.check.results import BOUND, CaseResult, ClauseResult
from abidance.check.verdict import Verdict
from abidance.spec import Clause, Level
from abidance.suite.load import Suite

__all__ = ["judge", "mismatches", "not_there"]

NO_CASE = "no case written"
PERMISSION = "permission: nothing to violate"


def judge(bench: Bench, suite: Suite, selection: Selection, results: Iterable[CaseResult],
          absent: Collection[str] = ()) -> tuple[ClauseResult, ...]:
    """The results of all selected clauses, in the order of the specification. `absent`: calls that the
    profile declares and the running implementation does not offer. The test kernel then executes the
    native instruction, as a guest does: a clause of such a call that looks kept is ERROR."""
    by_clause: dict[str, list[CaseResult]] = {}
    for result in results:
        for said in result.clauses:
            by_clause.setdefault(said.clause, []).append(result)
    return tuple(_clause(bench, suite, clause, by_clause.get(clause.id, []), absent)
                 for clause in selection.clauses)


def _clause(bench: Bench, suite: Suite, clause: Clause, cases: list[CaseResult],
            absent: Collection[str]) -> ClauseResult:
    standing, why = standing_of(clause, bench)
    verdict, reason = (_verdict(clause, suite, cases)) if standing == BOUND else (None, why)
    if clause.entry in absent and verdict in (Verdict.PASS, Verdict.DIFFERS):
        verdict = Verdict.ERROR
        reason = f"{clause.entry} is not there, though the profile declares it: what ran is native"
    return ClauseResult(
        id=clause.id, rev=clause.rev, group=clause.group, level=clause.level, layer=clause.layer,
        stamped=clause.stamped, standing=standing, text=clause.text, entry=clause.entry, verdict=verdict,
        reason=reason, cases=tuple(case.id for case in cases))


def _verdict(clause: Clause, suite: Suite, cases: list[CaseResult]) -> tuple[Verdict, str]:
    said = [(item, case) for case in cases for item in case.clauses if item.clause == clause.id]
    if not said:
        registered = suite.reason(clause.id)
        default = PERMISSION if clause.level is Level.MAY else NO_CASE
        return Verdict.NOT_TESTED, registered or default
    worst, case = min(said, key=lambda pair: pair[0].verdict.rank)
    return worst.verdict, f"{case.id}: {worst.reason}" if worst.reason else ""


def not_there(bench: Bench, discovered: frozenset[str] | None) -> frozenset[str]:
    """Calls that the profile declares and the running implementation does not offer; none if it has
    not been seen running."""
    numbered = {entry.name for entry in bench.abi.spec.entries if entry.number is not None}
    return frozenset() if discovered is None else bench.profile.offers & numbered - discovered


def mismatches(bench: Bench, discovered: frozenset[str] | None) -> tuple[str, ...]:
    """Calls that the profile declares and the running implementation does not offer, or the other
    way round. Each is a finding: the profile decides what binds."""
    if discovered is None:
        return ()
    numbered = {entry.name for entry in bench.abi.spec.entries if entry.number is not None}
    declared = bench.profile.offers & numbered
    missing = [f"the profile declares {name} as offered, the implementation answers that it is not"
               for name in sorted(not_there(bench, discovered))]
    extra = [f"the implementation offers {name}, the profile declares it absent"
             for name in sorted(discovered - declared)]
    return (*missing, *extra)


