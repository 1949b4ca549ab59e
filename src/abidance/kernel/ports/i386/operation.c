/* SPDX-License-Identifier: BSD-2-Clause
 * The ops that depend on the port: CALL, EXEC, TRANSFER, IN, OUT, POLL. Arguments as in docs/test-kernel.md. */
#include "abi.h"
#include "i386.h"

enum { NATIVE_RETURN = 0xFFFF, SYSEXIT_ARGUMENTS = 9, MAX_STACK = 128 };
enum { IRET_USER_FLAGS = 0x202, IRET_KERNEL_FLAGS = 0x2 };
static const u8 native_iret[] = {0xCF};

void port_copy(volatile void *to, const volatile void *from, u32 length, volatile u32 *done)
{
    if (!(((u32)to | (u32)from | length) & 3)) {
        for (; *done < length; *done += 4)
            *(volatile u32 *)((u32)to + *done) = *(const volatile u32 *)((u32)from + *done);
        return;
    }
    for (; *done < length; *done += 1)
        *(volatile u8 *)((u32)to + *done) = *(const volatile u8 *)((u32)from + *done);
}

/* Register pairs and stack words behind `fixed` arguments, whose last two are their counts. */
static int take_registers(const struct op *op, u32 fixed, struct request *request)
{
    if (op->nargs < fixed)
        return 0;
    u64 pairs = op->args[fixed - 2], words = op->args[fixed - 1];
    if (pairs > NREGS || words > MAX_STACK || op->nargs != fixed + 2 * (u32)pairs + (u32)words)
        return 0;
    for (u32 i = 0; i < pairs; i++) {
        u64 index = op->args[fixed + 2 * i];
        if (index >= NREGS || index == EIP || index == EFLAGS || index == CS || index == SS)
            return 0;
        request->registers[index] = op->args[fixed + 2 * i + 1];
        request->given |= 1u << index;
    }
    request->stack = op->args + fixed + 2 * (u32)pairs;
    request->stack_words = (u32)words;
    return 1;
}

static void run(const struct request *request, struct answer *answer)
{
    static struct state state;
    port_run(request, &state);
    port_answer_state(answer, &state);
}

static void call(const struct op *op, struct answer *answer)
{
    struct request request = {.given = 0};
    if (!take_registers(op, 5, &request) || op->args[1] > MODE_NATIVE) {
        answer_refuse(answer, BAD_ARGUMENTS);
        return;
    }
    request.flags = op->args[2];
    request.target = abi_module.resolve((u32)op->args[0], (enum mode)op->args[1]);
    if (request.target.leaves)
        request.target.how = HOW_NONE; /* it takes a frame: TRANSFER */
    run(&request, answer);
}

static void execute(const struct op *op, struct answer *answer)
{
    struct request request = {.given = 0};
    if (!take_registers(op, 4, &request)) {
        answer_refuse(answer, BAD_ARGUMENTS);
        return;
    }
    request.flags = op->args[1];
    request.target = (struct target){.how = HOW_CALL, .address = (u32)op->args[0]};
    run(&request, answer);
}

static void give(struct request *request, u32 index, u64 value)
{
    if (request->given >> index & 1)
        return;
    request->registers[index] = value;
    request->given |= 1u << index;
}

static u64 or_default(u64 value, u64 fallback) { return value == DEFAULT ? fallback : value; }

static void transfer(const struct op *op, struct answer *answer)
{
    static u64 frame[5 + MAX_STACK];
    struct request request = {.given = 0};
    if (!take_registers(op, SYSEXIT_ARGUMENTS, &request) || op->args[1] > MODE_NATIVE) {
        answer_refuse(answer, BAD_ARGUMENTS);
        return;
    }
    u64 how = op->args[0], cs = or_default(op->args[3], USER_CS), sp = op->args[5];
    int user = (cs & 3) == 3;
    if (how == NATIVE_RETURN)
        request.target = (struct target){.how = HOW_CODE, .code = native_iret, .code_length = 1, .leaves = 1};
    else
        request.target = abi_module.resolve((u32)how, (enum mode)op->args[1]);
    if (!request.target.leaves)
        request.target.how = HOW_NONE;
    for (u32 index = DS; user && index <= GS; index++)
        give(&request, index, USER_DS);
    u32 words = 0;
    if (request.target.fast) {
        give(&request, EDX, op->args[2]);
        give(&request, ECX, or_default(sp, 0));
    } else {
        frame[words++] = op->args[2];
        frame[words++] = cs;
        frame[words++] = or_default(op->args[4], user ? IRET_USER_FLAGS : IRET_KERNEL_FLAGS);
        if (sp != DEFAULT) {
            frame[words++] = sp;
            frame[words++] = or_default(op->args[6], user ? USER_DS : ss_now());
        }
    }
    for (u32 i = 0; i < request.stack_words; i++)
        frame[words++] = request.stack[i];
    request.stack = frame;
    request.stack_words = words;
    request.flags = DEFAULT;
    run(&request, answer);
}

static void port_io(const struct op *op, struct answer *answer)
{
    u32 input = op->code == OP_IN, value = op->nargs == 3 ? (u32)op->args[2] : 0;
    if (op->nargs != (input ? 2u : 3u) || op->args[0] > 0xFFFF) {
        answer_refuse(answer, BAD_ARGUMENTS);
        return;
    }
    u16 port = (u16)op->args[0];
    switch (op->args[1] | (input ? 0 : 8)) {
    case 1: value = in8(port); break;
    case 2: __asm__ volatile("inw %1, %w0" : "=a"(value) : "d"(port)); value &= 0xFFFF; break;
    case 4: __asm__ volatile("inl %1, %0" : "=a"(value) : "d"(port)); break;
    case 8 | 1: out8(port, (u8)value); break;
    case 8 | 2: __asm__ volatile("outw %w0, %1" :: "a"(value), "d"(port)); break;
    case 8 | 4: __asm__ volatile("outl %0, %1" :: "a"(value), "d"(port)); break;
    default: answer_refuse(answer, BAD_ARGUMENTS); return;
    }
    if (input)
        answer_value(answer, value);
}

static void poll(const struct op *op, struct answer *answer)
{
    if (op->nargs != 4 || op->args[0] > 0xFFFF) {
        answer_refuse(answer, BAD_ARGUMENTS);
        return;
    }
    u64 polls = 0;
    u8 last = 0;
    int matched = 0;
    while (!matched && polls < op->args[3]) {
        last = in8((u16)op->args[0]);
        matched = (last & op->args[1]) == op->args[2];
        polls++;
    }
    answer_value(answer, (u64)matched);
    answer_value(answer, polls);
    answer_value(answer, last);
}

int port_operation(const struct op *op, struct answer *answer)
{
    switch (op->code) {
    case OP_CALL: call(op, answer); return 1;
    case OP_EXEC: execute(op, answer); return 1;
    case OP_TRANSFER: transfer(op, answer); return 1;
    case OP_IN: case OP_OUT: port_io(op, answer); return 1;
    case OP_POLL: poll(op, answer); return 1;
    }
    return 0;
}
