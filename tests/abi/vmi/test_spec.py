# SPDX-License-Identifier: BSD-2-Clause
"""The document of VMI 3.0: what it promises about itself, beyond what the loader already checks."""

from __future__ import annotations

import re

import pytest

from abidance.abi.vmi import SPECIFICATION
from abidance.spec.kinds import Binds, Layer, Level
from abidance.spec.load import load
from abidance.spec.types import Clause, Specification

SLICE = frozenset({*range(14, 23), *range(28, 36), 38, 40, *range(46, 49), 73})
"""Numbers of the calls that the reference and native implementations of this edition offer."""

UNKNOWN = {"MachineToPhysical", "PhysicalToMachine", "SetCallbacks"}
"""The calls whose prototype no source has."""

AP_STATE = {
    "cr0": 0, "cr2": 4, "cr3": 8, "cr4": 12, "efer": 16, "eip": 24, "eflags": 28, "eax": 32, "ebx": 36,
    "ecx": 40, "edx": 44, "esp": 48, "ebp": 52, "esi": 56, "edi": 60, "cs": 64, "ss": 66, "ds": 68, "es": 70,
    "fs": 72, "gs": 74, "ldtr": 76, "gdtr_limit": 78, "gdtr_base": 80, "idtr_base": 84, "idtr_limit": 88,
    "reserved": 90,
}  # fmt: skip

WORDS = {Level.MUST: "must", Level.MUST_NOT: "must not", Level.SHOULD: "should", Level.MAY: "may"}

HEADER = {
    "rom_signature": 0x00, "rom_length": 0x02, "vrom_signature": 0x08, "api_version_min": 0x0C,
    "api_version_maj": 0x0D, "virtual_top": 0x10, "license_offs": 0x16, "pci_header_offs": 0x18,
    "pnp_header_offs": 0x1A, "vmi_init": 0x80, "get_reloc": 0x88,
}  # fmt: skip


@pytest.fixture(scope="module")
def vmi() -> Specification:
    return load(SPECIFICATION)


def own(vmi: Specification) -> list[Clause]:
    return [clause for clause in vmi.clauses if not clause.stamped]


def test_names_every_call_once(vmi: Specification) -> None:
    numbers = [entry.number for entry in vmi.entries if entry.number is not None]
    assert numbers == list(range(74))


def test_bootstrap_entries_have_slots_and_no_number(vmi: Specification) -> None:
    slots = {entry.name: entry.slot for entry in vmi.entries if entry.number is None}
    assert slots == {"Init": 0x80, "GetRelocationInfo": 0x88}


def test_only_three_prototypes_are_unknown(vmi: Specification) -> None:
    assert {entry.name for entry in vmi.entries if entry.prototype_unknown} == UNKNOWN
    for name in UNKNOWN:
        assert {clause.binds for clause in vmi.entry(name).clauses} == {Binds.IMPLEMENTATION, Binds.GUEST}


def test_every_call_says_what_withholding_means_and_how_it_is_used(vmi: Specification) -> None:
    for entry in vmi.entries:
        assert entry.usage, entry.name
        assert bool(entry.withheld) is (entry.number is not None), entry.name


def test_every_known_call_may_be_withheld_and_offered(vmi: Specification) -> None:
    for entry in vmi.entries:
        if entry.number is not None and entry.name not in UNKNOWN:
            assert {"NONE", "CALL_REL"} <= set(entry.relocations), entry.name
            assert ("JUMP_REL" in entry.relocations) is (entry.name in ("IRET", "SYSEXIT")), entry.name


def test_every_described_entry_has_a_clause_about_its_effect(vmi: Specification) -> None:
    for entry in vmi.entries:
        duties = [
            clause for clause in entry.clauses
            if not clause.stamped and clause.level is Level.MUST and clause.binds is Binds.IMPLEMENTATION
        ]  # fmt: skip
        assert duties or entry.prototype_unknown, entry.name


def test_wording_follows_the_level(vmi: Specification) -> None:
    for clause in own(vmi):
        assert re.search(rf"\b{WORDS[clause.level]}\b", clause.text), clause.id
        if clause.level is Level.MUST:
            assert re.search(r"\bmust\b(?! not)", clause.text), clause.id


def test_one_sentence_each(vmi: Specification) -> None:
    for clause in own(vmi):
        assert clause.text.endswith("."), clause.id
        assert ". " not in clause.text, clause.id
        assert "\n" not in clause.text, clause.id


