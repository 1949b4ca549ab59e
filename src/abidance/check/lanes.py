# SPDX-License-Identifier: BSD-2-Clause
"""Work in parallel lanes, each a thread with something of its own (a session), and stop at once.

Results arrive in the main thread. A `Stopper` (or a KeyboardInterrupt there) closes every lane,
which ends whatever its thread waits for; results that were recorded before it stay.
"""

from __future__ import annotations

import contextlib
import queue
import threading
from collections.abc import Callable, Sequence
from typing import Any, Generic, Protocol, TypeVar

__all__ = ["Lane", "Stopper", "run_lanes"]

ItemT_contra = TypeVar("ItemT_contra", contravariant=True)
ResultT_co = TypeVar("ResultT_co", covariant=True)
I = TypeVar("I")
R = TypeVar("R")
JOIN_SECONDS = 5.0


class Lane(Protocol[ItemT_contra, ResultT_co]):
    """One worker's hands."""

    def work(self, item: ItemT_contra) -> ResultT_co:
        """Do one item."""

    def close(self) -> None:
        """Let go of everything; may be called from another thread to end `work` early."""


class Stopper:
    """A request to stop at once. `request` may be called from a signal handler or any thread."""

    def __init__(self) -> None:
        self._requested = threading.Event()
        self._wake: queue.SimpleQueue[Any] | None = None

    @property
    def requested(self) -> bool:
        """Whether somebody asked to stop."""
        return self._requested.is_set()

    def request(self) -> None:
        """Ask to stop; whoever waits for results wakes up."""
        self._requested.set()
        waiting = self._wake
        if waiting is not None:
            waiting.put(KeyboardInterrupt())  # SimpleQueue: put is safe in a signal handler

    def watch(self, waiting: queue.SimpleQueue[Any] | None) -> None:
        """Name the queue that a request must wake."""
        self._wake = waiting
        if waiting is not None and self.requested:
            waiting.put(KeyboardInterrupt())


class _Shift(Generic[I, R]):
    """One run over all items."""

    def __init__(self, items: Sequence[I]) -> None:
        self._items = enumerate(items)
        self._lock = threading.Lock()
        self.stopped = threading.Event()
        self.done: queue.SimpleQueue[tuple[int, R] | BaseException | None] = queue.SimpleQueue()

    def serve(self, lane: Lane[I, R]) -> None:
        """Body of a lane's thread; always ends by putting None or an exception."""
        try:
            while (taken := self._take()) is not None:
                result = lane.work(taken[1])
                if self.stopped.is_set():
                    break
                self.done.put((taken[0], result))
            self.done.put(None)
        except BaseException as error:  # noqa: BLE001 (handed to the main thread, which raises it)
            self.done.put(error)
        finally:
            with contextlib.suppress(Exception):
                lane.close()

    def _take(self) -> tuple[int, I] | None:
        with self._lock:
            return None if self.stopped.is_set() else next(self._items, None)


def run_lanes(items: Sequence[I], lanes: Sequence[Lane[I, R]], on_done: Callable[[int, R], None],
              stopper: Stopper | None = None) -> bool:
    """Work through `items`; call `on_done(index, result)` in this thread as results come, in any
    order. True if `stopper` or a KeyboardInterrupt ended it early. Another exception that leaves
    a lane or `on_done` ends everything and is raised here."""
    stopper = stopper or Stopper()
    shift: _Shift[I, R] = _Shift(items)
    threads = [threading.Thread(target=shift.serve, args=(lane,), daemon=True) for lane in lanes]
    stopper.watch(shift.done)
    try:
        for thread in threads:
            thread.start()
        _collect(shift, len(threads), on_done)
    except KeyboardInterrupt:
        _stop(shift, threads, lanes)
        return True
    except BaseException:
        _stop(shift, threads, lanes)
        raise
    finally:
        stopper.watch(None)
    return False


def _collect(shift: _Shift[I, R], running: int, on_done: Callable[[int, R], None]) -> None:
    while running:
        item = shift.done.get()
        if isinstance(item, BaseException):
            raise item
        if item is None:
            running -= 1
        else:
            on_done(*item)


def _stop(shift: _Shift[I, R], threads: Sequence[threading.Thread], lanes: Sequence[Lane[I, R]]) -> None:
    shift.stopped.set()
    for lane in lanes:
        with contextlib.suppress(Exception):
            lane.close()
    for thread in threads:
        if thread.ident is not None:
            thread.join(JOIN_SECONDS)
