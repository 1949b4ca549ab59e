# SPDX-License-Identifier: BSD-2-Clause
"""Benign uses of every entry point that this edition describes: arguments under which the call comes
back to its caller, on its quick and on its slow path, each with the effect that shows that it did
something. Declares no case.

A use is a function of a `Trial`. What is looked at, the registers or the effect, is the case's
choice: the same uses serve the clauses stamped on every entry point and those that say under which
circumstances a call has to work.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from enum import Enum
from typing import TYPE_CHECKING

from abidance.abi.vmi.cases.interrupts_tools import pending
from abidance.abi.vmi.constants import IF, PAGE, Cr0, Flush, Lazy, PageFlag, Pte, Vector
from abidance.abi.vmi.guest import VmiGuest, Window
from abidance.suite import StateHandle

if TYPE_CHECKING:
    from abidance.suite.handles import WordHandle

__all__ = ["GET_RELOCATION_INFO", "SLOT_GET_RELOCATION", "SLOT_INIT", "TRANSFERS", "USES", "Reach", "Trial",
           "elsewhere", "rom_linear", "use"]

GET_RELOCATION_INFO = "GetRelocationInfo"
SLOT_INIT, SLOT_GET_RELOCATION = 0x80, 0x88
RW = int(Pte.P | Pte.RW)
BASE = 0xFFFF_F000
MODES_OFF = 0xFFFF_FFFF ^ (Cr0.TS | Cr0.EM)
RELOCATION_TYPE = 0xFF
TSS_ESP0 = 4
GDT_ENTRIES = 32
ELSEWHERE = (0x0000_FFFF, 0x20CF_F300)
"""Both halves of a descriptor: base 20000000h, limit 4 GiB, writable data, DPL 3."""
LOAD_BY_DS = b"\x8B\x07\xC3"
"""MOV (%EDI), %EAX; RET."""

Use = Callable[["Trial"], None]


class Reach(Enum):
    """How a trial reaches its call."""

    POINTER = "a near call to the fetched address"
    INLINE = "a patched site"
    NATIVE = "the native instructions"
    ASKED = "a near call to the address asked for at the start of the trial"


class Trial:
    """One entry point put to use. `fixed` are registers given to every call; `judged` says whether
    effects are looked at; `around` is done directly before and directly after each call.
    `states` are the calls made; `when` stands in findings behind the entry point's name."""

    def __init__(self, g: VmiGuest, entry: str, *, fixed: Mapping[str, int] | None = None,
                 reach: Reach = Reach.POINTER, judged: bool = False,
                 around: Callable[[], None] | None = None, clause: str | None = None) -> None:
        self.g, self.entry, self.fixed = g, entry, dict(fixed or {})
        self.reach, self.judged, self.around, self.clause = reach, judged, around, clause
        self.states: list[StateHandle] = []
        self.when = ""
        self.asked = g.relocation(g.entry_number(entry)).eax if reach is Reach.ASKED else 0

    def call(self, *, stack: tuple[int, ...] = (), prepare: Callable[[VmiGuest], None] | None = None,
             **regs: int) -> StateHandle:
        """Make the call once, after `prepare` has been done to the guest."""
        if self.around:
            self.around()
        if prepare:
            prepare(self.g)
        state = self._made(self.fixed | regs, stack)
        if self.around:
            self.around()
        self.states.append(state)
        return state

    def leave(self, **frame: int) -> StateHandle:
        """Make a transfer once; `frame` as `Guest.transfer` takes it."""
        state = self.g.transfer(self.entry, **{**frame, **self.fixed})  # type: ignore[arg-type]
        self.states.append(state)
        return state

    def shows(self, seen: int | bytes | WordHandle, expected: int | bytes, what: str, *,
              mask: int | None = None) -> None:
        """The effect, where it is judged."""
        if self.judged:
            named = f"{self.entry}{self.when}: {what}"
            self.g.expect_equal(seen, expected, named, mask=mask, clause=self.clause)

    def flag(self, state: StateHandle, on: bool, what: str) -> None:
        """The virtual flag directly after a call, where it is judged."""
        if self.judged:
            mask = state.mask_after
            self.g.require(mask is not None, "the interrupt mask can be read after a call")
            self.shows(mask or 0, IF if on else 0, what, mask=IF)

    def needs(self, condition: bool, what: str) -> None:
        """A precondition of the effect, where it is judged."""
        if self.judged:
            self.g.require(condition, what)

    def _made(self, regs: Mapping[str, int], stack: tuple[int, ...]) -> StateHandle:
        if self.reach is Reach.ASKED:
            return execute_with(self.g, self.asked, regs, stack)
        if self.entry == GET_RELOCATION_INFO:
            return execute_with(self.g, rom_linear(self.g) + SLOT_GET_RELOCATION, regs)
        return self.g.call_with(regs, self.entry, stack=stack, inline=self.reach is Reach.INLINE,
                                native=self.reach is Reach.NATIVE)


