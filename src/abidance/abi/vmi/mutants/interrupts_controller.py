# SPDX-License-Identifier: BSD-2-Clause
"""Defects of the interrupt controllers, and of what the user can do to the virtual flag."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING

from abidance.abi.vmi.mutants.changes import instead
from abidance.platform.unicorn.cpu import Exit
from abidance.platform.unicorn.engine import EFLAGS, EIP
from abidance.platform.unicorn.gates import GP, IF
from abidance.suite import mutant

if TYPE_CHECKING:
    from abidance.abi.vmi.reference.hypervisor import Hypervisor
    from abidance.abi.vmi.reference.vcpu import VirtualCpu

__all__: list[str] = []

Run = Callable[[int], Exit]
_IOPL3 = 3 << 12
_CLI, _STI = 0xFA, 0xFB


# -- the controllers ---------------------------------------------------------------------------------

@mutant("PIC-slave-missing", violates="vmi.interrupts.legacy-pic")
def _(hv: Hypervisor) -> None:
    """Nothing answers at A0h and A1h."""
    instead(hv.board.pic, "read", lambda original: lambda port: 0xFF if port & 0x80 else original(port))
    instead(hv.board.pic, "write",
            lambda original: lambda port, value: None if port & 0x80 else original(port, value))


@mutant("PIC-mask-write-only", violates="vmi.interrupts.legacy-pic")
def _(hv: Hypervisor) -> None:
    """The interrupt mask registers read as zero."""
    instead(hv.board.pic, "read", lambda original: lambda port: 0 if port & 1 else original(port))


@mutant("PIC-mask-ignored", violates="vmi.interrupts.legacy-pic")
def _(hv: Hypervisor) -> None:
    """A masked timer interrupt is delivered all the same: the mask's bit 0 has no effect."""
    chip = hv.board.pic._master

    def make(original: Callable[[], int | None]) -> Callable[[], int | None]:
        def winner() -> int | None:
            mask = chip.imr
            chip.imr &= ~1
            try:
                return original()
            finally:
                chip.imr = mask
        return winner

    instead(chip, "winner", make)


@mutant("PIC-no-in-service", violates="vmi.interrupts.legacy-pic")
def _(hv: Hypervisor) -> None:
    """An interrupt that has been taken is not in service: the controller ends it by itself."""
    chip = hv.board.pic._master

    def make(original: Callable[[], int]) -> Callable[[], int]:
        def acknowledge() -> int:
            before = chip.isr
            line = original()
            chip.isr = before
            return line
        return acknowledge

    instead(chip, "acknowledge", make)


# -- the user ----------------------------------------------------------------------------------------

@mutant("User-CLI-STI-carried-out", violates="vmi.interrupts.user-cannot-mask")
def _(hv: Hypervisor) -> None:
    """CLI and STI at CPL 3 are carried out like the kernel's, on the virtual flag."""
    def make(original: Callable[[VirtualCpu], None]) -> Callable[[VirtualCpu], None]:
        def exception(vcpu: VirtualCpu) -> None:
            cpu = vcpu.cpu
            if vcpu.active and cpu.cpl == 3 and cpu.vector == GP and not cpu.software:
                code = cpu.read_linear(cpu.regs[EIP], 1, user=True)[0]
                if code in {_CLI, _STI}:
                    vcpu.flag.enabled = code == _STI
                    cpu.regs[EIP] += 1
                    cpu.engine.settle()
                    return
            original(vcpu)
        return exception

    instead(hv, "exception", make)


@mutant("User-runs-with-IOPL-3", violates="vmi.interrupts.user-cannot-mask")
def _(hv: Hypervisor) -> None:
    """The user runs with IOPL 3, and the hypervisor takes over what its CLI or POPF does to the flag."""
    vcpu = hv.vcpus[0]

    def make(original: Run) -> Run:
        def run(limit: int) -> Exit:
            if not vcpu.active or vcpu.cpu.cpl != 3:
                return original(limit)
            regs = vcpu.cpu.regs
            regs[EFLAGS] |= _IOPL3
            reason = original(limit)
            if not regs[EFLAGS] & IF:
                vcpu.flag.enabled = False
                regs[EFLAGS] |= IF
            regs[EFLAGS] &= ~_IOPL3
            return reason
        return run

    instead(vcpu.cpu, "run", make)
