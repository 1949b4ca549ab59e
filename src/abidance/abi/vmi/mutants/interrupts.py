# SPDX-License-Identifier: BSD-2-Clause
"""Defects of the four interrupt calls, most of them in the ROM's own code."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING

from abidance.abi.vmi.mutants.arrivals import MASK, routine, serving
from abidance.abi.vmi.mutants.changes import instead, notes
from abidance.suite import mutant

if TYPE_CHECKING:
    from abidance.abi.vmi.reference.hypervisor import Hypervisor
    from abidance.abi.vmi.reference.vcpu import VirtualCpu

__all__: list[str] = []

Service = Callable[[], None]

_ENABLE, _DISABLE, _SET = 29, 30, 32
_SHARED = MASK.hex()
_IF = "00020000"
_STORE_IF = f"36 C705 {_SHARED} {_IF}"
_STORE_IF_LENGTH = 11
_TEST_EAX = f"A9 {_IF}"
_LOAD_EAX = f"36 A1 {_SHARED}"
_ONLY_IF = f"25 {_IF}"
_JUMP, _JUMP_ZERO, _JUMP_NOT_ZERO, _CALL, _RET = "E9", "0F84", "0F85", "E8", "C3"


def _at(hv: Hypervisor, number: int) -> int:
    """The offset of a call's routine."""
    return hv.image.relocation(number)[1]


# -- EnableInterrupts --------------------------------------------------------------------------------

@mutant("EnableInterrupts-ignored", violates="vmi.EnableInterrupts.sets-flag")
def _(hv: Hypervisor) -> None:
    """EnableInterrupts returns without doing anything."""
    routine(hv, "EnableInterrupts", _RET)


@mutant("EnableInterrupts-toggles", violates="vmi.EnableInterrupts.sets-flag")
def _(hv: Hypervisor) -> None:
    """EnableInterrupts inverts the flag: right only if it was clear."""
    check = _at(hv, _ENABLE) + _STORE_IF_LENGTH
    routine(hv, "EnableInterrupts", f"36 8135 {_SHARED} {_IF}", _JUMP, check)


@mutant("EnableInterrupts-wrong-bit", violates="vmi.EnableInterrupts.sets-flag")
def _(hv: Hypervisor) -> None:
    """EnableInterrupts sets bit 8 of the shared word."""
    check = _at(hv, _ENABLE) + _STORE_IF_LENGTH
    routine(hv, "EnableInterrupts", f"36 C705 {_SHARED} 00010000", _JUMP, check)


@mutant("EnableInterrupts-forgets-pending", violates="vmi.EnableInterrupts.delivers-pending")
def _(hv: Hypervisor) -> None:
    """EnableInterrupts sets the flag and does not look whether an interrupt waits."""
    routine(hv, "EnableInterrupts", _STORE_IF, _RET)


@mutant("EnableInterrupts-like-sti", violates="vmi.EnableInterrupts.delivers-pending")
def _(hv: Hypervisor) -> None:
    """EnableInterrupts holds interrupts back for two more instructions, its RET and the caller's next."""
    held = notes(hv)
    vcpu = hv.vcpus[0]

    def hold(_: VirtualCpu) -> None:
        held["left"] = 2

    def make(original: Service) -> Service:
        def service() -> None:
            if held.get("left", 0):
                held["left"] -= 1
                vcpu.inhibited = True
                return
            original()
        return service

    serving(hv, hold)
    instead(vcpu, "service", make)


@mutant("EnableInterrupts-delivers-one", violates="vmi.EnableInterrupts.delivers-every-pending")
def _(hv: Hypervisor) -> None:
    """After one interrupt has been delivered, others that waited wait for the next EnableInterrupts."""
    held = notes(hv)
    vcpu, pic = hv.vcpus[0], hv.board.pic

    def free(_: VirtualCpu) -> None:
        held["all"] = False

    def service() -> None:
        if held.get("all"):
            vcpu.flag.announce(pic.pending() is not None)
            return
        before = pic.pending() if vcpu.active and vcpu.flag.enabled else None
        original()
        # The one in service hides what has less priority: look at the requests themselves.
        held["all"] = before is not None and bool(pic._master.irr & ~pic._master.imr)

    original = vcpu.service
    serving(hv, free)
    instead(vcpu, "service", lambda _: service)


# -- DisableInterrupts -------------------------------------------------------------------------------

@mutant("DisableInterrupts-ignored", violates="vmi.DisableInterrupts.clears-flag")
def _(hv: Hypervisor) -> None:
    """DisableInterrupts returns without doing anything."""
    routine(hv, "DisableInterrupts", _RET)


@mutant("DisableInterrupts-toggles", violates="vmi.DisableInterrupts.clears-flag")
def _(hv: Hypervisor) -> None:
    """DisableInterrupts inverts the flag: right only if it was set."""
    routine(hv, "DisableInterrupts", f"36 8135 {_SHARED} {_IF}", _RET)


