/* SPDX-License-Identifier: BSD-2-Clause
 * What each VMI call replaces: the instructions a kernel runs when a call is not offered. */
#include "vmi.h"

        .macro  ENTRY number, kind
        .section .rodata.native, "a"
        .long   \number, \kind, start_\number, end_\number
        .text
        .balign 16
start_\number:
        .endm
        .macro  CODE number, text:vararg
        ENTRY   \number, NATIVE_CODE
        \text
end_\number:
        .endm
        .macro  NOTHING number
        ENTRY   \number, NATIVE_NOTHING
end_\number:
        .endm

        .section .rodata.native, "a"
        .balign 4
        .globl  native_table, native_table_end
native_table:

        CODE    0, cpuid
        CODE    1, wrmsr
        CODE    2, rdmsr
        CODE    3, lgdtl (%eax)
        CODE    4, lldt %ax
        CODE    5, lidtl (%eax)
        CODE    6, ltr %ax
        CODE    7, sgdtl (%eax)
        CODE    8, sldtl %eax
        CODE    9, sidtl (%eax)
        CODE    10, strl %eax
        .irp    number, 11, 12, 13      /* base EAX, index EDX, low ECX, high on the stack */
        ENTRY   \number, NATIVE_ROUTINE
        movl    %ecx, (%eax,%edx,8)
        movl    4(%esp), %ecx
        movl    %ecx, 4(%eax,%edx,8)
        ret
end_\number:
        .endr
        NOTHING 14
        CODE    15, movl %eax, %cr0
        CODE    16, movl %eax, %cr2
        CODE    17, movl %eax, %cr3
        CODE    18, movl %eax, %cr4
        CODE    19, movl %cr0, %eax
        CODE    20, movl %cr2, %eax
        CODE    21, movl %cr3, %eax
        CODE    22, movl %cr4, %eax
        CODE    23, wbinvd
        CODE    26, rdpmc
        CODE    27, rdtsc
        CODE    28, clts
        CODE    29, sti
        CODE    30, cli
        ENTRY   31, NATIVE_CODE
        pushfl
        popl    %eax
end_31:
        ENTRY   32, NATIVE_CODE
        pushl   %eax
        popfl
end_32:
        CODE    33, iret
        ENTRY   34, NATIVE_CODE
        sti
        sysexit
end_34:
        ENTRY   35, NATIVE_CODE
        sti
        hlt
end_35:
        CODE    38, movl %eax, (%edx)
        ENTRY   39, NATIVE_CODE         /* low word cleared first: never present with a foreign high word */
        movl    $0, (%ecx)
        movl    %edx, 4(%ecx)
        movl    %eax, (%ecx)
end_39:
        NOTHING 40
        NOTHING 41
        NOTHING 44
        NOTHING 45
        CODE    46, invlpg (%eax)
        ENTRY   47, NATIVE_ROUTINE      /* EAX bit 1: global entries too */
        testb   $2, %al
        jz      1f
        movl    %cr4, %edx
        testb   $0x80, %dl
        jz      1f
        movl    %edx, %eax
        andb    $0x7F, %al
        movl    %eax, %cr4
        movl    %edx, %cr4
        ret
1:      movl    %cr3, %eax
        movl    %eax, %cr3
        ret
end_47:
        NOTHING 48
        CODE    49, inl %dx, %eax
        CODE    50, inb %dx, %al
        CODE    51, inw %dx, %ax
        CODE    52, rep insl
        CODE    53, rep insb
        CODE    54, rep insw
        CODE    55, outl %eax, %dx
        CODE    56, outb %al, %dx
        CODE    57, outw %ax, %dx
        CODE    58, rep outsl
        CODE    59, rep outsb
        CODE    60, rep outsw
        CODE    63, movl %edx, (%eax)
        CODE    64, movl (%eax), %eax
        CODE    65, outb %al, $0x80
        NOTHING 73

        .section .rodata.native, "a"
native_table_end:
