# SPDX-License-Identifier: BSD-2-Clause
"""The toy ABI on the toy platform."""

from __future__ import annotations

from collections.abc import Callable

import pytest
from toy import ToyAbi, ToyPlatform, install

from abidance.check.bench import Bench, make_bench
from abidance.check.check import Order, run_check
from abidance.check.plan import select
from abidance.check.results import CaseResult, Run, TargetResult


class Silent:
    """An observer that only remembers."""

    def __init__(self) -> None:
        self.seen: list[str] = []

    def target_begins(self, bench: Bench, cases: int) -> None:
        self.seen.append(f"begin {cases}")

    def case_done(self, bench: Bench, result: CaseResult, done: int) -> None:
        self.seen.append(result.id)

    def proof_step(self, bench: Bench, done: int, total: int) -> None:
        self.seen.append(f"proof {done}/{total}")

    def target_done(self, result: TargetResult) -> None:
        self.seen.append("done")


@pytest.fixture
def run_toy(monkeypatch: pytest.MonkeyPatch) -> Callable[..., Run]:
    """Run the toy's suite: run_toy(behaviour, …) -> Run."""

    def run(*behaviours: str, platform: ToyPlatform | None = None, abi: ToyAbi | None = None, jobs: int = 1,
            prove: bool = False, clauses: tuple[str, ...] = (), cases: tuple[str, ...] = (),
            required: tuple[str, ...] = (), observer: Silent | None = None, seed: int = 1) -> Run:
        platform = install(platform or ToyPlatform(behaviours=list(behaviours) or ["good"]), monkeypatch)
        abi = abi or ToyAbi()
        bench = make_bench(abi, abi.target("toy"), seed=seed)
        selection = select(abi.spec, abi.suite, clauses, cases)
        order = Order(abi, (bench,), selection, seed, jobs, required, prove)
        return run_check(order, observer or Silent())

    return run
