# SPDX-License-Identifier: BSD-2-Clause
"""Ctrl-C, SIGTERM and SIGHUP while guests run: the first asks for an orderly stop, the second insists."""

from __future__ import annotations

import signal
from collections.abc import Iterator
from contextlib import contextmanager
from types import FrameType

from abidance.check.lanes import Stopper

__all__ = ["stop_on_signals"]

SIGNALS = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)


@contextmanager
def stop_on_signals(stopper: Stopper) -> Iterator[None]:
    """Turn the first signal into `stopper.request()` and the next into a KeyboardInterrupt, so
    that no exception strikes between two statements that belong together."""
    def handle(number: int, frame: FrameType | None) -> None:  # noqa: ARG001 (the signature of a handler)
        if stopper.requested:
            raise KeyboardInterrupt
        stopper.request()

    ignored = signal.getsignal(signal.SIGHUP) is signal.SIG_IGN  # nohup: the run is to go on
    previous = [(number, signal.signal(number, handle)) for number in SIGNALS
                if not (ignored and number == signal.SIGHUP)]
    try:
        yield
    finally:
        for number, handler in previous:
            signal.signal(number, handler)
