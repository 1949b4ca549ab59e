/* SPDX-License-Identifier: BSD-2-Clause
 * Interrupt and exception entry, recovery points, near calls by the kernel itself. */
#include "machine.h"

        .altmacro
        .macro  STUB number
        .balign 16
vector_\number:
        .if (\number == 8) | ((\number >= 10) & (\number <= 14)) | (\number == 17) | (\number == 21)
        .else
        pushl   $0                      /* where the processor pushes no error code */
        .endif
        pushfl                          /* first thing: the register, not the image */
        pushl   $\number
        jmp     trap_common
        .section .rodata
        .long   vector_\number
        .text
        .endm

        .section .rodata
        .balign 4
        .globl  trap_vectors
trap_vectors:
        .text
        .set    number, 0
        .rept   256
        STUB    %number
        .set    number, number + 1
        .endr

        /* SYSENTER leaves EIP and ESP of user mode to convention: EDX and ECX, as SYSEXIT takes them. */
        .globl  sysenter_entry
sysenter_entry:
        pushl   $USER_DS
        pushl   %ecx
        pushfl
        pushl   $USER_CS
        pushl   %edx
        pushl   $0
        pushfl
        pushl   $VECTOR_SYSENTER

trap_common:
        pushal
        pushl   %ds
        pushl   %es
        pushl   %fs
        pushl   %gs
        movl    $KERNEL_DS, %eax
        movl    %eax, %ds
        movl    %eax, %es
        cld
        movl    %esp, %eax
        pushl   %eax
        call    trap
        addl    $4, %esp
        popl    %gs
        popl    %fs
        popl    %es
        popl    %ds
        popal
        addl    $12, %esp               /* vector, flags register, error code */
        .globl  interrupt_return_site
interrupt_return_site:
        iret
        .skip   SITE_SIZE - 1, 0x90

        .globl  double_fault_entry
double_fault_entry:                     /* own task, own stack: the stack of the interrupted one is no good */
        call    double_fault
1:      jmp     1b

        /* int recover_save(struct context *) */
        .globl  recover_save
recover_save:
        movl    4(%esp), %eax
        movl    %ebx, 0(%eax)
        movl    %esi, 4(%eax)
        movl    %edi, 8(%eax)
        movl    %ebp, 12(%eax)
        leal    4(%esp), %ecx
        movl    %ecx, 16(%eax)
        movl    (%esp), %ecx
        movl    %ecx, 20(%eax)
        movl    near_esp, %ecx
        movl    %ecx, 24(%eax)
        xorl    %eax, %eax
        ret

        /* void recover_resume(struct context *) */
        .globl  recover_resume
recover_resume:
        movl    4(%esp), %eax
        movl    0(%eax), %ebx
        movl    4(%eax), %esi
        movl    8(%eax), %edi
        movl    12(%eax), %ebp
        movl    24(%eax), %ecx
        movl    %ecx, near_esp
        movl    16(%eax), %esp
        movl    20(%eax), %ecx
        movl    $1, %eax
        jmp     *%ecx

        /* u32 near_call(u32 target, u32 eax, u32 edx) */
        .globl  near_call
near_call:
        pushal
        pushl   near_esp
        movl    %esp, near_esp
        movl    40(%esp), %ebx          /* 9 words and the return address above us */
        movl    44(%esp), %eax
        movl    48(%esp), %edx
        leal    -NEAR_SLACK(%esp), %ecx /* a callee may write above its frame: not into ours */
        movl    %esp, %ebp
        subl    $ask_stack, %ebp
        cmpl    $ASK_STACK_SIZE, %ebp
        jb      1f                      /* already there: an interrupt came while a callee ran */
        movl    $(ask_stack_top - NEAR_SLACK), %ecx
1:      movl    %ecx, %esp
        xorl    %ecx, %ecx
        call    *%ebx
        cld
        movl    near_esp, %esp
        popl    near_esp
        movl    %eax, 28(%esp)          /* EAX in pushal's frame */
        popal
        ret

        .section .bss
        .balign 4
        .globl  near_esp
near_esp:       .long 0
