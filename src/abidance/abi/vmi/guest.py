# SPDX-License-Identifier: BSD-2-Clause
"""The VMI guest: the neutral `Guest` with what i386 and VMI add.

Pages for cases come from the arena (physical 5 MiB and up; the test kernel never uses it) and
are reached by the kernel through its direct map. Page tables here are those of i386 without PAE:
1024 entries of 32 bits, bits 31..12 the physical page, bits 11..0 `Pte` flags.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from abidance.abi.vmi.constants import ENTRIES, IF, PAGE, Flush, Lazy, PageFlag, Pte
from abidance.errors import UsageError
from abidance.kernel import Key, Mode
from abidance.suite.guest import Guest
from abidance.suite.handles import DoneHandle
from abidance.suite.state import StateHandle

if TYPE_CHECKING:
    from abidance.kernel import Hello
    from abidance.platform import Session
    from abidance.spec import Profile, Specification

__all__ = ["GUEST", "VmiGuest", "Window"]

FREE_LINEAR = 0x4000_0000
"""The first linear address of the range that the kernel leaves to cases; 4 MiB aligned."""
RELOC, RELOCATION_NONE = 0x100, 0
TRIES, VIRTUAL_TRIES = 1_000_000, 50_000
PIC_MASTER, PIC_SLAVE, PIT_CHANNEL0, PIT_COMMAND = 0x20, 0xA0, 0x40, 0x43
OCW3_READ_IRR = 0x0A


@dataclass(frozen=True)
class Window:
    """4 MiB of linear space with a page table of its own. `linear` is where it begins, `table` and
    `directory` are physical; entries are linear addresses as SetPxE takes them (`ptep`)."""

    linear: int
    table: int
    directory: int
    direct: int
    current: bool = True
    """Whether `directory` is the one the kernel runs on, so that "current address space" is true."""

    def at(self, index: int, offset: int = 0) -> int:
        """The linear address of page `index` of the window."""
        return self.linear + index * PAGE + offset

    def entry(self, index: int) -> int:
        """The linear address (in the direct map) of the page-table entry of page `index`."""
        return self.direct + self.table + 4 * index

    @property
    def directory_entry(self) -> int:
        """The linear address (in the direct map) of the directory entry that points to the table."""
        return self.direct + self.directory + 4 * (self.linear >> 22)


class VmiGuest(Guest):
    """A guest kernel on i386 that calls VMI."""

    def __init__(self, session: Session, spec: Specification, profile: Profile, *,
                 case: str = "", clauses: tuple[str, ...] = (), seed: int = 0) -> None:
        super().__init__(session, spec, profile, case=case, clauses=clauses, seed=seed)
        self._next_page = 0
        self._next_window = FREE_LINEAR
        self._mapping_told = False

    # -- relocations ----------------------------------------------------------------------------

    @classmethod
    def discovered(cls, hello: Hello, spec: Specification) -> frozenset[str]:
        """The entry points whose relocation is not NONE, as fetched at start; none at all where no
        ROM was accepted or VMI_Init failed."""
        if not hello.number("abi.active", 0):
            return frozenset()
        numbered = [entry for entry in spec.entries if entry.number is not None]
        return frozenset(entry.name for entry in numbered
                         if cls._type(hello.number(f"reloc.{entry.number}", 0)) != RELOCATION_NONE)

    def relocation(self, number: int, edx: int = 0) -> StateHandle:
        """Ask VMI_GetRelocationInfo again for a call number; `.eax` address, `.edx` type in DL."""
        return self.abi_op(RELOC, number, edx, name="VMI_GetRelocationInfo")

    def fetched(self, entry: str | int) -> tuple[int, int]:
        """The relocation fetched at start: (type, address); (0, 0) where no ROM is active."""
        value = self.hello.number(f"reloc.{self.entry_number(entry)}", 0)
        return self._type(value), value & 0xFFFF_FFFF

    @staticmethod
    def _type(value: int) -> int:
        return value >> 32 & 0xFF

    # -- memory and page tables -----------------------------------------------------------------

    def direct(self, phys: int) -> int:
        """The linear address of a physical one in the kernel's direct map."""
        return self.hello.number("direct.offset") + phys

    def page(self) -> int:
        """A zeroed page of the arena nobody uses; physical address."""
        size = self.hello.number("arena.size")
        if self._next_page + PAGE > size:
            raise UsageError(f"the arena has only {size // PAGE} pages")
        phys = self.hello.number("arena.base") + self._next_page
        self._next_page += PAGE
        self.write(phys, bytes(PAGE), phys=True)
        return phys

    def page_with(self, word: int) -> int:
        """A page of the arena whose first word is `word`; physical address."""
        phys = self.page()
        self.write32(phys, word, phys=True)
        return phys

    @property
    def directory(self) -> int:
        """The physical address of the page directory the kernel runs on at the start of the case."""
        return self.hello.number("kernel.pd.phys")

    def read_entry(self, table: int, index: int) -> int:
        """An entry as the guest's memory holds it; `table` physical."""
        return self.read32(table + 4 * index, phys=True).value

    def copy_directory(self, source: int | None = None) -> int:
        """A copy of a page directory (the kernel's by default) in a page of its own, announced as
        a page directory but not loaded; physical address."""
        source = self.directory if source is None else source
        copy = self.page()
        self.write(copy, self.read(source, PAGE, phys=True).value, phys=True)
        self.announce(copy, PageFlag.PD, first=0, count=ENTRIES, clone_of=source)
        return copy

    def announce(self, table: int, level: PageFlag, *, first: int = 0, count: int = 0,
                 clone_of: int | None = None) -> None:
        """Tell the implementation that a physical page becomes a page table or directory
        (AllocatePage, before it is hooked in); where the call is absent, nothing is needed."""
        if self.fetched("AllocatePage")[0] == RELOCATION_NONE:
            return
        flags = int(level) | (PageFlag.ZEROED if clone_of is None else PageFlag.CLONE)
        source = 0 if clone_of is None else clone_of >> 12
        self.call("AllocatePage", eax=table >> 12, edx=flags, ecx=source, stack=(first, count))

    def tell_direct_map(self) -> None:
        """Give the implementation the hint that page-table entries are reached through the direct
        map (SetLinearMapping slot 0), once per case, as every guest does at start."""
        if not self._mapping_told:
            self._mapping_told = True
            pages = self.hello.number("ram.size") // PAGE
            self.call("SetLinearMapping", eax=0, edx=self.direct(0), ecx=pages, stack=(0,))

    def window(self, directory: int | None = None, *, linear: int | None = None) -> Window:
        """A 4 MiB range with a fresh, empty page table, hooked into `directory` (the kernel's by
        default) by SetPxE and flushed; at `linear` (4 MiB aligned), by default where nothing is."""
        self.tell_direct_map()
        directory = self.directory if directory is None else directory
        if linear is None:
            linear = self._next_window
            self._next_window += ENTRIES * PAGE
        table = self.page()
        self.announce(table, PageFlag.PT)
        made = Window(linear, table, directory, self.direct(0), directory == self.directory)
        self.set_entry(made.directory_entry, table | Pte.P | Pte.RW | Pte.US, level=PageFlag.PD)
        self.flush_tlb()
        return made

    def set_entry(self, entry: int, value: int, *, level: PageFlag = PageFlag.PT, defer: bool = False,
                  maps: int | None = None) -> StateHandle:
        """SetPxE: `entry` is the linear address of the entry; `maps` the linear address that it
        maps, given together with "current address space"."""
        return self.call("SetPxE", eax=int(value), edx=entry, ecx=self._entry_flags(level, defer, maps))

    def update_entry(self, entry: int, *, level: PageFlag = PageFlag.PT, defer: bool = False,
                     maps: int | None = None) -> StateHandle:
        """UpdatePxE: the guest has already stored the entry at linear address `entry`."""
        return self.call("UpdatePxE", eax=entry, edx=self._entry_flags(level, defer, maps))

    def invalidate(self, linear: int) -> StateHandle:
        """InvalPage."""
        return self.call("InvalPage", eax=linear)

    def flush_tlb(self, *, everything: bool = False) -> StateHandle:
        """FlushTLB, of global entries too when `everything`."""
        return self.call("FlushTLB", eax=int(Flush.TLB | Flush.GLOBAL if everything else Flush.TLB))

    def lazy(self, mode: Lazy) -> StateHandle:
        """SetLazyMode."""
        return self.call("SetLazyMode", eax=int(mode))

    def map(self, window: Window, index: int, phys: int, flags: int = Pte.P | Pte.RW) -> int:
        """Map page `index` of a window to `phys` by SetPxE and InvalPage; the linear address."""
        linear = window.at(index)
        self.set_entry(window.entry(index), phys | flags, maps=linear if window.current else None)
        self.invalidate(linear)
        return linear

    # -- interrupts -----------------------------------------------------------------------------

    def interrupts_on(self) -> StateHandle:
        """EnableInterrupts."""
        return self.call("EnableInterrupts")

    def interrupts_off(self) -> StateHandle:
        """DisableInterrupts."""
        return self.call("DisableInterrupts")

    def interrupt_mask(self) -> int:
        """GetInterruptMask, bit 9 alone: 0x200 or 0."""
        return self.call("GetInterruptMask").eax & IF

    def irq_policy(self, *, abandon: bool) -> DoneHandle:
        """What the kernel's handlers do after logging an interrupt: return through IRET (the
        default), or abandon what was interrupted and go on with the next operation."""
        return self.set(Key.IRQ_POLICY, int(abandon))

    def pic_unmask(self, irq: int) -> None:
        """Unmask one line of the interrupt controllers, all others stay masked (and the cascade)."""
        enabled = 1 << irq | (1 << 2 if irq >= 8 else 0)
        self.port_out(PIC_MASTER + 1, ~enabled & 0xFF)
        self.port_out(PIC_SLAVE + 1, ~(enabled >> 8) & 0xFF)

    def timer_once(self, count: int = 0x100) -> None:
        """Have PIT channel 0 raise IRQ 0 once, after `count` of its ticks (mode 0)."""
        self.port_out(PIT_COMMAND, 0x30)
        self.port_out(PIT_CHANNEL0, count & 0xFF)
        self.port_out(PIT_CHANNEL0, count >> 8 & 0xFF)

    def wait_irq_pending(self, irq: int, tries: int | None = None) -> None:
        """Wait until the interrupt controller holds a request on this line. It is a precondition
        of the case: if it never comes, the case is an ERROR."""
        port = PIC_MASTER if irq < 8 else PIC_SLAVE
        self.port_out(port, OCW3_READ_IRR)
        bit = 1 << (irq & 7)
        if tries is None:
            tries = VIRTUAL_TRIES if self.virtual_time else TRIES
        polled = self.poll(port, bit, bit, tries)
        self.require(polled.matched, f"the interrupt controller shows a request on IRQ {irq}")

    def pending_timer(self) -> None:
        """Make IRQ 0 pending: unmasked at the controller, requested, and not yet delivered
        because the guest's interrupts are off."""
        self.pic_unmask(0)
        self.timer_once()
        self.wait_irq_pending(0)

    def inject(self, irq: int, after: int) -> None:
        """Raise IRQ `irq` after exactly `after` guest instructions of the next call, transfer or
        fragment. Needs the platform capability "injection"."""
        self.set(Key.MARKER, 1)
        self.control("inject", irq=irq, after=after)

    # -- user mode ------------------------------------------------------------------------------

    def enter_user(self, fragment: str, *, eflags: int = 0x202, esp: int | None = None,
                   may_fault: bool = False, **regs: int) -> StateHandle:
        """Go to a user-mode fragment ("user.probe") by IRET. The normal outcome is STOP."""
        esp = self.user_stack if esp is None else esp
        return self.transfer_with(regs, "IRET", eip=self.fragment(fragment), cs=self.selector("user.cs"),
                                  eflags=eflags, esp=esp, ss=self.selector("user.ds"), may_fault=may_fault)

    def transfer_with(self, regs: Mapping[str, int], entry: str | int, *, eip: int, cs: int | None = None,
                      eflags: int | None = None, esp: int | None = None, ss: int | None = None,
                      extra: Sequence[int] = (), mode: Mode = Mode.INLINE,
                      may_fault: bool = False) -> StateHandle:
        """`Guest.transfer_with`; for SYSEXIT, EDX is `eip` and ECX is `esp` unless given."""
        if entry == "SYSEXIT":
            regs = {"edx": eip, **({} if esp is None else {"ecx": esp}), **regs}
        return super().transfer_with(regs, entry, eip=eip, cs=cs, eflags=eflags, esp=esp, ss=ss, extra=extra,
                                     mode=mode, may_fault=may_fault)

    def sysexit(self, fragment: str, *, esp: int | None = None, may_fault: bool = False,
                **regs: int) -> StateHandle:
        """Go to a user-mode fragment by SYSEXIT (EDX = EIP, ECX = ESP)."""
        esp = self.user_stack if esp is None else esp
        eip = self.fragment(fragment)
        arguments = {"edx": eip, "ecx": esp, **regs}
        return self.transfer_with(arguments, "SYSEXIT", eip=eip, esp=esp, may_fault=may_fault)

    @property
    def user_stack(self) -> int:
        """16 bytes below the top of the user stack; linear."""
        return self.hello.number("user.stack") - 16

    def selector(self, name: str) -> int:
        """A selector of the test kernel: kernel.cs, kernel.ss, kernel.ds, user.cs, user.ds, tss."""
        return self.hello.number(f"selector.{name}")

    @staticmethod
    def _entry_flags(level: PageFlag, defer: bool, maps: int | None) -> int:
        flags = int(level) | (PageFlag.DEFER if defer else 0)
        return flags if maps is None else flags | PageFlag.CURRENT_AS | (maps & ~(PAGE - 1))


GUEST = VmiGuest
