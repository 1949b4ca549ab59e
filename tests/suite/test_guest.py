# SPDX-License-Identifier: BSD-2-Clause
"""The guest a case sees: batching, poison, handles that never take a fault for a result."""

from __future__ import annotations

import pytest
from toy import HERE, ToyGuest
from toy_kernel import ToySession

from abidance.errors import RecordError, UsageError
from abidance.spec import load, load_profile
from abidance.suite.expectation import Skipped, Unmet, Untested, Violated

SPEC = load(HERE / "toy_spec")
PROFILE = load_profile(SPEC, HERE / "toy_profile.yaml")


def guest(behaviour: str = "good", *, case: str = "c", seed: int = 1) -> ToyGuest:
    return ToyGuest(ToySession(behaviour=behaviour), SPEC, PROFILE, case=case, clauses=("a", "b"), seed=seed)


def exchanges(g: ToyGuest) -> int:
    assert isinstance(g.session, ToySession)
    return g.session.exchanges


def test_operations_are_sent_when_one_is_read() -> None:
    g = guest()
    g.write32(0x1000, 0xDEADBEEF)
    word, state = g.read32(0x1000), g.call("Add", eax=1)
    assert exchanges(g) == 0
    assert (word.value, state.eax) == (0xDEADBEEF, 2)
    assert exchanges(g) == 1
    assert "write 0xdeadbeef" in g.done()[0]


def test_long_queues_are_sent_in_parts() -> None:
    g = guest()
    for page in range(60):
        g.write(page * 0x1000 + 0x1000, bytes(0x1000))
    g.finish()
    assert 1 < exchanges(g) < 10


def test_poison_depends_on_seed_and_case_only() -> None:
    def regs(**options: object) -> dict[str, int]:
        state = guest(**options).call("Add", eax=1)  # type: ignore[arg-type]
        return {name: state.before[name] for name in ("eax", "ebx", "esi", "ebp")}

    assert regs() == regs()
    assert regs()["eax"] == 1
    assert regs()["ebx"] != regs(seed=2)["ebx"]
    assert regs()["ebx"] != regs(case="d")["ebx"]
    assert all(0x1000_0000 <= value < 0xB000_0001 for name, value in regs().items() if name != "eax")


def test_register_of_a_call_that_faulted_is_a_finding() -> None:
    g = guest("fault")
    with pytest.raises(Violated, match="fault 13"):
        _ = g.call("Echo", eax=1).eax
    assert len(g.notebook.findings) == 1


def test_asking_for_the_fault_makes_it_the_cases_business() -> None:
    g = guest("fault")
    state = g.call("Echo", eax=1)
    assert (state.faulted, state.vector, state.error, state.fault_eip) == (True, 13, 8, 0xC00C0010)
    assert state.eax == 1
    g.finish()
    assert not g.notebook.findings


def test_may_fault() -> None:
    g = guest("fault")
    g.call("Echo", eax=1, may_fault=True)
    g.finish()
    assert not g.notebook.findings


@pytest.mark.parametrize("behaviour", ["fault", "none"])
def test_what_nobody_looked_at_is_a_finding_at_the_end(behaviour: str) -> None:
    g = guest(behaviour)
    g.call("Echo", eax=1)
    with pytest.raises(Violated, match=r"call Echo\(eax=0x1\) ends normally"):
        g.finish()


def test_reads_that_fault() -> None:
    g = guest()
    with pytest.raises(Violated, match="faulted: vector 14"):
        _ = g.read32(0).value
    assert g.read32(0).faulted
    assert g.read32(0).fault.vector == 14
    with pytest.raises(Violated, match="expected a fault"):
        _ = g.read32(0x1000).fault


def test_refused_operations_are_no_result() -> None:
    with pytest.raises(RecordError, match="refused"):
        _ = guest("refuse").call("Echo", eax=1).eax


def test_a_handle_is_no_truth_value() -> None:
    g = guest()
    with pytest.raises(TypeError):
        bool(g.read32(0x1000))
    with pytest.raises(TypeError):
        g.expect(g.read32(0x1000), "a handle")  # type: ignore[arg-type]


def test_expectations() -> None:
    g = guest()
    assert g.expect_equal(0x1F, 0x0F, "masked", mask=0xF)
    assert not g.expect_equal(b"a", b"b", "bytes", clause="a")
    with pytest.raises(TypeError):
        g.expect_equal(b"a", 1, "kinds")
    with pytest.raises(ValueError, match="names c"):
        g.expect(True, "foreign clause", clause="c")
    assert g.notebook.evaluations("a") == 2
    assert g.notebook.evaluations("b") == 1
    assert g.notebook.violates("a")
    assert not g.notebook.violates("b")


def test_expect_fault_and_returned() -> None:
    g = guest("fault")
    state = g.call("Echo", eax=1)
    assert g.expect_fault(state, 13, error=8)
    assert not g.expect_fault(state, 14)
    assert not g.expect_returned(state)
    assert not g.expect_fault(g.call("Add", eax=1), 13)


def test_expect_preserved() -> None:
    g = guest("clobber")
    state = g.call("Echo", eax=1)
    assert state.changed("eax", "ebx", "esi") == ("ebx",)
    assert not state.preserved("ebx")
    assert not g.expect_preserved(state, "ebx", "esi")


def test_ends_with_a_reason() -> None:
    g = guest()
    g.require(True, "fine")
    with pytest.raises(Unmet, match="not observed: moon"):
        g.require(False, "moon")
    with pytest.raises(Skipped, match="rain"):
        g.skip("rain")
    with pytest.raises(Untested, match="no CPU"):
        g.not_tested("no CPU")


def test_unknown_names() -> None:
    g = guest()
    with pytest.raises(UsageError, match="no register 'rax'"):
        g.call("Add", rax=1)
    with pytest.raises(UsageError, match="Addd"):
        g.call("Addd", eax=1)
    with pytest.raises(AttributeError, match="the registers are"):
        _ = g.call("Add", eax=1).vectr
