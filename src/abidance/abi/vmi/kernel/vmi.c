/* SPDX-License-Identifier: BSD-2-Clause
 * VMI 3.0's module: Init, relocations, how each call is reached, and RELOC (op 100h). */
#include "abi.h"
#include "vmi.h"

enum { OP_RELOC = OP_ABI };
struct relocation { u32 eip, type; };

static struct relocation relocations[VMI_CALLS];
static u32 rom, active;
static struct state state; /* of the latest call made here */

static void call_rom(u32 address, u32 given, u64 eax, u64 edx, u32 hasty)
{
    struct request request = {.given = given, .flags = DEFAULT, .hasty = hasty};
    request.target = (struct target){.how = HOW_CALL, .address = address};
    request.registers[EAX] = eax;
    request.registers[EDX] = edx;
    port_run(&request, &state);
}

static void report_init(void)
{
    hello_number("init.outcome", state.outcome);
    hello_number("init.vector", state.trap.vector);
    hello_number("init.error", state.trap.error);
    hello_number("init.fault_eip", state.trap.pc);
    hello_number("init.cr2", state.trap.address);
    hello_number("init.canary_bad", state.canary_bad);
    hello_bytes("init.before", state.before, sizeof state.before);
    hello_bytes("init.after", state.after, sizeof state.after);
}

static void fetch_relocations(void)
{
    core_stage(STAGE_ENTRIES);
    for (u32 n = 0; n < VMI_CALLS; n++) {
        call_rom(rom + VMI_GET_RELOC, 1u << EAX, n, 0, 1);
        if (state.outcome != RETURNED) {
            hello_indexed("reloc.", n, ".outcome", state.outcome);
            continue; /* as if it had said NONE */
        }
        relocations[n] = (struct relocation){(u32)state.after[EAX], (u32)state.after[EDX] & 0xFF};
        hello_indexed("reloc.", n, "", state.after[EDX] << 32 | state.after[EAX]);
    }
}

static void start(void)
{
    rom = rom_find();
    if (rom) {
        core_stage(STAGE_CALLING);
        call_rom(rom + VMI_INIT, 0, 0, 0, 0);
        core_stage(STAGE_RETURNED);
        report_init();
        if (state.outcome == RETURNED && !state.after[EAX]) {
            fetch_relocations();
            active = 1;
        }
    }
    hello_number("abi.active", active);
}

static struct target native(u32 entry)
{
    struct target target = {.how = HOW_NONE, .leaves = entry == CALL_IRET || entry == CALL_SYSEXIT,
                            .fast = entry == CALL_SYSEXIT};
    for (const struct native *n = native_table; n < native_table_end; n++) {
        if (n->number != entry)
            continue;
        if (n->kind == NATIVE_NOTHING)
            target.how = HOW_NOTHING;
        else
            target.how = n->kind == NATIVE_ROUTINE ? HOW_CALL : HOW_CODE;
        if (n->kind == NATIVE_ROUTINE)
            target.address = n->start;
        target.code = (const u8 *)n->start;
        target.code_length = n->end - n->start;
    }
    return target;
}

static struct target resolve(u32 entry, enum mode mode)
{
    struct target target = native(entry);
    if (!active || mode == MODE_NATIVE || entry >= VMI_CALLS || relocations[entry].type == RELOC_NONE)
        return target;
    u32 type = relocations[entry].type;
    target.kind = type;
    target.address = relocations[entry].eip;
    target.in_line = mode == MODE_INLINE || target.leaves;
    if (type == RELOC_CALL)
        target.how = HOW_CALL;
    else if (type == RELOC_JUMP && target.leaves)
        target.how = HOW_JUMP;
    else if (type == RELOC_NOP && !target.leaves)
        target.how = HOW_NOTHING;
    else
        target.how = HOW_NONE; /* a jump where a caller waits, or a type that does not exist */
    return target;
}

static struct target interrupt_return(void) { return resolve(CALL_IRET, MODE_INLINE); }

static u32 offered(u32 entry) { return active ? relocations[entry].type : RELOC_NONE; }

static u64 interrupt_mask(void)
{
    u32 type = offered(CALL_GET_INTERRUPT_MASK);
    if (type == RELOC_NONE)
        return flags_now();
    return type == RELOC_CALL ? near_call(relocations[CALL_GET_INTERRUPT_MASK].eip, 0, 0) : UNKNOWN;
}

static void interrupts_off(void)
{
    if (offered(CALL_SET_INTERRUPT_MASK) == RELOC_CALL)
        near_call(relocations[CALL_SET_INTERRUPT_MASK].eip, 0, 0);
    else if (offered(CALL_DISABLE_INTERRUPTS) == RELOC_CALL)
        near_call(relocations[CALL_DISABLE_INTERRUPTS].eip, 0, 0);
    else
        __asm__ volatile("cli" ::: "memory");
}

static u64 fault_address(void)
{
    u32 type = offered(CALL_GET_CR2), address;
    if (type == RELOC_CALL)
        return near_call(relocations[CALL_GET_CR2].eip, 0, 0);
    if (type != RELOC_NONE)
        return UNKNOWN;
    __asm__ volatile("movl %%cr2, %0" : "=r"(address));
    return address;
}

/* RELOC(number, EDX): VMI_GetRelocationInfo as it answers now, without taking the answer. */
static int operation(const struct op *op, struct answer *answer)
{
    if (op->code != OP_RELOC)
        return 0;
    if (op->nargs != 2) {
        answer_refuse(answer, BAD_ARGUMENTS);
        return 1;
    }
    if (active)
        call_rom(rom + VMI_GET_RELOC, 1u << EAX | 1u << EDX, op->args[0], op->args[1], 0);
    else
        fill_bytes(&state, 0, sizeof state), state.outcome = NOT_CALLABLE, state.mask_after = UNKNOWN;
    port_answer_state(answer, &state);
    return 1;
}

const struct abi_module abi_module = {
    .name = "vmi", .start = start, .resolve = resolve, .interrupt_return = interrupt_return,
    .interrupt_mask = interrupt_mask, .interrupts_off = interrupts_off, .fault_address = fault_address,
    .operation = operation,
};
