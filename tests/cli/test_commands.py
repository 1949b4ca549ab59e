# SPDX-License-Identifier: BSD-2-Clause
"""The commands on the toy ABI: what they print, what they write, how they end."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import pytest
from toy import ToyPlatform

from abidance.cli.main import main
from abidance.errors import GuestCrashed

Cli = Callable[..., int]
Capture = pytest.CaptureFixture[str]


def test_check_good(toy_cli: Cli, capsys: Capture) -> None:
    assert toy_cli("check", "toy") == 0
    out = capsys.readouterr().out
    assert "toy@toybox conforms to adding; offers 2 of 3 calls (Add, Echo)" in out
    assert "Cases: 4 PASS, 1 DIFFERS. Seed 0x1" in out


def test_check_finding(toy_cli: Cli, capsys: Capture) -> None:
    assert toy_cli("check", "toy", platform=ToyPlatform(behaviours=["wrong"])) == 1
    out = capsys.readouterr().out
    assert "rerun  abidance check toy --target toy --case 'toy/toy-cases/echoes' --seed 0x1" in out
    assert "Echo must return its argument." in out


def test_the_rerun_command_shows_the_same(toy_cli: Cli, capsys: Capture) -> None:
    platform = ToyPlatform(behaviours=["wrong"])
    assert toy_cli("check", "toy", "--case", "toy/toy-cases/echoes", "--seed", "0x1", platform=platform) == 1
    assert "FAIL  toy/toy-cases/echoes" in capsys.readouterr().out


def test_check_undecided(toy_cli: Cli, capsys: Capture) -> None:
    assert toy_cli("check", "toy", "-q", platform=ToyPlatform(behaviours=["killed", "good"])) == 3
    assert "MISS  toy/toy-cases/echoes" in capsys.readouterr().out


def test_guest_that_does_not_start_is_said_once(toy_cli: Cli, capsys: Capture) -> None:
    assert toy_cli("check", "toy", "-q", platform=ToyPlatform(boot_error=GuestCrashed("triple fault"))) == 1
    out = capsys.readouterr().out
    assert "more cases: the guest did not start: triple fault" in out


def test_require(toy_cli: Cli, capsys: Capture) -> None:
    assert toy_cli("check", "toy", "-q", "--require", "everything") == 1
    assert "required: everything: does NOT conform (not offered: Absent)" in capsys.readouterr().out
    assert toy_cli("check", "toy", "-q", "--require", "adding") == 0
    assert toy_cli("check", "toy", "--require", "nothing") == 2
    assert "there are adding, everything" in capsys.readouterr().err
    assert toy_cli("check", "toy", "--require", "adding", "--clause", "toy.Add.*") == 2


def test_ktap_is_alone_on_stdout(toy_cli: Cli, capsys: Capture) -> None:
    assert toy_cli("check", "toy", "--ktap") == 0
    out = capsys.readouterr().out
    assert out.startswith("KTAP version 1\n1..1\n")
    assert out.endswith("ok 1 toy@toybox\n")


def test_files(toy_cli: Cli, tmp_path: Path) -> None:
    made = {"--json": tmp_path / "r.json", "--junit": tmp_path / "r.xml"}
    assert toy_cli("check", "toy", *(str(word) for pair in made.items() for word in pair)) == 0
    assert json.loads(made["--json"].read_text())["abi"] == "toy"
    assert made["--junit"].read_text().startswith("<?xml")
    assert sorted(path.name for path in tmp_path.iterdir()) == ["r.json", "r.xml"]


def test_same_seed_same_file_but_for_times(toy_cli: Cli, tmp_path: Path) -> None:
    texts = []
    for name in ("a", "b"):
        toy_cli("check", "toy", "--json", str(tmp_path / name), "--jobs", "2")
        values = json.loads((tmp_path / name).read_text())
        assert set(values["times"]) == {"started", "seconds", "cases"}
        del values["times"]
        texts.append(json.dumps(values))
    assert texts[0] == texts[1]


@pytest.mark.parametrize("path", ["missing/r.json", "."])
def test_unwritable_file_is_found_before_the_run(toy_cli: Cli, tmp_path: Path, capsys: Capture,
                                                 path: str) -> None:
    platform = ToyPlatform()
    assert toy_cli("check", "toy", "--json", str(tmp_path / path), platform=platform) == 2
    assert "cannot write" in capsys.readouterr().err
    assert not platform.booted


def test_a_profile_that_promises_too_much_is_said_even_quietly(toy_cli: Cli, capsys: Capture) -> None:
    assert toy_cli("check", "toy", "-q", platform=ToyPlatform(offers=(1,))) == 1
    out = " ".join(capsys.readouterr().out.split())
    assert "FAIL profile of toy@toybox: the profile declares Echo as offered" in out
    assert "offers 1 of 3 calls (Add)" in out


def test_two_files_with_one_name(toy_cli: Cli, tmp_path: Path, capsys: Capture) -> None:
    platform = ToyPlatform()
    words = ("--json", str(tmp_path / "r"), "--junit", f"{tmp_path}/./r")
    assert toy_cli("check", "toy", *words, platform=platform) == 2
    assert "give each its own file" in capsys.readouterr().err
    assert not platform.booted


@pytest.mark.parametrize(("words", "message"), [
    (("--json", ""), "the name of a file to write is empty"),
    (("--clause", "toy.Echo.echos"), "did you mean toy.Echo.echoes"),
    (("--case", "toy/toy-cases/ecoes"), "did you mean toy/toy-cases/echoes"),
    (("--gdb", "1234"), "--gdb works on qemu"),
])
def test_usage_errors(toy_cli: Cli, capsys: Capture, words: tuple[str, ...], message: str) -> None:
    assert toy_cli("check", "toy", *words) == 2
    err = capsys.readouterr().err
    assert message in err
    assert "Traceback" not in err


def test_missing_engine(toy_cli: Cli, capsys: Capture) -> None:
    missing = ToyPlatform(missing="apt-get install toybox")
    assert toy_cli("check", "toy", platform=missing) == 2
    assert "to get it: apt-get install toybox" in capsys.readouterr().err
    assert toy_cli("list", "toy", "targets", platform=missing) == 0
    assert "missing; to get it: apt-get install toybox" in " ".join(capsys.readouterr().out.split())


def test_print_command(toy_cli: Cli, capsys: Capture) -> None:
    platform = ToyPlatform()
    assert toy_cli("check", "toy", "--print-command", platform=platform) == 0
    assert capsys.readouterr().out == "# toy@toybox\ntoybox --now\n"
    assert not platform.booted


@pytest.mark.parametrize(("name", "words"), [
    ("toy.Add", ("call 1, group sums", "EAX value: u32", "toy.Add.adds-one", "preserves-ebx")),
    ("toy.Add.adds-one", ("Add must return the number and one.", "toy/toy-cases/adds-one", "Add-adds-two")),
    ("toy.Echo.untested", ("none: nobody is outside",)),
    ("toy.sums", ("group: Sums", "Return the argument.")),
    ("toy.adding", ("conformance class: The sum",)),
    ("toy/toy-cases/echoes", ("Echo returns its argument.",)),
    ("toy", ("Toy interface 1.0",)),
    ("toy.2", ("toy.Echo",)),
])
def test_show(toy_cli: Cli, capsys: Capture, name: str, words: tuple[str, ...]) -> None:
    assert toy_cli("show", name) == 0
    out = capsys.readouterr().out
    for word in words:
        assert word in out


def test_show_nothing(toy_cli: Cli, capsys: Capture) -> None:
    assert toy_cli("show", "toy.Ad") == 2
    assert "did you mean toy.Add" in capsys.readouterr().err
    assert toy_cli("show", "toy/toy-cases/ecoes") == 2
    assert "did you mean toy/toy-cases/echoes" in capsys.readouterr().err


@pytest.mark.parametrize("what", ["overview", "targets", "groups", "classes", "calls", "clauses", "cases",
                                  "mutants"])
def test_list(toy_cli: Cli, capsys: Capture, what: str) -> None:
    assert toy_cli("list", "toy", what) == 0
    assert capsys.readouterr().out.strip()


def test_mutants(toy_cli: Cli, capsys: Capture, tmp_path: Path) -> None:
    path = tmp_path / "m.json"
    assert toy_cli("mutants", "toy", "--json", str(path)) == 0
    out = " ".join(capsys.readouterr().out.split())
    assert "3 mutants: 2 killed by a case of the clause they violate" in out
    assert "(66 %; 1 of them by CRASH or TIMEOUT)" in out
    assert "1 survived" in out
    assert "Explained: it is the same" in out
    by_name = {made["name"]: made for made in json.loads(path.read_text())["mutants"]}
    assert by_name["Add-adds-two"]["case"] == "toy/toy-cases/adds-one"


def test_mutants_chosen(toy_cli: Cli, capsys: Capture) -> None:
    assert toy_cli("mutants", "toy", "--mutant", "Echo-*") == 0
    assert "1 mutants: 1 killed" in capsys.readouterr().out
    assert toy_cli("mutants", "toy", "--mutant", "Nobody") == 2
    assert toy_cli("mutants", "toy", "--on", "nothing") == 2


@pytest.mark.parametrize("words", [
    ["check"], ["check", "vmi", "--jobs", "0"], ["check", "vmi", "--seed", "x"], ["list", "vmi", "moons"],
    ["nonsense"], [],
])
def test_argument_errors(words: list[str], capsys: Capture) -> None:
    with pytest.raises(SystemExit) as raised:
        main(words)
    assert raised.value.code == 2
    assert "usage: abidance" in capsys.readouterr().err


def test_unknown_abi(capsys: Capture) -> None:
    assert main(["check", "xyz"]) == 2
    assert "no ABI 'xyz'; there are vmi" in capsys.readouterr().err
