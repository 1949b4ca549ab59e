# SPDX-License-Identifier: BSD-2-Clause
"""The helpers of the interrupt cases that decide something by themselves."""

from __future__ import annotations

from types import SimpleNamespace

import pytest

from abidance.abi.vmi.cases.interrupts_tools import ARITHMETIC, MIX, Code, late, low_byte
from abidance.errors import UsageError
from abidance.kernel import Hello

DIRECT, PAGE_AT, ROM = 0xC000_0000, 0x50_0000, 0xC00C_0100
NUMBERS = {"EnableInterrupts": 29, "DisableInterrupts": 30, "GetInterruptMask": 31}


class FakeGuest(SimpleNamespace):
    """As much of a guest as `Code` and `late` ask for."""

    def __init__(self, **relocations: int) -> None:
        items = {f"reloc.{number}": value for number, value in
                 ((NUMBERS[name], value) for name, value in relocations.items())}
        super().__init__(hello=Hello({"kernel.end.phys": 0x12_0000, **items}), written=[])

    def page(self) -> int:
        return PAGE_AT

    def direct(self, phys: int) -> int:
        return DIRECT + phys

    def entry_number(self, entry: str) -> int:
        return NUMBERS[entry]

    def write(self, address: int, data: bytes) -> None:
        self.written.append((address, data))


def test_a_call_goes_to_its_relocation_from_where_it_stands():
    g = FakeGuest(EnableInterrupts=1 << 32 | ROM)
    code = Code(g).raw(b"\x90\x90").call("EnableInterrupts")
    code.place()
    (address, data), = g.written
    assert address == DIRECT + PAGE_AT
    assert data[2] == 0xE8
    behind = address + len(data)
    assert (behind + int.from_bytes(data[3:7], "little")) & 0xFFFF_FFFF == ROM


@pytest.mark.parametrize(("entry", "native"), [("EnableInterrupts", b"\xFB"), ("DisableInterrupts", b"\xFA"),
                                               ("GetInterruptMask", b"\x9C\x58")])
def test_a_call_that_is_not_offered_is_its_native_instruction(entry, native):
    g = FakeGuest()
    Code(g).call(entry).place()
    assert g.written[0][1] == native


def test_code_that_does_not_fit_is_refused():
    with pytest.raises(UsageError):
        Code(FakeGuest()).raw(bytes(0x1001)).place()


@pytest.mark.parametrize(("eip", "expected"), [
    (ROM, False),                       # in the implementation
    (0xC010_0800, False),               # at the call, which is then made again
    (0xC010_0805, False),               # directly behind it
    (0xC010_0806, True),                # the caller went on
    (0xC011_FFFF, True), (0xC012_0000, False), (0xC010_0000, True),
])
def test_late_means_that_the_caller_went_on(eip, expected):
    assert late(FakeGuest(), eip, 0xC010_0800) is expected


def test_low_byte_changes_nothing_else():
    assert low_byte(0x1234_5678, 0xFE) == 0x1234_56FE


def test_each_arithmetic_flag_is_seen_set_and_clear():
    assert all(not flags & ~ARITHMETIC for flags in MIX)
    for bit in (1 << n for n in range(12) if ARITHMETIC >> n & 1):
        assert {bool(flags & bit) for flags in MIX} == {True, False}
