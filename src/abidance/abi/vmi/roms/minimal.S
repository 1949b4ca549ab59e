/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * The smallest useful VMI ROM: IRET and SYSEXIT, every other call answered NONE, so that the guest
 * keeps its native instructions. Stateless; the kernel stays at CPL 0.
 */
#include "rom.h"

        rom_header "Abidance minimal VMI"

vmi_init:
        xorl %eax, %eax
        ret

call_iret:
        iret

call_sysexit:
        sti                             /* holds interrupts off until sysexit is done */
        sysexit

        relocations_begin
        relocation 33, RELOCATION_JUMP_REL, call_iret
        relocation 34, RELOCATION_JUMP_REL, call_sysexit
        relocations_end
