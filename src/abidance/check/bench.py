# SPDX-License-Identifier: BSD-2-Clause
"""A bench: one target made ready, and the lanes that run its cases.

Every case gets a session in the state just after HELLO: freshly booted, or reset. A session that
crashed, timed out or was lost is thrown away, and the next case boots another. When booting fails
twice running (once, where it would go the same way again), the cases that are left share that
verdict instead of waiting for it.
"""

from __future__ import annotations

import threading
import time
from dataclasses import dataclass, replace
from functools import cached_property

from abidance.abi import Abi
from abidance.check.attempt import Ending, attempt, ending_of, unattempted
from abidance.check.platforms import find_platform
from abidance.check.results import CaseResult
from abidance.check.verdict import Verdict
from abidance.errors import AbidanceError, SessionLost, UnavailableError, UsageError
from abidance.kernel import Hello
from abidance.platform import Machine, Platform, Session
from abidance.spec import Clause, Profile, load_profile
from abidance.suite.case import Case
from abidance.suite.guest import Guest
from abidance.suite.mutant import Mutant
from abidance.suite.target import Target

__all__ = ["BOOT_SECONDS", "Bench", "CaseLane", "Task", "Timed", "make_bench"]

BOOT_SECONDS = 20.0
VIRTUAL_BOOT_SECONDS, VIRTUAL_BATCH_SECONDS = 4.0, 3.0
"""Where time is virtual, limits can be narrow: a good guest needs the same on every machine."""
BOOT_TRIES = 2


@dataclass(frozen=True)
class Task:
    """A case to run, and those of its clauses that are judged by it."""

    case: Case
    clauses: tuple[Clause, ...]


@dataclass(frozen=True)
class Timed:
    """A result and how long it took."""

    result: CaseResult
    seconds: float


@dataclass(frozen=True)
class Bench:
    """A target ready to run cases: platform found and available, artifacts there, profile loaded."""

    abi: Abi
    target: Target
    platform: Platform
    machine: Machine
    profile: Profile
    seed: int
    mutant: Mutant | None = None

    @cached_property
    def engine(self) -> str:
        """The engine and its version."""
        return self.platform.version()

    def boot(self) -> Session:
        """A booted session. Raises what `Platform.boot` raises."""
        deadline = VIRTUAL_BOOT_SECONDS if self.platform.capabilities.deterministic else BOOT_SECONDS
        return self.platform.boot(self.machine, deadline=deadline)

    def guest(self, session: Session, case: Case) -> Guest:
        """A guest for one case."""
        made = self.abi.guest(session, self.abi.spec, self.profile, case=case.id, clauses=case.clauses,
                              seed=self.seed)
        if self.platform.capabilities.deterministic:
            made.deadline, made.virtual_time = VIRTUAL_BATCH_SECONDS, True
        return made

    def rerun(self, case: Case) -> str:
        """The command that runs just this case here."""
        return (f"abidance check {self.abi.name} --target {self.target.name} --case '{case.id}' "
                f"--seed {self.seed:#x}")

    def with_mutant(self, mutant: Mutant) -> Bench:
        """The same with a defect. Raises UsageError, UnavailableError."""
        machine = self.target.implementation.machine(self.target.platform, mutant)
        return replace(self, machine=machine, mutant=mutant)

    def lane(self) -> CaseLane:
        """One worker for this bench."""
        return CaseLane(self)


def make_bench(abi: Abi, target: Target, *, seed: int, gdb: int | None = None) -> Bench:
    """Make a target ready. Raises UnavailableError (engine or artifact missing), UsageError, InputError."""
    platform = find_platform(target.platform, gdb=gdb)
    remedy = platform.available()
    if remedy is not None:
        what = f"{target.full_name} needs {target.platform}, which is not installed"
        raise UnavailableError(what, remedy=remedy)
    machine = target.implementation.machine(target.platform)
    profile = load_profile(abi.spec, target.implementation.profile)
    return Bench(abi, target, platform, machine, on_platform(profile, platform), seed)


def on_platform(profile: Profile, platform: Platform) -> Profile:
    """The profile with the facts that the platform decides."""
    return profile.with_facts(**dict(platform.capabilities.facts))


class CaseLane:
    """Runs tasks one after another in a session of its own."""

    def __init__(self, bench: Bench) -> None:
        self._bench = bench
        self._session: Session | None = None
        self._fresh = False
        self._failed: list[Ending] = []
        self._closed = threading.Event()
        self.hello: Hello | None = None
        """What the test kernel announced when it was first booted here."""

    def work(self, item: Task) -> Timed:
        """Run one task; never raises for what a guest or an engine does."""
        begun = time.perf_counter()
        result = self._attempt(item)
        return Timed(result, time.perf_counter() - begun)

    def close(self) -> None:
        """End the session."""
        self._closed.set()
        self._drop()

    def _attempt(self, task: Task) -> CaseResult:
        rerun = self._bench.rerun(task.case)
        try:
            session = self._ready()
        except (UsageError, UnavailableError):
            raise
        except AbidanceError as error:
            return unattempted(task.case, task.clauses, self._boot_failed(error), rerun)
        if session is None:
            return unattempted(task.case, task.clauses, self._failed[-1], rerun)
        result, ending = attempt(task.case, self._bench.guest(session, task.case), task.clauses, rerun)
        self._fresh = False
        if not ending.session_usable:
            self._drop()
        return result

    def _ready(self) -> Session | None:
        """A session just after HELLO; None when booting has failed too often."""
        if self._session is not None and not self._fresh:
            try:
                self._session.reset()
                self._fresh = True
            except AbidanceError:
                self._drop()
        if self._session is None:
            if len(self._failed) >= BOOT_TRIES:
                return None
            self._session = self._bench.boot()
            self.hello = self.hello or self._session.hello
            self._failed.clear()
            self._fresh = True
            if self._closed.is_set():
                self._drop()
                raise SessionLost("interrupted")
        return self._session

    def _boot_failed(self, error: AbidanceError) -> Ending:
        ending = ending_of(error)
        verdict = ending.verdict if ending.verdict is not Verdict.PASS else Verdict.ERROR
        ending = Ending(verdict, f"the guest did not start: {ending.reason}", session_usable=False)
        self._failed.append(ending)
        if self._bench.platform.capabilities.deterministic and verdict is not Verdict.MISS:
            self._failed += [ending] * BOOT_TRIES  # it would go the same way again
        return ending

    def _drop(self) -> None:
        session, self._session = self._session, None
        if session is not None:
            session.close()
