# SPDX-License-Identifier: BSD-2-Clause
"""The command `abidance`: options, dispatch, exit status.

Exit status of every command: 0 good, 1 a finding, 2 a request or input that cannot be used, 3
undecided. Nothing a user can cause ends in a traceback. Only what the options need is imported
here; a command's module is imported when it runs.
"""

from __future__ import annotations

import argparse
import signal
import sys
from collections.abc import Callable, Sequence
from importlib import import_module
from types import FrameType

from abidance.cli.output import OutputClosedError, OutputError, silence, warn
from abidance.errors import AbidanceError

__all__ = ["main"]

UNDECIDED, USAGE = 3, 2
STATUS = "exit status: 0 good, 1 a finding, 2 usage or input error, 3 undecided"
VMI = "vmi is VMware's paravirtual Virtual Machine Interface (not virtual machine introspection)"
Command = Callable[[argparse.Namespace], int]


def main(argv: Sequence[str] | None = None) -> int:
    """Run the command line; returns the exit status."""
    options = _parser().parse_args(argv)
    previous = signal.signal(signal.SIGTERM, _terminated)
    try:
        command: Command = import_module(f"abidance.cli.{options.command}_command").run
        return command(options)
    except OutputClosedError as error:
        return error.status
    except OutputError as error:
        warn(str(error))
        return USAGE
    except AbidanceError as error:
        return _explain(error)
    except KeyboardInterrupt:
        warn("interrupted")
        return UNDECIDED
    finally:
        signal.signal(signal.SIGTERM, previous)
        silence()


def _explain(error: AbidanceError) -> int:
    from abidance.errors import InputError, UsageError
    warn(str(error))
    for note in getattr(error, "__notes__", ()):
        warn(note)
    return USAGE if isinstance(error, UsageError | InputError) else UNDECIDED


def _terminated(number: int, frame: FrameType | None) -> None:  # noqa: ARG001 (the signature of a handler)
    raise KeyboardInterrupt


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="abidance", description=f"Does a hypervisor keep its ABI's promise? {VMI}.", epilog=STATUS)
    parser.add_argument("--version", action=_Version, nargs=0, help="print the version and leave")
    commands = parser.add_subparsers(dest="command", required=True, metavar="COMMAND")
    _check(_command(commands, "check", "run the cases on targets and judge the clauses"))
    _list(_command(commands, "list", "list targets, groups, classes, clauses, cases, mutants"))
    _show(_command(commands, "show", "show an entry point, clause, group, class or case"))
    _mutants(_command(commands, "mutants", "run the suite against implementations with one defect each"))
    _lint(_command(commands, "lint", "find what is wrong with the document itself"))
    _export(_command(commands, "export", "write the document as canonical JSON"))
    _header(_command(commands, "header", "write the document as a header for C or Rust"))
    _doc(_command(commands, "doc", "write the document as a web site"))
    return parser


class _Version(argparse.Action):
    """Print the version: looked up only when asked for."""

    def __call__(self, parser: argparse.ArgumentParser, namespace: argparse.Namespace,  # noqa: ARG002
                 values: object, option_string: str | None = None) -> None:  # noqa: ARG002
        from importlib.metadata import PackageNotFoundError, version
        try:
            text = version("abidance")
        except PackageNotFoundError:
            text = "(a checkout that is not installed)"
        print(f"abidance {text}")
        parser.exit(0)


def _command(commands: argparse._SubParsersAction[argparse.ArgumentParser], name: str,
             summary: str) -> argparse.ArgumentParser:
    return commands.add_parser(name, help=summary, description=f"{summary[0].upper()}{summary[1:]}. {VMI}.",
                               epilog=STATUS)


