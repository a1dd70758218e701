"""Figures of an outbox. Pure."""

from __future__ import annotations

from collections.abc import Mapping

import msgspec

from agent.outbox.losses import Reason


class OutboxStats(msgspec.Struct, frozen=True):
    """Figures of the outbox."""

    records: int
    """Records held."""
    bytes: int
    """What everything takes on disk."""
    oldest_run: str | None
    """The run of the oldest record held."""
    oldest_mono_ms: int | None
    """Its monotonic time, of its run's boot."""
    hours_held: float | None
    """Hours of records that a full outbox holds at the rate measured in this run; ``None`` in the first minute."""
    hours_left: float | None
    """Hours until it is full if nothing is released; ``None`` in the first minute."""
    lost: Mapping[Reason, int]
    """Records lost since this start, by reason."""
    bytes_written: int
    """Written since this start, in whole pages of 4 KiB, without the file system's journal."""
    skipped_bytes: int
    """What could not be read at the start."""
    in_memory: int
    """Records that are not on disk."""
    problem: str | None
    """Why records wait in memory; ``None``: they do not."""

    @property
    def lost_total(self) -> int:
        """Records lost since this start."""
        return sum(self.lost.values())
