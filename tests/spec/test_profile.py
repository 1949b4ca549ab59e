# SPDX-License-Identifier: BSD-2-Clause
"""Profiles: what binds, what is exempt and why, and what a platform lays over."""

from __future__ import annotations

from pathlib import Path

import pytest
from spec_folders import BASE, folder

from abidance.errors import UsageError
from abidance.spec import Choice, Profile, load, load_profile

GOOD = "name: one\nfacts: {cpl: 1, tables: shadow}\noffers: [Ping]\n"
APPLIES = "      rev: 1\n      level: MAY"


def profile(tmp_path: Path, text: str = GOOD) -> Profile:
    path = tmp_path / "one.yaml"
    path.write_text(text)
    return load_profile(load(BASE), path)


def test_facts_defaults_and_offers(tmp_path: Path) -> None:
    made = profile(tmp_path, GOOD.replace("cpl: 1, ", ""))
    assert dict(made.facts) == {"cpl": 0, "tables": "shadow"}
    assert made.offers == {"Ping"}


@pytest.mark.parametrize(
    ("offers", "names"),
    [
        ("[]", set()),
        ("{class: all}", {"Ping", "Add"}),
        ("{class: all, except: [Add]}", {"Ping"}),
        ("{class: all, except: [Add], also: [Add]}", {"Ping", "Add"}),
    ],
)
def test_ways_to_say_what_is_offered(tmp_path: Path, offers: str, names: set[str]) -> None:
    assert profile(tmp_path, GOOD.replace("[Ping]", offers)).offers == names


def test_choices_name_the_clauses_that_permit_them(tmp_path: Path) -> None:
    assert profile(tmp_path).with_facts(limits=True).choices == (
        Choice("cpl", 1, "toy.ring.may-differ"),
        Choice("tables", "shadow", "toy.ring.may-differ"),
        Choice("limits", True, None),
    )
    assert profile(tmp_path, GOOD.replace("shadow", "direct")).choices[1] == Choice("tables", "direct", None)


def test_a_clause_binds_with_its_entry_and_its_predicate(tmp_path: Path) -> None:
    text = (BASE / "calls.yaml").read_text()
    text = text.replace("      level: MAY", "      applies_when: cpl > 0 and limits\n      level: MAY")
    spec = load(folder(tmp_path, calls=text))
    returns, ring = spec.clause("toy.Ping.returns"), spec.clause("toy.ring.may-differ")
    path = tmp_path / "one.yaml"
    path.write_text(GOOD)
    made = load_profile(spec, path)
    assert made.binds(returns)
    assert not made.binds(returns, "Add")
    assert made.exempt(returns, "Add") == "Add is not offered"
    with pytest.raises(UsageError, match=r"toy\.ring\.may-differ depends on 'limits'"):
        made.binds(ring)
    assert made.with_facts(limits=True).binds(ring)
    assert made.with_facts(limits=False).exempt(ring) == "applies when cpl > 0 and limits"
    path.write_text(GOOD.replace("[Ping]", "[]"))
    assert not load_profile(spec, path).binds(returns)


@pytest.mark.parametrize(
    ("facts", "problem"),
    [
        ({"limit": True}, "did you mean 'limits'"),
        ({"limits": "yes"}, "not of type bool"),
        ({"cpl": True}, "not of type int"),
        ({"cpl": 3}, "3 is not allowed"),
    ],
)
def test_what_cannot_be_laid_over(tmp_path: Path, facts: dict[str, bool | int | str], problem: str) -> None:
    with pytest.raises(UsageError, match=problem):
        profile(tmp_path).with_facts(**facts)


def test_laying_over_leaves_the_original_alone(tmp_path: Path) -> None:
    made = profile(tmp_path)
    assert made.with_facts(cpl=0).facts["cpl"] == 0
    assert made.facts["cpl"] == 1
