"""Counts hours and days on the site's clock, the minutes left out in which a waiting stops it. Pure.

After the Civil Code of the PRC, art. 201 and 203, as docs/contract.md reads it ("How clocks are counted").
"""

from __future__ import annotations

import datetime
import zoneinfo
from collections.abc import Iterable, Sequence
from typing import Final, Literal

import msgspec

from collector.core.calendar import Calendar, YearMissingError

_DAY: Final = datetime.timedelta(days=1)
_MINUTE: Final = 60_000
_FULL: Final = 24 * 60
_LONGEST: Final = 4000
"""Days after which a count is given up: a waiting without end."""

Counted = Literal["working", "calendar"]


class Step(msgspec.Struct, frozen=True):
    """One step of a count, for whoever wants it aloud."""

    what: Literal["starts", "counts", "skips", "waits", "rolls", "capped", "due", "missing"]
    day: datetime.date | None = None
    """The local day, where the step is about one."""
    at_ms: int | None = None
    minutes: int = 0
    """Minutes of the day that count, or that do not; 1,440 of a day that counts from end to end."""
    why: Literal["", "notice", "response", "response_due", "change", "weekend", "holiday", "make_up"] = ""


class Counting:
    """How long something takes at one site. Times are UTC milliseconds."""

    def __init__(
        self, time_zone: str, calendar: Calendar, stops: Iterable[tuple[int, int]], *, roll_off_holidays: bool
    ) -> None:
        self._zone = zoneinfo.ZoneInfo(time_zone)
        self._calendar = calendar
        self._stops = _union(stops)
        self._roll_off = roll_off_holidays

    def hours(self, start_ms: int, span_ms: int) -> tuple[int, list[Step]]:
        """Return when a span is over, and how that was counted."""
        at_ms, stopped_ms = start_ms, 0
        for first, last in self._stops:
            if first >= at_ms + span_ms:
                break
            if last > at_ms:
                stopped_ms += last - max(first, at_ms)
                span_ms -= max(first - at_ms, 0)
                at_ms = last
        return at_ms + span_ms, [Step("waits", minutes=round(stopped_ms / _MINUTE))] if stopped_ms else []

    def days(self, start_ms: int, number: int, counted: Counted) -> tuple[int, list[Step]]:
        """Return when so many days are over, and how that was counted. Raises YearMissingError.

        A day is as long as the site's clock makes it, so that the last one ends at 24:00 whatever summer time does.
        What is stopped of a day that counts is owed, and paid by those that follow.
        """
        steps: list[Step] = []
        left, owed_ms, rolled = number, 0, False
        day = self._date(start_ms)
        for _ in range(_LONGEST):
            day += _DAY
            if counted == "working" and not self._calendar.is_working(day):
                steps.append(Step("skips", day, why="holiday" if self._calendar.is_holiday(day) else "weekend"))
                continue
            begin_ms, end_ms = self.midnight(day), self.midnight(day + _DAY)
            free, stopped_ms = _free(begin_ms, end_ms, self._stops)
            if left:
                left, owed_ms = left - 1, owed_ms + stopped_ms
                due_ms = None if left or owed_ms else end_ms
            else:
                due_ms, owed_ms = _pay(owed_ms, free)
            steps += self._told(day, counted, begin_ms, due_ms or end_ms, rolled)
            rolled = False
            if due_ms is None:
                continue
            last_day = self._last_day(day, counted)
            if last_day == day:
                return due_ms, steps
            steps.append(Step("rolls", last_day))
            day, left, owed_ms, rolled = last_day - _DAY, 1, 0, True
        raise YearMissingError(day.year)

    def midnight(self, day: datetime.date) -> int:
        """Return when a day begins at the site."""
        begin = datetime.datetime.combine(day, datetime.time(), tzinfo=self._zone)
        return round(begin.timestamp() * 1000)

    def _date(self, time_ms: int) -> datetime.date:
        """Return the site's date."""
        return datetime.datetime.fromtimestamp(time_ms / 1000, self._zone).date()

    def _last_day(self, day: datetime.date, counted: Counted) -> datetime.date:
        """Return the last day: where the contract rolls off days of rest, the first working one from this on."""
        if counted == "calendar" and self._roll_off:
            while not self._calendar.is_working(day):
                day += _DAY
        return day

    def _told(self, day: datetime.date, counted: Counted, begin_ms: int, until_ms: int, rolled: bool) -> list[Step]:
        """Return the steps of a day of which what lies before ``until_ms`` is looked at."""
        free, stopped_ms = _free(begin_ms, until_ms, self._stops)
        full = not stopped_ms and until_ms == self.midnight(day + _DAY)
        minutes = _FULL if full else round(sum(last - first for first, last in free) / _MINUTE)
        steps = [Step("waits", day, minutes=round(stopped_ms / _MINUTE))] if stopped_ms else []
        if minutes and not (rolled and full):  # that it rolls there says so already
            make_up = counted == "working" and day.weekday() >= 5
            steps.append(Step("counts", day, minutes=minutes, why="make_up" if make_up else ""))
        return steps


def _pay(owed_ms: int, free: Sequence[tuple[int, int]]) -> tuple[int | None, int]:
    """Return when what is owed is paid, or what is left to pay after these stretches."""
    for first, last in free:
        if last - first >= owed_ms:
            return first + owed_ms, 0
        owed_ms -= last - first
    return None, owed_ms


def _union(spans: Iterable[tuple[int, int]]) -> list[tuple[int, int]]:
    """Return spans that overlap as one, in their order; empty ones left out."""
    found: list[tuple[int, int]] = []
    for first, last in sorted(span for span in spans if span[1] > span[0]):
        if found and first <= found[-1][1]:
            found[-1] = (found[-1][0], max(found[-1][1], last))
        else:
            found.append((first, last))
    return found


def _free(begin: int, end: int, stops: Sequence[tuple[int, int]]) -> tuple[list[tuple[int, int]], int]:
    """Return the stretches that no stop covers, and how long the stops are in it."""
    free, stopped, place = [], 0, begin
    for first, last in stops:
        first, last = max(first, begin), min(last, end)
        if first >= last:
            continue
        if first > place:
            free.append((place, first))
        stopped += last - first
        place = last
    if place < end:
        free.append((place, end))
    return free, stopped
