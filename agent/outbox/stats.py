"""Figures of an outbox. Pure."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from agent.outbox.losses import Reason


@dataclass(frozen=True, slots=True)
class OutboxStats:
    """Figures of the outbox.

    ``records`` held and the ``bytes`` that everything takes on disk. ``oldest_run`` and ``oldest_mono_ms`` say which
    record held is the oldest (its time is that of its run's boot). ``hours_held`` is how many hours of records a full
    outbox holds at the rate measured in this run, ``hours_left`` how many are left until it is full if nothing is
    released; both ``None`` in the first minute. ``lost`` counts records lost since this start by reason (``lost_total``
    together), ``bytes_written`` what was written since this start in whole pages of 4 KiB, without the file system's
    journal. ``skipped_bytes`` could not be read at start. ``problem`` is why records wait in memory, or ``None``.
    """

    records: int
    bytes: int
    oldest_run: str | None
    oldest_mono_ms: int | None
    hours_held: float | None
    hours_left: float | None
    lost: Mapping[Reason, int]
    bytes_written: int
    skipped_bytes: int
    in_memory: int
    problem: str | None

    @property
    def lost_total(self) -> int:
        """Records lost since this start."""
        return sum(self.lost.values())
