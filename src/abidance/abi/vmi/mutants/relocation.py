# SPDX-License-Identifier: BSD-2-Clause
"""Defects of VMI_GetRelocationInfo and of what it answers."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING

from abidance.abi.vmi.mutants.changes import NUMBERS, notes
from abidance.abi.vmi.reference.image import CALL_REL, JUMP_REL, NONE, NOP
from abidance.platform.unicorn.engine import EAX, EDX, EIP
from abidance.suite import mutant

if TYPE_CHECKING:
    from abidance.abi.vmi.reference.hypervisor import Hypervisor
    from abidance.abi.vmi.reference.vcpu import VirtualCpu

__all__: list[str] = []

_CALLS = 74
_STUB = 49
_SLOT = 0x88
_TRAP_LENGTH = 2
_TS = 1 << 3
_UNDEFINED = 4
_TAKE_LOW_BYTE = bytes.fromhex("0FB6C0")  # movzbl %al,%eax


def _answers(hv: Hypervisor, change: Callable[[VirtualCpu, int, int, int], tuple[int, int]]) -> None:
    """Answer by a trap: `change` gets CPU, call number, type and address (0 for NONE), and returns type
    and address."""
    def answer(vcpu: VirtualCpu) -> None:
        regs = vcpu.cpu.regs
        number = regs[EAX]
        image = regs[EIP] - _TRAP_LENGTH - stub
        kind, offset = hv.image.relocation(number) if number < _CALLS else (NONE, 0)
        regs[EDX], regs[EAX] = change(vcpu, number, kind, image + offset if kind != NONE else 0)

    stub = hv.image.stub(_STUB)
    hv.calls[_STUB] = answer
    hv.image.patch(_SLOT, _jump(_SLOT, stub))


def _jump(at: int, target: int) -> bytes:
    return b"\xE9" + (target - at - 5 & 0xFFFFFFFF).to_bytes(4, "little")


# -- the answer's form -------------------------------------------------------------------------------

@mutant("Relocation-type-4", violates="vmi.GetRelocationInfo.type-defined")
def _(hv: Hypervisor) -> None:
    """SetLinearMapping is answered with a type that does not exist."""
    hv.image.retype(NUMBERS["SetLinearMapping"], _UNDEFINED)


@mutant("Relocation-one-byte-on", violates="vmi.GetRelocationInfo.address-callable")
def _(hv: Hypervisor) -> None:
    """The addresses of the control-register reads are one byte behind the routine."""
    for entry in ("GetCR0", "GetCR2", "GetCR3", "GetCR4"):
        number = NUMBERS[entry]
        hv.image.offer(number, CALL_REL, hv.image.stub(number) + 1)


@mutant("Relocation-physical-address", violates="vmi.GetRelocationInfo.address-callable")
def _(hv: Hypervisor) -> None:
    """The address of SetLinearMapping is the physical one."""
    def change(_: VirtualCpu, number: int, kind: int, address: int) -> tuple[int, int]:
        return kind, address & 0xFFFFF if number == NUMBERS["SetLinearMapping"] else address
    _answers(hv, change)


@mutant("Relocation-of-neighbour", violates="vmi.GetRelocationInfo.address-callable")
def _(hv: Hypervisor) -> None:
    """The address for InvalPage is that of a routine that does nothing."""
    hv.image.offer(NUMBERS["InvalPage"], CALL_REL, hv.image.stub(NUMBERS["SetLinearMapping"]))


@mutant("Relocation-number-one-byte", violates="vmi.GetRelocationInfo.unknown-is-none")
def _(hv: Hypervisor) -> None:
    """Only the low byte of the call number counts, so that 256 + n is answered as n."""
    stub = hv.image.stub(_STUB)
    after = stub + len(_TAKE_LOW_BYTE)
    routine = _SLOT + 5 + int.from_bytes(hv.image.read(_SLOT + 1, 4), "little", signed=True)
    hv.image.patch(stub, _TAKE_LOW_BYTE + _jump(after, routine))
    hv.image.patch(_SLOT, _jump(_SLOT, stub))


@mutant("Relocation-74-known", violates="vmi.GetRelocationInfo.unknown-is-none")
def _(hv: Hypervisor) -> None:
    """The bound is off by one: call 74 is answered NOP."""
    _answers(hv, lambda _vcpu, number, kind, address: (NOP, 0) if number == _CALLS else (kind, address))


@mutant("Relocation-unknown-is-nop", violates="vmi.GetRelocationInfo.unknown-is-none")
def _(hv: Hypervisor) -> None:
    """Every number beyond the table is answered NOP."""
    _answers(hv, lambda _vcpu, number, kind, address: (NOP, 0) if number >= _CALLS else (kind, address))


@mutant("Relocation-negative-known", violates="vmi.GetRelocationInfo.unknown-is-none")
def _(hv: Hypervisor) -> None:
    """The bound is compared as a signed number, so that FFFFFFFFh reads a word before the table."""
    _answers(hv, lambda _vcpu, number, kind, address: (CALL_REL, 0x1000) if number >> 31 else (kind, address))


@mutant("Relocation-told-once", violates="vmi.GetRelocationInfo.stable")
def _(hv: Hypervisor) -> None:
    """Each call's relocation is given out once; the next time the answer is NONE."""
    given = notes(hv)

    def change(_vcpu: VirtualCpu, _number: int, kind: int, address: int) -> tuple[int, int]:
        again = given.setdefault("count", 0) >= _CALLS
        given["count"] += 1
        return (NONE, 0) if again else (kind, address)

    _answers(hv, change)


