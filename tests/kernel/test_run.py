# SPDX-License-Identifier: BSD-2-Clause
"""CALL, EXEC, TRANSFER, LOG and POLL on a bare QEMU: every way in and out of a routine."""

from __future__ import annotations

import pytest

from abidance.kernel import (
    Call,
    Done,
    Execute,
    Key,
    Log,
    LogKind,
    Mode,
    Outcome,
    Poll,
    PortOut,
    Read,
    Set,
    Space,
    State,
    Transfer,
    Write,
)

EAX, ECX, EDX, EBX, ESP, EBP, ESI, EDI, EIP, EFLAGS, CS, SS, DS, ES, FS, GS = range(16)
IF = 0x200
IRET, SYSEXIT = 33, 34
FAULTS = {"ud2": 6, "int3": 3, "div0": 0, "int80": 0x80}


def fragment(bench, name: str) -> int:
    return bench.hello.fragments[name]


def execute(bench, name: str, **registers: int) -> State:
    names = bench.hello.registers
    pairs = tuple((names.index(key), value) for key, value in registers.items())
    (state,) = bench.run(Execute(fragment(bench, name), registers=pairs))
    assert isinstance(state, State)
    return state


def enter_user(bench, name: str, *, how: int = IRET, mode: Mode = Mode.INLINE, **registers: int) -> State:
    names = bench.hello.registers
    pairs = tuple((names.index(key), value) for key, value in registers.items())
    stack = bench.hello.number("user.stack")
    (state,) = bench.run(Transfer(how, fragment(bench, name), sp=stack, registers=pairs, mode=mode))
    assert isinstance(state, State)
    return state


def test_exec_keeps_all_registers(bench) -> None:
    state = execute(bench, "kernel.ret", eax=1, edi=0x12345678)
    assert state.outcome is Outcome.RETURNED
    assert state.before[EAX] == 1
    for register in (EAX, ECX, EDX, EBX, ESP, EBP, ESI, EDI, CS, SS, DS, ES, FS, GS):
        assert state.after[register] == state.before[register]
    assert state.canary_bad == 0
    assert state.mask_after is not None
    assert not state.mask_after & IF


def test_poison_can_be_set(bench) -> None:
    _, state = bench.run(Set(Key.POISON + EBX, 0xCAFE), Execute(fragment(bench, "kernel.ret")))
    assert state.before[EBX] == state.after[EBX] == 0xCAFE


@pytest.mark.parametrize("name", FAULTS)
def test_kernel_faults_are_recorded(bench, name: str) -> None:
    state = execute(bench, f"kernel.{name}")
    assert state.outcome is Outcome.FAULT
    assert state.vector == FAULTS[name]
    assert 0 <= state.fault_eip - fragment(bench, f"kernel.{name}") <= 3
    assert state.fault_cs == 0x60
    assert state.after[ESP] == state.before[ESP] - 4
    assert state.after[ESI] == state.before[ESI]


@pytest.mark.parametrize("name", FAULTS)
def test_user_faults_are_recorded(bench, name: str) -> None:
    state = enter_user(bench, f"user.{name}")
    assert (state.outcome, state.vector, state.fault_cs) == (Outcome.FAULT, FAULTS[name], 0x73)
    assert state.after[ESP] == bench.hello.number("user.stack")
    assert state.after[SS] == 0x7B


@pytest.mark.parametrize("name", ["cli", "sti", "hlt", "gp", "out"])
def test_user_mode_may_not(bench, name: str) -> None:
    state = enter_user(bench, f"user.{name}")
    assert (state.outcome, state.vector) == (Outcome.FAULT, 13)


def test_page_fault_tells_address_and_code(bench) -> None:
    kernel = execute(bench, "kernel.store", eax=0xD0000000, ebx=1)
    assert (kernel.vector, kernel.error, kernel.cr2) == (14, 2, 0xD0000000)
    user = enter_user(bench, "user.load", eax=0xC0100000)
    assert (user.vector, user.error, user.cr2) == (14, 5, 0xC0100000)


