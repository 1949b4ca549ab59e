# SPDX-License-Identifier: BSD-2-Clause
"""The reference hypervisor end to end, with the real test kernel."""

from __future__ import annotations

import pytest

from abidance.errors import UsageError
from abidance.kernel.ops import (
    NATIVE_RETURN,
    Call,
    Execute,
    Mode,
    Poll,
    PortOut,
    Read,
    Set,
    Space,
    Transfer,
    Write,
)
from abidance.platform.model import Reason

IF = 0x200
KERNEL_CS, USER_CS, USER_DS = 0x61, 0x73, 0x7B
LINEAR = 0x4000_0000


def timer(guest, count: int) -> None:
    guest.do(PortOut(0x43, 0x30), PortOut(0x40, count & 0xFF), PortOut(0x40, count >> 8))


def unmask(guest) -> None:
    guest.do(PortOut(0x21, 0xFE))


def pend(guest) -> None:
    """Leave a timer interrupt pending."""
    unmask(guest)
    timer(guest, 10)
    assert guest.do(PortOut(0x20, 0x0A), Poll(0x20, 1, 1, 100_000))[1].matched


def test_init_moves_the_kernel_to_cpl_1(guest):
    assert guest.hello.number("abi.active") == 1
    assert guest.hello.number("cpl.before") == 0
    assert guest.hello.number("cpl.after") == 1
    assert guest.vcpu.cpu.cpl in {1, 3}


def test_the_rom_is_not_writable(guest):
    before = guest.hv.memory.read(0xC0000, 1024)
    guest.do(Write(Space.PHYSICAL, 0xC0000, b"\xEE" * 1024))
    assert guest.hv.memory.read(0xC0000, 1024) == before


# -- interrupts --------------------------------------------------------------------------------------


def test_the_hot_calls_do_not_trap(guest):
    guest.hv.calls = {}
    for number in (29, 30, 31, 32):
        assert guest.call(number, eax=IF).returned


@pytest.mark.parametrize("trapping", [False, True])
def test_the_four_interrupt_calls(fresh, trapping):
    guest = fresh()
    if trapping:
        for number in (29, 30, 31, 32):
            guest.hv.image.trap(number)
    mode = Mode.RELOCATION if not trapping else Mode.INLINE
    for number, eax, flag in ((29, 0, True), (30, 0, False), (32, IF, True), (32, 0xFFFFFFFF & ~IF, False)):
        call, read = (Call(one, mode, registers=guest.registers({"eax": eax})) for one in (number, 31))
        state, mask = guest.do(call, read)
        assert state.returned
        assert bool(state.mask_after & IF) is flag
        assert guest.after(mask, "eax") & IF == (IF if flag else 0)


@pytest.mark.parametrize(("call", "registers"), [(29, {}), (32, {"eax": IF}), (35, {})])
def test_what_is_pending_is_delivered_before_the_call_returns(guest, call, registers):
    pend(guest)
    state = guest.call(call, **registers)
    assert state.returned
    assert state.irqs == 1
    (entry,) = guest.log()
    assert (entry.vector, entry.cs, entry.eflags_image & IF, entry.mask) == (0x20, KERNEL_CS, IF, 0)


def test_nothing_is_delivered_while_the_flag_is_clear(guest):
    pend(guest)
    assert guest.call(31).irqs == guest.run("nops").irqs == 0
    assert guest.call(32, eax=0).irqs == 0


def test_halt_lets_virtual_time_pass(guest):
    unmask(guest)
    timer(guest, 50_000)
    before = guest.hv.time.now
    state = guest.call(35)
    assert (state.returned, state.irqs) == (True, 1)
    assert guest.hv.time.now - before > 50_000


def test_a_halt_that_nothing_can_end_uses_the_budget_up(guest):
    guest.post(Call(35))
    stops = [guest.hv.run(1_000_000) for _ in range(4)]
    assert [stop.reason for stop in stops[-2:]] == [Reason.BUDGET] * 2
    assert stops[-1].used == 1_000_000
    assert not guest.box.answered(guest.seq)


def test_an_interrupt_arrives_in_the_user(guest):
    unmask(guest)
    guest.do(Set(1, 1))
    timer(guest, 500)
    state = guest.user("spin")
    assert (state.vector, state.fault_cs) == (0x20, USER_CS)
    assert state.fault_eflags & IF


@pytest.mark.parametrize("after", range(10))
def test_an_injected_interrupt_is_exact_in_enable_interrupts(guest, after):
    guest.do(Set(2, 1))
    unmask(guest)
    guest.hv.control("inject", {"irq": 0, "after": after})
    state = guest.call(29)
    assert (state.returned, state.irqs) == (True, 1)
    assert guest.hv.control("count", {}) > after


