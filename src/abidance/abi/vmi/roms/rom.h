/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * What every VMI 3.0 option ROM has in common: the header with its PCI and PnP structures, the
 * relocation table and VMI_GetRelocationInfo. Offsets are those of the document, section 2.2.
 * The length byte, the image length of the PCI structure and the checksum are set by the build.
 */
#ifndef ABIDANCE_ROM_H
#define ABIDANCE_ROM_H

#define RELOCATION_NONE     0
#define RELOCATION_CALL_REL 1
#define RELOCATION_JUMP_REL 2
#define RELOCATION_NOP      3

#define CALLS               74
#define EFLAGS_IF           0x200
#define CR4_PGE             0x80

/* Top 64 MiB: what version 2.0 of the specification reserves. Nothing of ours lies there. */
#define VIRTUAL_TOP         0xFC000000

#define LICENCE_AT          0xD0
#define MANUFACTURER_AT     0xD8
#define PRODUCT_AT          0xE8
#define PCI_AT              0x90
#define PNP_AT              0xB0

/* A code slot of the header: 8 bytes, room for one jump. */
.macro slot at, target
        .org \at
        .byte 0xE9
        .long \target - . - 4
.endm

.macro rom_header product
        .section .rom, "ax", @progbits
        .code32
rom_start:
        .byte 0x55, 0xAA
        .byte 0                         /* length in units of 512 bytes: set by the build */
        .byte 0xCB                      /* far return to the BIOS, 16-bit code */
        .org 0x08
        .ascii "cVmi"
        .byte 0, 3                      /* API version: minor, major */
        .byte 2                         /* code slots */
        .org 0x10
        .long VIRTUAL_TOP
        .org 0x16
        .word LICENCE_AT, PCI_AT, PNP_AT
        slot 0x80, vmi_init
        slot 0x88, vmi_get_relocation
        .org PCI_AT                     /* PCI data structure, 24 bytes */
        .ascii "PCIR"
        .word 0x15AD, 0x0801            /* vendor, device: the VMI device */
        .word 0, 24
        .byte 0
        .byte 0, 0x80, 0x05             /* class: memory controller, other */
        .word 0                         /* image length: set by the build */
        .byte 0, 1                      /* ROM version: minor, major */
        .byte 0, 0x80                   /* x86 code, last image */
        .word 0
        .org PNP_AT                     /* PnP expansion header, 32 bytes, sum zero */
        .ascii "$PnP"
        .byte 1, 2
        .word 0
        .byte 0
        .byte (-(0x24 + 0x50 + 0x6E + 0x50 + 1 + 2 + MANUFACTURER_AT + PRODUCT_AT + 5 + 0x80)) & 0xFF
        .long 0
        .word MANUFACTURER_AT, PRODUCT_AT
        .byte 0x05, 0x80, 0             /* device type: memory controller; no boot vectors */
        .org LICENCE_AT
        .asciz "GPL"
        .org MANUFACTURER_AT
        .asciz "Abidance"
        .org PRODUCT_AT
        .asciz "\product"
        .balign 16

/* EAX = call number; EDX:EAX = type : address. Anything unknown is answered NONE, all zero. */
vmi_get_relocation:
        cmpl $CALLS, %eax
        jae 2f
        call 1f
1:      popl %edx
        movl relocations - 1b(%edx,%eax,4), %ecx
        movzwl %cx, %eax
        shrl $16, %ecx
        jz 2f
        leal rom_start - 1b(%edx,%eax), %eax
        movl %ecx, %edx
        ret
2:      xorl %eax, %eax
        xorl %edx, %edx
        ret
.endm

/* The table: `relocation` lines in ascending order between these two, gaps are NONE. */
.macro relocations_begin
        .balign 4
        .set next_call, 0
relocations:
.endm

.macro relocation number, type, routine
        .rept \number - next_call
        .long 0
        .endr
        .long (\type << 16) + \routine - rom_start
        .set next_call, \number + 1
.endm

.macro relocations_end
        .rept CALLS - next_call
        .long 0
        .endr
.endm

#endif
