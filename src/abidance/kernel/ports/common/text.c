/* SPDX-License-Identifier: BSD-2-Clause
 * The few library routines that the kernel needs. */
#include "core.h"

u32 text_length(const char *text)
{
    u32 n = 0;
    while (text[n])
        n++;
    return n;
}

int text_equal(const char *a, const char *b)
{
    while (*a && *a == *b)
        a++, b++;
    return *a == *b;
}

static int aligned(const void *one, const void *other) { return !(((word)one | (word)other) & 3); }

void copy_bytes(void *to, const void *from, u32 length)
{
    u8 *t = to;
    const u8 *f = from;
    if (aligned(to, from))
        for (; length >= 4; length -= 4, t += 4, f += 4)
            *(u32 *)t = *(const u32 *)f;
    while (length--)
        *t++ = *f++;
}

void fill_bytes(void *to, u8 value, u32 length)
{
    u8 *t = to;
    if (aligned(to, to))
        for (; length >= 4; length -= 4, t += 4)
            *(u32 *)t = value * 0x01010101u;
    while (length--)
        *t++ = value;
}

/* The compiler may call these whatever it is told. */
void *memcpy(void *to, const void *from, size_t length)
{
    size_t i = 0;
    if (aligned(to, from))
        for (; i + 4 <= length; i += 4)
            *(volatile u32 *)((u8 *)to + i) = *(const u32 *)((const u8 *)from + i);
    for (; i < length; i++)
        ((volatile u8 *)to)[i] = ((const u8 *)from)[i];
    return to;
}

void *memset(void *to, int value, size_t length)
{
    size_t i = 0;
    if (aligned(to, to))
        for (; i + 4 <= length; i += 4)
            *(volatile u32 *)((u8 *)to + i) = (u8)value * 0x01010101u;
    for (; i < length; i++)
        ((volatile u8 *)to)[i] = (u8)value;
    return to;
}
