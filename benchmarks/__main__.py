# SPDX-License-Identifier: BSD-2-Clause
"""Benchmarks: `python -m benchmarks` from the checkout, with abidance installed.

Every figure is a ratio of two things measured in the same run, or a count that does not depend on
the machine's speed; goals stand beside them. Rates are printed for orientation only. A figure is the
median of several rounds in which the two sides take turns, so that a machine whose speed drifts
moves both.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Callable

from benchmarks import calls, commands
from benchmarks.figures import Figure

FIGURES: dict[str, Callable[[], list[Figure]]] = {
    "trap": calls.trapping_calls,
    "untrapped": calls.untrapped_instructions,
    "help": commands.help_over_pass,
    "check": commands.checks_per_second,
    "edit": commands.edit_to_verdict,
    "memory": commands.peak_memory,
}


def main() -> int:
    """Run the chosen benchmarks (all by default); exit 1 if a goal is missed."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks", description=(__doc__ or "").splitlines()[0])
    parser.add_argument("names", nargs="*", metavar="NAME", help=f"{', '.join(FIGURES)} (default: all)")
    names = parser.parse_args().names or list(FIGURES)
    unknown = [name for name in names if name not in FIGURES]
    if unknown:
        parser.error(f"no benchmark {unknown[0]!r}; there are {', '.join(FIGURES)}")
    missed = 0
    for name in names:
        for figure in FIGURES[name]():
            print(figure, flush=True)
            missed += not figure.met
    return 1 if missed else 0


if __name__ == "__main__":
    sys.exit(main())