@mutant("DisableInterrupts-noticed-late", violates="vmi.DisableInterrupts.holds-at-once")
def _(hv: Hypervisor) -> None:
    """The hypervisor delivers by a copy of the flag that it made when it last entered the guest."""
    seen = notes(hv)
    vcpu = hv.vcpus[0]

    def make(original: Service) -> Service:
        def service() -> None:
            now = vcpu.active and vcpu.flag.enabled
            if vcpu.active and seen.get("flag") and not now and hv.board.pic.pending() is not None:
                vcpu.flag.enabled = True
            original()
            seen["flag"] = now
        return service

    instead(vcpu, "service", make)


# -- GetInterruptMask --------------------------------------------------------------------------------

@mutant("GetInterruptMask-hardware-flag", violates="vmi.GetInterruptMask.reports-flag")
def _(hv: Hypervisor) -> None:
    """GetInterruptMask returns the EFLAGS register, where bit 9 is always set."""
    routine(hv, "GetInterruptMask", "9C 58", _RET)


@mutant("GetInterruptMask-wrong-bit", violates="vmi.GetInterruptMask.reports-flag")
def _(hv: Hypervisor) -> None:
    """GetInterruptMask reports the flag in bit 0, as a truth value."""
    routine(hv, "GetInterruptMask", _LOAD_EAX, _ONLY_IF, "C1E8 09", _RET)


@mutant("GetInterruptMask-inverted", violates="vmi.GetInterruptMask.reports-flag")
def _(hv: Hypervisor) -> None:
    """GetInterruptMask tells whether interrupts are masked, the opposite of the flag."""
    routine(hv, "GetInterruptMask", _LOAD_EAX, _ONLY_IF, f"35 {_IF}", _RET)


@mutant("GetInterruptMask-disables", violates="vmi.GetInterruptMask.leaves-flag")
def _(hv: Hypervisor) -> None:
    """GetInterruptMask saves and disables, as an irqsave would."""
    routine(hv, "GetInterruptMask", _LOAD_EAX, _ONLY_IF, f"36 C705 {_SHARED} 00000000", _RET)


@mutant("GetInterruptMask-enables", violates="vmi.GetInterruptMask.leaves-flag")
def _(hv: Hypervisor) -> None:
    """GetInterruptMask leaves the flag set."""
    routine(hv, "GetInterruptMask", _LOAD_EAX, _ONLY_IF, _STORE_IF, _RET)


# -- SetInterruptMask --------------------------------------------------------------------------------

@mutant("SetInterruptMask-never-enables", violates="vmi.SetInterruptMask.sets-flag")
def _(hv: Hypervisor) -> None:
    """SetInterruptMask clears the flag if told so and never sets it."""
    routine(hv, "SetInterruptMask", _TEST_EAX, _JUMP_ZERO, _at(hv, _DISABLE), _RET)


@mutant("SetInterruptMask-never-disables", violates="vmi.SetInterruptMask.clears-flag")
def _(hv: Hypervisor) -> None:
    """SetInterruptMask sets the flag if told so and never clears it."""
    routine(hv, "SetInterruptMask", _TEST_EAX, _JUMP_NOT_ZERO, _at(hv, _ENABLE), _RET)


@mutant("SetInterruptMask-forgets-pending", violates="vmi.SetInterruptMask.delivers-pending")
def _(hv: Hypervisor) -> None:
    """SetInterruptMask sets the flag and does not look whether an interrupt waits."""
    routine(hv, "SetInterruptMask", _TEST_EAX, _JUMP_ZERO, _at(hv, _DISABLE), _STORE_IF, _RET)


@mutant("SetInterruptMask-any-bit-enables", violates="vmi.SetInterruptMask.ignores-other-bits")
def _(hv: Hypervisor) -> None:
    """SetInterruptMask takes its argument as a truth value."""
    routine(hv, "SetInterruptMask", "85C0", _JUMP_ZERO, _at(hv, _DISABLE), _JUMP, _at(hv, _ENABLE))


@mutant("SetInterruptMask-compares", violates="vmi.SetInterruptMask.ignores-other-bits")
def _(hv: Hypervisor) -> None:
    """SetInterruptMask enables for exactly 200h and disables for all else."""
    routine(hv, "SetInterruptMask", f"3D {_IF}", _JUMP_NOT_ZERO, _at(hv, _DISABLE), _JUMP, _at(hv, _ENABLE))


@mutant("SetInterruptMask-loads-flags", violates="vmi.SetInterruptMask.keeps-system-flags")
def _(hv: Hypervisor) -> None:
    """SetInterruptMask loads its argument into EFLAGS, too, as the native form does."""
    routine(hv, "SetInterruptMask", "50 9D", _JUMP, _at(hv, _SET))


@mutant("SetInterruptMask-clears-eax", violates="vmi.SetInterruptMask.preserves-eax")
def _(hv: Hypervisor) -> None:
    """SetInterruptMask returns 0 in EAX."""
    routine(hv, "SetInterruptMask", _CALL, _at(hv, _SET), "31C0", _RET)
