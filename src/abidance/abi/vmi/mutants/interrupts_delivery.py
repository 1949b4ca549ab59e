# SPDX-License-Identifier: BSD-2-Clause
"""Defects in when and where interrupts are delivered, and of the hardware's flag."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING

from abidance.abi.vmi.mutants.changes import instead, notes
from abidance.platform.unicorn.cpu import Exit
from abidance.platform.unicorn.engine import EFLAGS
from abidance.platform.unicorn.gates import IF, IOPL
from abidance.suite import mutant

if TYPE_CHECKING:
    from abidance.abi.vmi.reference.hypervisor import Hypervisor
    from abidance.abi.vmi.reference.vcpu import VirtualCpu

__all__: list[str] = []

Service = Callable[[], None]
Run = Callable[[int], Exit]
_HOT_CALLS = (29, 30, 31, 32)
_IOPL1 = 1 << 12


# -- the hardware's flag -----------------------------------------------------------------------------

@mutant("Hardware-flag-follows", violates="vmi.interrupts.pushf-shows-hardware-flag")
def _(hv: Hypervisor) -> None:
    """The guest runs with the virtual flag in the processor's EFLAGS."""
    vcpu = hv.vcpus[0]

    def make(original: Run) -> Run:
        def run(limit: int) -> Exit:
            if vcpu.active:
                on = IF if vcpu.flag.enabled else 0
                vcpu.cpu.regs[EFLAGS] = vcpu.cpu.regs[EFLAGS] & ~IF | on
            return original(limit)
        return run

    for number in _HOT_CALLS:
        hv.image.trap(number)
    instead(vcpu.cpu, "run", make)


@mutant("Handler-hardware-flag-clear", violates="vmi.interrupts.pushf-shows-hardware-flag")
def _(hv: Hypervisor) -> None:
    """An interrupt gate clears the processor's flag together with the virtual one."""
    instead(hv.vcpus[0], "mask", lambda original: lambda flags: original(flags) & ~IF)


def _hardware_flag_counts(hv: Hypervisor) -> None:
    """The kernel runs with IOPL 1; when its flag is found clear in the processor, the virtual one is
    cleared, too."""
    vcpu = hv.vcpus[0]

    def make(original: Run) -> Run:
        def run(limit: int) -> Exit:
            if not vcpu.active:
                return original(limit)
            regs = vcpu.cpu.regs
            kernel = vcpu.cpu.cpl == 1
            regs[EFLAGS] = regs[EFLAGS] & ~IOPL | (_IOPL1 if kernel else 0)
            reason = original(limit)
            if not regs[EFLAGS] & IF:
                vcpu.flag.enabled = False
                regs[EFLAGS] |= IF
            regs[EFLAGS] &= ~IOPL
            return reason
        return run

    for number in _HOT_CALLS:
        hv.image.trap(number)
    instead(vcpu.cpu, "run", make)


@mutant("Kernel-POPF-disables", violates="vmi.interrupts.popf-leaves-virtual-flag")
def _(hv: Hypervisor) -> None:
    """The kernel runs with IOPL 1, so that POPF clears the processor's flag, and the hypervisor follows."""
    _hardware_flag_counts(hv)


@mutant("Kernel-native-IRET-disables", violates="vmi.interrupts.native-iret-leaves-virtual-flag")
def _(hv: Hypervisor) -> None:
    """The kernel runs with IOPL 1, so that IRET clears the processor's flag, and the hypervisor follows."""
    _hardware_flag_counts(hv)


@mutant("Kernel-native-IRET-enables", violates="vmi.interrupts.native-iret-leaves-virtual-flag")
def _(hv: Hypervisor) -> None:
    """The kernel runs with IOPL 1 on the processor's own flag: a native IRET sets or clears it."""
    vcpu = hv.vcpus[0]

    def make(original: Run) -> Run:
        def run(limit: int) -> Exit:
            if not vcpu.active:
                return original(limit)
            regs = vcpu.cpu.regs
            level = _IOPL1 if vcpu.cpu.cpl == 1 else 0
            regs[EFLAGS] = regs[EFLAGS] & ~(IOPL | IF) | level | (IF if vcpu.flag.enabled else 0)
            reason = original(limit)
            vcpu.flag.enabled = bool(regs[EFLAGS] & IF)
            regs[EFLAGS] = regs[EFLAGS] & ~IOPL | IF
            return reason
        return run

    for number in _HOT_CALLS:
        hv.image.trap(number)
    instead(vcpu.cpu, "run", make)


# -- when --------------------------------------------------------------------------------------------

@mutant("Interrupts-ignore-flag", violates="vmi.interrupts.none-while-disabled")
def _(hv: Hypervisor) -> None:
    """An interrupt is delivered as soon as the controller has one, whatever the virtual flag."""
    vcpu = hv.vcpus[0]

    def make(original: Service) -> Service:
        def service() -> None:
            if vcpu.active and hv.board.pic.pending() is not None:
                vcpu.halted = False
                vcpu.cpu.interrupt(hv.board.pic.acknowledge())
            original()
        return service

    instead(vcpu, "service", make)


