# SPDX-License-Identifier: BSD-2-Clause
"""A bare PC on Unicorn: one CPU at CPL 0, RAM, option ROMs, interrupt controllers, timer.

No hypervisor: whatever the guest does, hardware does. It runs option ROMs that need no more than a
CPU, without QEMU. The part of POST is played here: ROMs with a good length and checksum are put
from C0000h on in steps of 2 KiB, where they are read-only; their 16-bit entry is not called.

Time is virtual: `TICK` instructions are one tick of the timer, and a halted CPU skips to the next
edge. Interrupts arrive between two instructions, never in the shadow of sti. While one waits for
the flag, the CPU goes one instruction at a time: about 400 000 a second instead of 20 million.

    0h..9FFFFh  RAM     A0000h..BFFFFh  nothing     C0000h..FFFFFh  ROM     100000h..  RAM
"""

from __future__ import annotations

import ctypes
from collections.abc import Mapping

from abidance.errors import GuestCrashed, InputError, Place, UsageError
from abidance.platform import multiboot
from abidance.platform.base import Artifact, Machine
from abidance.platform.model import Model, Reason, Stop
from abidance.platform.unicorn.board import Board
from abidance.platform.unicorn.cpu import Cpu, Exit
from abidance.platform.unicorn.engine import EAX, EBX, EFLAGS, EIP
from abidance.platform.unicorn.gates import IF
from abidance.platform.unicorn.io_privilege import IoPrivilege
from abidance.platform.unicorn.ram import Ram
from abidance.platform.unicorn.sysenter import sysenter

__all__ = ["TICK", "PcModel", "model", "renew"]

TICK = 8
_HOLE, _ROM, _HIGH = 0xA0000, 0xC0000, 0x100000
_ROM_STEP, _ROM_UNIT = 2048, 512
_INHIBITED = 0x08
_APPROACH = 200


class _Part(Ram):
    """A part of another Ram, as memory of its own right."""

    def __init__(self, whole: Ram, start: int, end: int, *, writable: bool = True) -> None:
        self.size, self.base, self.writable = end - start, start, writable
        self.view = whole.view[start:end]
        self.words = self.view.cast("I")
        self.address = ctypes.addressof(ctypes.c_char.from_buffer(self.view))


