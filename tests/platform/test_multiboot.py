# SPDX-License-Identifier: BSD-2-Clause
"""The Multiboot loader: what it takes, and what it refuses of hostile files."""

from __future__ import annotations

import struct

import pytest
from hypothesis import given
from hypothesis import strategies as st

from abidance.errors import InputError
from abidance.kernel import kernel_image
from abidance.platform.multiboot import Loaded, load

MIB = 1 << 20
MAGIC = 0x1BADB002


def header(flags: int = 0, *words: int) -> bytes:
    return struct.pack(f"<{3 + len(words)}I", MAGIC, flags, -MAGIC - flags & 0xFFFFFFFF, *words)


def elf(*, entry: int = MIB + 12, offset: int = 0x1000, virtual: int = MIB, physical: int = MIB,
        filled: int = 16, size: int = 32, count: int = 1, table: int = 52, entry_size: int = 32,
        kind: int = 2, machine: int = 3, body: bytes = header() + b"\x90\x90\xEB\xFE") -> bytes:
    head = b"\x7fELF\x01\x01\x01" + bytes(9) + struct.pack(
        "<HHIIIIIHHHHHH", kind, machine, 1, entry, table, 0, 0, 52, entry_size, count, 0, 0, 0)
    program = struct.pack("<8I", 1, offset, virtual, physical, filled, size, 5, 0x1000)
    return (head + program).ljust(0x1000, b"\0") + body


def kludge(start: int = MIB, *, header_at: int | None = None, load_end: int = 0, bss_end: int = 0,
           entry: int = MIB + 32) -> bytes:
    where = start if header_at is None else header_at
    return header(1 << 16, where, start, load_end, bss_end, entry) + b"\xEB\xFE"


def ram(size: int = 2 * MIB) -> memoryview:
    return memoryview(bytearray(b"\xCC" * size))


def test_elf() -> None:
    memory = ram()
    loaded = load(elf(), memory, "a=b")
    assert loaded == Loaded(entry=MIB + 12, info=0x9000, top=MIB + 32)
    assert bytes(memory[MIB:MIB + 33]) == header() + b"\x90\x90\xEB\xFE" + bytes(16) + b"\xCC"


def test_elf_entry_may_be_virtual() -> None:
    assert load(elf(virtual=0xC0100000, entry=0xC010000C), ram(), "").entry == MIB + 12


def test_addresses_in_the_header() -> None:
    memory = ram()
    loaded = load(kludge(bss_end=MIB + 64), memory, "")
    assert loaded == Loaded(entry=MIB + 32, info=0x9000, top=MIB + 64)
    assert bytes(memory[MIB + 32:MIB + 65]) == b"\xEB\xFE" + bytes(30) + b"\xCC"


def test_the_header_need_not_be_at_the_start_of_the_file() -> None:
    image = bytes(64) + kludge(MIB, header_at=MIB + 64, entry=MIB + 96)
    memory = ram()
    assert load(image, memory, "").entry == MIB + 96
    assert bytes(memory[MIB + 96:MIB + 98]) == b"\xEB\xFE"


def test_boot_information() -> None:
    memory = ram()
    info = load(elf(), memory, "mailbox=0x400000 nonce=0x1").info
    flags, lower, upper = struct.unpack_from("<III", memory, info)
    assert flags & 0x45 == 0x45
    assert (lower, upper) == (0x9FC00 >> 10, MIB >> 10)
    (text,) = struct.unpack_from("<I", memory, info + 16)
    assert bytes(memory[text:text + 27]) == b"mailbox=0x400000 nonce=0x1\0"
    length, start = struct.unpack_from("<II", memory, info + 44)
    regions = [struct.unpack_from("<IQQI", memory, start + at) for at in range(0, length, 24)]
    assert regions == [(20, 0, 0x9FC00, 1), (20, 0xF0000, 0x10000, 2), (20, MIB, MIB, 1)]
    (name,) = struct.unpack_from("<I", memory, info + 64)
    assert bytes(memory[name:name + 9]) == b"abidance\0"


def test_the_test_kernel() -> None:
    loaded = load(kernel_image("i386", "vmi").read_bytes(), ram(16 * MIB), "mailbox=0x400000")
    assert MIB <= loaded.entry < loaded.top < 0x400000


@pytest.mark.parametrize(("image", "key"), [
    (b"", "header"),
    (bytes(9000) + header(), "header"),
    (header()[:-1] + b"\x01" + bytes(100), "header"),
    (header(0x8), "header"),
    (header(), "image"),
    (b"\x7fELF\x02\x01".ljust(64, b"\0") + header(), "image"),
    (elf(kind=3), "image"),
    (elf(machine=62), "image"),
    (elf(count=0), "program headers"),
    (elf(count=0xFFFF), "program headers"),
    (elf(entry_size=8), "program headers"),
    (elf(table=0xFFFFFFF0), "program headers"),
    (elf(filled=17), "segment"),
    (elf(filled=33, body=header() + bytes(64)), "segment"),
    (elf(offset=0xFFFFFFFF), "segment"),
    (elf(physical=0), "segment"),
    (elf(physical=0xFFFFFFFF), "segment"),
    (elf(size=0xFFFFFFFF), "segment"),
    (elf(entry=5), "entry"),
    (header(1 << 16, MIB), "header"),
    (kludge(header_at=MIB - 4), "load_addr"),
    (kludge(header_at=MIB + 4), "load_addr"),
    (kludge(load_end=MIB - 1), "load_end_addr"),
    (kludge(bss_end=MIB + 1), "load_end_addr"),
    (kludge(load_end=MIB + 4096), "segment"),
    (kludge(entry=0), "entry"),
])
def test_refused(image: bytes, key: str) -> None:
    with pytest.raises(InputError) as refused:
        load(image, ram(), "", name="evil.elf")
    assert str(refused.value).startswith(f"evil.elf: {key}: ")


@pytest.mark.parametrize("text", ["é", "x" * 4096])
def test_impossible_command_lines(text: str) -> None:
    with pytest.raises(InputError, match="cmdline"):
        load(elf(), ram(), text)


@given(st.binary(min_size=1, max_size=8), st.integers(0, 120))
def test_no_file_does_anything_but_load_or_be_refused(noise: bytes, where: int) -> None:
    image = bytearray(elf())
    image[where:where + len(noise)] = noise
    memory = ram()
    try:
        loaded = load(bytes(image), memory, "")
    except InputError:
        return
    assert MIB <= loaded.entry < loaded.top <= len(memory)
