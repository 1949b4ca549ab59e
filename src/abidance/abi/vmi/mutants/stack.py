# SPDX-License-Identifier: BSD-2-Clause
"""Mutants of UpdateKernelStack."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from abidance.abi.vmi.mutants.changes import Call, instead, notes, nothing, wrap
from abidance.platform.unicorn.engine import EAX, EDX, ESP
from abidance.suite import mutant

if TYPE_CHECKING:
    from abidance.abi.vmi.reference.hypervisor import Hypervisor
    from abidance.abi.vmi.reference.vcpu import VirtualCpu

__all__: list[str] = []

Stack = Callable[[int], tuple[int, int]]


def _announce(hv: Hypervisor, change: Callable[[int, int], tuple[int, int]]) -> None:
    """Let another stack be announced."""
    def make(original: Callable[[int, int], None]) -> Callable[[int, int], None]:
        return lambda ss, esp: original(*change(ss, esp))
    instead(hv.vcpus[0], "set_stack", make)


def _remember_first(vcpu: VirtualCpu, kept: dict[Any, Any]) -> Callable[[Any], Callable[[], bool]]:
    """For `enter`: keep in mind the stack that the TSS named in VMI_Init."""
    def make(original: Callable[[], bool]) -> Callable[[], bool]:
        def enter() -> bool:
            done = original()
            kept["first"] = vcpu.inner_stack(1)
            return done
        return enter
    return make


@mutant("UpdateKernelStack-four-below", violates="vmi.UpdateKernelStack.used-when-stored")
def _(hv: Hypervisor) -> None:
    """Transitions start one word below the announced stack."""
    _announce(hv, lambda ss, esp: (ss, esp - 4 & 0xFFFFFFFF))


@mutant("UpdateKernelStack-sixteen-bits", violates="vmi.UpdateKernelStack.used-when-stored")
def _(hv: Hypervisor) -> None:
    """Only the low half of ESP0 is taken over, the high half stays as it was."""
    vcpu = hv.vcpus[0]

    def change(ss: int, esp: int) -> tuple[int, int]:
        old = vcpu.stack[1] if vcpu.stack else vcpu.read32(vcpu.task[0] + 4)
        return ss, old & 0xFFFF0000 | esp & 0xFFFF
    _announce(hv, change)


@mutant("UpdateKernelStack-arguments-swapped", violates="vmi.UpdateKernelStack.used-when-stored")
def _(hv: Hypervisor) -> None:
    """UpdateKernelStack expects ESP0 in EAX and SS0 in EDX."""
    def make(original: Call) -> Call:
        def call(vcpu: VirtualCpu) -> None:
            regs = vcpu.cpu.regs
            regs[EAX], regs[EDX] = regs[EDX], regs[EAX]
            original(vcpu)
        return call
    wrap(hv, "UpdateKernelStack", make)


@mutant("UpdateKernelStack-one-behind", violates="vmi.UpdateKernelStack.used-when-stored")
def _(hv: Hypervisor) -> None:
    """The announced stack comes into use when the next one is announced."""
    kept, vcpu = notes(hv), hv.vcpus[0]

    def make(original: Callable[[int, int], None]) -> Callable[[int, int], None]:
        def announce(ss: int, esp: int) -> None:
            original(*kept.get("next", kept["first"]))
            kept["next"] = (ss, esp)
        return announce

    instead(vcpu, "set_stack", make)
    instead(vcpu, "enter", _remember_first(vcpu, kept))


@mutant("UpdateKernelStack-always-queued", violates="vmi.UpdateKernelStack.used-when-stored")
def _(hv: Hypervisor) -> None:
    """Outside a lazy mode the announced stack waits for the next SetLazyMode with 0; until then the one
    of VMI_Init's time serves."""
    vcpu, kept = hv.vcpus[0], notes(hv)

    def queue(vcpu: VirtualCpu) -> None:
        if vcpu.stack is None:
            vcpu.stack = kept.get("first")
        vcpu.deferral.state.append((vcpu.set_stack, (vcpu.cpu.regs[EAX], vcpu.cpu.regs[EDX])))

    instead(vcpu, "enter", _remember_first(vcpu, kept))
    wrap(hv, "UpdateKernelStack", lambda _original: queue)


