# SPDX-License-Identifier: BSD-2-Clause
"""Try mutants: does a case of the clause a mutant violates notice it?

A case kills a mutant if, for the violated clause, it passes on the original and gives FAIL on the
mutant; CRASH and TIMEOUT count too, and the result says so. A case that does not pass on the
original, or that cannot decide on the mutant, kills nothing.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

from abidance.abi import Abi
from abidance.check.bench import Bench, CaseLane, Task, Timed, make_bench
from abidance.check.lanes import Stopper, run_lanes
from abidance.check.plan import Selection, make_plan
from abidance.check.results import CaseResult, MutantResult
from abidance.check.verdict import Verdict
from abidance.errors import UnavailableError
from abidance.suite.mutant import Mutant
from abidance.suite.target import Target

__all__ = ["Stand", "Trial", "TrialLane", "make_stand", "run_trials", "trial"]

OWN, OTHER = "own", "other"
KILLS = (Verdict.FAIL, Verdict.CRASH, Verdict.TIMEOUT, Verdict.DIFFERS)
PREFERRED = "unicorn"


@dataclass(frozen=True)
class Stand:
    """An unmutated implementation with everything that can run on it, and how its cases came out."""

    bench: Bench
    tasks: tuple[Task, ...]
    baseline: Mapping[str, CaseResult]


@dataclass(frozen=True)
class Trial:
    """A mutant to try. `others` are run only if none of `own` kills it."""

    mutant: Mutant
    stand: Stand
    own: tuple[Task, ...]
    others: tuple[Task, ...] = ()


def make_stand(abi: Abi, implementation: str, selection: Selection, *, seed: int, jobs: int,
               known: Sequence[tuple[Bench, Sequence[CaseResult]]] = (),
               stopper: Stopper | None = None) -> Stand:
    """Make an implementation ready for its mutants and run its cases once without any; results
    that are known for the same bench are not run again. Raises UnavailableError, KeyboardInterrupt."""
    bench = make_bench(abi, _target(abi, implementation), seed=seed)
    plan = make_plan(bench, selection)
    baseline = {result.id: result for other, results in known if other.target == bench.target
                for result in results}
    missing = [task for task in plan.tasks if task.case.id not in baseline]

    def record(index: int, timed: Timed) -> None:
        baseline[missing[index].case.id] = timed.result

    lanes = [bench.lane() for _ in range(min(jobs, len(missing)))]
    if missing and run_lanes(missing, lanes, record, stopper):
        raise KeyboardInterrupt
    return Stand(bench, plan.tasks, baseline)


def trial(mutant: Mutant, stand: Stand, *, everything: bool) -> Trial:
    """The trial of a mutant: its own clause's cases, and with `everything` all others after them."""
    own = tuple(task for task in stand.tasks if mutant.violates in {clause.id for clause in task.clauses})
    mine = {task.case.id for task in own}
    others = tuple(task for task in stand.tasks if task.case.id not in mine) if everything else ()
    return Trial(mutant, stand, own, others)


def run_trials(trials: Sequence[Sequence[Trial]], *, jobs: int,
               on_done: Callable[[int, Sequence[MutantResult]], None],
               stopper: Stopper | None = None) -> bool:
    """Run each group of trials in order until one of the group is killed by its own clause.
    `on_done` gets the results of a group. True if an interrupt ended it early."""
    lanes = [TrialLane() for _ in range(min(jobs, len(trials)))]
    return bool(trials) and run_lanes(trials, lanes, on_done, stopper)


class TrialLane:
    """Runs groups of trials; one mutated session at a time."""

    def __init__(self) -> None:
        self._lane: CaseLane | None = None

    def work(self, item: Sequence[Trial]) -> Sequence[MutantResult]:
        """Results up to the first that is killed by its own clause."""
        results = []
        for one in item:
            results.append(self._try(one))
            if results[-1].killed_by == OWN:
                break
        return results

    def close(self) -> None:
        """End the session."""
        lane = self._lane
        if lane is not None:
            lane.close()

    def _try(self, one: Trial) -> MutantResult:
        if not one.own and not one.others:
            return _result(one, undecided=f"no case of {one.mutant.violates} runs on {one.mutant.on}")
        if not any(_passes(one.stand.baseline.get(task.case.id), one.mutant.violates) for task in one.own):
            why = f"no case of {one.mutant.violates} passes on the original"
            if not one.others:
                return _result(one, undecided=why)
        try:
            self._lane = one.stand.bench.with_mutant(one.mutant).lane()
        except UnavailableError as error:
            return _result(one, undecided=str(error))
        try:
            return self._run(one, self._lane)
        finally:
            self._lane.close()

    def _run(self, one: Trial, lane: CaseLane) -> MutantResult:
        lost = ""
        for kind, tasks in ((OWN, one.own), (OTHER, one.others)):
            for task in tasks:
                result = lane.work(task).result
                killing = _killing(one, kind, task, result)
                if killing is not None:
                    return _result(one, killed_by=kind, case=result.id, verdict=killing)
                if result.verdict.is_undecided:
                    lost = lost or f"{result.id}: {result.reason}"
        return _result(one, undecided=lost)


def _killing(one: Trial, kind: str, task: Task, result: CaseResult) -> Verdict | None:
    """The verdict by which this result kills the mutant, if it does."""
    before = one.stand.baseline.get(task.case.id)
    for said in result.clauses:
        counts = kind == OTHER or said.clause == one.mutant.violates
        if counts and said.verdict in KILLS and _passes(before, said.clause):
            return said.verdict
    return None


def _passes(result: CaseResult | None, clause: str) -> bool:
    return result is not None and any(
        said.clause == clause and said.verdict is Verdict.PASS for said in result.clauses)


def _result(one: Trial, *, killed_by: str = "", case: str = "", verdict: Verdict | None = None,
            undecided: str = "") -> MutantResult:
    made = one.mutant
    return MutantResult(made.name, made.violates, made.on, made.summary, killed_by, case, verdict, undecided,
                        made.equivalent)


def _target(abi: Abi, implementation: str) -> Target:
    """The implementation where it needs no engine, else where it runs by default."""
    target = abi.target(implementation)
    platforms = target.implementation.platforms
    return Target(target.implementation, PREFERRED) if PREFERRED in platforms else target


