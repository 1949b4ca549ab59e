/* SPDX-License-Identifier: BSD-2-Clause
 * Finding the VMI ROM, in the order a guest checks: signatures, version, PCI header, licence. */
#include "port.h"
#include "vmi.h"

enum { CANDIDATES = 64 };

static u16 half(const u8 *at) { return (u16)(at[0] | at[1] << 8); }

static int is_free(const u8 *rom, const u8 *end)
{
    char licence[8];
    u32 offset = half(rom + 0x16), i = 0;
    if (!offset)
        return 0;
    for (; i < sizeof licence - 1 && rom + offset + i < end && rom[offset + i]; i++)
        licence[i] = (char)rom[offset + i];
    licence[i] = 0;
    return text_equal(licence, "GPL") || text_equal(licence, "GPL v2");
}

static const char *judge(const u8 *rom, const u8 *end)
{
    if (rom[8] != 'c' || rom[9] != 'V' || rom[10] != 'm' || rom[11] != 'i')
        return "not-vmi";
    if (rom[0x0D] != 3)
        return "api-version";
    if (!half(rom + 0x18))
        return "no-pci-header";
    return is_free(rom, end) ? "accepted" : "licence";
}

static u8 sum(const u8 *rom, const u8 *end)
{
    u8 total = 0;
    for (u32 i = 0; i < rom[2] * 512u && rom + i < end; i++)
        total = (u8)(total + rom[i]);
    return total;
}

u32 rom_find(void)
{
    const u8 *end = port_physical(ROM_LIMIT);
    u32 count = 0, found = 0;
    for (u32 address = ROM_FIRST; address < ROM_LIMIT && count < CANDIDATES; address += ROM_STEP) {
        const u8 *rom = port_physical(address);
        if (rom[0] != 0x55 || rom[1] != 0xAA)
            continue;
        const char *verdict = judge(rom, end);
        if (!found && text_equal(verdict, "accepted"))
            found = address;
        hello_indexed("rom.", count, ".phys", address);
        hello_indexed("rom.", count, ".sum", sum(rom, end));
        hello_indexed_bytes("rom.", count, ".header", rom, VMI_HEADER_SIZE);
        hello_indexed_text("rom.", count, ".verdict", verdict);
        count++;
    }
    hello_number("rom.count", count);
    hello_number("rom.phys", found);
    return found ? (u32)port_physical(found) : 0;
}
