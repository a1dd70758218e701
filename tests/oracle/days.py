"""Which local day a minute belongs to, and which days are worked: typed from the decrees, nothing imported.

A minute is counted from the Unix epoch, UTC; a day is ``datetime.date.toordinal`` of the local date.
Sources: 国办发明电〔2023〕7号 (2024), 国办发明电〔2024〕12号 (2025), and for 2026 the requirements' own list.
"""

from __future__ import annotations

import datetime
import functools
from array import array
from zoneinfo import ZoneInfo

HOLIDAYS = {
    2024: "01-01 02-10:02-17 04-04:04-06 05-01:05-05 06-08:06-10 09-15:09-17 10-01:10-07",
    2025: "01-01 01-28:02-04 04-04:04-06 05-01:05-05 05-31:06-02 10-01:10-08",
    2026: "01-01:01-03 02-15:02-23 04-04:04-06 05-01:05-05 06-19:06-21 09-25:09-27 10-01:10-07",
}
MAKE_UP = {
    2024: "02-04 02-18 04-07 04-28 05-11 09-14 09-29 10-12",
    2025: "01-26 02-08 04-27 09-28 10-11",
    2026: "01-04 02-14 02-28 05-09 09-20 10-10",
}

EPOCH = datetime.datetime(1970, 1, 1, tzinfo=datetime.UTC)
FIRST = int((datetime.datetime(2023, 12, 1, tzinfo=datetime.UTC) - EPOCH).total_seconds()) // 60
LAST = int((datetime.datetime(2028, 1, 1, tzinfo=datetime.UTC) - EPOCH).total_seconds()) // 60
STEP = 15  # no zone that we use is shifted at another minute than a quarter


class MissingYearError(Exception):
    """A day of a year was asked for whose decree is not loaded."""

    def __init__(self, year: int) -> None:
        super().__init__(year)
        self.year = year


def _days(year: int, text: str) -> frozenset[int]:
    days: set[int] = set()
    for part in text.split():
        first, _, last = part.partition(":")
        begin, end = (datetime.date.fromisoformat(f"{year}-{word}").toordinal() for word in (first, last or first))
        days.update(range(begin, end + 1))
    return frozenset(days)


HOLIDAY_DAYS = frozenset[int]().union(*(_days(year, text) for year, text in HOLIDAYS.items()))
MAKE_UP_DAYS = frozenset[int]().union(*(_days(year, text) for year, text in MAKE_UP.items()))


@functools.cache
def year_of(day: int) -> int:
    """The year of a day."""
    return datetime.date.fromordinal(day).year


@functools.cache
def is_worked(day: int, loaded: frozenset[int]) -> bool:
    """Whether a day is a working day; raise MissingYearError when its decree is not loaded."""
    if year_of(day) not in loaded:
        raise MissingYearError(year_of(day))
    if day in MAKE_UP_DAYS:
        return True
    return day not in HOLIDAY_DAYS and datetime.date.fromordinal(day).weekday() < 5


@functools.cache
def local_days(zone: str) -> array[int]:
    """The local day of every minute from FIRST to LAST, in that zone."""
    place, days = ZoneInfo(zone), array("i")
    for minute in range(FIRST, LAST, STEP):
        local = (EPOCH + datetime.timedelta(minutes=minute)).astimezone(place)
        days.extend([local.toordinal()] * STEP)
    return days


def minute_of(local: str, zone: str) -> int:
    """The minute of a local time written ``2026-05-08 16:00``."""
    moment = datetime.datetime.fromisoformat(local).replace(tzinfo=ZoneInfo(zone))
    return int((moment - EPOCH).total_seconds()) // 60


def local_text(minute: int, zone: str) -> str:
    """A minute as local time, ``2026-05-08 16:00``."""
    return f"{(EPOCH + datetime.timedelta(minutes=minute)).astimezone(ZoneInfo(zone)):%Y-%m-%d %H:%M}"
