/* SPDX-License-Identifier: BSD-2-Clause
 * Multiboot entry: paging on, high half, no low map left; then machine.c. */
#include "machine.h"
#define PHYS(symbol) ((symbol) - DIRECT_OFFSET)
#define MULTIBOOT_MAGIC 0x1BADB002
#define MULTIBOOT_FLAGS 0x3

        .section .multiboot, "a"
        .balign 4
        .long   MULTIBOOT_MAGIC, MULTIBOOT_FLAGS, -(MULTIBOOT_MAGIC + MULTIBOOT_FLAGS)

        .section .text
        .globl  entry
entry:  cli
        cld
        movl    %ebx, %esi              /* multiboot information */
        movl    $PHYS(direct_tables), %edi
        movl    $0x003, %eax            /* present, writable, supervisor */
        movl    $(RAM_SIZE / 4096), %ecx
1:      movl    %eax, (%edi)
        addl    $4, %edi
        addl    $4096, %eax
        decl    %ecx
        jnz     1b
        movl    $PHYS(kernel_directory), %edi
        movl    $(PHYS(direct_tables) + 3), %eax
        movl    %eax, (%edi)            /* low map, for the next few instructions only */
        movl    $(RAM_SIZE >> 22), %ecx
        leal    (DIRECT_OFFSET >> 20)(%edi), %edx
1:      movl    %eax, (%edx)
        addl    $4, %edx
        addl    $4096, %eax
        decl    %ecx
        jnz     1b
        movl    %edi, %cr3
        xorl    %eax, %eax
        movl    %eax, %cr4
        movl    $0x80010033, %eax       /* PG WP NE ET MP PE */
        movl    %eax, %cr0
        movl    $high, %eax
        jmp     *%eax
high:   movl    $0, kernel_directory
        movl    %cr3, %eax
        movl    %eax, %cr3
        movl    $kernel_stack_top, %esp
        pushl   $0
        popfl
        xorl    %ebp, %ebp
        pushl   %esi
        call    machine_start
1:      jmp     1b

        .section .bss
        .balign 4096
        .globl  kernel_directory, kernel_stack_top
kernel_directory:       .skip 4096
direct_tables:          .skip RAM_SIZE / 1024
        .globl  direct_tables
kernel_stack:           .skip 16384
kernel_stack_top:
