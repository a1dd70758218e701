"""The kernel's own clock, as agent and collector read it."""

from __future__ import annotations

import time

from collector.site.health import ClockHealth
from telemetry import kernel_clock


def test_it_is_the_time_and_says_whether_it_is_kept() -> None:
    before_ms = time.time_ns() // 1_000_000
    found = kernel_clock.read()
    after_ms = time.time_ns() // 1_000_000
    assert found is not None
    assert before_ms <= found.wall_ms <= after_ms
    report = ClockHealth()(after_ms)
    assert report is not None
    assert report.state == ("ok" if found.synchronised else "unsynchronised")
