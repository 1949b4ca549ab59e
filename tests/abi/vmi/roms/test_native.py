# SPDX-License-Identifier: BSD-2-Clause
"""The native ROM under the real test kernel, on QEMU and on the PC model: every call it offers."""

from __future__ import annotations

from dataclasses import replace

import pytest

from abidance.kernel import (
    AbiOp,
    Call,
    Data,
    Execute,
    Fault,
    Key,
    Log,
    LogEntries,
    LogKind,
    Mode,
    Poll,
    Polled,
    PortOut,
    Read,
    Set,
    Space,
    State,
    Transfer,
    Write,
)

OFFERED = {*range(14, 23), *range(28, 36), 38, 40, 46, 47, 48, 73}
NONE, CALL_REL, JUMP_REL = 0, 1, 2
IF, TF, IOPL, AC = 0x200, 0x100, 0x3000, 0x40000
ENABLE, DISABLE, GET_MASK, SET_MASK, IRET, SYSEXIT, HALT = 29, 30, 31, 32, 33, 34, 35
FLAGS_ONLY = (ENABLE, DISABLE, GET_MASK, SET_MASK)
PAGE = 4096
SYSENTER_EVENT = 130
TIMED = {"user.spin", "user.wait"}
HARMLESS = tuple(f"kernel.{name}" for name in (
    "ret", "stop", "ud2", "int3", "div0", "int80", "load", "pushcs", "lsl", "lar"))
RF = 0x10000
WAYS = (Mode.RELOCATION, Mode.INLINE)


def one_shot(ticks: int = 100) -> tuple[PortOut, ...]:
    """Unmask IRQ 0, select the IRR for reading, start the timer once."""
    return (PortOut(0x21, 0xFE), PortOut(0x20, 0x0A), PortOut(0x43, 0x30), PortOut(0x40, ticks & 0xFF),
            PortOut(0x40, ticks >> 8))


def word(guest, linear: int) -> int:
    (data,) = guest.run(Read(Space.LINEAR, linear, 4))
    assert isinstance(data, Data)
    return int.from_bytes(data.data, "little")


def irqs(guest) -> list:
    (log,) = guest.run(Log())
    assert isinstance(log, LogEntries)
    return [entry for entry in log.entries if entry.kind is LogKind.IRQ]


def inside_rom(guest, eip: int) -> bool:
    start = guest.hello.number("direct.offset") + guest.hello.number("rom.phys")
    return start <= eip < start + 0x1000


def test_what_it_offers(guest) -> None:
    hello = guest.hello
    assert hello.number("abi.active") == 1
    assert hello.number("cpl.after") == 0
    kinds = {number: hello.number(f"reloc.{number}") >> 32 for number in range(74)}
    assert {number for number, kind in kinds.items() if kind} == OFFERED
    assert kinds[IRET] == kinds[SYSEXIT]
    assert kinds[IRET] in {CALL_REL, JUMP_REL}
    assert all(kinds[number] == CALL_REL for number in OFFERED - {IRET, SYSEXIT})
    assert all(inside_rom(guest, hello.number(f"reloc.{number}") & 0xFFFFFFFF) for number in OFFERED)
    assert all(hello.number(f"reloc.{number}") == 0 for number in set(range(74)) - OFFERED)


@pytest.mark.parametrize("mode", WAYS)
def test_control_registers(guest, mode: Mode) -> None:
    cr0, cr3, cr4 = (guest.value(number) for number in (19, 21, 22))
    assert cr0 & 0x80000001 == 0x80000001
    assert cr3 == guest.hello.number("kernel.cr3")
    assert guest.call(16, mode=mode, eax=0x12345678).returned
    assert guest.after(guest.call(20, mode=mode), "eax") == 0x12345678
    assert guest.call(15, mode=mode, eax=cr0 | 8).returned
    assert guest.value(19) == cr0 | 8
    assert guest.call(28, mode=mode).returned
    assert guest.value(19) == cr0 & ~8
    assert guest.call(18, mode=mode, eax=cr4 ^ 4).returned
    assert guest.value(22) == cr4 ^ 4
    assert guest.call(17, mode=mode, eax=cr3).returned
    assert guest.value(21) == cr3


