# SPDX-License-Identifier: BSD-2-Clause
"""The CPU model does what the Intel manuals say a CPU does."""

from __future__ import annotations

import pytest

from abidance.errors import GuestCrashed
from abidance.platform.unicorn.cpu import Cpu, Exit
from abidance.platform.unicorn.engine import CS, DS, EAX, EBX, ECX, EFLAGS, EIP, ESP, SS
from abidance.platform.unicorn.ram import Ram
from abidance.platform.unicorn.walk import Fault

CODE, STACK0, STACK1, STACK3, HOLE = 0x8000, 0x20000, 0x22000, 0x24000, 0x30000
RF = 1 << 16


@pytest.mark.parametrize("ring", [1, 3])
def test_an_int_from_an_outer_ring_switches_to_the_stack_of_the_tss(lab, ring):
    lab.gate(0x42, access=0xEE)
    assert lab.at(ring, "nop; int $0x42; nop") is Exit.HALT
    code, stack = {1: (0x19, 0x21), 3: (0x2B, 0x33)}[ring]
    old = {1: STACK1, 3: STACK3}[ring]
    assert (lab.vector, lab.ring) == (0x42, 0)
    assert lab.stack(5) == [CODE + 3, code, 0x202, old, stack]
    assert lab.cpu.regs[ESP] == STACK0 - 20
    assert not lab.cpu.regs[EFLAGS] & 0x200


def test_an_int_in_the_same_ring_stays_on_its_stack(lab):
    lab.at(0, "int $0x42")
    assert lab.vector == 0x42
    assert lab.stack(3) == [CODE + 2, 0x08, 0x202]
    assert lab.cpu.regs[ESP] == STACK0 - 12


def test_a_gate_may_lead_to_ring_1(lab):
    lab.gate(0x42, selector=0x18, access=0xEE)
    lab.place("nop", 0x9000)
    lab.start(3, "int $0x42")
    assert lab.cpu.run(10) is Exit.EVENT
    lab.cpu.reflect()
    assert (lab.cpu.regs[CS], lab.cpu.regs[SS], lab.ring) == (0x19, 0x21, 1)
    assert lab.stack(5) == [CODE + 2, 0x2B, 0x202, STACK3, 0x33]


def test_an_int_through_a_gate_of_dpl_0_is_a_protection_fault_at_the_instruction(lab):
    lab.at(3, "nop; int $0x42")
    assert lab.vector == 13
    assert lab.stack(6) == [0x42 * 8 + 2, CODE + 1, 0x2B, 0x202 | RF, STACK3, 0x33]


def test_int3_and_into_need_a_gate_of_dpl_3_too(lab):
    lab.gate(3, access=0xEE)
    lab.at(3, "nop; int3")
    assert (lab.vector, lab.stack(1)) == (3, [CODE + 2])
    lab.at(3, "movb $0x7f,%al; addb $1,%al; into")
    assert (lab.vector, lab.stack(2)) == (13, [4 * 8 + 2, CODE + 4])


def test_int_13_is_not_a_protection_fault(lab):
    lab.gate(13, access=0xEE)
    lab.at(3, "int $13")
    assert lab.vector == 13
    assert lab.stack(5) == [CODE + 2, 0x2B, 0x202, STACK3, 0x33]


def test_int_14_pushes_no_error_code_and_leaves_cr2(lab):
    lab.at(0, "int $14")
    assert lab.vector == 14
    assert lab.stack(3) == [CODE + 2, 0x08, 0x202]


def test_a_trap_gate_leaves_the_interrupt_flag(lab):
    lab.gate(0x42, access=0xEF)
    lab.at(3, "int $0x42")
    assert lab.cpu.regs[EFLAGS] & 0x200


def test_a_16_bit_gate_pushes_words(lab):
    lab.gate(0x42, access=0xE6)
    lab.place("nop", 0x420)
    lab.start(3, "int $0x42")
    assert lab.cpu.run(10) is Exit.EVENT
    lab.cpu.reflect()
    assert lab.cpu.regs[ESP] == STACK0 - 10
    assert lab.cpu.read_linear(STACK0 - 10, 10) == bytes.fromhex("0280 2b00 0202 0040 3300")