@pytest.mark.parametrize("mode", [Mode.INLINE, Mode.NATIVE])
@pytest.mark.parametrize("how", [IRET, SYSEXIT, 0xFFFF])
def test_user_probe_by_every_return(bench, how: int, mode: Mode) -> None:
    state = enter_user(bench, "user.probe", how=how, mode=mode, esi=77)
    assert state.outcome is Outcome.STOP
    assert (state.after[EBX], state.after[ECX], state.after[ESI]) == (0x73, 0x7B, 77)
    assert state.after[EAX] & IF
    assert state.after[DS] == 0x7B


def test_iret_within_the_kernel(bench) -> None:
    (state,) = bench.run(Transfer(IRET, fragment(bench, "kernel.pushf"), cs=0x60, flags=0x46))
    assert state.outcome is Outcome.FAULT  # its ret finds the canaries above the frame
    (state,) = bench.run(Transfer(IRET, fragment(bench, "kernel.stop"), cs=0x60, flags=0x46))
    assert state.outcome is Outcome.STOP
    assert state.after[CS] == 0x60
    assert state.fault_eflags & 0x40
    assert state.after[ESP] == state.before[ESP] + 12


def test_a_bad_frame_faults_at_the_site(bench) -> None:
    (state,) = bench.run(Transfer(IRET, fragment(bench, "user.stop"), cs=0x1FB, sp=0x1000))
    assert (state.outcome, state.vector, state.error) == (Outcome.FAULT, 13, 0x1F8)
    assert state.fault_eip == state.site


def test_sysenter_comes_back(bench) -> None:
    state = enter_user(bench, "user.sysenter", edx=0x08048000, ecx=0x0804A800)
    assert (state.outcome, state.vector, state.fault_eip) == (Outcome.FAULT, 0x82, 0x08048000)


def test_native_calls_have_their_effect(bench) -> None:
    pages = bench.hello.number("kernel.cr3")
    arena = bench.hello.number("direct.offset") + bench.hello.number("arena.base")
    get, put, read, flags, off, pxe, memory, flush, nothing, unknown = bench.run(
        Call(21), Call(16, registers=((EAX, 0x1234),)), Call(20), Call(31), Call(30),
        Call(38, registers=((EAX, 0xABC), (EDX, arena))), Read(Space.LINEAR, arena, 4),
        Call(47, registers=((EAX, 3),)), Call(73), Call(42))
    assert get.after[EAX] == pages
    assert put.outcome is Outcome.RETURNED
    assert read.after[EAX] == 0x1234
    assert not flags.after[EAX] & IF
    assert off.outcome is Outcome.RETURNED
    assert memory.data == b"\xBC\x0A\0\0"
    assert flush.outcome is nothing.outcome is pxe.outcome is Outcome.RETURNED
    assert nothing.after[:8] == nothing.before[:8]
    assert unknown.outcome is Outcome.NOT_CALLABLE


def test_stack_arguments_lie_above_the_return_address(bench) -> None:
    arena = bench.hello.number("direct.offset") + bench.hello.number("arena.base")
    state, memory = bench.run(
        Call(13, registers=((EAX, arena), (EDX, 2), (ECX, 0x11111111)), stack=(0x22222222,)),
        Read(Space.LINEAR, arena + 16, 8))
    assert state.outcome is Outcome.RETURNED
    assert memory.data == b"\x11" * 4 + b"\x22" * 4


def test_leaving_calls_are_not_called(bench) -> None:
    states = bench.run(Call(IRET), Call(SYSEXIT), Transfer(21, 0))
    assert {state.outcome for state in states} == {Outcome.NOT_CALLABLE}


def test_smashed_stack_is_noticed(bench) -> None:
    esp = execute(bench, "kernel.ret").before[ESP]
    assert execute(bench, "kernel.store", eax=esp + 40, ebx=0).canary_bad == 1
    assert execute(bench, "kernel.ret").canary_bad == 0


def test_double_fault_is_survived(bench) -> None:
    state = execute(bench, "kernel.ud2", esp=0xD0000000)
    assert (state.outcome, state.vector) == (Outcome.FAULT, 8)
    assert execute(bench, "kernel.ret").outcome is Outcome.RETURNED
    again = execute(bench, "kernel.ud2", esp=0xD0000000)
    assert again.vector == 8
    assert execute(bench, "kernel.ud2").vector == 6
    assert enter_user(bench, "user.stop").outcome is Outcome.STOP


