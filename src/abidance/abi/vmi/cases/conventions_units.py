# SPDX-License-Identifier: BSD-2-Clause
"""Code of a case's own that loads and saves the x87 and SSE units, whose state no call should change.
Declares no case."""

from __future__ import annotations

from abidance.abi.vmi.guest import VmiGuest

__all__ = ["SSE", "UNITS", "X87", "Parts", "Unit"]

Parts = tuple[tuple[int, int, str], ...]
"""Offset, length and name of each part of an image that is compared."""
FRSTOR_FNSAVE, FXSAVE = 108, 512
"""Bytes of the images in 32-bit protected mode."""
XMM, XMM_COUNT, MXCSR = 160, 8, 24
MXCSR_MASKED = 0x1F80
"""MXCSR with every exception masked."""
OSFXSR = 0x200
FXSR_BIT, SSE_BIT = 24, 25
"""Bits of CPUID leaf 1 EDX."""
LOAD_X87, SAVE_X87 = b"\xDD\x20\xC3", b"\xDD\x30\x9B\xC3"
"""FRSTOR (%EAX); RET and FNSAVE (%EAX); FWAIT; RET."""
LOAD_SSE, SAVE_SSE = b"\x0F\xAE\x08\xC3", b"\x0F\xAE\x00\xC3"
"""FXRSTOR (%EAX); RET and FXSAVE (%EAX); RET."""


class Unit:
    """A unit of the processor: an image of its own values goes in, what it holds comes out."""

    parts: Parts
    size: int
    codes: tuple[bytes, bytes]

    def __init__(self, g: VmiGuest) -> None:
        self._g, self._pages = g, [g.direct(g.page()) for _ in range(2)]
        code = g.direct(g.page())
        self._load, self._save = code, code + 16
        g.write(self._load, self.codes[0])
        g.write(self._save, self.codes[1])

    def enable(self) -> None:
        """Make the unit usable; NOT_TESTED where the processor has none. TS must be clear."""

    def image(self) -> bytes:
        """An image with other values each time."""
        raise NotImplementedError

    def load(self) -> bytes:
        """Load a new image, and return it."""
        image = self.image()
        self._g.write(self._pages[0], image)
        self._g.execute(self._load, eax=self._pages[0])
        return image

    def save(self) -> bytes:
        """What the unit holds now."""
        self._g.write(self._pages[1], bytes(self.size))
        self._g.execute(self._save, eax=self._pages[1])
        return self._g.read(self._pages[1], self.size).value


class X87(Unit):
    """The x87 unit by FRSTOR and FNSAVE, which also initialises it."""

    parts = ((0, 2, "control word"), (4, 2, "status word"), (8, 2, "tag word"), (28, 80, "data registers"))
    size, codes = FRSTOR_FNSAVE, (LOAD_X87, SAVE_X87)

    def image(self) -> bytes:
        """Eight valid numbers, another rounding or precision, another top of the stack."""
        rng, image = self._g.rng, bytearray(self.size)
        image[0:2] = (0x037F ^ rng.choice((0, 0x0300, 0x0C00))).to_bytes(2, "little")
        image[4:6] = (rng.randrange(8) << 11).to_bytes(2, "little")
        for at in range(28, self.size, 10):
            mantissa = rng.getrandbits(63) | 1 << 63
            image[at:at + 8] = mantissa.to_bytes(8, "little")
            image[at + 8:at + 10] = rng.randrange(0x3F00, 0x40FF).to_bytes(2, "little")
        return bytes(image)


class SSE(Unit):
    """The SSE unit by FXRSTOR and FXSAVE: XMM0 to XMM7 and MXCSR."""

    parts = (*((XMM + 16 * index, 16, f"register XMM{index}") for index in range(XMM_COUNT)),
             (MXCSR, 4, "register MXCSR"))
    size, codes = FXSAVE, (LOAD_SSE, SAVE_SSE)

    def enable(self) -> None:
        """Set OSFXSR in CR4, without which the XMM registers are not loaded and saved."""
        g = self._g
        reported = g.call("CPUID", eax=1, ecx=0).edx
        if not (reported >> FXSR_BIT & 1 and reported >> SSE_BIT & 1):
            g.not_tested("the processor has no SSE unit")
        g.call("SetCR4", eax=g.call("GetCR4").eax | OSFXSR, may_fault=True)
        if not g.call("GetCR4").eax & OSFXSR:
            g.not_tested("the implementation does not set OSFXSR in CR4, without which there is no SSE")

    def image(self) -> bytes:
        """Random registers, another rounding; the x87 unit initialised."""
        rng, image = self._g.rng, bytearray(self.size)
        image[0:2] = (0x037F).to_bytes(2, "little")
        image[MXCSR:MXCSR + 4] = (MXCSR_MASKED | rng.randrange(4) << 13).to_bytes(4, "little")
        image[XMM:XMM + 16 * XMM_COUNT] = rng.randbytes(16 * XMM_COUNT)
        return bytes(image)


UNITS: dict[str, type[Unit]] = {"x87": X87, "SSE": SSE}
