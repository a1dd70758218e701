from __future__ import annotations

from agent.outbox.stats import OutboxStats
from agent.supervision import describe


def test_the_outbox_is_described_in_hours_and_in_bytes_a_day() -> None:
    """Field notes 16, 17: people think in hours, and flash wears."""
    stats = OutboxStats(
        records=1_200, bytes=3 * 2**20, oldest_run="a", oldest_mono_ms=1, hours_held=273.4, hours_left=261.6,
        lost={}, bytes_written=30_000_000, skipped_bytes=0, in_memory=0, problem=None,
    )  # fmt: skip
    assert describe(stats, 43_200.0) == (
        "outbox: 1200 records, 3.0 MiB, holds 273 h at the present rate, 262 h left, 60 MB written a day"
    )
    young = OutboxStats(
        records=2, bytes=2**20, oldest_run=None, oldest_mono_ms=None, hours_held=None, hours_left=None,
        lost={"evicted": 3}, bytes_written=0, skipped_bytes=0, in_memory=5, problem="disk: read-only",
    )  # fmt: skip
    assert describe(young, 0.0) == "outbox: 2 records, 1.0 MiB, 3 records lost, disk: read-only"
