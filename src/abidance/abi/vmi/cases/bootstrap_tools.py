# SPDX-License-Identifier: BSD-2-Clause
"""What the cases on bootstrap share: relocation types, and VMI_Init as the test kernel saw it.
Declares no case."""

from __future__ import annotations

from abidance.abi.vmi.cases.interrupts_tools import Code
from abidance.abi.vmi.constants import IF
from abidance.abi.vmi.guest import VmiGuest
from abidance.suite.state import Registers

__all__ = ["CALLS", "CALL_REL", "JUMP_REL", "NONE", "NOP", "NULL", "REACHABLE", "RPL", "SEGMENTS", "TYPE",
           "init_registers", "init_status", "transfer_works_at"]

NONE, CALL_REL, JUMP_REL, NOP = range(4)
REACHABLE = (CALL_REL, JUMP_REL)
TYPE = 0xFF
"""The bits of EDX that hold the type."""
CALLS = 74
RPL, NULL = 3, 0xFFFC
"""The privilege bits of a selector; the bits that are all clear in a null selector."""
SEGMENTS = ("cs", "ss", "ds", "es", "fs", "gs")
WORD = 0xFFFF_FFFF


def init_registers(g: VmiGuest) -> tuple[Registers, Registers]:
    """The registers at the call of VMI_Init and afterwards. That it was called is a precondition, that
    it came back is expected."""
    g.require("init.outcome" in g.hello, "an image was found and VMI_Init was called")
    if g.hello.number("init.outcome"):
        vector, where = g.hello.number("init.vector"), g.hello.number("init.fault_eip")
        g.violated("VMI_Init comes back to its caller", "a return", f"a fault {vector} at {where:#x}")
    before, after = (_registers(g, name) for name in ("init.before", "init.after"))
    return before, after


def init_status(g: VmiGuest) -> int:
    """What VMI_Init returned."""
    return init_registers(g)[1].eax


def transfer_works_at(g: VmiGuest, entry: str, kind: int, address: int, flag: int) -> None:
    """Reach IRET or SYSEXIT by code of the case's own, by call or jump as the type says, at this address:
    expect the user's code and stack, and the flag set, whatever it was before (`flag`: IF or 0)."""
    esp, eip = g.user_stack - 0x60, g.fragment("user.stop")
    code = Code(g)
    if entry == "IRET":
        for word in (g.selector("user.ds"), esp, IF | 2, g.selector("user.cs"), eip):
            code.raw(b"\x68" + word.to_bytes(4, "little"))
    opcode = b"\xE8" if kind == CALL_REL else b"\xE9"
    code.raw(opcode + ((address - code.here - 5) & WORD).to_bytes(4, "little")).place()
    user = g.selector("user.ds")
    if flag:
        g.interrupts_on()
    else:
        g.interrupts_off()
    state = g.execute(code.base, edx=eip, ecx=esp, ds=user, es=user, fs=user, gs=user)
    if g.expect_stopped(state, f"{entry} at {address:#x} arrives in user code"):
        g.expect_equal(state.eip, eip + 2, f"EIP behind {entry}")
        g.expect_equal(state.esp, esp, f"ESP behind {entry}")
        g.expect_equal(state.cs & RPL, 3, f"the RPL of CS behind {entry}")
        g.expect_equal(state.eflags, IF, f"the flag behind {entry}", mask=IF)


def _registers(g: VmiGuest, name: str) -> Registers:
    blob = g.hello.blob(name)
    values = [int.from_bytes(blob[at:at + 8], "little") & WORD for at in range(0, len(blob), 8)]
    return Registers(g.registers, values)