@pytest.mark.parametrize(("ring", "write", "flags", "error"), [
    (3, False, 0, 4), (3, True, 0, 6), (0, False, 0, 0), (0, True, 0, 2), (1, True, 0, 2),
    (3, True, 5, 7), (3, False, 3, 5), (0, True, 5, 3), (1, True, 5, 3),
])
def test_a_page_fault_has_the_error_code_and_address_of_the_access(lab, ring, write, flags, error):
    lab.protect(HOLE, flags)
    lab.at(ring, f"mov %eax,{HOLE + 0x123}" if write else f"mov {HOLE + 0x123},%eax")
    assert lab.vector == 14
    code = {0: 0x08, 1: 0x19, 3: 0x2B}[ring]
    assert lab.stack(4) == [error, CODE, code, 0x202 | RF]
    assert lab.cr2 == HOLE + 0x123


def test_our_own_walk_gives_the_same_error_code_as_the_cpu(lab):
    for ring in (0, 1, 3):
        for flags in (0, 1, 3, 5, 7):
            lab.protect(HOLE, flags)
            for text, write in ((f"mov %eax,{HOLE}", True), (f"mov {HOLE},%eax", False)):
                lab.start(ring, text)
                expected = None
                if lab.cpu.run(1) is Exit.EVENT:
                    expected = (lab.cpu.vector, lab.cpu.event().error)
                seen = None
                try:
                    lab.cpu.environment.translate(HOLE, write=write, user=ring == 3)
                except Fault as fault:
                    seen = (fault.vector, fault.error)
                assert seen == expected, (ring, flags, text)


def test_faults_follow_each_other_without_becoming_double_faults(lab):
    lab.protect(HOLE, 0)
    for _ in range(4):
        lab.at(3, f"mov {HOLE},%eax")
        assert lab.vector == 14
        lab.at(0, f"mov {HOLE},%eax")
        assert lab.vector == 14


@pytest.mark.parametrize(("text", "vector", "words"), [
    ("ud2", 6, [CODE, 0x2B, 0x202 | RF]),
    ("xor %ecx,%ecx; div %ecx", 0, [CODE + 2, 0x2B, 0x202 | RF | 0x44]),
    ("cli", 13, [0, CODE, 0x2B]),
    ("sti", 13, [0, CODE, 0x2B]),
    ("hlt", 13, [0, CODE, 0x2B]),
    ("mov %cr0,%eax", 13, [0, CODE, 0x2B]),
    ("mov $0x10,%eax; mov %ax,%ds", 13, [0x10, CODE + 5, 0x2B]),
    ("mov $0x78,%eax; mov %ax,%ds", 13, [0x78, CODE + 5, 0x2B]),
])
def test_faults_at_cpl_3(lab, text, vector, words):
    lab.at(3, text)
    assert lab.vector == vector
    assert lab.stack(len(words)) == words


def test_the_trap_flag_traps_after_one_instruction(lab):
    lab.at(3, "nop; nop", flags=0x302)
    assert lab.vector == 1
    assert lab.stack(3) == [CODE + 1, 0x2B, 0x302]


def test_a_handler_returns_with_iret_to_where_it_was(lab):
    lab.gate(0x42, access=0xEE)
    lab.place("iretl", 0x10000 + 16 * 0x42)
    lab.start(3, "push $0x55; int $0x42; pop %ebx; inc %ecx; int3")
    lab.gate(3, access=0xEE)
    assert lab.cpu.run(100) is Exit.EVENT
    lab.cpu.reflect()
    assert lab.cpu.run(100) is Exit.EVENT
    assert lab.cpu.vector == 3
    assert (lab.ring, lab.cpu.regs[EBX], lab.cpu.regs[ECX], lab.cpu.regs[ESP]) == (3, 0x55, 0xA2, STACK3)
    assert lab.cpu.regs[EFLAGS] & 0x200


