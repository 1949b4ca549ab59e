# SPDX-License-Identifier: BSD-2-Clause
"""The language is not that of one ABI: RISC-V SBI, and a made-up one with every kind of part."""

from __future__ import annotations

import pytest
from spec_folders import DATA

from abidance.errors import UsageError
from abidance.spec import (
    Access,
    Binds,
    BitField,
    CarrierKind,
    Discovery,
    Evidence,
    Level,
    Location,
    Specification,
    UpdateProtocol,
    load,
)


@pytest.fixture(scope="module")
def sbi() -> Specification:
    return load(DATA / "sbi")


@pytest.fixture(scope="module")
def pvx() -> Specification:
    return load(DATA / "pvx")


def test_sbi_functions_are_subcommands_with_two_numbers(sbi: Specification) -> None:
    start = sbi.entry("HSM.hart_start")
    assert start is sbi.entry((0x48534D, 0))
    assert (start.number, start.parent, start.carrier) == (0, "HSM", "ecall")
    assert sbi.entry(0x10).subcommands == ("BASE.get_spec_version",)
    assert sbi.carriers[0].kind is CarrierKind.ECALL
    assert (sbi.carriers[0].number_in, sbi.carriers[0].subcommand_in) == ("a7", "a6")


def test_sbi_operands_are_64_bits_wide(sbi: Specification) -> None:
    start = sbi.entry("HSM.hart_start")
    assert [(item.name, item.where, item.bits) for item in start.inputs] == [
        ("hartid", "a0", 64),
        ("start_addr", "a1", 64),
        ("opaque", "a2", 64),
    ]
    assert start.clobbers == ("a0", "a1")  # those of the carrier


def test_sbi_versions_and_evidence(sbi: Specification) -> None:
    assert sbi.version == "2.0"
    assert sbi.entry("HSM").since == "0.2"
    clause = sbi.clause("sbi.HSM.hart_start.translation-off")
    assert clause.evidence == (Evidence("T", "9.1"), Evidence("F", ""))
    assert (clause.rev, clause.level, clause.binds) == (2, Level.MUST, Binds.IMPLEMENTATION)
    assert str(clause.applies_when) == "harts > 1 and offers('HSM.hart_start')"
    text = sbi.clause("sbi.BASE.get_spec_version.always-succeeds").text
    assert text == "a0 must be 0.\n\nThe call cannot fail."


def test_sbi_constants_may_be_negative(sbi: Specification) -> None:
    assert {item.name: item.value for item in sbi.constants} == {"SUCCESS": 0, "ERR_NOT_SUPPORTED": -2}


def test_sbi_start_state(sbi: Specification) -> None:
    (state,) = sbi.start
    assert dict(state.registers) == {"a0": "its hartid", "a1": "opaque", "satp": "0"}


def test_stamps_go_on_calls_that_return_and_on_no_mere_command(sbi: Specification) -> None:
    stamped = [clause.id for clause in sbi.clauses if clause.stamped]
    assert stamped == ["sbi.BASE.get_spec_version.preserves-s0", "sbi.HSM.hart_start.preserves-s0"]
    clause = sbi.clause(stamped[1])
    assert clause.text == "HSM.hart_start must return with s0 as it was at the call."
    assert (clause.entry, clause.group, clause.since) == ("HSM.hart_start", "hsm", "1.0")


def test_carriers_of_other_kinds(pvx: Specification) -> None:
    kinds = {item.name: (item.kind, item.slot, item.vector, item.msr) for item in pvx.carriers}
    assert kinds == {
        "page": (CarrierKind.HYPERCALL_PAGE, 32, None, None),
        "vmcall": (CarrierKind.VMCALL, None, None, None),
        "enable": (CarrierKind.MSR_WRITE, None, None, "CLOCK"),
        "trap": (CarrierKind.INTERRUPT, None, 0x82, None),
    }


def test_places(pvx: Specification) -> None:
    (value,) = pvx.entry("start_clock").inputs
    assert value.parts == (Location(register="rdx"), Location(register="rcx"))
    assert value.registers == ("rdx", "rcx")
    assert pvx.entry("start_clock").numbers == ()


def test_an_entry_without_prototype_says_why(pvx: Specification) -> None:
    assert pvx.entry("legacy").prototype_unknown == "the document only names it"


def test_a_clause_of_a_topic_may_bind_with_an_entry(pvx: Specification) -> None:
    clause = pvx.clause("pvx.waking.wakes")
    assert (clause.subject, clause.entry) == ("waking", "kick")


def test_structures(pvx: Specification) -> None:
    span, clock = pvx.structures
    assert [(item.name, item.offset) for item in span.fields] == [("start", 0), ("length", 8)]
    assert [(item.name, item.offset, item.size, item.count) for item in clock.fields] == [
        ("sequence", 0, 4, 1),
        ("flags", 4, 4, 4),
        ("ns", 8, 8, 1),
        ("window", 16, 16, 1),
    ]
    assert clock.update is not None
    assert (clock.update.protocol, clock.update.field) == (UpdateProtocol.SEQUENCE_COUNTER, "sequence")


def test_msrs_leaves_and_events(pvx: Specification) -> None:
    (msr,) = pvx.msrs
    assert (msr.number, msr.bits, msr.access) == (0x4B564D01, 64, Access.READ_WRITE)
    assert msr.fields == (BitField("enable", 0, 0), BitField("address", 63, 6))
    (leaf,) = pvx.leaves
    assert (leaf.via, leaf.leaf, leaf.subleaf) == (Discovery.CPUID, 0x40000000, 0)
    assert [item.bits for item in leaf.outputs] == [32, 32]
    wake, broken = pvx.events
    assert (wake.vector, wake.frame[0], wake.error_code) == ("guest-chosen", "rip", False)
    assert (broken.vector, broken.error_code) == (14, True)


def test_entries_come_in_order_of_number_and_groups_as_listed(pvx: Specification) -> None:
    assert [entry.name for entry in pvx.entries] == ["flush", "kick", "legacy", "start_clock"]
    assert [group.name for group in pvx.groups] == ["calls", "parts"]


def test_match_takes_patterns(sbi: Specification) -> None:
    assert [clause.id for clause in sbi.match("sbi.errors.*")] == [
        "sbi.errors.unknown-function",
        "sbi.errors.value-unspecified",
    ]
    assert sbi.match("vmi.*") == ()


def test_a_class_takes_along_what_it_includes(sbi: Specification) -> None:
    hsm = sbi.conformance("hsm")
    assert hsm.calls == ("BASE", "BASE.get_spec_version", "HSM", "HSM.hart_start", "HSM.hart_stop")
    assert hsm.includes == ("base",)
    assert "sbi.BASE.mandatory" in hsm.clauses
    assert "sbi.errors.unknown-function" in hsm.clauses
    assert "sbi.errors.unknown-function" not in sbi.conformance("base").clauses


@pytest.mark.parametrize(
    ("look_up", "mend"),
    [
        (lambda spec: spec.entry("HSM.hart_strat"), "did you mean 'HSM.hart_start'"),
        (lambda spec: spec.entry(7), "no entry point 7"),
        (lambda spec: spec.clause("sbi.errors.unknown"), "did you mean 'sbi.errors.unknown-function'"),
        (lambda spec: spec.conformance("hms"), "did you mean 'hsm'"),
    ],
)
def test_what_is_not_there(sbi: Specification, look_up: object, mend: str) -> None:
    assert callable(look_up)
    with pytest.raises(UsageError, match=mend):
        look_up(sbi)
