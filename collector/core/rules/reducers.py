"""Reducers: what becomes of an indicator's samples within a window (docs/rules.md). Pure.

A window is at most 24 buckets by event time, each of them a few numbers; a sample older than the newest bucket changes
nothing. A reducer is one class here, with the promise of ``Reducer``: its YAML keys are its fields, ``add`` takes a
sample into a bucket, ``read`` makes one number of the buckets. ``REDUCERS`` at the end lists them, by the word that
stands in a rules file.

What a healthy device tells makes no window: a mean, a share and a count begin theirs with the first bad sample, a slope
with the first one near its limit (``beyond``). The others take a sample now and then (``pace_ms``).
"""

from __future__ import annotations

import datetime
import functools
import itertools
import math
from collections.abc import Mapping, Sequence
from typing import Any, ClassVar, Final

import msgspec

from telemetry.durations import Span, milliseconds
from telemetry.fleet import Device

MOST_BUCKETS: Final = 24
LEAST_OF_SAMPLES: Final = 0.5
"""A mean or a share of fewer of the samples that there should be says nothing."""
Bucket = tuple[Any, ...]
"""The content of one bucket: whatever its reducer needs."""
_LEAST_POINTS: Final = 6
"""A slope of fewer points proves nothing."""
_LEFT_OF_SLOPE: Final = 0.5
_LEAST_BY_CHANCE: Final = 4.0
"""Standard errors: of thirty thousand slopes that chance makes of scattered values one is so steep, of six points' one
in a hundred."""
LONGEST_PACE_MS: Final = 300_000
"""The slowest window takes a sample so often, and what is clear is looked at so often."""
_DAY_MS: Final = 86_400_000
_LEAST_OF_MONTH_MS: Final = 2 * _DAY_MS
"""A month's first night says nothing of the month."""


class Window(msgspec.Struct, frozen=True, array_like=True):
    """What is known of one indicator at one source: buckets by their number, the oldest first."""

    version: int
    """Of the rule: a new one begins anew."""
    buckets: tuple[tuple[int, Bucket], ...] = ()
    from_ms: int = 0
    """Samples from before count for nothing (event time): something else explains them, or they were not expected."""
    since_ms: int = 0
    """Its first bad sample, 0 where the reducer does not ask."""
    bad_ms: int = 0
    """Its last bad sample; of a slope the last one that was near its limit."""
    good_ms: int = 0
    """The first sample after that, 0 while there was none: when what was bad ended."""
    taken_ms: int = 0
    """The last sample that was taken."""


