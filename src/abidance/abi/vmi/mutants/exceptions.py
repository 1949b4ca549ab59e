# SPDX-License-Identifier: BSD-2-Clause
"""Defects in how exceptions and software interrupts reach the guest."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING

from abidance.abi.vmi.mutants.arrivals import Delivery, after_delivery, nth_word, put_word, words
from abidance.abi.vmi.mutants.changes import instead
from abidance.platform.unicorn.engine import EIP, ESP
from abidance.platform.unicorn.gates import GP, PF, Event, Kind, deliver
from abidance.platform.unicorn.walk import Fault
from abidance.suite import mutant

if TYPE_CHECKING:
    from abidance.abi.vmi.reference.hypervisor import Hypervisor

__all__: list[str] = []

Deliver = Callable[[Fault], None]
Hide = Callable[[Event], Fault | None]
_DE, _UD = 0, 6
_PRESENT, _WRITE, _USER = 1, 2, 4


def _as(hv: Hypervisor, change: Callable[[Fault], Fault | None]) -> None:
    """Deliver another exception in place of one, or none."""
    def make(original: Deliver) -> Deliver:
        def call(fault: Fault) -> None:
            other = change(fault)
            if other is not None:
                original(other)
        return call
    instead(hv.vcpus[0], "deliver", make)


# -- vmi.exceptions.delivered ------------------------------------------------------------------------

@mutant("UD-becomes-GP", violates="vmi.exceptions.delivered")
def _(hv: Hypervisor) -> None:
    """What the hypervisor cannot emulate raises a general-protection fault, undefined instructions too."""
    _as(hv, lambda fault: Fault(GP, 0) if fault.vector == _UD else fault)


@mutant("Exceptions-skipped-while-disabled", violates="vmi.exceptions.delivered")
def _(hv: Hypervisor) -> None:
    """With the virtual flag clear an undefined instruction or a division by zero is skipped."""
    vcpu = hv.vcpus[0]

    def change(fault: Fault) -> Fault | None:
        if fault.vector not in {_DE, _UD} or vcpu.flag.enabled:
            return fault
        vcpu.cpu.regs[EIP] += 2
        vcpu.cpu.engine.settle()
        return None

    _as(hv, change)


@mutant("DE-at-wrong-vector", violates="vmi.exceptions.delivered")
def _(hv: Hypervisor) -> None:
    """A division by zero is delivered at vector 16, the other arithmetic exception."""
    _as(hv, lambda fault: Fault(16) if fault.vector == _DE else fault)


# -- vmi.exceptions.error-code -----------------------------------------------------------------------

@mutant("GP-without-error-code", violates="vmi.exceptions.error-code")
def _(hv: Hypervisor) -> None:
    """The frame of a general-protection fault has no error code."""
    def change(made: Delivery) -> None:
        if made.vector == GP and made.code:
            made.vcpu.cpu.regs[ESP] += 4
    after_delivery(hv, change)


@mutant("UD-with-error-code", violates="vmi.exceptions.error-code")
def _(hv: Hypervisor) -> None:
    """An undefined instruction pushes an error code of 0."""
    def change(made: Delivery) -> None:
        if made.vector == _UD and not made.external:
            made.vcpu.cpu.regs[ESP] -= 4
            put_word(made.vcpu, 0, 0)
    after_delivery(hv, change)


@mutant("PF-without-error-code", violates="vmi.exceptions.error-code")
def _(hv: Hypervisor) -> None:
    """The frame of a page fault has no error code."""
    def change(made: Delivery) -> None:
        if made.vector == PF and made.code:
            made.vcpu.cpu.regs[ESP] += 4
    after_delivery(hv, change)


# -- vmi.exceptions.fault-eip ------------------------------------------------------------------------

def _eip_behind(hv: Hypervisor, vectors: set[int], length: int) -> None:
    def make(original: Deliver) -> Deliver:
        def call(fault: Fault) -> None:
            if fault.vector in vectors:
                hv.vcpus[0].cpu.regs[EIP] += length
            original(fault)
        return call
    instead(hv.vcpus[0], "deliver", make)


@mutant("UD-eip-behind", violates="vmi.exceptions.fault-eip")
def _(hv: Hypervisor) -> None:
    """The EIP of an undefined instruction's frame is behind it."""
    _eip_behind(hv, {_UD}, 2)


@mutant("DE-eip-behind", violates="vmi.exceptions.fault-eip")
def _(hv: Hypervisor) -> None:
    """The EIP of a division by zero is that of the next instruction, as on an 8086."""
    _eip_behind(hv, {_DE}, 2)


@mutant("GP-eip-behind", violates="vmi.exceptions.fault-eip")
def _(hv: Hypervisor) -> None:
    """The decoder that looks at an instruction before it is refused has moved EIP on."""
    _eip_behind(hv, {GP}, 1)


@mutant("PF-eip-of-page", violates="vmi.exceptions.fault-eip")
def _(hv: Hypervisor) -> None:
    """The EIP in a page fault's frame is rounded down to 16 bytes."""
    def change(made: Delivery) -> None:
        if made.vector == PF and made.code:
            put_word(made.vcpu, 1, nth_word(made.vcpu, 1) & ~15)
    after_delivery(hv, change)


# -- INT n -------------------------------------------------------------------------------------------

