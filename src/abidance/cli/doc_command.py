# SPDX-License-Identifier: BSD-2-Clause
"""`abidance doc`: the specification as a web site, with the verdicts of a run if one is given."""

from __future__ import annotations

import argparse
from pathlib import Path

from abidance.abi import find_abi
from abidance.check.results import BOUND, EXEMPT, ClauseResult, Run
from abidance.check.verdict import GOOD
from abidance.cli.output import emit
from abidance.errors import InputError, Place, UsageError
from abidance.render.book import Book
from abidance.render.diagram_data import load_diagrams
from abidance.render.site import available, build
from abidance.render.verdicts import ClassOutcome, Outcome, TargetNote, Verdicts
from abidance.spec import Specification

__all__ = ["run", "verdicts_of"]


def run(options: argparse.Namespace) -> int:
    """Carry out the command. UnavailableError without Sphinx, InputError for files that are wrong."""
    available()
    abi = find_abi(options.abi)
    verdicts = _read(Path(options.results), abi.spec) if options.results else None
    trace_file = abi.directory / "trace.yaml"
    trace = None
    if trace_file.is_file():
        from abidance.spec.trace import load_trace
        trace = load_trace(abi.spec, trace_file)
    diagrams = load_diagrams(abi.spec, abi.directory / "diagrams.yaml")
    build(Book(abi.spec, diagrams, trace, verdicts), Path(options.output))
    emit(f"{Path(options.output) / 'index.html'}\n")
    return GOOD


def _read(path: Path, spec: Specification) -> Verdicts:
    from abidance.report.json import decode
    try:
        data = path.read_bytes()
    except OSError as error:
        raise UsageError(f"cannot read {path}: {error.strerror}") from error
    result = decode(data, path)
    if result.abi != spec.abi:
        raise InputError(Place(str(path)), "abi", f"results of {result.abi}, not of {spec.abi}",
                         mend=f"name the results of check {spec.abi}")
    return verdicts_of(result, spec)


def verdicts_of(result: Run, spec: Specification) -> Verdicts:
    """What the site shows of a run."""
    words = {True: "yes", False: "no", None: "undecided"}
    digests = {digest.sha256 for digest in result.digests if digest.role == "specification"}
    return Verdicts(
        targets=tuple(TargetNote(target.target, target.engine, len(target.offered), target.calls)
                      for target in result.targets),
        clauses=tuple(_outcome(target.target, clause)
                      for target in result.targets for clause in target.clauses),
        classes=tuple(ClassOutcome(target.target, item.name, words[item.conforms])
                      for target in result.targets for item in target.classes),
        started=result.times.started,
        tool=result.tool,
        current=spec.digest in digests,
    )


def _outcome(target: str, clause: ClauseResult) -> Outcome:
    if clause.verdict is not None:
        word = clause.verdict.value.replace("_", " ")
    else:
        word = {BOUND: "NOT TESTED", EXEMPT: "exempt"}.get(clause.standing, "not judged")
    return Outcome(target, clause.id, clause.rev, word, clause.reason, clause.cases, clause.proven)
