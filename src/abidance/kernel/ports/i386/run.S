/* SPDX-License-Identifier: BSD-2-Clause
 * Running a routine with every register known before and recorded after. Memory is reached by SS,
 * because a routine may be called with any DS and ES. */
#include "machine.h"
#define LOAD(index) %ss:run_load + 4 * index
#define AFTER(index) %ss:run_after + 4 * index

        .text
        .globl  run_enter, run_memory, run_site, run_return
run_enter:
        pushl   %ebp
        pushl   %ebx
        pushl   %esi
        pushl   %edi
        movl    %esp, run_esp
        movl    LOAD(15), %eax
        movl    %eax, %gs
        movl    LOAD(14), %eax
        movl    %eax, %fs
        movl    LOAD(13), %eax
        movl    %eax, %es
        movl    LOAD(12), %eax
        movl    %eax, %ds
        movl    %ss:run_marker, %edx
        testl   %edx, %edx
        jz      1f
        movl    %ss:run_target, %eax    /* for who counts instructions from the target on */
        outb    %al, %dx
1:      pushl   LOAD(9)
        popfl
        movl    LOAD(4), %esp
        movl    LOAD(0), %eax
        movl    LOAD(1), %ecx
        movl    LOAD(2), %edx
        movl    LOAD(3), %ebx
        movl    LOAD(5), %ebp
        movl    LOAD(6), %esi
        movl    LOAD(7), %edi
        jmp     *%ss:run_entry

run_memory:
        call    *%ss:run_target
        jmp     run_return
run_site:
        .skip   SITE_SIZE, 0x90
run_return:
        movl    %eax, AFTER(0)
        movl    %ecx, AFTER(1)
        movl    %edx, AFTER(2)
        movl    %ebx, AFTER(3)
        movl    %esp, AFTER(4)
        movl    %ebp, AFTER(5)
        movl    %esi, AFTER(6)
        movl    %edi, AFTER(7)
        movl    %ss, %eax
        movl    %eax, AFTER(11)
        movl    %ds, %eax
        movl    %eax, AFTER(12)
        movl    %es, %eax
        movl    %eax, AFTER(13)
        movl    %fs, %eax
        movl    %eax, AFTER(14)
        movl    %gs, %eax
        movl    %eax, AFTER(15)
        movl    %cs, %eax
        movl    %eax, AFTER(10)
        movl    %ss:run_esp, %esp
        pushfl
        popl    AFTER(9)
        movl    $KERNEL_DS, %eax
        movl    %eax, %ds
        movl    %eax, %es
        pushfl                          /* TF DF NT AC must not stay; the interrupt flag is left alone */
        andl    $~0x44500, (%esp)
        popfl
        popl    %edi
        popl    %esi
        popl    %ebx
        popl    %ebp
        ret

        .section .bss
        .balign 4
        .globl  run_load, run_after, run_entry, run_target, run_marker
run_load:       .skip 4 * NREGS
run_after:      .skip 4 * NREGS
run_entry:      .long 0
run_target:     .long 0
run_marker:     .long 0
run_esp:        .long 0

        .balign 4096
        .globl  op_stack_guard, op_stack, op_stack_top, ask_stack_guard, ask_stack, ask_stack_top
op_stack_guard: .skip 4096              /* not mapped: whatever runs away ends in a double fault */
op_stack:       .skip 8192
op_stack_top:
ask_stack_guard: .skip 4096
ask_stack:      .skip ASK_STACK_SIZE    /* for near calls by the kernel itself */
ask_stack_top:
