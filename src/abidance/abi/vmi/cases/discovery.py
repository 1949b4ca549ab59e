# SPDX-License-Identifier: BSD-2-Clause
"""Where the image lies and what its header says."""

from __future__ import annotations

from abidance.abi.vmi.cases.discovery_image import (
    HEADER_SIZE,
    LENGTH_UNIT,
    PCI_SIZE,
    ROM_SIGNATURE,
    SCAN_END,
    SCAN_START,
    SCAN_STEP,
    VMI_SIGNATURE,
    candidates,
    field,
    image,
    scan_memory,
)
from abidance.abi.vmi.constants import PAGE
from abidance.abi.vmi.guest import VmiGuest
from abidance.suite import case, untested

__all__: list[str] = []

API_MAJOR, CALLS = 3, 74
RELOCATION_CALL, RELOCATION_JUMP = 1, 2
VIRTUAL_TOP = 0x10
LICENCES = (b"GPL", b"GPL v2")
PERMISSION = "permission: nothing to violate"

untested("vmi.rom.lowest-address", "vmi.rom.jump-slots", "vmi.rom.virtual-top-zero", "vmi.rom.pci-identity",
         "vmi.discovery.several-images", reason=PERMISSION)
untested("vmi.rom.firmware-entry",
         reason="whether firmware has called the entry, and what that did, cannot be seen once the kernel "
                "runs: a far return and a broken entry that firmware survives look alike, and embedded "
                "platforms have no firmware")


# -- placement and signatures -------------------------------------------------------------------------


@case("vmi.rom.placement")
def placed_where_guests_look(g: VmiGuest) -> None:
    """The image starts on a 2 KiB boundary from C0000h on and below E0000h, and a guest finds it there."""
    found = image(g)
    g.expect(SCAN_START <= found.phys < SCAN_END, "the address of the image",
             expected="C0000h up to DFFFFh", seen=f"{found.phys:#x}")
    g.expect_equal(found.phys % SCAN_STEP, 0, "the address of the image within 2048 bytes")


@case("vmi.rom.signature")
def begins_with_rom_signature(g: VmiGuest) -> None:
    """The image begins with the bytes 55h and AAh."""
    g.expect_equal(image(g).data[:2], ROM_SIGNATURE, "the first two bytes of the image")


@case("vmi.rom.vmi-signature")
def has_vmi_signature(g: VmiGuest) -> None:
    """The word at offset 08h is 696D5663h, the bytes cVmi, in an image that begins with 55h AAh."""
    memory = scan_memory(g)
    starts = [at for at in candidates(memory) if memory[at:at + 2] == ROM_SIGNATURE]
    g.expect(bool(starts), "images with 55h AAh at their start and cVmi at offset 08h",
             expected="at least one", seen="none")
    for at in starts:
        where = f"the word at offset 08h of the image at {SCAN_START + at:#x}"
        g.expect_equal(field(memory, at + 8, 4), 0x696D_5663, where)
    taken = g.hello.number("rom.phys")
    if taken:
        at = taken - SCAN_START
        g.expect_equal(memory[at + 8:at + 12], VMI_SIGNATURE, "offset 08h of the image taken")


# -- length and sum -----------------------------------------------------------------------------------


@case("vmi.rom.length")
def length_fits(g: VmiGuest) -> None:
    """The length byte is not zero and makes the image end at or below E0000h."""
    found = image(g)
    g.expect(found.length > 0, "the length byte is not zero", seen=found.length)
    g.expect(found.end <= SCAN_END, "the end of the image", expected="E0000h at most", seen=f"{found.end:#x}")


@case("vmi.rom.length")
def length_covers_the_code(g: VmiGuest) -> None:
    """The code slots, and the routines that lie between the image's start and the next image, lie
    before its end."""
    found = image(g)
    others = [g.hello.number(f"rom.{index}.phys") for index in range(g.hello.number("rom.count"))]
    limit = min([other for other in others if other > found.phys], default=SCAN_END) - found.phys
    g.expect(found.length >= HEADER_SIZE, "the code slots lie inside the length", seen=found.length)
    for number in range(CALLS):
        kind, address = g.fetched(number)
        offset = address - g.direct(found.phys)
        if kind in (RELOCATION_CALL, RELOCATION_JUMP) and 0 <= offset < limit:
            g.expect(offset < found.length, f"the routine of call {number}",
                     expected=f"before offset {found.length:#x}", seen=f"offset {offset:#x}")


