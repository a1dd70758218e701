"""Reducers: what becomes of an indicator's samples within a window (docs/rules.md). Pure.

A window is at most 24 buckets by event time, each of them a few numbers; a sample older than the newest bucket changes
nothing. A reducer is one class here, with the promise of ``Reducer``: its YAML keys are its fields, ``add`` takes a
sample into a bucket, ``read`` makes one number of the buckets. ``REDUCERS`` at the end lists them, by the word that
stands in a rules file.
"""

from __future__ import annotations

import itertools
from collections.abc import Mapping, Sequence
from typing import Any, ClassVar, Final

import msgspec

from telemetry.durations import Span, milliseconds

MOST_BUCKETS: Final = 24
Bucket = tuple[Any, ...]
"""The content of one bucket: whatever its reducer needs."""
_LEAST_POINTS: Final = 6
"""A slope of fewer points proves nothing."""


class Window(msgspec.Struct, frozen=True, array_like=True):
    """What is known of one indicator at one source: buckets by their number, the oldest first."""

    version: int
    """Of the rule: a new one begins anew."""
    buckets: tuple[tuple[int, Bucket], ...] = ()
    from_ms: int = 0
    """Samples from before count for nothing (event time): something else explains them, or they were not expected."""


class Reducer(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Makes one number of the samples in a window of at most 24 buckets by event time; what is older leaves."""

    over: Span
    """How long the window is."""
    min_count: int = 1
    """With fewer samples in the window nothing is known."""
    counts_samples: ClassVar[bool] = False
    """It is given 1 for a sample that is bad and 0 for one that is not, instead of a value."""
    takes_words: ClassVar[bool] = False
    """It takes values that are no numbers too."""

    def __post_init__(self) -> None:
        if milliseconds(self.over) < MOST_BUCKETS:
            raise ValueError(f"over: expected a window of {MOST_BUCKETS} ms at least, found {self.over!r}")
        if self.min_count < 1:
            raise ValueError(f"min_count: expected 1 at least, found {self.min_count}")

    def add(self, bucket: Bucket | None, before: Bucket | None, time_ms: int, value: Any) -> Bucket:
        """Return the bucket with a sample more; ``None`` for a new one. ``before`` is the bucket before it, if any.

        The first of a bucket's numbers is how many samples it holds.
        """
        raise NotImplementedError

    def read(self, buckets: Sequence[Bucket]) -> float | None:
        """Return the number that the buckets make, ``None`` while nothing can be said. There is one at least."""
        raise NotImplementedError

    def taken(self, window: Window, time_ms: int, value: Any) -> Window:
        """Return the window with a sample more, and without what has become too old."""
        if time_ms < window.from_ms:
            return window
        number = time_ms // self._width_ms()
        kept = [entry for entry in window.buckets if entry[0] > number - MOST_BUCKETS]
        if kept and kept[-1][0] > number:
            return window
        if kept and kept[-1][0] == number:
            before = kept[-2][1] if len(kept) > 1 else None
            kept[-1] = number, self.add(kept[-1][1], before, time_ms, value)
        else:
            kept.append((number, self.add(None, kept[-1][1] if kept else None, time_ms, value)))
        return Window(window.version, tuple(kept), window.from_ms)

    def value(self, window: Window, time_ms: int) -> float | None:
        """Return the number that the window makes at a time, ``None`` while nothing can be said."""
        oldest = time_ms // self._width_ms() - MOST_BUCKETS
        buckets = [bucket for number, bucket in window.buckets if number > oldest]
        return self.read(buckets) if buckets and _total(buckets, 0) >= self.min_count else None

    def _width_ms(self) -> int:
        return -(-milliseconds(self.over) // MOST_BUCKETS)

    def scaled(self, speed: float) -> Reducer:
        """Return it for judging ``speed`` times faster."""
        return msgspec.structs.replace(self, over=max(MOST_BUCKETS, milliseconds(self.over) / speed) / 1000)


class Mean(Reducer, frozen=True):
    """The mean of the values."""

    def add(self, bucket: Bucket | None, before: Bucket | None, time_ms: int, value: Any) -> Bucket:
        """Count and total."""
        count, total = bucket or (0, 0.0)
        return count + 1, total + value

    def read(self, buckets: Sequence[Bucket]) -> float | None:
        """Total over count."""
        return float(_total(buckets, 1) / _total(buckets, 0))


class Sum(Mean, frozen=True):
    """The sum of the values."""

    def read(self, buckets: Sequence[Bucket]) -> float | None:
        """Total."""
        return float(_total(buckets, 1))


class Share(Mean, frozen=True):
    """Which part of the samples is bad, 0 to 1."""

    counts_samples: ClassVar[bool] = True


class Count(Sum, frozen=True):
    """How many samples are bad."""

    counts_samples: ClassVar[bool] = True


class Increase(Reducer, frozen=True):
    """By how much a counter grew; one that is lower than before was reset and counts from 0."""

    def add(self, bucket: Bucket | None, before: Bucket | None, time_ms: int, value: Any) -> Bucket:
        """Count, growth since the bucket before and within this one, times of its first and last sample, the last."""
        if bucket is not None:
            count, between, within, first_ms, _, last = bucket
            return count + 1, between, within + _growth(last, value), first_ms, time_ms, value
        return 1, 0 if before is None else _growth(before[5], value), 0, time_ms, time_ms, value

    def read(self, buckets: Sequence[Bucket]) -> float | None:
        """Growth within and between the buckets; what led to the first one lies before the window."""
        return float(_total(buckets[1:], 1) + _total(buckets, 2)) if _total(buckets, 0) > 1 else None


class Rate(Increase, frozen=True, kw_only=True):
    """By how much a counter grew in `per`; one that is lower than before was reset and counts from 0."""

    per: Span = "1s"
    """The unit of time."""

    def read(self, buckets: Sequence[Bucket]) -> float | None:
        """Growth over the time between the first and the last sample."""
        passed_ms = buckets[-1][4] - buckets[0][3]
        growth = super().read(buckets)
        return None if growth is None or passed_ms <= 0 else growth * milliseconds(self.per) / passed_ms


class _Line(Reducer, frozen=True):
    """A straight line through the buckets' means."""

    def add(self, bucket: Bucket | None, before: Bucket | None, time_ms: int, value: Any) -> Bucket:
        """Count, total of times and of values."""
        count, times, values = bucket or (0, 0, 0.0)
        return count + 1, times + time_ms, values + value

    def slope_ms(self, buckets: Sequence[Bucket]) -> float | None:
        """Return the slope in units per millisecond."""
        if len(buckets) < _LEAST_POINTS:
            return None
        start_ms = buckets[0][1] / buckets[0][0]
        points = [(times / count - start_ms, values / count) for count, times, values in buckets]
        mean_t = sum(t for t, _ in points) / len(points)
        mean_v = sum(v for _, v in points) / len(points)
        spread = sum((t - mean_t) ** 2 for t, _ in points)
        slope = sum((t - mean_t) * (v - mean_v) for t, v in points) / spread if spread else 0.0
        steps = [(after - one) * slope > 0 for (_, one), (_, after) in itertools.pairwise(points)]
        return slope if 2 * sum(steps) > len(steps) else 0.0


class Slope(_Line, frozen=True, kw_only=True):
    """How steadily it rises (or falls) in `per`: a straight line through the buckets' means (least squares).

    Nothing is known with fewer than six buckets, and it is 0 where no more than half of the steps between them go its
    way: a step is no slope.
    """

    per: Span = "1h"
    """The unit of time."""

    def read(self, buckets: Sequence[Bucket]) -> float | None:
        """The line's slope."""
        slope = self.slope_ms(buckets)
        return None if slope is None else slope * milliseconds(self.per)


class Until(_Line, frozen=True, kw_only=True):
    """How long until it reaches `reaches` at its present slope, in seconds; nothing if it goes the other way."""

    reaches: float
    """The limit that it goes towards."""

    def read(self, buckets: Sequence[Bucket]) -> float | None:
        """Distance over slope, from the newest bucket on; endless where it does not move that way."""
        slope = self.slope_ms(buckets)
        if slope is None:
            return None
        left = self.reaches - buckets[-1][2] / buckets[-1][0]
        return left / slope / 1000 if slope and left / slope > 0 else float("inf")


class Drop(Mean, frozen=True):
    """How far it has fallen from its highest bucket to its newest."""

    def read(self, buckets: Sequence[Bucket]) -> float | None:
        """Highest mean before minus the newest."""
        means = [bucket[1] / bucket[0] for bucket in buckets]
        return float(max(means) - means[-1])


class Changes(Reducer, frozen=True):
    """How often the value was not the one before."""

    takes_words: ClassVar[bool] = True

    def add(self, bucket: Bucket | None, before: Bucket | None, time_ms: int, value: Any) -> Bucket:
        """Count, changes, last value."""
        count, changes, last = bucket or (0, 0, before[2] if before else value)
        return count + 1, changes + (last != value), value

    def read(self, buckets: Sequence[Bucket]) -> float | None:
        """All changes."""
        return float(_total(buckets, 1))


REDUCERS: Final[Mapping[str, type[Reducer]]] = {
    "mean": Mean,
    "sum": Sum,
    "share": Share,
    "count": Count,
    "increase": Increase,
    "rate": Rate,
    "slope": Slope,
    "until": Until,
    "drop": Drop,
    "changes": Changes,
}


def _total(buckets: Sequence[Bucket], place: int) -> Any:
    return sum(bucket[place] for bucket in buckets)


def _growth(before: float, after: float) -> float:
    """Return by how much a counter grew (Prometheus, ``rate``: a reset counts from 0)."""
    return after - before if after >= before else after
