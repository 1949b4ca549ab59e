/* SPDX-License-Identifier: BSD-2-Clause
 * The machine at start: GDT, IDT, TSS, user area, interrupt controllers quiet; and what HELLO says of it. */
#include "abi.h"
#include "i386.h"

enum { GDT_ENTRIES = 32, PAGE = 4096, PRESENT_USER = 7 };
enum { MSR_SYSENTER_CS = 0x174, MSR_SYSENTER_ESP, MSR_SYSENTER_EIP };
struct dtr { u16 limit; u32 base; } __attribute__((packed));
struct multiboot { u32 flags, lower, upper, boot_device, command_line; };
struct fragment { const char *name; u32 address; };

extern u32 trap_vectors[256], direct_tables[4096];
extern const struct fragment fragment_table[], fragment_table_end[];
extern u8 user_code[], op_stack_guard[], ask_stack_guard[], kernel_end[];
extern u8 double_fault_entry[], sysenter_entry[];

const char *const port_name = "i386";
const char *const port_registers[NREGS] = {"eax", "ecx", "edx", "ebx", "esp", "ebp", "esi", "edi",
                                           "eip", "eflags", "cs", "ss", "ds", "es", "fs", "gs"};
struct tss kernel_tss __attribute__((aligned(128)));
struct tss double_fault_tss __attribute__((aligned(128)));
u64 gdt[PAGE / 8] __attribute__((aligned(4096)));
u64 idt[PAGE / 8] __attribute__((aligned(4096)));
static u8 user_data[PAGE] __attribute__((aligned(4096))), user_stack[PAGE] __attribute__((aligned(4096)));
static u32 user_table[1024] __attribute__((aligned(4096)));
static u8 trap_stack[8192] __attribute__((aligned(16))), double_fault_stacks[2][8192] __attribute__((aligned(16)));
static char command_line[256];
static u32 cpl_before, has_sysenter;
u32 doorbell;

static u32 physical(const void *address) { return (u32)address - DIRECT_OFFSET; }

u8 *port_physical(u64 address)
{
    return address < RAM_SIZE ? (u8 *)(DIRECT_OFFSET + (u32)address) : NULL;
}

void port_doorbell(u32 port) { doorbell = port; }

void port_wait(void)
{
    if (doorbell)
        out8((u16)doorbell, 0);
    else
        __asm__ volatile("pause");
}

static u64 tss_descriptor(const struct tss *tss)
{
    u32 base = (u32)tss, limit = sizeof *tss - 1;
    return limit | (u64)(base & 0xFFFFFF) << 16 | (u64)0x89 << 40 | (u64)(base >> 24) << 56;
}

static void start_gdt(void)
{
    gdt[KERNEL_CS >> 3] = 0x00CF9B000000FFFFull; /* accessed bits set: the processor need not write here */
    gdt[KERNEL_DS >> 3] = 0x00CF93000000FFFFull;
    gdt[USER_CS >> 3] = 0x00CFFB000000FFFFull;
    gdt[USER_DS >> 3] = 0x00CFF3000000FFFFull;
    gdt[TSS_SELECTOR >> 3] = tss_descriptor(&kernel_tss);
    gdt[DOUBLE_FAULT_SELECTOR >> 3] = tss_descriptor(&double_fault_tss);
    struct dtr dtr = {GDT_ENTRIES * 8 - 1, (u32)gdt};
    __asm__ volatile("lgdt %0; ljmp %1, $1f; 1: movl %2, %%ss; movl %2, %%ds; movl %2, %%es;"
                     "movl %3, %%fs; movl %3, %%gs; lldt %w3"
                     :: "m"(dtr), "i"(KERNEL_CS), "r"(KERNEL_DS), "r"(0) : "memory");
}

static void start_idt(void)
{
    for (u32 vector = 0; vector < 256; vector++) {
        u32 user = vector == 3 || vector == 4 || vector == VECTOR_CALL || vector == VECTOR_STOP;
        u32 at = trap_vectors[vector], high = (at & 0xFFFF0000) | (user ? 0xEE00 : 0x8E00);
        idt[vector] = (u64)high << 32 | KERNEL_CS << 16 | (at & 0xFFFF);
    }
    idt[VECTOR_DOUBLE_FAULT] = (u64)0x8500 << 32 | DOUBLE_FAULT_SELECTOR << 16; /* task gate */
    struct dtr dtr = {256 * 8 - 1, (u32)idt};
    __asm__ volatile("lidt %0" :: "m"(dtr) : "memory");
}

/* A double fault while another is being handled must not run on the same stack. */
void machine_double_fault_stack(u32 depth)
{
    double_fault_tss.esp = (u32)double_fault_stacks[depth > 0] + sizeof double_fault_stacks[0];
}

/* The double fault's task, fresh; again after each use. */
static void start_tasks(void)
{
    double_fault_tss = (struct tss){
        .cr3 = physical(kernel_directory), .eip = (u32)double_fault_entry, .eflags = 2,
        .cs = KERNEL_CS, .ss = KERNEL_DS, .ds = KERNEL_DS, .es = KERNEL_DS, .io_map = sizeof(struct tss)};
    machine_double_fault_stack(0);
    gdt[TSS_SELECTOR >> 3] &= ~((u64)2 << 40); /* not busy */
    gdt[DOUBLE_FAULT_SELECTOR >> 3] &= ~((u64)2 << 40);
    __asm__ volatile("ltr %w0" :: "r"(TSS_SELECTOR) : "memory");
}

