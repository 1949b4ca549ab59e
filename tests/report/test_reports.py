# SPDX-License-Identifier: BSD-2-Clause
"""Reports: what a reader must find in them, and what machines must be able to parse."""

from __future__ import annotations

import json as plain_json
import re
from pathlib import Path
from xml.etree import ElementTree

import pytest

from abidance.check.results import (
    CaseResult,
    ClauseResult,
    ClauseVerdict,
    Digest,
    FindingRecord,
    MutantResult,
    ProfileRecord,
    Run,
    TargetResult,
    Times,
)
from abidance.check.verdict import Verdict
from abidance.errors import InputError
from abidance.report import findings, json, junit, ktap, table
from abidance.report.console import printable, to_text
from abidance.spec import Layer, Level


def case(name: str, verdict: Verdict, reason: str = "") -> CaseResult:
    finding = FindingRecord("the sum", "0x2", "0x3\x1b[31m", ("toy.Add.sum",), ("1. call Add(eax=0x1)",),
                            "m:1")
    bad = verdict in (Verdict.FAIL, Verdict.CRASH)
    said = (ClauseVerdict("toy.Add.sum", verdict, reason),)
    return CaseResult(f"toy/sums/{name}", verdict, reason, 1, said, (finding,) if bad else (),
                      f"abidance check toy --case 'toy/sums/{name}' --seed 0x1")


def clause(name: str, verdict: Verdict | None, *, layer: Layer = Layer.CORE, standing: str = "bound",
           stamped: bool = False, proven: bool = False) -> ClauseResult:
    return ClauseResult(f"toy.Add.{name}", 1, "sums", Level.MUST, layer, stamped, standing,
                        "Add must return the sum.", "Add", verdict, "", (), proven)


CASES = (
    case("good", Verdict.PASS), case("bad", Verdict.FAIL, "wrong # sum"), case("dead", Verdict.CRASH, "off"),
    case("slow", Verdict.TIMEOUT, "budget"), case("lost", Verdict.MISS, "gone"),
    case("odd", Verdict.ERROR, "?"), case("usual", Verdict.DIFFERS, "practice: x"),
    case("not", Verdict.NOT_TESTED, "no CPU"), case("skipped", Verdict.SKIP, "rain"))
CLAUSES = (
    clause("sum", Verdict.FAIL), clause("quick", Verdict.PASS, proven=True),
    clause("gone", None, standing="exempt"), clause("stamp", Verdict.PASS, stamped=True),
    clause("habit", Verdict.DIFFERS, layer=Layer.PRACTICE), clause("asks", None, standing="guest"))
MUTANT = MutantResult("m", "toy.Add.quick", "toy", "is slow", "own", "toy/sums/good", Verdict.FAIL)
TARGET = TargetResult("toy@box", "toy", "box", "Box 1", (Digest("kernel", "k.elf", "00" * 32),),
                      ProfileRecord("toy", {"speed": "fast"}, ("Add",)), CASES, CLAUSES, mutants=(MUTANT,))
RUN = Run("toy", "1.0", (Digest("specification", "toy", "11" * 32),), "0x1", (), (TARGET,),
          Times("2026-01-01T00:00:00+00:00", 1.5, {"toy@box": {"toy/sums/good": 0.25}}))


def test_json_round_trip_and_schema() -> None:
    data = json.encode(RUN)
    assert json.decode(data, Path("x")) == RUN
    values = plain_json.loads(data)
    assert (values["format"], values["version"]) == ("abidance-results", 1)
    schema = plain_json.loads(json.schema())
    assert set(values) <= set(schema["$defs"]["Run"]["properties"])


@pytest.mark.parametrize("data", [b"", b"{}", b"[1]", b"\xff"])
def test_json_refuses_other_files(data: bytes) -> None:
    with pytest.raises(InputError, match=r"x\.json"):
        json.decode(data, Path("x.json"))


def test_json_refuses_a_newer_version() -> None:
    newer = json.encode(RUN).replace(b'"version": 1', b'"version": 99')
    with pytest.raises(InputError, match="version 99"):
        json.decode(newer, Path("x.json"))


def test_ktap() -> None:
    lines = ktap.encode(RUN).splitlines()
    assert lines[:2] == ["KTAP version 1", "1..1"]
    assert lines[-1] == "not ok 1 toy@box"
    results = [line for line in lines if re.match(r"  (not )?ok ", line)]
    assert [line.strip() for line in results] == [
        "ok 1 toy/sums/good", "not ok 2 toy/sums/bad", "not ok 3 toy/sums/dead",
        "not ok 4 toy/sums/slow # TIMEOUT budget", "not ok 5 toy/sums/lost # ERROR gone",
        "not ok 6 toy/sums/odd # ERROR ?", "ok 7 toy/sums/usual # XFAIL practice: x",
        "ok 8 toy/sums/not # SKIP no CPU", "ok 9 toy/sums/skipped # SKIP rain"]
    assert all(line.isprintable() for line in lines)


def test_junit() -> None:
    suite = ElementTree.fromstring(junit.encode(RUN)).find("testsuite")
    assert suite is not None
    assert {name: suite.get(name) for name in ("tests", "failures", "errors", "skipped")} == {
        "tests": "9", "failures": "3", "errors": "2", "skipped": "2"}
    kinds = {made.get("name"): [child.tag for child in made] for made in suite.findall("testcase")}
    assert kinds["bad"] == ["failure"]
    assert kinds["lost"] == ["error"]
    assert kinds["good"] == []


def test_findings_show_everything_needed() -> None:
    text = to_text(lambda console: findings.draw_findings(console, TARGET), color=False)
    for words in ("FAIL  toy/sums/bad", "toy.Add.sum (core, MUST): Add must return the sum.",
                  "looked at  the sum", "expected  0x2", "seen  0x3\\x1b[31m", "1. call Add(eax=0x1)",
                  "abidance check toy --case 'toy/sums/bad' --seed 0x1"):
        assert words in text
    assert "toy/sums/good" not in text
    assert "\x1b" not in text


def test_table_counts_layers_apart() -> None:
    text = to_text(lambda console: table.draw_target(console, TARGET), color=False)
    rows = {line.split("  ")[0].strip(): line.split() for line in text.splitlines() if line.strip()}
    assert rows["sums"][1:] == ["2", "1", "1", "1", "1", "1", "·", "·"]
    assert rows["stamped from templates"][3:4] == ["1"]
    assert rows["practice: scored apart"][-2] == "1"
    assert "effects that bind this target: 2; proven: 1 (50 %)" in text


def test_many_misses_are_cut_short() -> None:
    cases = tuple(case(f"lost{number}", Verdict.MISS, "interrupted") for number in range(50))
    target = TargetResult("toy@box", "toy", "box", "Box 1", (), TARGET.profile, cases, CLAUSES)
    text = to_text(lambda console: findings.draw_findings(console, target), color=False)
    assert "MISS  … and 47 more cases: interrupted" in text


def test_printable() -> None:
    assert printable("a\x1b[1mb\u202e") == "a\\x1b[1mb\\x202e"


def test_the_published_schema_is_the_generated_one() -> None:
    published = Path(__file__).parents[2] / "docs" / "results.schema.json"
    assert published.read_bytes() == json.schema(), "renew it: python -m abidance.report.json"
