/* SPDX-License-Identifier: BSD-2-Clause
 * Running a routine: op stack with canaries, poisoned registers, patched sites, the State record. */
#include "abi.h"
#include "i386.h"

enum { CANARY_WORDS = 256, CALL_REL32 = 0xE8, JMP_REL32 = 0xE9, NOP = 0x90, UD2 = 0x0B0F, REL32_LENGTH = 5 };
enum { IF = 0x200, IOPL = 0x3000, ALWAYS_ONE = 2 };
#define CANARY(address) (0xC0DEC0DEu + (u32)(address))

void run_enter(void);
extern u8 run_memory[], run_return[];
extern struct site run_site, interrupt_return_site;
extern u32 run_load[NREGS], run_after[NREGS], run_entry, run_target, run_marker;
extern u32 op_stack_top[];

volatile u32 routine_runs;

static u64 poison[NREGS] = {0xA0A0EA5A, 0xC1C1EC5A, 0xD2D2ED5A, 0xB3B3EB5A, DEFAULT, 0xB5B5EB5A, 0x56565E5A,
                            0xD7D7ED5A, DEFAULT, DEFAULT, DEFAULT, DEFAULT, KERNEL_DS, KERNEL_DS, USER_DS, USER_DS};

void port_poison(u32 index, u64 value)
{
    if (poison[index] != DEFAULT)
        poison[index] = value;
}

void patch(struct site *site, const struct target *target)
{
    volatile u8 *at = site->code;
    u32 relative = target->address - ((u32)site + REL32_LENGTH);
    for (u32 i = 0; i < SITE_SIZE; i++)
        at[i] = NOP;
    if (target->how == HOW_CODE) {
        for (u32 i = 0; i < target->code_length && i < SITE_SIZE; i++)
            at[i] = target->code[i];
    } else if (target->how == HOW_CALL || target->how == HOW_JUMP) {
        at[0] = target->how == HOW_CALL ? CALL_REL32 : JMP_REL32;
        for (u32 i = 0; i < 4; i++)
            at[1 + i] = (u8)(relative >> 8 * i);
    } else if (target->how == HOW_NONE) {
        at[0] = UD2 & 0xFF; /* nothing can be run here: whoever comes by faults at a known place */
        at[1] = UD2 >> 8;
    }
}

void port_bind(void)
{
    struct target target = abi_module.interrupt_return();
    patch(&interrupt_return_site, &target);
}

/* Canaries by eights, because every call plants and checks them all. */
#define EIGHT(one) one(0) one(1) one(2) one(3) one(4) one(5) one(6) one(7)

static void plant_canaries(void)
{
#define PLANT(i) at[i] = first + 4 * i;
    for (u32 *at = op_stack_top - CANARY_WORDS; at < op_stack_top; at += 8) {
        u32 first = CANARY(at);
        EIGHT(PLANT)
    }
}

static u32 canaries_bad(void)
{
#define DIFFERENCE(i) | (at[i] ^ (first + 4 * i))
#define COUNT(i) + (at[i] != first + 4 * i)
    u32 bad = 0;
    for (const u32 *at = op_stack_top - CANARY_WORDS; at < op_stack_top; at += 8) {
        u32 first = CANARY(at);
        if (0 EIGHT(DIFFERENCE))
            bad += 0 EIGHT(COUNT);
    }
    return bad;
}

/* The op stack below its canaries, with the host's words on it. The stack pointer to start with. */
static u32 prepare_stack(const struct request *request)
{
    u32 *sp = op_stack_top - CANARY_WORDS - request->stack_words;
    if (!request->hasty)
        plant_canaries();
    for (u32 i = 0; i < request->stack_words; i++)
        sp[i] = (u32)request->stack[i];
    return (u32)sp;
}

static void prepare_registers(const struct request *request, u32 sp)
{
    u32 kept = flags_now() & (IF | IOPL); /* never changed by loading flags */
    for (u32 i = 0; i < NREGS; i++)
        run_load[i] = (u32)(request->given >> i & 1 ? request->registers[i] : poison[i]);
    if (!(request->given >> ESP & 1))
        run_load[ESP] = sp;
    u32 flags = request->flags == DEFAULT ? ALWAYS_ONE : (u32)request->flags & ~(u32)(IF | IOPL);
    run_load[EFLAGS] = flags | ALWAYS_ONE | kept;
    run_load[CS] = cs_now();
    run_load[SS] = ss_now();
    run_load[EIP] = run_target;
}

static void prepare_site(const struct target *target)
{
    int by_memory = target->how == HOW_CALL && !target->in_line;
    if (!by_memory)
        patch(&run_site, target);
    run_entry = by_memory ? (u32)run_memory : (u32)&run_site;
    run_target = target->how == HOW_CALL || target->how == HOW_JUMP ? target->address : run_entry;
    run_marker = setting_marker && doorbell ? doorbell + 1 : 0;
}

static u64 mask_now(void)
{
    struct recovery point;
    volatile u64 mask = UNKNOWN;
    RECOVER(point) {
        mask = abi_module.interrupt_mask();
        recover_end(&point);
    }
    return mask;
}

void port_run(const struct request *request, struct state *state)
{
    struct recovery point;
    fill_bytes(state, 0, sizeof *state);
    state->target_kind = request->target.kind;
    state->target = request->target.address;
    state->mask_after = UNKNOWN;
    if (request->target.how == HOW_NONE || request->stack_words > 256) {
        state->outcome = NOT_CALLABLE;
        return;
    }
    prepare_site(&request->target);
    prepare_registers(request, prepare_stack(request));
    state->site = run_entry;
    for (u32 i = 0; i < NREGS; i++)
        state->before[i] = run_load[i];
    RECOVER(point) {
        routine_runs = 1;
        run_enter();
        routine_runs = 0;
        recover_end(&point);
        run_after[EIP] = (u32)run_return;
        for (u32 i = 0; i < NREGS; i++)
            state->after[i] = i < CS ? run_after[i] : run_after[i] & 0xFFFF;
    } else {
        routine_runs = 0;
        state->outcome = point.trap.kind == LOG_STOP ? STOP : FAULT;
        state->trap = point.trap;
        for (u32 i = 0; i < NREGS; i++)
            state->after[i] = trap_registers[i];
    }
    state->canary_bad = request->hasty ? 0 : canaries_bad();
    state->irqs = irq_count;
    state->mask_after = mask_now();
}

void port_answer_state(struct answer *answer, const struct state *state)
{
    const struct trap *trap = &state->trap;
    const u64 tail[] = {trap->vector, trap->error, trap->pc, trap->cs, trap->address, trap->flags_image, state->site,
                        state->canary_bad, state->irqs, state->target_kind, state->target, state->mask_after};
    answer_value(answer, state->outcome);
    answer_value(answer, NREGS);
    for (u32 i = 0; i < NREGS; i++)
        answer_value(answer, state->before[i]);
    for (u32 i = 0; i < NREGS; i++)
        answer_value(answer, state->after[i]);
    for (u32 i = 0; i < sizeof tail / sizeof tail[0]; i++)
        answer_value(answer, tail[i]);
}
