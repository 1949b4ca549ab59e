# SPDX-License-Identifier: BSD-2-Clause
"""The reference hypervisor as a machine: memory, ROM, board, CPUs, and the loop.

A `Hypervisor` is an `abidance.platform.model.Model`. Everything that decides what a guest sees is a
method or an attribute that can be replaced on a fresh object: `calls` (number -> function of the
virtual CPU), `image` (what the ROM offers and which calls trap), `store_entry`, `entry_changed`,
`restore_flag`, and whatever `vcpus[0]` consists of.

A guest may do anything and harms only itself: a fault that a call meets goes to the guest, a triple
fault or an escape to CPL 0 ends it (CRASH). An exception in here is a defect of ours: it is not caught, and
the platform reports it as `ModelFailed`.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace

from abidance.abi.vmi.reference.calls import CALLS, store_entry
from abidance.abi.vmi.reference.controllers import Controllers
from abidance.abi.vmi.reference.emulate import emulate
from abidance.abi.vmi.reference.image import INIT, SERVE, Image
from abidance.abi.vmi.reference.segments import KERNEL_CPL
from abidance.abi.vmi.reference.timeline import Timeline
from abidance.abi.vmi.reference.transfers import sysenter
from abidance.abi.vmi.reference.vcpu import VirtualCpu
from abidance.errors import GuestCrashed, UsageError
from abidance.platform.model import Stop
from abidance.platform.unicorn.board import Board
from abidance.platform.unicorn.cpu import Exit
from abidance.platform.unicorn.engine import EAX, EIP
from abidance.platform.unicorn.gates import GP, PF
from abidance.platform.unicorn.ram import Part, Ram
from abidance.platform.unicorn.walk import Fault

__all__ = ["TRAP_COST", "Hypervisor"]

TRAP_COST = 50
"""Virtual time that a call costs beyond its instructions."""

_EVENT, _STOPPED = Exit.EVENT, Exit.STOPPED  # the members of an Enum are slow to reach
_NATIVE_SLICE = 256
_APPROACH = 200
_HOLE, _ROM, _HIGH = 0xA0000, 0xC0000, 0x100000
_TRAP_LENGTH = 2
_FAILED = 0xFFFFFFFF
_USER_CPL = 3
_FEATURES = sum(1 << bit for bit in (0, 2, 3, 4, 5, 8, 11, 13, 15, 23, 24, 25))
"""FPU DE PSE TSC MSR CX8 SEP PGE CMOV MMX FXSR SSE."""


class Hypervisor:
    """A machine with `memory` bytes of RAM whose ROM is `rom`; `doorbell` as in `Model`."""

    def __init__(self, memory: int, rom: bytes, doorbell: int) -> None:
        self.memory = Ram(memory, restorable=True)
        self.parts = [Part(self.memory, 0, _HOLE), Part(self.memory, _ROM, _HIGH, writable=False),
                      Part(self.memory, _HIGH, memory)]
        self.board = Board(doorbell)
        self.image = Image(rom, self.memory.view)
        self.board.pic = Controllers()
        self.calls = dict(CALLS)
        self.vcpus = [VirtualCpu(self, 0)]
        self.time = Timeline(self.vcpus[0].cpu, self.board)
        for vcpu in self.vcpus:
            vcpu.cpu.instructions.clock = lambda: self.time.now
            vcpu.cpu.instructions.identify = identify

    # -- Model -----------------------------------------------------------------------------------

    @property
    def ram(self) -> memoryview:
        """Guest RAM."""
        return self.memory.view

    def run(self, budget: int) -> Stop:
        """Run until the doorbell, or about `budget` instructions of virtual time, or a crash."""
        start = self.time.now
        try:
            stop = self._run(start + budget)
        except GuestCrashed as error:
            return Stop.CRASH(str(error), self.time.now - start)
        return replace(stop, used=max(1, self.time.now - start))

    def snapshot(self) -> object:
        """CPUs, RAM, devices, time."""
        cpus = [vcpu.save() for vcpu in self.vcpus]
        return cpus, self.memory.save(), self.board.snapshot(), self.time.snapshot()

    def restore(self, snap: object) -> None:
        """Back to a snapshot."""
        if not isinstance(snap, tuple):
            raise TypeError("not a snapshot of a hypervisor")
        cpus, ram, board, time = snap
        changed = self.memory.restore(ram)
        for vcpu, saved in zip(self.vcpus, cpus, strict=True):
            vcpu.restore(saved)
        self.forget_code(changed)
        self.board.restore(board)
        self.time.restore(time)

    def forget_code(self, changed: list[tuple[int, int]]) -> None:
        """The host changed these (start, end) ranges of memory."""
        for vcpu in self.vcpus:
            vcpu.cpu.forget_code(changed)

    def control(self, command: str, values: Mapping[str, int]) -> int:
        """inject (irq, after), count."""
        if command == "count":
            return self.time.since_mark
        if command != "inject" or set(values) != {"irq", "after"}:
            raise UsageError(f"the reference knows count and inject (irq, after), not {command} {[*values]}")
        if not 0 <= values["irq"] <= 15 or values["irq"] == 2 or values["after"] < 0:
            raise UsageError(f"cannot inject IRQ {values['irq']} after {values['after']} instructions")
        self.time.inject(values["irq"], values["after"])
        return 0

    # -- the loop --------------------------------------------------------------------------------

    def _run(self, until: int) -> Stop:
        vcpu, time = self.vcpus[0], self.time
        while (now := time.at_rest()) < until:
            if now >= time.next:
                time.catch_up()
            vcpu.service()
            limit = min(until, time.next) - now
            if vcpu.halted:
                time.skip(limit)
            elif self._step(vcpu, limit) is _STOPPED and self._attend(vcpu):
                return Stop.DOORBELL
        return Stop.BUDGET

    def _attend(self, vcpu: VirtualCpu) -> bool:
        """A port handler stopped the CPU; True for the doorbell."""
        board = self.board
        if board.reset:
            raise GuestCrashed(f"reset through port {board.reset:#x} at {vcpu.cpu.regs[EIP]:#x}")
        if board.marker:
            board.marker = False
            self._approach(vcpu, vcpu.cpu.regs[EAX])
        rung, board.bell = board.bell, False
        return rung

    def _approach(self, vcpu: VirtualCpu, target: int) -> None:
        """Go on from the marker to the target that EAX names, one by one; instructions count from
        there."""
        for _ in range(_APPROACH):
            if vcpu.cpu.regs[EIP] == target:
                break
            self._step(vcpu, 1)
        self.time.mark()

    def _step(self, vcpu: VirtualCpu, limit: int) -> Exit:
        """Let the CPU run until something happens, and deal with it."""
        if not vcpu.active and self.board.pic.pending() is not None:
            limit = min(limit, _NATIVE_SLICE)  # the guest's own sti is not seen otherwise
        if vcpu.inhibited:
            limit, vcpu.inhibited = 1, False
        reason = vcpu.cpu.run(limit)
        if vcpu.active and vcpu.cpu.cpl == 0:
            raise GuestCrashed(f"the guest reached CPL 0 at {vcpu.cpu.regs[EIP]:#x}")
        if reason is _EVENT:
            if vcpu.cpu.software:
                self._software(vcpu)
            else:
                self.exception(vcpu)
        elif reason is Exit.SYSENTER:
            sysenter(vcpu)
        elif reason is Exit.HALT:
            vcpu.halted = True
        return reason

    def _software(self, vcpu: VirtualCpu) -> None:
        """An int instruction: a call if the kernel executes it in one of the ROM's stubs, else the
        guest's own."""
        cpu = vcpu.cpu
        number = None if cpu.cpl == _USER_CPL else self._stub(vcpu)
        if number is None or (number != INIT and not vcpu.active):
            cpu.reflect()
            return
        self.time.charge(TRAP_COST)
        call = self.calls.get(number)
        if call is not None:
            try:
                call(vcpu)
            except Fault as fault:
                cpu.regs[EIP] -= _TRAP_LENGTH
                vcpu.deliver(fault)
        elif number == INIT:
            self.initialise(vcpu)
        elif number != SERVE:
            cpu.reflect()

    def _stub(self, vcpu: VirtualCpu) -> int | None:
        try:
            last = vcpu.cpu.regs[EIP] - 1 & 0xFFFFFFFF
            physical = vcpu.cpu.environment.translate(last, write=False, user=False)
        except Fault:
            return None
        return self.image.sites.get(physical + 1)

    def exception(self, vcpu: VirtualCpu) -> None:
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


def identify(leaf: int, subleaf: int) -> tuple[int, int, int, int]:
    """CPUID: a processor with the features that CR4 can turn on, and no others that need the kernel."""
    del subleaf
    if leaf == 0:
        return 1, 0x64696241, 0x50555043, 0x65636E61
    return (0x633, 0, 0, _FEATURES) if leaf == 1 else (0, 0, 0, 0)
