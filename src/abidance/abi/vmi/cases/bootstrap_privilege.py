# SPDX-License-Identifier: BSD-2-Clause
"""The rings in which kernel and user code run after VMI_Init, and the linear addresses that are whose."""

from __future__ import annotations

from abidance.abi.vmi.cases.bootstrap_tools import RPL, init_registers, init_status
from abidance.abi.vmi.cases.discovery_image import image
from abidance.abi.vmi.cases.interrupts_tools import TIMER, pending
from abidance.abi.vmi.constants import PAGE, Vector
from abidance.abi.vmi.guest import VmiGuest
from abidance.suite import StateHandle, case, untested

__all__: list[str] = []

LINEAR = 0x1_0000_0000
LARGE = 0x40_0000
VIRTUAL_TOP = 0x10
RANGES = 16
"""Ranges of 4 MiB below virtual_top that are looked at."""
USER_READ, USER_WRITE = 5, 7
"""Error codes of page faults of user code at a page that is present."""

untested("vmi.privilege.kernel-cpl", "vmi.privilege.dpl-may-rise", "vmi.privilege.limits-may-shrink",
         "vmi.privilege.iopl-may-drop", reason="permission: nothing to violate")


# -- rings --------------------------------------------------------------------------------------------


def looks(g: VmiGuest) -> list[tuple[str, int, int]]:
    """CS and SS as the kernel reads them: after VMI_Init, after traps of the kernel and of the user, after
    an interrupt of the user, and after SYSENTER. Each is left where it entered: nothing loads SS again."""
    _, after = init_registers(g)
    if after.eax:
        g.not_tested(f"VMI_Init returned {after.eax:#x}")
    seen = [("directly after VMI_Init", after.cs, after.ss)]
    now = g.execute("kernel.pushcs")
    seen.append(("later", now.eax & 0xFFFF, now.ebx & 0xFFFF))
    g.execute("kernel.ud2", may_fault=True)
    trapped = g.execute("kernel.pushcs")
    seen.append(("after a fault of the kernel", trapped.eax & 0xFFFF, trapped.ebx & 0xFFFF))
    g.enter_user("user.int80", may_fault=True)
    entered = g.execute("kernel.pushcs")
    seen.append(("after a trap of user code", entered.eax & 0xFFFF, entered.ebx & 0xFFFF))
    pending(g)
    g.irq_policy(abandon=True)
    g.require(g.enter_user("user.wait", ecx=0x1000).vector == TIMER, "user code was interrupted")
    interrupted = g.execute("kernel.pushcs")
    seen.append(("after an interrupt of user code", interrupted.eax & 0xFFFF, interrupted.ebx & 0xFFFF))
    if g.hello.number("sysenter"):
        g.enter_user("user.sysenter", edx=g.fragment("user.stop"), ecx=g.user_stack, may_fault=True)
        called = g.execute("kernel.pushcs")
        seen.append(("after SYSENTER of user code", called.eax & 0xFFFF, called.ebx & 0xFFFF))
    return seen


@case("vmi.privilege.kernel-rpl")
def kernel_rpl_is_as_declared(g: VmiGuest) -> None:
    """The low two bits of CS are the CPL that the target declares, and not 3."""
    declared = int(g.profile.facts["kernel_cpl"])
    g.require(declared != RPL, "the target declares a CPL below 3")
    for when, cs, _ in looks(g):
        g.expect_equal(cs & RPL, declared, f"the RPL of CS as the kernel reads it {when}")


@case("vmi.privilege.stack-rpl")
def stack_rpl_is_that_of_code(g: VmiGuest) -> None:
    """The low two bits of SS equal those of CS, after VMI_Init and after traps."""
    for when, cs, ss in looks(g):
        g.expect_equal(ss & RPL, cs & RPL, f"the RPL of SS as the kernel reads it {when}")


@case("vmi.privilege.user-at-three", for_each=("IRET", "SYSEXIT"))
def user_runs_at_three(g: VmiGuest, way: str) -> None:
    """Code that was returned to with user selectors reads CPL 3 in CS and SS, may not execute privileged
    instructions, and does not reach the kernel's pages."""
    init_status(g)
    own = g.direct(g.hello.number("arena.base"))
    g.require(not g.write32(own, 1).faulted, "the kernel reaches the page")
    probe = enter(g, way, "user.probe")
    if g.expect_stopped(probe, "user code runs"):
        g.expect_equal(probe.ebx & RPL, 3, "the RPL of CS as user code reads it")
        g.expect_equal(probe.ecx & RPL, 3, "the RPL of SS as user code reads it")
        g.expect_equal(probe.cs & RPL, 3, "the RPL of CS in the frame of its trap")
    g.expect_fault(enter(g, way, "user.gp"), Vector.GP, "MOV to CR3 by user code faults")
    g.expect_fault(enter(g, way, "user.hlt"), Vector.GP, "HLT by user code faults")
    for fragment, error in (("user.load", USER_READ), ("user.store", USER_WRITE)):
        state = enter(g, way, fragment, eax=own, ebx=2)
        g.expect_fault(state, Vector.PF, f"{fragment} at a page of the kernel faults", error=error)


def enter(g: VmiGuest, way: str, fragment: str, **regs: int) -> StateHandle:
    """Go to a user fragment by IRET or by SYSEXIT."""
    if way == "IRET":
        return g.enter_user(fragment, may_fault=True, **regs)
    eip, esp = g.fragment(fragment), g.user_stack
    return g.transfer_with({"edx": eip, "ecx": esp, **regs}, "SYSEXIT", eip=eip, esp=esp, may_fault=True)


# -- linear addresses -----------------------------------------------------------------------------------