def _software(hv: Hypervisor, change: Callable[[Callable[[], None], int], None]) -> None:
    """Treat INT n at CPL 3 differently: `change` gets the original and n."""
    cpu, vcpu = hv.vcpus[0].cpu, hv.vcpus[0]

    def make(original: Callable[[], None]) -> Callable[[], None]:
        def reflect() -> None:
            if vcpu.active and cpu.software and cpu.cpl == 3:
                change(original, cpu.vector)
            else:
                original()
        return reflect

    instead(cpu, "reflect", make)


def _gate_dpl(hv: Hypervisor, vector: int) -> int:
    return hv.vcpus[0].cpu.load_pair(hv.vcpus[0].idt()[0] + 8 * vector)[1] >> 13 & 3


@mutant("INT-n-eip-of-itself", violates="vmi.exceptions.software-interrupt")
def _(hv: Hypervisor) -> None:
    """The frame of a permitted INT n holds the address of the INT, as for a fault."""
    def change(original: Callable[[], None], vector: int) -> None:
        permitted = _gate_dpl(hv, vector) == 3
        original()
        if permitted:
            put_word(hv.vcpus[0], 0, words(hv.vcpus[0], 1)[0] - 2)
    _software(hv, change)


@mutant("INT-n-refused", violates="vmi.exceptions.software-interrupt")
def _(hv: Hypervisor) -> None:
    """The DPL of the gate is compared with the kernel's ring, not the caller's: all INT n but the
    breakpoint raise a general-protection fault."""
    def change(original: Callable[[], None], vector: int) -> None:
        if vector == 3:
            original()
            return
        vcpu = hv.vcpus[0]
        vcpu.cpu.regs[EIP] -= 2
        vcpu.deliver(Fault(GP, vector * 8 + 2))
    _software(hv, change)


@mutant("Gate-DPL-unchecked", violates="vmi.exceptions.gate-privilege")
def _(hv: Hypervisor) -> None:
    """INT n enters any handler."""
    def change(_: Callable[[], None], vector: int) -> None:
        deliver(hv.vcpus[0].cpu, hv.vcpus[0], Event(vector, Kind.EXTERNAL))
    _software(hv, change)


@mutant("Gate-error-names-GDT", violates="vmi.exceptions.gate-privilege")
def _(hv: Hypervisor) -> None:
    """The error code of a refused INT n lacks the bit that says IDT."""
    def change(original: Callable[[], None], vector: int) -> None:
        refused = _gate_dpl(hv, vector) < 3
        original()
        if refused:
            put_word(hv.vcpus[0], 0, nth_word(hv.vcpus[0], 0) & ~2)
    _software(hv, change)


@mutant("Gate-refusal-eip-behind", violates="vmi.exceptions.fault-eip")
def _(hv: Hypervisor) -> None:
    """The fault of a refused INT n has the EIP of the next instruction."""
    def change(original: Callable[[], None], vector: int) -> None:
        refused = _gate_dpl(hv, vector) < 3
        original()
        if refused:
            put_word(hv.vcpus[0], 1, nth_word(hv.vcpus[0], 1) + 2)
    _software(hv, change)


# -- page faults -------------------------------------------------------------------------------------

def _hide(hv: Hypervisor, change: Callable[[Event, Hide], Fault | None]) -> None:
    def make(original: Hide) -> Hide:
        return lambda event: change(event, original)
    instead(hv.vcpus[0], "hide", make)


def _error(fault: Fault | None, keep: int, add: int = 0) -> Fault | None:
    if fault is None or fault.vector != PF:
        return fault
    return Fault(PF, (fault.error or 0) & keep | add, fault.address)


@mutant("PF-code-of-shadow", violates="vmi.exceptions.page-fault-code")
def _(hv: Hypervisor) -> None:
    """The error code is the processor's own, which tells presence in the shadow tables."""
    def change(event: Event, original: Hide) -> Fault | None:
        fault = original(event)
        return _error(fault, 0, event.error) if event.vector == PF else fault
    _hide(hv, change)


@mutant("PF-code-without-write", violates="vmi.exceptions.page-fault-code")
def _(hv: Hypervisor) -> None:
    """Bit 1 of the error code is always clear."""
    _hide(hv, lambda event, original: _error(original(event), ~_WRITE))


@mutant("PF-code-without-user", violates="vmi.exceptions.page-fault-code")
def _(hv: Hypervisor) -> None:
    """Bit 2 of the error code is always clear."""
    _hide(hv, lambda event, original: _error(original(event), ~_USER))


@mutant("PF-code-always-present", violates="vmi.exceptions.page-fault-code")
def _(hv: Hypervisor) -> None:
    """Bit 0 of the error code is always set."""
    _hide(hv, lambda event, original: _error(original(event), ~0, _PRESENT))


@mutant("Dirty-tracking-shows", violates="vmi.exceptions.no-hidden-faults")
def _(hv: Hypervisor) -> None:
    """A user's first store to a page that it has read faults: the shadow entry was made read-only."""
    def change(event: Event, original: Hide) -> Fault | None:
        if event.vector == PF and event.error & 7 == _PRESENT | _WRITE | _USER:
            return Fault(PF, event.error, event.address)
        return original(event)
    _hide(hv, change)


@mutant("User-shadow-miss-shows", violates="vmi.exceptions.no-hidden-faults")
def _(hv: Hypervisor) -> None:
    """A user's first read of a page faults for want of a shadow entry, and finds it made the second time."""
    def change(event: Event, original: Hide) -> Fault | None:
        fault = original(event)
        fetch = event.address >> 12 == hv.vcpus[0].cpu.regs[EIP] >> 12
        if fault is None and event.vector == PF and event.error & 7 == _USER and not fetch:
            return Fault(PF, event.error, event.address)
        return fault
    _hide(hv, change)
