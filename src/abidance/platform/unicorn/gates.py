# SPDX-License-Identifier: BSD-2-Clause
"""Delivers interrupts and exceptions through the guest's IDT, as an i386 does in hardware.

Interrupt and trap gates of 16 and 32 bits: gate and segment checks with their error codes, the
stack switch to an inner ring (or out of virtual-8086 mode), the pushed frame and error code, the
flags that are cleared, double fault and triple fault. The checks come before anything changes, so
that a fault in a delivery is itself delivered from the state before it.

What differs between a bare PC and a guest of a hypervisor is behind `Environment`: how linear
addresses are translated, where the tables lie, which stack an inner ring has, where CR2 lives, and
what the interrupt flag is.

Not done: task gates (a machine check would be no more faithful; the guest crashes with that
reason), segment limits of the stack.

Facts: Intel SDM volume 3, "Interrupt and exception handling": "IDT descriptors", "Exception- and
interrupt-handler procedures", "Error code", vector 8's table of double-fault conditions; volume 2,
INT n operation.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import Enum
from typing import TYPE_CHECKING, Protocol

from abidance.errors import GuestCrashed
from abidance.platform.unicorn.engine import CS, DS, EFLAGS, EIP, ES, ESP, FS, GS, SS
from abidance.platform.unicorn.walk import Fault

if TYPE_CHECKING:
    from abidance.platform.unicorn.cpu import Cpu

__all__ = [
    "DF", "GP", "IF", "IOPL", "NP", "NT", "PF", "RF", "SF", "TF", "TS", "VM", "Environment", "Event", "Kind",
    "deliver",
]

DF, TS, NP, SF, GP, PF = 8, 10, 11, 12, 13, 14
TF, IF, IOPL, NT, RF, VM = 1 << 8, 1 << 9, 3 << 12, 1 << 14, 1 << 16, 1 << 17
WITH_ERROR_CODE = frozenset({DF, TS, NP, SF, GP, PF, 17})
_CONTRIBUTORY = frozenset({0, TS, NP, SF, GP})
_FAULTS = frozenset({0, 5, 6, 7, TS, NP, SF, GP, PF, 16, 17, 19})
_EXTERNAL, _IN_IDT = 1, 2
_PRESENT, _CODE, _CONFORMING, _WRITABLE, _SEGMENT = 0x80, 0x08, 0x04, 0x02, 0x10


class Kind(Enum):
    """Where an event comes from; it decides the DPL check, the EXT bit and the saved EIP."""

    SOFTWARE = "int, int3, into"
    EXCEPTION = "exception"
    EXTERNAL = "interrupt line"


@dataclass(frozen=True)
class Event:
    """What is to be delivered. `error` is pushed if the vector has an error code; `address` goes to
    CR2 for vector 14."""

    vector: int
    kind: Kind
    error: int = 0
    address: int = 0


class Environment(Protocol):
    """What a delivery needs to know of the machine around the CPU."""

    def translate(self, linear: int, *, write: bool, user: bool) -> int:
        """The physical address; raises Fault(14)."""

    def gdt(self) -> tuple[int, int]:
        """Linear base and limit of the GDT whose descriptors the CPU uses."""

    def ldt(self) -> tuple[int, int]:
        """Linear base and limit of the LDT; limit 0 if there is none."""

    def idt(self) -> tuple[int, int]:
        """Linear base and limit of the guest's IDT."""

    def inner_stack(self, ring: int) -> tuple[int, int]:
        """SS and ESP for `ring`, from the TSS or what stands for it; raises Fault(TS)."""

    def set_fault_address(self, linear: int) -> None:
        """CR2, before a page fault is delivered."""

    def image(self, flags: int) -> int:
        """The EFLAGS to push, given the register."""

    def mask(self, flags: int) -> int:
        """Turn interrupts off, as an interrupt gate does; returns the EFLAGS register to go on with."""


@dataclass(frozen=True)
class _Gate:
    selector: int
    offset: int
    wide: bool
    masks: bool


@dataclass(frozen=True)
class _Entry:
    """A delivery that passed all checks: where to go and what to push."""

    gate: _Gate
    ring: int
    frame: list[int]
    ss: int
    esp: int
    switched: bool


def deliver(cpu: Cpu, environment: Environment, event: Event) -> None:
    """Make `cpu` stand at the guest's handler. For a software event the EIP register is the address
    after the instruction. Raises GuestCrashed at a triple fault."""
    where = f"{cpu.regs[CS]:#x}:{cpu.regs[EIP]:#x}"
    history = [event.vector]
    while True:
        try:
            _deliver(cpu, environment, event)
        except Fault as fault:
            if event.kind is Kind.SOFTWARE:
                cpu.regs[EIP] = cpu.software_start(event.vector)
            history.append(fault.vector)
            event = _escalate(event, fault, where, history)
        else:
            return


def _escalate(first: Event, second: Fault, where: str, history: list[int]) -> Event:
    """What a fault in the delivery of `first` becomes (the table of double-fault conditions)."""
    serious = second.vector in _CONTRIBUTORY
    if first.kind is Kind.EXCEPTION:
        if first.vector == DF and (serious or second.vector == PF):
            raise GuestCrashed(f"triple fault at {where}: vectors {', '.join(map(str, history))}")
        if (serious and first.vector in _CONTRIBUTORY | {PF}) or first.vector == second.vector == PF:
            history.append(DF)
            return Event(DF, Kind.EXCEPTION)
    if len(history) > 8:
        raise GuestCrashed(f"endless faults at {where}: vectors {', '.join(map(str, history))}")
    return Event(second.vector, Kind.EXCEPTION, second.error or 0, second.address)