static void start_memory(void)
{
    kernel_directory[USER_CODE >> 22] = physical(user_table) | PRESENT_USER;
    user_table[(USER_CODE >> 12) & 1023] = physical(user_code) | PRESENT_USER;
    user_table[(USER_DATA >> 12) & 1023] = physical(user_data) | PRESENT_USER;
    user_table[(USER_STACK >> 12) & 1023] = physical(user_stack) | PRESENT_USER;
    direct_tables[physical(op_stack_guard) >> 12] = 0; /* a runaway stack must not reach the kernel's data */
    direct_tables[physical(ask_stack_guard) >> 12] = 0;
    __asm__ volatile("movl %%cr3, %%eax; movl %%eax, %%cr3" ::: "eax", "memory");
}

static void start_sysenter(void)
{
    u32 eax = 1, ebx, ecx = 0, edx;
    __asm__ volatile("cpuid" : "+a"(eax), "=b"(ebx), "+c"(ecx), "=d"(edx));
    has_sysenter = edx >> 11 & 1;
    if (!has_sysenter)
        return;
    __asm__ volatile("wrmsr" :: "c"(MSR_SYSENTER_CS), "a"(KERNEL_CS), "d"(0));
    __asm__ volatile("wrmsr" :: "c"(MSR_SYSENTER_ESP), "a"(kernel_tss.esp0), "d"(0));
    __asm__ volatile("wrmsr" :: "c"(MSR_SYSENTER_EIP), "a"(sysenter_entry), "d"(0));
}

/* Both interrupt controllers at 20h and 28h, all masked; timer channel 0 stopped; clock interrupts off. */
static void start_devices(void)
{
    static const u8 words[][2] = {{0x20, 0x11}, {0xA0, 0x11}, {0x21, VECTOR_IRQ}, {0xA1, VECTOR_IRQ + 8},
                                  {0x21, 4}, {0xA1, 2}, {0x21, 1}, {0xA1, 1}, {0x21, 0xFF}, {0xA1, 0xFF},
                                  {0x43, 0x30}};
    for (u32 i = 0; i < sizeof words / sizeof words[0]; i++)
        out8(words[i][0], words[i][1]);
    out8(0x70, 0x0B);
    u8 status = in8(0x71);
    out8(0x70, 0x0B);
    out8(0x71, status & 0x8F);
    out8(0x70, 0x0C);
    in8(0x71);
}

void machine_start(const struct multiboot *info)
{
    info = (const struct multiboot *)port_physical((u32)info);
    const char *line = info && info->flags & 4 ? (const char *)port_physical(info->command_line) : NULL;
    for (u32 i = 0; line && line[i] && i < sizeof command_line - 1; i++)
        command_line[i] = line[i];
    core_main(command_line);
}

void port_start(void)
{
    kernel_tss = (struct tss){.esp0 = (u32)trap_stack + sizeof trap_stack, .ss0 = KERNEL_DS,
                              .io_map = sizeof(struct tss)};
    start_gdt();
    start_idt();
    start_tasks();
    start_memory();
    start_sysenter();
    start_devices();
    cpl_before = cs_now() & 3;
}

/* Back from the double fault's task to the kernel's own; only ever taken at CPL 0. */
void machine_leave_task(void)
{
    __asm__ volatile("clts; pushfl; andl $~0x4000, (%%esp); popfl" ::: "memory", "cc");
    start_tasks();
}

void port_hello(void)
{
    hello_number("cpl.before", cpl_before);
    hello_number("cpl.after", cs_now() & 3);
    hello_number("direct.offset", DIRECT_OFFSET);
    hello_number("ram.size", RAM_SIZE);
    hello_number("arena.base", ARENA_BASE);
    hello_number("arena.size", ARENA_SIZE);
    hello_number("kernel.end.phys", physical(kernel_end));
    hello_number("kernel.pd.phys", physical(kernel_directory));
    hello_number("kernel.cr3", physical(kernel_directory));
    hello_number("kernel.esp0", kernel_tss.esp0);
    hello_number("kernel.tss", (u32)&kernel_tss);
    hello_number("kernel.gdt", (u32)gdt);
    hello_number("kernel.idt", (u32)idt);
    hello_number("kernel.guard.0", (u32)op_stack_guard);
    hello_number("kernel.guard.1", (u32)ask_stack_guard);
    hello_number("sysenter", has_sysenter);
    hello_number("selector.kernel.cs", cs_now());
    hello_number("selector.kernel.ss", ss_now());
    hello_number("selector.kernel.ds", KERNEL_DS);
    hello_number("selector.user.cs", USER_CS);
    hello_number("selector.user.ds", USER_DS);
    hello_number("selector.tss", TSS_SELECTOR);
    hello_number("user.code", USER_CODE);
    hello_number("user.code.phys", physical(user_code));
    hello_number("user.data", USER_DATA);
    hello_number("user.data.phys", physical(user_data));
    hello_number("user.stack", USER_STACK + PAGE);
    hello_number("user.stack.phys", physical(user_stack));
    for (const struct fragment *f = fragment_table; f < fragment_table_end; f++) {
        u32 offset = f->address - (u32)user_code;
        hello_number(f->name, offset < PAGE ? USER_CODE + offset : f->address);
    }
}
