# SPDX-License-Identifier: BSD-2-Clause
"""The ROM is a valid VMI option ROM, and changes keep it one."""

from __future__ import annotations

import struct

import pytest

from abidance.abi.vmi.reference.calls import CALLS
from abidance.abi.vmi.reference.image import BASE, CALL_REL, INIT, JUMP_REL, NONE, Image
from abidance.errors import UsageError
from abidance.platform.unicorn.ram import Ram


@pytest.fixture
def rom(fresh) -> bytes:
    from abidance.kernel import built
    return built("vmi", "reference.rom").read_bytes()


@pytest.fixture
def image(rom):
    return Image(rom, Ram(0x20_0000).view)


def test_the_header_is_what_the_document_asks_for(rom):
    assert rom[:2] == b"\x55\xAA"
    assert rom[2] * 512 == len(rom)
    assert sum(rom) & 0xFF == 0
    assert struct.unpack_from("<4sBB", rom, 8) == (b"cVmi", 0, 3)
    top, licence, pci, pnp = struct.unpack_from("<I2xHHH", rom, 0x10)
    assert top == 0xFC000000
    assert rom[licence:licence + 4] == b"GPL\0"
    assert struct.unpack_from("<4sHH", rom, pci) == (b"PCIR", 0x15AD, 0x0801)
    assert struct.unpack_from("<H", rom, pci + 16)[0] == rom[2]
    assert rom[pnp:pnp + 4] == b"$PnP"
    assert sum(rom[pnp:pnp + 32]) & 0xFF == 0
    manufacturer, product = struct.unpack_from("<HH", rom, pnp + 14)
    assert rom[manufacturer:].split(b"\0")[0] == b"Abidance"
    assert rom[product:].split(b"\0")[0] == b"reference"
    assert not any(rom[0x20:0x80])
    assert rom[3] == 0xCB


def test_the_calls_offered_are_the_calls_there_are(image):
    offered = {number for number in range(74) if image.offered(number)}
    assert offered == set(CALLS)


def test_stubs_are_known_by_the_address_after_their_trap(image):
    for number in range(INIT + 2):
        assert image.read(image.stub(number), 1) == b"\xCD"
        assert image.sites[BASE + image.stub(number) + 2] == number
    assert len(image.sites) == INIT + 2


def test_changes_keep_the_checksum(image):
    image.withhold(17)
    assert image.relocation(17) == (NONE, 0)
    image.retype(33, JUMP_REL)
    assert image.relocation(33) == (JUMP_REL, image.stub(33))
    image.trap(29)
    assert image.relocation(29) == (CALL_REL, image.stub(29))
    image.patch(image.stub(15), b"\xC3")
    assert sum(image.read(0, image.size)) & 0xFF == 0


@pytest.mark.parametrize("damage", [
    lambda rom: b"", lambda rom: rom[:100], lambda rom: rom[:2] + b"\0" + rom[3:],
    lambda rom: rom[:0x90] + b"X" + rom[0x91:], lambda rom: rom[:0x98] + b"\xFF\xFF\0\0" + rom[0x9C:]])
def test_another_rom_is_refused(rom, damage):
    with pytest.raises(UsageError):
        Image(damage(rom), Ram(0x20_0000).view)
