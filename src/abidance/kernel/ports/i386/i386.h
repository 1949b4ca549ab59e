/* SPDX-License-Identifier: BSD-2-Clause
 * Between the files of the i386 port. */
#ifndef ABIDANCE_I386_H
#define ABIDANCE_I386_H

#include "port.h"

extern u32 trap_registers[NREGS]; /* of the context that the last outermost trap interrupted */
extern volatile u32 routine_runs; /* between entering a routine and its end; else the kernel itself runs */
void machine_leave_task(void);
void machine_double_fault_stack(u32 depth); /* depth: traps being handled now */
void patch(struct site *site, const struct target *target); /* E8, E9, native code or nops, padded with nops */

#endif
