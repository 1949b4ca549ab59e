# SPDX-License-Identifier: BSD-2-Clause
"""A whole run on a guest that misbehaves in every way: each way has its verdict, and none is PASS."""

from __future__ import annotations

import json as plain_json
from collections.abc import Callable

import pytest
from observers import Interrupting, Silent
from toy import ToyAbi, ToyPlatform

from abidance.check.bench import Bench
from abidance.check.check import run_status
from abidance.check.results import BOUND, EXEMPT, GUEST, CaseResult, ClauseResult, Run
from abidance.check.verdict import Verdict
from abidance.errors import FrameError, GuestCrashed, GuestTimeout, SessionLost, UnavailableError, UsageError
from abidance.report import json

Runner = Callable[..., Run]
ECHOES = "toy/toy-cases/echoes"


def case_of(run: Run, ident: str) -> CaseResult:
    return next(case for case in run.targets[0].cases if case.id == ident)


def clause_of(run: Run, ident: str) -> ClauseResult:
    return next(clause for clause in run.targets[0].clauses if clause.id == ident)


def test_good_guest(run_toy: Runner) -> None:
    run = run_toy("good")
    assert {case.id.rpartition("/")[2]: case.verdict for case in run.targets[0].cases} == {
        "adds-one": Verdict.PASS, "seen-even": Verdict.DIFFERS, "echoes": Verdict.PASS,
        "preserves[Add]": Verdict.PASS, "preserves[Echo]": Verdict.PASS}
    assert run_status(run) == 0
    assert not run.targets[0].mismatches


@pytest.mark.parametrize(("behaviour", "verdict", "status"), [
    ("wrong", Verdict.FAIL, 1),
    ("fault", Verdict.FAIL, 1),
    ("none", Verdict.FAIL, 1),
    ("crash", Verdict.CRASH, 1),
    ("hang", Verdict.TIMEOUT, 1),
    ("killed", Verdict.MISS, 3),
    ("damaged", Verdict.ERROR, 3),
    ("refuse", Verdict.ERROR, 3),
])
def test_bad_guest(run_toy: Runner, behaviour: str, verdict: Verdict, status: int) -> None:
    run = run_toy(behaviour)
    assert case_of(run, ECHOES).verdict is verdict
    assert clause_of(run, "toy.Echo.echoes").verdict is verdict
    assert case_of(run, "toy/toy-cases/adds-one").verdict is Verdict.PASS
    assert run_status(run) == status


def test_damaged_records_are_an_error(run_toy: Runner) -> None:
    run = run_toy("cut")
    assert {case.verdict for case in run.targets[0].cases} == {Verdict.ERROR}
    assert run_status(run) == 3


def test_a_finding_shows_what_was_done(run_toy: Runner) -> None:
    finding, = case_of(run_toy("wrong"), ECHOES).findings
    assert (finding.expected, finding.seen, finding.what) == ("0x00000005", "0x00000004", "the echo")
    assert "call Echo(eax=0x5)" in finding.done[0]
    assert finding.clauses == ("toy.Echo.echoes",)
    assert finding.where.startswith("toy_cases:")


def test_a_call_that_did_not_return_is_a_finding_with_the_fault(run_toy: Runner) -> None:
    finding, = case_of(run_toy("fault"), ECHOES).findings
    assert "fault 13 (#GP) at 0x60:0xc00c0010, error 0x8" in finding.seen


def test_a_dead_session_is_replaced(run_toy: Runner) -> None:
    platform = ToyPlatform(behaviours=["crash", "good"])
    run = run_toy(platform=platform)
    assert case_of(run, ECHOES).verdict is Verdict.CRASH
    assert case_of(run, "toy/toy-cases/preserves[Echo]").verdict is Verdict.PASS
    assert len(platform.booted) == 2
    assert all(session.closed for session in platform.booted)


def test_each_case_begins_after_hello(run_toy: Runner) -> None:
    platform = ToyPlatform()
    run_toy(platform=platform)
    session, = platform.booted
    assert session.resets == len(case_ids()) - 1


