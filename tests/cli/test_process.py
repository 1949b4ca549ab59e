# SPDX-License-Identifier: BSD-2-Clause
"""The program as a process: help, closed and full outputs, signals; no traceback anywhere."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
from process_tree import all_gone, descendants, kill

COMMAND = [sys.executable, "-m", "abidance"]
PATIENCE = 60


def run(*words: str, **options: object) -> subprocess.CompletedProcess[str]:
    return subprocess.run([*COMMAND, *words], capture_output=True, text=True, timeout=PATIENCE,  # type: ignore[call-overload,no-any-return]
                          check=False, **options)


def test_help_says_what_vmi_is() -> None:
    done = run("--help")
    assert done.returncode == 0
    assert "not virtual machine introspection" in " ".join(done.stdout.split())


@pytest.mark.parametrize("command", ["check", "list", "show", "mutants"])
def test_help_of_commands(command: str) -> None:
    done = run(command, "--help")
    assert done.returncode == 0
    assert "exit status: 0 good, 1 a finding" in " ".join(done.stdout.split())


def test_help_loads_little() -> None:
    code = "import sys; from abidance.cli import main; main._parser(); print(*sorted(sys.modules))"
    loaded = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=PATIENCE,
                            check=True).stdout.split()
    assert not {"rich", "msgspec", "unicorn", "ruamel", "junitparser", "asyncio"} & set(loaded)


def test_reader_that_has_gone() -> None:
    with subprocess.Popen([*COMMAND, "list", "vmi", "clauses"], stdout=subprocess.PIPE,
                          stderr=subprocess.PIPE) as process:
        assert process.stdout is not None
        assert process.stderr is not None
        process.stdout.close()
        assert process.stderr.read() == b""
        assert process.wait(PATIENCE) == 0


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="no /dev/full here")
def test_full_output() -> None:
    with Path("/dev/full").open("w") as full:
        done = subprocess.run([*COMMAND, "list"], stdout=full, stderr=subprocess.PIPE, text=True,
                              timeout=PATIENCE, check=False)
    assert done.returncode == 2
    assert done.stderr == "abidance: cannot write to standard output: No space left on device\n"


def test_no_output_at_all() -> None:
    done = subprocess.run(["sh", "-c", '"$@" >&-', "sh", *COMMAND, "list"], stderr=subprocess.PIPE, text=True,
                          timeout=PATIENCE, check=False)
    assert done.returncode == 2
    assert "Traceback" not in done.stderr


def test_no_standard_error() -> None:
    words = [*COMMAND, "check", "vmi", "--case", "vmi/control/set-cr0-sets-ts"]
    done = subprocess.run(["sh", "-c", '"$@" 2>&-', "sh", *words], stdout=subprocess.PIPE, text=True,
                          timeout=PATIENCE, check=False)
    assert done.returncode == 0
    assert "Cases: 1 PASS." in done.stdout


def test_version_is_output() -> None:
    done = run("--version")
    assert done.returncode == 0
    assert done.stdout.startswith("abidance ")
    assert done.stderr == ""


def test_the_names_in_the_help_of_show_exist() -> None:
    words = run("show", "--help").stdout.partition("name        ")[2].partition("options:")[0]
    for name in "".join(words.split()).split(","):
        assert run("show", name).returncode == 0, name


def test_ascii_output() -> None:
    done = run("list", env={**os.environ, "PYTHONIOENCODING": "ascii"})
    assert done.returncode == 0
    assert "Traceback" not in done.stderr


@pytest.fixture
def long_run(tmp_path: Path) -> Iterator[subprocess.Popen[str]]:
    """A check that runs for a while, with its first worker already there."""
    words = [*COMMAND, "check", "vmi", "--clause", "vmi.SetCR*", "--no-proof", "--jobs", "1",
             "--json", str(tmp_path / "r.json")]
    process = subprocess.Popen(words, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
    try:
        yield process
    finally:
        process.kill()
        process.wait()


def children(process: subprocess.Popen[str], *, depth: int = 1) -> list[int]:
    """The processes it has started, once there is one; workers begin at depth 2."""
    while process.poll() is None:
        found = descendants(process.pid, depth=depth)
        if found:
            return found
    raise AssertionError(process.communicate())


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM, signal.SIGHUP])
def test_interrupt_keeps_results_and_leaves_nothing(long_run: subprocess.Popen[str], tmp_path: Path,
                                                    number: signal.Signals) -> None:
    workers = children(long_run)
    long_run.send_signal(number)
    out, err = long_run.communicate(timeout=PATIENCE)
    assert long_run.returncode == 3, err
    assert "Traceback" not in err
    assert "Interrupted; what has no verdict is MISS." in " ".join(out.split())
    assert b'"interrupted": true' in (tmp_path / "r.json").read_bytes()
    assert all_gone(workers)


def test_killed_worker_is_a_miss(long_run: subprocess.Popen[str], tmp_path: Path) -> None:
    kill(children(long_run, depth=2))
    out, err = long_run.communicate(timeout=PATIENCE)
    assert "Traceback" not in err
    assert long_run.returncode in (1, 3), out
    assert '"MISS"' in (tmp_path / "r.json").read_text()