@mutant("Interrupts-forced-after-a-while", violates="vmi.interrupts.none-while-disabled")
def _(hv: Hypervisor) -> None:
    """An interrupt that has waited for long is delivered though the flag is clear."""
    since = notes(hv)
    vcpu = hv.vcpus[0]

    def make(original: Service) -> Service:
        def service() -> None:
            if not vcpu.active or hv.board.pic.pending() is None or vcpu.flag.enabled:
                since.pop("when", None)
            elif hv.time.now - since.setdefault("when", hv.time.now) > 500:
                since.pop("when")
                vcpu.cpu.interrupt(hv.board.pic.acknowledge())
            original()
        return service

    instead(vcpu, "service", make)


@mutant("Interrupts-only-at-calls", violates="vmi.interrupts.delivered-while-enabled")
def _(hv: Hypervisor) -> None:
    """Whether an interrupt waits is only looked at when the guest has made a call."""
    last = notes(hv)
    vcpu = hv.vcpus[0]

    def step(original: Callable[[VirtualCpu, int], Exit]) -> Callable[[VirtualCpu, int], Exit]:
        def run(one: VirtualCpu, limit: int) -> Exit:
            reason = original(one, limit)
            last["call"] = reason is Exit.EVENT and bool(one.cpu.software)
            return reason
        return run

    def make(original: Service) -> Service:
        def service() -> None:
            if vcpu.active and not vcpu.halted and not last.get("call"):
                vcpu.flag.announce(hv.board.pic.pending() is not None)
            else:
                original()
        return service

    instead(hv, "_step", step)
    instead(vcpu, "service", make)


@mutant("Interrupts-lost-while-disabled", violates="vmi.interrupts.pending-kept")
def _(hv: Hypervisor) -> None:
    """An interrupt that comes while the flag is clear is acknowledged at the controller and dropped."""
    vcpu, pic = hv.vcpus[0], hv.board.pic

    def make(original: Service) -> Service:
        def service() -> None:
            if vcpu.active and pic.pending() is not None and not vcpu.flag.enabled:
                if pic.acknowledge() >= pic._slave.base:
                    pic.write(0xA0, 0x20)
                pic.write(0x20, 0x20)
            original()
        return service

    instead(vcpu, "service", make)


@mutant("Interrupts-kept-one-by-one", violates="vmi.interrupts.pending-kept")
def _(hv: Hypervisor) -> None:
    """Delivering one interrupt forgets the others that wait at the controller."""
    pic = hv.board.pic

    def make(original: Callable[[int], None]) -> Callable[[int], None]:
        def interrupt(vector: int) -> None:
            pic._master.edges = pic._slave.edges = 0
            original(vector)
        return interrupt

    instead(hv.vcpus[0].cpu, "interrupt", make)


@mutant("Interrupts-delivered-twice", violates="vmi.interrupts.delivered-once")
def _(hv: Hypervisor) -> None:
    """The acknowledge cycle leaves the request, so that each interrupt comes once more after its EOI."""
    again = notes(hv)
    chip = hv.board.pic._master

    def make(original: Callable[[], int]) -> Callable[[], int]:
        def acknowledge() -> int:
            line = original()
            again["second"] = not again.get("second")
            if again["second"]:
                chip.edges |= 1 << line
            return line
        return acknowledge

    instead(chip, "acknowledge", make)


# -- where -------------------------------------------------------------------------------------------

@mutant("Interrupts-next-vector", violates="vmi.interrupts.idt-vector")
def _(hv: Hypervisor) -> None:
    """An interrupt enters at the vector after its own."""
    instead(hv.vcpus[0].cpu, "interrupt", lambda original: lambda vector: original(vector + 1))


@mutant("Interrupts-own-vectors", violates="vmi.interrupts.idt-vector")
def _(hv: Hypervisor) -> None:
    """Interrupts enter at vectors 20h to 2Fh, whatever the guest has programmed."""
    instead(hv.vcpus[0].cpu, "interrupt",
            lambda original: lambda vector: original(0x20 + (vector & 7) + _slave(hv, vector)))


def _slave(hv: Hypervisor, vector: int) -> int:
    return 8 if vector & 0xF8 == hv.board.pic._slave.base else 0


@mutant("IDT-read-once", violates="vmi.interrupts.idt-vector")
def _(hv: Hypervisor) -> None:
    """The gates are copied when the hypervisor first uses them and never read again."""
    gates = notes(hv)
    vcpu = hv.vcpus[0]

    def make(original: Callable[[int], tuple[int, int]]) -> Callable[[int], tuple[int, int]]:
        def load_pair(linear: int) -> tuple[int, int]:
            base, limit = vcpu.idt()
            if not vcpu.active or not base <= linear <= base + limit:
                return original(linear)
            if not gates:
                gates.update({at: original(base + at) for at in range(0, limit + 1 & ~7, 8)})
            found: tuple[int, int] = gates[linear - base]
            return found
        return load_pair

    instead(vcpu.cpu, "load_pair", make)
