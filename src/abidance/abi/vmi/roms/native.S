/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * A VMI ROM that carries out every call it offers by plain instructions at CPL 0. Stateless,
 * position independent, no hypervisor below it.
 *
 * Built twice: IRET and SYSEXIT are reached by a jump in native.rom and by a call in
 * native-call.rom (TRANSFER_BY_CALL); the document permits both.
 *
 * Mutants: each `#ifdef MUTANT_…` replaces a correct routine by one that violates one clause; a
 * variant of build.toml defines it. Keep the correct routine in the `#else` branch readable alone.
 */
#include "rom.h"

#ifdef TRANSFER_BY_CALL
#define TRANSFER RELOCATION_CALL_REL
#else
#define TRANSFER RELOCATION_JUMP_REL
#endif

        rom_header "Abidance native VMI"

vmi_init:
        xorl %eax, %eax
        ret

/* The calls that ask nothing of a machine whose tables are the guest's own. */
call_nothing:
        ret

call_set_cr0:
        movl %eax, %cr0
        ret

call_set_cr2:
#ifdef MUTANT_SetCR2_ignored
        ret
#else
        movl %eax, %cr2
        ret
#endif

call_set_cr3:
        movl %eax, %cr3
        ret

call_set_cr4:
        movl %eax, %cr4
        ret

call_get_cr0:
        movl %cr0, %eax
        ret

call_get_cr2:
        movl %cr2, %eax
        ret

call_get_cr3:
        movl %cr3, %eax
        ret

call_get_cr4:
        movl %cr4, %eax
        ret

call_clts:
        clts
        ret

/*
 * The four interrupt calls change nothing but flags, and use nothing but CS and SS. sti holds
 * interrupts off for one more instruction: with the nop they arrive before the call returns.
 */
call_enable_interrupts:
        sti
        nop
        ret

call_disable_interrupts:
        cli
        ret

call_get_interrupt_mask:
        pushfl
        popl %eax
#ifdef MUTANT_GetInterruptMask_clobbers_ecx
        movl %eax, %ecx
#endif
        ret

/* Only bit 9 of the mask counts: popf would take the trap flag and IOPL from it as well. */
call_set_interrupt_mask:
        testl $EFLAGS_IF, %eax
        jz 1f
#ifndef MUTANT_SetInterruptMask_never_enables
        sti
#endif
        nop
        ret
1:      cli
        ret

/* By a call, the return address lies below the frame and is dropped. */
call_iret:
#ifdef TRANSFER_BY_CALL
        leal 4(%esp), %esp
#endif
        iret

call_sysexit:
        sti                             /* holds interrupts off until sysexit is done */
        sysexit

call_halt:
        sti
        hlt
        ret

call_set_pxe:
        movl %eax, (%edx)
        ret

call_inval_page:
        invlpg (%eax)
        ret

/* Bit 1 of EAX asks for global entries too; they go when CR4.PGE is toggled. */
call_flush_tlb:
        testb $2, %al
        jz 1f
        movl %cr4, %edx
        testb $CR4_PGE, %dl
        jz 1f
        movl %edx, %ecx
        andl $~CR4_PGE, %ecx
        movl %ecx, %cr4
        movl %edx, %cr4
        ret
1:      movl %cr3, %eax
        movl %eax, %cr3
        ret

        relocations_begin
        relocation 14, RELOCATION_CALL_REL, call_nothing            /* UpdateKernelStack */
        relocation 15, RELOCATION_CALL_REL, call_set_cr0
        relocation 16, RELOCATION_CALL_REL, call_set_cr2
        relocation 17, RELOCATION_CALL_REL, call_set_cr3
        relocation 18, RELOCATION_CALL_REL, call_set_cr4
        relocation 19, RELOCATION_CALL_REL, call_get_cr0
        relocation 20, RELOCATION_CALL_REL, call_get_cr2
        relocation 21, RELOCATION_CALL_REL, call_get_cr3
        relocation 22, RELOCATION_CALL_REL, call_get_cr4
        relocation 28, RELOCATION_CALL_REL, call_clts
        relocation 29, RELOCATION_CALL_REL, call_enable_interrupts
        relocation 30, RELOCATION_CALL_REL, call_disable_interrupts
        relocation 31, RELOCATION_CALL_REL, call_get_interrupt_mask
        relocation 32, RELOCATION_CALL_REL, call_set_interrupt_mask
        relocation 33, TRANSFER, call_iret
        relocation 34, TRANSFER, call_sysexit
        relocation 35, RELOCATION_CALL_REL, call_halt
        relocation 38, RELOCATION_CALL_REL, call_set_pxe
        relocation 40, RELOCATION_CALL_REL, call_nothing            /* UpdatePxE */
        relocation 46, RELOCATION_CALL_REL, call_inval_page
        relocation 47, RELOCATION_CALL_REL, call_flush_tlb
        relocation 48, RELOCATION_CALL_REL, call_nothing            /* SetLinearMapping */
        relocation 73, RELOCATION_CALL_REL, call_nothing            /* SetLazyMode */
        relocations_end
