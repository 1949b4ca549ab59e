/* SPDX-License-Identifier: BSD-2-Clause
 * Batches: the ops that every port has, the trap log, and records. */
#include "abi.h"

enum { LOG_SIZE = 256, HEAD = 16, MAX_VALUES = 2 + 2 * NREGS + 12 };
struct op_head { u16 code, nargs; u32 blob_length; };
struct record_head { u16 code, status, nvals, zero; u32 index, blob_length; };

struct recovery *recover_point;
u32 irq_count;
u64 setting_irq_policy, setting_marker, setting_acknowledge;
static struct trap log[LOG_SIZE];
static u32 log_count, log_lost, log_sequence;

void recover_begin(struct recovery *point)
{
    point->outer = recover_point;
    recover_point = point;
}

void recover_end(struct recovery *point) { recover_point = point->outer; }

void log_trap(struct trap *trap)
{
    trap->sequence = ++log_sequence;
    if (log_count < LOG_SIZE)
        log[log_count++] = *trap;
    else
        log_lost++;
}

void answer_value(struct answer *answer, u64 value)
{
    if (answer->nvals < MAX_VALUES)
        answer->values[answer->nvals++] = value;
}

u8 *answer_blob(struct answer *answer, u32 length)
{
    u8 *blob = (u8 *)(answer->values + answer->nvals);
    u32 padded = (length + 7) & ~7u;
    if (padded < length || padded > (u32)(answer->end - blob)) {
        answer_refuse(answer, NO_ROOM);
        return NULL;
    }
    answer->blob = blob;
    answer->blob_length = length;
    fill_bytes(blob + length, 0, padded - length);
    return blob;
}

void answer_refuse(struct answer *answer, enum refusal reason)
{
    answer->status = REFUSED;
    answer->nvals = answer->blob_length = 0;
    answer_value(answer, reason);
}

void answer_trap(struct answer *answer, const struct trap *trap, u64 done)
{
    answer->status = FAULTED;
    answer->nvals = answer->blob_length = 0;
    answer_value(answer, trap->vector);
    answer_value(answer, trap->error);
    answer_value(answer, trap->address);
    answer_value(answer, done);
}

static void echo(const struct op *op, struct answer *answer)
{
    for (u32 i = 0; i < op->nargs; i++)
        answer_value(answer, op->args[i]);
    u8 *blob = answer_blob(answer, op->blob_length);
    if (op->nargs > MAX_VALUES)
        answer_refuse(answer, NO_ROOM);
    else if (blob)
        copy_bytes(blob, op->blob, op->blob_length);
}

static u8 *locate(u64 space, u64 address)
{
    if (space == PHYSICAL)
        return port_physical(address);
    return space == LINEAR && address == (word)address ? (u8 *)(word)address : NULL;
}

static void guarded_copy(u8 *to, const u8 *from, u32 length, struct answer *answer)
{
    struct recovery point;
    volatile u32 done = 0;
    RECOVER(point) {
        port_copy(to, from, length, &done);
        recover_end(&point);
    } else
        answer_trap(answer, &point.trap, done);
}

static void read_memory(const struct op *op, struct answer *answer)
{
    u8 *from = op->nargs == 3 ? locate(op->args[0], op->args[1]) : NULL;
    u32 length = op->nargs == 3 ? (u32)op->args[2] : 0;
    if (op->nargs != 3 || op->args[0] > PHYSICAL || (!from && op->args[1]) || op->args[2] != length) {
        answer_refuse(answer, BAD_ARGUMENTS);
        return;
    }
    u8 *to = answer_blob(answer, length);
    if (to)
        guarded_copy(to, from, length, answer);
}

static void write_memory(const struct op *op, struct answer *answer)
{
    u8 *to = op->nargs == 2 ? locate(op->args[0], op->args[1]) : NULL;
    if (op->nargs != 2 || op->args[0] > PHYSICAL || (!to && op->args[1]))
        answer_refuse(answer, BAD_ARGUMENTS);
    else
        guarded_copy(to, op->blob, op->blob_length, answer);
}

