# SPDX-License-Identifier: BSD-2-Clause
"""Mutants of what the templates stamp on entry points, one for each clause.

    preserves-ebx     EBX comes back as scratch
    preserves-esi     ESI has gone on by a word, as `lods` does
    preserves-edi     EDI has gone on by a word, as `stos` does
    preserves-ebp     EBP is a frame pointer that was not restored
    preserves-esp     the callee removes a word of the caller's stack (`ret 4`)
    preserves-segments   DS, ES, FS or GS, in turn over the calls, comes back null or flat
    preserves-eax, -ecx, -edx   the call uses the register as scratch, as other calls may
    needs-no-data-segments   the call goes through DS or ES, and faults where they are null
    writes-no-memory  the call uses the place of a stack argument, its caller's, as scratch

Calls that trap are changed in the hypervisor, those of ROM code (29 to 32, GetRelocationInfo, Init)
in the ROM.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING

from abidance.abi.vmi.mutants.changes import NUMBERS, Call, detour, detour_slot, wrap
from abidance.platform.unicorn.engine import DS, EBP, EBX, EDI, ES, ESI, ESP, FS, GS, SS
from abidance.platform.unicorn.gates import GP
from abidance.platform.unicorn.walk import Fault
from abidance.suite import mutant

if TYPE_CHECKING:
    from abidance.abi.vmi.reference.hypervisor import Hypervisor
    from abidance.abi.vmi.reference.vcpu import VirtualCpu

__all__: list[str] = []

_SLOTS = {"Init": 0x80, "GetRelocationInfo": 0x88}
_ROM_CALLS = ("EnableInterrupts", "DisableInterrupts", "GetInterruptMask", "SetInterruptMask")
_TRANSFERS = ("IRET", "SYSEXIT")
_TRAPPING = [name for name in NUMBERS if name not in {*_ROM_CALLS, *_TRANSFERS}]
_NO_MEMORY = ("UpdateKernelStack", "GetCR0", "GetCR2", "GetCR3", "GetCR4", "CLTS", "Halt", "UpdatePxE",
              "SetLinearMapping")
_SEGMENTS = {DS: "DS", ES: "ES", FS: "FS", GS: "GS"}
_RET = b"\xC3"

_SCRATCH = {
    "ebx": (lambda _vcpu: 0, "EBX comes back 0", EBX),
    "esi": (lambda vcpu: vcpu.cpu.regs[ESI] + 4, "ESI comes back 4 higher", ESI),
    "edi": (lambda vcpu: vcpu.cpu.regs[EDI] + 4, "EDI comes back 4 higher", EDI),
    "ebp": (lambda vcpu: vcpu.cpu.regs[ESP], "EBP comes back as the frame pointer of the call", EBP),
}
"""Register of calls that trap: what it becomes."""

_CODE = {
    "ebx": (b"\xBB\0\0\0\0" + _RET, "EBX comes back 0"),
    "esi": (b"\x8D\x76\x04" + _RET, "ESI comes back 4 higher"),
    "edi": (b"\x8D\x7F\x04" + _RET, "EDI comes back 4 higher"),
    "ebp": (b"\x89\xE5" + _RET, "EBP comes back as the frame pointer of the call"),
    "esp": (b"\xC2\x04\x00", "the call removes 4 bytes of its caller's stack"),
    "eax": (b"\xB8\0\x02\0\0" + _RET, "EAX comes back as scratch"),
    "ecx": (b"\x59\x51" + _RET, "ECX comes back as the return address"),
    "edx": (b"\xBA\0\0\0\xFC" + _RET, "EDX comes back as the address of the shared page"),
}
"""The same for calls of ROM code: instructions after the original routine; no flag is changed."""


def _changed(change: Callable[[Hypervisor], None], summary: str) -> Callable[[Hypervisor], None]:
    def apply(hv: Hypervisor) -> None:
        change(hv)
    apply.__doc__ = summary
    return apply


def _after(entry: str, effect: Call) -> Callable[[Hypervisor], None]:
    """A change: a trapping call does something more before it returns."""
    def make(original: Call) -> Call:
        def call(vcpu: VirtualCpu) -> None:
            original(vcpu)
            effect(vcpu)
        return call
    return lambda hv: wrap(hv, entry, make)


def _before(entry: str, check: Call) -> Callable[[Hypervisor], None]:
    """A change: a call, made to trap, first does something more."""
    def make(original: Call) -> Call:
        def call(vcpu: VirtualCpu) -> None:
            check(vcpu)
            original(vcpu)
        return call

    def change(hv: Hypervisor) -> None:
        if entry in _ROM_CALLS:
            hv.image.trap(NUMBERS[entry])
        wrap(hv, entry, make)
    return change


def _in_rom(entry: str, code: bytes) -> Callable[[Hypervisor], None]:
    """A change: ROM code after the routine."""
    if entry in _SLOTS:
        return lambda hv: detour_slot(hv, _SLOTS[entry], code)
    return lambda hv: detour(hv, entry, code)


def _declare(entry: str, clause: str, suffix: str, change: Callable[[Hypervisor], None],
             summary: str) -> None:
    mutant(f"{entry}-{suffix}", violates=f"vmi.{entry}.{clause}")(_changed(change, f"{entry}: {summary}."))


def _set(register: int, value: Callable[[VirtualCpu], int]) -> Call:
    def effect(vcpu: VirtualCpu) -> None:
        vcpu.cpu.regs[register] = value(vcpu) & 0xFFFFFFFF
    return effect


def _segment(register: int) -> Call:
    """Null, or flat where it was null."""
    def effect(vcpu: VirtualCpu) -> None:
        regs = vcpu.cpu.regs
        vcpu.cpu.load_segment(register, 0 if regs[register] & 0xFFFC else regs[SS])
    return effect


def _segment_code(register: int) -> bytes:
    """The same as ROM code: only null. It needs EAX, and keeps it."""
    move = {DS: 0xD8, ES: 0xC0, FS: 0xE0, GS: 0xE8}[register]
    return b"\x50\xB8\0\0\0\0\x8E" + bytes((move,)) + b"\x58" + _RET


def _scratch_argument(vcpu: VirtualCpu) -> None:
    """Store something above the return address."""
    at = vcpu.cpu.regs[ESP] + 4 & 0xFFFFFFFF
    vcpu.cpu.write_linear(at, (vcpu.read32(at) ^ 0xFFFFFFFF).to_bytes(4, "little"))


def _scratch_beyond_arguments(vcpu: VirtualCpu) -> None:
    """Clear the place of a second stack argument, which SetLinearMapping does not have."""
    vcpu.cpu.write_linear(vcpu.cpu.regs[ESP] + 8 & 0xFFFFFFFF, bytes(4))


def _needs(register: int) -> Call:
    """What enforcing hardware does when code goes through a null segment."""
    def check(vcpu: VirtualCpu) -> None:
        if not vcpu.cpu.regs[register] & 0xFFFC:
            raise Fault(GP, 0)
    return check


for _entry in _TRAPPING:
    for _name, (_new, _summary, _register) in _SCRATCH.items():
        _declare(_entry, f"preserves-{_name}", f"clobbers-{_name}", _after(_entry, _set(_register, _new)),
                 _summary)
    _code, _summary = _CODE["esp"]
    _declare(_entry, "preserves-esp", "clobbers-esp", _in_rom(_entry, _code), _summary)

for _entry in (*_SLOTS, *_ROM_CALLS):
    for _name in ("ebx", "esi", "edi", "ebp", "esp"):
        _code, _summary = _CODE[_name]
        _declare(_entry, f"preserves-{_name}", f"clobbers-{_name}", _in_rom(_entry, _code), _summary)

for _entry in _ROM_CALLS:
    for _name in ("eax", "ecx", "edx"):
        if (_entry, _name) != ("GetInterruptMask", "eax"):
            _code, _summary = _CODE[_name]
            _declare(_entry, f"preserves-{_name}", f"clobbers-{_name}", _in_rom(_entry, _code), _summary)

for _index, _entry in enumerate(_TRAPPING):
    _register = list(_SEGMENTS)[_index % 4]
    _declare(_entry, "preserves-segments", f"clobbers-{_SEGMENTS[_register].lower()}",
             _after(_entry, _segment(_register)),
             f"{_SEGMENTS[_register]} comes back null, or flat if it was null")

for _index, _entry in enumerate((*_ROM_CALLS, "GetRelocationInfo")):
    _register = (ES, DS, ES, DS, ES)[_index]
    _declare(_entry, "preserves-segments", f"clobbers-{_SEGMENTS[_register].lower()}",
             _in_rom(_entry, _segment_code(_register)), f"{_SEGMENTS[_register]} comes back null")

for _entry in (*_ROM_CALLS, *_TRANSFERS):
    for _register in (DS, ES):
        _declare(_entry, "needs-no-data-segments", f"goes-through-{_SEGMENTS[_register].lower()}",
                 _before(_entry, _needs(_register)),
                 f"the call goes through {_SEGMENTS[_register]} and raises vector 13 if it is null")

for _entry in _NO_MEMORY:
    _declare(_entry, "writes-no-memory", "scratches-stack", _before(_entry, _scratch_argument),
             "the word above the return address is used as scratch")

for _entry in (*_ROM_CALLS, "GetRelocationInfo"):
    # notl 4(%esp)
    _declare(_entry, "writes-no-memory", "scratches-stack", _in_rom(_entry, b"\xF7\x54\x24\x04" + _RET),
             "the word above the return address is used as scratch")

_declare("SetLinearMapping", "writes-no-memory", "scratches-beyond-arguments",
         _before("SetLinearMapping", _scratch_beyond_arguments),
         "the word after its argument is taken for the high half of the frame number, and cleared")