def test_set_cr3_changes_the_address_space(guest) -> None:
    hello = guest.hello
    arena = hello.number("arena.base")
    (directory,) = guest.run(Read(Space.PHYSICAL, hello.number("kernel.pd.phys"), PAGE))
    assert isinstance(directory, Data)
    # A copy of the directory in which 4 MiB at 80000000h show what the kernel's window shows.
    copy = bytearray(directory.data)
    window = hello.number("direct.offset") >> 22
    copy[4 * 0x200:4 * 0x201] = copy[4 * window:4 * window + 4]
    assert isinstance(guest.run(Read(Space.LINEAR, 0x80001000, 4))[0], Fault)
    guest.run(Write(Space.PHYSICAL, arena, bytes(copy)))
    assert guest.call(17, eax=arena).returned
    assert guest.value(21) == arena
    assert word(guest, 0x80001000) == word(guest, hello.number("direct.offset") + 0x1000)


@pytest.mark.parametrize("mode", WAYS)
@pytest.mark.parametrize("entry", FLAGS_ONLY)
def test_interrupt_calls_change_only_flags(guest, entry: int, mode: Mode) -> None:
    state = guest.call(entry, mode=mode, eax=IF)
    assert state.returned
    for index, name in enumerate(guest.hello.registers):
        if name in {"eip", "eflags"} or (name == "eax" and entry == GET_MASK):
            continue
        assert state.after[index] == state.before[index], name


def mask_after(guest, entry: int, **registers: int) -> tuple[State, int]:
    """The call, and the mask as the ROM then tells it: one batch, since a batch ends with interrupts off."""
    state, told = guest.run(Call(entry, registers=guest.registers(**registers)), Call(GET_MASK))
    assert isinstance(state, State)
    assert isinstance(told, State)
    assert state.returned
    return state, guest.after(told, "eax")


@pytest.mark.parametrize("before", [ENABLE, DISABLE])
@pytest.mark.parametrize(("entry", "eax", "expected"), [
    (ENABLE, 0, IF), (DISABLE, IF, 0), (SET_MASK, IF, IF), (SET_MASK, 0, 0),
])
def test_the_mask_follows_the_calls(guest, before: int, entry: int, eax: int, expected: int) -> None:
    _, _, told = guest.run(Call(before), Call(entry, registers=guest.registers(eax=eax)), Call(GET_MASK))
    assert guest.after(told, "eax") & IF == expected


def test_only_bit_9_of_a_mask_matters(guest) -> None:
    state, mask = mask_after(guest, SET_MASK, eax=0xFFFFFFFF & ~IF)
    assert not guest.after(state, "eflags") & (IF | TF | IOPL | AC)
    assert not mask & IF
    state, mask = mask_after(guest, SET_MASK, eax=0xFFFFFFFF)
    assert guest.after(state, "eflags") & (IF | TF | IOPL | AC) == IF
    assert mask & IF


@pytest.mark.parametrize(("entry", "registers"), [(ENABLE, {}), (SET_MASK, {"eax": IF})])
def test_a_pending_interrupt_arrives_before_the_call_returns(guest, entry: int, registers: dict) -> None:
    answers = guest.run(*one_shot(), Poll(0x20, 1, 1, 1_000_000))
    polled = answers[-1]
    assert isinstance(polled, Polled)
    assert polled.matched
    assert irqs(guest) == []
    state = guest.call(entry, **registers)
    assert state.returned
    assert state.irqs == 1
    (entry_,) = irqs(guest)
    assert entry_.vector == 0x20
    assert entry_.cs == 0x60
    assert entry_.eflags_image & IF
    assert inside_rom(guest, entry_.eip)


def test_interrupts_go_on_after_the_first(guest) -> None:
    """EOI and return through the ROM's IRET: the timer in mode 2 interrupts again and again."""
    nops = Execute(guest.hello.fragments["kernel.nops"])
    guest.run(PortOut(0x21, 0xFE), PortOut(0x43, 0x34), PortOut(0x40, 0x00), PortOut(0x40, 0x02))
    seen = 0
    for _ in range(200):
        guest.run(Call(ENABLE), *[nops] * 5)
        seen += len(irqs(guest))
        if seen >= 3:
            break
    assert seen >= 3


def test_halt_waits_for_an_interrupt_and_enables_it(guest) -> None:
    guest.run(*one_shot(5000))
    state, mask = mask_after(guest, HALT)
    assert state.irqs == 1
    assert mask & IF


