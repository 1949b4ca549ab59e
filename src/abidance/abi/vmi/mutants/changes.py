# SPDX-License-Identifier: BSD-2-Clause
"""Ways to change a fresh reference hypervisor: what the mutants here are made with.

    instead     another method in place of one, given the original
    wrap        the same for a call, by name; argument, result, afterwards for the simple cases
    detour      ROM code around a call that does not trap
    without     a value with some bits clear
    notes       a mutant's own state, saved and restored with the hypervisor
    orphan      leave shadow entries in force that nothing will find again

State that a mutant keeps must be in `notes`, or one case would disturb the next.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from abidance.abi.vmi.reference.image import CALL_REL
from abidance.platform.unicorn.engine import EAX
from abidance.platform.unicorn.walk import Fault, Mapping

if TYPE_CHECKING:
    from abidance.abi.vmi.reference.hypervisor import Hypervisor
    from abidance.abi.vmi.reference.vcpu import VirtualCpu

__all__ = [
    "NUMBERS", "Call", "absent_pages", "afterwards", "argument", "detour", "detour_slot", "instead",
    "look_up", "notes", "nothing", "old_entry", "orphan", "physical", "result", "without", "wrap",
]

Call = Callable[["VirtualCpu"], None]

NUMBERS = {
    "UpdateKernelStack": 14, "SetCR0": 15, "SetCR2": 16, "SetCR3": 17, "SetCR4": 18, "GetCR0": 19,
    "GetCR2": 20, "GetCR3": 21, "GetCR4": 22, "CLTS": 28, "EnableInterrupts": 29, "DisableInterrupts": 30,
    "GetInterruptMask": 31, "SetInterruptMask": 32, "IRET": 33, "SYSEXIT": 34, "Halt": 35, "SetPxE": 38,
    "UpdatePxE": 40, "InvalPage": 46, "FlushTLB": 47, "SetLinearMapping": 48, "SetLazyMode": 73,
}
"""The calls that the reference offers."""

_UNUSED = 49
"""The first of 24 stubs in a row (96 bytes) of calls that are not offered: room for code."""


def instead(owner: Any, name: str, make: Callable[[Any], Callable[..., Any]]) -> None:
    """Replace the method `name` of one object by what `make` returns for the original."""
    setattr(owner, name, make(getattr(owner, name)))


def wrap(hv: Hypervisor, entry: str, make: Callable[[Call], Call]) -> None:
    """Replace a trapping call by what `make` returns for the original."""
    number = NUMBERS[entry]
    hv.calls[number] = make(hv.calls[number])


def without(value: int, bits: int) -> int:
    """`value` with `bits` clear (`~` of an `IntFlag` knows only the bits that have names)."""
    return value & ~int(bits) & 0xFFFFFFFF


def nothing(vcpu: VirtualCpu) -> None:
    """A call that returns without doing anything."""
    del vcpu


def argument(hv: Hypervisor, entry: str, change: Callable[[VirtualCpu, int], int]) -> None:
    """Let a call see another value in EAX; EAX may be clobbered anyway."""
    def make(original: Call) -> Call:
        def call(vcpu: VirtualCpu) -> None:
            vcpu.cpu.regs[EAX] = change(vcpu, vcpu.cpu.regs[EAX]) & 0xFFFFFFFF
            original(vcpu)
        return call
    wrap(hv, entry, make)


def result(hv: Hypervisor, entry: str, change: Callable[[VirtualCpu, int], int]) -> None:
    """Let a call return another value in EAX."""
    def make(original: Call) -> Call:
        def call(vcpu: VirtualCpu) -> None:
            original(vcpu)
            vcpu.cpu.regs[EAX] = change(vcpu, vcpu.cpu.regs[EAX]) & 0xFFFFFFFF
        return call
    wrap(hv, entry, make)


def afterwards(hv: Hypervisor, entry: str, effect: Callable[[VirtualCpu, int], None]) -> None:
    """Let a call do something more; `effect` gets the EAX of the call."""
    def make(original: Call) -> Call:
        def call(vcpu: VirtualCpu) -> None:
            given = vcpu.cpu.regs[EAX]
            original(vcpu)
            effect(vcpu, given)
        return call
    wrap(hv, entry, make)


def detour(hv: Hypervisor, entry: str, after: bytes) -> None:
    """Answer a call with ROM code that calls the original routine, then executes `after`, which has
    to return."""
    number, at = NUMBERS[entry], hv.image.stub(_UNUSED)
    _, routine = hv.image.relocation(number)
    hv.image.patch(at, b"\xE8" + (routine - at - 5 & 0xFFFFFFFF).to_bytes(4, "little") + after)
    hv.image.offer(number, CALL_REL, at)


def detour_slot(hv: Hypervisor, slot: int, after: bytes) -> None:
    """The same for the jump at offset `slot` of the header (80h Init, 88h GetRelocationInfo)."""
    target = slot + 5 + int.from_bytes(hv.image.read(slot + 1, 4), "little", signed=True)
    at = hv.image.stub(_UNUSED)
    hv.image.patch(at, b"\xE8" + (target - at - 5 & 0xFFFFFFFF).to_bytes(4, "little") + after)
    hv.image.patch(slot + 1, (at - slot - 5 & 0xFFFFFFFF).to_bytes(4, "little"))


def notes(hv: Hypervisor) -> dict[Any, Any]:
    """A dictionary of values that do not change, saved and restored with everything else."""
    store: dict[Any, Any] = {}

    def snapshot(original: Callable[[], object]) -> Callable[[], object]:
        return lambda: (original(), dict(store))

    def restore(original: Callable[[object], None]) -> Callable[[object], None]:
        def both(snap: Any) -> None:
            original(snap[0])
            store.clear()
            store.update(snap[1])
        return both

    instead(hv, "snapshot", snapshot)
    instead(hv, "restore", restore)
    return store


def physical(vcpu: VirtualCpu, linear: int) -> int:
    """Where an entry lies. Raises Fault."""
    return vcpu.translate(linear, write=True, user=False) & ~3


def old_entry(vcpu: VirtualCpu, linear: int) -> int:
    """What an entry holds. Raises Fault."""
    return vcpu.shadow.memory.load(physical(vcpu, linear))


def orphan(hv: Hypervisor) -> Callable[[VirtualCpu, int], None]:
    """A function that, for the guest entry at a physical address, forgets what was made from it and
    leaves the shadow entries in force: no invalidation finds them any more."""
    shadow = hv.vcpus[0].shadow

    def restore(original: Callable[[object], None]) -> Callable[[object], None]:
        def clean(snap: object) -> None:
            for page in lost:
                shadow._entries[page] = 0
            lost.clear()
            original(snap)
        return clean

    def forget(vcpu: VirtualCpu, at: int) -> None:
        for page in list(vcpu.shadow._users.get(at & ~3, ())):
            vcpu.shadow._forget(page)
            lost.add(page)

    lost: set[int] = set()
    instead(hv, "restore", restore)
    return forget


def look_up(hv: Hypervisor, change: Callable[[Callable[[], Mapping], int, bool, bool], Mapping]) -> None:
    """Change how guest tables are read for a shadow entry: `change` gets the original walk, the
    linear address, whether it is a write, and whether it comes from CPL 3. May raise Fault."""
    def make(original: Callable[..., Mapping]) -> Callable[..., Mapping]:
        def walk(linear: int, *, write: bool, user: bool) -> Mapping:
            return change(lambda: original(linear, write=write, user=user), linear, write, user)
        return walk
    instead(hv.vcpus[0].shadow, "look_up", make)


def absent_pages(hv: Hypervisor, told_by: str) -> dict[Any, Any]:
    """Let the hypervisor remember pages that have been found not present, and not look at the
    guest's tables again; InvalPage, FlushTLB, SetCR3 and its method `told_by` make it forget. The
    pages it remembers are the keys of the result."""
    absent = notes(hv)

    def remember(walk: Callable[[], Mapping], linear: int, write: bool, user: bool) -> Mapping:
        if linear >> 12 in absent:
            raise Fault(14, write << 1 | user << 2, linear)
        try:
            return walk()
        except Fault as fault:
            if not (fault.error or 0) & 1:
                absent[linear >> 12] = True
            raise

    def forgets(original: Callable[..., None]) -> Callable[..., None]:
        def call(*arguments: int) -> None:
            absent.clear()
            original(*arguments)
        return call

    def forgets_one(original: Callable[[int], None]) -> Callable[[int], None]:
        def call(linear: int) -> None:
            absent.pop(linear >> 12, None)
            original(linear)
        return call

    look_up(hv, remember)
    instead(hv.vcpus[0].shadow, "flush", forgets)
    instead(hv.vcpus[0].shadow, "invalidate", forgets_one)
    instead(hv, told_by, forgets)
    return absent
