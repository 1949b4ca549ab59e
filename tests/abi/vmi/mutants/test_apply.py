# SPDX-License-Identifier: BSD-2-Clause
"""A mutant that cannot be applied proves nothing: each is applied to a fresh reference hypervisor."""

import os

import pytest

from abidance.abi.vmi.mutants import MUTANTS
from abidance.abi.vmi.reference.hypervisor import Hypervisor
from abidance.errors import UnavailableError
from abidance.kernel import built

MEMORY, DOORBELL = 16 << 20, 0x5E9
GROUPS = sorted({one.place.file for one in MUTANTS if one.change is not None})


@pytest.fixture(scope="module")
def rom():
    try:
        return built("vmi", "reference.rom").read_bytes()
    except UnavailableError as error:
        if os.environ.get("CI") == "true":
            raise
        pytest.skip(str(error))


@pytest.mark.parametrize("module", GROUPS, ids=lambda path: path.rpartition("/")[2])
def test_every_mutant_of_a_module_can_be_applied(module, rom):
    failed = {}
    for one in MUTANTS:
        if one.place.file != module or one.change is None:
            continue
        try:
            one.change(Hypervisor(MEMORY, rom, DOORBELL))
        except (AttributeError, KeyError, TypeError, ValueError, IndexError) as error:
            failed[one.name] = repr(error)
    assert not failed


def test_mutants_of_one_clause_differ():
    """Two mutants of the same clause with the same summary would be one mutant counted twice."""
    seen = [(one.violates, one.on, one.summary) for one in MUTANTS]
    assert len(seen) == len(set(seen))
