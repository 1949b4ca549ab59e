# SPDX-License-Identifier: BSD-2-Clause
"""The reference hypervisor as a machine: memory, ROM, board, CPUs, and the loop.

A `Hypervisor` is an `abidance.platform.model.Model`. Everything that decides what a guest sees is a
method or an attribute that can be replaced on a fresh object: `calls` (number -> function of the
virtual CPU), `image` (what the ROM offers and which calls trap), `store_entry`, `entry_changed`,
`restore_flag`, and whatever `vcpus[0]` consists of.

A guest may do anything and harms only itself: a fault that a call meets goes to the guest, a triple
fault or an escape to CPL 0 ends it (CRASH). A defect of ours ends as CRASH too, and says so.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import Any

from abidance.abi.vmi.reference.calls import CALLS, store_entry
from abidance.abi.vmi.reference.board import Board
from abidance.abi.vmi.reference.emulate import emulate
from abidance.abi.vmi.reference.image import INIT, SERVE, Image
from abidance.abi.vmi.reference.segments import KERNEL_CPL
from abidance.abi.vmi.reference.transfers import sysenter
from abidance.abi.vmi.reference.vcpu import VirtualCpu
from abidance.errors import GuestCrashed, UsageError
from abidance.platform.model import Stop
from abidance.platform.unicorn.cpu import Exit
from abidance.platform.unicorn.engine import EAX, EIP
from abidance.platform.unicorn.gates import GP, PF, Event, Kind
from abidance.platform.unicorn.ram import Ram
from abidance.platform.unicorn.walk import Fault

__all__ = ["TRAP_COST", "Hypervisor"]

TRAP_COST = 50
"""Virtual time that a call costs beyond its instructions."""

_NATIVE_SLICE = 256
_TRAP_LENGTH = 2
_FAILED = 0xFFFFFFFF


class Hypervisor:
    """A machine with `memory` bytes of RAM whose ROM is `rom`; `doorbell` as in `Model`."""

    def __init__(self, memory: int, rom: bytes, doorbell: int) -> None:
        self.memory = Ram(memory)
        self.board = Board(doorbell)
        self.image = Image(rom, self.memory.view)
        self.calls = dict(CALLS)
        self.vcpus = [VirtualCpu(self, 0)]
        self.board.cpu = self.vcpus[0].cpu
        for vcpu in self.vcpus:
            vcpu.cpu.clock = lambda: self.board.now

    # -- Model -----------------------------------------------------------------------------------

    @property
    def ram(self) -> memoryview:
        """Guest RAM."""
        return self.memory.view

    def run(self, budget: int) -> Stop:
        """Run until the doorbell, or about `budget` instructions of virtual time, or a crash."""
        start = self.board.now
        try:
            stop = self._run(start + budget)
        except GuestCrashed as error:
            return Stop.CRASH(str(error), self.board.now - start)
        except Exception as error:  # noqa: BLE001 (a defect of ours must be a verdict, not a hang)
            return Stop.CRASH(f"the hypervisor failed: {_where(error)}", self.board.now - start)
        return replace(stop, used=max(1, self.board.now - start))

    def snapshot(self) -> object:
        """RAM, CPUs and board."""
        return [vcpu.save() for vcpu in self.vcpus], self.memory.save(), self.board.snapshot()

    def restore(self, snap: object) -> None:
        """Back to a snapshot."""
        cpus, ram, board = snap  # type: ignore[misc]
        changed = self.memory.restore(ram)
        for vcpu, saved in zip(self.vcpus, cpus, strict=True):
            vcpu.restore(saved)
            vcpu.cpu.forget_code(changed)
        self.board.restore(board)

    def control(self, command: str, values: Mapping[str, int]) -> int:
        """inject (irq, after), count."""
        if command == "inject":
            irq, after = values.get("irq", 0), values.get("after", 0)
            if not 0 <= irq <= 15 or irq == 2 or after < 0:
                raise UsageError(f"inject: irq {irq} after {after} is impossible")
            self.board.inject(irq, after)
            return 0
        if command == "count":
            marked = self.board.marked_at
            return 0 if marked is None else self.vcpus[0].cpu.executed - marked
        raise UsageError(f"the reference hypervisor has no command {command!r}")

    # -- the loop --------------------------------------------------------------------------------

    def _run(self, until: int) -> Stop:
        board, vcpu = self.board, self.vcpus[0]
        while True:
            board.catch_up()
            if board.rung:
                board.rung = False
                return Stop.DOORBELL
            vcpu.service()
            left = until - board.now
            if left <= 0:
                return Stop.BUDGET
            if vcpu.halted:
                self._wait(left)
            else:
                self._step(vcpu, left)

    def _wait(self, left: int) -> None:
        """The CPU is halted: let time pass until something can happen."""
        self.board.idle()
        if self.board.pic.pending() is not None and self.vcpus[0].flag.enabled:
            return
        timer = self.board.until_timer()
        self.board.charge(left if timer is None else min(left, timer))

    def _step(self, vcpu: VirtualCpu, left: int) -> None:
        """Let the CPU run until something happens, and deal with it."""
        limit = min(left, self.board.until_timer() or left, self.board.until_injection() or left)
        if not vcpu.active:
            limit = min(limit, _NATIVE_SLICE)
        if vcpu.inhibited:
            limit, vcpu.inhibited = 1, False
        reason = vcpu.cpu.run(limit)
        if vcpu.active and vcpu.cpu.cpl == 0:
            raise GuestCrashed(f"the guest reached CPL 0 at {vcpu.cpu.regs[EIP]:#x}")
        if reason is Exit.EVENT:
            if vcpu.cpu.software:
                self._software(vcpu)
            else:
                self._exception(vcpu)
        elif reason is Exit.SYSENTER:
            sysenter(vcpu)
        elif reason is Exit.HALT:
            vcpu.halted = True

    def _software(self, vcpu: VirtualCpu) -> None:
        """An int instruction: a call if it stands in one of the ROM's stubs, else the guest's own."""
        cpu = vcpu.cpu
        number = self._stub(vcpu) if cpu.cpl == (KERNEL_CPL if vcpu.active else 0) else None
        if number is None or (number != INIT and not vcpu.active):
            cpu.reflect()
            return
        self.board.charge(TRAP_COST)
        if number == INIT:
            self.initialise(vcpu)
        elif number != SERVE:
            self._call(vcpu, number)

    def _stub(self, vcpu: VirtualCpu) -> int | None:
        try:
            return self.image.site(vcpu.cpu.environment.translate(vcpu.cpu.regs[EIP] - 1, write=False, user=False) + 1)
        except Fault:
            return None

    def _call(self, vcpu: VirtualCpu, number: int) -> None:
        call = self.calls.get(number)
        if call is None:
            vcpu.cpu.reflect()
            return
        try:
            call(vcpu)
        except Fault as fault:
            vcpu.cpu.regs[EIP] -= _TRAP_LENGTH
            vcpu.deliver(fault)

    def _exception(self, vcpu: VirtualCpu) -> None:
        """Hide it, emulate it, or let the guest have it."""
        cpu, event = vcpu.cpu, vcpu.cpu.event()
        if not vcpu.active:
            cpu.reflect()
            return
        fault = vcpu.hide(event)
        if fault is not None and event.vector == PF:
            fault = vcpu.page_fault(event, fault)
        elif fault is not None and event.vector == GP and not event.error and cpu.cpl == KERNEL_CPL:
            fault = self._emulate(vcpu, fault)
        if fault is None:
            cpu.engine.settle()
        else:
            vcpu.deliver(fault)

    def _emulate(self, vcpu: VirtualCpu, fault: Fault) -> Fault | None:
        try:
            return None if emulate(vcpu) else fault
        except Fault as other:
            return other

    # -- what calls need of the machine ------------------------------------------------------------

    def initialise(self, vcpu: VirtualCpu) -> None:
        """VMI_Init: 0 in EAX, or FFFFFFFFh with the guest as it was."""
        try:
            entered = vcpu.enter()
        except Fault:
            raise GuestCrashed("VMI_Init: the guest's segments cannot be used at CPL 1") from None
        vcpu.cpu.regs[EAX] = 0 if entered else _FAILED

    def number(self, vcpu: VirtualCpu) -> int:
        """The index of a CPU, for queued work."""
        return self.vcpus.index(vcpu)

    def store_entry(self, index: int, linear: int, value: int) -> None:
        """SetPxE's effect. Raises Fault."""
        store_entry(self.vcpus[index], linear, value)

    def entry_changed(self, index: int, linear: int) -> None:
        """UpdatePxE's effect. Raises Fault."""
        vcpu = self.vcpus[index]
        vcpu.shadow.entry_changed(vcpu.translate(linear, write=False, user=False))

    def restore_flag(self, vcpu: VirtualCpu, enabled: bool) -> None:
        """The virtual flag of a context that IRET or SYSEXIT has just resumed."""
        vcpu.flag.enabled = enabled


def _where(error: BaseException) -> str:
    """An exception and its innermost place, in one line."""
    trace = error.__traceback__
    while trace is not None and trace.tb_next is not None:
        trace = trace.tb_next
    place = "" if trace is None else f" [{trace.tb_frame.f_code.co_name}:{trace.tb_lineno}]"
    return f"{type(error).__name__}: {error}{place}"
