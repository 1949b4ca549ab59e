# SPDX-License-Identifier: BSD-2-Clause
"""Mutants of SetPxE: directories, tables that are not in use, and the flag CURRENT_AS."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING

from abidance.abi.vmi.constants import PageFlag
from abidance.abi.vmi.mutants.changes import (
    Call,
    absent_pages,
    instead,
    orphan,
    physical,
    without,
    wrap,
)
from abidance.platform.unicorn.engine import ECX, EDX
from abidance.suite import mutant

if TYPE_CHECKING:
    from abidance.abi.vmi.reference.hypervisor import Hypervisor
    from abidance.abi.vmi.reference.vcpu import VirtualCpu

__all__: list[str] = []

_FRAME = 0xFFFFF000


def _skip_if(hv: Hypervisor, skip: Callable[[VirtualCpu], bool]) -> None:
    """Let SetPxE return at once."""
    def make(original: Call) -> Call:
        def call(vcpu: VirtualCpu) -> None:
            if not skip(vcpu):
                original(vcpu)
        return call
    wrap(hv, "SetPxE", make)


def _in_directory(vcpu: VirtualCpu, linear: int) -> bool:
    """Whether an entry lies in the page directory that is loaded."""
    return physical(vcpu, linear) & _FRAME == vcpu.cr3 & _FRAME


def _in_use(vcpu: VirtualCpu, linear: int) -> bool:
    """Whether an entry lies in the loaded directory or in a table that it refers to."""
    table, directory = physical(vcpu, linear) & _FRAME, vcpu.cr3 & _FRAME
    entries = (vcpu.shadow.memory.load(directory + 4 * index) for index in range(1024))
    return table == directory or any(entry & 1 and entry & _FRAME == table for entry in entries)


# -- levels and tables ----------------------------------------------------------------------------


@mutant("SetPxE-PD-ignored", violates="vmi.SetPxE.directory-level")
def _(hv: Hypervisor) -> None:
    """SetPxE does nothing for the level PD."""
    _skip_if(hv, lambda vcpu: bool(vcpu.cpu.regs[ECX] & PageFlag.PD))


@mutant("SetPxE-PD-change-out-of-reach", violates="vmi.SetPxE.directory-level")
def _(hv: Hypervisor) -> None:
    """When SetPxE changes a directory entry, pages of the old table survive every flush."""
    forget = orphan(hv)

    def make(original: Call) -> Call:
        def call(vcpu: VirtualCpu) -> None:
            regs = vcpu.cpu.regs
            if regs[ECX] & PageFlag.PD:
                forget(vcpu, physical(vcpu, regs[EDX]))
            original(vcpu)
        return call
    wrap(hv, "SetPxE", make)


@mutant("SetPxE-PD-absence-remembered", violates="vmi.SetPxE.directory-level")
def _(hv: Hypervisor) -> None:
    """A page that was absent for want of a table stays absent after SetPxE has installed the table."""
    absent = absent_pages(hv, told_by="entry_changed")

    def make(original: Call) -> Call:
        def call(vcpu: VirtualCpu) -> None:
            if not vcpu.cpu.regs[ECX] & PageFlag.PD:
                absent.clear()
            original(vcpu)
        return call
    wrap(hv, "SetPxE", make)


@mutant("SetPxE-unused-table-ignored", violates="vmi.SetPxE.not-live")
def _(hv: Hypervisor) -> None:
    """SetPxE stores nothing in a table that the loaded directory does not refer to."""
    _skip_if(hv, lambda vcpu: not _in_use(vcpu, vcpu.cpu.regs[EDX]))


@mutant("SetPxE-unused-table-not-present", violates="vmi.SetPxE.not-live")
def _(hv: Hypervisor) -> None:
    """SetPxE leaves P clear in a table that the loaded directory does not refer to, to set it when
    the table comes into use, which it forgets."""
    def make(original: Callable[[int, int, int], None]) -> Callable[[int, int, int], None]:
        def store(index: int, linear: int, value: int) -> None:
            original(index, linear, value if _in_use(hv.vcpus[index], linear) else value & ~1)
        return store
    instead(hv, "store_entry", make)


@mutant("SetPxE-trusts-level", violates="vmi.SetPxE.level-flag-not-trusted")
def _(hv: Hypervisor) -> None:
    """SetPxE with the level PT does nothing for an entry of the page directory."""
    def skip(vcpu: VirtualCpu) -> bool:
        return not vcpu.cpu.regs[ECX] & PageFlag.PD and _in_directory(vcpu, vcpu.cpu.regs[EDX])
    _skip_if(hv, skip)


@mutant("SetPxE-PT-in-directory-out-of-reach", violates="vmi.SetPxE.level-flag-not-trusted")
def _(hv: Hypervisor) -> None:
    """SetPxE with the level PT on a directory entry does not look for pages of the old table, which
    survive every flush."""
    forget = orphan(hv)

    def make(original: Call) -> Call:
        def call(vcpu: VirtualCpu) -> None:
            regs = vcpu.cpu.regs
            if not regs[ECX] & PageFlag.PD and _in_directory(vcpu, regs[EDX]):
                forget(vcpu, physical(vcpu, regs[EDX]))
            original(vcpu)
        return call
    wrap(hv, "SetPxE", make)


@mutant("SetPxE-CURRENT_AS-stores-nothing", violates="vmi.SetPxE.address-flag-same-effect")
def _(hv: Hypervisor) -> None:
    """With CURRENT_AS, SetPxE updates its shadow only: nothing is stored in the guest's entry."""
    _skip_if(hv, lambda vcpu: bool(vcpu.cpu.regs[ECX] & PageFlag.CURRENT_AS))


@mutant("SetPxE-CURRENT_AS-as-DEFER", violates="vmi.SetPxE.address-flag-same-effect")
def _(hv: Hypervisor) -> None:
    """SetPxE takes bit 4, CURRENT_AS, for DEFER."""
    def make(original: Call) -> Call:
        def call(vcpu: VirtualCpu) -> None:
            flags = vcpu.cpu.regs[ECX]
            vcpu.cpu.regs[ECX] = without(flags, PageFlag.DEFER) | (flags & PageFlag.CURRENT_AS) << 1
            original(vcpu)
        return call
    wrap(hv, "SetPxE", make)


@mutant("SetPxE-CURRENT_AS-out-of-reach", violates="vmi.SetPxE.address-flag-same-effect")
def _(hv: Hypervisor) -> None:
    """With CURRENT_AS, SetPxE drops the page that follows the one in the flags; the right one survives
    every flush."""
    forget = orphan(hv)

    def make(original: Call) -> Call:
        def call(vcpu: VirtualCpu) -> None:
            regs = vcpu.cpu.regs
            if regs[ECX] & PageFlag.CURRENT_AS:
                forget(vcpu, physical(vcpu, regs[EDX]))
            original(vcpu)
        return call
    wrap(hv, "SetPxE", make)
