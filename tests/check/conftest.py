# SPDX-License-Identifier: BSD-2-Clause
"""The toy ABI on the toy platform."""

from __future__ import annotations

from collections.abc import Callable

import pytest
from observers import Silent
from toy import ToyAbi, ToyPlatform, install

from abidance.check.bench import make_bench
from abidance.check.check import Order, run_check
from abidance.check.plan import select
from abidance.check.results import Run


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
