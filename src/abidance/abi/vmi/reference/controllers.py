# SPDX-License-Identifier: BSD-2-Clause
"""The interrupt controllers, with an answer to "is anything pending?" that costs nothing to repeat.

The loop asks before every run of the CPU, and the controllers change far less often.
"""

from __future__ import annotations

from abidance.platform.unicorn.pic import PIC

__all__ = ["Controllers"]


class Controllers(PIC):
    """A `PIC` whose `pending` is worked out again only after something that can change it."""

    def __init__(self) -> None:
        super().__init__()
        self._known, self._pending = False, 0

    def pending(self) -> int | None:
        """As in `PIC`."""
        if not self._known:
            vector = super().pending()
            self._known, self._pending = True, -1 if vector is None else vector
        return None if self._pending < 0 else self._pending

    def drive(self, irq: int, high: bool) -> None:
        """As in `PIC`."""
        self._known = False
        super().drive(irq, high)

    def acknowledge(self) -> int:
        """As in `PIC`."""
        self._known = False
        return super().acknowledge()

    def read(self, port: int) -> int:
        """As in `PIC`."""
        self._known = False
        return super().read(port)

    def write(self, port: int, value: int) -> None:
        """As in `PIC`."""
        self._known = False
        super().write(port, value)

    def restore(self, snap: object) -> None:
        """As in `PIC`."""
        self._known = False
        super().restore(snap)