def test_core_rests_on_the_published_text_or_the_headers(vmi: Specification) -> None:
    normative = {source.tag for source in vmi.sources if source.normative}
    assert normative == {"S", "M"}
    for clause in vmi.clauses:
        cited = {item.source for item in clause.evidence}
        if clause.layer is Layer.CORE:
            assert cited & normative, clause.id
        elif clause.binds is Binds.IMPLEMENTATION:
            assert clause.level in (Level.SHOULD, Level.MAY), clause.id
            assert not cited & normative, clause.id


def test_evidence_from_the_published_text_says_where(vmi: Specification) -> None:
    for clause in vmi.clauses:
        assert all(item.ref for item in clause.evidence if item.source == "S"), clause.id


def test_every_freedom_that_a_profile_declares_is_permitted(vmi: Specification) -> None:
    for key in vmi.profile_keys:
        assert key.permitted_by, key.name
        for _, clause_id in key.permitted_by:
            assert vmi.clause(clause_id).level is Level.MAY, (key.name, clause_id)


def test_guest_is_bound_too(vmi: Specification) -> None:
    assert {"guest", "implementation"} == {clause.binds.value for clause in own(vmi)}
    groups = {clause.group for clause in own(vmi) if clause.binds is Binds.GUEST}
    assert groups == {group.name for group in vmi.groups}


def test_registers_that_may_not_change_are_stamped_on_each_call_that_returns(vmi: Specification) -> None:
    for entry in vmi.entries:
        stamped = {clause.id.rpartition(".")[2] for clause in entry.clauses if clause.stamped}
        written = {name for item in entry.results for name in item.registers} | set(entry.clobbers)
        kept = {"EBX", "ESI", "EDI", "EBP", "ESP"} - written
        saved = {f"preserves-{name.lower()}" for name in kept}
        if entry.name in ("INSL", "INSB", "INSW"):
            saved.remove("preserves-esi")
        if entry.prototype_unknown or not entry.returns:
            assert not stamped & {*saved, "preserves-segments"}, entry.name
        else:
            assert saved <= stamped, entry.name


def test_port_calls_say_what_both_readings_ask(vmi: Specification) -> None:
    ports = [entry for entry in vmi.entries if entry.number in range(49, 61)]
    assert len(ports) == 12
    for entry in ports:
        for slug, level in (("keeps-scratch", Level.SHOULD), ("scratch-may-change", Level.MAY),
                            ("scratch-not-relied-on", Level.MUST_NOT)):  # fmt: skip
            assert vmi.clause(f"vmi.{entry.name}.{slug}").level is level


def test_flags_only_calls_keep_the_scratch_registers(vmi: Specification) -> None:
    for name in ("EnableInterrupts", "DisableInterrupts", "GetInterruptMask", "SetInterruptMask"):
        for register in ("ecx", "edx"):
            assert vmi.clause(f"vmi.{name}.preserves-{register}").stamped
    assert vmi.clause("vmi.SetInterruptMask.preserves-eax").layer is Layer.PRACTICE


def test_header_layout(vmi: Specification) -> None:
    (header,) = (item for item in vmi.structures if item.name == "rom_header")
    offsets = {field.name: field.offset for field in header.fields}
    assert header.size == 0x90
    assert {name: offsets[name] for name in HEADER} == HEADER
    assert sum(field.size for field in header.fields) == header.size


def test_state_of_an_application_processor(vmi: Specification) -> None:
    (state,) = (item for item in vmi.structures if item.name == "vmi_ap_state")
    assert (state.size, state.align) == (92, 4)
    assert {field.name: field.offset for field in state.fields} == AP_STATE
    assert sum(field.size for field in state.fields) == state.size


def test_classes(vmi: Specification) -> None:
    bootstrap = {"Init", "GetRelocationInfo"}
    assert set(vmi.conformance("minimal").calls) == {"IRET", "SYSEXIT", *bootstrap}
    assert all(bootstrap <= set(vmi.conformance(item.name).calls) for item in vmi.classes)
    assert set(vmi.conformance("full").calls) == {entry.name for entry in vmi.entries} - UNKNOWN
    assert {vmi.entry(name).number for name in vmi.conformance("slice").calls} == {*SLICE, None}
    unasked = {1, 2, 8, 26, 36, 37, 42, 43, *range(49, 61), 72}
    asked = {vmi.entry(name).number for name in vmi.conformance("linux-2-6").calls}
    assert asked == {*range(74), None} - unasked
