# SPDX-License-Identifier: BSD-2-Clause
"""Defects of the ROM image: where it lies, its header and structures, its code slots.

Each leaves the checksum right, but for the one that is about the checksum.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING

from abidance.abi.vmi.mutants.changes import NUMBERS, Call, instead, wrap
from abidance.abi.vmi.reference.image import BASE
from abidance.suite import mutant

if TYPE_CHECKING:
    from abidance.abi.vmi.reference.hypervisor import Hypervisor
    from abidance.abi.vmi.reference.vcpu import VirtualCpu

__all__: list[str] = []

_LENGTH, _MAGIC, _MINOR, _MAJOR, _SLOTS, _TOP = 0x02, 0x08, 0x0C, 0x0D, 0x0E, 0x10
_LICENCE, _PCI, _PNP, _RESERVED = 0x16, 0x18, 0x1A, 0x20
_INIT, _RELOCATION = 0x80, 0x88
_PCI_LENGTH, _PNP_MANUFACTURER, _PNP_PRODUCT = 0x10, 14, 16
_UNIT = 512
_LINUX_DIRECT_MAP = 0xC0000000


def _half(value: int) -> bytes:
    return value.to_bytes(2, "little")


def _offset(hv: Hypervisor, field: int) -> int:
    """The offset that a field of the header holds."""
    return int.from_bytes(hv.image.read(field, 2), "little")


def _move(hv: Hypervisor, base: int) -> None:
    """Publish the image at another physical address."""
    image, size = hv.image, hv.image.size
    hv.ram[base:base + size] = image.read(0, size)
    hv.ram[BASE:BASE + min(size, base - BASE)] = bytes(min(size, base - BASE))
    image._bytes = hv.ram[base:base + size]
    image.sites = {at - BASE + base: number for at, number in image.sites.items()}


# -- where it is -------------------------------------------------------------------------------------

@mutant("ROM-off-boundary", violates="vmi.rom.placement")
def _(hv: Hypervisor) -> None:
    """The image lies 512 bytes behind a 2 KiB boundary."""
    _move(hv, BASE + _UNIT)


@mutant("ROM-at-E0000", violates="vmi.rom.placement")
def _(hv: Hypervisor) -> None:
    """The image lies at E0000h, where the scan no longer looks."""
    _move(hv, 0xE0000)


@mutant("ROM-signature-swapped", violates="vmi.rom.signature")
def _(hv: Hypervisor) -> None:
    """The image begins with AA 55."""
    hv.image.patch(0, b"\xAA\x55")


@mutant("ROM-length-zero", violates="vmi.rom.length")
def _(hv: Hypervisor) -> None:
    """The length byte was never filled in."""
    hv.image.patch(_LENGTH, b"\0")


@mutant("ROM-ends-beyond-E0000", violates="vmi.rom.length")
def _(hv: Hypervisor) -> None:
    """The image starts at DF800h and is longer than the 2 KiB that are left."""
    _move(hv, 0xDF800)
    if hv.image.size <= 2048:
        hv.image.patch(_LENGTH, b"\x08")


@mutant("ROM-checksum-off-by-one", violates="vmi.rom.checksum")
def _(hv: Hypervisor) -> None:
    """The bytes of the image sum to 1."""
    hv.image._bytes[-1] = hv.image._bytes[-1] + 1 & 0xFF


@mutant("ROM-checksum-before-last-change", violates="vmi.rom.checksum")
def _(hv: Hypervisor) -> None:
    """The checksum was computed before the build filled in the length."""
    hv.image._bytes[-1] = hv.image._bytes[-1] + hv.image.read(_LENGTH, 1)[0] & 0xFF


# -- the VMI header ----------------------------------------------------------------------------------

@mutant("ROM-vmi-signature-reversed", violates="vmi.rom.vmi-signature")
def _(hv: Hypervisor) -> None:
    """The signature is stored with its most significant byte first."""
    hv.image.patch(_MAGIC, b"imVc")


@mutant("ROM-vmi-signature-case", violates="vmi.rom.vmi-signature")
def _(hv: Hypervisor) -> None:
    """The signature is "CVMI"."""
    hv.image.patch(_MAGIC, b"CVMI")


@mutant("ROM-major-2", violates="vmi.rom.api-major")
def _(hv: Hypervisor) -> None:
    """The image says version 2.0."""
    hv.image.patch(_MAJOR, b"\x02")


@mutant("ROM-version-swapped", violates="vmi.rom.api-major")
def _(hv: Hypervisor) -> None:
    """Minor and major version stand in the wrong order: 0.3."""
    hv.image.patch(_MINOR, b"\x03\x00")


@mutant("ROM-minor-renumbers", violates="vmi.rom.api-minor-appends")
def _(hv: Hypervisor) -> None:
    """Version 3.1 has the interrupt calls 29 and 30 the other way round."""
    enable, disable = hv.image.relocation(29), hv.image.relocation(30)
    hv.image.patch(_MINOR, b"\x01")
    hv.image.offer(29, *disable)
    hv.image.offer(30, *enable)


@mutant("ROM-reserved-used", violates="vmi.rom.reserved-zero")
def _(hv: Hypervisor) -> None:
    """A build number stands in the reserved bytes."""
    hv.image.patch(_RESERVED, b"build 42")


@mutant("ROM-reserved-byte-0F", violates="vmi.rom.reserved-zero")
def _(hv: Hypervisor) -> None:
    """The reserved byte at 0Fh holds flags."""
    hv.image.patch(0x0F, b"\x01")


@mutant("ROM-virtual-top-too-high", violates="vmi.rom.virtual-top")
def _(hv: Hypervisor) -> None:
    """virtual_top names 32 MiB, the hypervisor occupies 64."""
    hv.image.patch(_TOP, (0xFE000000).to_bytes(4, "little"))


@mutant("ROM-virtual-top-moves", violates="vmi.rom.virtual-top")
def _(hv: Hypervisor) -> None:
    """VMI_Init changes virtual_top, after the guest has laid out its address space."""
    def initialise(original: Call) -> Call:
        def call(vcpu: VirtualCpu) -> None:
            original(vcpu)
            hv.image.patch(_TOP, (0xFB000000).to_bytes(4, "little"))
        return call
    instead(hv, "initialise", initialise)


@mutant("ROM-virtual-top-unaligned", violates="vmi.rom.virtual-top-aligned")
def _(hv: Hypervisor) -> None:
    """virtual_top is the last address below the hypervisor, not a page boundary."""
    hv.image.patch(_TOP, (0xFBFFFFFF).to_bytes(4, "little"))


# -- licence, PCI, PnP -------------------------------------------------------------------------------

@mutant("ROM-licence-outside", violates="vmi.rom.licence-string")
def _(hv: Hypervisor) -> None:
    """The licence offset leads out of the image."""
    hv.image.patch(_LICENCE, _half(0xFFF0))


@mutant("ROM-licence-closed", violates="vmi.rom.licence-gpl")
def _(hv: Hypervisor) -> None:
    """The licence string is one that Linux does not take."""
    hv.image.patch(_offset(hv, _LICENCE), b"BSD\0")


@mutant("ROM-licence-lower-case", violates="vmi.rom.licence-gpl")
def _(hv: Hypervisor) -> None:
    """The licence string is "gpl"."""
    hv.image.patch(_offset(hv, _LICENCE), b"gpl\0")


@mutant("ROM-pci-missing", violates="vmi.rom.pci-header")
def _(hv: Hypervisor) -> None:
    """The offset of the PCI data structure is zero."""
    hv.image.patch(_PCI, _half(0))


@mutant("ROM-pci-outside", violates="vmi.rom.pci-header")
def _(hv: Hypervisor) -> None:
    """The PCI data structure does not end inside the image."""
    hv.image.patch(_PCI, _half(hv.image.size - 8))


@mutant("ROM-pci-signature", violates="vmi.rom.pci-signature")
def _(hv: Hypervisor) -> None:
    """The PCI data structure begins with "PCIX"."""
    hv.image.patch(_offset(hv, _PCI), b"PCIX")


@mutant("ROM-pci-length", violates="vmi.rom.pci-length")
def _(hv: Hypervisor) -> None:
    """The PCI data structure gives the length in bytes / 256."""
    hv.image.patch(_offset(hv, _PCI) + _PCI_LENGTH, _half(hv.image.size // 256))


@mutant("ROM-pnp-signature", violates="vmi.rom.pnp-header")
def _(hv: Hypervisor) -> None:
    """The PnP header begins with "$PNP"."""
    hv.image.patch(_offset(hv, _PNP), b"$PNP")


@mutant("ROM-pnp-outside", violates="vmi.rom.pnp-header")
def _(hv: Hypervisor) -> None:
    """The offset of the PnP header leads out of the image."""
    hv.image.patch(_PNP, _half(hv.image.size))


@mutant("ROM-pnp-manufacturer-outside", violates="vmi.rom.pnp-strings")
def _(hv: Hypervisor) -> None:
    """The manufacturer string lies outside the image."""
    hv.image.patch(_offset(hv, _PNP) + _PNP_MANUFACTURER, _half(0xFFF0))


@mutant("ROM-pnp-product-unended", violates="vmi.rom.pnp-strings")
def _(hv: Hypervisor) -> None:
    """The product string runs to the end of the image without a NUL byte."""
    at = hv.image.size - 2
    hv.image.patch(_offset(hv, _PNP) + _PNP_PRODUCT, _half(at))
    hv.image.patch(at, b"r")
    if not hv.image.read(at + 1, 1)[0]:
        # The checksum byte must not end the string by chance.
        hv.image.patch(at, b"s")


# -- the code ----------------------------------------------------------------------------------------

def _slot(hv: Hypervisor, at: int, target: int) -> None:
    hv.image.patch(at, b"\xE9" + (target - at - 5 & 0xFFFFFFFF).to_bytes(4, "little"))


def _target(hv: Hypervisor, at: int) -> int:
    return at + 5 + int.from_bytes(hv.image.read(at + 1, 4), "little", signed=True)


@mutant("ROM-slots-swapped", violates="vmi.rom.entry-slots")
def _(hv: Hypervisor) -> None:
    """VMI_Init is reached at 88h and VMI_GetRelocationInfo at 80h."""
    init, relocation = _target(hv, _INIT), _target(hv, _RELOCATION)
    _slot(hv, _INIT, relocation)
    _slot(hv, _RELOCATION, init)


@mutant("ROM-slots-adjacent", violates="vmi.rom.entry-slots")
def _(hv: Hypervisor) -> None:
    """The second slot stands at 85h, directly behind the first; nothing is at 88h."""
    target = _target(hv, _RELOCATION)
    hv.image.patch(_RELOCATION, bytes(8))
    _slot(hv, _INIT + 5, target)


@mutant("ROM-assumes-direct-map", violates="vmi.rom.in-place",
        equivalent="the test kernel's direct map is at C0000000h too; telling needs another one")
def _(hv: Hypervisor) -> None:
    """Relocations are computed for a guest that maps physical memory at C0000000h, as Linux does."""
    # leal image - here(%ecx,%eax), %eax (7 bytes) becomes addl $imm32, %eax (5) and two nops.
    start = _target(hv, _RELOCATION)
    at = start + hv.image.read(start, 64).index(b"\x8D\x84\x01")
    hv.image.patch(at, b"\x05" + (_LINUX_DIRECT_MAP + BASE).to_bytes(4, "little") + b"\x90\x90")


@mutant("ROM-marked-by-init", violates="vmi.rom.image-constant")
def _(hv: Hypervisor) -> None:
    """VMI_Init notes in the header's byte 0Eh that it has run."""
    def initialise(original: Call) -> Call:
        def call(vcpu: VirtualCpu) -> None:
            original(vcpu)
            hv.image.patch(_SLOTS, bytes((hv.image.read(_SLOTS, 1)[0] | 0x80,)))
        return call
    instead(hv, "initialise", initialise)


def _counted(hv: Hypervisor, at: int) -> Callable[[Call], Call]:
    def make(original: Call) -> Call:
        def call(vcpu: VirtualCpu) -> None:
            hv.image.patch(at, bytes((hv.image.read(at, 1)[0] + 1 & 0xFF,)))
            original(vcpu)
        return call
    return make


@mutant("ROM-counts-calls", violates="vmi.rom.image-constant")
def _(hv: Hypervisor) -> None:
    """The trapping calls count themselves in the filler bytes behind their stubs."""
    for entry in ("SetCR3", "GetCR3", "InvalPage", "FlushTLB", "SetPxE"):
        wrap(hv, entry, _counted(hv, hv.image.stub(NUMBERS[entry]) + 3))
