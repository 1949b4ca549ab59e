# SPDX-License-Identifier: BSD-2-Clause
"""Run cases on targets and judge clauses. No printing: that is `report` and `cli`."""

from __future__ import annotations

from abidance.check.results import CaseResult, ClauseResult, Run, TargetResult
from abidance.check.verdict import Verdict, exit_status, worst

__all__ = ["CaseResult", "ClauseResult", "Run", "TargetResult", "Verdict", "exit_status", "worst"]
