/* SPDX-License-Identifier: BSD-2-Clause
 * What an ABI's module gives to the kernel. One module is linked into one kernel; the port knows
 * nothing else of the ABI. */
#ifndef ABIDANCE_ABI_H
#define ABIDANCE_ABI_H

#include "port.h"

/* How the host asks for an entry point to be reached (CALL and TRANSFER, argument `mode`). */
enum mode { MODE_RELOCATION, MODE_INLINE, MODE_NATIVE };

struct abi_module {
    const char *name;
    /* Find the implementation, start it, fetch its entry points; report all of it in HELLO. Guards
     * itself by port_run and RECOVER: nothing an implementation does may end the kernel. */
    void (*start)(void);
    /* How to reach `entry`. HOW_NONE if it cannot be reached (State NOT_CALLABLE), kind set in any case. */
    struct target (*resolve)(u32 entry, enum mode mode);
    /* The way back from an interrupt handler, for the port's own use. */
    struct target (*interrupt_return)(void);
    /* The interrupt flag as the ABI shows it, in the port's flag bit; UNKNOWN if it cannot be read. */
    u64 (*interrupt_mask)(void);
    void (*interrupts_off)(void);
    /* The faulting address of the page fault being handled; UNKNOWN if it cannot be read. */
    u64 (*fault_address)(void);
    /* Ops from 0x100 on. 0: unknown op. */
    int (*operation)(const struct op *op, struct answer *answer);
};

extern const struct abi_module abi_module;

#endif
