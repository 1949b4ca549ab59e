# SPDX-License-Identifier: BSD-2-Clause
"""One virtual CPU: what the guest believes to be its control registers, tables and interrupt flag.

Before VMI_Init the guest owns the CPU at CPL 0. Afterwards the real CPU runs it at CPL 1 and 3 on
shadow tables with CR0.WP set; what the guest reads and writes by calls or privileged instructions
are the values here. The class is also the `Environment` through which exceptions are delivered.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from unicorn import x86_const

from abidance.abi.vmi.reference import segments
from abidance.abi.vmi.reference.deferral import Deferral
from abidance.abi.vmi.reference.interrupts import VirtualFlag
from abidance.abi.vmi.reference.segments import KERNEL_CPL, GuestCpu
from abidance.abi.vmi.reference.shadow import PRIVATE, Shadow
from abidance.errors import GuestCrashed
from abidance.platform.unicorn.bare import BareMachine
from abidance.platform.unicorn.engine import EFLAGS, EIP
from abidance.platform.unicorn.gates import GP, IF, IOPL, PF, TS, Event, Kind, deliver
from abidance.platform.unicorn.ram import PAGE, Ram
from abidance.platform.unicorn.walk import Fault

if TYPE_CHECKING:
    from abidance.abi.vmi.reference.hypervisor import Hypervisor

__all__ = ["CR4_FEATURES", "VirtualCpu"]

_PE, _MP, _EM, _TS, _ET, _NE, _WP, _AM, _PG = (1 << bit for bit in (0, 1, 2, 3, 4, 5, 16, 18, 31))
_PSE, _PAE, _PGE = 1 << 4, 1 << 5, 1 << 7
_CR0_KNOWN = _PE | _MP | _EM | _TS | _ET | _NE | _WP | _AM | _PG | 3 << 29
CR4_FEATURES = 1 << 3 | _PSE | _PGE | 1 << 9 | 1 << 10
"""What CR4 can hold: DE, PSE, PGE, OSFXSR, OSXMMEXCPT; CPUID announces no other."""

_REAL_CR4 = 1 << 3 | 1 << 9 | 1 << 10
_SAVED = ("active", "cr0", "cr2", "cr3", "cr4", "gdtr", "idtr", "ldtr", "task", "stack", "halted",
          "inhibited", "debug")
_STUCK = 64


class VirtualCpu:
    """CPU number `index` of `hv`."""

    def __init__(self, hv: Hypervisor, index: int) -> None:
        self.hv = hv
        size = Shadow.SIZE
        self.private = Ram(size, PRIVATE + index * (size + PAGE))
        self.cpu = GuestCpu([*hv.parts, self.private], hv.board)
        self.bare = BareMachine(self.cpu)
        self.shadow = Shadow(hv.memory, self.private, self.cpu.flush_tlb)
        self.flag = VirtualFlag(self.private, self.shadow.shared)
        self.deferral = Deferral()
        self.active = self.halted = self.inhibited = False
        self.cr0 = self.cr2 = self.cr3 = self.cr4 = 0
        self.gdtr = self.idtr = self.ldtr = (0, 0)
        self.task = (0, 0)
        self.stack: tuple[int, int] | None = None
        self.debug: tuple[int, ...] = (0,) * 8
        self._stuck = (0, 0)

    # -- entering paravirtual mode ---------------------------------------------------------------

    def enter(self) -> bool:
        """Leave the native state for paravirtual mode; False, with nothing changed, if the guest is
        not in the state the document asks for."""
        get = self.cpu.engine.get
        cr0, cr4 = get(x86_const.UC_X86_REG_CR0), get(x86_const.UC_X86_REG_CR4)
        if self.active or self.cpu.cpl or not cr0 & _PG or cr4 & _PAE:
            return False
        enabled = bool(self.cpu.regs[EFLAGS] & IF)
        self.gdtr, self.idtr, self.ldtr = self.bare.gdt(), self.bare.idt(), self.bare.ldt()
        _selector, base, limit, _flags = get(x86_const.UC_X86_REG_TR)
        self.task, self.stack = (base, limit), None
        self.cr0, self.cr4 = cr0, cr4
        self.cr2, self.cr3 = get(x86_const.UC_X86_REG_CR2), get(x86_const.UC_X86_REG_CR3)
        self.active = True
        self.cpu.environment, self.cpu.raising, self.cpu.kernel_ring = self, True, KERNEL_CPL
        self.shadow.base = self.cr3
        self._apply()
        self.cpu.engine.set(x86_const.UC_X86_REG_CR3, self.shadow.directory)
        segments.raise_all(self.cpu)
        segments.raise_live(self)
        self.flag.enabled = enabled
        self.cpu.regs[EFLAGS] = self.cpu.regs[EFLAGS] & ~IOPL | IF
        return True

    def _apply(self) -> None:
        """Put the guest's CR0 and CR4 into effect, as far as they are its own affair."""
        self.shadow.protect, self.shadow.large = bool(self.cr0 & _WP), bool(self.cr4 & _PSE)
        self.cpu.engine.set(x86_const.UC_X86_REG_CR0, self.cr0 | _PE | _PG | _WP)
        self.cpu.engine.set(x86_const.UC_X86_REG_CR4, self.cr4 & _REAL_CR4)

    # -- control registers -----------------------------------------------------------------------

    def set_cr0(self, value: int) -> None:
        """Everything but PE and PG can change; those stay on (section 6.7)."""
        changed = self.cr0 ^ value
        self.cr0 = value & _CR0_KNOWN | _PE | _PG | _ET
        self._apply()
        if changed & _WP:
            self.shadow.flush()

    def set_cr2(self, value: int) -> None:
        """No side effect."""
        self.cr2 = value

    def set_cr3(self, value: int) -> None:
        """Load the guest's directory; every translation is forgotten, global ones too."""
        self.deferral.flush_updates()
        self.load_cr3(value)

    def load_cr3(self, value: int) -> None:
        """The effect alone."""
        self.cr3 = value
        self.shadow.load(value)

    def set_cr4(self, value: int) -> None:
        """Features of `CR4_FEATURES`; the rest cannot be turned on."""
        changed = self.cr4 ^ value
        self.cr4 = value & CR4_FEATURES
        self._apply()
        if changed & (_PSE | _PGE):
            self.shadow.flush()

    def clear_ts(self) -> None:
        """CLTS."""
        self.set_cr0(self.cr0 & ~_TS)

    def set_stack(self, ss: int, esp: int) -> None:
        """The announced stack for transitions from CPL 3."""
        self.stack = (ss & 0xFFFF, esp)

    # -- Environment: how events reach the guest ---------------------------------------------------

    def translate(self, linear: int, *, write: bool, user: bool) -> int:
        """Through the shadow tables, as the processor."""
        return self.shadow.translate(linear, write=write, user=user)

    def gdt(self) -> tuple[int, int]:
        """The guest's own."""
        return self.gdtr

    def ldt(self) -> tuple[int, int]:
        """The guest's own."""
        return self.ldtr

    def idt(self) -> tuple[int, int]:
        """The guest's own; the processor's is not used."""
        return self.idtr

    def inner_stack(self, ring: int) -> tuple[int, int]:
        """The announced stack; before the first announcement the guest's TSS, SS0 and ESP0."""
        if self.stack is not None:
            ss, esp = self.stack
        else:
            base, limit = self.task
            if limit < 9:
                raise Fault(TS, 0)
            esp, ss = self.cpu.load_pair(base + 4)
            ss &= 0xFFFF
        return (ss & 0xFFFC | ring if ss & 0xFFFC else 0), esp

    def set_fault_address(self, linear: int) -> None:
        """The guest's CR2."""
        self.cr2 = linear

    def image(self, flags: int) -> int:
        """Bit 9 of the image is the virtual flag."""
        return flags & ~IF | (IF if self.flag.enabled else 0)

    def mask(self, flags: int) -> int:
        """An interrupt gate clears the virtual flag; the real one stays set."""
        self.flag.enabled = False
        return flags | IF

    # -- events ----------------------------------------------------------------------------------

    def service(self) -> None:
        """Deliver the pending interrupt if the guest has interrupts enabled."""
        pic = self.hv.board.pic
        waiting = pic.pending() is not None
        if not self.active:
            if waiting and self.cpu.regs[EFLAGS] & IF:
                self.halted = False
                self.cpu.interrupt(pic.acknowledge())
            return
        if waiting and self.flag.enabled and not self.inhibited:
            self.halted = False
            self.cpu.interrupt(pic.acknowledge())
            waiting = pic.pending() is not None
        self.flag.announce(waiting)

    def hide(self, event: Event) -> Fault | None:
        """Mend what only the hypervisor's own arrangements have made fault. None if the guest is to
        try again, else the fault as the guest is to see it."""
        if event.vector == PF:
            try:
                self.shadow.fill(event.address, write=bool(event.error & 2), user=bool(event.error & 4))
            except Fault as fault:
                return fault
            self._progress()
            return None
        selector = event.error if 10 <= event.vector <= GP and not event.error & 3 else 0
        if selector and self.cpu.cpl == KERNEL_CPL and segments.raise_one(self.cpu, selector):
            return None
        return Fault(event.vector, event.error, event.address)

    def _progress(self) -> None:
        """A guest that faults on and on at one instruction would hang us."""
        executed, times = self._stuck
        self._stuck = (self.cpu.executed, times + 1 if executed == self.cpu.executed else 0)
        if times > _STUCK:
            raise GuestCrashed(f"the hypervisor makes no progress at {self.cpu.regs[EIP]:#x}")

    def page_fault(self, event: Event, fault: Fault) -> Fault | None:
        """A page fault is about to be delivered: queued updates come into effect first, and may have
        mended it (section 6.11)."""
        if not self.deferral.updates:
            return fault
        self.deferral.flush_updates()
        return self.hide(event)

    def deliver(self, fault: Fault) -> None:
        """The guest gets an exception at EIP."""
        deliver(self.cpu, self, Event(fault.vector, Kind.EXCEPTION, fault.error or 0, fault.address))

    def read32(self, linear: int) -> int:
        """A word as the kernel reads it. Raises Fault."""
        return int.from_bytes(self.cpu.read_linear(linear & 0xFFFFFFFF, 4), "little")

    # -- snapshots -------------------------------------------------------------------------------

    def save(self) -> Any:
        """Everything but RAM. Shadow entries are dropped, here and in `restore`, so that a restored
        guest does not differ from one that went on."""
        self.shadow.flush()
        values = {name: getattr(self, name) for name in _SAVED}
        shared = self.private.read(self.shadow.shared - self.private.base, 8)
        queues = (self.deferral.mode, tuple(self.deferral.updates), tuple(self.deferral.state))
        return self.cpu.save(), values, shared, queues

    def restore(self, saved: Any) -> None:
        """Back to `save`; RAM has been restored before."""
        cpu, values, shared, (mode, updates, state) = saved
        for name, value in values.items():
            setattr(self, name, value)
        self.private.write(self.shadow.shared - self.private.base, shared)
        self.deferral.mode, self.deferral.updates, self.deferral.state = mode, list(updates), list(state)
        self.cpu.environment = self if self.active else self.bare
        self.cpu.raising, self.cpu.kernel_ring = self.active, KERNEL_CPL if self.active else 0
        self.shadow.base, self.shadow.protect = self.cr3, bool(self.cr0 & _WP)
        self.shadow.large = bool(self.cr4 & _PSE)
        self._stuck = (0, 0)
        self.cpu.restore(cpu)
        self.shadow.flush()
