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

void copy_bytes(void *to, const void *from, u32 length)
{
    u8 *t = to;
    const u8 *f = from;
    while (length--)
        *t++ = *f++;
}

void fill_bytes(void *to, u8 value, u32 length)
{
    u8 *t = to;
    while (length--)
        *t++ = value;
}

/* The compiler may call these whatever it is told. */
void *memcpy(void *to, const void *from, size_t length)
{
    u8 *t = to;
    const u8 *f = from;
    for (size_t i = 0; i < length; i++)
        ((volatile u8 *)t)[i] = f[i];
    return to;
}

void *memset(void *to, int value, size_t length)
{
    for (size_t i = 0; i < length; i++)
        ((volatile u8 *)to)[i] = (u8)value;
    return to;
}
