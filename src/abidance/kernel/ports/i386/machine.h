/* SPDX-License-Identifier: BSD-2-Clause
 * i386: selectors, memory map, trap frame; see docs/test-kernel.md. Included by assembly too. */
#ifndef ABIDANCE_MACHINE_H
#define ABIDANCE_MACHINE_H

#define DIRECT_OFFSET 0xC0000000
#define RAM_SIZE 0x1000000
#define ARENA_BASE 0x500000
#define ARENA_SIZE 0x200000
#define USER_CODE 0x08048000
#define USER_DATA 0x08049000
#define USER_STACK 0x0804A000

#define KERNEL_CS 0x60
#define KERNEL_DS 0x68
#define USER_CS 0x73
#define USER_DS 0x7B
#define TSS_SELECTOR 0x80
#define DOUBLE_FAULT_SELECTOR 0xF8

#define VECTOR_DOUBLE_FAULT 8
#define VECTOR_PAGE_FAULT 14
#define VECTOR_IRQ 0x20
#define VECTOR_CALL 0x80
#define VECTOR_STOP 0x81
#define VECTOR_SYSENTER 0x82 /* our own name for an arrival by SYSENTER; it has no vector */

#define NREGS 16
#define SITE_SIZE 16
#define NEAR_SLACK 512
#define ASK_STACK_SIZE 8192

#ifndef __ASSEMBLER__
#include "core.h"

enum { EAX, ECX, EDX, EBX, ESP, EBP, ESI, EDI, EIP, EFLAGS, CS, SS, DS, ES, FS, GS };

struct context { u32 ebx, esi, edi, ebp, esp, eip, near_esp; };

/* What the stubs of trap.S leave on the stack. esp and ss only if the trap came from user mode. */
struct trap_frame {
    u32 gs, fs, es, ds, edi, esi, ebp, unused, ebx, edx, ecx, eax;
    u32 vector, flags_register, error, eip, cs, eflags, esp, ss;
};

struct tss {
    u32 link, esp0, ss0, esp1, ss1, esp2, ss2, cr3, eip, eflags, eax, ecx, edx, ebx, esp, ebp, esi, edi,
        es, cs, ss, ds, fs, gs, ldt;
    u16 trap, io_map;
};

struct site { u8 code[SITE_SIZE]; };

extern struct tss kernel_tss;
extern u32 kernel_directory[1024];
extern u32 doorbell;

static inline void out8(u16 port, u8 value) { __asm__ volatile("outb %0, %1" :: "a"(value), "Nd"(port)); }
static inline u8 in8(u16 port)
{
    u8 value;
    __asm__ volatile("inb %1, %0" : "=a"(value) : "Nd"(port));
    return value;
}
static inline u32 flags_now(void)
{
    u32 flags;
    __asm__ volatile("pushfl; popl %0" : "=r"(flags));
    return flags;
}
static inline u32 cs_now(void) { u32 v; __asm__ volatile("movl %%cs, %0" : "=r"(v)); return v & 0xFFFF; }
static inline u32 ss_now(void) { u32 v; __asm__ volatile("movl %%ss, %0" : "=r"(v)); return v & 0xFFFF; }

/* Near call by the standard convention from the kernel itself: EAX, EDX in, EAX out. Every register is
 * saved, so that a callee that breaks the convention does not break the kernel. */
u32 near_call(u32 target, u32 eax, u32 edx);
extern u32 near_esp;
#endif
#endif
