"""What the pieces of one thread's work take of its CPU time, one after the other."""

from __future__ import annotations

import time
from typing import Final

from collector.garbage import own_cpu_s

_LITTLE_S: Final = 0.001
"""What has taken no longer than this is not asked after further."""


class CpuMeter:
    """Asks the thread's clock, a system call that costs a twentieth of a message, only where it matters.

    Nothing takes more CPU time than passes meanwhile, and that can be read without one.
    """

    def __init__(self) -> None:
        self.begin()

    def begin(self) -> None:
        """Begin anew: what the thread has done since is nobody's."""
        self._cpu_s, self._told_s = own_cpu_s(), 0.0
        self._at_s = time.perf_counter()

    def took_s(self) -> float:
        """Return what the thread has taken since it was asked last, or began; up to a millisecond what has passed."""
        now_s = time.perf_counter()
        passed_s, self._at_s = now_s - self._at_s, now_s
        if passed_s <= _LITTLE_S:
            self._told_s += passed_s
            return passed_s
        took_s = own_cpu_s() - self._cpu_s - self._told_s
        self.begin()
        return min(max(took_s, 0.0), passed_s)
