# SPDX-License-Identifier: BSD-2-Clause
"""The specification language: one version of one ABI as data, loaded into frozen, typed objects.

`load` reads a specification folder, `load_profile` a profile against it; `problems` lists every mistake
of a folder. Nothing here knows any particular ABI.
"""

from abidance.spec.kinds import (
    Access,
    Binds,
    CarrierKind,
    Decider,
    Discovery,
    FactType,
    Layer,
    Level,
    RegisterKind,
    Segments,
    UpdateProtocol,
)
from abidance.spec.load import load, problems
from abidance.spec.parts import (
    BitField,
    Constant,
    Event,
    Evidence,
    Field,
    Leaf,
    Location,
    Msr,
    Operand,
    StartState,
    Structure,
    Update,
)
from abidance.spec.predicate import Predicate
from abidance.spec.profile import Choice, Profile, load_profile
from abidance.spec.types import (
    Carrier,
    Clause,
    ConformanceClass,
    EntryPoint,
    Group,
    ProfileKey,
    Register,
    Source,
    Specification,
)

__all__ = [
    "Access",
    "Binds",
    "BitField",
    "Carrier",
    "CarrierKind",
    "Choice",
    "Clause",
    "ConformanceClass",
    "Constant",
    "Decider",
    "Discovery",
    "EntryPoint",
    "Event",
    "Evidence",
    "FactType",
    "Field",
    "Group",
    "Layer",
    "Leaf",
    "Level",
    "Location",
    "Msr",
    "Operand",
    "Predicate",
    "Profile",
    "ProfileKey",
    "Register",
    "RegisterKind",
    "Segments",
    "Source",
    "Specification",
    "StartState",
    "Structure",
    "Update",
    "UpdateProtocol",
    "load",
    "load_profile",
    "problems",
]
