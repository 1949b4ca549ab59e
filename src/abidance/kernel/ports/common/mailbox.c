/* SPDX-License-Identifier: BSD-2-Clause
 * Mailbox and frames: command line, HELLO, waiting for batches, CRC-32, results. */
#include "abi.h"

enum { FRAME_MAGIC = 0x44494241, FRAME_VERSION = 1, KIND_HELLO = 1, KIND_BATCH, KIND_RESULT };
enum { MAILBOX_MAGIC = 0x44494241, IN_OFFSET = 0x1000, IN_SIZE = 0x3F000, OUT_OFFSET = 0x40000, OUT_SIZE = 0xC0000 };
enum { RESULT_COMPLETE, RESULT_TRUNCATED, RESULT_BAD_BATCH };
#define MAILBOX_DEFAULT 0x400000u

struct frame { u32 magic; u16 version, kind; u32 length, seq; u64 nonce; };
struct mailbox { u32 magic, version, host_seq, kernel_seq, stage, hello_ready, progress, panic[5]; };

static volatile struct mailbox *mailbox;
static u8 *in, *out;
static u64 nonce;
static u32 crc_table[4][256];
static u8 *hello_end;

u32 batch_run(const u8 *batch, u32 length, u8 *result, u32 room, volatile u32 *progress);

static void make_crc_table(void)
{
    for (u32 i = 0; i < 256; i++) {
        u32 c = i;
        for (int bit = 0; bit < 8; bit++)
            c = (c >> 1) ^ (0xEDB88320u & -(c & 1));
        crc_table[0][i] = c;
    }
    for (u32 place = 1; place < 4; place++) /* a further zero byte behind each */
        for (u32 i = 0; i < 256; i++) {
            u32 c = crc_table[place - 1][i];
            crc_table[place][i] = crc_table[0][c & 0xFF] ^ (c >> 8);
        }
}

/* Word by word, each byte through the table of its place: half of what a batch costs is spent here. */
static inline u32 crc_word(u32 crc, u32 data)
{
    crc ^= data;
    return crc_table[3][(u8)crc] ^ crc_table[2][(u8)(crc >> 8)] ^ crc_table[1][(u8)(crc >> 16)] ^
           crc_table[0][crc >> 24];
}

static u32 crc32(const u8 *data, u32 length)
{
    u32 crc = ~0u;
    if (!crc_table[0][1])
        make_crc_table();
    for (; length && (word)data & 3; length--)
        crc = crc_table[0][(crc ^ *data++) & 0xFF] ^ (crc >> 8);
    for (; length >= 16; length -= 16, data += 16) {
        const u32 *at = (const u32 *)data;
        crc = crc_word(crc_word(crc_word(crc_word(crc, at[0]), at[1]), at[2]), at[3]);
    }
    while (length--)
        crc = crc_table[0][(crc ^ *data++) & 0xFF] ^ (crc >> 8);
    return ~crc;
}

void core_stage(enum stage stage)
{
    if (mailbox)
        mailbox->stage = stage;
}

void core_panic(const struct trap *trap)
{
    if (mailbox) {
        mailbox->panic[0] = (u32)trap->vector;
        mailbox->panic[1] = (u32)trap->error;
        mailbox->panic[2] = (u32)trap->pc;
        mailbox->panic[3] = (u32)trap->address;
        mailbox->panic[4] = (u32)trap->sp;
        mailbox->stage = STAGE_PANIC;
    }
    for (;;)
        port_wait();
}

/* ---- HELLO ---- */
static u32 padded(u32 length) { return (length + 7) & ~7u; }

static void hello_item(u8 type, const char *name, u32 name_length, const void *data, u32 length)
{
    u32 size = 8 + padded(name_length) + padded(length);
    if (!hello_end || hello_end + size + 4 > out + OUT_SIZE)
        return; /* cannot happen with the items there are; a cut HELLO would be refused by the host */
    fill_bytes(hello_end, 0, size);
    hello_end[0] = type;
    hello_end[1] = (u8)name_length;
    copy_bytes(hello_end + 4, &length, 4);
    copy_bytes(hello_end + 8, name, name_length);
    copy_bytes(hello_end + 8 + padded(name_length), data, length);
    hello_end += size;
}

void hello_number(const char *name, u64 value) { hello_item(1, name, text_length(name), &value, 8); }
void hello_bytes(const char *name, const void *data, u32 length) { hello_item(2, name, text_length(name), data, length); }
void hello_text(const char *name, const char *text) { hello_bytes(name, text, text_length(text)); }

static const char *indexed(const char *prefix, u32 index, const char *suffix)
{
    static char name[64];
    char digits[12];
    u32 n = 0, at = text_length(prefix);
    do
        digits[n++] = (char)('0' + index % 10), index /= 10;
    while (index);
    copy_bytes(name, prefix, at);
    while (n)
        name[at++] = digits[--n];
    copy_bytes(name + at, suffix, text_length(suffix) + 1);
    return name;
}

