# SPDX-License-Identifier: BSD-2-Clause
"""Results as JUnit XML for CI: a test suite per target, a test case per case."""

from __future__ import annotations

import re

from junitparser import Error, Failure, JUnitXml, Skipped, TestCase, TestSuite

from abidance.check.results import CaseResult, Run, TargetResult
from abidance.check.verdict import Verdict

__all__ = ["encode"]

DECLARATION = b'<?xml version="1.0" encoding="UTF-8"?>\n'
NOT_XML = re.compile("[^\t\n\r\u0020-\ud7ff\ue000-\ufffd\U00010000-\U0010ffff]")


def encode(run: Run) -> bytes:
    """The run as an XML document. DIFFERS is no failure; MISS and ERROR are errors."""
    document = JUnitXml("abidance")
    for target in run.targets:
        document.add_testsuite(_suite(run, target))
    text: str | bytes = document.tostring()  # type: ignore[no-untyped-call]
    body = text if isinstance(text, bytes) else text.encode()
    return DECLARATION + body + b"\n"


def _suite(run: Run, target: TargetResult) -> TestSuite:
    suite = TestSuite(_xml(f"{run.abi}.{target.target}"))
    suite.timestamp = run.times.started
    for name, value in (("seed", run.seed), ("engine", target.engine), ("profile", target.profile.name),
                        *((f"digest.{d.role}", d.sha256) for d in (*run.digests, *target.artifacts))):
        suite.add_property(name, _xml(value))
    seconds = run.times.cases.get(target.target, {})
    suite.add_testcases([_case(target, case, seconds.get(case.id, 0.0)) for case in target.cases])
    for number, text in enumerate(target.mismatches):
        made = TestCase(f"profile-{number}", f"{run.abi}.{target.target}.profile", 0.0)
        made.result = [Failure(_xml(text), "FAIL")]
        suite.add_testcase(made)
    return suite


def _case(target: TargetResult, case: CaseResult, seconds: float) -> TestCase:
    head, _, name = case.id.rpartition("/")
    made = TestCase(_xml(name), _xml(f"{head.replace('/', '.')}.{target.target}"), seconds)
    if case.verdict.is_finding:
        made.result = [_filled(Failure(_xml(case.reason), case.verdict.value), case)]
    elif case.verdict.is_undecided:
        made.result = [_filled(Error(_xml(case.reason), case.verdict.value), case)]
    elif case.verdict in (Verdict.NOT_TESTED, Verdict.SKIP):
        made.result = [Skipped(_xml(case.reason), case.verdict.value)]
    elif case.verdict is Verdict.DIFFERS:
        made.system_out = _xml(f"DIFFERS: {case.reason}")
    return made


def _filled(result: Failure | Error, case: CaseResult) -> Failure | Error:
    lines = [f"clause: {item.clause} {item.verdict.value}" for item in case.clauses]
    for finding in case.findings:
        lines += [finding.what, f"expected: {finding.expected}", f"seen: {finding.seen}", *finding.done]
    result.text = _xml("\n".join([*lines, case.rerun]))
    return result


def _xml(text: str) -> str:
    """Without characters that XML 1.0 cannot hold."""
    return NOT_XML.sub("\N{REPLACEMENT CHARACTER}", text)