def test_an_interrupt_at_every_instruction_of_iret_finds_one_of_two_contexts(guest):
    contexts = []
    for after in range(20):
        guest.reset()
        guest.do(Set(2, 1))
        unmask(guest)
        guest.hv.control("inject", {"irq": 0, "after": after})
        state = guest.user("probe")
        assert state.stopped
        entry = guest.log()[0]
        if entry.vector != 0x20:
            break
        contexts.append((entry.cs, entry.eflags_image & IF, entry.ss))
    assert len(contexts) >= 5
    assert set(contexts) == {(USER_CS, IF, USER_DS)}


# -- transfers ---------------------------------------------------------------------------------------


@pytest.mark.parametrize("kind", ["call", "jump"])
@pytest.mark.parametrize("how", [33, 34])
def test_both_relocation_types_reach_the_user(fresh, kind, how):
    guest = fresh(iret=kind)
    state = guest.user("probe", how)
    assert state.stopped
    assert guest.after(state, "ebx") == USER_CS
    assert guest.after(state, "ecx") & 0xFFFF == USER_DS
    assert guest.vcpu.cpu.cpl in {1, 3}


@pytest.mark.parametrize("flags", [0x2, 0x202, 0x8D7, 0x402])
def test_iret_within_the_kernel_sets_the_virtual_flag_from_the_frame(guest, flags):
    state = guest.do(Transfer(33, guest.hello.fragments["kernel.stop"], cs=KERNEL_CS, flags=flags))[0]
    assert state.stopped
    entry = guest.log()[0]
    assert entry.eflags_image & 0xFD7 == flags & 0xFD7


@pytest.mark.parametrize("kind", ["call", "jump"])
def test_a_fault_in_iret_is_reported_at_the_site(fresh, kind):
    guest = fresh(iret=kind)
    state = guest.do(Transfer(33, 0x1000, cs=0x33, flags=0x202, sp=0x1000, ss=USER_DS))[0]
    assert (state.vector, state.error) == (13, 0x30)
    if kind == "call":
        assert state.fault_eip == state.site
    else:
        assert state.fault_eip == guest.direct + 0xC0000 + guest.hv.image.stub(33)


def test_a_native_iret_leaves_the_virtual_flag(guest):
    stop = guest.hello.fragments["kernel.stop"]
    state = guest.do(Transfer(NATIVE_RETURN, stop, cs=KERNEL_CS, flags=0x202))[0]
    assert state.stopped
    assert not guest.log()[0].eflags_image & IF


# -- page tables -------------------------------------------------------------------------------------


def test_a_mapping_goes_through_its_life(guest):
    first, second = guest.arena, guest.arena + 0x1000
    guest.do(Write(Space.PHYSICAL, first, b"AAAA"), Write(Space.PHYSICAL, second, b"BBBB"))
    entry = guest.map(LINEAR, first, flags=0)

    def read() -> bytes | int:
        answer = guest.do(Read(Space.LINEAR, LINEAR, 4))[0]
        return answer.data if hasattr(answer, "data") else answer.error

    assert read() == 0
    guest.call(38, eax=first | 3, edx=entry, ecx=1)
    assert read() == b"AAAA"
    guest.hv.memory.words[entry - guest.direct >> 2] = second | 3
    assert read() == b"AAAA", "a store without a call"
    guest.call(40, eax=entry, edx=1)
    assert read() == b"BBBB"
    guest.call(38, eax=first | 3, edx=entry, ecx=0x21)
    assert read() == b"BBBB", "deferred"
    guest.call(46, eax=LINEAR + 5)
    assert read() == b"AAAA"
    guest.call(38, eax=0, edx=entry, ecx=1)
    assert read() == 0


@pytest.mark.parametrize("flush", [
    (47, {"eax": 1}), (47, {"eax": 3}), (46, {"eax": LINEAR}), (73, {"eax": 0})])
def test_the_lazy_mode_queues_until_a_flush(guest, flush):
    first, second = guest.arena, guest.arena + 0x1000
    guest.do(Write(Space.PHYSICAL, first, b"AAAA"), Write(Space.PHYSICAL, second, b"BBBB"))
    entry = guest.map(LINEAR, first)
    assert guest.do(Read(Space.LINEAR, LINEAR, 4))[0].data == b"AAAA"
    guest.call(73, eax=1)
    guest.call(38, eax=second | 3, edx=entry, ecx=1)
    assert guest.do(Read(Space.LINEAR, LINEAR, 4))[0].data == b"AAAA"
    number, registers = flush
    guest.call(number, **registers)
    assert guest.do(Read(Space.LINEAR, LINEAR, 4))[0].data == b"BBBB"


