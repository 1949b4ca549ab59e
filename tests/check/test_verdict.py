# SPDX-License-Identifier: BSD-2-Clause
"""Verdicts, their order, and the exit status."""

from __future__ import annotations

import pytest

from abidance.check.verdict import Verdict, exit_status, worst

V = Verdict


def test_order_is_the_one_of_the_design() -> None:
    words = "FAIL CRASH TIMEOUT MISS ERROR DIFFERS NOT_TESTED SKIP PASS"
    assert [verdict.value for verdict in Verdict] == words.split()
    assert worst([V.PASS, V.MISS, V.FAIL, V.SKIP]) is V.FAIL
    assert worst([]) is None


@pytest.mark.parametrize(("verdicts", "status"), [
    ([V.PASS], 0),
    ([V.PASS, V.NOT_TESTED, V.SKIP], 0),
    ([V.PASS, V.DIFFERS], 0),
    ([V.PASS, V.FAIL, V.MISS], 1),
    ([V.PASS, V.CRASH], 1),
    ([V.TIMEOUT], 1),
    ([V.PASS, V.MISS], 3),
    ([V.PASS, V.ERROR], 3),
    ([V.NOT_TESTED, V.SKIP], 3),
    ([], 3),
])
def test_exit_status(verdicts: list[Verdict], status: int) -> None:
    assert exit_status(verdicts) == status
