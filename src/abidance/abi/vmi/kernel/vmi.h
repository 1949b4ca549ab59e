/* SPDX-License-Identifier: BSD-2-Clause
 * VMI 3.0 (VMware's Virtual Machine Interface) as the kernel needs it. */
#ifndef ABIDANCE_VMI_H
#define ABIDANCE_VMI_H

#define VMI_CALLS 74
#define VMI_HEADER_SIZE 0x90
#define VMI_INIT 0x80
#define VMI_GET_RELOC 0x88
#define ROM_FIRST 0xC0000
#define ROM_LIMIT 0xE0000
#define ROM_STEP 0x800

#define CALL_UPDATE_KERNEL_STACK 14
#define CALL_GET_CR2 20
#define CALL_DISABLE_INTERRUPTS 30
#define CALL_GET_INTERRUPT_MASK 31
#define CALL_SET_INTERRUPT_MASK 32
#define CALL_IRET 33
#define CALL_SYSEXIT 34

#define RELOC_NONE 0
#define RELOC_CALL 1
#define RELOC_JUMP 2
#define RELOC_NOP 3

#define NATIVE_ABSENT 0
#define NATIVE_CODE 1    /* bytes, run in line */
#define NATIVE_ROUTINE 2 /* near call; has stack arguments or branches */
#define NATIVE_NOTHING 3 /* the native operation is to do nothing */

#ifndef __ASSEMBLER__
#include "core.h"

struct native { u32 number, kind, start, end; };
extern const struct native native_table[], native_table_end[];

/* Scan C0000h..DFFFFh; report every candidate in HELLO. Linear address of the first accepted ROM, or 0. */
u32 rom_find(void);
#endif
#endif
