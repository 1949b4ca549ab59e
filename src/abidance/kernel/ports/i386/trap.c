/* SPDX-License-Identifier: BSD-2-Clause
 * Traps: record, then abandon to the nearest recovery point, or return from an interrupt by the ABI's way. */
#include "abi.h"
#include "i386.h"

enum { PIC1 = 0x20, PIC2 = 0xA0, EOI = 0x20, READ_ISR = 0x0B, VM = 0x20000 };

u32 trap_registers[NREGS];
static u32 depth; /* traps being handled now */

/* A question to the ABI from inside a handler. It may fault in turn: then the answer is UNKNOWN. */
static u64 ask(u64 (*question)(void))
{
    struct recovery point;
    volatile u64 answer = UNKNOWN;
    RECOVER(point) {
        answer = question();
        recover_end(&point);
    }
    return answer;
}

static void acknowledge(u32 irq)
{
    u16 pic = irq < 8 ? PIC1 : PIC2;
    if ((irq & 7) == 7) { /* spurious interrupts are not in service */
        out8(pic, READ_ISR);
        if (!(in8(pic) & 0x80)) {
            if (irq > 8)
                out8(PIC1, EOI);
            return;
        }
    }
    if (irq >= 8)
        out8(PIC2, EOI);
    out8(PIC1, EOI);
}

static void keep_registers(const struct trap_frame *f, u32 sp, u32 ss)
{
    const u32 values[NREGS] = {f->eax, f->ecx, f->edx, f->ebx, sp, f->ebp, f->esi, f->edi, f->eip, f->eflags,
                               f->cs & 0xFFFF, ss, f->ds & 0xFFFF, f->es & 0xFFFF, f->fs & 0xFFFF,
                               f->gs & 0xFFFF};
    for (u32 i = 0; i < NREGS; i++)
        trap_registers[i] = values[i];
}

static void handle(const struct trap_frame *f, u32 sp, u32 ss)
{
    u32 irq = f->vector - VECTOR_IRQ, is_irq = irq < 16;
    struct trap trap = {
        .kind = is_irq ? LOG_IRQ : f->vector == VECTOR_STOP ? LOG_STOP : LOG_FAULT,
        .vector = f->vector, .error = f->error, .pc = f->eip, .cs = f->cs & 0xFFFF, .flags_image = f->eflags,
        .flags_register = f->flags_register, .sp = sp, .ss = ss, .mask = UNKNOWN, .nested = depth > 0};
    if (!depth++)
        keep_registers(f, sp, ss);
    machine_double_fault_stack(depth);
    if (depth == 1) {
        trap.mask = ask(abi_module.interrupt_mask);
        if (f->vector == VECTOR_PAGE_FAULT || f->vector == VECTOR_DOUBLE_FAULT)
            trap.address = ask(abi_module.fault_address);
    }
    log_trap(&trap);
    if (is_irq) {
        irq_count++;
        if (!setting_acknowledge)
            acknowledge(irq);
    }
    machine_double_fault_stack(--depth);
    if (is_irq && !(setting_irq_policy && routine_runs))
        return;
    struct recovery *point = recover_point;
    if (!point)
        core_panic(&trap);
    recover_point = point->outer;
    point->trap = trap;
    recover_resume(&point->context);
}

/* From trap.S. A trap within the kernel's ring has no ESP and SS in its frame. */
void trap(const struct trap_frame *f)
{
    if ((f->cs & 3) == 3 || f->eflags & VM)
        handle(f, f->esp, f->ss & 0xFFFF);
    else
        handle(f, (u32)&f->esp, ss_now());
}

/* From the double fault's task: the interrupted registers are in the kernel's TSS. */
void double_fault(void)
{
    const struct tss *t = &kernel_tss;
    struct trap_frame f = {
        .gs = t->gs, .fs = t->fs, .es = t->es, .ds = t->ds, .edi = t->edi, .esi = t->esi, .ebp = t->ebp,
        .ebx = t->ebx, .edx = t->edx, .ecx = t->ecx, .eax = t->eax, .vector = VECTOR_DOUBLE_FAULT,
        .flags_register = t->eflags, .eip = t->eip, .cs = t->cs, .eflags = t->eflags};
    machine_leave_task();
    handle(&f, t->esp, t->ss & 0xFFFF);
}