@mutant("UpdateKernelStack-ignored", violates="vmi.UpdateKernelStack.announced-counts")
def _(hv: Hypervisor) -> None:
    """UpdateKernelStack does nothing, and transitions use what the TSS in memory says."""
    wrap(hv, "UpdateKernelStack", lambda _original: nothing)


@mutant("UpdateKernelStack-selector-from-TSS", violates="vmi.UpdateKernelStack.announced-counts")
def _(hv: Hypervisor) -> None:
    """Only SS0 is taken over from the call; ESP0 is read from the TSS at each transition."""
    vcpu = hv.vcpus[0]

    def make(original: Stack) -> Stack:
        def stack(ring: int) -> tuple[int, int]:
            ss, _esp = original(ring)
            return ss, vcpu.read32(vcpu.task[0] + 4)
        return stack
    instead(vcpu, "inner_stack", make)


@mutant("UpdateKernelStack-serves-once", violates="vmi.UpdateKernelStack.stays-announced")
def _(hv: Hypervisor) -> None:
    """The announced stack serves the next transition; then it is again the one of VMI_Init's time."""
    vcpu, kept = hv.vcpus[0], notes(hv)

    def make(original: Stack) -> Stack:
        def stack(ring: int) -> tuple[int, int]:
            answer = original(ring)
            if vcpu.stack is not None:
                vcpu.stack = kept.get("first")
            return answer
        return stack

    instead(vcpu, "enter", _remember_first(vcpu, kept))
    instead(vcpu, "inner_stack", make)


@mutant("UpdateKernelStack-lost-at-IRET", violates="vmi.UpdateKernelStack.stays-announced")
def _(hv: Hypervisor) -> None:
    """The second return to CPL 3 after the announcement brings the stack of VMI_Init's time back."""
    vcpu, kept = hv.vcpus[0], notes(hv)

    def announce(original: Callable[[int, int], None]) -> Callable[[int, int], None]:
        def both(ss: int, esp: int) -> None:
            kept["returns"] = 0
            original(ss, esp)
        return both

    def make(original: Callable[[VirtualCpu, bool], None]) -> Callable[[VirtualCpu, bool], None]:
        def flag(vcpu: VirtualCpu, enabled: bool) -> None:
            original(vcpu, enabled)
            if vcpu.cpu.cpl == 3 and "returns" in kept:
                kept["returns"] += 1
                if kept["returns"] == 2:
                    vcpu.stack = kept["first"]
        return flag

    instead(vcpu, "enter", _remember_first(vcpu, kept))
    instead(vcpu, "set_stack", announce)
    instead(hv, "restore_flag", make)


@mutant("UpdateKernelStack-moves-down", violates="vmi.UpdateKernelStack.stays-announced")
def _(hv: Hypervisor) -> None:
    """Each transition leaves the announced stack lower by a frame."""
    vcpu = hv.vcpus[0]

    def make(original: Stack) -> Stack:
        def stack(ring: int) -> tuple[int, int]:
            ss, esp = original(ring)
            vcpu.stack = (ss, esp - 20 & 0xFFFFFFFF)
            return ss, esp
        return stack
    instead(vcpu, "inner_stack", make)


@mutant("UpdateKernelStack-switches-at-once", violates="vmi.UpdateKernelStack.leaves-current-stack")
def _(hv: Hypervisor) -> None:
    """UpdateKernelStack returns on the stack that it was told of."""
    def make(original: Call) -> Call:
        def call(vcpu: VirtualCpu) -> None:
            regs = vcpu.cpu.regs
            returning = vcpu.cpu.read_linear(regs[ESP], 4)
            original(vcpu)
            vcpu.cpu.write_linear(regs[EDX] - 4 & 0xFFFFFFFF, returning)
            regs[ESP] = regs[EDX] - 4 & 0xFFFFFFFF
        return call
    wrap(hv, "UpdateKernelStack", make)