static void drain_log(struct answer *answer)
{
    answer_value(answer, log_count);
    answer_value(answer, log_lost);
    u8 *blob = answer_blob(answer, log_count * sizeof log[0]);
    if (!blob)
        return;
    copy_bytes(blob, log, log_count * sizeof log[0]);
    log_count = log_lost = 0;
}

static void set(const struct op *op, struct answer *answer)
{
    u64 key = op->nargs == 2 ? op->args[0] : 0, value = op->nargs == 2 ? op->args[1] : 0;
    if (key == KEY_IRQ_POLICY)
        setting_irq_policy = value;
    else if (key == KEY_MARKER)
        setting_marker = value;
    else if (key == KEY_ACKNOWLEDGE)
        setting_acknowledge = value;
    else if (key >= KEY_POISON && key < KEY_POISON + NREGS)
        port_poison((u32)key - KEY_POISON, value);
    else
        answer_refuse(answer, BAD_ARGUMENTS);
}

static void carry_out(const struct op *op, struct answer *answer)
{
    switch (op->code) {
    case OP_ECHO: echo(op, answer); return;
    case OP_READ: read_memory(op, answer); return;
    case OP_WRITE: write_memory(op, answer); return;
    case OP_LOG: drain_log(answer); return;
    case OP_SET: set(op, answer); return;
    }
    if (!(op->code < OP_ABI ? port_operation(op, answer) : abi_module.operation(op, answer)))
        answer_refuse(answer, UNKNOWN_OP);
}

/* One op; any trap that nobody nearer waits for ends it. The record's length. */
static u32 run_op(const struct op *op, u32 index, u8 *at, u8 *end)
{
    struct answer answer = {.values = (u64 *)(at + HEAD), .end = end};
    struct recovery point;
    irq_count = 0;
    RECOVER(point) {
        carry_out(op, &answer);
        recover_end(&point);
    } else
        answer_trap(&answer, &point.trap, 0);
    struct record_head head = {(u16)op->code, (u16)answer.status, (u16)answer.nvals, 0, index, answer.blob_length};
    copy_bytes(at, &head, sizeof head);
    return HEAD + 8 * answer.nvals + ((answer.blob_length + 7) & ~7u);
}

/* The op at `at`; its length, or 0 if it does not fit into what is left. */
static u32 take(const u8 *at, u32 left, struct op *op)
{
    const struct op_head *head = (const struct op_head *)at;
    if (left < sizeof *head || head->blob_length > left)
        return 0;
    u32 args = 8 * head->nargs, length = sizeof *head + args + ((head->blob_length + 7) & ~7u);
    if (length > left)
        return 0;
    *op = (struct op){head->code, head->nargs, head->blob_length, (const u64 *)(at + sizeof *head),
                      at + sizeof *head + args};
    return length;
}

static void interrupts_off(void)
{
    struct recovery point;
    RECOVER(point) {
        abi_module.interrupts_off();
        recover_end(&point);
    }
}

/* Carry a batch out; the length of the result. */
u32 batch_run(const u8 *batch, u32 length, u8 *result, u32 room, volatile u32 *progress)
{
    u32 count = length >= 8 ? *(const u32 *)batch : 0, offset = 8, index = 0;
    u8 *at = result + 8;
    struct op op;
    for (; index < count; index++) {
        u32 taken = take(batch + offset, length - offset, &op);
        if (!taken || at + HEAD + 8 * MAX_VALUES > result + room)
            break;
        *progress = index;
        offset += taken;
        at += run_op(&op, index, at, result + room);
    }
    interrupts_off();
    u32 head[2] = {index, index == count && offset == length ? 0 : 1};
    copy_bytes(result, head, 8);
    return (u32)(at - result);
}
