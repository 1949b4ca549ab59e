# SPDX-License-Identifier: BSD-2-Clause
"""Defects of VMI_Init, of the guest's privilege and of its linear address space."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from unicorn import x86_const

from abidance.abi.vmi.mutants.changes import Call, instead, look_up, notes, wrap
from abidance.abi.vmi.reference import transfers
from abidance.abi.vmi.reference.shadow import HOLE, NOWHERE
from abidance.platform.unicorn.engine import CS, EAX, ECX, EDX, EFLAGS, EIP, ES, ESP, GS, SS
from abidance.platform.unicorn.gates import IF, VM
from abidance.platform.unicorn.walk import PRESENT, USER, WRITABLE, Fault, Mapping
from abidance.suite import mutant

if TYPE_CHECKING:
    from abidance.abi.vmi.reference.hypervisor import Hypervisor
    from abidance.abi.vmi.reference.vcpu import VirtualCpu

__all__: list[str] = []

_FAILED = 0xFFFFFFFF
_KERNEL_SPACE = 0xC0000000
_SYSEXIT, _IRET, _SET_CR3 = 34, 33, 17


def _init(hv: Hypervisor, then: Callable[[VirtualCpu], None]) -> None:
    """Do something at the end of VMI_Init."""
    def make(original: Call) -> Call:
        def initialise(vcpu: VirtualCpu) -> None:
            original(vcpu)
            then(vcpu)
        return initialise
    instead(hv, "initialise", make)


def _status(hv: Hypervisor, value: int) -> None:
    def then(vcpu: VirtualCpu) -> None:
        vcpu.cpu.regs[EAX] = value
    _init(hv, then)


# -- the result --------------------------------------------------------------------------------------

@mutant("Init-true-for-success", violates="vmi.Init.success-is-zero")
def _(hv: Hypervisor) -> None:
    """VMI_Init returns 1 when it has succeeded."""
    _status(hv, 1)


@mutant("Init-eax-untouched", violates="vmi.Init.success-is-zero")
def _(hv: Hypervisor) -> None:
    """VMI_Init leaves in EAX what the guest had there."""
    def make(original: Call) -> Call:
        def initialise(vcpu: VirtualCpu) -> None:
            before = vcpu.cpu.regs[EAX]
            original(vcpu)
            vcpu.cpu.regs[EAX] = before
        return initialise
    instead(hv, "initialise", make)


def _fails(hv: Hypervisor, value: int, damage: Callable[[VirtualCpu], None] | None = None) -> None:
    """VMI_Init does nothing but `damage` and returns `value`."""
    def initialise(vcpu: VirtualCpu) -> None:
        if damage is not None:
            damage(vcpu)
        vcpu.cpu.regs[EAX] = value
    instead(hv, "initialise", lambda _: initialise)


@mutant("Init-fails-with-1", violates="vmi.Init.failure-value")
def _(hv: Hypervisor) -> None:
    """VMI_Init fails, and says so by 1."""
    _fails(hv, 1)


@mutant("Init-fails-half-way", violates="vmi.Init.failure-recoverable")
def _(hv: Hypervisor) -> None:
    """VMI_Init gives up after the guest has been put to CPL 1."""
    _status(hv, _FAILED)


@mutant("Init-fails-with-interrupts-on", violates="vmi.Init.failure-recoverable")
def _(hv: Hypervisor) -> None:
    """VMI_Init fails and returns with the interrupt flag set."""
    def damage(vcpu: VirtualCpu) -> None:
        vcpu.cpu.regs[EFLAGS] |= IF
    _fails(hv, _FAILED, damage)


@mutant("Init-fails-without-idt", violates="vmi.Init.failure-recoverable")
def _(hv: Hypervisor) -> None:
    """VMI_Init fails and leaves an empty GS and an IDT register that is not the guest's."""
    def damage(vcpu: VirtualCpu) -> None:
        vcpu.cpu.load_segment(GS, 0)
        vcpu.cpu.engine.set(x86_const.UC_X86_REG_IDTR, (0, 0, 0, 0))
    _fails(hv, _FAILED, damage)