def test_a_page_fault_in_the_lazy_mode_puts_the_queue_into_effect(guest):
    entry = guest.map(LINEAR, guest.arena, flags=0)
    guest.call(73, eax=1)
    guest.call(38, eax=guest.arena | 3, edx=entry, ecx=1)
    assert hasattr(guest.do(Read(Space.LINEAR, LINEAR, 4))[0], "data")


def test_cr2_shows_guest_faults_only(guest):
    guest.call(16, eax=0x1234567)
    guest.vcpu.shadow.flush()
    assert guest.after(guest.call(20), "eax") == 0x1234567
    guest.run("load", eax=0x10)
    assert guest.after(guest.call(20), "eax") == 0x10


def test_the_announced_stack_is_the_one_that_is_used(guest):
    stack = guest.hello.number("kernel.esp0") - 0x40
    guest.call(14, eax=0x69, edx=stack)
    assert guest.user("stop").stopped
    assert guest.vcpu.inner_stack(1) == (0x69, stack)


# -- native instructions ------------------------------------------------------------------------------


def test_native_moves_show_the_guests_registers(guest):
    for fragment, call in (("rdcr0", 19), ("rdcr2", 20), ("rdcr3", 21), ("rdcr4", 22)):
        assert guest.after(guest.run(fragment), "eax") == guest.after(guest.call(call), "eax")


def test_cli_and_sti_do_nothing_while_the_calls_are_offered(guest):
    assert guest.run("sti").mask_after == 0
    cli = Execute(guest.hello.fragments["kernel.cli"])
    assert guest.do(Call(29), cli)[1].mask_after & IF


def test_withheld_calls_keep_their_native_effect(fresh):
    numbers = (15, 16, 17, 18, 19, 20, 21, 22, 28, 29, 30, 35, 46)
    guest = fresh(withhold=",".join(map(str, numbers)))
    assert all(guest.hello.number(f"reloc.{number}") == 0 for number in numbers)
    assert guest.call(29).mask_after & IF
    assert guest.call(30).mask_after & IF == 0
    guest.call(16, eax=0x77777000)
    assert guest.after(guest.call(20), "eax") == 0x77777000
    cr0 = guest.after(guest.call(19), "eax")
    guest.call(15, eax=cr0 | 8)
    assert guest.run("fninit").vector == 7
    guest.call(28)
    assert guest.run("fninit").returned
    pend(guest)
    assert guest.call(35).irqs == 1


def test_pushf_always_shows_interrupts_enabled(guest):
    for number in (30, 29):
        guest.call(number)
        assert guest.after(guest.run("pushf"), "eax") & IF


def test_privileged_instructions_in_the_user_fault(guest):
    for fragment in ("cli", "sti", "hlt", "gp"):
        state = guest.user(fragment)
        assert (state.vector, state.error, state.fault_cs) == (13, 0, USER_CS)


# -- the model -----------------------------------------------------------------------------------------


def test_the_same_from_the_same_state(guest):
    def history() -> list[int]:
        guest.reset()
        seen = []
        for _ in range(3):
            unmask(guest)
            timer(guest, 300)
            guest.call(35)
            guest.user("probe")
            seen += [guest.hv.time.now, guest.vcpu.cpu.executed, *(entry.eip for entry in guest.log())]
        return seen
    assert history() == history()


def test_reset_undoes_everything_the_guest_did(guest):
    before = bytes(guest.hv.memory.save())
    guest.call(17, eax=guest.hello.number("kernel.cr3"))
    guest.do(Write(Space.PHYSICAL, guest.arena, b"\xAB" * 4096), PortOut(0x21, 0))
    guest.call(73, eax=1)
    guest.call(38, eax=3, edx=guest.direct + guest.arena, ecx=1)
    guest.reset()
    assert guest.hv.memory.save() == before
    assert guest.vcpu.deferral.updates == []
    assert guest.do(Read(Space.PHYSICAL, guest.arena, 4))[0].data == before[guest.arena:guest.arena + 4]


def test_impossible_requests_are_refused(guest, fresh):
    for command, values in (("inject", {"irq": 2, "after": 0}), ("inject", {"irq": 0}), ("fly", {})):
        with pytest.raises(UsageError):
            guest.hv.control(command, values)
    for options in ({"iret": "no"}, {"withhold": "x"}, {"withhold": "74"}, {"mutant": "there-is-none"}):
        with pytest.raises(UsageError):
            fresh(**options)


def test_a_mutant_is_a_function_of_a_fresh_hypervisor(fresh):
    guest = fresh()
    guest.hv.calls[16] = lambda vcpu: None
    guest.call(16, eax=0x5000)
    assert guest.after(guest.call(20), "eax") != 0x5000