@mutant("Relocation-drifts", violates="vmi.GetRelocationInfo.stable")
def _(hv: Hypervisor) -> None:
    """Asked again, calls that trap are answered with the address of another stub."""
    given = notes(hv)

    def change(_vcpu: VirtualCpu, _number: int, kind: int, address: int) -> tuple[int, int]:
        again = given.setdefault("count", 0) >= _CALLS
        given["count"] += 1
        return kind, address + 4 if again and kind != NONE else address

    _answers(hv, change)


# -- no side effects ---------------------------------------------------------------------------------

@mutant("Relocation-enables-interrupts", violates="vmi.GetRelocationInfo.idempotent")
def _(hv: Hypervisor) -> None:
    """Asking leaves the virtual flag set."""
    def change(vcpu: VirtualCpu, _: int, kind: int, address: int) -> tuple[int, int]:
        vcpu.flag.enabled = True
        return kind, address
    _answers(hv, change)


@mutant("Relocation-disables-interrupts", violates="vmi.GetRelocationInfo.idempotent")
def _(hv: Hypervisor) -> None:
    """Asking leaves the virtual flag clear."""
    def change(vcpu: VirtualCpu, _: int, kind: int, address: int) -> tuple[int, int]:
        vcpu.flag.enabled = False
        return kind, address
    _answers(hv, change)


@mutant("Relocation-sets-ts", violates="vmi.GetRelocationInfo.idempotent")
def _(hv: Hypervisor) -> None:
    """Asking sets CR0.TS."""
    def change(vcpu: VirtualCpu, _: int, kind: int, address: int) -> tuple[int, int]:
        vcpu.set_cr0(vcpu.cr0 | _TS)
        return kind, address
    _answers(hv, change)


@mutant("Relocation-reserved-bits", violates="vmi.GetRelocationInfo.reserved-bits-clear")
def _(hv: Hypervisor) -> None:
    """EDX holds the call number above the type."""
    _answers(hv, lambda _vcpu, number, kind, address: (number << 8 & 0xFFFFFF00 | kind, address))


@mutant("Relocation-keeps-edx", violates="vmi.GetRelocationInfo.reserved-bits-clear")
def _(hv: Hypervisor) -> None:
    """Only DL is written; the rest of EDX is what the guest had there."""
    _answers(hv, lambda vcpu, _number, kind, address: (vcpu.cpu.regs[EDX] & 0xFFFFFF00 | kind, address))


@mutant("Relocation-none-has-address", violates="vmi.GetRelocationInfo.none-address-zero")
def _(hv: Hypervisor) -> None:
    """For NONE, EAX is the call number still."""
    _answers(hv, lambda _vcpu, number, kind, address: (kind, address if kind != NONE else number))


# -- which type for which call -----------------------------------------------------------------------

@mutant("GetInterruptMask-withheld", violates="vmi.relocation.untrappable-offered")
def _(hv: Hypervisor) -> None:
    """GetInterruptMask is answered NONE."""
    hv.image.withhold(NUMBERS["GetInterruptMask"])


@mutant("SetInterruptMask-withheld", violates="vmi.relocation.untrappable-offered")
def _(hv: Hypervisor) -> None:
    """SetInterruptMask is answered NONE."""
    hv.image.withhold(NUMBERS["SetInterruptMask"])


@mutant("IRET-withheld", violates="vmi.relocation.untrappable-offered")
def _(hv: Hypervisor) -> None:
    """IRET is answered NONE."""
    hv.image.withhold(NUMBERS["IRET"])


@mutant("SYSEXIT-is-NOP", violates="vmi.relocation.transfer-types")
def _(hv: Hypervisor) -> None:
    """SYSEXIT is answered NOP."""
    hv.image.retype(NUMBERS["SYSEXIT"], NOP)


@mutant("IRET-is-NOP", violates="vmi.relocation.transfer-types")
def _(hv: Hypervisor) -> None:
    """IRET is answered NOP."""
    hv.image.retype(NUMBERS["IRET"], NOP)


@mutant("SetCR2-by-jump", violates="vmi.relocation.jump-only-for-transfers")
def _(hv: Hypervisor) -> None:
    """SetCR2 is answered JUMP_REL."""
    hv.image.retype(NUMBERS["SetCR2"], JUMP_REL)


@mutant("Halt-by-jump", violates="vmi.relocation.jump-only-for-transfers")
def _(hv: Hypervisor) -> None:
    """Halt is answered JUMP_REL."""
    hv.image.retype(NUMBERS["Halt"], JUMP_REL)


@mutant("InvalPage-is-NOP", violates="vmi.relocation.nop-means-nothing")
def _(hv: Hypervisor) -> None:
    """InvalPage is answered NOP though it is needed."""
    hv.image.retype(NUMBERS["InvalPage"], NOP)


@mutant("EnableInterrupts-is-NOP", violates="vmi.relocation.nop-means-nothing")
def _(hv: Hypervisor) -> None:
    """EnableInterrupts is answered NOP though it is needed."""
    hv.image.retype(NUMBERS["EnableInterrupts"], NOP)


@mutant("GetCR3-is-NOP", violates="vmi.relocation.nop-not-for-results")
def _(hv: Hypervisor) -> None:
    """GetCR3 is answered NOP."""
    hv.image.retype(NUMBERS["GetCR3"], NOP)


@mutant("SYSEXIT-withheld", violates="vmi.relocation.transfer-offered")
def _(hv: Hypervisor) -> None:
    """SYSEXIT is answered NONE."""
    hv.image.withhold(NUMBERS["SYSEXIT"])