def _deliver(cpu: Cpu, environment: Environment, event: Event) -> None:
    if event.vector == PF and event.kind is Kind.EXCEPTION:
        environment.set_fault_address(event.address)
    external = 0 if event.kind is Kind.SOFTWARE else _EXTERNAL
    gate = _gate(cpu, event, external)
    entry = _prepare(cpu, environment, event, gate, external)
    _push(cpu, entry)
    _enter(cpu, environment, entry)


def _gate(cpu: Cpu, event: Event, external: int) -> _Gate:
    base, limit = cpu.environment.idt()
    selector = event.vector * 8 | _IN_IDT
    if event.vector * 8 + 7 > limit:
        raise Fault(GP, selector | external)
    low, high = cpu.load_pair(base + event.vector * 8)
    kind = high >> 8 & 0x1F
    if kind == 0x05:
        raise GuestCrashed(f"vector {event.vector} has a task gate, which this CPU model does not carry out")
    if kind not in {0x06, 0x07, 0x0E, 0x0F}:
        raise Fault(GP, selector | external)
    if event.kind is Kind.SOFTWARE and (high >> 13 & 3) < cpu.cpl:
        raise Fault(GP, selector)
    if not high & 0x8000:
        raise Fault(NP, selector | external)
    wide = kind >= 0x0E
    offset = low & 0xFFFF | (high & 0xFFFF0000 if wide else 0)
    return _Gate(low >> 16, offset, wide, kind in {0x06, 0x0E})


def _prepare(cpu: Cpu, environment: Environment, event: Event, gate: _Gate, external: int) -> _Entry:
    """Check the target code segment and choose the stack."""
    if not gate.selector & 0xFFFC:
        raise Fault(GP, external)
    code = cpu.descriptor(gate.selector, GP, external)
    access = code[1] >> 8
    ring = access >> 5 & 3
    wrong = gate.selector & 0xFFFC | external
    if access & (_SEGMENT | _CODE) != _SEGMENT | _CODE or ring > cpu.cpl:
        raise Fault(GP, wrong)
    if not access & _PRESENT:
        raise Fault(NP, wrong)
    regs, virtual = cpu.regs, bool(cpu.regs[EFLAGS] & VM)
    if access & _CONFORMING:
        ring = cpu.cpl
    if virtual and ring != cpu.kernel_ring:
        raise Fault(GP, wrong)
    frame = [] if not virtual else [regs[GS], regs[FS], regs[DS], regs[ES]]
    ss, esp = regs[SS], regs[ESP]
    switched = ring < cpu.cpl
    if switched:
        frame += [ss, esp]
        ss, esp = environment.inner_stack(ring)
        ss = _check_stack(cpu, ss, ring, external)
    flags = environment.image(regs[EFLAGS])
    if event.kind is Kind.EXCEPTION and event.vector in _FAULTS:
        flags |= RF
    frame += [flags, regs[CS], regs[EIP]]
    if event.kind is Kind.EXCEPTION and event.vector in WITH_ERROR_CODE:
        frame.append(event.error)
    return _Entry(gate, ring, frame, ss, esp, switched)


def _check_stack(cpu: Cpu, ss: int, ring: int, external: int) -> int:
    """The stack segment of an inner ring must fit it exactly."""
    wrong = ss & 0xFFFC | external
    if not ss & 0xFFFC:
        raise Fault(TS, wrong)
    high = cpu.descriptor(ss, TS, external)[1]
    access = high >> 8
    if ss & 3 != ring or access >> 5 & 3 != ring:
        raise Fault(TS, wrong)
    if access & (_SEGMENT | _CODE | _WRITABLE) != _SEGMENT | _WRITABLE:
        raise Fault(TS, wrong)
    if not access & _PRESENT:
        raise Fault(SF, wrong)
    return ss


def _push(cpu: Cpu, entry: _Entry) -> None:
    """Store the frame. A 16-bit stack segment wraps at 64 KiB."""
    size = 4 if entry.gate.wide else 2
    limit = 0xFFFFFFFF
    base = 0
    if entry.ss & 0xFFFC and not (cpu.regs[EFLAGS] & VM and not entry.switched):
        low, high = cpu.descriptor(entry.ss, SF, 0)
        base = low >> 16 | (high & 0xFF) << 16 | high & 0xFF000000
        limit = 0xFFFFFFFF if high & 1 << 22 else 0xFFFF
    # Written as one block, so that a fault leaves the stack as it was and takes one walk.
    top = entry.esp - size * len(entry.frame) & limit
    data = b"".join((word & (1 << 8 * size) - 1).to_bytes(size, "little") for word in reversed(entry.frame))
    cpu.write_linear(base + top & 0xFFFFFFFF, data, user=entry.ring == 3)


def _enter(cpu: Cpu, environment: Environment, entry: _Entry) -> None:
    """Everything is checked and pushed: change the registers."""
    regs = cpu.regs
    size = 4 if entry.gate.wide else 2
    virtual = bool(regs[EFLAGS] & VM)
    flags = regs[EFLAGS] & ~(TF | NT | RF | VM)
    esp = entry.esp - size * len(entry.frame) & 0xFFFFFFFF
    cs = entry.gate.selector & 0xFFFC | entry.ring
    regs[EFLAGS] = environment.mask(flags) if entry.gate.masks else flags
    cpu.load_ring(entry.ring, cs, entry.ss, leave_virtual=virtual)
    regs[ESP], regs[EIP] = esp, entry.gate.offset
    if virtual:
        cpu.clear_data_segments()