def _check(add: argparse.ArgumentParser) -> None:
    add.add_argument("abi", help="the ABI to check: vmi")
    add.add_argument("--target", action="append", metavar="T", default=[],
                     help="implementation or implementation@platform; may be repeated (default: reference)")
    add.add_argument("--clause", action="append", metavar="GLOB", default=[], help="only these clauses")
    add.add_argument("--case", action="append", metavar="ID", default=[],
                     help="only these cases (nothing is proven then)")
    add.add_argument("--require", action="append", metavar="CLASS", default=[],
                     help="the targets must conform to this class")
    _running(add)
    add.add_argument("--no-proof", action="store_true", help="do not try mutants: nothing is proven")
    add.add_argument("--json", metavar="FILE", help="write the results as JSON")
    add.add_argument("--junit", metavar="FILE", help="write the results as JUnit XML")
    add.add_argument("--ktap", action="store_true", help="print KTAP instead of the table")
    add.add_argument("--print-command", action="store_true",
                     help="print the command line that runs each target's guest, and leave")
    add.add_argument("--gdb", type=_port, metavar="PORT",
                     help="let gdb attach at this port of 127.0.0.1; the guest waits for it")


def _list(add: argparse.ArgumentParser) -> None:
    add.add_argument("abi", nargs="?", help="the ABI: vmi (default: all)")
    add.add_argument("what", nargs="?", default="overview",
                     choices=("overview", "targets", "groups", "classes", "calls", "clauses", "cases",
                              "mutants"))


def _show(add: argparse.ArgumentParser) -> None:
    add.add_argument("name", nargs="+", help="vmi, vmi.SetCR3, vmi.SetCR3.loads-base, vmi.control, "
                                             "vmi.minimal, vmi/control-address/set-cr3-loads-base")


def _mutants(add: argparse.ArgumentParser) -> None:
    add.add_argument("abi", help="the ABI: vmi")
    add.add_argument("--mutant", action="append", metavar="GLOB", default=[], help="only these mutants")
    add.add_argument("--clause", action="append", metavar="GLOB", default=[],
                     help="only mutants that violate these clauses")
    add.add_argument("--on", action="append", metavar="IMPLEMENTATION", default=[],
                     help="only mutants of these implementations")
    _running(add)
    add.add_argument("--json", metavar="FILE", help="write the results as JSON")


def _lint(add: argparse.ArgumentParser) -> None:
    add.add_argument("abi", nargs="?", help="the ABI: vmi (may be left out with --dir or --schema)")
    add.add_argument("--dir", metavar="DIR", help="look at this folder instead of the ABI's own")
    add.add_argument("--schema", metavar="FILE", help="write the JSON Schema of the YAML files, for editors")


def _export(add: argparse.ArgumentParser) -> None:
    add.add_argument("abi", help="the ABI: vmi")
    add.add_argument("-o", "--output", metavar="FILE", help="write here instead of to standard output")


def _header(add: argparse.ArgumentParser) -> None:
    add.add_argument("abi", help="the ABI: vmi")
    add.add_argument("--lang", choices=("c", "rust"), default="c", help="the language (default: c)")
    add.add_argument("-o", "--output", metavar="FILE", help="write here instead of to standard output")


def _doc(add: argparse.ArgumentParser) -> None:
    add.add_argument("abi", help="the ABI: vmi")
    add.add_argument("-o", "--output", metavar="DIR", required=True, help="the folder of the web site")
    add.add_argument("--results", metavar="FILE", help="show the verdicts of this file of check --json")


def _running(add: argparse.ArgumentParser) -> None:
    add.add_argument("--jobs", type=_jobs, metavar="N", default=0,
                     help="sessions at a time (default: CPUs, at most 4)")
    add.add_argument("--seed", type=_seed, metavar="N", default=1,
                     help="seed of everything random (default 1); the same seed gives the same results")
    loud = add.add_mutually_exclusive_group()
    loud.add_argument("-q", "--quiet", action="store_true", help="print findings and the conclusion only")
    loud.add_argument("-v", "--verbose", action="store_true", help="print every clause and its verdict")


def _number(text: str, low: int, high: int, what: str) -> int:
    try:
        value = int(text, 0)
    except ValueError:
        raise argparse.ArgumentTypeError(f"{text!r} is not a number") from None
    if not low <= value <= high:
        raise argparse.ArgumentTypeError(f"{what} lies between {low} and {high}")
    return value


def _jobs(text: str) -> int:
    return _number(text, 1, 64, "the number of jobs")


def _seed(text: str) -> int:
    return _number(text, 0, (1 << 64) - 1, "a seed")


def _port(text: str) -> int:
    return _number(text, 1, 65535, "a port")


if __name__ == "__main__":
    sys.exit(main())
