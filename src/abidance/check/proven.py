# SPDX-License-Identifier: BSD-2-Clause
"""Proven is more than PASS: a mutant that violates the clause is turned to FAIL by its cases.

For each clause that passes on a target, its mutants are run against the clause's own cases, those
of the reference first (they need no engine). The original is run too, so that a case which fails
anyway proves nothing.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

import msgspec

from abidance.abi import Abi
from abidance.check.bench import Bench
from abidance.check.lanes import Stopper
from abidance.check.mutants import OWN, Stand, Trial, make_stand, run_trials, trial
from abidance.check.plan import Selection
from abidance.check.results import CaseResult, ClauseResult, MutantResult
from abidance.check.verdict import Verdict
from abidance.errors import UnavailableError
from abidance.suite.mutant import Mutant

__all__ = ["Prover"]

FIRST = "reference"


class Prover:
    """Proves clauses for several targets of one run; what was tried once is not tried again."""

    def __init__(self, abi: Abi, selection: Selection, *, seed: int, jobs: int,
                 stopper: Stopper | None = None) -> None:
        self._abi, self._selection, self._seed, self._jobs = abi, selection, seed, jobs
        self._stopper = stopper
        self.interrupted = False
        self._stands: dict[str, Stand | None] = {}
        self._known: list[tuple[Bench, Sequence[CaseResult]]] = []
        self._tried: dict[str, tuple[MutantResult, ...]] = {}

    def know(self, bench: Bench, results: Sequence[CaseResult]) -> None:
        """Remember results of an unmutated target."""
        self._known.append((bench, results))

    def prove(self, clauses: Sequence[ClauseResult], on_done: Callable[[int, int], None],
              ) -> tuple[tuple[ClauseResult, ...], tuple[MutantResult, ...]]:
        """The clauses with `proven` and `killed` filled in, and the mutants that were tried. After an
        interrupt (`interrupted` is then true) those that were tried before it."""
        wanted = [item.id for item in clauses if item.verdict is Verdict.PASS]
        try:
            self._try([name for name in wanted if name not in self._tried], on_done)
        except KeyboardInterrupt:
            self.interrupted = True
        tried = tuple(result for name in wanted for result in self._tried.get(name, ()))
        return tuple(self._with_proof(item) for item in clauses), tried

    def _try(self, names: Sequence[str], on_done: Callable[[int, int], None]) -> None:
        groups = {name: group for name in names if (group := self._trials(name))}
        order = list(groups)
        done = 0

        def record(index: int, results: Sequence[MutantResult]) -> None:
            nonlocal done
            done += 1
            self._tried[order[index]] = tuple(results)
            on_done(done, len(order))

        if run_trials(list(groups.values()), jobs=self._jobs, on_done=record, stopper=self._stopper):
            raise KeyboardInterrupt

    def _with_proof(self, item: ClauseResult) -> ClauseResult:
        if item.verdict is not Verdict.PASS:
            return item
        killed = next((made for made in self._tried.get(item.id, ()) if made.killed_by == OWN), None)
        if killed is None:
            return item
        return msgspec.structs.replace(item, proven=True, killed=killed.name)

    def _trials(self, clause: str) -> list[Trial]:
        mutants = [made for made in self._abi.mutants if made.violates == clause]
        mutants.sort(key=lambda made: made.on != FIRST)
        found = ((made, self._stand(made)) for made in mutants)
        return [trial(made, stand, everything=False) for made, stand in found if stand is not None]

    def _stand(self, mutant: Mutant) -> Stand | None:
        if mutant.on not in self._stands:
            try:
                self._stands[mutant.on] = make_stand(self._abi, mutant.on, self._selection, seed=self._seed,
                                                     jobs=self._jobs, known=self._known,
                                                     stopper=self._stopper)
            except UnavailableError:
                self._stands[mutant.on] = None
        return self._stands[mutant.on]
