"""Telling systemd that we still work, and what "work" means."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable

import msgspec

from agent.outbox.stats import OutboxStats
from telemetry.systemd import Notify

log = logging.getLogger(__name__)


class Progress(msgspec.Struct):
    """What shows that the agent works: polls begin, and the disk answers."""

    moments: Callable[[], int]
    """Counts the moments at which polls began."""
    interval_ms: int
    """The longest time that may lie between two of them."""
    disk_busy_since_ms: Callable[[], int | None]
    """When the write under way began, monotonic; ``None``: there is none."""
    disk_limit_ms: int = 60_000
    """How long a write may take."""
    _seen: int = -1
    _seen_ms: int = 0

    def stuck(self, now_ms: int) -> str | None:
        """Return what does not go on, in words, or ``None``."""
        if self.moments() != self._seen:
            self._seen, self._seen_ms = self.moments(), now_ms
        if now_ms - self._seen_ms > 3 * self.interval_ms + 10_000:
            return "no poll has begun"
        busy_ms = self.disk_busy_since_ms()
        if busy_ms is not None and now_ms - busy_ms > self.disk_limit_ms:
            return "the disk does not answer"
        return None


async def watch(notify: Notify, progress: Progress, now_ms: Callable[[], int], every: float = 5.0) -> None:
    """Send the sign of life for as long as things go on; an event loop that stands still sends none either."""
    if notify.watchdog_s is not None:
        every = min(every, notify.watchdog_s / 3)
    while True:
        reason = progress.stuck(now_ms())
        if reason is None:
            notify.say("WATCHDOG=1")
        else:
            log.error("no sign of life to systemd: %s", reason)
        await asyncio.sleep(every)


def describe(stats: OutboxStats, lived_s: float) -> str:
    """Return the outbox in one line: what it holds, for how many hours it lasts, what it writes to the disk a day."""
    parts = [f"outbox: {stats.records} records, {stats.bytes / 2**20:.1f} MiB"]
    if stats.hours_held is not None and stats.hours_left is not None:
        parts.append(f"holds {stats.hours_held:.0f} h at the present rate, {stats.hours_left:.0f} h left")
    if lived_s > 0:
        parts.append(f"{stats.bytes_written / lived_s * 86_400 / 1e6:.0f} MB written a day")
    if stats.lost_total:
        parts.append(f"{stats.lost_total} records lost")
    if stats.problem:
        parts.append(stats.problem)
    return ", ".join(parts)
