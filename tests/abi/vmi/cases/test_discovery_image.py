# SPDX-License-Identifier: BSD-2-Clause
"""The cases' own reading of a ROM image: what lies inside it, and where it is found."""

from __future__ import annotations

import struct

import pytest

from abidance.abi.vmi.cases.discovery_image import Image, candidates, field

BLOCKS = 2


def made(**words: int) -> Image:
    """An image of two blocks with 16-bit words at the given offsets (`at_18=…`, hexadecimal)."""
    data = bytearray(512 * BLOCKS)
    data[0:3] = b"\x55\xAA" + bytes([BLOCKS])
    data[8:12] = b"cVmi"
    for name, value in words.items():
        struct.pack_into("<H", data, int(name.removeprefix("at_"), 16), value)
    return Image(0xC_8000, bytes(data))


def test_extent() -> None:
    image = made()
    assert (image.length, image.end) == (0x400, 0xC_8400)


@pytest.mark.parametrize(("offset", "inside"),
                         [(0x3E8, True), (0x3E9, False), (0x100, True), (0xFFF0, False)])
def test_pci_structure_lies_inside(offset: int, inside: bool) -> None:
    assert (made(at_18=offset).pci is not None) is inside


@pytest.mark.parametrize(("offset", "inside"), [(0x3EE, True), (0x3EF, False)])
def test_pnp_header_lies_inside(offset: int, inside: bool) -> None:
    assert (made(at_1A=offset).pnp is not None) is inside


def test_no_structures() -> None:
    assert made().pci is None
    assert made().pnp is None


def test_string_needs_its_nul_inside() -> None:
    data = bytearray(made().data)
    data[0x200:0x204] = b"GPL\0"
    data[0x3F0:] = b"x" * 16
    image = Image(0xC_8000, bytes(data))
    assert image.string(0x200) == b"GPL"
    assert image.string(0x3F0) is None
    assert image.string(0xFFFF) is None


def test_a_shorter_length_than_there_are_bytes() -> None:
    data = bytearray(made().data)
    data[2] = 1
    image = Image(0xC_8000, bytes(data))
    assert image.part(0x1FF, 1) == b"\0"
    assert image.part(0x200, 1) is None
    assert image.string(0x200) is None


def test_candidates_stand_where_a_header_has_the_signature() -> None:
    memory = b"cVmi" + bytes(60) + made().data + made().data
    assert list(candidates(memory)) == [64, 64 + 1024]


def test_field_is_little_endian() -> None:
    assert field(b"\x01\x02\x03\x04\x05", 1, 4) == 0x0504_0302
