# SPDX-License-Identifier: BSD-2-Clause
"""One whole run: every target, every selected case, proofs, classes.

An interrupt ends it at once: what was recorded stays, and every case that was still to run is a
MISS with that reason.
"""

from __future__ import annotations

import time
from dataclasses import dataclass, field
from datetime import UTC, datetime
from functools import partial
from importlib.metadata import PackageNotFoundError, version
from typing import Protocol

from abidance.abi import Abi
from abidance.check.attempt import Ending, unattempted
from abidance.check.bench import Bench, CaseLane, Timed
from abidance.check.conformance import conformance
from abidance.check.judge import judge, mismatches, not_there
from abidance.check.lanes import Stopper, run_lanes
from abidance.check.plan import Plan, Selection, make_plan
from abidance.check.proven import Prover
from abidance.check.results import (
    CaseResult,
    Digest,
    MutantResult,
    ProfileRecord,
    Run,
    TargetResult,
    Times,
)
from abidance.check.verdict import FINDING, GOOD, UNDECIDED, Verdict, exit_status

__all__ = ["Observer", "Order", "run_check", "run_status"]

INTERRUPTED = Ending(Verdict.MISS, "interrupted before it had a verdict")


class Observer(Protocol):
    """Is told what happens while it happens; must not raise anything but KeyboardInterrupt."""

    def target_begins(self, bench: Bench, cases: int) -> None:
        """A target's cases begin."""

    def case_done(self, bench: Bench, result: CaseResult, done: int) -> None:
        """One more case has a verdict."""

    def proof_step(self, bench: Bench, done: int, total: int) -> None:
        """One more clause's mutants were tried."""

    def target_done(self, result: TargetResult) -> None:
        """A target is through."""


@dataclass(frozen=True)
class Order:
    """What to do. `benches` are ready; `required` are classes the targets must conform to."""

    abi: Abi
    benches: tuple[Bench, ...]
    selection: Selection
    seed: int
    jobs: int = 1
    required: tuple[str, ...] = ()
    prove: bool = True
    stopper: Stopper = field(default_factory=Stopper)


@dataclass
class _State:
    """What is known so far."""

    interrupted: bool = False
    targets: list[TargetResult] = field(default_factory=list)
    seconds: dict[str, dict[str, float]] = field(default_factory=dict)


def run_check(order: Order, observer: Observer) -> Run:
    """Carry out an order. Raises UsageError and UnavailableError, nothing a guest does."""
    begun, started = time.perf_counter(), datetime.now(UTC)
    engines = [bench.engine for bench in order.benches]  # a broken engine is told of before anything runs
    state = _State()
    prover = Prover(order.abi, order.selection, seed=order.seed, jobs=order.jobs, stopper=order.stopper)
    for bench, engine in zip(order.benches, engines, strict=True):
        target = _target(order, bench, engine, observer, prover, state)
        state.targets.append(target)
        observer.target_done(target)
    spec = order.abi.spec
    return Run(
        abi=spec.abi, specification=spec.version, seed=f"{order.seed:#x}", selection=order.selection.words,
        digests=(Digest("specification", spec.abi, spec.digest),
                 Digest("cases", spec.abi, order.abi.suite.digest)),
        targets=tuple(state.targets), tool=tool_version(), interrupted=state.interrupted,
        times=Times(started.isoformat(timespec="seconds"), round(time.perf_counter() - begun, 3),
                    state.seconds))


def run_status(run: Run) -> int:
    """The exit status of a run: the worst of its targets, mismatches and required classes."""
    statuses = [_target_status(target) for target in run.targets]
    if FINDING in statuses:
        return FINDING
    return UNDECIDED if run.interrupted or UNDECIDED in statuses or not statuses else GOOD


def tool_version() -> str:
    """The version of this package."""
    try:
        return version("abidance")
    except PackageNotFoundError:
        return "0+checkout"


def _target_status(target: TargetResult) -> int:
    required = [item for item in target.classes if item.required]
    if target.mismatches or any(item.conforms is False for item in required):
        return FINDING
    status = exit_status(item.verdict for item in target.clauses if item.verdict is not None)
    if status == GOOD and any(item.conforms is None for item in required):
        return UNDECIDED
    return status


def _target(order: Order, bench: Bench, engine: str, observer: Observer, prover: Prover,
            state: _State) -> TargetResult:
    plan = make_plan(bench, order.selection)
    observer.target_begins(bench, len(plan.order))
    results, discovered = _cases(order, bench, plan, observer, state)
    absent = not_there(bench, discovered)
    clauses = judge(bench, order.abi.suite, order.selection, results, absent)
    mutants: tuple[MutantResult, ...] = ()
    if order.prove and not state.interrupted:
        prover.know(bench, results)
        clauses, mutants = prover.prove(clauses, partial(observer.proof_step, bench))
        state.interrupted = prover.interrupted
    spec = order.abi.spec
    offers = [entry.name for entry in spec.entries if entry.name in bench.profile.offers]
    there = [name for name in offers if name not in absent]
    classes = conformance(spec, there, clauses, order.required) \
        if order.required or not order.selection.partial else ()
    return TargetResult(
        target=bench.target.full_name, implementation=bench.target.implementation.name,
        platform=bench.platform.name, engine=engine,
        artifacts=tuple(Digest(item.role, item.path.name, item.digest) for item in bench.machine.artifacts),
        profile=ProfileRecord(bench.profile.name, dict(sorted(bench.profile.facts.items())), tuple(offers)),
        cases=tuple(results), clauses=clauses, classes=classes,
        mismatches=mismatches(bench, discovered), mutants=mutants,
        offered=tuple(name for name in there if spec.entry(name).number is not None),
        calls=sum(entry.number is not None for entry in spec.entries))


def _cases(order: Order, bench: Bench, plan: Plan, observer: Observer,
           state: _State) -> tuple[list[CaseResult], frozenset[str] | None]:
    results = {result.id: result for result in plan.waived}
    seconds = state.seconds.setdefault(bench.target.full_name, {})
    for done, result in enumerate(plan.waived, 1):
        observer.case_done(bench, result, done)

    def record(index: int, timed: Timed) -> None:
        results[plan.tasks[index].case.id] = timed.result
        seconds[timed.result.id] = round(timed.seconds, 6)
        observer.case_done(bench, timed.result, len(results))

    lanes: list[CaseLane] = [bench.lane() for _ in range(min(order.jobs, len(plan.tasks)))]
    state.interrupted = state.interrupted or order.stopper.requested
    if not state.interrupted and plan.tasks:
        state.interrupted = run_lanes(plan.tasks, lanes, record, order.stopper)
    for task in plan.tasks:
        if task.case.id not in results:
            results[task.case.id] = unattempted(task.case, task.clauses, INTERRUPTED, bench.rerun(task.case))
    hello = next((lane.hello for lane in lanes if lane.hello is not None), None)
    discovered = None if hello is None else order.abi.guest.discovered(hello, order.abi.spec)
    return [results[name] for name in plan.order], discovered
