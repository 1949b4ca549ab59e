# SPDX-License-Identifier: BSD-2-Clause
"""The virtual interrupt flag, in the page that the guest's ROM code and the hypervisor share.

    +0  u32  the mask: bit 9 is the virtual interrupt flag        ROM and hypervisor write
    +4  u32  not zero: an interrupt is pending                    hypervisor writes, ROM reads

The page lies in the guest's address space where only segment limits could protect it, which
Unicorn does not enforce: the guest's kernel can write anything here. So it is hostile: only bit 9
of the first word is ever taken from it, and whether an interrupt is pending is known elsewhere.
"""

from __future__ import annotations

from abidance.platform.unicorn.gates import IF
from abidance.platform.unicorn.ram import Ram

__all__ = ["VirtualFlag"]


class VirtualFlag:
    """The two words, at `physical` in private memory."""

    def __init__(self, private: Ram, physical: int) -> None:
        self._words = private.words
        self._at = (physical - private.base) // 4

    @property
    def enabled(self) -> bool:
        """The virtual interrupt flag."""
        return bool(self._words[self._at] & IF)

    @enabled.setter
    def enabled(self, value: bool) -> None:
        self._words[self._at] = IF if value else 0

    def announce(self, waiting: bool) -> None:
        """Tell the ROM whether enabling interrupts must trap."""
        self._words[self._at + 1] = int(waiting)
