/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Option ROM of the reference hypervisor.
 *
 * Almost every routine is a stub that traps: `int $TRAP; ret`, four bytes. The hypervisor sees the
 * interrupt before any IDT does, knows it by where it stands (not by its vector, so that no vector
 * is taken from the guest) and computes the call's number from the stub's address. The four
 * interrupt calls are answered here, from a page that guest and hypervisor share, and trap only
 * when an interrupt waits.
 *
 * Facts: header section 2.2, slots section 3, call numbers section 5 of the document.
 */

#define SHARED      0xFC000000          /* virtual_top: the shared page is the first of the hole */
#define MASK        %ss:SHARED          /* bit 9: the virtual interrupt flag */
#define WAITING     %ss:SHARED + 4      /* not zero: an interrupt is pending */
#define IF          0x200

#define CALLS       74
#define TRAP        0xF0                /* any vector would do */
#define STUB_INIT   74
#define STUB_SERVE  75                  /* deliver what is pending */

#define LICENCE     0xE0                /* one byte each, so that the PnP sum can be computed here */
#define MANUFACTURER 0xE4
#define PRODUCT     0xED

#define NONE        0
#define CALL_REL    1

        .section .image, "ax", @progbits
        .code32
image:
        .byte 0x55, 0xAA
        .byte 0                         /* length in 512 bytes: the build fills it in */
        .byte 0xCB                      /* entered by the firmware: far return */
        .org 0x08
        .ascii "cVmi"
        .byte 0                         /* API minor */
        .byte 3                         /* API major */
        .byte 2                         /* slots below */
        .org 0x10
        .long SHARED                    /* virtual_top */
        .org 0x16
        .word LICENCE
        .word pci - image
        .word pnp - image
        .org 0x80
        .byte 0xE9
        .long stubs + 4 * STUB_INIT - . - 4
        .org 0x88
        .byte 0xE9
        .long get_relocation - . - 4

/* For the hypervisor: where the table and the stubs are. Offsets from the image's start. */
        .org 0x90
        .ascii "ABIDREF\0"
        .long relocations - image, CALLS, stubs - image, STUB_SERVE + 1

        .balign 4
pci:    .ascii "PCIR"
        .word 0x15AD, 0x0801            /* the VMI device */
        .word 0, 24
        .byte 0
        .byte 0x00, 0x80, 0x05          /* class 05.80.00: another memory controller */
        .word 0                         /* length: the build fills it in */
        .byte 0, 1                      /* version 1.0 of this code */
        .byte 0, 0x80                   /* PC code; the last image */
        .word 0

        .balign 16
pnp:    .ascii "$PnP"
        .byte 1, 2                      /* revision, length in 16 bytes */
        .word 0
        .byte 0
        .byte (-(0x24 + 0x50 + 0x6E + 0x50 + 1 + 2 + MANUFACTURER + PRODUCT + 5 + 0x80)) & 0xFF
        .long 0
        .word MANUFACTURER, PRODUCT
        .byte 0x05, 0x80, 0x00
        .byte 0
        .word 0, 0, 0, 0, 0

        .org LICENCE
        .asciz "GPL"
        .org MANUFACTURER
        .asciz "Abidance"
        .org PRODUCT
        .asciz "reference"

/* EAX: call number. Back: EDX type, EAX address; both 0 for what is not offered. */
        .balign 16
get_relocation:
        cmpl $CALLS, %eax
        jae unknown
        call here
here:   popl %ecx
        movl relocations - here(%ecx,%eax,4), %edx
        movzwl %dx, %eax
        shrl $16, %edx
        jz unknown
        leal image - here(%ecx,%eax), %eax
        ret
unknown:
        xorl %eax, %eax
        xorl %edx, %edx
        ret

/* The four calls that may touch nothing but flags (and EAX as result) and only have SS and CS. */
        .balign 16
enable_interrupts:
        movl $IF, MASK
        cmpl $0, WAITING
        jne serve
        ret

        .balign 16
disable_interrupts:
        movl $0, MASK
        ret

        .balign 16
get_interrupt_mask:
        movl MASK, %eax
        andl $IF, %eax
        ret

        .balign 16
set_interrupt_mask:
        testl $IF, %eax
        jz disable_interrupts
        jmp enable_interrupts

serve:  jmp stubs + 4 * STUB_SERVE

/* One stub per number, then VMI_Init's and the one that delivers. */
        .balign 16
stubs:
        .set number, 0
        .rept STUB_SERVE + 1
        int $TRAP
        .if number == 33
        iretl                           /* executed by the guest's CPU after the hypervisor's part */
        .else
        ret
        .endif
        .byte 0x90
        .set number, number + 1
        .endr

/* Type and offset of each call, in order; what has no line is not offered. */
        .balign 4
relocations:
        .set next, 0
.macro offer number, routine
        .rept \number - next
        .long NONE
        .endr
        .long (CALL_REL << 16) + \routine - image
        .set next, \number + 1
.endm
.macro offer_stub number
        offer \number, stubs+4*\number
.endm
        offer_stub 14                   /* UpdateKernelStack */
        offer_stub 15                   /* SetCR0 */
        offer_stub 16                   /* SetCR2 */
        offer_stub 17                   /* SetCR3 */
        offer_stub 18                   /* SetCR4 */
        offer_stub 19                   /* GetCR0 */
        offer_stub 20                   /* GetCR2 */
        offer_stub 21                   /* GetCR3 */
        offer_stub 22                   /* GetCR4 */
        offer_stub 28                   /* CLTS */
        offer 29, enable_interrupts
        offer 30, disable_interrupts
        offer 31, get_interrupt_mask
        offer 32, set_interrupt_mask
        offer_stub 33                   /* IRET */
        offer_stub 34                   /* SYSEXIT */
        offer_stub 35                   /* Halt */
        offer_stub 38                   /* SetPxE */
        offer_stub 40                   /* UpdatePxE */
        offer_stub 46                   /* InvalPage */
        offer_stub 47                   /* FlushTLB */
        offer_stub 48                   /* SetLinearMapping */
        offer_stub 73                   /* SetLazyMode */
        .rept CALLS - next
        .long NONE
        .endr
