# SPDX-License-Identifier: BSD-2-Clause
"""Defects in what a handler finds: frame, flags, registers."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING

from abidance.abi.vmi.mutants.arrivals import (
    CARRY_TO_OVERFLOW,
    DIRECTION,
    Delivery,
    after_delivery,
    nth_word,
    put_word,
    words,
)
from abidance.abi.vmi.mutants.changes import instead, notes
from abidance.abi.vmi.reference.interrupts import VirtualFlag
from abidance.platform.unicorn.engine import CS, DS, EAX, EDX, ESP, GS, SS
from abidance.platform.unicorn.gates import IF
from abidance.suite import mutant

if TYPE_CHECKING:
    from abidance.abi.vmi.reference.hypervisor import Hypervisor
    from abidance.abi.vmi.reference.vcpu import VirtualCpu

__all__: list[str] = []


# -- the EFLAGS image --------------------------------------------------------------------------------

@mutant("Image-hardware-flag", violates="vmi.interrupts.image-shows-virtual-flag")
def _(hv: Hypervisor) -> None:
    """The image is the EFLAGS register, where bit 9 is always set."""
    instead(hv.vcpus[0], "image", lambda _: lambda flags: flags | IF)


@mutant("Image-always-disabled", violates="vmi.interrupts.image-shows-virtual-flag")
def _(hv: Hypervisor) -> None:
    """The image is made after the gate has cleared the flag."""
    instead(hv.vcpus[0], "image", lambda _: lambda flags: flags & ~IF)


@mutant("Image-drops-arithmetic-flags", violates="vmi.interrupts.image-shows-arithmetic-flags")
def _(hv: Hypervisor) -> None:
    """The image has the system flags only."""
    instead(hv.vcpus[0], "image", lambda original: lambda flags: original(flags) & ~CARRY_TO_OVERFLOW)


@mutant("Image-drops-direction", violates="vmi.interrupts.image-shows-arithmetic-flags")
def _(hv: Hypervisor) -> None:
    """DF is cleared for the handler before the image is made."""
    instead(hv.vcpus[0], "image", lambda original: lambda flags: original(flags) & ~DIRECTION)


# -- the handler's own flag --------------------------------------------------------------------------

@mutant("Interrupt-gate-leaves-flag", violates="vmi.interrupts.interrupt-gate-clears-flag")
def _(hv: Hypervisor) -> None:
    """An interrupt gate does not clear the virtual flag."""
    instead(hv.vcpus[0], "mask", lambda _: lambda flags: flags | IF)


@mutant("Interrupt-gate-clears-only-from-user", violates="vmi.interrupts.interrupt-gate-clears-flag")
def _(hv: Hypervisor) -> None:
    """The virtual flag is cleared only when the stack is switched."""
    def change(made: Delivery) -> None:
        if made.ring != 3 and nth_word(made.vcpu, 3 if made.code else 2) & IF:
            made.vcpu.flag.enabled = True
    after_delivery(hv, change)


@mutant("Trap-gate-clears-flag", violates="vmi.interrupts.trap-gate-keeps-flag")
def _(hv: Hypervisor) -> None:
    """Every gate clears the virtual flag."""
    def change(made: Delivery) -> None:
        made.vcpu.flag.enabled = False
    after_delivery(hv, change)


@mutant("Trap-gate-sets-flag", violates="vmi.interrupts.trap-gate-keeps-flag")
def _(hv: Hypervisor) -> None:
    """A handler entered through a trap gate begins with the flag set, whatever it was."""
    vcpu = hv.vcpus[0]
    masked = notes(hv)

    def change(made: Delivery) -> None:
        if not masked.pop("now", False):
            made.vcpu.flag.enabled = True

    def mask(flags: int) -> int:
        masked["now"] = True
        return original(flags)

    original = vcpu.mask
    instead(vcpu, "mask", lambda _: mask)
    after_delivery(hv, change)


@mutant("Handler-reads-interrupted-flag", violates="vmi.interrupts.handler-flag-readable")
def _(hv: Hypervisor) -> None:
    """Gates change the hypervisor's copy of the flag and not the shared page that GetInterruptMask reads."""
    hidden = notes(hv)
    vcpu = hv.vcpus[0]

    class Copied(VirtualFlag):
        """Clear while hidden, whatever the page says."""

        @property
        def enabled(self) -> bool:
            return not hidden.get("masked") and bool(self._words[self._at] & IF)

        @enabled.setter
        def enabled(self, value: bool) -> None:
            hidden["masked"] = False
            self._words[self._at] = IF if value else 0

    def mask(flags: int) -> int:
        hidden["masked"] = True
        return flags | IF

    for number in (29, 30, 32):
        hv.image.trap(number)
    vcpu.flag = Copied(vcpu.private, vcpu.shadow.shared)
    instead(vcpu, "mask", lambda _: mask)


