# SPDX-License-Identifier: BSD-2-Clause
"""The ROM images themselves, by the document's header and the BIOS convention."""

from __future__ import annotations

import struct
from pathlib import Path

import pytest

from abidance.kernel import built

ROMS = ("native.rom", "native-call.rom", "minimal.rom", "mutants/native-SetCR2-ignored.rom")


@pytest.fixture(params=ROMS)
def rom(request: pytest.FixtureRequest) -> bytes:
    return built("vmi", request.param).read_bytes()


def text_at(rom: bytes, offset: int) -> bytes:
    return rom[offset:rom.index(b"\0", offset)]


def test_a_bios_takes_it(rom: bytes) -> None:
    assert rom[:2] == b"\x55\xAA"
    assert rom[2] * 512 == len(rom)
    assert sum(rom) & 0xFF == 0
    assert rom[3] == 0xCB


def test_header(rom: bytes) -> None:
    assert rom[8:12] == b"cVmi"
    assert tuple(rom[0x0C:0x0E]) == (0, 3)
    virtual_top, _, licence, pci, pnp = struct.unpack_from("<IHHHH", rom, 0x10)
    assert virtual_top == 0xFC000000
    assert text_at(rom, licence) == b"GPL"
    assert pci
    assert pnp
    assert rom[0x20:0x80] == bytes(96)


def test_slots_are_jumps_into_the_rom(rom: bytes) -> None:
    for slot in (0x80, 0x88):
        opcode, distance = struct.unpack_from("<Bi", rom, slot)
        assert opcode == 0xE9
        assert 0x90 <= slot + 5 + distance < len(rom)


def test_pci_structure(rom: bytes) -> None:
    (at,) = struct.unpack_from("<H", rom, 0x18)
    assert rom[at:at + 4] == b"PCIR"
    assert struct.unpack_from("<HHHH", rom, at + 4) == (0x15AD, 0x0801, 0, 24)
    assert rom[at + 15] == 0x05
    assert struct.unpack_from("<H", rom, at + 16) == (len(rom) // 512,)
    assert rom[at + 21] & 0x80


def test_pnp_structure(rom: bytes) -> None:
    (at,) = struct.unpack_from("<H", rom, 0x1A)
    assert rom[at:at + 6] == b"$PnP\x01\x02"
    assert sum(rom[at:at + 32]) & 0xFF == 0
    manufacturer, product = struct.unpack_from("<HH", rom, at + 14)
    assert text_at(rom, manufacturer) == b"Abidance"
    assert text_at(rom, product).endswith(b"VMI")
    assert rom[at + 22:at + 30] == bytes(8)


def test_variants_differ() -> None:
    images = {path.read_bytes() for path in (*Path(built("vmi", "native.rom")).parent.glob("native*.rom"),
                                             *built("vmi", ROMS[-1]).parent.glob("native-*.rom"))}
    assert len(images) >= 5
