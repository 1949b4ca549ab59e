# SPDX-License-Identifier: BSD-2-Clause
"""Cases that hang, crash and kill a real machine, and one that is well."""

from __future__ import annotations

import os
import signal

from abidance.abi.vmi.guest import VmiGuest
from abidance.suite import case

CLAUSE = "vmi.GetCR3.returns-loaded"


def _look(g: VmiGuest) -> None:
    base = g.hello.number("kernel.pd.phys")
    g.expect_equal(g.call("GetCR3").eax, base, "the base of the page directory", mask=0xFFFFF000)


@case(CLAUSE)
def well_before(g: VmiGuest) -> None:
    """Passes."""
    _look(g)


@case(CLAUSE)
def spins(g: VmiGuest) -> None:
    """Jumps to itself for ever."""
    page = g.page()
    g.write(g.direct(page), b"\xEB\xFE")
    g.deadline = 1.0
    g.execute(g.direct(page))
    _look(g)


@case(CLAUSE)
def triple_faults(g: VmiGuest) -> None:
    """Loads a page directory with nothing in it."""
    g.call("SetCR3", eax=g.page())
    _look(g)


@case(CLAUSE)
def engine_is_killed(g: VmiGuest) -> None:
    """Kills what executes the guest."""
    os.kill(g.session.pid, signal.SIGKILL)  # type: ignore[attr-defined]
    _look(g)


@case(CLAUSE)
def looks_at_nothing(g: VmiGuest) -> None:
    """Expects nothing."""
    g.call("GetCR3").check()


@case(CLAUSE)
def well_after(g: VmiGuest) -> None:
    """Passes."""
    _look(g)
