/* SPDX-License-Identifier: BSD-2-Clause
 * What a port (an instruction set and its machine) gives to the core and to ABI modules. */
#ifndef ABIDANCE_PORT_H
#define ABIDANCE_PORT_H

#include "core.h"
#include "machine.h" /* the port's own: NREGS, struct context */

/* A place to come back to. recover_save returns 0, and 1 when a trap was abandoned to it. */
struct recovery {
    struct context context;
    struct recovery *outer;
    struct trap trap;
};
int recover_save(struct context *context) __attribute__((returns_twice));
void recover_resume(struct context *context) __attribute__((noreturn));
extern struct recovery *recover_point;
/* Use: `RECOVER(point) { work; recover_end(&point); } else { point.trap tells }` */
#define RECOVER(point) recover_begin(&(point)); if (!recover_save(&(point).context))
void recover_begin(struct recovery *point);
void recover_end(struct recovery *point);

/* How a routine is to be reached. kind is the ABI's own number for it; how says what the port does. */
enum how { HOW_NONE, HOW_CALL, HOW_JUMP, HOW_NOTHING, HOW_CODE };
struct target {
    enum how how;        /* HOW_CODE: run the bytes `code`; HOW_NOTHING: the operation is to be left out */
    word address;        /* HOW_CALL, HOW_JUMP */
    const u8 *code;      /* HOW_CODE: at most SITE_SIZE bytes, position independent */
    u32 code_length;
    u64 kind;            /* reported as State's target_kind */
    int in_line;         /* patch the site, as real guests do, instead of calling through memory */
    int leaves;          /* returns from interrupt or to user mode: never comes back to the site */
    int fast;            /* leaves, and takes pc and sp in registers, not in a frame (SYSEXIT) */
};

struct state {
    u64 outcome;
    u64 before[NREGS], after[NREGS];
    struct trap trap;    /* FAULT, STOP */
    u64 site, canary_bad, irqs, target_kind, target, mask_after;
};

struct request {
    u64 registers[NREGS]; /* values to load */
    u64 given;            /* bit i: registers[i] was given by the host */
    u64 flags;            /* DEFAULT or the flags to load */
    const u64 *stack;     /* words pushed, stack[0] just above the return address (or at the stack pointer) */
    u32 stack_words;
    u32 hasty;            /* leave the canaries out: canary_bad is not asked for */
    struct target target;
};

/* ---- port ---- */
extern const char *const port_name;
extern const char *const port_registers[NREGS];
void port_start(void);                       /* tables, interrupt controller; before the ABI module */
void port_hello(void);                       /* addresses, selectors, fragments */
void port_bind(void);                        /* after the ABI module's start: take its way back from interrupts */
u8 *port_physical(u64 address);              /* linear address of physical memory, NULL if not mapped */
void port_wait(void);                        /* once round the wait loop: doorbell or pause */
void port_doorbell(u32 port);
void port_run(const struct request *request, struct state *state);
void port_poison(u32 index, u64 value);      /* default value of a register in port_run */
int port_operation(const struct op *op, struct answer *answer); /* 0: not an op of the port */
void port_answer_state(struct answer *answer, const struct state *state);
/* Copy with the widest access that address and length allow; *done counts bytes, for who comes back by a trap. */
void port_copy(volatile void *to, const volatile void *from, u32 length, volatile u32 *done);

#endif
