# SPDX-License-Identifier: BSD-2-Clause
"""Work that a call may leave for later (section 6.10 DEFER, section 6.11 lazy modes).

Two queues, kept in order: page-table updates, and processor state. An update is queued as a whole,
its store included, so that a guest that relies on either before the flush is found out. The
queues are emptied by what the document names: leaving the lazy mode, InvalPage, FlushTLB, SetCR3,
and a page fault that is about to be delivered.
"""

from __future__ import annotations

from collections.abc import Callable

from abidance.platform.unicorn.walk import Fault

__all__ = ["CPU", "MMU", "OFF", "Deferral"]

OFF, MMU, CPU = range(3)
Work = tuple[Callable[..., None], tuple[int, ...]]


class Deferral:
    """The queues of one CPU and its lazy mode."""

    def __init__(self) -> None:
        self.mode = OFF
        self.updates: list[Work] = []
        self.state: list[Work] = []

    def update(self, defer: bool, work: Callable[..., None], *arguments: int) -> None:
        """A page-table update: queued if the call says so or in the MMU mode, else done now, after what
        was queued before it: an older update must never overwrite a younger one."""
        if defer or self.mode == MMU:
            self.updates.append((work, arguments))
        else:
            self.flush_updates()
            work(*arguments)

    def change(self, work: Callable[..., None], *arguments: int) -> None:
        """A change of processor state: queued in the CPU mode, else done now."""
        if self.mode == CPU:
            self.state.append((work, arguments))
        else:
            work(*arguments)

    def flush_updates(self) -> None:
        """Carry out the page-table updates in order. One that faults now (its address was mapped
        when it was queued) is lost, as the guest's own doing."""
        _drain(self.updates)

    def flush(self) -> None:
        """Carry out everything."""
        self.flush_updates()
        _drain(self.state)

    def set_mode(self, mode: int) -> None:
        """Leave the old mode, which ends its deferral, and enter `mode`; anything unknown is none."""
        self.flush()
        self.mode = mode if mode in {MMU, CPU} else OFF


def _drain(queue: list[Work]) -> None:
    work = queue[:]
    queue.clear()
    for function, arguments in work:
        try:
            function(*arguments)
        except Fault:
            continue