def test_a_missing_gate_is_not_present_and_one_beyond_the_limit_a_protection_fault(lab):
    lab.gate(0x42, access=0x6E)
    lab.at(3, "int $0x42")
    assert (lab.vector, lab.stack(1)) == (11, [0x42 * 8 + 2])
    lab.gate(0x43, access=0xE2)
    lab.at(3, "int $0x43")
    assert (lab.vector, lab.stack(1)) == (13, [0x43 * 8 + 2])


@pytest.mark.parametrize(("selector", "vector", "error"), [
    (0x00, 13, 0), (0x78, 13, 0x78), (0x10, 13, 0x10), (0x80, 13, 0x80),
])
def test_a_gate_with_a_bad_code_segment(lab, selector, vector, error):
    lab.gate(0x42, selector=selector, access=0xEE)
    lab.at(3, "int $0x42")
    assert (lab.vector, lab.stack(1)) == (vector, [error])


@pytest.mark.parametrize(("ss0", "error"), [(0, 0), (0x33, 0x30), (0x08, 0x08), (0x78, 0x78)])
def test_a_bad_stack_segment_in_the_tss_is_an_invalid_tss(lab, ss0, error):
    lab.gate(0x42, access=0xEE)
    lab.gate(10, selector=0x18)
    lab.ram.words[0x4008 >> 2] = ss0
    lab.start(3, "int $0x42")
    assert lab.cpu.run(10) is Exit.EVENT
    lab.cpu.reflect()
    assert lab.cpu.regs[EIP] == 0x10000 + 16 * 10
    assert lab.stack(2) == [error, CODE]


def test_a_page_fault_on_a_missing_stack_is_a_double_fault(lab):
    lab.protect(HOLE, 0)
    lab.gate(8, selector=0x18)
    lab.ram.words[0x4004 >> 2] = HOLE + 0x100
    lab.start(3, f"mov {HOLE},%eax")
    assert lab.cpu.run(10) is Exit.EVENT
    lab.cpu.reflect()
    assert lab.cpu.regs[EIP] == 0x10000 + 16 * 8
    assert lab.stack(2) == [0, CODE]


def test_a_fault_in_the_double_fault_is_the_end(lab):
    lab.protect(HOLE, 0)
    lab.ram.words[0x4004 >> 2] = HOLE + 0x100
    lab.start(3, f"mov {HOLE},%eax")
    assert lab.cpu.run(10) is Exit.EVENT
    with pytest.raises(GuestCrashed, match=r"triple fault at 0x2b:0x8000: vectors 14, 14, 8, 14"):
        lab.cpu.reflect()


def test_a_run_stops_after_exactly_so_many_instructions(lab):
    for count in range(1, 12):
        lab.start(3, "1: inc %ebx; add $2,%ecx; jmp 1b")
        before = lab.cpu.executed
        assert lab.cpu.run(count) is Exit.LIMIT
        assert lab.cpu.executed - before == count
        assert lab.cpu.regs[EBX] - 0xA3 == (count + 2) // 3
        assert lab.cpu.regs[ECX] - 0xA1 == (count + 1) // 3 * 2


def test_an_interrupt_arrives_after_exactly_so_many_instructions(lab):
    lab.start(3, "nop; nop; nop; nop")
    lab.cpu.run(3)
    lab.cpu.interrupt(0x20)
    assert lab.cpu.run(1) is Exit.HALT
    assert lab.vector == 0x20
    assert lab.stack(5) == [CODE + 3, 0x2B, 0x202, STACK3, 0x33]


