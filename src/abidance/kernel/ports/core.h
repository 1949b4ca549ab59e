/* SPDX-License-Identifier: BSD-2-Clause
 * The test kernel's core: mailbox, frames, ops. The same for every port and every ABI.
 * docs/test-kernel.md is the contract with the host. */
#ifndef ABIDANCE_CORE_H
#define ABIDANCE_CORE_H

#include <stddef.h>
#include <stdint.h>

typedef uint8_t u8;
typedef uint16_t u16;
typedef uint32_t u32;
typedef uint64_t u64;
typedef unsigned long word; /* as wide as a register of the port */

#define UNKNOWN ((u64)-1)   /* a field whose value could not be found out */
#define DEFAULT ((u64)-1)   /* an argument that the host did not give */

enum stage { STAGE_ENTERED = 1, STAGE_PAGING, STAGE_SCANNING, STAGE_CALLING, STAGE_RETURNED,
             STAGE_ENTRIES, STAGE_HELLO, STAGE_PANIC = 0xEE };

enum outcome { RETURNED, FAULT, STOP, NOT_CALLABLE };
enum status { DONE, FAULTED, REFUSED };
enum refusal { BAD_ARGUMENTS = 1, UNKNOWN_OP, NO_ROOM };
enum space { LINEAR, PHYSICAL };
enum opcode { OP_ECHO = 1, OP_READ, OP_WRITE, OP_CALL, OP_EXEC, OP_TRANSFER, OP_LOG, OP_IN, OP_OUT, OP_POLL,
              OP_SET, OP_ABI = 0x100 };
enum key { KEY_IRQ_POLICY = 1, KEY_MARKER, KEY_ACKNOWLEDGE, KEY_POISON = 16 };
enum log_kind { LOG_IRQ = 1, LOG_FAULT, LOG_STOP };

/* One op of a batch, as it lies in the mailbox; arguments and blob are 8-byte aligned. */
struct op {
    u32 code, nargs, blob_length;
    const u64 *args;
    const u8 *blob;
};

/* The record being written. Values first, then the blob; both are bounded by `end`. */
struct answer {
    u64 *values;
    u8 *end;
    u8 *blob;          /* set by answer_blob */
    u32 nvals, blob_length, status;
};

/* One trap as the handler saw it; what a fault leaves behind for the one who asked. */
struct trap {
    u64 kind, vector, error, pc, cs, flags_image, flags_register, sp, ss, mask, address, sequence, nested;
    u64 reserved[3];
};

/* ---- core, for ports and ABI modules ---- */
void core_main(const char *command_line) __attribute__((noreturn)); /* called by the port, never returns */
void core_stage(enum stage stage);
void core_panic(const struct trap *trap) __attribute__((noreturn)); /* a trap that nobody waits for */
void hello_number(const char *name, u64 value);
void hello_bytes(const char *name, const void *data, u32 length);
void hello_text(const char *name, const char *text);
void hello_indexed(const char *prefix, u32 index, const char *suffix, u64 value);
void hello_indexed_bytes(const char *prefix, u32 index, const char *suffix, const void *data, u32 length);
void hello_indexed_text(const char *prefix, u32 index, const char *suffix, const char *text);
void answer_value(struct answer *answer, u64 value);
u8 *answer_blob(struct answer *answer, u32 length); /* NULL: no room, the record is then a refusal */
void answer_refuse(struct answer *answer, enum refusal reason);
void answer_trap(struct answer *answer, const struct trap *trap, u64 done);
void log_trap(struct trap *trap); /* sets trap->sequence */
extern u32 irq_count;             /* interrupts logged since the op began */
extern u64 setting_irq_policy, setting_marker, setting_acknowledge;

u32 text_length(const char *text);
int text_equal(const char *a, const char *b);
void copy_bytes(void *to, const void *from, u32 length);
void fill_bytes(void *to, u8 value, u32 length);

#endif
