"""Sets of sequence numbers as sorted, disjoint, inclusive intervals. Pure.

Outbox, receipts and the collector's "seen" are all such sets: a million numbers without a hole cost one pair.
"""

from __future__ import annotations

import itertools
from bisect import bisect_left, bisect_right
from collections.abc import Iterable, Iterator


class Intervals:
    """A mutable set of non-negative whole numbers.

    >>> s = Intervals([(0, 3), (5, 6)])
    >>> s.add(4)
    True
    >>> s.pairs()
    [(0, 6)]
    """

    __slots__ = ("_first", "_last")

    def __init__(self, pairs: Iterable[tuple[int, int]] = ()) -> None:
        self._first: list[int] = []
        self._last: list[int] = []
        for first, last in pairs:
            self.add_range(first, last)

    def add(self, number: int) -> bool:
        """Put one number in; return whether it is new."""
        if self._last and number == self._last[-1] + 1:  # nearly always: the next one
            self._last[-1] = number
            return True
        if number in self:
            return False
        self.add_range(number, number)
        return True

    def add_range(self, first: int, last: int) -> None:
        """Put all of ``first..last`` in. Raises ValueError unless 0 <= first <= last."""
        if not 0 <= first <= last:
            raise ValueError(f"expected an interval with 0 <= first <= last, found {first}..{last}")
        if not self._last or first > self._last[-1] + 1:  # behind all others, as a header names them
            self._first.append(first)
            self._last.append(last)
            return
        if first >= self._first[-1]:  # it lengthens the last one, or lies in it
            self._last[-1] = max(last, self._last[-1])
            return
        low = bisect_left(self._last, first - 1)
        high = bisect_right(self._first, last + 1)
        if low < high:
            first = min(first, self._first[low])
            last = max(last, self._last[high - 1])
        self._first[low:high] = [first]
        self._last[low:high] = [last]

    def update(self, other: Intervals) -> None:
        """Put all numbers of ``other`` in."""
        if self.goes_on_with(other):  # as nearly always
            self._last[-1] = other._last[0]
            return
        for first, last in other.pairs():
            self.add_range(first, last)

    def remove_range(self, first: int, last: int) -> None:
        """Take all of ``first..last`` out; those not there are no error."""
        low = bisect_left(self._last, first)
        high = bisect_right(self._first, last)
        if low >= high:
            return
        keep = [(self._first[low], first - 1), (last + 1, self._last[high - 1])]
        keep = [(a, b) for a, b in keep if a <= b]
        self._first[low:high] = [a for a, _ in keep]
        self._last[low:high] = [b for _, b in keep]

    def minus(self, other: Intervals) -> Intervals:
        """Return the numbers that are here and not in ``other``."""
        result = self.copy()
        for first, last in other.pairs():
            result.remove_range(first, last)
        return result

    def intersection(self, other: Intervals) -> Intervals:
        """Return the numbers that are in both."""
        return self.minus(self.minus(other))

    def copy(self) -> Intervals:
        """Return a set of its own with the same numbers."""
        result = Intervals()
        result._first = self._first.copy()
        result._last = self._last.copy()
        return result

    def pairs(self) -> list[tuple[int, int]]:
        """Return the intervals, lowest first, as (first, last), both inclusive."""
        if len(self._first) == 1:  # as nearly always
            return [(self._first[0], self._last[0])]
        return list(zip(self._first, self._last, strict=True))

    def goes_on_with(self, other: Intervals) -> bool:
        """Say whether ``other`` is what follows the highest number here, without a hole."""
        return len(other._first) == 1 and bool(self._last) and other._first[0] == self._last[-1] + 1

    @property
    def first(self) -> int:
        """The lowest number, -1 where there is none."""
        return self._first[0] if self._first else -1

    @property
    def highest(self) -> int:
        """The highest number, -1 where there is none."""
        return self._last[-1] if self._last else -1

    @property
    def pieces(self) -> int:
        """How many intervals there are."""
        return len(self._first)

    def lowest(self, count: int) -> list[tuple[int, int]]:
        """Return the ``count`` lowest intervals."""
        return list(zip(self._first[:count], self._last[:count], strict=True))

    def head(self, count: int) -> Intervals:
        """Return the ``count`` lowest numbers."""
        result = Intervals()
        for first, last in zip(self._first, self._last, strict=True):
            if count <= 0:
                break
            last = min(last, first + count - 1)
            result.add_range(first, last)
            count -= last - first + 1
        return result

    def __contains__(self, number: int) -> bool:
        at = bisect_right(self._first, number) - 1
        return at >= 0 and number <= self._last[at]

    def __iter__(self) -> Iterator[int]:
        if len(self._first) == 1:  # as nearly always
            return iter(range(self._first[0], self._last[0] + 1))
        return itertools.chain.from_iterable(range(first, last + 1) for first, last in self.pairs())

    def __len__(self) -> int:
        if len(self._first) == 1:
            return self._last[0] - self._first[0] + 1
        return sum(self._last) - sum(self._first) + len(self._first)

    def __bool__(self) -> bool:
        return bool(self._first)

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Intervals) and self._first == other._first and self._last == other._last

    __hash__ = None  # type: ignore[assignment] # mutable

    def __repr__(self) -> str:
        return f"Intervals({self.pairs()})"