def test_completed_instructions_are_counted_and_faulting_ones_are_not(lab):
    lab.protect(HOLE, 0)
    before = lab.cpu.executed
    lab.start(3, f"nop; nop; mov {HOLE},%eax")
    lab.cpu.run(100)
    assert lab.cpu.executed - before == 2
    lab.start(3, "nop; int $0x42")
    lab.cpu.run(100)
    assert lab.cpu.executed - before == 4
    for text in ("nop; nop; ud2", "nop; nop; cli", "nop; nop; int3", f"nop; movl ${HOLE},%eax; jmp *%eax",
                 "nop; movl $0x60,%eax; movl %eax,%ds"):
        before = lab.cpu.executed
        lab.start(3, text)
        assert lab.cpu.run(100) is Exit.EVENT
        assert lab.cpu.executed - before == 3 - (lab.cpu.vector in {6, 13}), text


def test_hlt_at_cpl_0_halts_behind_itself_even_as_the_last_instruction(lab):
    assert lab.at(0, "nop; hlt; nop") is Exit.HALT
    assert lab.cpu.regs[EIP] == CODE + 2
    assert lab.at(0, "nop; hlt; nop", limit=2) is Exit.HALT
    assert lab.at(0, "nop; hlt; nop", limit=1) is Exit.LIMIT


def test_ports_are_served_and_can_stop_the_cpu_exactly(lab):
    lab.on_write = lambda port: lab.cpu.stop()
    lab.start(0, "in $0x60,%al; out %al,$0xe9; inc %ebx; inc %ebx", eax=0)
    before = lab.cpu.executed
    assert lab.cpu.run(100) is Exit.STOPPED
    assert lab.written == [(0xE9, 1, 0x60)]
    assert (lab.cpu.regs[EIP], lab.cpu.regs[EBX]) == (CODE + 4, 0xA3)
    assert lab.cpu.executed - before == 2


def test_an_exception_in_a_port_handler_comes_out_of_run(lab):
    def explode(port: int) -> None:
        raise KeyError("device")
    lab.on_write = explode
    lab.start(0, "out %al,$0xe9; nop")
    with pytest.raises(KeyError, match="device"):
        lab.cpu.run(10)


def test_read_only_memory_ignores_writes_and_executes(lab):
    lab.ram.write(0x31000, b"\x11\x22\x33\x44")
    half = Ram(4096, 0x10_0000), Ram(4096, 0x10_1000)
    half[1].writable = False
    half[1].write(0, b"\xF4\x05\0\0\0")
    cpu = Cpu([*half], lab)
    half[0].write(0, bytes.fromhex("c70501101000aaaaaaaa a101101000 ba00101000 ffe2"))
    cpu.regs[EIP] = 0x10_0000
    assert cpu.run(100) is Exit.HALT
    assert (cpu.regs[EAX], cpu.regs[EIP], cpu.load(0x10_1000)) == (5, 0x10_1001, 0x5F4)


def test_physical_holes_read_as_ones_and_ignore_writes(lab):
    lab.ram.words[0x6000 + 4 * 0x31 >> 2] = 0xFED0_0007
    lab.cpu.flush_tlb()
    assert lab.at(0, "movl $5,0x31000; mov 0x31000,%eax; hlt") is Exit.HALT
    assert lab.cpu.regs[EAX] == 0xFFFFFFFF


def test_code_changed_by_the_host_is_forgotten_on_request(lab):
    lab.start(3, "mov $1,%ebx; int3")
    lab.cpu.run(10)
    lab.ram.write(CODE + 1, b"\x02")
    lab.cpu.forget_code([(CODE, CODE + 16)])
    lab.cpu.regs[EIP] = CODE
    lab.cpu.run(10)
    assert lab.cpu.regs[EBX] == 2


def test_sysenter_is_reported_behind_itself(lab):
    assert lab.at(3, "nop; sysenter") is Exit.SYSENTER
    assert lab.cpu.regs[EIP] == CODE + 3


def test_a_jump_to_address_zero_executes_there(lab):
    lab.ram.write(0, b"\x90\xF4")
    assert lab.at(0, "xor %eax,%eax; jmp *%eax") is Exit.HALT
    assert lab.cpu.regs[EIP] == 2


