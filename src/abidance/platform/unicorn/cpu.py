# SPDX-License-Identifier: BSD-2-Clause
"""One i386 CPU on one Unicorn instance; knows no hypervisor and no ABI.

Unicorn executes instructions, walks page tables and checks segments; it delivers nothing through
the IDT. `Cpu.run` runs instructions until something happens and says what; `Cpu.interrupt` and
`Cpu.exception` then take the guest to its handler (see `gates`). The loop of a machine is:

    exit = cpu.run(limit)
    if exit is Exit.EVENT:        # an exception, or an int instruction
        cpu.reflect()             # to the guest, or do something else with cpu.event()
    elif exit is Exit.HALT:       # hlt at CPL 0; EIP is behind it
    elif exit is Exit.LIMIT:      # exactly `limit` instructions were executed
    elif exit is Exit.STOPPED:    # a port handler called cpu.stop(); EIP is behind the in or out
    elif exit is Exit.SYSENTER:   # EIP is behind the instruction

Registers: `cpu.regs[EAX]` … `cpu.regs[EFLAGS]` (indices in `engine`) can be read and written
between runs; CS, SS, DS, ES, FS, GS (10…15) only read: write them with `load_ring` and
`load_segment`. `cpu.executed` counts instructions that were completed, over all runs; each
iteration of a repeated string instruction counts as one. Interrupts are exact: `run(k)` stops after
k instructions, and `interrupt(vector)` delivers there.

Not enforced by Unicorn, and therefore not by this model: segment limits and null data selectors on
access, I/O privilege (`in` and `out` never fault), CR4.TSD, hardware breakpoints.
"""

from __future__ import annotations

from enum import Enum
from typing import Any

from unicorn import unicorn_const, x86_const

from abidance.errors import GuestCrashed, SessionLost
from abidance.platform.unicorn.access import Access
from abidance.platform.unicorn.bare import BareMachine
from abidance.platform.unicorn.calibrate import measure
from abidance.platform.unicorn.engine import CR2, CS, EFLAGS, EIP, SS, Engine
from abidance.platform.unicorn.gates import GP, IF, NP, PF, VM, Environment, Event, Kind, deliver
from abidance.platform.unicorn.instructions import Instructions, Ports
from abidance.platform.unicorn.ram import Ram
from abidance.platform.unicorn.walk import Fault

__all__ = ["Cpu", "Exit", "Ports"]

_MASK = 0xFFFFFFFF
_FOUR_GIB = 1 << 32
_PG = 1 << 31
_ACCESSED = 0x100
_DATA = (12, 13, 14, 15)
_SEGMENT_IDS = {index: getattr(x86_const, f"UC_X86_REG_{name}")
                for index, name in zip(range(10, 16), ("CS", "SS", "DS", "ES", "FS", "GS"), strict=True)}


class Exit(Enum):
    """Why `Cpu.run` came back."""

    LIMIT = "limit"
    EVENT = "event"
    HALT = "halt"
    STOPPED = "stopped"
    SYSENTER = "sysenter"


_EVENT = Exit.EVENT


