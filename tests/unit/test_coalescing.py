"""How long a socket may rest."""

from __future__ import annotations

import pytest

from telemetry.coalescing import COMPANY, Coalescing


def test_what_comes_after_a_pause_is_read_at_once_and_what_follows_waits_as_long_as_it_may() -> None:
    coalescing = Coalescing(0.1)
    assert coalescing.rest_s(1, 1000.0) == 0.0
    assert coalescing.rest_s(2, 1000.1) == 0.1, "twenty a second"
    assert coalescing.rest_s(1, 1000.3) == 0.0, "five a second"
    assert coalescing.rest_s(0, 1000.2) == 0.0, "nothing came"


@pytest.mark.parametrize("rate", [200, 500, 800])
def test_where_much_comes_so_many_are_read_together(rate: float) -> None:
    coalescing, now_s, brought, shared = Coalescing(0.1), 1000.0, 1.0, []
    for _ in range(50):
        rest_s = coalescing.rest_s(round(brought), now_s)
        now_s += rest_s + 0.001
        brought = max(1.0, rate * (rest_s + 0.001))
        shared.append(brought)
    assert COMPANY <= sum(shared[10:]) / len(shared[10:]) <= 1.5 * COMPANY


@pytest.mark.parametrize(
    ("most_s", "brought", "rest_s"), [(0.0, 1, 0.0), (0.005, 20, 0.005), (0.1, 99, 0.01), (0.1, 100, 0.0)]
)
def test_where_thousands_come_it_rests_for_a_moment_and_after_a_look_that_brings_many_not_at_all(
    most_s: float, brought: int, rest_s: float
) -> None:
    coalescing = Coalescing(most_s)
    coalescing.rest_s(1, 1000.0)
    assert coalescing.rest_s(brought, 1000.01) == rest_s