def test_a_fault_leaves_the_floating_point_and_segment_state_alone(lab):
    lab.gate(0x42, access=0xEE)
    lab.place("iretl", 0x10000 + 16 * 0x42)
    lab.cpu.load_segment(DS, 0x2B)
    lab.start(3, "fninit; fldpi; int $0x42; fnstsw %ax; mov %ds,%ebx; int3")
    lab.cpu.run(10)
    lab.cpu.reflect()
    lab.cpu.run(10)
    assert lab.cpu.regs[EAX] & 0x3800 == 0x3800
    assert lab.cpu.regs[EBX] == 0x2B


def test_a_saved_cpu_comes_back_with_memory_and_code(lab):
    lab.start(3, "mov $1,%ebx; jmp 1f; 1: int3")
    lab.cpu.run(1)
    ram, cpu = lab.ram.save(), lab.cpu.save()
    lab.cpu.run(10)
    lab.ram.write(CODE + 1, b"\x07")
    lab.protect(HOLE, 0)
    lab.start(0, "mov $9,%ebx; hlt")
    lab.cpu.run(10)
    changed = lab.ram.restore(ram)
    lab.cpu.restore(cpu)
    lab.cpu.forget_code(changed)
    assert (CODE, CODE + 4096) in changed
    assert (lab.cpu.regs[EBX], lab.cpu.regs[EIP], lab.ring) == (1, CODE + 5, 3)
    lab.cpu.run(10)
    assert lab.cpu.vector == 3
    lab.cpu.regs[EIP] = CODE
    lab.cpu.run(1)
    assert lab.cpu.regs[EBX] == 1


def test_two_cpus_share_memory_and_change_each_others_code(lab):
    """What several processors will stand on: one engine each, one memory. The other's translations
    are stale until they are dropped."""
    first, second = lab.cpu, Cpu([lab.ram], lab)
    lab.start(0, "mov $1,%ebx; mov %ebx,0x32000; hlt")
    assert first.run(10) is Exit.HALT
    second.regs[EIP] = CODE
    assert second.run(10) is Exit.HALT
    lab.place("movl $0x77,0x8001; hlt", 0x9000)
    first.regs[EIP] = 0x9000
    assert first.run(10) is Exit.HALT
    second.forget_code([(CODE, CODE + 4096)])
    second.regs[EIP] = CODE
    assert second.run(10) is Exit.HALT
    assert (second.regs[EBX], lab.ram.words[0x32000 >> 2]) == (0x77, 0x77)
    assert first.regs[EBX] == 1


@pytest.mark.parametrize(("text", "limit"), [
    ("nop; nop; nop; nop; hlt", 3), ("nop; hlt", 100),
    ("mov $5,%ecx; mov $0x30000,%edi; rep stosb; hlt", 100),
    ("nop; int $0x42; hlt", 100), ("nop; mov 0x300000,%eax; hlt", 100), ("nop; ud2", 100), ("sysenter", 100),
    ("nop; in $0x21,%al; nop; hlt", 100), ("mov $7,%al; out %al,$0x20; nop; hlt", 100)])
def test_creeping_does_what_running_does(lab, text, limit):
    creeping, running = lab, type(lab)()
    for one in (creeping, running):
        one.on_write = lambda port, cpu=one.cpu: cpu.stop()
        one.start(0, text, flags=2)
    before = creeping.cpu.executed, running.cpu.executed
    assert creeping.cpu.creep(limit) is running.cpu.run(limit)
    assert creeping.cpu.executed - before[0] == running.cpu.executed - before[1]
    assert (list(creeping.cpu.regs), creeping.cpu.vector) == (list(running.cpu.regs), running.cpu.vector)


@pytest.mark.parametrize("text", ["nop; sti; nop; hlt", "nop; push $0x202; popf; nop; hlt"])
def test_creeping_stops_behind_the_instruction_that_sets_the_interrupt_flag(lab, text):
    lab.start(0, text, flags=2)
    before = lab.cpu.executed
    assert lab.cpu.creep(100) is Exit.LIMIT
    assert lab.cpu.executed - before == text.count(";") - 1
    assert lab.ram.read(lab.cpu.regs[EIP], 2) == b"\x90\xF4"
