"""Real time as it would have passed on a machine that nobody else uses."""

from __future__ import annotations

import threading
import time
from pathlib import Path


class Stopwatch:
    """Counts seconds from its making, without those in which this thread was ready to run and had no processor.

    So a bound on real time (a deadline that is kept) holds on a busy machine too. The kernel counts the waiting
    (Documentation/scheduler/sched-stats, ``/proc/<pid>/schedstat``); where it does not tell, all time counts.
    Delays of other processes are not left out: what has to wait for a server is no case for this.
    """

    def __init__(self) -> None:
        self._schedstat = Path(f"/proc/self/task/{threading.get_native_id()}/schedstat")
        self._waited = self._waited_s()
        self._began = time.monotonic()

    @property
    def seconds(self) -> float:
        """What has passed so far."""
        return time.monotonic() - self._began - (self._waited_s() - self._waited)

    def _waited_s(self) -> float:
        try:
            return int(self._schedstat.read_text().split()[1]) / 1e9
        except (OSError, ValueError, IndexError):
            return 0.0
