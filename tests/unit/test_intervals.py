"""Intervals against Python's own sets."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from telemetry.intervals import Intervals

PAIRS = st.lists(st.tuples(st.integers(0, 60), st.integers(0, 12)).map(lambda p: (p[0], p[0] + p[1])), max_size=12)


def as_set(pairs: list[tuple[int, int]]) -> set[int]:
    return {n for first, last in pairs for n in range(first, last + 1)}


def brute_pairs(numbers: set[int]) -> list[tuple[int, int]]:
    found: list[tuple[int, int]] = []
    for n in sorted(numbers):
        if found and found[-1][1] == n - 1:
            found[-1] = (found[-1][0], n)
        else:
            found.append((n, n))
    return found


@given(PAIRS, PAIRS)
def test_it_is_a_set(one: list[tuple[int, int]], two: list[tuple[int, int]]) -> None:
    a, b = Intervals(one), Intervals(two)
    x, y = as_set(one), as_set(two)
    assert a.pairs() == brute_pairs(x)
    assert a.minus(b).pairs() == brute_pairs(x - y)
    assert a.intersection(b).pairs() == brute_pairs(x & y)
    assert len(a) == len(x)
    assert list(a) == sorted(x)
    joined = a.copy()
    joined.update(b)
    assert joined.pairs() == brute_pairs(x | y)
    assert a.pairs() == brute_pairs(x), "an operation changed its operand"
    assert all((n in a) == (n in x) for n in range(80))


@given(st.lists(st.integers(0, 30), max_size=40))
def test_add_says_what_is_new(numbers: list[int]) -> None:
    intervals, seen = Intervals(), set[int]()
    for n in numbers:
        assert intervals.add(n) == (n not in seen)
        seen.add(n)
        assert intervals.pairs() == brute_pairs(seen)


@given(st.sets(st.integers(0, 12)), st.sets(st.integers(0, 12)))
def test_what_goes_on_without_a_hole_makes_no_piece_more(x: set[int], y: set[int]) -> None:
    a, b = Intervals((n, n) for n in sorted(x)), Intervals((n, n) for n in sorted(y))
    assert a.goes_on_with(b) == bool(x and y and sorted(y) == [*range(max(x) + 1, max(y) + 1)])


def test_lowest_and_errors() -> None:
    intervals = Intervals([(5, 6), (0, 1), (10, 10)])
    assert intervals.lowest(2) == [(0, 1), (5, 6)]
    with pytest.raises(ValueError, match=r"found 3\.\.2"):
        intervals.add_range(3, 2)
    with pytest.raises(ValueError, match=r"found -1\.\.2"):
        intervals.add_range(-1, 2)
