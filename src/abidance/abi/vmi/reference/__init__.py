# SPDX-License-Identifier: BSD-2-Clause
"""The reference hypervisor for VMI: kernel at CPL 1, shadow page tables, virtual interrupt flag.

    model        makes one from a `Machine` (the factory the embedded platform calls)
    hypervisor   the machine: RAM, ROM, devices, the loop, the table of calls
    vcpu         one virtual CPU: what the guest believes to be its registers
    shadow       shadow page tables          deferral    queued updates
    interrupts   virtual interrupt flag      transfers   IRET, SYSEXIT, SYSENTER, halt
    segments     raised privilege levels     emulate     privileged instructions
    calls        one function per call       image       the option ROM
    controllers  the PIC, asked cheaply
    timeline     virtual time and injected interrupts

Written from the document alone; shares nothing with the native ROM and knows no case.
"""
