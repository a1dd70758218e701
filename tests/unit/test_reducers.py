"""Reducers against brute force over the plain samples, and what windows hold."""

from __future__ import annotations

import itertools
import math
import random

import pytest
from hypothesis import given
from hypothesis import strategies as st

from collector.core.rules.reducers import MOST_BUCKETS, REDUCERS, Month, Reducer, Window, billing_month

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


def test_restarts_began_with_the_first_in_the_window_and_ended_after_the_last() -> None:
    uptimes = [(1000, up) for up in (*range(0, 5), *range(0, 5), *range(0, 5), *range(0, 12))]
    window, inside = play(made("resets"), uptimes)
    assert made("resets").value(window, inside[-1][0]) == 3, "the first one has left"
    assert (window.since_ms, window.bad_ms, window.good_ms) == (T0 + 6_000, T0 + 16_000, T0 + 17_000)


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


def noisy(samples: list[tuple[int, float]], by: float, seed: int) -> list[tuple[int, float]]:
    chance = random.Random(seed)
    return [(pause, one + chance.uniform(-by, by)) for pause, one in samples]


@pytest.mark.parametrize("seed", range(20))
def test_a_slope_is_seen_through_noise_and_a_step_is_none_with_noise(seed: int) -> None:
    """5 degC an hour under +-2 degC; a step of 10 degC under the same."""
    reducer = REDUCERS["slope"](over=3600)
    for samples, low, high in (
        ([(10_000, 60 + 5 * number / 360) for number in range(360)], 3.5, 6.5),
        ([(10_000, 60.0 if number < 180 else 70.0) for number in range(360)], 0, 0),
    ):
        window, at = Window(1), T0
        for pause, one in noisy(samples, 2, seed):
            at += pause
            window = reducer.taken(window, at, one)
        found = reducer.value(window, at)
        assert found is not None
        assert low <= found <= high


def test_what_trembles_about_one_value_is_no_slope() -> None:
    """78 degC give or take two, after 10 to 60 minutes: of 600 such windows fewer than six seem to rise or fall."""
    reducer = REDUCERS["slope"](over=3600)
    found = 0
    for seed in range(100):
        chance, window = random.Random(seed), Window(1)
        for number in range(60):
            window = reducer.taken(window, T0 + number * 60_000, 78 + chance.gauss(0, 2))
            found += number % 10 == 9 and reducer.value(window, T0 + number * 60_000) not in (None, 0)
    assert found < 6


def test_a_mean_begins_with_what_is_bad_and_is_known_after_half_of_its_window() -> None:
    mean = REDUCERS["mean"](over=600)
    window = Window(1)
    for at in range(0, 310_000, 10_000):
        window = mean.taken(window, T0 + at, 10.0, bad=True)
        assert (mean.value(window, T0 + at) is None) == (at < 300_000)
    assert (window.since_ms, window.bad_ms, window.good_ms) == (T0, T0 + 300_000, 0)
    for at in range(310_000, 601_000, 10_000):
        window = mean.taken(window, T0 + at, 0.0)
    assert window.good_ms == T0 + 310_000, "it ended there, however long the mean remembers it"
    assert not mean.is_closed(window, T0 + 600_000)
    assert mean.is_closed(window, T0 + 600_001)
    again = mean.taken(window, T0 + 700_000, 10.0, bad=True)
    assert (again.since_ms, len(again.buckets)) == (T0 + 700_000, 1)


@pytest.mark.parametrize("step", [10_000, 60_000])
@pytest.mark.parametrize("gap", [0, 120_000, 234_000])
def test_two_bad_moments_beside_a_gap_are_no_mean(step: int, gap: int) -> None:
    """Found by a quiet life: a handover before a tunnel and one behind it made a loss of 8 %."""
    mean, share, window = REDUCERS["mean"](over=600), REDUCERS["share"](over=600), Window(1)
    times = [at for at in range(0, 601_000, step) if not 20_000 <= at < 20_000 + gap]
    for at in times:
        window = mean.taken(window, T0 + at, 33.0, bad=True)
        seen = sum(one <= at for one in times)
        assert (mean.value(window, T0 + at, step) is None) == (at < 300_000 or seen * step < 300_000)
        assert (share.value(window, T0 + at, step) is None) == (seen * step < at / 2)
    assert mean.value(window, T0 + 600_000) is not None, "where nobody knows how often it is read none is missing"


def test_a_share_takes_what_lies_before_the_first_bad_sample_for_good() -> None:
    share, window = REDUCERS["share"](over=600), Window(1)
    for at in range(0, 300_001, 10_000):
        window = share.taken(window, T0 + at, 1, bad=True)
        assert close(share.value(window, T0 + at), at / 300_000)


def test_an_uptime_that_falls_back_three_times() -> None:
    uptimes = [20, 100, 200, 10, 100, 15, 100, 5, 300]
    window, _ = play(made("resets"), [(1000, up) for up in uptimes])
    assert made("resets").value(window, T0 + 9_000) == 4
    assert made("resets").near(True) == (None, OVER)


def test_a_month_goes_by_its_billing_day_and_resets() -> None:
    day = 86_400_000
    begin_ms, end_ms = billing_month(T0, 5)
    assert (begin_ms, end_ms) == (1_759_622_400_000, 1_762_300_800_000)  # 5 October to 5 November 2025
    assert billing_month(begin_ms, 5)[0] == begin_ms
    assert billing_month(begin_ms - 1, 5)[1] == begin_ms
    assert billing_month(1_767_700_000_000, 28)[0] == 1_766_880_000_000  # 28 December, over the new year
    month = Month(allowed=31e9, billing_day=5)
    window = Window(1)
    for number in range(9):
        counter = 2e9 * number if number < 5 else 2e9 * (number - 4)  # it starts anew after the fourth day
        assert (month.value(window, begin_ms + number * day) is None) == (number < 3)
        window = month.taken(window, begin_ms + number * day, counter)
    assert close(month.value(window, begin_ms + 8 * day), 2.0), "2 GB a day for 31 days, with half of that allowed"
    after = month.taken(window, end_ms + 1000, 9e9)
    assert month.value(after, end_ms + 1000) is None
    assert month.taken(after, begin_ms + day, 1.0) == after


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
    if word != "month":
        assert reducer.scaled(2).taken(Window(1), T0, 1.0).buckets[0][0] == T0 // 500
    assert REDUCERS[word].__doc__
