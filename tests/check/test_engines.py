# SPDX-License-Identifier: BSD-2-Clause
"""Real machines that hang, crash and are killed: TIMEOUT, CRASH, MISS, and the next case is well."""

from __future__ import annotations

import os
from functools import cached_property

import deadly_cases
import pytest
from observers import Silent
from process_tree import all_gone, descendants

from abidance.abi import Abi
from abidance.check.bench import make_bench
from abidance.check.check import Order, run_check, run_status
from abidance.check.plan import select
from abidance.check.verdict import Verdict
from abidance.suite.load import Suite, build_suite

EXPECTED = {
    "well-before": Verdict.PASS, "spins": Verdict.TIMEOUT, "triple-faults": Verdict.CRASH,
    "engine-is-killed": Verdict.MISS, "looks-at-nothing": Verdict.ERROR, "well-after": Verdict.PASS,
}


class Deadly(Abi):
    """VMI with other cases."""

    @cached_property
    def suite(self) -> Suite:
        return build_suite([deadly_cases.__name__], self.spec)


def check(target: str) -> None:
    abi = Deadly("vmi")
    bench = make_bench(abi, abi.target(target), seed=1)
    run = run_check(Order(abi, (bench,), select(abi.spec, abi.suite, (), ()), 1, prove=False), Silent())
    result, = run.targets
    assert {case.id.rpartition("/")[2]: case.verdict for case in result.cases} == EXPECTED
    clause, = (item for item in result.clauses if item.id == deadly_cases.CLAUSE)
    assert clause.verdict is Verdict.CRASH
    assert run_status(run) == 1
    assert all_gone(descendants(os.getpid(), depth=2)), "every worker has ended; the zygote stays"


@pytest.mark.parametrize("target", ["reference", "native@unicorn"])
def test_embedded(target: str) -> None:
    check(target)


def test_qemu(qemu: str) -> None:
    check("native@qemu")