def execute_with(g: VmiGuest, address: int, regs: Mapping[str, int],
                 stack: tuple[int, ...] = ()) -> StateHandle:
    """`Guest.execute` at an address with its registers as a mapping."""
    return g.execute(address, stack=stack, **regs)  # type: ignore[arg-type]


def rom_linear(g: VmiGuest) -> int:
    """Where the kernel has the image mapped; a precondition of the case is that there is one."""
    phys = g.hello.number("rom.phys")
    g.require(phys != 0 and g.hello.number("abi.active") == 1, "an image was found and VMI_Init succeeded")
    return g.direct(phys)


def use(trial: Trial) -> Trial:
    """Carry out the uses of a trial's entry point."""
    USES[trial.entry](trial)
    return trial


def elsewhere(g: VmiGuest) -> int:
    """A selector of a data segment that user code may use and whose base leads where nothing is mapped:
    what uses it faults, also where an engine lets null selectors through. Seen to fault."""
    gdt = g.hello.number("kernel.gdt")
    table = g.read(gdt, GDT_ENTRIES * 8).value
    index = next(at for at in range(1, GDT_ENTRIES) if not any(table[8 * at:8 * at + 8]))
    low, high = ELSEWHERE
    g.call("WriteGDTEntry", eax=gdt, edx=index, ecx=low, stack=(high,))
    code = g.direct(g.page())
    g.write(code, LOAD_BY_DS)
    selector = index << 3 | 3
    flat, based = g.execute(code, edi=code), g.execute(code, edi=code, ds=selector, may_fault=True)
    g.require(flat.returned and based.faulted, "a load by the segment leads where nothing is mapped")
    return selector


# -- interrupts -------------------------------------------------------------------------------------


def _enable(t: Trial) -> None:
    for turn in (t.g.interrupts_off, t.g.interrupts_on):
        turn()
        t.flag(t.call(), True, "the virtual flag afterwards")
    t.shows(t.call(prepare=pending).irqs, 1, "interrupts delivered that were pending")


def _disable(t: Trial) -> None:
    for turn in (t.g.interrupts_on, t.g.interrupts_off):
        turn()
        t.flag(t.call(), False, "the virtual flag afterwards")


def _get_mask(t: Trial) -> None:
    for turn, wanted in ((t.g.interrupts_on, IF), (t.g.interrupts_off, 0)) * 2:
        turn()
        t.shows(t.call().eax, wanted, "the mask it returns", mask=IF)


def _set_mask(t: Trial) -> None:
    for turn, wanted in ((t.g.interrupts_off, IF), (t.g.interrupts_on, 0)):
        for _ in range(2):
            turn()
            t.flag(t.call(eax=wanted | 2), bool(wanted), f"the virtual flag after mask {wanted:#x}")
    t.shows(t.call(prepare=pending, eax=IF | 2).irqs, 1, "interrupts delivered that were pending")


