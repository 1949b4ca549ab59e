# SPDX-License-Identifier: BSD-2-Clause
"""SYSENTER on a CPU without a hypervisor; Unicorn only reports the instruction.

Facts: Intel SDM volume 2, SYSENTER operation (32-bit): CS from IA32_SYSENTER_CS, SS eight above it,
flat segments at ring 0; ESP and EIP from their registers; VM, IF and RF cleared; #GP(0) if the CS
register is null.
"""

from __future__ import annotations

from abidance.platform.unicorn.cpu import Cpu
from abidance.platform.unicorn.engine import EFLAGS, EIP, ESP
from abidance.platform.unicorn.gates import GP, IF, RF, VM

__all__ = ["sysenter"]

_CS, _ESP, _EIP = 0x174, 0x175, 0x176
_LENGTH = 2


def sysenter(cpu: Cpu) -> None:
    """Carry it out; the EIP register is behind the instruction."""
    cs, esp, eip = (int(cpu.engine.uc.msr_read(number)) & 0xFFFFFFFF for number in (_CS, _ESP, _EIP))
    if not cs & 0xFFFC:
        cpu.regs[EIP] = cpu.regs[EIP] - _LENGTH & 0xFFFFFFFF
        cpu.exception(GP)
        return
    selector = cs & 0xFFFC
    cpu.regs[EFLAGS] &= ~(IF | RF | VM)
    cpu.regs[ESP], cpu.regs[EIP] = esp, eip
    cpu.load_ring(0, selector, selector + 8)