def case_ids() -> list[str]:
    """The cases that run: bound and not for guests."""
    return ["adds-one", "seen-even", "echoes", "preserves[Add]", "preserves[Echo]"]


@pytest.mark.parametrize(("error", "verdict", "status"), [
    (GuestCrashed("triple fault"), Verdict.CRASH, 1),
    (GuestTimeout("no HELLO"), Verdict.TIMEOUT, 1),
    (SessionLost("worker gone"), Verdict.MISS, 3),
    (FrameError("not a HELLO"), Verdict.ERROR, 3),
])
def test_guest_that_does_not_start(run_toy: Runner, error: Exception, verdict: Verdict, status: int) -> None:
    run = run_toy(platform=ToyPlatform(boot_error=error))
    core = [case for case in run.targets[0].cases if case.id != "toy/toy-cases/seen-even"]
    assert {case.verdict for case in core} == {verdict}
    assert all("the guest did not start" in case.reason for case in core)
    assert run_status(run) == status


def test_what_a_user_can_mend_is_raised(run_toy: Runner) -> None:
    with pytest.raises(UsageError, match="bad machine"):
        run_toy(platform=ToyPlatform(boot_error=UsageError("bad machine")))
    with pytest.raises(UnavailableError, match="apt-get install toybox"):
        run_toy(platform=ToyPlatform(missing="apt-get install toybox"))


def test_standing(run_toy: Runner) -> None:
    run = run_toy()
    assert clause_of(run, "toy.Add.guest-asks-nicely").standing == GUEST
    slow = clause_of(run, "toy.Add.when-slow")
    assert (slow.standing, slow.verdict) == (EXEMPT, None)
    assert "speed == 'slow'" in slow.reason
    assert "'fast'" in slow.reason
    absent = clause_of(run, "toy.Absent.does")
    assert (absent.standing, absent.reason) == (EXEMPT, "Absent is not offered")
    assert clause_of(run, "toy.Add.adds-one").standing == BOUND


def test_clauses_without_cases(run_toy: Runner) -> None:
    run = run_toy()
    for name, reason in (("toy.Echo.untested", "nobody is outside"), ("toy.speed.is-free", "permission"),
                         ("toy.Add.is-quick", "no case written")):
        assert clause_of(run, name).verdict is Verdict.NOT_TESTED
        assert reason in clause_of(run, name).reason


def test_practice_is_never_a_bare_fail(run_toy: Runner) -> None:
    clause = clause_of(run_toy(), "toy.Add.seen-even")
    assert clause.verdict is Verdict.DIFFERS
    assert clause.reason.startswith("toy/toy-cases/seen-even: practice: the lowest bit")


def test_profile_against_what_is_found(run_toy: Runner) -> None:
    run = run_toy(platform=ToyPlatform(offers=(1, 3)))
    assert run.targets[0].mismatches == (
        "the profile declares Echo as offered, the implementation answers that it is not",
        "the implementation offers Absent, the profile declares it absent")
    assert run_status(run) == 1


def test_a_call_that_is_not_there_keeps_nothing(run_toy: Runner) -> None:
    run = run_toy(platform=ToyPlatform(offers=(1,)))
    target = run.targets[0]
    assert "Echo" not in target.offered
    assert clause_of(run, "toy.Echo.echoes").verdict is Verdict.ERROR
    assert "not there" in clause_of(run, "toy.Echo.echoes").reason
    everything = next(item for item in target.classes if item.name == "everything")
    assert "Echo" in everything.missing
    assert not any(clause.proven for clause in target.clauses if clause.entry == "Echo")


