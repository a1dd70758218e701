"""What the fuzz tests hold every reader of foreign bytes to: no crash, no hang over 100 ms, memory bounded."""

from __future__ import annotations

import time
import tracemalloc
from collections.abc import Callable
from typing import TypeVar

from hypothesis import strategies as st

T = TypeVar("T")
SECONDS = 0.1
"""Of processor time for one input of at most ``MOST`` bytes."""
MOST = 65_536
ATTEMPTS = 5
USUAL_S = 0.005
"""What 200,000 turns of an empty loop take where these bounds were found."""
MEMORY = 8 << 20
"""Bytes above what was held before, at the highest: a hundred and more times the input."""


def bounded(run: Callable[[], T], seconds: float = SECONDS, memory: int = MEMORY) -> T:
    """Run and return what comes of it; fail when it takes too long or too much memory.

    Memory is looked at in a second run, because looking takes time. A run that is too slow is tried again: the
    machine may have been busy with something else, such as collecting garbage.
    """
    for attempt in range(ATTEMPTS):
        began = time.process_time()
        result = run()
        took = time.process_time() - began
        if took <= seconds * _slowness():
            break
        assert attempt < ATTEMPTS - 1, f"took {took * 1000:.0f} ms of processor time"
    tracemalloc.start()
    try:
        run()
        peak = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    assert peak <= memory, f"held {peak} bytes"
    return result


def _slowness() -> float:
    """Return how many times slower than usual this machine is just now, at least 1: others may share it."""
    began = time.process_time()
    for _ in range(200_000):
        pass
    return max(1.0, (time.process_time() - began) / USUAL_S)


def long_ones(pieces: st.SearchStrategy[bytes]) -> st.SearchStrategy[bytes]:
    """Return few pieces repeated often between others: what makes a quadratic reader show itself."""
    return st.builds(
        lambda head, unit, times, tail: (head + unit * times + tail)[:MOST],
        st.lists(pieces, max_size=6).map(b"".join),
        st.lists(pieces, min_size=1, max_size=3).map(b"".join),
        st.integers(0, MOST),
        st.lists(pieces, max_size=6).map(b"".join),
    )
