# SPDX-License-Identifier: BSD-2-Clause
"""Privileged instructions that the guest's kernel executes at CPL 1.

They arrive as general-protection faults. Each gets the effect it has natively on what the guest
believes to be its machine, because a call that is answered NONE promises exactly that. CLI and STI
are the exception the document makes: while the calls for them are offered, the instructions do not
change the virtual flag (and do nothing here).

`emulate` returns False for anything else; the guest then gets its fault.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING

from unicorn import x86_const

from abidance.abi.vmi.reference import calls, segments, transfers
from abidance.platform.unicorn.engine import DS, EAX, ECX, EDX, EIP
from abidance.platform.unicorn.gates import GP, NP
from abidance.platform.unicorn.privileged import Instruction, Privileged, decode
from abidance.platform.unicorn.walk import Fault

if TYPE_CHECKING:
    from abidance.abi.vmi.reference.vcpu import VirtualCpu

__all__ = ["emulate"]

Action = Callable[["VirtualCpu", Instruction], None]
_LONGEST = 15
_MASK = 0xFFFFFFFF
_DISABLE, _ENABLE = 30, 29
_LMSW_BITS = 0xE
_PE = 1
_MSRS = frozenset({0x174, 0x175, 0x176})
_TSC = 0x10
_DR_FIXED = {6: 0xFFFF0FF0, 7: 0x400}


def emulate(vcpu: VirtualCpu) -> bool:
    """Carry out the instruction at EIP. Raises Fault if it faults."""
    instruction = decode(_fetch(vcpu, vcpu.cpu.regs[EIP]))
    action = _ACTIONS.get(instruction.kind) if instruction else None
    if instruction is None or action is None:
        return False
    before = vcpu.cpu.regs[EIP]
    action(vcpu, instruction)
    if instruction.kind is not Privileged.SYSEXIT:
        vcpu.cpu.regs[EIP] = before + instruction.length & _MASK
    return True


def _fetch(vcpu: VirtualCpu, eip: int) -> bytes:
    """Up to 15 bytes of code, fewer if the next page is not there."""
    try:
        return vcpu.cpu.read_linear(eip, _LONGEST)
    except Fault:
        return vcpu.cpu.read_linear(eip, min(_LONGEST, 4096 - eip % 4096))


def _address(vcpu: VirtualCpu, instruction: Instruction) -> int:
    """Linear address of a memory operand; FS, GS and the rest through their descriptors."""
    operand = instruction.operand
    assert operand is not None
    selector = vcpu.cpu.regs[operand.segment]
    base = 0
    if selector & 0xFFFC:
        low, high = vcpu.cpu.descriptor(selector, GP)
        base = low >> 16 | (high & 0xFF) << 16 | high & 0xFF000000
    elif operand.segment >= DS:
        raise Fault(GP, 0)
    return base + operand.offset(lambda index: int(vcpu.cpu.regs[index])) & _MASK


def _operand16(vcpu: VirtualCpu, instruction: Instruction) -> int:
    operand = instruction.operand
    assert operand is not None
    if operand.register is not None:
        return int(vcpu.cpu.regs[operand.register]) & 0xFFFF
    return int.from_bytes(vcpu.cpu.read_linear(_address(vcpu, instruction), 2), "little")


def _general(instruction: Instruction) -> int:
    assert instruction.operand is not None
    register = instruction.operand.register
    assert register is not None
    return register


def _cli(vcpu: VirtualCpu, _: Instruction) -> None:
    if not vcpu.hv.image.offered(_DISABLE):
        vcpu.flag.enabled = False


def _sti(vcpu: VirtualCpu, _: Instruction) -> None:
    if not vcpu.hv.image.offered(_ENABLE):
        # The instruction after STI comes before any interrupt.
        vcpu.inhibited = not vcpu.flag.enabled
        vcpu.flag.enabled = True


def _hlt(vcpu: VirtualCpu, _: Instruction) -> None:
    vcpu.halted = True


def _clts(vcpu: VirtualCpu, _: Instruction) -> None:
    vcpu.clear_ts()


def _nothing(vcpu: VirtualCpu, _: Instruction) -> None:
    del vcpu


def _lmsw(vcpu: VirtualCpu, instruction: Instruction) -> None:
    word = _operand16(vcpu, instruction)
    vcpu.set_cr0(vcpu.cr0 & ~_LMSW_BITS | word & _LMSW_BITS | word & _PE)


def _invlpg(vcpu: VirtualCpu, instruction: Instruction) -> None:
    calls.invalidate(vcpu, _address(vcpu, instruction))


def _read_cr(vcpu: VirtualCpu, instruction: Instruction) -> None:
    values = {0: vcpu.cr0, 2: vcpu.cr2, 3: vcpu.cr3, 4: vcpu.cr4}
    if instruction.number not in values:
        raise Fault(6)
    vcpu.cpu.regs[_general(instruction)] = values[instruction.number]


def _write_cr(vcpu: VirtualCpu, instruction: Instruction) -> None:
    setters = {0: vcpu.set_cr0, 2: vcpu.set_cr2, 3: vcpu.set_cr3, 4: vcpu.set_cr4}
    if instruction.number not in setters:
        raise Fault(6)
    setters[instruction.number](vcpu.cpu.regs[_general(instruction)])


def _debug_number(instruction: Instruction) -> int:
    """DR4 and DR5 are DR6 and DR7."""
    return instruction.number + 2 if instruction.number in {4, 5} else instruction.number


def _read_dr(vcpu: VirtualCpu, instruction: Instruction) -> None:
    number = _debug_number(instruction)
    vcpu.cpu.regs[_general(instruction)] = vcpu.debug[number] | _DR_FIXED.get(number, 0)


def _write_dr(vcpu: VirtualCpu, instruction: Instruction) -> None:
    values = list(vcpu.debug)
    values[_debug_number(instruction)] = vcpu.cpu.regs[_general(instruction)]
    vcpu.debug = tuple(values)


def _load_table(vcpu: VirtualCpu, instruction: Instruction) -> tuple[int, int]:
    """Base and limit of the six bytes at the operand; 24 bits of base with an operand-size prefix."""
    data = vcpu.cpu.read_linear(_address(vcpu, instruction), 6)
    base = int.from_bytes(data[2:], "little") & (_MASK if instruction.wide else 0xFFFFFF)
    return base, int.from_bytes(data[:2], "little")


def _lgdt(vcpu: VirtualCpu, instruction: Instruction) -> None:
    vcpu.gdtr = base, limit = _load_table(vcpu, instruction)
    vcpu.cpu.engine.set(x86_const.UC_X86_REG_GDTR, (0, base, limit, 0))
    segments.raise_all(vcpu.cpu)


def _lidt(vcpu: VirtualCpu, instruction: Instruction) -> None:
    vcpu.idtr = base, limit = _load_table(vcpu, instruction)
    vcpu.cpu.engine.set(x86_const.UC_X86_REG_IDTR, (0, base, limit, 0))


def _system_segment(vcpu: VirtualCpu, selector: int, kinds: set[int]) -> tuple[int, int]:
    """Base and limit of an LDT or TSS descriptor of the GDT. Raises Fault."""
    wrong = selector & 0xFFFC
    if selector & 4:
        raise Fault(GP, wrong)
    low, high = vcpu.cpu.descriptor(selector, GP)
    if high >> 8 & 0x1F not in kinds:
        raise Fault(GP, wrong)
    if not high & 0x8000:
        raise Fault(NP, wrong)
    limit = low & 0xFFFF | high & 0xF0000
    if high & 1 << 23:
        limit = limit << 12 | 0xFFF
    return low >> 16 | (high & 0xFF) << 16 | high & 0xFF000000, limit


def _lldt(vcpu: VirtualCpu, instruction: Instruction) -> None:
    selector = _operand16(vcpu, instruction)
    base = limit = 0
    if selector & 0xFFFC:
        base, limit = _system_segment(vcpu, selector, {0x02})
    vcpu.ldtr = base, limit
    vcpu.cpu.engine.set(x86_const.UC_X86_REG_LDTR, (selector, base, limit, 0x8200))
    segments.raise_all(vcpu.cpu, local=True)


def _ltr(vcpu: VirtualCpu, instruction: Instruction) -> None:
    selector = _operand16(vcpu, instruction)
    if not selector & 0xFFFC:
        raise Fault(GP, 0)
    base, limit = _system_segment(vcpu, selector, {0x01, 0x09})
    at = vcpu.gdtr[0] + (selector & 0xFFF8) + 5 & _MASK
    physical = vcpu.translate(at, write=False, user=False)
    vcpu.cpu.write_physical(physical, bytes((vcpu.cpu.read_physical(physical, 1)[0] | 2,)))
    vcpu.task = base, limit
    vcpu.cpu.engine.set(x86_const.UC_X86_REG_TR, (selector, base, limit, 0x8B00))


def _rdmsr(vcpu: VirtualCpu, _: Instruction) -> None:
    regs = vcpu.cpu.regs
    if regs[ECX] == _TSC:
        value = vcpu.hv.time.now
    elif regs[ECX] in _MSRS:
        value = vcpu.cpu.engine.uc.msr_read(regs[ECX])
    else:
        raise Fault(GP, 0)
    regs[EAX], regs[EDX] = value & _MASK, value >> 32 & _MASK


def _wrmsr(vcpu: VirtualCpu, _: Instruction) -> None:
    regs = vcpu.cpu.regs
    if regs[ECX] not in _MSRS:
        raise Fault(GP, 0)
    vcpu.cpu.engine.uc.msr_write(regs[ECX], regs[EAX])


def _rdpmc(vcpu: VirtualCpu, _: Instruction) -> None:
    value = vcpu.hv.time.now
    vcpu.cpu.regs[EAX], vcpu.cpu.regs[EDX] = value & _MASK, value >> 32 & 0xFF


def _sysexit(vcpu: VirtualCpu, _: Instruction) -> None:
    transfers.leave(vcpu)


_ACTIONS: dict[Privileged, Action] = {
    Privileged.CLI: _cli, Privileged.STI: _sti, Privileged.HLT: _hlt, Privileged.CLTS: _clts,
    Privileged.LMSW: _lmsw, Privileged.INVLPG: _invlpg, Privileged.INVD: _nothing,
    Privileged.WBINVD: _nothing,
    Privileged.READ_CR: _read_cr, Privileged.WRITE_CR: _write_cr, Privileged.READ_DR: _read_dr,
    Privileged.WRITE_DR: _write_dr, Privileged.LGDT: _lgdt, Privileged.LIDT: _lidt, Privileged.LLDT: _lldt,
    Privileged.LTR: _ltr, Privileged.RDMSR: _rdmsr, Privileged.WRMSR: _wrmsr, Privileged.RDPMC: _rdpmc,
    Privileged.SYSEXIT: _sysexit,
}
