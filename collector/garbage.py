"""What is done about memory that nothing uses any more: circles of objects, and what the allocator keeps."""

from __future__ import annotations

import contextlib
import ctypes
import gc
import threading
import time
from typing import Final

_THRESHOLDS: Final = (50_000, 20, 20)


class _Pauses(threading.local):
    """What looking for them has taken of a thread's CPU time. It falls upon whoever is at work: the heap is all's."""

    seconds: float = 0.0
    longest: float = 0.0
    begun: float = 0.0

    def note(self, phase: str, _info: dict[str, int]) -> None:
        """Hear of a collection's begin and end (``gc.callbacks``), in the thread that it has halted."""
        if phase == "start":
            self.begun = time.thread_time()
            return
        took = time.thread_time() - self.begun
        self.seconds += took
        self.longest = max(self.longest, took)


PAUSES: Final = _Pauses()
gc.callbacks.append(PAUSES.note)


def own_cpu_s() -> float:
    """Return the calling thread's CPU time in seconds, without what garbage collection has taken of it."""
    return time.thread_time() - PAUSES.seconds


def collect_seldom() -> None:
    """Look for them seldom from now on, and never among what stands now: a process that judges makes hardly any.

    Worth a quarter of the collector's CPU (measured).
    """
    gc.collect()
    gc.freeze()
    gc.set_threshold(*_THRESHOLDS)


def give_back() -> None:
    """Let the C library return what is free amid its heap to the kernel (malloc_trim(3)); another than glibc keeps it.

    By itself glibc returns only what is free at the heap's end. Takes some milliseconds.
    """
    with contextlib.suppress(AttributeError):
        ctypes.CDLL(None).malloc_trim(0)
