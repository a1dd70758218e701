"""The agent's own figures: measurement ``agent``. It is an input like any other, of device ``agent``."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path
from typing import Final

from agent.clock import ClockKeeper
from agent.inputs.base import Poll
from agent.machine import WallReading
from agent.outbox.recorder import Recorder
from telemetry.metrics import Value
from telemetry.readings import Reading

NAME: Final = "agent"
"""Name of the input and of its device."""


class OwnFigures:
    """``longest_poll`` gives seconds since it was asked last, ``bytes_on_air`` counts since the run began."""

    def __init__(
        self,
        recorder: Recorder,
        keeper: ClockKeeper,
        *,
        wall: Callable[[], WallReading],
        longest_poll: Callable[[], float],
        bytes_on_air: Callable[[], int],
    ) -> None:
        self._recorder = recorder
        self._keeper = keeper
        self._wall = wall
        self._longest_poll = longest_poll
        self._bytes_on_air = bytes_on_air

    async def poll(self, now: float) -> Poll:
        """Return the figures; what is not known is left out."""
        stats = await self._recorder.stats()
        wall = self._wall()
        trusted_ms = self._keeper.wall_ms(wall.mono_ms)
        oldest_s = await self._oldest(stats.oldest_run, stats.oldest_mono_ms, round(now * 1000))
        figures: dict[str, Value | None] = {
            "agent.outbox_records": stats.records,
            "agent.outbox_oldest_s": oldest_s,
            "agent.outbox_hours_left": None if stats.hours_left is None else round(stats.hours_left, 2),
            "agent.outbox_volatile": stats.problem is not None,
            "agent.records_dropped": stats.lost_total,
            "agent.poll_seconds": round(self._longest_poll(), 3),
            "agent.rss_bytes": _resident_bytes(),
            "agent.clock_offset_s": None if trusted_ms is None else round((wall.wall_ms - trusted_ms) / 1000, 3),
            "agent.bytes_on_air": self._bytes_on_air(),
        }
        readings = [Reading(metric, value) for metric, value in figures.items() if value is not None]
        return Poll(readings, problem=f"outbox: {stats.problem}" if stats.problem else None)

    async def close(self) -> None:
        """Hold nothing, let go of nothing."""

    async def _oldest(self, run: str | None, mono_ms: int | None, now_ms: int) -> float | None:
        """Return the age in seconds of the oldest record held: 0 if none is, ``None`` if its boot knew no time."""
        if run is None or mono_ms is None:
            return 0.0
        info = (await self._recorder.runs()).get(run)
        if info is None:
            return 0.0  # released meanwhile
        if info.boot == self._recorder.boot:
            return max(now_ms - mono_ms, 0) / 1000
        clocks = await self._recorder.clocks_of(run)
        wall_ms = self._keeper.wall_ms(now_ms)
        if not clocks or wall_ms is None:
            return None
        return max(wall_ms - clocks[0].place(mono_ms), 0) / 1000


def _resident_bytes() -> int | None:
    """Return this process's resident memory from ``/proc/self/statm`` (proc(5)), ``None`` where there is none."""
    try:
        pages = Path("/proc/self/statm").read_text(encoding="ascii").split()[1]
    except (OSError, IndexError):
        return None
    return int(pages) * os.sysconf("SC_PAGE_SIZE")