# -- the state afterwards ----------------------------------------------------------------------------

@mutant("Init-nulls-gs", violates="vmi.Init.selectors-differ-in-rpl")
def _(hv: Hypervisor) -> None:
    """GS is null after VMI_Init."""
    _init(hv, lambda vcpu: vcpu.cpu.load_segment(GS, 0))


@mutant("Init-es-is-user-data", violates="vmi.Init.selectors-differ-in-rpl")
def _(hv: Hypervisor) -> None:
    """ES holds another selector, that of GS, after VMI_Init."""
    _init(hv, lambda vcpu: vcpu.cpu.load_segment(ES, vcpu.cpu.regs[GS]))


def _until_cr3(hv: Hypervisor) -> dict[Any, Any]:
    """Notes that have the key "loaded" once the guest has loaded CR3."""
    known = notes(hv)

    def load(original: Callable[[int], None]) -> Callable[[int], None]:
        def call(value: int) -> None:
            known["loaded"] = True
            original(value)
        return call

    instead(hv.vcpus[0], "load_cr3", load)
    return known


@mutant("Init-keeps-kernel-space-only", violates="vmi.Init.keeps-address-space")
def _(hv: Hypervisor) -> None:
    """VMI_Init takes over the mappings above C0000000h; the others come with the first SetCR3."""
    known = _until_cr3(hv)

    def walk(original: Callable[[], Mapping], linear: int, write: bool, user: bool) -> Mapping:
        if linear < _KERNEL_SPACE and not known.get("loaded"):
            raise Fault(14, write << 1 | user << 2, linear)
        return original()

    look_up(hv, walk)


@mutant("Init-write-protects-user-space", violates="vmi.Init.keeps-address-space")
def _(hv: Hypervisor) -> None:
    """Until the first SetCR3, pages below C0000000h cannot be written."""
    known = _until_cr3(hv)

    def walk(original: Callable[[], Mapping], linear: int, write: bool, user: bool) -> Mapping:
        if write and linear < _KERNEL_SPACE and not known.get("loaded"):
            raise Fault(14, PRESENT | write << 1 | user << 2, linear)
        return original()

    look_up(hv, walk)


@mutant("Init-calls-sleep-until-SetCR3", violates="vmi.Init.calls-live-on-return")
def _(hv: Hypervisor) -> None:
    """Trapping calls return without effect until the guest has called SetCR3 once."""
    awake = notes(hv)

    def sleeping(original: Call) -> Call:
        def call(vcpu: VirtualCpu) -> None:
            if awake.get("now"):
                original(vcpu)
        return call

    def waking(vcpu: VirtualCpu) -> None:
        awake["now"] = True
        set_cr3(vcpu)

    set_cr3 = hv.calls[_SET_CR3]
    for number in set(hv.calls) - {_IRET, _SYSEXIT}:
        hv.calls[number] = sleeping(hv.calls[number])
    hv.calls[_SET_CR3] = waking


@mutant("Init-calls-need-a-SetCR3", violates="vmi.Init.calls-live-on-return")
def _(hv: Hypervisor) -> None:
    """The page-table calls raise an invalid-opcode fault until the guest has called SetCR3 once."""
    awake = _until_cr3(hv)

    def guarded(original: Call) -> Call:
        def call(vcpu: VirtualCpu) -> None:
            if not awake.get("loaded"):
                raise Fault(6)
            original(vcpu)
        return call

    for entry in ("SetPxE", "UpdatePxE", "InvalPage", "FlushTLB"):
        wrap(hv, entry, guarded)


@mutant("Init-enables-interrupts", violates="vmi.Init.keeps-interrupts-off")
def _(hv: Hypervisor) -> None:
    """The virtual flag is set after VMI_Init."""
    def then(vcpu: VirtualCpu) -> None:
        vcpu.flag.enabled = True
    _init(hv, then)