class PcModel:
    """`abidance.platform.model.Model` of a bare PC."""

    def __init__(self, machine: Machine, doorbell: int) -> None:
        if machine.cpus != 1:
            raise UsageError(f"the PC model has one CPU, not {machine.cpus}")
        self._memory = Ram(machine.memory, restorable=True)
        parts = [_Part(self._memory, 0, _HOLE), _Part(self._memory, _ROM, _HIGH, writable=False),
                 _Part(self._memory, _HIGH, machine.memory)]
        self._board = Board(doorbell)
        self._guard = IoPrivilege(self._board)
        self._cpu = self._guard.cpu = Cpu([*parts], self._guard)
        self._board.now, self._board.stop = (lambda: self._time() // TICK), self._cpu.stop
        self._skipped = 0
        self._halted = False
        self._due: int | None = None
        self._armed: tuple[int, int] | None = None
        self._marked = 0
        self._load(machine)

    @property
    def ram(self) -> memoryview:
        """All of it; A0000h..FFFFFh is not the guest's RAM."""
        return self._memory.view

    def _load(self, machine: Machine) -> None:
        at = _ROM
        for artifact in machine.role("option-rom"):
            image = _checked_rom(artifact)
            if at + len(image) > _HIGH:
                raise InputError(Place(str(artifact.path)), "", "no room is left for this ROM",
                                 mend="give fewer or smaller ROMs")
            self._memory.write(at, image)
            at += -(-len(image) // _ROM_STEP) * _ROM_STEP
        path = machine.kernel().path
        loaded = multiboot.load(path.read_bytes(), self.ram, machine.option("cmdline"), name=str(path))
        regs = self._cpu.regs
        regs[EAX], regs[EBX], regs[EIP] = multiboot.BOOT_MAGIC, loaded.info, loaded.entry

    def _time(self) -> int:
        """Virtual time in instructions: executed, and skipped while the CPU was halted."""
        return self._cpu.now + self._skipped

    # -- running ---------------------------------------------------------------------------------

    def run(self, budget: int) -> Stop:
        """Run about `budget` instructions, or until the doorbell, or until the guest dies."""
        start = self._time()
        try:
            while (left := start + budget - self._time()) > 0:
                if self._step(left):
                    return Stop(Reason.DOORBELL, used=self._time() - start)
        except GuestCrashed as error:
            return Stop.CRASH(str(error), self._time() - start)
        return Stop(Reason.BUDGET, used=budget)

    def _step(self, left: int) -> bool:
        """Up to the next thing that happens; True if it was the doorbell."""
        cpu, board = self._cpu, self._board
        self._raise_due()
        board.advance(self._time() // TICK)
        if board.pic.pending() is not None and self._open():
            cpu.interrupt(board.pic.acknowledge())
            self._halted = False
        limit = self._limit(left)
        if self._halted:
            self._skipped += limit
            return False
        exit_ = cpu.run(limit) if board.pic.pending() is None else cpu.creep(limit)
        if exit_ is Exit.EVENT:
            cpu.reflect()
        elif exit_ is Exit.SYSENTER:
            sysenter(cpu)
        self._halted = exit_ is Exit.HALT
        return exit_ is Exit.STOPPED and self._attend()

    def _open(self) -> bool:
        """Whether the CPU takes an interrupt here: IF set, and not right behind sti or mov to SS. The
        byte that holds the ring holds that in bit 3 (QEMU's HF_INHIBIT_IRQ)."""
        return bool(self._cpu.regs[EFLAGS] & IF) and not self._cpu.engine.level.value & _INHIBITED

    def _limit(self, left: int) -> int:
        """How far to run at most: to the next edge of the timer, or the injected one."""
        now = self._time()
        limits = [left]
        edge = self._board.pit.ticks_to_edge()
        if edge is not None:
            limits.append((now // TICK + edge) * TICK - now)
        if self._due is not None:
            limits.append(self._due - now)
        return max(1, min(limits))

    def _raise_due(self) -> None:
        if self._due is not None and self._armed is not None and self._time() >= self._due:
            self._board.pic.request(self._armed[0])
            self._due = self._armed = None

    def _attend(self) -> bool:
        """A port handler stopped the run; True for the doorbell."""
        board = self._board
        if self._guard.deliver():
            return False
        if board.reset:
            raise GuestCrashed(f"reset through port {board.reset:#x} at {self._cpu.regs[EIP]:#x}")
        if board.marker:
            board.marker = False
            self._approach(self._cpu.regs[EAX])
        rung, board.bell = board.bell, False
        return rung

    def _approach(self, target: int) -> None:
        """Go on from the marker to the target, one by one; instructions count from there."""
        for _ in range(_APPROACH):
            if self._cpu.regs[EIP] == target:
                break
            if self._cpu.run(1) is not Exit.LIMIT:
                where = self._cpu.regs[EIP]
                raise GuestCrashed(f"the kernel left its way from marker to target at {where:#x}")
        self._marked = self._cpu.executed
        if self._armed is not None:
            self._due = self._time() + self._armed[1]

    # -- the rest of the protocol ----------------------------------------------------------------

    def snapshot(self) -> object:
        """Memory, CPU, devices, time."""
        return (self._memory.save(), self._cpu.save(), self._board.snapshot(),
                (self._skipped, self._halted, self._due, self._armed, self._marked))

    def restore(self, snap: object) -> None:
        """Back to a snapshot of this model."""
        if not isinstance(snap, tuple):
            raise TypeError("not a snapshot of a PC")
        memory, cpu, board, (self._skipped, self._halted, self._due, self._armed, self._marked) = snap
        changed = self._memory.restore(memory)
        self._cpu.restore(cpu)
        self._cpu.forget_code(changed)
        self._board.restore(board)

    def control(self, command: str, values: Mapping[str, int]) -> int:
        """"inject" (irq, after) and "count"."""
        if command == "count":
            return self._cpu.executed - self._marked
        if command != "inject" or set(values) != {"irq", "after"}:
            raise UsageError(f"the PC knows count and inject (irq, after), not {command} {dict(values)}")
        if not 0 <= values["irq"] <= 15 or values["irq"] == 2 or values["after"] < 0:
            raise UsageError(f"cannot inject IRQ {values['irq']} after {values['after']} instructions")
        self._armed, self._due = (values["irq"], values["after"]), None
        return 0


def _checked_rom(artifact: Artifact) -> bytes:
    """An option ROM as a BIOS takes it. Raises InputError."""
    try:
        image = artifact.path.read_bytes()
    except OSError as error:
        raise UsageError(f"cannot read the ROM {artifact.path}: {error.strerror}") from error
    length = image[2] * _ROM_UNIT if len(image) > 2 else 0
    problem = ("it does not begin with 55 AA" if image[:2] != b"\x55\xaa"
               else f"it announces {length} bytes and has {len(image)}" if not 0 < length <= len(image)
               else "its checksum is not zero" if sum(image[:length]) & 0xFF else None)
    if problem:
        raise InputError(Place(str(artifact.path)), "", problem, mend="a BIOS would not run this ROM either")
    return image[:length]


def model(machine: Machine, doorbell: int) -> PcModel:
    """The factory, for `Machine.model`."""
    return PcModel(machine, doorbell)


def renew(pc: Model, machine: Machine) -> None:
    """Give a PC that stands at its start another command line. Raises UsageError, InputError."""
    if not isinstance(pc, PcModel):
        raise UsageError("not a bare PC")
    multiboot.say(pc.ram, machine.option("cmdline"))