def test_selection(run_toy: Runner) -> None:
    run = run_toy(clauses=("toy.Echo.*",))
    assert {clause.entry for clause in run.targets[0].clauses} == {"Echo"}
    assert {case.id for case in run.targets[0].cases} == {ECHOES, "toy/toy-cases/preserves[Echo]"}
    one = run_toy(cases=("toy/toy-cases/preserves[Echo]",))
    assert [case.id for case in one.targets[0].cases] == ["toy/toy-cases/preserves[Echo]"]
    assert [clause.id for clause in one.targets[0].clauses] == ["toy.Echo.preserves-ebx"]


def test_selection_suggests(run_toy: Runner) -> None:
    with pytest.raises(UsageError, match=r"did you mean toy\.Echo\.echoes"):
        run_toy(clauses=("toy.Echo.echos",))
    with pytest.raises(UsageError, match="did you mean toy/toy-cases/echoes"):
        run_toy(cases=("toy/toy-cases/echos",))


def test_same_seed_same_bytes(run_toy: Runner) -> None:
    def text(**options: object) -> str:
        values = plain_json.loads(json.encode(run_toy("wrong", prove=True, **options)))
        del values["times"]
        return plain_json.dumps(values)

    assert text() == text(jobs=3)
    assert text() != text(seed=2)


def test_jobs_give_every_case_once(run_toy: Runner) -> None:
    run = run_toy("crash", "good", "killed", "good", jobs=4)
    assert [case.id.rpartition("/")[2] for case in run.targets[0].cases] == case_ids()


def test_interrupt_keeps_what_was_recorded(run_toy: Runner) -> None:
    run = run_toy(observer=Interrupting(after=2))
    verdicts = [case.verdict for case in run.targets[0].cases]
    assert run.interrupted
    assert verdicts[0] is Verdict.PASS
    assert verdicts.count(Verdict.MISS) >= len(case_ids()) - 3
    assert run_status(run) == 3


def test_classes(run_toy: Runner) -> None:
    run = run_toy(required=("everything", "adding"))
    by_name = {item.name: item for item in run.targets[0].classes}
    assert by_name["adding"].conforms is True
    assert by_name["everything"].conforms is False
    assert by_name["everything"].missing == ("Absent",)
    assert run_status(run) == 1
    assert run_status(run_toy(required=("adding",))) == 0


def test_class_with_nothing_seen_is_undecided(run_toy: Runner) -> None:
    run = run_toy("wrong")
    conforms = {item.name: item.conforms for item in run.targets[0].classes}
    assert conforms == {"adding": True, "everything": False}
    run = run_toy("killed", required=("adding",))
    assert {item.name: item.conforms for item in run.targets[0].classes}["adding"] is True


def test_proof(run_toy: Runner) -> None:
    run = run_toy(prove=True)
    added = clause_of(run, "toy.Add.adds-one")
    assert (added.proven, added.killed) == (True, "Add-adds-two")
    assert clause_of(run, "toy.Echo.echoes").proven, "a crash of the mutant kills it too"
    assert not clause_of(run, "toy.Add.preserves-ebx").proven, "no mutant violates it"
    verdicts = {item.name: (item.killed_by, item.verdict) for item in run.targets[0].mutants}
    assert verdicts["Echo-dies"] == ("own", Verdict.CRASH)


def test_nothing_is_proven_by_a_case_that_fails_anyway(run_toy: Runner) -> None:
    run = run_toy("wrong", prove=True)
    assert not clause_of(run, "toy.Echo.echoes").proven


def test_proof_needs_a_passing_original() -> None:
    assert ToyAbi().mutant("Add-adds-two").violates == "toy.Add.adds-one"


def test_interrupt_while_proving_keeps_what_is_proven(run_toy: Runner) -> None:
    class Proof(Silent):
        def proof_step(self, bench: Bench, done: int, total: int) -> None:
            raise KeyboardInterrupt

    run = run_toy(prove=True, observer=Proof())
    assert run.interrupted
    assert sum(item.proven for item in run.targets[0].clauses) == 1
    assert {case.verdict for case in run.targets[0].cases} == {Verdict.PASS, Verdict.DIFFERS}
    assert run_status(run) == 3
