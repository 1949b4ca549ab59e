# SPDX-License-Identifier: BSD-2-Clause
"""`abidance mutants`: does the suite notice implementations with one defect each?"""

from __future__ import annotations

import argparse
import contextlib
from collections import Counter
from collections.abc import Sequence
from fnmatch import fnmatchcase

from msgspec import Struct
from rich.console import Console
from rich.text import Text

from abidance.abi import Abi, find_abi
from abidance.check.lanes import Stopper
from abidance.check.mutants import OWN, Stand, make_stand, run_trials, trial
from abidance.check.plan import did_you_mean, select
from abidance.check.results import Digest, MutantResult
from abidance.check.verdict import FINDING, GOOD, UNDECIDED, Verdict
from abidance.cli.check_command import jobs_wanted
from abidance.cli.output import check_writable, color_wanted, emit, warn, write_file
from abidance.cli.progress import Ticker
from abidance.cli.signals import stop_on_signals
from abidance.errors import UnavailableError, UsageError
from abidance.report.console import plain, to_text
from abidance.suite.mutant import Mutant

__all__ = ["MutantRun", "run"]

STYLES = {"killed": "green", "killed by another": "yellow", "undecided": "magenta", "SURVIVED": "bold red"}


class MutantRun(Struct, frozen=True):
    """The results of `abidance mutants`, as its JSON holds them."""

    abi: str
    digests: tuple[Digest, ...]
    seed: str
    mutants: tuple[MutantResult, ...]
    interrupted: bool = False
    format: str = "abidance-mutants"
    version: int = 1


def run(options: argparse.Namespace) -> int:
    """Carry out the command; the exit status: 1 if a mutant survived without an explanation, else
    3 if one is undecided."""
    abi = find_abi(options.abi)
    path = check_writable(options.json)
    mutants = _chosen(abi, options)
    result = _try_all(abi, mutants, options)
    if path is not None:
        from abidance.report import json
        write_file(path, json.encode(result))
    status = _status(result)
    emit(to_text(lambda console: _draw(console, result, options), color=color_wanted()), status=status)
    return status


def _chosen(abi: Abi, options: argparse.Namespace) -> list[Mutant]:
    for mutant in abi.mutants:
        abi.spec.clause(mutant.violates)
    names = [mutant.name for mutant in abi.mutants]
    for glob in options.mutant:
        if not any(fnmatchcase(name, glob) for name in names):
            raise UsageError(f"no mutant {glob!r}{did_you_mean(glob, names)}")
    known = [made.name for made in abi.implementations]
    for name in options.on:
        if name not in known:
            raise UsageError(f"no implementation {name!r}; there are {', '.join(known)}")
    wanted = {clause.id for clause in select(abi.spec, abi.suite, options.clause, ()).clauses}
    chosen = [mutant for mutant in abi.mutants if mutant.violates in wanted
              and (not options.on or mutant.on in options.on)
              and (not options.mutant or any(fnmatchcase(mutant.name, glob) for glob in options.mutant))]
    if not chosen:
        raise UsageError("no mutant is left by these options")
    return chosen


def _try_all(abi: Abi, mutants: Sequence[Mutant], options: argparse.Namespace) -> MutantRun:
    ticker, jobs = Ticker(quiet=options.quiet), jobs_wanted(options.jobs)
    results: dict[str, MutantResult] = {}
    stopper = Stopper()
    with stop_on_signals(stopper), contextlib.suppress(KeyboardInterrupt):
        ticker.say(f"{len(mutants)} mutants")
        ticker.show("running the originals", final=True)
        names = dict.fromkeys(mutant.on for mutant in mutants)
        stands = {name: _stand(abi, name, options.seed, jobs, stopper) for name in names}
        trials = []
        for mutant in mutants:
            stand = stands[mutant.on]
            if isinstance(stand, Stand):
                trials.append([trial(mutant, stand, everything=True)])
            else:
                results[mutant.name] = _undecided(mutant, str(stand))

        def record(_: int, group: Sequence[MutantResult]) -> None:
            results[group[0].name] = group[0]
            ticker.show(f"{len(results)}/{len(mutants)}  {group[0].name}")

        run_trials(trials, jobs=jobs, on_done=record, stopper=stopper)
    interrupted = len(results) < len(mutants)
    ticker.clear()
    ordered = tuple(results.get(m.name) or _undecided(m, "interrupted before it was tried") for m in mutants)
    digests = (Digest("specification", abi.name, abi.spec.digest),
               Digest("cases", abi.name, abi.suite.digest))
    return MutantRun(abi.name, digests, f"{options.seed:#x}", ordered, interrupted)


def _stand(abi: Abi, name: str, seed: int, jobs: int, stopper: Stopper) -> Stand | UnavailableError:
    try:
        everything = select(abi.spec, abi.suite, (), ())
        return make_stand(abi, name, everything, seed=seed, jobs=jobs, stopper=stopper)
    except UnavailableError as error:
        warn(str(error))
        return error


def _undecided(mutant: Mutant, why: str) -> MutantResult:
    return MutantResult(mutant.name, mutant.violates, mutant.on, mutant.summary, undecided=why,
                        equivalent=mutant.equivalent)


def _status(result: MutantRun) -> int:
    if any(not item.killed_by and not item.undecided and not item.equivalent for item in result.mutants):
        return FINDING
    return UNDECIDED if result.interrupted or any(item.undecided for item in result.mutants) else GOOD


def _fate(item: MutantResult) -> str:
    if item.killed_by:
        return "killed" if item.killed_by == OWN else "killed by another"
    return "undecided" if item.undecided else "SURVIVED"


def _draw(console: Console, result: MutantRun, options: argparse.Namespace) -> None:
    shown = [item for item in result.mutants if options.verbose or _fate(item) != "killed"]
    for item in () if options.quiet else shown:
        line = Text(_fate(item), STYLES[_fate(item)])
        line.append_text(plain(f"  {item.name} ({item.on}) violates {item.violates}: {_detail(item)}"))
        console.print(line, soft_wrap=True)
    console.print(plain(_totals(result)))


def _totals(result: MutantRun) -> str:
    total = len(result.mutants)
    fates = Counter(_fate(item) for item in result.mutants)
    own = fates["killed"]
    abrupt = sum(item.killed_by == OWN and item.verdict in (Verdict.CRASH, Verdict.TIMEOUT)
                 for item in result.mutants)
    return (f"{total} mutants: {own} killed by a case of the clause they violate ({100 * own // total} %; "
            f"{abrupt} of them by CRASH or TIMEOUT), {fates['killed by another']} by another clause's case, "
            f"{fates['SURVIVED']} survived, {fates['undecided']} undecided. Seed {result.seed}.")


def _detail(item: MutantResult) -> str:
    if item.killed_by:
        return f"{item.verdict.value if item.verdict else ''} of {item.case}"
    explained = f" Explained: {item.equivalent}" if item.equivalent else ""
    return f"{item.undecided or item.summary}{explained}"
