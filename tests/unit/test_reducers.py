"""Reducers against brute force over the plain samples, and what windows hold."""

from __future__ import annotations

import itertools
import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from collector.core.rules.reducers import MOST_BUCKETS, REDUCERS, Reducer, Window

WIDTH_MS = 1000
OVER = MOST_BUCKETS * WIDTH_MS / 1000
"""Seconds: each bucket is a second wide."""
SAMPLES = st.lists(st.tuples(st.integers(0, 8000), st.floats(-1e6, 1e6, width=32)), min_size=1, max_size=60)
T0 = 1_760_000_000_000


def made(word: str, **more: object) -> Reducer:
    return REDUCERS[word](over=OVER, **more)  # type: ignore[arg-type]


def play(reducer: Reducer, samples: list[tuple[int, float]]) -> tuple[Window, list[tuple[int, float]]]:
    """Return the window after all samples, and those that lie in its buckets. Times are pauses in milliseconds."""
    window, placed, at = Window(1), [], T0
    for pause, value in samples:
        at += pause
        placed.append((at, value))
        window = reducer.taken(window, at, value)
        assert len(window.buckets) <= MOST_BUCKETS
    oldest = at // WIDTH_MS - MOST_BUCKETS
    return window, [(time, value) for time, value in placed if time // WIDTH_MS > oldest]


def close(one: float | None, other: float) -> bool:
    return one is not None and math.isclose(one, other, rel_tol=1e-6, abs_tol=1e-3)


@given(SAMPLES)
def test_mean_and_sum(samples: list[tuple[int, float]]) -> None:
    window, inside = play(made("mean"), samples)
    total = sum(value for _, value in inside)
    now_ms = inside[-1][0]
    assert close(made("mean").value(window, now_ms), total / len(inside))
    assert close(made("sum").value(window, now_ms), total)


@given(st.lists(st.tuples(st.integers(0, 8000), st.sampled_from([0.0, 1.0])), min_size=1, max_size=60))
def test_share_and_count(samples: list[tuple[int, float]]) -> None:
    window, inside = play(made("share"), samples)
    bad = sum(value for _, value in inside)
    assert close(made("share").value(window, inside[-1][0]), bad / len(inside))
    assert close(made("count").value(window, inside[-1][0]), bad)


@given(st.lists(st.tuples(st.integers(1, 8000), st.integers(0, 1000)), min_size=1, max_size=60))
def test_a_counter_grows_and_its_resets_are_known(samples: list[tuple[int, float]]) -> None:
    window, inside = play(made("increase"), samples)
    grown = sum(b - a if b >= a else b for (_, a), (_, b) in itertools.pairwise(inside))
    now_ms = inside[-1][0]
    if len(inside) == 1:
        assert made("increase").value(window, now_ms) is None
        return
    assert close(made("increase").value(window, now_ms), grown)
    passed_s = (inside[-1][0] - inside[0][0]) / 1000
    assert close(made("rate").value(window, now_ms), grown / passed_s)
    assert close(made("rate", per="1m").value(window, now_ms), 60 * grown / passed_s)


@given(st.lists(st.tuples(st.integers(0, 8000), st.sampled_from(["a", "b"])), min_size=1, max_size=60))
def test_changes(samples: list[tuple[int, str]]) -> None:
    window, inside = play(made("changes"), samples)  # type: ignore[arg-type]
    found = made("changes").value(window, inside[-1][0])
    within = sum(a != b for (_, a), (_, b) in itertools.pairwise(inside))
    assert found in (within, within + 1), "the change that led into the window may count"


def steadily(step: float, count: int = 20, start: float = 50.0) -> list[tuple[int, float]]:
    return [(1000, start + step * number) for number in range(count)]


def value(word: str, samples: list[tuple[int, float]], **more: object) -> float | None:
    reducer = made(word, **more)
    window, inside = play(reducer, samples)
    return reducer.value(window, inside[-1][0])


def test_slope_and_the_time_until_a_limit() -> None:
    assert close(value("slope", steadily(0.5), per="1m"), 30)
    assert close(value("slope", steadily(-0.5), per="1m"), -30)
    assert close(value("until", steadily(1.0), reaches=100), 50 - 19)
    assert value("until", steadily(-1.0), reaches=100) == math.inf
    assert value("until", steadily(0.0), reaches=100) == math.inf


def test_five_points_and_a_step_are_no_slope() -> None:
    assert value("slope", steadily(1.0, 5)) is None
    assert close(value("slope", steadily(1.0, 6), per="1s"), 1)
    step = steadily(0.0, 10) + steadily(0.0, 10, 90.0)
    assert value("slope", step) == 0
    assert value("until", step, reaches=100) == math.inf


def test_drop_is_from_the_highest_to_the_newest() -> None:
    assert value("drop", [*steadily(1.0, 10), (1000, 20.0)]) == 59 - 20
    assert value("drop", steadily(1.0, 10)) == 0


def test_too_few_samples_say_nothing_and_old_ones_leave() -> None:
    few = made("mean", min_count=3)
    window, _ = play(few, [(0, 1.0), (10, 1.0)])
    assert few.value(window, T0 + 10) is None
    window = few.taken(window, T0 + 20, 1.0)
    assert few.value(window, T0 + 20) == 1.0
    assert few.value(window, T0 + 60_000) is None, "a minute later they lie outside"


def test_a_sample_older_than_the_newest_bucket_changes_nothing() -> None:
    window, _ = play(made("mean"), [(5000, 1.0)])
    assert made("mean").taken(window, T0, 100.0) == window


@pytest.mark.parametrize("word", REDUCERS)
def test_every_reducer_keeps_the_promise(word: str) -> None:
    more = {"reaches": 5.0} if word == "until" else {}
    reducer = made(word, **more)
    window, _ = play(reducer, steadily(1.0, 30))
    found = reducer.value(window, T0 + 30_000)
    assert found is None or isinstance(found, float)
    assert reducer.scaled(2).taken(Window(1), T0, 1.0).buckets[0][0] == T0 // 500
    assert REDUCERS[word].__doc__
