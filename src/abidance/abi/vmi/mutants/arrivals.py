# SPDX-License-Identifier: BSD-2-Clause
"""Where a guest arrives: handlers, contexts that IRET resumes, routines of the ROM.

    after_delivery   change what the guest finds when a handler has been entered
    after_iret       change the context that IRET has just resumed
    iret_flag        another rule for the virtual flag that IRET leaves
    routine          a call answered by other ROM code
    pretend          exchange one method of an object while a call is carried out
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from abidance.abi.vmi.mutants.changes import NUMBERS, Call, instead, wrap
from abidance.abi.vmi.reference.image import CALL_REL, SERVE
from abidance.abi.vmi.reference.transfers import _site
from abidance.platform.unicorn.engine import CS, EIP, ESP
from abidance.platform.unicorn.gates import WITH_ERROR_CODE
from abidance.platform.unicorn.walk import Fault

if TYPE_CHECKING:
    from abidance.abi.vmi.reference.hypervisor import Hypervisor
    from abidance.abi.vmi.reference.vcpu import VirtualCpu

__all__ = [
    "CARRY_TO_OVERFLOW", "DIRECTION", "MASK", "Delivery", "Frame", "after_delivery", "after_iret",
    "iret_flag", "nth_word", "pretend", "put_word", "routine", "serving", "words",
]

MASK = (0xFC000000).to_bytes(4, "little")
"""The linear address of the virtual flag, as the ROM's code names it."""

CARRY_TO_OVERFLOW = 0x8D5
"""CF PF AF ZF SF OF."""

DIRECTION = 0x400
_FREE = 49
_IRET = NUMBERS["IRET"]


@dataclass(frozen=True)
class Delivery:
    """A handler has been entered: for which vector, from which ring, with ESP and EIP as they were."""

    vcpu: VirtualCpu
    vector: int
    ring: int
    esp: int
    eip: int
    external: bool

    @property
    def code(self) -> bool:
        """Whether the frame begins with an error code."""
        return not self.external and self.vector in WITH_ERROR_CODE


def after_delivery(hv: Hypervisor, change: Callable[[Delivery], None]) -> None:
    """Call `change` each time a guest in paravirtual mode has been brought to a handler."""
    vcpu = hv.vcpus[0]
    cpu = vcpu.cpu

    def around(original: Callable[..., None], vector: Callable[..., int],
               external: Callable[[], bool]) -> Callable[..., None]:
        def call(*arguments: Any) -> None:
            if not vcpu.active:
                original(*arguments)
                return
            made = Delivery(vcpu, vector(*arguments), cpu.cpl, cpu.regs[ESP], cpu.regs[EIP],
                            external())
            original(*arguments)
            change(made)
        return call

    instead(cpu, "interrupt", lambda original: around(original, lambda vector: vector, lambda: True))
    instead(cpu, "reflect", lambda original: around(original, lambda: cpu.vector,
                                                       lambda: bool(cpu.software)))
    instead(vcpu, "deliver", lambda original: around(original, lambda fault: fault.vector,
                                                      lambda: False))


def words(vcpu: VirtualCpu, count: int) -> list[int]:
    """The words on the stack, from ESP upwards."""
    return [nth_word(vcpu, index) for index in range(count)]


def nth_word(vcpu: VirtualCpu, index: int) -> int:
    """One word of the stack."""
    return vcpu.read32(vcpu.cpu.regs[ESP] + 4 * index)


def put_word(vcpu: VirtualCpu, index: int, value: int) -> None:
    """Replace one word of the stack."""
    at = vcpu.cpu.regs[ESP] + 4 * index & 0xFFFFFFFF
    vcpu.cpu.write_linear(at, (value & 0xFFFFFFFF).to_bytes(4, "little"))


@dataclass(frozen=True)
class Frame:
    """What IRET is given, and where it stands."""

    at: int
    eip: int
    cs: int
    eflags: int


def after_iret(hv: Hypervisor, change: Callable[[VirtualCpu, Frame], None]) -> None:
    """Call `change` each time IRET has resumed a context (not when it faulted)."""
    def make(original: Call) -> Call:
        def iret(vcpu: VirtualCpu) -> None:
            try:
                at = _site(vcpu, _IRET)[1]
                frame = Frame(at, *(vcpu.read32(at + offset) for offset in (0, 4, 8)))
            except Fault:
                original(vcpu)
                return
            original(vcpu)
            regs = vcpu.cpu.regs
            if regs[EIP] == frame.eip and (regs[CS] ^ frame.cs) & 0xFFFC == 0:
                change(vcpu, frame)
        return iret
    wrap(hv, "IRET", make)


def iret_flag(hv: Hypervisor, rule: Callable[[VirtualCpu, bool], bool]) -> None:
    """IRET leaves the virtual flag as `rule` says, which gets what the frame asks for; the context has
    been resumed already."""
    def make(original: Call) -> Call:
        def iret(vcpu: VirtualCpu) -> None:
            def restore(_: VirtualCpu, enabled: bool) -> None:
                vcpu.flag.enabled = rule(vcpu, enabled)
            with pretend(hv, "restore_flag", restore):
                original(vcpu)
        return iret
    wrap(hv, "IRET", make)


@contextmanager
def pretend(owner: Any, name: str, other: Callable[..., Any]) -> Iterator[None]:
    """Another method of `owner` for a while."""
    before = getattr(owner, name)
    setattr(owner, name, other)
    try:
        yield
    finally:
        setattr(owner, name, before)


def serving(hv: Hypervisor, then: Callable[[VirtualCpu], None]) -> None:
    """Call `then` when the ROM has trapped because interrupts were enabled while one waits."""
    def make(original: Call) -> Call:
        def software(vcpu: VirtualCpu) -> None:
            served = hv._stub(vcpu) == SERVE
            original(vcpu)
            if served:
                then(vcpu)
        return software
    instead(hv, "_software", make)


def routine(hv: Hypervisor, entry: str, *code: str | int | bytes) -> None:
    """Answer a call with ROM code: bytes, strings of hexadecimal bytes, and offsets in the image that
    the jump or call before them leads to (32-bit relative)."""
    at = hv.image.stub(_FREE)
    made = b""
    for part in code:
        if isinstance(part, int):
            made += (part - at - len(made) - 4 & 0xFFFFFFFF).to_bytes(4, "little")
        else:
            made += bytes.fromhex(part) if isinstance(part, str) else part
    hv.image.patch(at, made)
    hv.image.offer(NUMBERS[entry], CALL_REL, at)
