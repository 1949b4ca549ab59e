/* SPDX-License-Identifier: BSD-2-Clause
 * Small pieces of code that the host runs by name: kernel.* by EXEC, user.* by TRANSFER. */
#include "machine.h"

        .macro  FRAGMENT name, symbol
\symbol:
        .pushsection .rodata
9:      .asciz  "fragment.\name"
        .popsection
        .pushsection .fragments, "a"
        .long   9b, \symbol
        .popsection
        .endm
        .macro  STOP
        int     $VECTOR_STOP
        .endm
        .macro  KERNEL name, symbol
        .text
        .balign 16
        FRAGMENT kernel.\name, \symbol
        .endm
        .macro  USER name, symbol
        .section .user, "awx"
        .balign 16
        FRAGMENT user.\name, \symbol
        .endm

        KERNEL  ret, k_ret
        ret
        KERNEL  stop, k_stop
        STOP
        KERNEL  pushf, k_pushf          /* EAX = flags register */
        pushfl
        popl    %eax
        ret
        KERNEL  popf, k_popf            /* flags register = EAX; EAX = flags register */
        pushl   %eax
        popfl
        pushfl
        popl    %eax
        ret
        KERNEL  cli, k_cli
        cli
        ret
        KERNEL  sti, k_sti
        sti
        ret
        KERNEL  hlt, k_hlt
        hlt
        ret
        KERNEL  load, k_load            /* EBX = [EAX] */
        movl    (%eax), %ebx
        ret
        KERNEL  store, k_store          /* [EAX] = EBX */
        movl    %ebx, (%eax)
        ret
        KERNEL  jump, k_jump            /* go on at EAX */
        jmp     *%eax
        KERNEL  nops, k_nops
        .skip   64, 0x90
        ret
        KERNEL  spin, k_spin            /* ECX times round */
1:      decl    %ecx
        jnz     1b
        ret
        KERNEL  ud2, k_ud2
        ud2
        ret
        KERNEL  int3, k_int3
        int3
        ret
        KERNEL  div0, k_div0
        xorl    %ecx, %ecx
        divl    %ecx
        ret
        KERNEL  fpu, k_fpu
        fnop
        ret
        KERNEL  fninit, k_fninit
        fninit
        ret
        KERNEL  clts, k_clts
        clts
        ret
        .irp    n, 0, 2, 3, 4
        KERNEL  rdcr\n, k_rdcr\n        /* EAX = CRn */
        movl    %cr\n, %eax
        ret
        KERNEL  wrcr\n, k_wrcr\n        /* CRn = EAX */
        movl    %eax, %cr\n
        ret
        .endr
        KERNEL  invlpg, k_invlpg        /* EAX: linear address */
        invlpg  (%eax)
        ret
        KERNEL  pushcs, k_pushcs        /* EAX = CS, EBX = SS */
        pushl   %cs
        popl    %eax
        movl    %ss, %ebx
        ret
        KERNEL  lsl, k_lsl              /* EBX = limit of selector EAX, EDX = ZF */
        lsll    %eax, %ebx
        jmp     zf
        KERNEL  lar, k_lar              /* EBX = access rights of selector EAX, EDX = ZF */
        larl    %eax, %ebx
zf:     setz    %dl
        movzbl  %dl, %edx
        ret
        KERNEL  int80, k_int80
        int     $VECTOR_CALL
        ret

        USER    stop, u_stop
        STOP
        USER    probe, u_probe          /* EAX = flags register, EBX = CS, ECX = SS */
        pushfl
        popl    %eax
        movl    %cs, %ebx
        movl    %ss, %ecx
        STOP
        USER    load, u_load            /* EBX = [EAX] */
        movl    (%eax), %ebx
        STOP
        USER    store, u_store          /* [EAX] = EBX */
        movl    %ebx, (%eax)
        STOP
        USER    jump, u_jump            /* go on at EAX */
        jmp     *%eax
        USER    spin, u_spin            /* until interrupted; ECX counts */
1:      incl    %ecx
        jmp     1b
        USER    wait, u_wait            /* ECX times round */
1:      decl    %ecx
        jnz     1b
        STOP
        USER    cli, u_cli
        cli
        STOP
        USER    sti, u_sti
        sti
        STOP
        USER    popf, u_popf            /* flags register = EAX; EAX = flags register */
        pushl   %eax
        popfl
        pushfl
        popl    %eax
        STOP
        USER    hlt, u_hlt
        hlt
        STOP
        USER    fpu, u_fpu
        fnop
        STOP
        USER    int80, u_int80
        int     $VECTOR_CALL
        STOP
        USER    int3, u_int3
        int3
        STOP
        USER    ud2, u_ud2
        ud2
        STOP
        USER    div0, u_div0
        xorl    %ecx, %ecx
        divl    %ecx
        STOP
        USER    gp, u_gp
        movl    %eax, %cr3
        STOP
        USER    out, u_out              /* port DX = AL */
        outb    %al, %dx
        STOP
        USER    sysenter, u_sysenter
        sysenter
        STOP
