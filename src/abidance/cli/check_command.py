# SPDX-License-Identifier: BSD-2-Clause
"""`abidance check`: run cases on targets, print what came out, write the files asked for."""

from __future__ import annotations

import argparse
import os
import shlex
from collections import Counter

from rich.console import Console

from abidance.abi import Abi, find_abi
from abidance.check.bench import make_bench
from abidance.check.check import Order, run_check, run_status
from abidance.check.conformance import required_classes
from abidance.check.plan import select
from abidance.check.results import Run
from abidance.check.verdict import GOOD, Verdict
from abidance.cli.output import check_writable, color_wanted, emit, same_file, warn, write_file
from abidance.cli.progress import Progress
from abidance.cli.signals import stop_on_signals
from abidance.errors import UsageError
from abidance.report import findings, ktap, table
from abidance.report.console import plain, to_text

__all__ = ["jobs_wanted", "run"]

DEFAULT_TARGET = "reference"
MOST_JOBS = 4


def run(options: argparse.Namespace) -> int:
    """Carry out the command; the exit status."""
    abi = find_abi(options.abi)
    json_path, junit_path = check_writable(options.json), check_writable(options.junit)
    if json_path is not None and junit_path is not None and same_file(json_path, junit_path):
        raise UsageError(f"--json and --junit both name {options.json}: give each its own file")
    order = _order(abi, options)
    if options.print_command:
        emit("".join(f"# {bench.target.full_name}\n{shlex.join(bench.platform.command(bench.machine))}\n"
                     for bench in order.benches))
        return GOOD
    if options.gdb is not None:
        warn(f"the guest waits for gdb: target remote 127.0.0.1:{options.gdb}")
    with stop_on_signals(order.stopper):
        result = run_check(order, Progress(quiet=options.quiet or options.ktap))
    status = run_status(result)
    if json_path is not None:
        from abidance.report import json
        write_file(json_path, json.encode(result))
    if junit_path is not None:
        from abidance.report import junit
        write_file(junit_path, junit.encode(result))
    emit(_text(result, options), status=status)
    return status


def jobs_wanted(given: int) -> int:
    """The number of sessions at a time: as given, else as many as this process has CPUs, at most 4."""
    return given or min(MOST_JOBS, len(os.sched_getaffinity(0)))


def _order(abi: Abi, options: argparse.Namespace) -> Order:
    selection = select(abi.spec, abi.suite, options.clause, options.case)
    required = required_classes(abi.spec, options.require)
    if required and selection.partial:
        raise UsageError("--require judges a whole class and cannot go with --clause or --case")
    targets = {target.full_name: target for target in map(abi.target, options.target or [DEFAULT_TARGET])}
    gdb = options.gdb
    if gdb is not None and len(targets) != 1:
        raise UsageError("--gdb works with one target")
    benches = tuple(make_bench(abi, target, seed=options.seed, gdb=gdb) for target in targets.values())
    prove = not options.no_proof and not options.case and gdb is None
    jobs = 1 if gdb is not None else jobs_wanted(options.jobs)
    return Order(abi, benches, selection, options.seed, jobs, required, prove)


def _text(result: Run, options: argparse.Namespace) -> str:
    if options.ktap:
        return ktap.encode(result)

    def draw(console: Console) -> None:
        for target in result.targets:
            findings.draw_findings(console, target, verbose=options.verbose)
            if not options.quiet:
                table.draw_target(console, target)
            if options.verbose:
                findings.draw_clauses(console, target)
            for line in filter(None, table.conclusion(target).splitlines()):
                console.print(plain(line), style="bold")
        console.print(plain(_last_line(result)))

    return to_text(draw, color=color_wanted())


def _last_line(result: Run) -> str:
    verdicts = Counter(case.verdict for target in result.targets for case in target.cases)
    present = [verdict for verdict in reversed(Verdict) if verdicts[verdict]]
    counts = [f"{verdicts[verdict]} {verdict.value.replace('_', ' ')}" for verdict in present]
    shown = ", ".join(counts) or "none was run"
    stopped = "Interrupted; what has no verdict is MISS. " if result.interrupted else ""
    return f"{stopped}Cases: {shown}. Seed {result.seed}, {result.times.seconds:.1f} s."
