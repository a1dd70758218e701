"""What the fuzz tests hold every reader of foreign bytes to: no crash, no hang over 100 ms, memory bounded.

Time is processor time, and its second is that of the machine on which the bounds were found: what runs here is compared
with a loop that is run beside it, so that a slower or busier machine is given the longer time that the loop takes too.
"""

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
TURNS = 40_000
USUAL_S = 0.001
"""What ``TURNS`` turns of an empty loop take where these bounds were found."""
MEMORY = 8 << 20
"""Bytes above what was held before, at the highest: a hundred and more times the input."""


def cost(run: Callable[[], T]) -> tuple[T, float]:
    """Run; return what comes of it, and its processor time in seconds of the machine where the bounds were found."""
    before = _loop_s()
    began = time.process_time()
    result = run()
    took = time.process_time() - began
    # The slower loop of the two, because the machine may have become busy meanwhile.
    return result, took * USUAL_S / max(before, _loop_s())


def quick(run: Callable[[], T], seconds: float = SECONDS) -> T:
    """Run and return what comes of it; fail when it takes too long.

    A run that is too slow is tried again: collecting garbage, say, may have fallen into it.
    """
    least = float("inf")
    for _ in range(ATTEMPTS):
        result, took = cost(run)
        if took <= seconds:
            return result
        least = min(least, took)
    raise AssertionError(f"took {least * 1000:.0f} ms of processor time, allowed are {seconds * 1000:.0f}")


def bounded(run: Callable[[], T], seconds: float = SECONDS, memory: int = MEMORY) -> T:
    """Run and return what comes of it; fail when it takes too long or too much memory.

    Memory is looked at in a run of its own, because looking takes time.
    """
    result = quick(run, seconds)
    tracemalloc.start()
    try:
        run()
        peak = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    assert peak <= memory, f"held {peak} bytes"
    return result


def _loop_s() -> float:
    began = time.process_time()
    for _ in range(TURNS):
        pass
    return time.process_time() - began


def long_ones(pieces: st.SearchStrategy[bytes]) -> st.SearchStrategy[bytes]:
    """Return few pieces repeated often between others: what makes a quadratic reader show itself."""
    return st.builds(
        lambda head, unit, times, tail: (head + unit * times + tail)[:MOST],
        st.lists(pieces, max_size=6).map(b"".join),
        st.lists(pieces, min_size=1, max_size=3).map(b"".join),
        st.integers(0, MOST),
        st.lists(pieces, max_size=6).map(b"".join),
    )