def _halt(t: Trial) -> None:
    for _ in range(2):
        state = t.call(prepare=pending)
        t.shows(state.irqs, 1, "interrupts delivered that were pending")
        t.flag(state, True, "the virtual flag afterwards")


# -- control registers ------------------------------------------------------------------------------


def _set_cr0(t: Trial) -> None:
    value = t.g.call("GetCR0").eax & MODES_OFF
    for turn in (0, Cr0.TS, 0, Cr0.TS, 0):
        t.call(eax=value | turn)
        shown, tried = t.g.call("GetCR0"), t.g.execute("kernel.fpu", may_fault=True)
        t.shows(shown.eax, turn, "TS as GetCR0 shows it", mask=Cr0.TS)
        t.shows(tried.vector or 0, Vector.NM if turn else 0, "the vector that an x87 instruction raises")


def _clts(t: Trial) -> None:
    value = t.g.call("GetCR0").eax & MODES_OFF
    for _ in range(2):
        t.g.call("SetCR0", eax=value | Cr0.TS)
        before = t.g.execute("kernel.fpu", may_fault=True)
        t.call()
        after = t.g.execute("kernel.fpu", may_fault=True)
        t.call()
        t.needs(before.vector == Vector.NM, "x87 instructions fault before CLTS")
        t.shows(after.vector or 0, 0, "the vector that an x87 instruction raises")


def _set_cr2(t: Trial) -> None:
    for value in (t.g.poison(), t.g.poison(), 0):
        t.call(eax=value)
        t.shows(t.g.call("GetCR2").eax, value, "what GetCR2 returns")


def _get_cr2(t: Trial) -> None:
    for value in (t.g.poison(), t.g.poison()):
        t.g.call("SetCR2", eax=value)
        t.shows(t.call().eax, value, "what SetCR2 was given")
    w = t.g.window()
    t.needs(t.g.read32(w.at(3, 0x124), may_fault=True).faulted, "the page is not mapped")
    t.shows(t.call().eax, w.at(3, 0x124), "the address of the page fault")


def _another_space(g: VmiGuest) -> tuple[int, int, int, int]:
    """A linear address, the directory in which it shows another page than in the kernel's own, and
    what it shows in the kernel's and in that one."""
    here, first, second = g.window(), g.poison(), g.poison()
    linear = g.map(here, 0, g.page_with(first))
    there = g.window(directory=g.copy_directory(), linear=here.linear)
    g.map(there, 0, g.page_with(second))
    return linear, there.directory, first, second


def _set_cr3(t: Trial) -> None:
    linear, other, first, second = _another_space(t.g)
    for directory, mark in ((t.g.directory, first), (other, second), (t.g.directory, first), (other, second)):
        t.call(eax=directory)
        t.shows(t.g.read32(linear), mark, "the page seen through the directory it loads")
    t.g.call("SetCR3", eax=t.g.directory)


def _get_cr3(t: Trial) -> None:
    _, other, _, _ = _another_space(t.g)
    for directory in (t.g.directory, other):
        t.g.call("SetCR3", eax=directory)
        t.shows(t.call().eax, directory, "the base", mask=BASE)
    t.g.call("SetCR3", eax=t.g.directory)


def _get_cr0(t: Trial) -> None:
    value = t.call().eax
    t.shows(value, Cr0.PE | Cr0.PG, "PE and PG", mask=Cr0.PE | Cr0.PG)
    for turn in (Cr0.TS, 0):
        t.g.call("SetCR0", eax=value & MODES_OFF | turn)
        t.shows(t.call().eax, turn, "TS", mask=Cr0.TS)


def _features(g: VmiGuest) -> list[int]:
    """Bits of CR4 that the processor reports, that are not set yet, and that change little: OSFXSR, DE."""
    reported, value = g.call("CPUID", eax=1, ecx=0).edx, g.call("GetCR4").eax
    return [bit for bit, number in ((0x200, 24), (0x8, 2)) if reported >> number & 1 and not value & bit]


