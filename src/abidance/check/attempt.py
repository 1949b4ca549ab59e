# SPDX-License-Identifier: BSD-2-Clause
"""One attempt of one case on one guest, and what it says about each clause.

Nothing that goes wrong here can become a PASS: an exception of any kind has a verdict of its own,
and a case that ends well without having expected anything about a clause is an ERROR for it.
"""

from __future__ import annotations

import traceback
from dataclasses import dataclass

from abidance.check.results import CaseResult, ClauseVerdict, FindingRecord
from abidance.check.verdict import Verdict, worst
from abidance.errors import AbidanceError, GuestCrashed, GuestTimeout, LinkError, SessionError, SessionLost
from abidance.spec import Clause, Layer, Level
from abidance.suite.case import Case
from abidance.suite.expectation import Notebook, Skipped, Unmet, Untested, Violated
from abidance.suite.guest import Guest

__all__ = ["Ending", "attempt", "ending_of", "obliges", "unattempted"]

OBLIGATIONS = (Level.MUST, Level.MUST_NOT)


@dataclass(frozen=True)
class Ending:
    """How an attempt ended, apart from its findings. `session_usable` says whether the session can
    be reset and used again."""

    verdict: Verdict
    reason: str = ""
    session_usable: bool = True


def obliges(clause: Clause) -> bool:
    """Whether violating the clause makes an implementation wrong: a core MUST or MUST NOT."""
    return clause.layer is Layer.CORE and clause.level in OBLIGATIONS


def attempt(case: Case, guest: Guest, clauses: tuple[Clause, ...],
            rerun: str = "") -> tuple[CaseResult, Ending]:
    """Run a case once. `clauses` are those of its clauses that are judged."""
    ending = _run(case, guest)
    return _result(case, guest, clauses, ending, rerun), ending


def unattempted(case: Case, clauses: tuple[Clause, ...], ending: Ending, rerun: str = "") -> CaseResult:
    """The result of a case that was not run: NOT_TESTED, MISS, or how the guest failed to start."""
    judged = tuple(_eased(clause, ending.verdict, ending.reason) for clause in clauses)
    return CaseResult(case.id, worst(item.verdict for item in judged) or ending.verdict, ending.reason,
                      clauses=judged, rerun=rerun)


def ending_of(error: BaseException) -> Ending:
    """The verdict of an exception, and whether the session survives it."""
    text = str(error) or type(error).__name__
    if isinstance(error, Violated):
        return Ending(Verdict.PASS)
    if isinstance(error, Skipped):
        return Ending(Verdict.SKIP, text)
    if isinstance(error, Untested):
        return Ending(Verdict.NOT_TESTED, text)
    if isinstance(error, Unmet):
        return Ending(Verdict.ERROR, text)
    if isinstance(error, GuestCrashed):
        return Ending(Verdict.CRASH, text, session_usable=False)
    if isinstance(error, GuestTimeout):
        return Ending(Verdict.TIMEOUT, text, session_usable=False)
    if isinstance(error, SessionLost):
        return Ending(Verdict.MISS, text, session_usable=False)
    if isinstance(error, LinkError | SessionError):
        return Ending(Verdict.ERROR, f"{type(error).__name__}: {text}", session_usable=False)
    if isinstance(error, AbidanceError):
        return Ending(Verdict.ERROR, text)
    return Ending(Verdict.ERROR, f"defect of the case: {type(error).__name__}: {text}{_where(error)}")


def _run(case: Case, guest: Guest) -> Ending:
    try:
        case.run(guest)
        guest.finish()
    except Exception as error:  # noqa: BLE001 (a case is code by others; whatever it raises is a verdict)
        return ending_of(error)
    return Ending(Verdict.PASS)


def _result(case: Case, guest: Guest, clauses: tuple[Clause, ...], ending: Ending, rerun: str) -> CaseResult:
    notes = guest.notebook
    judged = tuple(_eased(clause, *_of_clause(notes, clause.id, ending)) for clause in clauses)
    findings = [FindingRecord(item.what, item.expected, item.seen, _spoken_for(item.clause, clauses),
                              item.done, item.where) for item in notes.findings]
    if ending.verdict in (Verdict.CRASH, Verdict.TIMEOUT):
        findings.append(FindingRecord("the guest answers", "an answer", ending.reason,
                                      _spoken_for(None, clauses), guest.done()))
    verdict = worst(item.verdict for item in judged) or Verdict.ERROR
    reason = next((item.reason for item in judged if item.verdict is verdict), "no clause is judged")
    return CaseResult(case.id, verdict, reason, notes.evaluated.total(), judged, tuple(findings), rerun)


def _of_clause(notes: Notebook, clause: str, ending: Ending) -> tuple[Verdict, str]:
    if notes.violates(clause):
        first = next(item for item in notes.findings if item.clause in (None, clause))
        return Verdict.FAIL, f"{first.what}: expected {first.expected}, seen {first.seen}"
    if ending.verdict is not Verdict.PASS:
        return ending.verdict, ending.reason
    if not notes.evaluations(clause):
        return Verdict.ERROR, "the case expected nothing about this clause"
    return Verdict.PASS, ""


def _eased(clause: Clause, verdict: Verdict, reason: str) -> ClauseVerdict:
    if verdict.is_finding and not obliges(clause):
        kind = "practice" if clause.layer is Layer.PRACTICE else clause.level.value
        was = "" if verdict is Verdict.FAIL else f"{verdict.value}: "
        return ClauseVerdict(clause.id, Verdict.DIFFERS, f"{kind}: {was}{reason}")
    return ClauseVerdict(clause.id, verdict, reason)


def _spoken_for(clause: str | None, clauses: tuple[Clause, ...]) -> tuple[str, ...]:
    return tuple(item.id for item in clauses) if clause is None else (clause,)


def _where(error: BaseException) -> str:
    frames = traceback.extract_tb(error.__traceback__)
    if not frames:
        return ""
    last = frames[-1]
    return f" (in {last.name}, line {last.lineno} of {last.filename.rpartition('/')[2]})"