void hello_indexed(const char *prefix, u32 index, const char *suffix, u64 value)
{
    hello_number(indexed(prefix, index, suffix), value);
}

void hello_indexed_bytes(const char *prefix, u32 index, const char *suffix, const void *data, u32 length)
{
    hello_bytes(indexed(prefix, index, suffix), data, length);
}

void hello_indexed_text(const char *prefix, u32 index, const char *suffix, const char *text)
{
    hello_text(indexed(prefix, index, suffix), text);
}

/* ---- frames ---- */
static void send(u16 kind, u32 seq, u32 length)
{
    struct frame *frame = (struct frame *)out;
    frame->magic = FRAME_MAGIC;
    frame->version = FRAME_VERSION;
    frame->kind = kind;
    frame->length = length;
    frame->seq = seq;
    frame->nonce = nonce;
    u32 crc = crc32(out, sizeof *frame + length);
    copy_bytes(out + sizeof *frame + length, &crc, 4);
}

static void say_hello(void)
{
    hello_end = out + sizeof(struct frame);
    hello_number("protocol", 1);
    hello_text("port", port_name);
    hello_text("abi", abi_module.name);
    hello_number("registers", NREGS);
    for (u32 i = 0; i < NREGS; i++)
        hello_indexed_text("register.", i, "", port_registers[i]);
}

static int batch_good(const struct frame *frame, u32 seq)
{
    u32 crc;
    if (frame->magic != FRAME_MAGIC || frame->version != FRAME_VERSION || frame->kind != KIND_BATCH ||
        frame->seq != seq || frame->nonce != nonce || frame->length > IN_SIZE - sizeof *frame - 4)
        return 0;
    copy_bytes(&crc, in + sizeof *frame + frame->length, 4);
    return crc == crc32(in, sizeof *frame + frame->length);
}

static void serve(u32 seq)
{
    u8 *result = out + sizeof(struct frame);
    u32 head[2] = {0, RESULT_BAD_BATCH}, length = 8;
    if (batch_good((struct frame *)in, seq))
        length = batch_run(in + sizeof(struct frame), ((struct frame *)in)->length, result,
                           OUT_SIZE - sizeof(struct frame) - 4, &mailbox->progress);
    else
        copy_bytes(result, head, 8);
    send(KIND_RESULT, seq, length);
}

/* ---- command line: words "key=value" ---- */
static u64 number(const char *text)
{
    u64 value = 0;
    u32 base = 10;
    if (text[0] == '0' && (text[1] | 0x20) == 'x')
        base = 16, text += 2;
    for (;; text++) {
        u32 digit = (u32)*text - '0';
        if (digit > 9)
            digit = ((u32)*text | 0x20) - 'a' + 10;
        if (digit >= base)
            return value;
        value = base == 16 ? (value << 4) + digit : (value << 3) + (value << 1) + digit;
    }
}

static const char *option(const char *line, const char *key)
{
    u32 length = text_length(key);
    for (const char *at = line; *at; at++) {
        u32 i = 0;
        while (i < length && at[i] == key[i])
            i++;
        if (i == length && at[i] == '=' && (at == line || at[-1] == ' '))
            return at + i + 1;
    }
    return NULL;
}

void core_main(const char *command_line)
{
    const char *text = option(command_line, "mailbox");
    u8 *base = port_physical(text ? number(text) : MAILBOX_DEFAULT);
    mailbox = (volatile struct mailbox *)base;
    in = base + IN_OFFSET;
    out = base + OUT_OFFSET;
    mailbox->magic = 0; /* a reset may have left an older session's words */
    mailbox->hello_ready = mailbox->host_seq = mailbox->kernel_seq = mailbox->progress = 0;
    mailbox->version = 1;
    core_stage(STAGE_PAGING);
    mailbox->magic = MAILBOX_MAGIC;
    text = option(command_line, "nonce");
    nonce = text ? number(text) : 0;
    text = option(command_line, "doorbell");
    port_doorbell(text ? (u32)number(text) : 0);

    port_start();
    say_hello();
    core_stage(STAGE_SCANNING);
    abi_module.start();
    port_bind();
    port_hello();
    send(KIND_HELLO, 0, (u32)(hello_end - out - sizeof(struct frame)));
    hello_end = NULL;
    core_stage(STAGE_HELLO);
    mailbox->hello_ready = 1;
    for (;;) {
        port_wait();
        u32 seq = mailbox->host_seq;
        if (seq != mailbox->kernel_seq) {
            serve(seq);
            mailbox->kernel_seq = seq;
        }
    }
}
