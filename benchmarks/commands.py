# SPDX-License-Identifier: BSD-2-Clause
"""Whole commands: start of the program, a whole check, one case after an edit, memory."""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
import tempfile
import time
from pathlib import Path

from benchmarks.figures import Figure, alternate

__all__ = ["checks_per_second", "edit_to_verdict", "help_over_pass", "peak_memory"]

ABIDANCE = [sys.executable, "-m", "abidance.cli.main"]
BEST_PEER = 240.0
"""Checks a second of kvm-unit-tests with QEMU started directly, the best of the peers measured."""


def _seconds(command: list[str]) -> float:
    start = time.perf_counter()
    subprocess.run(command, check=True, stdout=subprocess.DEVNULL)
    return time.perf_counter() - start


def help_over_pass() -> list[Figure]:
    """`abidance --help` over an empty Python."""
    ours, empty = alternate(lambda: _seconds([*ABIDANCE, "--help"]),
                            lambda: _seconds([sys.executable, "-c", "pass"]), rounds=9)
    return [Figure("abidance --help over python -c pass", ours / empty, 8, at_least=False,
                   note=f"{ours * 1000:.0f} ms over {empty * 1000:.0f} ms")]


def _check(target: str) -> tuple[float, int]:
    """Seconds of one whole check, start included and mutants excluded, and its expectations."""
    with tempfile.TemporaryDirectory() as folder:
        out = Path(folder) / "results.json"
        options = ["--target", target, "--no-proof", "-q", "--json", str(out)]
        seconds = _seconds([*ABIDANCE, "check", "vmi", *options])
        document = json.loads(out.read_text())
    return seconds, sum(case["expectations"] for made in document["targets"] for case in made["cases"])


def checks_per_second() -> list[Figure]:
    """A check is one expectation that a case evaluated, as the peers' is one verdict line."""
    figures = []
    for target in ("reference", "native@qemu"):
        if target.endswith("qemu") and not shutil.which("qemu-system-i386"):
            print(f"{target}: not measured, no qemu-system-i386")
            continue
        seconds, checks = min(_check(target) for _ in range(3))
        figures.append(Figure(f"checks a second on {target}, start included", checks / seconds, BEST_PEER,
                              at_least=True, note=f"{checks} checks in {seconds:.1f} s"))
    return figures


def edit_to_verdict() -> list[Figure]:
    """From an edited clause or case to its verdict on QEMU: one command with --case."""
    if not shutil.which("qemu-system-i386"):
        print("edit to verdict: not measured, no qemu-system-i386")
        return []
    case = _any_case()
    command = [*ABIDANCE, "check", "vmi", "--target", "native@qemu", "-q", "--case", case]
    seconds = min(_seconds(command) for _ in range(3))
    return [Figure("edit to verdict on QEMU", seconds, 3, at_least=False, unit="s", note=case)]


def _any_case() -> str:
    listing = subprocess.run([*ABIDANCE, "list", "vmi", "cases"], check=True, capture_output=True, text=True)
    return next(word for word in listing.stdout.split() if word.startswith("vmi/control/"))


MEASURE = """
import resource, subprocess, sys
subprocess.run(sys.argv[1:], check=True, stdout=subprocess.DEVNULL)
print(resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss)
"""


def peak_memory() -> list[Figure]:
    """The largest process of a whole check, workers included (they are reaped before it ends)."""
    command = [sys.executable, "-c", MEASURE, *ABIDANCE, "check", "vmi", "-q"]
    kib = int(subprocess.run(command, check=True, capture_output=True, text=True).stdout)
    return [Figure("largest process of abidance check vmi", kib / 1024, 200, at_least=False, unit="MiB")]
