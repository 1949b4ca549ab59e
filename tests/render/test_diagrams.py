# SPDX-License-Identifier: BSD-2-Clause
"""Diagrams take their numbers from the specification, and a name that is wrong has its line."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from abidance.abi import find_abi
from abidance.errors import InputError
from abidance.render.diagram_data import load_diagrams
from abidance.render.diagrams import draw
from abidance.render.svg import WIDTH
from abidance.spec import Specification

SPEC = find_abi("vmi").spec
FILE = find_abi("vmi").directory / "diagrams.yaml"


def drawn(name: str, spec: Specification = SPEC) -> str:
    return next(draw(spec, diagram) for diagram in load_diagrams(spec, FILE) if diagram.name == name)


def words(svg: str) -> list[str]:
    return re.findall(r"<text[^>]*>([^<]*)</text>", svg)


def test_no_file_is_no_diagram(tmp_path: Path) -> None:
    assert load_diagrams(SPEC, tmp_path / "none.yaml") == ()


def test_the_layout_has_every_field_at_its_offset() -> None:
    seen = words(drawn("rom"))
    header = next(item for item in SPEC.structures if item.name == "rom_header")
    for field in header.fields:
        assert seen[seen.index(field.name) - 1] == f"{field.offset:02X}h"
        assert seen[seen.index(field.name) + 1] == f"{field.size} B"


def test_the_frame_has_every_slot() -> None:
    seen = words(drawn("frame"))
    slots = [item.name.upper() for item in SPEC.entry("IRET").inputs]
    assert [word for word in seen if word in slots] == slots[::-1]


def test_the_counters_add_up() -> None:
    lines = re.findall(r'<polyline class="curve" points="([^"]*)"', drawn("counters"))
    rises = [[float(point.split(",")[1]) for point in line.split()] for line in lines]
    real, available, stolen = ([points[0] - y for y in points] for points in rises)
    assert real == pytest.approx([one + other for one, other in zip(available, stolen, strict=True)],
                                 abs=0.01)


def test_numbers_come_from_the_specification() -> None:
    seen = " ".join(words(drawn("relocation")))
    assert "CALL_REL (1)" in seen
    assert "offset 80h" in seen
    assert "74 calls" in seen


@pytest.mark.parametrize("name", [diagram.name for diagram in load_diagrams(SPEC, FILE)])
def test_nothing_is_drawn_outside(name: str) -> None:
    svg = drawn(name)
    match = re.search(r'viewBox="0 0 (\d+) ([\d.]+)"', svg)
    assert match is not None
    assert int(match[1]) == WIDTH
    for x, y in re.findall(r' x="([\d.-]+)" y="([\d.-]+)"', svg):
        assert 0 <= float(x) <= WIDTH
        assert 0 <= float(y) <= float(match[2])


@pytest.mark.parametrize(("old", "new", "message"), [
    ("{ROM_SCAN_START}\"", "{ROM_SCAN_BEGIN}\"", "unknown name {ROM_SCAN_BEGIN}; did you mean"),
    ("structure: rom_header", "structure: rom_heeder", "unknown structure 'rom_heeder'; did you mean"),
    ("entry: IRET", "entry: Halt", "Halt has no frame"),
    ("{upto: ss,", "{upto: sp,", "unknown slot of the frame 'sp'"),
    ("field: virtual_top", "field: virtual_bottom", "unknown field 'virtual_bottom'"),
    ("advances: [ready]", "advances: [idle]", "unknown state 'idle'"),
    ("{from: guest, to: guest, text: sc", "{from: guests, to: guest, text: sc", "unknown party 'guests'"),
    ("kind: frame", "kind: picture", "layout, space"),
    ("group: time", "group: times", "unknown group 'times'; did you mean 'time'?"),
    ("    structure: rom_header\n", "", "a diagram of kind layout without 'structure'"),
])
def test_what_is_wrong_has_its_line(old: str, new: str, message: str, tmp_path: Path) -> None:
    text = FILE.read_text(encoding="utf-8")
    assert old in text
    path = tmp_path / "diagrams.yaml"
    path.write_text(text.replace(old, new, 1), encoding="utf-8")
    with pytest.raises(InputError) as caught:
        load_diagrams(SPEC, path)
    assert message in str(caught.value)
    assert caught.value.place.line > 0