@mutant("Init-forgets-idt", violates="vmi.Init.keeps-exception-delivery")
def _(hv: Hypervisor) -> None:
    """The hypervisor has no IDT of the guest's until the guest loads one."""
    def then(vcpu: VirtualCpu) -> None:
        vcpu.idtr = (0, 0)
    _init(hv, then)


@mutant("Init-forgets-tss", violates="vmi.Init.keeps-exception-delivery")
def _(hv: Hypervisor) -> None:
    """The hypervisor has no kernel stack for traps from the user until the guest loads a task register."""
    def then(vcpu: VirtualCpu) -> None:
        vcpu.task = (0, 0)
    _init(hv, then)


# -- privilege ---------------------------------------------------------------------------------------

@mutant("Init-stays-at-CPL-0", violates="vmi.privilege.kernel-rpl")
def _(hv: Hypervisor) -> None:
    """VMI_Init says that it has succeeded and leaves the kernel at CPL 0."""
    _fails(hv, 0)


@mutant("SYSEXIT-user-in-kernel-ring", violates="vmi.privilege.user-at-three")
def _(hv: Hypervisor) -> None:
    """SYSEXIT changes EIP and ESP and stays in the kernel's ring."""
    def sysexit(vcpu: VirtualCpu) -> None:
        regs = vcpu.cpu.regs
        regs[EIP], regs[ESP] = regs[EDX], regs[ECX]
        vcpu.flag.enabled = True
    hv.calls[_SYSEXIT] = sysexit


@mutant("IRET-user-in-kernel-ring", violates="vmi.privilege.user-at-three")
def _(hv: Hypervisor) -> None:
    """IRET to the user goes on at the frame's EIP and ESP with the kernel's selectors."""
    def make(original: Call) -> Call:
        def iret(vcpu: VirtualCpu) -> None:
            at = transfers._site(vcpu, _IRET)[1]
            eip, cs, flags, esp = (vcpu.read32(at + offset) for offset in (0, 4, 8, 12))
            if cs & 3 != 3 or flags & VM:
                original(vcpu)
                return
            regs = vcpu.cpu.regs
            vcpu.cpu.load_ring(1, regs[CS], regs[SS])
            regs[EIP], regs[ESP], regs[EFLAGS] = eip, esp, flags & 0xCD5 | IF | 2
            vcpu.flag.enabled = bool(flags & IF)
        return iret
    wrap(hv, "IRET", make)


# -- linear space ------------------------------------------------------------------------------------

@mutant("Hole-begins-below-top", violates="vmi.space.below-top-free")
def _(hv: Hypervisor) -> None:
    """The hypervisor keeps 4 MiB below virtual_top for itself: what the guest maps there is not there."""
    def walk(original: Callable[[], Mapping], linear: int, write: bool, user: bool) -> Mapping:
        if HOLE - (4 << 20) <= linear < HOLE:
            raise Fault(14, write << 1 | user << 2, linear)
        return original()
    look_up(hv, walk)


@mutant("Hole-page-below-top", violates="vmi.space.below-top-free")
def _(hv: Hypervisor) -> None:
    """The page below virtual_top is the hypervisor's shared page."""
    shadow = hv.vcpus[0].shadow
    last = (HOLE >> 12) - 1

    def install(original: Callable[..., None]) -> Callable[..., None]:
        def call(page: int, found: Mapping, *, write: bool) -> None:
            original(page, found, write=write)
            if page == last:
                shadow._entries[page] = shadow.shared | PRESENT | WRITABLE
        return call

    instead(shadow, "install", install)


@mutant("Hole-open-to-user", violates="vmi.space.user-cannot-reach-hole")
def _(hv: Hypervisor) -> None:
    """The shared page is mapped for the user, too."""
    hv.vcpus[0].shadow._entries[HOLE >> 12] |= USER


@mutant("Hole-tail-readable", violates="vmi.space.user-cannot-reach-hole")
def _(hv: Hypervisor) -> None:
    """Behind the shared page the hole reads as ones for the user."""
    entries = hv.vcpus[0].shadow._entries
    for page in range((HOLE >> 12) + 1, 1 << 20):
        entries[page] = NOWHERE | PRESENT | USER