def top_of(g: VmiGuest) -> int:
    """The end of the guest's linear addresses: virtual_top, or 4 GiB where that is zero."""
    return image(g).long(VIRTUAL_TOP) or LINEAR


def hole(g: VmiGuest) -> list[int]:
    """Addresses at and above virtual_top: the first and last word of its first page, one of the second
    page, some between, and the last of all."""
    top = image(g).long(VIRTUAL_TOP)
    if top == 0:
        g.skip("virtual_top is zero: no addresses are reserved")
    size = LINEAR - top
    inside = sorted({top + g.rng.randrange(0, size // 4) * 4 for _ in range(6)})
    first = [at for at in (top, top + PAGE - 4, top + PAGE) if at < LINEAR]
    return [*first, top + size // 2 & ~3, *inside, LINEAR - 4]


@case("vmi.space.below-top-free")
def pages_below_top_are_the_guests(g: VmiGuest) -> None:
    """Pages that the guest maps below virtual_top, up to the very last, hold what it has put there, for
    reading and for writing."""
    top, kernel_end = top_of(g), g.direct(g.hello.number("ram.size"))
    last = (top - 1) & ~(LARGE - 1)
    g.require(last >= kernel_end, "there is room between the kernel's map and virtual_top")
    places = {last: sorted({0, ((top - last) // PAGE) - 2, ((top - last) // PAGE) - 1} - {-1}),
              0xA000_0000: [1023], 0x4000_0000: [0], 0x0000_0000: [1, 17], kernel_end: [0, 1023],
              last - LARGE: [0, 1023]}
    for linear, indices in places.items():
        w = g.window(linear=linear)
        for index in indices:
            mark, other = g.poison(), g.poison()
            page = g.page_with(mark)
            g.map(w, index, page)
            first = g.read32(w.at(index))
            g.write32(w.at(index, PAGE - 4), other)
            second, stored = g.read32(w.at(index, PAGE - 4)), g.read32(page + PAGE - 4, phys=True)
            g.expect_equal(first, mark, f"the first word of the page mapped at {w.at(index):#x}")
            g.expect_equal(second, other, f"the last word of the page mapped at {w.at(index):#x}")
            g.expect_equal(stored, other, f"memory after a store through {w.at(index, PAGE - 4):#x}")


@case("vmi.space.below-top-free", "vmi.rom.virtual-top")
def nothing_is_occupied_below_top(g: VmiGuest) -> None:
    """In each of the 16 large ranges below virtual_top, the first and last pages that the guest maps hold
    what it has put there: the hypervisor occupies nothing lower than it says."""
    end, kernel_end = top_of(g) & ~(LARGE - 1), g.direct(g.hello.number("ram.size"))
    reads = []
    for linear in range(max(end - RANGES * LARGE, kernel_end), end, LARGE):
        w, mark = g.window(linear=linear), g.poison()
        page = g.page_with(mark)
        for index in (0, 1, 1022, 1023):
            g.write32(g.map(w, index, page) + 8, mark ^ index)
            first, held = g.read32(w.at(index)), g.read32(page + 8, phys=True)
            reads.append((w.at(index), mark, first, mark ^ index, held))
    g.require(bool(reads), "there is room between the kernel's map and virtual_top")
    for linear, mark, first, stored, held in reads:
        g.expect_equal(first, mark, f"the page mapped at {linear:#x}")
        g.expect_equal(held, stored, f"memory after a store at {linear + 8:#x}")


@case("vmi.space.below-top-free")
def directory_below_top_is_the_guests(g: VmiGuest) -> None:
    """A page directory that the guest loads holds, in the entries below virtual_top, what it stored."""
    top = top_of(g)
    copy = g.copy_directory()
    whole = g.read(copy, PAGE, phys=True)
    g.call("SetCR3", eax=copy)
    g.read32(g.direct(0))
    later = g.read(copy, PAGE, phys=True)
    count = 4 * (top // LARGE)
    before, after = (entries(handle.value[:count]) for handle in (whole, later))
    g.expect(before == after, "the entries below virtual_top of a directory that was loaded")


@case("vmi.space.hole-protected")
def kernel_does_not_reach_the_hole(g: VmiGuest) -> None:
    """Loads and stores of the kernel at and above virtual_top fault."""
    own = g.direct(g.hello.number("arena.base"))
    g.require(g.execute("kernel.load", eax=own).returned, "the kernel reaches its own memory")
    for at in hole(g):
        for fragment in ("kernel.load", "kernel.store"):
            state = g.execute(fragment, eax=at, ebx=g.poison(), may_fault=True)
            g.expect(state.faulted, f"{fragment} at {at:#x} faults", seen=state.ended)


@case("vmi.space.user-cannot-reach-hole")
def user_does_not_reach_the_hole(g: VmiGuest) -> None:
    """Loads and stores of user code at and above virtual_top fault, also after calls have been made."""
    own = g.hello.number("user.data")
    for fragment in ("user.load", "user.store"):
        g.require(g.enter_user(fragment, eax=own, ebx=1).stopped, "user code reaches its own data")
    g.call("SetCR3", eax=g.copy_directory())
    g.map(g.window(), 0, g.page())
    for at in hole(g):
        for fragment in ("user.load", "user.store"):
            state = g.enter_user(fragment, eax=at, ebx=g.poison(), may_fault=True)
            g.expect(state.faulted, f"{fragment} at {at:#x} faults", seen=state.ended)


def entries(table: bytes) -> list[int]:
    """The entries of a table without their accessed and dirty bits."""
    return [int.from_bytes(table[at:at + 4], "little") & ~0x60 for at in range(0, len(table), 4)]