@pytest.mark.parametrize("mode", WAYS)
def test_iret_to_the_user(guest, mode: Mode) -> None:
    state = guest.transfer(IRET, "user.probe", cs=0x73, flags=IF | 2, sp=guest.hello.number("user.stack"),
                           ss=0x7B, mode=mode)
    assert state.stopped
    assert guest.after(state, "cs") == guest.after(state, "ebx") & 0xFFFF == 0x73
    assert guest.after(state, "ss") == guest.after(state, "ecx") & 0xFFFF == 0x7B
    assert guest.after(state, "eax") & IF
    assert guest.after(state, "esp") == guest.hello.number("user.stack")


@pytest.mark.parametrize("mode", WAYS)
@pytest.mark.parametrize("flags", [2, IF | 2])
def test_iret_to_the_kernel(guest, mode: Mode, flags: int) -> None:
    state = guest.transfer(IRET, "kernel.stop", cs=0x60, flags=flags, mode=mode)
    assert state.stopped
    assert guest.after(state, "cs") == 0x60
    assert guest.after(state, "eflags") & IF == flags & IF


@pytest.mark.parametrize("mode", WAYS)
def test_sysexit(guest, mode: Mode) -> None:
    stack = guest.hello.number("user.stack")
    state = guest.transfer(SYSEXIT, "user.probe", sp=stack, mode=mode)
    assert state.stopped
    assert guest.after(state, "cs") == 0x73
    assert guest.after(state, "ss") == 0x7B
    assert guest.after(state, "esp") == stack
    assert guest.after(state, "eax") & IF


def test_an_interrupt_out_of_user_mode(guest) -> None:
    guest.run(*one_shot(2000), Set(Key.IRQ_POLICY, 1))
    stack = guest.hello.number("user.stack")
    state = guest.transfer(IRET, "user.spin", cs=0x73, flags=IF | 2, sp=stack, ss=0x7B)
    assert not state.returned
    (entry,) = irqs(guest)
    assert entry.cs == 0x73
    assert entry.eip - guest.hello.fragments["user.spin"] in range(16)


def test_sysenter_after_sysexit(guest) -> None:
    """The kernel's SYSENTER entry is reached from where SYSEXIT went, with interrupts off."""
    state = guest.transfer(SYSEXIT, "user.sysenter", sp=guest.hello.number("user.stack"))
    assert state.faulted
    assert state.vector == SYSENTER_EVENT
    assert not state.fault_eflags & IF


def table_entry(guest, linear: int) -> int:
    """Linear address of the page-table entry that maps a kernel page."""
    offset = guest.hello.number("direct.offset")
    directory = offset + guest.hello.number("kernel.pd.phys")
    table = word(guest, directory + 4 * (linear >> 22)) & ~0xFFF
    return offset + table + 4 * (linear >> 12 & 0x3FF)


@pytest.mark.parametrize("flush", ["InvalPage", "FlushTLB 1", "FlushTLB 3", "SetCR3"])
def test_page_tables(guest, flush: str) -> None:
    arena = guest.hello.number("arena.base")
    page = guest.hello.number("direct.offset") + arena
    guest.run(Write(Space.PHYSICAL, arena, b"AAAA"), Write(Space.PHYSICAL, arena + PAGE, b"BBBB"))
    assert word(guest, page) == 0x41414141
    entry = table_entry(guest, page)
    value = word(guest, entry)
    assert value & ~0xFFF == arena
    assert guest.call(38, eax=value + PAGE, edx=entry, ecx=1).returned
    assert word(guest, entry) == value + PAGE
    assert guest.call(40, eax=entry, edx=1).returned
    call, eax = {"InvalPage": (46, page), "FlushTLB 1": (47, 1), "FlushTLB 3": (47, 3),
                 "SetCR3": (17, guest.value(21))}[flush]
    cr4 = guest.value(22)
    assert guest.call(call, eax=eax).returned
    assert word(guest, page) == 0x42424242
    assert guest.value(22) == cr4


def test_flush_of_global_pages_keeps_cr4(guest) -> None:
    cr4 = guest.value(22)
    guest.call(18, eax=cr4 | 0x80)
    assert guest.call(47, eax=3).returned
    assert guest.value(22) == cr4 | 0x80


@pytest.mark.parametrize(("entry", "registers", "stack"), [
    (14, {"eax": 0x68, "edx": 0xC0100000}, ()), (48, {"eax": 0, "edx": 0xC0000000, "ecx": 16}, (0,)),
    (73, {"eax": 1}, ()), (73, {"eax": 2}, ()), (73, {"eax": 0}, ()),
])
@pytest.mark.parametrize("mode", WAYS)
def test_announcements_return(guest, entry: int, registers: dict, stack: tuple, mode: Mode) -> None:
    state: State = guest.call(entry, mode=mode, stack=stack, **registers)
    assert state.returned
    assert guest.after(state, "esp") == state.before[guest.hello.registers.index("esp")]


