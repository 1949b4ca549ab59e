# SPDX-License-Identifier: BSD-2-Clause
"""The closed vocabularies of the specification language, as enumerations.

The value of each member is the word as it stands in YAML.
"""

from __future__ import annotations

from enum import Enum

__all__ = [
    "Access",
    "Binds",
    "CarrierKind",
    "Decider",
    "Discovery",
    "FactType",
    "Layer",
    "Level",
    "RegisterKind",
    "Segments",
    "UpdateProtocol",
]


class Level(Enum):
    """How strongly a clause binds."""

    MUST = "MUST"
    MUST_NOT = "MUST NOT"
    SHOULD = "SHOULD"
    MAY = "MAY"


class Binds(Enum):
    """Whom a clause binds."""

    IMPLEMENTATION = "implementation"
    GUEST = "guest"


class Layer(Enum):
    """`CORE`: a normative source says it. `PRACTICE`: known from one guest's behaviour or by inference."""

    CORE = "core"
    PRACTICE = "practice"


class CarrierKind(Enum):
    """How a call travels from the guest to the implementation."""

    NEAR_CALL = "near-call"
    """A near call (or jump) into code that the implementation put into a ROM."""
    HYPERCALL_PAGE = "hypercall-page"
    """A near call into a page of equal slots that the implementation filled."""
    ECALL = "ecall"
    VMCALL = "vmcall"
    HVC = "hvc"
    SMC = "smc"
    INTERRUPT = "interrupt"
    """A software interrupt with a fixed vector."""
    MSR_WRITE = "msr-write"
    MSR_READ = "msr-read"


class RegisterKind(Enum):
    """What a register is for."""

    GENERAL = "general"
    POINTER = "pointer"
    FLAGS = "flags"
    SEGMENT = "segment"
    CONTROL = "control"
    SYSTEM = "system"
    FLOAT = "float"


class Segments(Enum):
    """Which x86 segments an entry point may assume to be flat."""

    FLAT = "flat"
    """CS, SS, DS and ES."""
    STACK_ONLY = "stack-only"
    """CS and SS only."""


class Access(Enum):
    """Who may do what with a register, from the guest's side."""

    READ = "read-only"
    WRITE = "write-only"
    READ_WRITE = "read-write"


class Discovery(Enum):
    """Where a guest finds a leaf."""

    CPUID = "cpuid"
    CALL = "call"
    ROM_HEADER = "rom-header"
    DEVICE_TREE = "device-tree"
    ACPI = "acpi"
    START_INFO = "start-info"


class UpdateProtocol(Enum):
    """How a reader of a shared structure gets a consistent view of it."""

    SEQUENCE_COUNTER = "sequence-counter"
    """The named field is odd while an update is under way and changes with every update."""
    ATOMIC_FIELDS = "atomic-fields"
    """Each field is written by one store; fields may disagree with each other."""
    DURING_CALL = "during-call"
    """Written only between the start and the end of a call."""
    HANDSHAKE = "handshake"
    """The named field says whose turn it is."""
    NONE = "none"
    """Written once, before anybody reads."""


class FactType(Enum):
    """Type of a profile key."""

    INT = "int"
    BOOL = "bool"
    STR = "str"


class Decider(Enum):
    """Who decides a profile key: the implementation declares it, or the platform does."""

    IMPLEMENTATION = "implementation"
    PLATFORM = "platform"
