# SPDX-License-Identifier: BSD-2-Clause
"""Whether a C compiler for 32-bit x86 can call an entry point: the calling convention regparm(3).

Arguments go to EAX, EDX and ECX in this order and then to the stack from 4(%esp) at entry upwards; one of 64
bits takes the next two places, low word first, and goes to the stack whole if two registers are not left.
Results come back in EAX, of 64 bits in EDX:EAX. EAX, EDX, ECX and the flags may change, nothing else.
"""

from __future__ import annotations

from abidance.spec import EntryPoint, Operand, Specification

__all__ = ["in_pair", "obstacle", "offered"]

REGISTERS = ("EAX", "EDX", "ECX")
_MAY_CHANGE = {"EAX", "EDX", "ECX", "EFLAGS"}


def offered(spec: Specification) -> bool:
    """Whether the convention exists on the guest's CPU at all."""
    widths = {item.name: item.bits for item in spec.registers}
    return all(widths.get(name) == 32 for name in REGISTERS) and widths.get("RAX") is None


def obstacle(entry: EntryPoint) -> str:
    """Why no C function type can describe `entry`; "" if one can."""
    if entry.prototype_unknown:
        return "its prototype is unknown"
    for item, place in zip(entry.inputs, _argument_places(entry.inputs), strict=True):
        if item.where.replace(" ", "") != place:
            return f"{item.name} is in {item.where}, where C would pass it in {place}"
    if len(entry.results) > 1 and not in_pair(entry):
        return f"it has {len(entry.results)} results"
    for item in entry.results[:1]:
        wanted = "EDX:EAX" if item.bits > 32 else "EAX"
        if item.where.replace(" ", "") != wanted:
            return f"its result is in {item.where}, where C would look in {wanted}"
    changed = set(entry.clobbers) - _MAY_CHANGE
    return f"it may change {', '.join(sorted(changed))}" if changed else ""


def in_pair(entry: EntryPoint) -> bool:
    """Whether two results come back as the low and the high half of one 64-bit value."""
    return [item.where for item in entry.results] == ["EAX", "EDX"]


def _argument_places(inputs: tuple[Operand, ...]) -> list[str]:
    """Where the convention puts these arguments."""
    free, stack, places = list(REGISTERS), 4, list[str]()
    for item in inputs:
        words = 2 if item.bits > 32 else 1
        if len(free) >= words:
            taken, free = free[:words], free[words:]
        else:
            free = []
            taken = [f"stack+{stack + 4 * index}" for index in range(words)]
            stack += 4 * words
        places.append(":".join(reversed(taken)))
    return places