def test_unknown_numbers_are_answered_none(start) -> None:
    guest = start("native.rom")
    for number in (0, 49, 74, 75, 0x7FFFFFFF, 0x80000000, 0xFFFFFFFF):
        state = guest.state(AbiOp(0x100, (number, 0xDEADBEEF)))
        assert state.returned
        assert (guest.after(state, "eax"), guest.after(state, "edx")) == (0, 0), hex(number)


def test_minimal_offers_two_calls_and_they_work(start) -> None:
    guest = start("minimal.rom")
    kinds = {number: guest.hello.number(f"reloc.{number}") >> 32 for number in range(74)}
    assert {number: kind for number, kind in kinds.items() if kind} == {IRET: JUMP_REL, SYSEXIT: JUMP_REL}
    stack = guest.hello.number("user.stack")
    state = guest.transfer(IRET, "user.stop", cs=0x73, flags=IF | 2, sp=stack, ss=0x7B)
    assert state.stopped
    assert guest.transfer(SYSEXIT, "user.stop", sp=stack).stopped


def test_the_mutants_differ_in_what_they_break(start) -> None:
    ignored = start("mutants/native-SetCR2-ignored.rom")
    ignored.call(16, eax=0x1234)
    assert ignored.value(20) != 0x1234
    clobbering = start("mutants/native-GetInterruptMask-clobbers-ecx.rom")
    state = clobbering.call(GET_MASK)
    ecx = clobbering.hello.registers.index("ecx")
    assert state.after[ecx] != state.before[ecx]
    disabled = start("mutants/native-SetInterruptMask-never-enables.rom")
    disabled.call(SET_MASK, eax=IF)
    assert not disabled.value(GET_MASK) & IF


@pytest.fixture(params=["native.rom", "native-call.rom"])
def counted(request: pytest.FixtureRequest, boot):
    """A guest on the platform that can raise a line at a chosen instruction, IRQ 0 unmasked."""
    guest = boot("unicorn", request.param)
    guest.run(PortOut(0x21, 0xFE), Set(Key.MARKER, 1))
    return guest


def test_an_interrupt_at_any_instruction_of_enable_interrupts(counted) -> None:
    for after in range(5):
        counted.session.control("inject", irq=0, after=after)
        _, log = counted.run(Call(ENABLE), Log())
        assert [entry.vector for entry in log.entries] == [0x20], after


def test_an_interrupt_at_any_instruction_of_iret(counted) -> None:
    """With IF 0 before and 1 in the frame it arrives in the user, not between frame and user."""
    counted.run(Set(Key.IRQ_POLICY, 1))
    stack = counted.hello.number("user.stack")
    for after in range(4):
        counted.session.control("inject", irq=0, after=after)
        counted.transfer(IRET, "user.spin", cs=0x73, flags=IF | 2, sp=stack, ss=0x7B)
        (entry,) = irqs(counted)
        assert entry.cs == 0x73
        assert entry.ss == 0x7B


def without_resume_flag(state: State) -> State:
    """QEMU's translator does not set RF in the image that a fault pushes, as hardware does."""
    after = list(state.after)
    after[9] &= ~RF
    return replace(state, after=tuple(after), fault_eflags=state.fault_eflags & ~RF)


def test_both_platforms_tell_the_same(boot) -> None:
    """The same ops, the same answers, whoever executes the guest: only time may differ."""
    answers = []
    for platform in ("qemu", "unicorn"):
        guest = boot(platform, "native.rom")
        stack = guest.hello.number("user.stack")
        fragments = guest.hello.fragments
        ops = [Call(number, mode, registers=guest.registers(eax=IF))
               for number in (19, 20, 21, 22, *FLAGS_ONLY) for mode in WAYS]
        ops += [Transfer(IRET, fragments[name], cs=0x73, flags=IF | 2, sp=stack, ss=0x7B)
                for name in sorted(fragments) if name.startswith("user.") and name not in TIMED]
        ops += [Execute(fragments[name], registers=guest.registers(eax=1, ebx=1)) for name in HARMLESS]
        answers.append([without_resume_flag(state) for state in guest.run(*ops)])
    for one, other in zip(*answers, strict=True):
        assert one == other