@case("vmi.rom.checksum")
def sums_to_zero(g: VmiGuest) -> None:
    """All bytes over the length given sum to zero modulo 256."""
    found = image(g)
    g.require(0 < found.length == len(found.data), "the image has a length")
    g.expect_equal(sum(found.data) % 256, 0, "the sum of all bytes of the image modulo 256")


# -- version ------------------------------------------------------------------------------------------


@case("vmi.rom.api-major")
def major_is_three(g: VmiGuest) -> None:
    """The byte at offset 0Dh is 3."""
    g.expect_equal(image(g).data[0x0D], API_MAJOR, "the major version")


@case("vmi.rom.api-minor-appends")
def minor_only_appends(g: VmiGuest) -> None:
    """With a minor version above 0, calls that stand far apart in the table mean what they mean in 3.0."""
    minor = image(g).data[0x0C]
    if minor == 0:
        g.skip("the image's minor version is 0: it appends nothing")
    marks = (g.poison(), g.poison())
    for mark in marks:
        g.call(16, eax=mark)
        g.expect_equal(g.call(20).eax, mark, "what call 20 reads after call 16 has written CR2")
    g.call(29)
    on = g.call(31)
    g.call(30)
    off = g.call(31)
    g.expect_equal(on.eax, 0x200, "what call 31 shows after call 29 has enabled interrupts", mask=0x200)
    g.expect_equal(off.eax, 0, "what call 31 shows after call 30 has disabled them", mask=0x200)
    page = g.page()
    for value in (0x1234_5000, 0x6789_A000):
        g.call(38, eax=value, edx=g.direct(page) + 16, ecx=1)
        g.expect_equal(g.read32(page + 16, phys=True), value, "the entry that call 38 has stored")
    g.call(73, eax=0)


# -- fields that should be as they are ------------------------------------------------------------------


@case("vmi.rom.reserved-zero")
def reserved_fields_are_zero(g: VmiGuest) -> None:
    """The fields at 0Fh, 14h and 20h to 7Fh are zero."""
    data = image(g).data
    g.expect_equal(data[0x0F], 0, "the byte at 0Fh")
    g.expect_equal(data[0x14:0x16], bytes(2), "the word at 14h")
    g.expect_equal(data[0x20:0x80], bytes(0x60), "the bytes at 20h to 7Fh")


@case("vmi.rom.virtual-top")
def virtual_top_stays(g: VmiGuest) -> None:
    """The word at 10h is the same before and after VMI_Init, and above all that the kernel has mapped."""
    found = image(g)
    earlier = before_init(g, found.phys)
    g.require(g.hello.number("init.outcome", 1) == 0, "VMI_Init has run")
    top = found.long(VIRTUAL_TOP)
    g.expect_equal(top, field(earlier, VIRTUAL_TOP, 4), "virtual_top after VMI_Init, as it was before")
    mapped = g.direct(g.hello.number("ram.size"))
    g.require(g.read32(mapped - 4).value is not None, "the kernel reads the end of its direct map")
    g.expect(top == 0 or top >= mapped, "virtual_top lies above what the kernel still reads",
             expected=f"0, or {mapped:#x} at least", seen=f"{top:#x}")


@case("vmi.rom.virtual-top-aligned")
def virtual_top_is_aligned(g: VmiGuest) -> None:
    """virtual_top is a multiple of 4096."""
    g.expect_equal(image(g).long(VIRTUAL_TOP) % PAGE, 0, "virtual_top modulo 4096")


@case("vmi.rom.image-constant")
def image_stays_constant(g: VmiGuest) -> None:
    """The bytes of the image are the same before VMI_Init, after it and after calls."""
    found = image(g)
    for entry in ("SetCR2", "GetCR2", "GetCR3", "GetInterruptMask", "SetLazyMode", "FlushTLB", "CLTS"):
        g.call(entry, eax=0 if entry == "SetLazyMode" else 1)
    g.interrupts_on()
    g.interrupts_off()
    g.enter_user("user.stop")
    g.map(g.window(), 0, g.page())
    later = image(g)
    g.require(g.hello.number("init.outcome", 1) == 0, "VMI_Init has run")
    g.expect_equal(found.data[:HEADER_SIZE], before_init(g, found.phys), "the header after VMI_Init")
    g.expect_equal(sum(found.data) % 256, earlier_sum(g, found.phys), "the sum of the bytes after VMI_Init")
    g.expect(later.data == found.data, "the image after calls is what it was before them")