# -- the frame ---------------------------------------------------------------------------------------

def _frame_words(made: Delivery, count: int) -> list[int]:
    return words(made.vcpu, count + made.code)


def _replace(made: Delivery, esp: int, values: list[int]) -> None:
    """Put `values` at `esp` and let the handler start there."""
    made.vcpu.cpu.regs[ESP] = esp & 0xFFFFFFFF
    for index, value in enumerate(values):
        put_word(made.vcpu, index, value)


@mutant("Kernel-frame-has-stack", violates="vmi.interrupts.kernel-frame")
def _(hv: Hypervisor) -> None:
    """ESP and SS are pushed for an interrupt in the kernel, too."""
    def change(made: Delivery) -> None:
        if made.ring != 3:
            regs = made.vcpu.cpu.regs
            _replace(made, regs[ESP] - 8, [*_frame_words(made, 3), made.esp, regs[SS]])
    after_delivery(hv, change)


@mutant("Kernel-interrupts-on-trap-stack", violates="vmi.interrupts.kernel-frame")
def _(hv: Hypervisor) -> None:
    """An interrupt in the kernel arrives on the stack that is meant for transitions from the user."""
    def change(made: Delivery) -> None:
        if made.ring != 3 and made.external:
            top = made.vcpu.inner_stack(1)[1]
            _replace(made, top - 12, _frame_words(made, 3))
    after_delivery(hv, change)


@mutant("Kernel-frame-hides-privilege", violates="vmi.interrupts.kernel-frame")
def _(hv: Hypervisor) -> None:
    """The CS in the kernel's frame has RPL 0, as if nothing had been raised."""
    def change(made: Delivery) -> None:
        if made.ring != 3:
            put_word(made.vcpu, 1 + made.code, made.vcpu.cpu.regs[CS] & 0xFFFC)
    after_delivery(hv, change)


@mutant("User-frame-without-stack", violates="vmi.interrupts.user-frame")
def _(hv: Hypervisor) -> None:
    """The frame of an interrupt at CPL 3 has no ESP and SS."""
    def change(made: Delivery) -> None:
        if made.ring == 3:
            _replace(made, made.vcpu.cpu.regs[ESP] + 8, _frame_words(made, 3))
    after_delivery(hv, change)


@mutant("User-frame-stack-swapped", violates="vmi.interrupts.user-frame")
def _(hv: Hypervisor) -> None:
    """SS and ESP stand in the wrong order."""
    def change(made: Delivery) -> None:
        if made.ring == 3:
            found = _frame_words(made, 5)
            _replace(made, made.vcpu.cpu.regs[ESP], [*found[:-2], found[-1], found[-2]])
    after_delivery(hv, change)


@mutant("User-frame-kernel-stack-pointer", violates="vmi.interrupts.user-frame")
def _(hv: Hypervisor) -> None:
    """The ESP in the user's frame is that of the kernel stack."""
    def change(made: Delivery) -> None:
        if made.ring == 3:
            put_word(made.vcpu, 3 + made.code, made.vcpu.cpu.regs[ESP] + 4 * (5 + made.code))
    after_delivery(hv, change)


# -- registers ---------------------------------------------------------------------------------------

@mutant("Delivery-clobbers-edx", violates="vmi.interrupts.registers-kept")
def _(hv: Hypervisor) -> None:
    """The handler finds the vector in EDX."""
    def change(made: Delivery) -> None:
        made.vcpu.cpu.regs[EDX] = made.vector
    after_delivery(hv, change)


@mutant("Interrupts-clobber-eax", violates="vmi.interrupts.registers-kept")
def _(hv: Hypervisor) -> None:
    """Only an interrupt from outside leaves EAX changed, by the vector that was read from the controller."""
    cpu = hv.vcpus[0].cpu

    def make(original: Callable[[int], None]) -> Callable[[int], None]:
        def interrupt(vector: int) -> None:
            original(vector)
            cpu.regs[EAX] = vector
        return interrupt

    instead(cpu, "interrupt", make)


@mutant("Delivery-loads-kernel-ds", violates="vmi.interrupts.registers-kept")
def _(hv: Hypervisor) -> None:
    """DS is the kernel's stack segment when a handler begins."""
    def change(made: Delivery) -> None:
        made.vcpu.cpu.load_segment(DS, made.vcpu.cpu.regs[SS])
    after_delivery(hv, change)


@mutant("Delivery-nulls-gs", violates="vmi.interrupts.registers-kept")
def _(hv: Hypervisor) -> None:
    """A delivery from CPL 3 leaves GS null."""
    def change(made: Delivery) -> None:
        if made.ring == 3:
            _null(made.vcpu, GS)
    after_delivery(hv, change)


def _null(vcpu: VirtualCpu, register: int) -> None:
    vcpu.cpu.load_segment(register, 0)
