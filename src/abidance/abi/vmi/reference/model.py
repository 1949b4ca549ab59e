# SPDX-License-Identifier: BSD-2-Clause
"""Makes a reference hypervisor from a machine description: the embedded platform's factory.

Options of the machine:

    iret=call|jump   the relocation type of IRET and SYSEXIT (default call)
    withhold=N,M     answer these calls NONE (numbers)
    mutant=NAME      apply this mutant of `abidance.abi.vmi.mutants`
    cmdline=TEXT     the kernel's command line
"""

from __future__ import annotations

import struct

from unicorn import x86_const

from abidance.abi.vmi.reference.hypervisor import Hypervisor
from abidance.abi.vmi.reference.image import CALL_REL, JUMP_REL
from abidance.errors import UsageError
from abidance.platform import multiboot
from abidance.platform.base import Machine
from abidance.platform.model import Model
from abidance.platform.unicorn.engine import DS, EAX, EBX, EFLAGS, EIP, ES, FS, GS

__all__ = ["create", "model", "renew"]

_TRANSFERS = (33, 34)
_CALLS = 74
_FLAT_TABLE = 0x8000
_CODE, _DATA = 0x08, 0x10
_DESCRIPTORS = (0, 0x00CF9B000000FFFF, 0x00CF93000000FFFF)


def create(machine: Machine, doorbell: int) -> Hypervisor:
    """A machine with kernel and ROM loaded, at the kernel's entry. Raises UsageError, InputError."""
    if machine.cpus != 1:
        raise UsageError(f"the reference hypervisor has one CPU so far, not {machine.cpus}")
    roms = machine.role("option-rom")
    if len(roms) != 1:
        raise UsageError(f"the reference hypervisor needs its option ROM, this machine has {len(roms)}")
    hv = Hypervisor(machine.memory, roms[0].path.read_bytes(), doorbell)
    kernel = machine.kernel().path
    _start(hv, multiboot.load(kernel.read_bytes(), hv.ram, machine.option("cmdline"), name=str(kernel)))
    _options(hv, machine)
    return hv


model = create


def renew(hv: Model, machine: Machine) -> None:
    """Give a hypervisor that stands at its start another command line and a mutant. Raises UsageError,
    InputError."""
    if not isinstance(hv, Hypervisor):
        raise UsageError("not a reference hypervisor")
    multiboot.say(hv.ram, machine.option("cmdline"))
    _mutant(hv, machine)
    hv.forget_code(hv.memory.changed())


def _start(hv: Hypervisor, loaded: multiboot.Loaded) -> None:
    """Flat segments and the registers a Multiboot kernel starts with."""
    cpu = hv.vcpus[0].cpu
    hv.memory.write(_FLAT_TABLE, struct.pack("<3Q", *_DESCRIPTORS))
    cpu.engine.set(x86_const.UC_X86_REG_GDTR, (0, _FLAT_TABLE, 8 * len(_DESCRIPTORS) - 1, 0))
    cpu.load_ring(0, _CODE, _DATA)
    for register in (DS, ES, FS, GS):
        cpu.load_segment(register, _DATA)
    regs = cpu.regs
    regs[EAX], regs[EBX], regs[EIP], regs[EFLAGS] = multiboot.BOOT_MAGIC, loaded.info, loaded.entry, 2


def _options(hv: Hypervisor, machine: Machine) -> None:
    how = machine.option("iret", "call")
    if how not in {"call", "jump"}:
        raise UsageError(f"iret={how}: call or jump")
    for number in _TRANSFERS:
        hv.image.retype(number, CALL_REL if how == "call" else JUMP_REL)
    for text in filter(None, machine.option("withhold").split(",")):
        if not text.isdecimal() or int(text) >= _CALLS:
            raise UsageError(f"withhold={text}: a call number below {_CALLS}")
        hv.image.withhold(int(text))
    _mutant(hv, machine)


def _mutant(hv: Hypervisor, machine: Machine) -> None:
    name = machine.option("mutant")
    if name:
        _mutate(hv, name)


def _mutate(hv: Hypervisor, name: str) -> None:
    """Apply a declared mutant. The mutants are looked up only now: no hypervisor needs them."""
    from abidance.suite.load import load_mutants

    for one in load_mutants("abidance.abi.vmi.mutants"):
        if one.name == name and one.change is not None:
            one.change(hv)
            return
    raise UsageError(f"no mutant {name!r} of the reference hypervisor")