# -- licence, PCI and PnP structures --------------------------------------------------------------------


@case("vmi.rom.licence-string")
def licence_ends_inside(g: VmiGuest) -> None:
    """The word at 16h is zero or the offset of a string that ends inside the image."""
    found = image(g)
    offset = found.word(0x16)
    g.expect(offset == 0 or found.string(offset) is not None, "the licence string ends inside the image",
             seen=f"offset {offset:#x} of {found.length:#x} bytes")


@case("vmi.rom.licence-gpl")
def licence_is_accepted(g: VmiGuest) -> None:
    """The licence string is exactly GPL or GPL v2."""
    found = image(g)
    text = found.string(found.word(0x16)) if found.word(0x16) else None
    g.expect(text in LICENCES, "the licence string", expected="GPL or GPL v2",
             seen="none" if text is None else repr(text))


@case("vmi.rom.pci-header")
def has_pci_structure(g: VmiGuest) -> None:
    """The word at 18h is the offset of 24 bytes inside the image."""
    found = image(g)
    offset = found.word(0x18)
    g.expect(offset != 0, "the offset at 18h is not zero", seen=offset)
    g.expect(offset + PCI_SIZE <= found.length, "the PCI data structure lies inside the image",
             expected=f"an offset of at most {found.length - PCI_SIZE:#x}", seen=f"{offset:#x}")


@case("vmi.rom.pci-signature")
def pci_structure_is_signed(g: VmiGuest) -> None:
    """The PCI data structure begins with PCIR."""
    pci = image(g).pci
    g.expect_equal((pci or b"")[:4], b"PCIR", "the first bytes of the PCI data structure")


@case("vmi.rom.pci-length")
def pci_length_agrees(g: VmiGuest) -> None:
    """The length in the PCI data structure is that of the length byte."""
    found = image(g)
    if found.pci is None:
        g.not_tested("there is no PCI data structure inside the image")
    g.expect_equal(field(found.pci, 0x10, 2), found.length // LENGTH_UNIT,
                   "the image length in the PCI data structure")


@case("vmi.rom.pnp-header")
def pnp_header_is_signed(g: VmiGuest) -> None:
    """The word at 1Ah is zero or the offset of 18 bytes inside the image that begin with $PnP."""
    found = image(g)
    offset = found.word(0x1A)
    g.expect(offset == 0 or found.pnp is not None, "the PnP header lies inside the image",
             seen=f"offset {offset:#x}")
    if found.pnp is not None:
        g.expect_equal(found.pnp[:4], b"$PnP", "the first bytes of the PnP header")


@case("vmi.rom.pnp-strings")
def pnp_strings_end_inside(g: VmiGuest) -> None:
    """The manufacturer and product strings of a PnP header end inside the image."""
    found = image(g)
    if found.word(0x1A) == 0:
        g.skip("the image has no PnP header")
    if found.pnp is None:
        g.not_tested("there is no PnP header inside the image")
    for name, at in (("manufacturer", 14), ("product", 16)):
        offset = field(found.pnp, at, 2)
        g.expect(offset == 0 or found.string(offset) is not None, f"the {name} string ends inside the image",
                 seen=f"offset {offset:#x}")


def before_init(g: VmiGuest, phys: int) -> bytes:
    """The header of the image at an address as the kernel saw it before it called VMI_Init."""
    return g.hello.blob(f"rom.{_index(g, phys)}.header")


def earlier_sum(g: VmiGuest, phys: int) -> int:
    """The sum of the image's bytes modulo 256 before VMI_Init."""
    return g.hello.number(f"rom.{_index(g, phys)}.sum")


def _index(g: VmiGuest, phys: int) -> int:
    places = [g.hello.number(f"rom.{index}.phys") for index in range(g.hello.number("rom.count"))]
    g.require(phys in places, "the kernel saw the image before it called VMI_Init")
    return places.index(phys)
