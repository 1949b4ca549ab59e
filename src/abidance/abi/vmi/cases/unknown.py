# SPDX-License-Identifier: BSD-2-Clause
"""The calls of which only number and name are known."""

from __future__ import annotations

from abidance.abi.vmi.cases.bootstrap_relocation import ask, kind_of
from abidance.abi.vmi.guest import VmiGuest
from abidance.suite import case

__all__: list[str] = []

NONE = 0
CALLS = ("MachineToPhysical", "PhysicalToMachine", "SetCallbacks")


@case("vmi.relocation.unknown-withheld", for_each=CALLS)
def unknown_call_is_withheld(g: VmiGuest, entry: str) -> None:
    """The call is answered NONE."""
    state = ask(g, g.entry_number(entry))
    g.require(state.returned, "the query came back")
    g.expect_equal(kind_of(state), NONE, f"the type of {entry}")
