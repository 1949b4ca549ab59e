# SPDX-License-Identifier: BSD-2-Clause
"""Cases: where interrupts come from and where they enter. The vector, the gate, the pair of 8259
controllers."""

from __future__ import annotations

from abidance.abi.vmi.cases.interrupts_tools import (
    CALENDAR,
    NEVER,
    TIMER,
    expect_only_timer,
    other_pending,
    pending,
    program_controllers,
    quiet,
    requested_behind_mask,
    timers,
    with_gates,
)
from abidance.abi.vmi.constants import IF
from abidance.abi.vmi.guest import VmiGuest
from abidance.kernel import Key
from abidance.suite import case

__all__: list[str] = []

PIC, PIC_MASK, SLAVE_MASK, IRR, ISR, EOI = 0x20, 0x21, 0xA1, 0x0A, 0x0B, 0x20
UNMASK = 0xFE


# -- vector and gate --------------------------------------------------------------------------------


@case("vmi.interrupts.idt-vector", for_each=(0x28, 0x20))
def vector_follows_the_controller(g: VmiGuest, base: int) -> None:
    """IRQ 0 arrives at the vector base that the guest programs into the master controller."""
    quiet(g)
    program_controllers(g, base, 0x48 - base)
    g.pending_timer()
    g.require(not g.log(), "nothing is delivered while the flag is clear")
    g.interrupts_on()
    g.execute("kernel.nops")
    seen = tuple(entry.vector for entry in g.log())
    g.expect_equal(seen, (base,), f"vectors delivered with the controller's base at {base:#x}")


@case("vmi.interrupts.idt-vector")
def gate_of_the_idt_in_force(g: VmiGuest) -> None:
    """IRQ 0 enters where the gate of the IDT loaded last points, here to the handler of vector 2Bh."""
    pending(g)
    g.interrupts_on()
    g.execute("kernel.nops")
    before = tuple(entry.vector for entry in g.log())
    g.require(before == (TIMER,), "with the first IDT it enters at the handler of its own vector")
    foreign = g.read(g.hello.number("kernel.idt") + 8 * 0x2B, 8).value
    with_gates(g, {TIMER: foreign})
    pending(g)
    g.interrupts_on()
    g.execute("kernel.nops")
    seen = tuple(entry.vector for entry in g.log())
    g.expect_equal(seen, (0x2B,), "the handler that ran with the second IDT")


# -- the controllers --------------------------------------------------------------------------------


@case("vmi.interrupts.legacy-pic")
def pic_masks(g: VmiGuest) -> None:
    """Both mask registers read back what was written to them."""
    for port in (PIC_MASK, SLAVE_MASK):
        for value in (0xFF, 0xA5, 0x5A, 0xFF):
            g.port_out(port, value)
            g.expect_equal(g.port_in(port), value, f"the mask at port {port:#x}")


@case("vmi.interrupts.legacy-pic")
def pic_holds_a_masked_line(g: VmiGuest) -> None:
    """A masked line is requested but not delivered, with the flag set; unmasking delivers it."""
    requested_behind_mask(g)
    g.interrupts_on()
    on = g.call("GetInterruptMask")
    held = g.execute("kernel.spin", ecx=NEVER)
    g.port_out(PIC, IRR)
    request = g.port_in(PIC)
    g.port_out(PIC_MASK, UNMASK)
    g.execute("kernel.nops")
    entries = g.log()
    g.require(on.eax & IF == IF, "the flag was set")
    g.expect_equal(held.irqs, 0, "interrupts delivered while the line was masked")
    g.expect_equal(request, 1, "the request while the line was masked", mask=1)
    expect_only_timer(g, entries, "once the line is unmasked")


@case("vmi.interrupts.legacy-pic")
def pic_waits_for_end_of_interrupt(g: VmiGuest) -> None:
    """In service until the end of interrupt: a second request of the line waits for it."""
    g.set(Key.ACKNOWLEDGE, 1)
    pending(g)
    g.interrupts_on()
    first = g.execute("kernel.nops")
    g.port_out(PIC, ISR)
    serving = g.port_in(PIC)
    first_entries = g.log()
    g.timer_once()
    g.wait_irq_pending(0)
    g.set(Key.ACKNOWLEDGE, 0)
    g.interrupts_on()
    blocked = g.execute("kernel.spin", ecx=NEVER)
    g.port_out(PIC, EOI)
    g.execute("kernel.nops")
    entries = g.log()
    g.require(len(timers(first_entries)) == 1 and first.irqs <= 1, "the first request was delivered")
    g.expect_equal(serving, 1, "IRQ 0 in service before its end of interrupt", mask=1)
    g.expect_equal(blocked.irqs, 0, "interrupts delivered before the end of interrupt")
    expect_only_timer(g, entries, "after the end of interrupt")


@case("vmi.interrupts.legacy-pic")
def pic_slave(g: VmiGuest) -> None:
    """A request of the slave arrives at the slave's vector; IRQ 0, of higher priority, comes first."""
    other_pending(g)
    g.interrupts_on()
    g.execute("kernel.nops")
    seen = tuple(entry.vector for entry in g.log())
    g.expect_equal(seen, (TIMER, CALENDAR), "vectors delivered, in order")