class Cpu(Access):
    """One CPU in 32-bit protected mode, at CPL 0, without paging, as a boot loader leaves it.

    `rams` is all memory (further CPUs may be given the same objects); physical addresses outside
    read as ones and ignore writes. `environment` is a `BareMachine` unless a hypervisor replaces
    it. `kernel_ring` is the ring that may take interrupts out of virtual-8086 mode. `instructions` holds
    the clock that RDTSC reads and what CPUID says.
    """

    def __init__(self, rams: list[Ram], ports: Ports) -> None:
        self.rams = rams
        self.engine = Engine(rams, measure())
        self.regs: Any = self.engine.values
        self.environment: Environment = BareMachine(self)
        self.kernel_ring = 0
        self.executed = 0
        self.cpl = 0
        self.software = False
        self.instructions = Instructions(self.engine, ports)
        self.instructions.clock = lambda: self.now
        self._stopping = self._running = False
        self._stopped_at = 0
        _fill_holes(self.engine, rams)
        self.engine.all.read()

    # -- running ---------------------------------------------------------------------------------

    def run(self, limit: int) -> Exit:
        """Execute at most `limit` (>= 1) instructions. Raises whatever a port handler raised, and
        GuestCrashed if the guest executes where there is no memory."""
        engine = self.engine
        self._stopping = self.instructions.sysenter = False
        self._running = True
        status = engine.run(limit)
        self._running = False
        return self._ended(status, limit)

    def creep(self, limit: int) -> Exit:
        """The same, but come back as soon as an instruction has left the interrupt flag set. One by
        one, because nothing else sees that: 0.4 million a second."""
        engine, values, counter, instructions = self.engine, self.regs, self.engine.counter, self.instructions
        self._stopping = instructions.sysenter = False
        engine.commit()
        status = 0
        for _ in range(limit):
            self._running = True
            status = engine.step()
            self._running = False
            if values[EFLAGS] & IF or status or engine.vector >= 0 or counter.value <= 1:
                break
            if self._stopping or instructions.sysenter or instructions.failure is not None:
                break
            self.executed += 1
        else:
            self.executed -= 1
        engine.fetch()
        return self._ended(status, 1)

    def _ended(self, status: int, limit: int) -> Exit:
        """Account for a run of at most `limit` instructions, and say how it ended."""
        engine = self.engine
        started = engine.counter.value
        engine.save()
        self.cpl = engine.level.value & 3
        failure = self.instructions.failure
        if failure is not None:
            self.instructions.failure = None
            raise failure
        if status:
            raise GuestCrashed(f"no memory or no instruction at {self.regs[CS]:#x}:{self.regs[EIP]:#x} "
                               f"(Unicorn error {status})")
        if engine.vector >= 0:
            self.software = software = engine.software and engine.vector != 6
            # An exception did not complete its instruction; an int did. An instruction that could not
            # even be fetched was never counted as begun.
            self.executed += started if software or self._unfetched() else started - 1
            return _EVENT
        if self._stopping:
            # The counter may have seen the next instruction, too, before the stop took hold.
            self.executed += self._stopped_at
            return Exit.STOPPED
        self.executed += min(started, limit)
        if self.instructions.sysenter:
            return Exit.SYSENTER
        return Exit.LIMIT if started > limit else Exit.HALT

    def _unfetched(self) -> bool:
        """Whether the last exception is a page fault of the instruction fetch: a read of the page that EIP
        is in. (An instruction that was fetched reads its own page without fault.)"""
        if self.engine.vector != PF or self.engine.error & 2:
            return False
        return bool(self.regs[CR2] >> 12 == self.regs[EIP] >> 12)

    def stop(self) -> None:
        """From a port handler: end the run after the current instruction."""
        self._stopping = True
        self._stopped_at = self.engine.started
        self.engine.stop()

    @property
    def now(self) -> int:
        """`executed`, also from inside a port handler (the in or out itself included)."""
        return self.executed + (self.engine.started if self._running else 0)

    @property
    def vector(self) -> int:
        """The vector of the last EVENT."""
        return self.engine.vector

    def event(self) -> Event:
        """The last EVENT, ready to be delivered: the error code is the CPU's own, the address of a
        page fault is CR2."""
        vector = self.engine.vector
        if self.software:
            return Event(vector, Kind.SOFTWARE)
        error = 0 if vector == 6 else self.engine.error
        address = self.regs[CR2] if vector == PF else 0
        return Event(vector, Kind.EXCEPTION, error, address)

    def reflect(self) -> None:
        """Deliver the last EVENT to the guest."""
        deliver(self, self.environment, self.event())

    def interrupt(self, vector: int) -> None:
        """Deliver an external interrupt now. Whether the guest's flag permits it is the caller's."""
        deliver(self, self.environment, Event(vector, Kind.EXTERNAL))

    def exception(self, vector: int, error: int = 0, address: int = 0) -> None:
        """Deliver an exception at the current EIP."""
        deliver(self, self.environment, Event(vector, Kind.EXCEPTION, error, address))

    def software_start(self, vector: int) -> int:
        """The address of the int instruction that ends at EIP (prefixes are not looked for)."""
        eip: int = self.regs[EIP]
        try:
            before = self.read_linear(eip - 2 & _MASK, 2)
        except Fault:
            before = b"\0" + self.read_linear(eip - 1 & _MASK, 1)
        return eip - 2 & _MASK if before == bytes((0xCD, vector)) else eip - 1 & _MASK

    # -- caches and snapshots ---------------------------------------------------------------------

    def forget_code(self, ranges: list[tuple[int, int]]) -> None:
        """The host changed physical memory in these (start, end) ranges: drop translations made
        from it, and everything cached from page tables."""
        cr0 = self.engine.get(x86_const.UC_X86_REG_CR0)
        self.engine.save()
        # Unicorn takes linear addresses; without paging they are physical ones.
        self.engine.set(x86_const.UC_X86_REG_CR0, cr0 & ~_PG)
        for start, end in ranges:
            self.engine.uc.ctl_remove_cache(start, end)
        self.engine.load()
        self.flush_tlb()

    def flush_tlb(self) -> None:
        """Page tables were changed from outside: forget all translations of addresses."""
        self.engine.uc.ctl(unicorn_const.UC_CTL_TLB_FLUSH, unicorn_const.UC_CTL_IO_WRITE)

    def save(self) -> tuple[bytes, int]:
        """Everything but memory, for `restore` of the same CPU."""
        self.engine.commit()
        self.engine.save()
        return self.engine.contents(), self.executed

    def restore(self, saved: tuple[bytes, int]) -> None:
        """Back to what `save` gave. Memory is the caller's (see `Ram.restore`, `forget_code`)."""
        contents, self.executed = saved
        self.engine.replace(contents)
        self.engine.all.read()
        self.cpl = self.engine.cpl
        self.flush_tlb()

    # -- segments and rings ----------------------------------------------------------------------

    def descriptor(self, selector: int, vector: int, external: int = 0) -> tuple[int, int]:
        """Both words of a descriptor; raises Fault(vector, selector) beyond the table's limit."""
        base, limit = self.environment.ldt() if selector & 4 else self.environment.gdt()
        at = selector & 0xFFF8
        if at + 7 > limit:
            raise Fault(vector, selector & 0xFFFC | external)
        return self.load_pair(base + at)

    def load_ring(self, ring: int, cs: int, ss: int, *, leave_virtual: bool = False) -> None:
        """Stand at `ring` with these selectors, whose descriptors the caller has checked. General
        registers and flags are those in `regs`. Also ends whatever exception was in flight."""
        for selector in (ss, cs):
            self._mark_accessed(selector)
        self.engine.set_ring(ring)
        if leave_virtual:
            self.engine.set(x86_const.UC_X86_REG_EFLAGS, self.regs[EFLAGS] & ~VM)
        if self.engine.write_stack_and_code(ss, cs):
            raise SessionLost(f"Unicorn refuses SS {ss:#x}, CS {cs:#x} at ring {ring}")
        self.regs[SS], self.regs[CS] = ss, cs
        self.cpl = ring

    def load_segment(self, register: int, selector: int) -> None:
        """Load DS, ES, FS or GS (indices 12…15). Raises Fault as the instruction would."""
        if selector & 0xFFFC:
            access = self.descriptor(selector, GP)[1] >> 8
            code = access & 0x08
            if not access & 0x10 or (code and not access & 0x02):
                raise Fault(GP, selector & 0xFFFC)
            if not (code and access & 0x04) and (access >> 5 & 3) < max(self.cpl, selector & 3):
                raise Fault(GP, selector & 0xFFFC)
            if not access & 0x80:
                raise Fault(NP, selector & 0xFFFC)
            self._mark_accessed(selector)
        self.engine.set(_SEGMENT_IDS[register], selector)
        self.regs[register] = selector

    def clear_data_segments(self) -> None:
        """DS, ES, FS and GS null, as a switch out of virtual-8086 mode leaves them."""
        for register in _DATA:
            self.load_segment(register, 0)

    def _mark_accessed(self, selector: int) -> None:
        """Set the accessed bit beforehand, so that loading the selector writes nothing."""
        low_high = self.environment.ldt() if selector & 4 else self.environment.gdt()
        at = (low_high[0] + (selector & 0xFFF8) + 4) & _MASK
        physical = self.environment.translate(at, write=False, user=False)
        word = int.from_bytes(self.read_physical(physical, 4), "little")
        if not word & _ACCESSED:
            self.write_physical(physical, (word | _ACCESSED).to_bytes(4, "little"))


def _fill_holes(engine: Engine, rams: list[Ram]) -> None:
    """Everything that is not RAM: reads give ones, writes do nothing."""
    at = 0
    for ram in sorted(rams, key=lambda one: one.base):
        _hole(engine, at, ram.base)
        at = ram.base + ram.size
    _hole(engine, at, _FOUR_GIB)


def _hole(engine: Engine, start: int, end: int) -> None:
    if end > start:
        engine.uc.mmio_map(start, end - start, _read_nothing, None, _write_nothing, None)


def _read_nothing(_uc: Any, _at: int, size: int, _data: Any) -> int:
    return (1 << 8 * size) - 1


def _write_nothing(_uc: Any, _at: int, _size: int, _value: int, _data: Any) -> None:
    pass
