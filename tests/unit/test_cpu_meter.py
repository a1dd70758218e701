"""What pieces of work take of a thread's CPU time."""

from __future__ import annotations

import time

from collector.site.cpu_meter import CpuMeter


def work(seconds: float) -> None:
    """Take so much CPU time."""
    end_s = time.thread_time() + seconds
    while time.thread_time() < end_s:
        pass


def test_work_is_told_and_waiting_is_not() -> None:
    meter = CpuMeter()
    work(0.02)
    assert 0.018 <= meter.took_s() <= 0.03
    time.sleep(0.05)
    assert meter.took_s() < 0.01, "somebody else had the processor"
    work(0.02)
    meter.begin()
    assert meter.took_s() <= 0.001, "what was done before is nobody's"


def test_pieces_so_small_that_the_kernel_is_not_asked_come_to_what_was_taken() -> None:
    meter, began_s, told_s = CpuMeter(), time.thread_time(), 0.0
    for _ in range(300):
        work(0.0003)
        told_s += meter.took_s()
    work(0.02)
    told_s += meter.took_s()
    assert 0.9 * (time.thread_time() - began_s) <= told_s <= 1.5 * (time.thread_time() - began_s)
