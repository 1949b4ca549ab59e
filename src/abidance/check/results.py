# SPDX-License-Identifier: BSD-2-Clause
"""The results of a run as frozen values: what reports are made from and what JSON holds.

Everything that may differ between two runs with the same seed stands in `Times`, and nowhere
else. Digests are SHA-256 in hex; the seed and all 64-bit values are hex strings.
"""

from __future__ import annotations

from msgspec import Struct, field

from abidance.check.verdict import Verdict
from abidance.spec import Layer, Level

__all__ = [
    "FORMAT",
    "FORMAT_VERSION",
    "CaseResult",
    "ClassResult",
    "ClauseResult",
    "ClauseVerdict",
    "Digest",
    "FindingRecord",
    "MutantResult",
    "ProfileRecord",
    "Run",
    "Standing",
    "TargetResult",
    "Times",
]

FORMAT, FORMAT_VERSION = "abidance-results", 1
BOUND, EXEMPT, GUEST = "bound", "exempt", "guest"
Standing = str
"""bound: judged; exempt: the profile takes it out; guest: binds guests, not judged here."""
Fact = bool | int | str


class FindingRecord(Struct, frozen=True):
    """A violated expectation. `clauses` are those it speaks against; `done` the operations up to
    it, in order; `where` module and line of the case."""

    what: str
    expected: str
    seen: str
    clauses: tuple[str, ...] = ()
    done: tuple[str, ...] = ()
    where: str = ""


class ClauseVerdict(Struct, frozen=True):
    """What one case says about one clause."""

    clause: str
    verdict: Verdict
    reason: str = ""


class CaseResult(Struct, frozen=True):
    """How a case came out. `expectations` counts those evaluated."""

    id: str
    verdict: Verdict
    reason: str = ""
    expectations: int = 0
    clauses: tuple[ClauseVerdict, ...] = ()
    findings: tuple[FindingRecord, ...] = ()
    rerun: str = ""


class MutantResult(Struct, frozen=True):
    """How a mutant fared. `killed_by`: "own", "other" or "" (survived); `case` and `verdict` say
    by what; `undecided` is a reason why nothing can be concluded."""

    name: str
    violates: str
    on: str
    summary: str
    killed_by: str = ""
    case: str = ""
    verdict: Verdict | None = None
    undecided: str = ""
    equivalent: str = ""


class ClauseResult(Struct, frozen=True):
    """How a clause came out on a target. `verdict` is None unless it is bound; `reason` says why
    it is exempt, not tested, or what is wrong; `killed` names the mutant that proves it."""

    id: str
    rev: int
    group: str
    level: Level
    layer: Layer
    stamped: bool
    standing: Standing
    text: str
    entry: str | None = None
    verdict: Verdict | None = None
    reason: str = ""
    cases: tuple[str, ...] = ()
    proven: bool = False
    killed: str = ""


class ClassResult(Struct, frozen=True):
    """Conformance to a class. `conforms` is None where it could not be decided; `unseen` are
    offered calls of which no clause about the effect was seen to hold."""

    name: str
    title: str
    conforms: bool | None
    missing: tuple[str, ...] = ()
    violated: tuple[str, ...] = ()
    undecided: tuple[str, ...] = ()
    unseen: tuple[str, ...] = ()
    not_tested: int = 0
    passed: int = 0
    required: bool = False


class Digest(Struct, frozen=True):
    """Something that was used, and its SHA-256 in hex."""

    role: str
    name: str
    sha256: str


class ProfileRecord(Struct, frozen=True):
    """What the target declares, with what the platform decides."""

    name: str
    facts: dict[str, Fact]
    offers: tuple[str, ...]


class TargetResult(Struct, frozen=True):
    """One target. `mismatches` are differences between the declared profile and what was found."""

    target: str
    implementation: str
    platform: str
    engine: str
    artifacts: tuple[Digest, ...]
    profile: ProfileRecord
    cases: tuple[CaseResult, ...] = ()
    clauses: tuple[ClauseResult, ...] = ()
    classes: tuple[ClassResult, ...] = ()
    mismatches: tuple[str, ...] = ()
    mutants: tuple[MutantResult, ...] = ()
    offered: tuple[str, ...] = ()
    """The numbered calls it offers, of `calls` that the ABI has."""
    calls: int = 0


class Times(Struct, frozen=True):
    """When, and how long: the only part that differs between two runs with the same seed."""

    started: str = ""
    seconds: float = 0.0
    cases: dict[str, dict[str, float]] = field(default_factory=dict)
    """Seconds of each case, by target and case id."""


class Run(Struct, frozen=True):
    """One run of `abidance check`."""

    abi: str
    specification: str
    digests: tuple[Digest, ...]
    seed: str
    selection: tuple[str, ...]
    targets: tuple[TargetResult, ...]
    times: Times
    tool: str = ""
    interrupted: bool = False
    format: str = FORMAT
    version: int = FORMAT_VERSION