class Reducer(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Makes one number of the samples in a window of at most 24 buckets by event time; what is older leaves."""

    over: Span
    """How long the window is."""
    min_count: int = 1
    """With fewer samples in the window nothing is known."""
    closes_after: Span | None = None
    """Where a window begins with the first bad sample: how long it waits for the next one; half of it for a mean, a
    quarter for a share, all for a count."""
    counts_samples: ClassVar[bool] = False
    """It is given 1 for a sample that is bad and 0 for one that is not, instead of a value."""
    takes_words: ClassVar[bool] = False
    """It takes values that are no numbers too."""
    begins_bad: ClassVar[bool] = False
    """Its window begins with a bad sample, and closes when none was bad for ``patience_ms``."""
    _part: ClassVar[float] = 0.5
    """Of the window that it waits."""

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

    def taken(self, window: Window, time_ms: int, value: Any, *, bad: bool = False) -> Window:
        """Return the window with a sample more, and without what has become too old. ``bad``: the sample is."""
        if time_ms < window.from_ms:
            return window
        buckets = () if self.is_closed(window, time_ms) else window.buckets
        number = time_ms // self._width_ms()
        kept = _newer(buckets, number - MOST_BUCKETS)
        if kept and kept[-1][0] > number:
            return window
        if kept and kept[-1][0] == number:
            before = kept[-2][1] if len(kept) > 1 else None
            kept = (*kept[:-1], (number, self.add(kept[-1][1], before, time_ms, value)))
        else:
            kept = (*kept, (number, self.add(None, kept[-1][1] if kept else None, time_ms, value)))
        since_ms, bad_ms, good_ms = window.since_ms, window.bad_ms, window.good_ms
        if bad:
            since_ms, bad_ms, good_ms = since_ms if buckets and since_ms else time_ms, time_ms, 0
        elif bad_ms and not good_ms:
            good_ms = time_ms
        return Window(window.version, kept, window.from_ms, since_ms, bad_ms, good_ms, time_ms)

    def before(self, window: Window, time_ms: int, value: Any, from_ms: int) -> Window | None:
        """Return the window that is to take a sample of a source that has been there since ``from_ms``.

        ``None``: it is not to be taken.
        """
        return window

    def value(self, window: Window, time_ms: int, step_ms: int = 0) -> float | None:
        """Return the number that the window makes at a time, ``None`` while nothing can be said.

        ``step_ms``: how far apart its samples are where none is missing, 0 where nobody knows.
        """
        buckets = [bucket for _, bucket in _newer(window.buckets, time_ms // self._width_ms() - MOST_BUCKETS)]
        return self.read(buckets) if buckets and _total(buckets, 0) >= self.min_count else None

    def began_ms(self, window: Window, above: float | None, below: float | None) -> int:
        """Return when what is bad now began (event time), 0 where nothing says so.

        ``above``, ``below``: the limits of its number, ``None`` where it has none.
        """
        return window.since_ms

    def foreseen(self, window: Window, time_ms: int) -> tuple[float, int] | None:
        """Return the value that will be reached and when (UTC ms), ``None`` where nothing is forecast."""
        return None

    def is_closed(self, window: Window, time_ms: int) -> bool:
        """Say whether nothing was bad for so long that the window is at its end: what comes next is another one's."""
        return self.begins_bad and bool(window.bad_ms) and time_ms - window.bad_ms > self.patience_ms

    def near(self, upward: bool) -> tuple[float | None, float | None] | None:
        """Return ``above`` and ``below``, one of them ``None``: beyond it a value is near enough to be looked at.

        ``None``: all are. ``upward``: what is bad lies above its limit.
        """
        return None

    @property
    def lingers_ms(self) -> float:
        """How long after the last value that was near (see there) those that are not are taken too."""
        return 0

    @property
    def patience_ms(self) -> float:
        """How long a window that begins bad waits for the next bad sample."""
        return self._part * milliseconds(self.over) if self.closes_after is None else milliseconds(self.closes_after)

    @property
    def pace_ms(self) -> float:
        """How long it needs no sample after one that it took: four a bucket will do, and one in five minutes.

        0: it needs all of them.
        """
        return min(self._width_ms() / 4, LONGEST_PACE_MS)

    def _width_ms(self) -> int:
        return -(-milliseconds(self.over) // MOST_BUCKETS)

    def scaled(self, speed: float) -> Reducer:
        """Return it for judging ``speed`` times faster."""
        over = max(MOST_BUCKETS, milliseconds(self.over) / speed) / 1000
        closes_after = None if self.closes_after is None else milliseconds(self.closes_after) / speed / 1000
        return msgspec.structs.replace(self, over=over, closes_after=closes_after)

    def bound(self, device: Device | None) -> Reducer | None:
        """Return it as it is for a device of the fleet file, ``None`` where that does not say what it needs."""
        return self


class _Added(Reducer, frozen=True):
    """Counts and adds up in each bucket."""

    def add(self, bucket: Bucket | None, before: Bucket | None, time_ms: int, value: Any) -> Bucket:
        """Count and total."""
        count, total = bucket or (0, 0.0)
        return count + 1, total + value


class _Total(_Added, frozen=True):
    """Goes by the count and the total of the whole window."""

    def made_of(self, count: int, total: float) -> float:
        """Return the number that they make."""
        raise NotImplementedError

    def read(self, buckets: Sequence[Bucket]) -> float | None:
        """Their count and total."""
        return self.made_of(_total(buckets, 0), _total(buckets, 1))

    def value(self, window: Window, time_ms: int, step_ms: int = 0) -> float | None:
        """Return the number that count and total make: in one go, for these windows are asked at each sample."""
        oldest = time_ms // self._width_ms() - MOST_BUCKETS
        count, total = 0, 0.0
        for number, (own, value) in window.buckets:
            if number > oldest:
                count += own
                total += value
        if not count or count < self.min_count or self._lacks(count, window, time_ms, step_ms):
            return None
        return self.made_of(count, total)

    def _lacks(self, count: int, window: Window, time_ms: int, step_ms: int) -> bool:
        """Say whether too few of the samples that there should be have come."""
        return False


class Mean(_Total, frozen=True):
    """The mean of the values since the first bad one, known once half of the window has passed, and half of its samples
    have come: two bad moments beside a gap are no mean.
    """

    begins_bad: ClassVar[bool] = True

    def made_of(self, count: int, total: float) -> float:
        """Total over count."""
        return total / count

    def value(self, window: Window, time_ms: int, step_ms: int = 0) -> float | None:
        """Return the mean, ``None`` before half of the window has passed since its first bad sample."""
        if window.since_ms and time_ms - window.since_ms < milliseconds(self.over) / 2:
            return None
        return super().value(window, time_ms, step_ms)

    def began_ms(self, window: Window, above: float | None, below: float | None) -> int:
        """Return from where on the values are beyond their limit by most in all, to a bucket's beginning.

        The change point of a cumulative sum (Page, Continuous Inspection Schemes, 1954): a burst that was over for
        longer than it lasted is not how what is bad now began.
        """
        limit = below if above is None else above
        if limit is None:
            return window.since_ms
        most, began, beyond = 0.0, 0, 0.0
        for number, (count, total) in reversed(window.buckets):
            beyond += limit * count - total if above is None else total - limit * count
            if beyond >= most:
                most, began = beyond, number
        return max(window.since_ms, began * self._width_ms())

    def _lacks(self, count: int, window: Window, time_ms: int, step_ms: int) -> bool:
        """Half of those that make a window, at the pace of now."""
        return bool(step_ms) and count * step_ms < milliseconds(self.over) * LEAST_OF_SAMPLES


class Sum(_Total, frozen=True):
    """The sum of the values."""

    @property
    def pace_ms(self) -> float:
        """All of them."""
        return 0

    def made_of(self, count: int, total: float) -> float:
        """Total."""
        return total


class Share(Mean, frozen=True):
    """Which part of the samples is bad, 0 to 1; for half of the window, what lies before the first bad one was good.

    Nothing is known while more than half of those since then are missing.
    """

    counts_samples: ClassVar[bool] = True
    _part: ClassVar[float] = 0.25
    """What was bad for long and is good again is over soon."""

    def value(self, window: Window, time_ms: int, step_ms: int = 0) -> float | None:
        """Return the share, of half of the window at least."""
        found = _Total.value(self, window, time_ms, step_ms)
        if found is None or not window.since_ms:
            return found
        return found * min(1.0, (time_ms - window.since_ms) / (milliseconds(self.over) / 2))

    def began_ms(self, window: Window, above: float | None, below: float | None) -> int:
        """Return the first bad sample: what flickers is well in between."""
        return window.since_ms

    def _lacks(self, count: int, window: Window, time_ms: int, step_ms: int) -> bool:
        """Half of those since the first bad one: what lies before it was good."""
        passed_ms = min(time_ms - window.since_ms, milliseconds(self.over)) if window.since_ms else 0
        return bool(step_ms) and count * step_ms < passed_ms * LEAST_OF_SAMPLES


class Count(Sum, frozen=True):
    """How many samples are bad."""

    counts_samples: ClassVar[bool] = True
    begins_bad: ClassVar[bool] = True
    _part: ClassVar[float] = 1.0
    """Those that are counted may lie far apart."""


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


_WITH_THE_KIT_MS: Final = 60_000
"""A device may start its clock so long after its kit's agent has started to ask it."""


class Resets(Reducer, frozen=True):
    """How often a value fell back: an uptime of a device that started anew.

    A device that has been up for longer than the window makes none.
    """

    def near(self, upward: bool) -> tuple[float | None, float | None] | None:
        """An uptime in seconds that is shorter than the window."""
        return None, milliseconds(self.over) / 1000

    @property
    def pace_ms(self) -> float:
        """All of them."""
        return 0

    def add(self, bucket: Bucket | None, before: Bucket | None, time_ms: int, value: Any) -> Bucket:
        """Count, times that it fell, last value, when it fell first and last (0: it did not)."""
        count, falls, last, first_ms, last_ms = bucket or (0, 0, before[2] if before else None, 0, 0)
        if last is None or value < last:
            falls, first_ms, last_ms = falls + 1, first_ms or time_ms, time_ms
        return count + 1, falls, value, first_ms, last_ms

    def taken(self, window: Window, time_ms: int, value: Any, *, bad: bool = False) -> Window:
        """Return the window with a sample more. What is bad are the restarts: it began with the first that it holds."""
        after = super().taken(window, time_ms, value)
        falls = [bucket for _, bucket in after.buckets if bucket[1]]
        if not falls:
            return after
        good_ms = window.good_ms if window.bad_ms == falls[-1][4] else 0
        return msgspec.structs.replace(
            after,
            since_ms=falls[0][3],
            bad_ms=falls[-1][4],
            good_ms=good_ms or (time_ms if time_ms > falls[-1][4] else 0),
        )

    def before(self, window: Window, time_ms: int, value: Any, from_ms: int) -> Window | None:
        """A device that started with the one who tells of it, or before him, started with the kit: no restart."""
        if time_ms - 1000 * value > from_ms + _WITH_THE_KIT_MS:
            return window
        if not _newer(window.buckets, time_ms // self._width_ms() - MOST_BUCKETS):
            return None
        *kept, (number, (count, falls, _, first_ms, last_ms)) = window.buckets
        return msgspec.structs.replace(window, buckets=(*kept, (number, (count, falls, value, first_ms, last_ms))))

    def read(self, buckets: Sequence[Bucket]) -> float | None:
        """All falls; that of a first sample lies within the window, because the uptime is shorter."""
        return float(_total(buckets, 1))


class Month(Increase, frozen=True, kw_only=True):
    """What a month's volume comes to at its present pace, as a part of the fleet file's `data_plan`.

    Months begin on the plan's billing day. Nothing is known before two days of one have been seen, nor without a plan.
    """

    over: Span = "62d"
    """Two months: the one before is shown by nobody, and the present one may be long."""
    allowed: float = 0
    """Bytes a month; the fleet file's."""
    billing_day: int = 1
    """The fleet file's."""

    def bound(self, device: Device | None) -> Reducer | None:
        """Return it for the device's data plan."""
        plan = None if device is None else device.data_plan
        if plan is None:
            return None
        return msgspec.structs.replace(self, allowed=plan.gigabytes * 1e9, billing_day=plan.billing_day)

    def taken(self, window: Window, time_ms: int, value: Any, *, bad: bool = False) -> Window:
        """Return the window with a sample more; it has one bucket, which begins anew on the billing day."""
        begin_ms, _ = billing_month(time_ms, self.billing_day)
        kept = dict(window.buckets).get(begin_ms)
        if kept is None and window.buckets:
            if window.buckets[-1][0] > begin_ms:
                return window
            kept = 0, 0, 0, begin_ms, begin_ms, window.buckets[-1][1][5]
        if kept is None:
            kept = 0, 0, 0, time_ms, time_ms, value
        return Window(window.version, ((begin_ms, self.add(kept, None, time_ms, value)),), taken_ms=time_ms)

    def value(self, window: Window, time_ms: int, step_ms: int = 0) -> float | None:
        """Return what the month will come to, over what the plan allows."""
        begin_ms, end_ms = billing_month(time_ms, self.billing_day)
        bucket = dict(window.buckets).get(begin_ms)
        if bucket is None or not self.allowed or bucket[4] - bucket[3] < _LEAST_OF_MONTH_MS:
            return None
        used, first_ms, last_ms = bucket[2], bucket[3], bucket[4]
        return float(used * (end_ms - begin_ms) / (last_ms - first_ms) / self.allowed)

    def foreseen(self, window: Window, time_ms: int) -> tuple[float, int] | None:
        """Return the plan's bytes, and when they will be used up."""
        bucket = dict(window.buckets).get(billing_month(time_ms, self.billing_day)[0])
        if bucket is None or not bucket[2] or not self.allowed:
            return None
        used, first_ms, last_ms = bucket[2], bucket[3], bucket[4]
        return self.allowed, round(first_ms + (last_ms - first_ms) * self.allowed / used)

    def scaled(self, speed: float) -> Reducer:
        """Return it as it is: months go by the calendar."""
        return self


def billing_month(time_ms: int, day: int) -> tuple[int, int]:
    """Return begin and end (UTC ms) of the month in which a time lies; months begin on this day, 1 to 28."""
    return _month_of(time_ms // _DAY_MS, day)


@functools.lru_cache
def _month_of(number: int, day: int) -> tuple[int, int]:
    """Return the same for a day, which its number since 1970 names."""
    date = datetime.datetime.fromtimestamp(86_400 * number, datetime.UTC)
    year, month = date.year, date.month
    if date.day < day:
        year, month = (year, month - 1) if month > 1 else (year - 1, 12)
    following = (year, month + 1) if month < 12 else (year + 1, 1)
    begin, end = (datetime.datetime(*one, day, tzinfo=datetime.UTC) for one in ((year, month), following))
    return round(begin.timestamp() * 1000), round(end.timestamp() * 1000)


class _Line(Reducer, frozen=True, kw_only=True):
    """A straight line through the buckets' means."""

    beyond: float | None = None
    """Only values from here on, towards the limit, are looked at: far from it nothing is forecast."""

    def add(self, bucket: Bucket | None, before: Bucket | None, time_ms: int, value: Any) -> Bucket:
        """Count, total of times and of values."""
        count, times, values = bucket or (0, 0, 0.0)
        return count + 1, times + time_ms, values + value

    def near(self, upward: bool) -> tuple[float | None, float | None] | None:
        """From ``beyond`` on."""
        if self.beyond is None:
            return None
        return (self.beyond, None) if upward else (None, self.beyond)

    @property
    def lingers_ms(self) -> float:
        """A quarter of the window: what trembles about where it begins is one rise."""
        return milliseconds(self.over) / 4

    def slope_ms(self, buckets: Sequence[Bucket]) -> float | None:
        """Return the slope in units per millisecond."""
        if len(buckets) < _LEAST_POINTS:
            return None
        start_ms = buckets[0][1] / buckets[0][0]
        points = [(times / count - start_ms, values / count) for count, times, values in buckets]
        slope = _slope(points)
        if abs(slope) < _LEAST_BY_CHANCE * _slope_error(points, slope):
            return 0.0
        parts = _parts(points)
        rises = [after - one for (_, one), (_, after) in itertools.pairwise(parts)]
        if 2 * sum(rise * slope > 0 for rise in rises) <= len(rises):
            return 0.0
        # What is left without its largest rise: half at least, or it is a step and what trembles before and after it.
        number = max(range(len(rises)), key=lambda n: rises[n] * slope)
        level = [(t, v - (rises[number] if n > number else 0.0)) for n, (t, v) in enumerate(parts)]
        return slope if _slope(level) / slope >= _LEFT_OF_SLOPE else 0.0


def _parts(points: Sequence[tuple[float, float]]) -> list[tuple[float, float]]:
    """Return the points as six, each the mean of its share of them: what trembles from bucket to bucket evens out."""
    edges = [round(len(points) * n / _LEAST_POINTS) for n in range(_LEAST_POINTS + 1)]
    return [_centre(points[one:after]) for one, after in itertools.pairwise(edges)]


def _centre(points: Sequence[tuple[float, float]]) -> tuple[float, float]:
    return sum(t for t, _ in points) / len(points), sum(v for _, v in points) / len(points)


def _slope(points: Sequence[tuple[float, float]]) -> float:
    """Return the slope of the straight line through points (least squares)."""
    mean_t, mean_v = _centre(points)
    spread = sum((t - mean_t) ** 2 for t, _ in points)
    return sum((t - mean_t) * (v - mean_v) for t, v in points) / spread if spread else 0.0


def _slope_error(points: Sequence[tuple[float, float]], slope: float) -> float:
    """Return the standard error of that slope, by how the points scatter about their line."""
    mean_t, mean_v = _centre(points)
    spread = sum((t - mean_t) ** 2 for t, _ in points)
    scatter = sum((v - mean_v - slope * (t - mean_t)) ** 2 for t, v in points)
    return math.sqrt(scatter / (len(points) - 2) / spread) if spread else 0.0


class Slope(_Line, frozen=True, kw_only=True):
    """How steadily it rises (or falls) in `per`: a straight line through the buckets' means (least squares).

    Nothing is known with fewer than six buckets. In six parts of the window most must rise, without the largest rise
    half of the slope must be left, and it must be four times its standard error, or else it is 0: a step is no slope,
    nor is what trembles.
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

    def near(self, upward: bool) -> tuple[float | None, float | None] | None:
        """From ``beyond`` on, towards the limit."""
        return super().near(self.beyond is not None and self.reaches > self.beyond)

    def read(self, buckets: Sequence[Bucket]) -> float | None:
        """Distance over slope, from the newest bucket on; endless where it does not move that way."""
        slope = self.slope_ms(buckets)
        if slope is None:
            return None
        left = self.reaches - buckets[-1][2] / buckets[-1][0]
        return left / slope / 1000 if slope and left / slope > 0 else float("inf")

    def foreseen(self, window: Window, time_ms: int) -> tuple[float, int] | None:
        """Return the limit, and when it will be reached."""
        left_s = self.value(window, time_ms)
        return None if left_s is None or left_s == float("inf") else (self.reaches, round(time_ms + 1000 * left_s))


class Drop(_Added, frozen=True):
    """How far it has fallen from its highest bucket to its newest."""

    def read(self, buckets: Sequence[Bucket]) -> float | None:
        """Highest mean before minus the newest."""
        means = [bucket[1] / bucket[0] for bucket in buckets]
        return float(max(means) - means[-1])


class Changes(Reducer, frozen=True):
    """How often the value was not the one before."""

    takes_words: ClassVar[bool] = True

    @property
    def pace_ms(self) -> float:
        """All of them."""
        return 0

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
    "month": Month,
    "resets": Resets,
    "slope": Slope,
    "until": Until,
    "drop": Drop,
    "changes": Changes,
}


def _newer(buckets: tuple[tuple[int, Bucket], ...], number: int) -> tuple[tuple[int, Bucket], ...]:
    """Return the buckets after one of this number; nearly always all of them are."""
    for place, (own, _) in enumerate(buckets):
        if own > number:
            return buckets[place:] if place else buckets
    return ()


def _total(buckets: Sequence[Bucket], place: int) -> Any:
    return sum([bucket[place] for bucket in buckets])  # a list is faster than a generator here


def _growth(before: float, after: float) -> float:
    """Return by how much a counter grew (Prometheus, ``rate``: a reset counts from 0)."""
    return after - before if after >= before else after