def one_timer_edge(policy: int) -> tuple:
    return (Set(Key.IRQ_POLICY, policy), PortOut(0x43, 0x30), PortOut(0x21, 0xFE), PortOut(0x40, 0x00),
            PortOut(0x40, 0x04), PortOut(0x20, 0x0A), Poll(0x20, 1, 1, 10_000_000))


def test_a_pending_interrupt_is_logged_and_returned_from(bench) -> None:
    *_, poll, before, sti, nops, log = bench.run(
        *one_timer_edge(0), Log(), Call(29), Execute(fragment(bench, "kernel.nops")), Log())
    assert poll.matched
    assert before.entries == ()
    assert nops.outcome is sti.outcome is Outcome.RETURNED
    assert sti.irqs + nops.irqs == 1 or len(log.entries) == 1
    (entry,) = log.entries
    assert (entry.kind, entry.vector, entry.cs) == (LogKind.IRQ, 0x20, 0x60)
    assert entry.eflags_image & IF
    assert not entry.eflags_register & IF
    assert bench.run(Call(31))[0].after[EAX] & IF == 0  # cleared at the end of the batch


def test_an_interrupt_can_end_the_op(bench) -> None:
    *_, state, log = bench.run(
        *one_timer_edge(1), Transfer(IRET, fragment(bench, "user.spin"), sp=bench.hello.number("user.stack"),
                                     registers=((ECX, 0),)), Log())
    assert (state.outcome, state.vector) == (Outcome.FAULT, 0x20)
    assert state.fault_cs == 0x73
    assert state.irqs == 1
    assert log.entries[0].esp == bench.hello.number("user.stack")


def test_user_mode_is_interrupted_and_resumed(bench) -> None:
    *_, state, log = bench.run(
        *one_timer_edge(0), Transfer(IRET, fragment(bench, "user.wait"), sp=bench.hello.number("user.stack"),
                                     registers=((ECX, 100_000), (ESI, 5))), Log())
    assert (state.outcome, state.irqs) == (Outcome.STOP, 1)
    assert (state.after[ECX], state.after[ESI]) == (0, 5)
    assert [entry.kind for entry in log.entries] == [LogKind.IRQ, LogKind.STOP]


def test_the_log_is_bounded(bench) -> None:
    stop = Execute(fragment(bench, "kernel.stop"))
    *_, log = bench.run(*[stop] * 300, Log())
    assert (len(log.entries), log.lost) == (256, 44)
    assert log.entries[255].sequence - log.entries[0].sequence == 255
    assert bench.run(Log())[0].entries == ()


def test_trap_and_direction_flags_do_not_stay(bench) -> None:
    state, after = bench.run(Execute(fragment(bench, "kernel.ret"), flags=0x402),
                             Execute(fragment(bench, "kernel.pushf")))
    assert state.after[EFLAGS] & 0x400
    assert not after.after[EAX] & 0x400
    step, after = bench.run(Execute(fragment(bench, "kernel.ret"), flags=0x102),
                            Execute(fragment(bench, "kernel.pushf")))
    assert (step.outcome, step.vector) == (Outcome.FAULT, 1)
    assert after.outcome is Outcome.RETURNED


def test_arena_is_writable_from_user_only_when_mapped(bench) -> None:
    (write,) = bench.run(Write(Space.PHYSICAL, bench.hello.number("user.data.phys"), b"\x2A\0\0\0"))
    del write
    state = enter_user(bench, "user.load", eax=bench.hello.number("user.data"))
    assert (state.outcome, state.after[EBX]) == (Outcome.STOP, 42)


def test_an_interrupt_between_ops_ends_nothing(bench) -> None:
    policy, *timer, _ = one_timer_edge(1)
    *_, poll, state, log = bench.run(policy, Call(29), *timer, Poll(0x20, 0, 1, 100_000), Call(19), Log())
    assert not poll.matched
    assert state.outcome is Outcome.RETURNED
    assert [entry.vector for entry in log.entries] == [0x20]


def test_doorbell_and_marker_change_nothing_the_routine_sees(start) -> None:
    bench = start(words="doorbell=0x5e9")
    marker, state = bench.run(Set(Key.MARKER, 1), Execute(fragment(bench, "kernel.ret")))
    assert marker == Done()
    assert state.outcome is Outcome.RETURNED
    assert state.after[:8] == state.before[:8]