def _set_cr4(t: Trial) -> None:
    value, mark = t.g.call("GetCR4").eax, t.g.poison()
    linear = t.g.map(t.g.window(), 2, t.g.page_with(mark))
    for bit in (0, *_features(t.g)):
        value |= bit
        t.call(eax=value)
        t.shows(t.g.call("GetCR4").eax, value, "what GetCR4 shows after it")
        t.shows(t.g.read32(linear), mark, "a mapped page")


def _get_cr4(t: Trial) -> None:
    value = t.call().eax
    for bit in (0, *_features(t.g)):
        value |= bit
        t.g.call("SetCR4", eax=value)
        shown = t.call().eax
        t.shows(shown, 0, "PAE, which the guest has not turned on", mask=0x20)
        t.shows(shown, value, "what SetCR4 was given")


# -- page tables ------------------------------------------------------------------------------------


def _mapped(g: VmiGuest, w: Window, index: int) -> tuple[int, int, int]:
    """A page of a window mapped and read, so that it is in the TLB; its linear address, and the entry
    and the mark of another page to take its place."""
    old, new = g.poison(), g.poison()
    linear = g.map(w, index, g.page_with(old))
    g.require(g.read32(linear).value == old, "the old page is seen first")
    return linear, g.page_with(new) | RW, new


def _set_pxe(t: Trial) -> None:
    w = t.g.window()
    for index, flags in ((3, PageFlag.PT), (1023, PageFlag.PT | PageFlag.CURRENT_AS | w.at(1023))):
        linear, entry, mark = _mapped(t.g, w, index)
        t.call(eax=entry, edx=w.entry(index), ecx=int(flags))
        t.g.invalidate(linear)
        t.shows(t.g.read32(linear), mark, "the page behind the entry it stored")
        t.call(eax=0, edx=w.entry(index), ecx=int(flags))
        t.g.invalidate(linear)
        t.shows(int(t.g.read32(linear, may_fault=True).faulted), 1, "a fault where it cleared the entry")


def _update_pxe(t: Trial) -> None:
    w = t.g.window()
    for index, flags in ((4, PageFlag.PT), (1022, PageFlag.PT | PageFlag.CURRENT_AS | w.at(1022))):
        linear, entry, mark = _mapped(t.g, w, index)
        t.g.write32(w.entry(index), entry)
        t.call(eax=w.entry(index), edx=int(flags))
        t.g.invalidate(linear)
        t.shows(t.g.read32(linear), mark, "the page behind the entry that it was told of")


def _inval_page(t: Trial) -> None:
    w = t.g.window()
    for index in (5, 1021):
        linear, entry, mark = _mapped(t.g, w, index)
        t.g.set_entry(w.entry(index), entry)
        t.call(eax=linear)
        t.shows(t.g.read32(linear), mark, "the page behind the changed entry")


def _flush_tlb(t: Trial) -> None:
    w = t.g.window()
    for index, flags in ((6, Flush.TLB), (1020, Flush.TLB | Flush.GLOBAL)):
        linear, entry, mark = _mapped(t.g, w, index)
        t.g.set_entry(w.entry(index), entry)
        t.call(eax=int(flags))
        t.shows(t.g.read32(linear), mark, "the page behind the changed entry")


def _set_linear_mapping(t: Trial) -> None:
    pages = t.g.hello.number("ram.size") // PAGE
    for _ in range(2):
        t.call(eax=0, edx=t.g.direct(0), ecx=pages, stack=(0,))
    w = t.g.window()
    linear, entry, mark = _mapped(t.g, w, 7)
    t.g.set_entry(w.entry(7), entry)
    t.g.invalidate(linear)
    t.shows(t.g.read32(linear), mark, "the page behind an entry reached through the range")


def _set_lazy_mode(t: Trial) -> None:
    w = t.g.window()
    for mode in (Lazy.MMU, Lazy.CPU):
        linear, entry, mark = _mapped(t.g, w, 8 + mode)
        t.call(eax=int(mode))
        t.g.set_entry(w.entry(8 + mode), entry)
        t.call(eax=int(Lazy.OFF))
        t.g.invalidate(linear)
        t.shows(t.g.read32(linear), mark, "the page behind an entry set in the mode, after it has ended")


def _update_kernel_stack(t: Trial) -> None:
    tss = t.g.hello.number("kernel.tss")
    esp0, ss0 = t.g.read32(tss + TSS_ESP0), t.g.read32(tss + TSS_ESP0 + 4)
    for offset in (0, 0x100):
        esp, ss = esp0.value - offset, ss0.value & 0xFFFF
        t.g.write32(tss + TSS_ESP0, esp)
        t.call(eax=ss, edx=esp)
        t.g.enter_user("user.stop", eflags=0x202, may_fault=True)
        frame = t.g.read32(esp - 8)
        t.shows(frame, t.g.user_stack, "the user's ESP in the frame of the next trap")


# -- transfers and the query --------------------------------------------------------------------------


def _iret(t: Trial) -> None:
    user = {"cs": t.g.selector("user.cs"), "ss": t.g.selector("user.ds"), "esp": t.g.user_stack}
    for fragment in ("user.stop", "user.probe"):
        state = t.leave(eip=t.g.fragment(fragment), eflags=0x202, **user)
        t.shows(state.cs & 3, 3, "the CPL of the user's code")
        t.shows(state.esp, t.g.user_stack, "the user's stack pointer")
    kernel = t.leave(eip=t.g.fragment("kernel.stop"), cs=t.g.selector("kernel.cs"), eflags=2)
    t.shows(kernel.cs, t.g.selector("kernel.cs"), "CS of the kernel's code")
    t.shows(kernel.eip, t.g.fragment("kernel.stop") + 2, "where the kernel has gone on")


def _sysexit(t: Trial) -> None:
    for esp in (t.g.user_stack, t.g.user_stack - 0x40):
        eip = t.g.fragment("user.probe")
        state = t.leave(eip=eip, esp=esp, edx=eip, ecx=esp)
        t.shows(state.cs & 3, 3, "the CPL of the user's code")
        t.shows(state.esp, esp, "the user's stack pointer")
        t.shows(state.ebx, state.cs, "CS as user code reads it")


def _get_relocation(t: Trial) -> None:
    for entry in ("IRET", "GetInterruptMask", "SetCR3", "Reboot"):
        number = t.g.entry_number(entry)
        state, (kind, address) = t.call(eax=number), t.g.fetched(entry)
        t.shows(state.edx, kind, f"the type of {entry}", mask=RELOCATION_TYPE)
        t.shows(state.eax if kind else address, address, f"the address of {entry}")


TRANSFERS: dict[str, Use] = {"IRET": _iret, "SYSEXIT": _sysexit}
USES: dict[str, Use] = {
    "EnableInterrupts": _enable, "DisableInterrupts": _disable, "GetInterruptMask": _get_mask,
    "SetInterruptMask": _set_mask, "Halt": _halt,
    "SetCR0": _set_cr0, "SetCR2": _set_cr2, "SetCR3": _set_cr3, "SetCR4": _set_cr4, "GetCR0": _get_cr0,
    "GetCR2": _get_cr2, "GetCR3": _get_cr3, "GetCR4": _get_cr4, "CLTS": _clts,
    "UpdateKernelStack": _update_kernel_stack,
    "SetPxE": _set_pxe, "UpdatePxE": _update_pxe, "InvalPage": _inval_page, "FlushTLB": _flush_tlb,
    "SetLinearMapping": _set_linear_mapping, "SetLazyMode": _set_lazy_mode,
    GET_RELOCATION_INFO: _get_relocation, **TRANSFERS,
}
"""The uses of each entry point that returns or resumes, by name."""
