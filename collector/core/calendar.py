"""The Chinese working calendar, as decreed year by year: public holidays out, make-up working days (调休) in. Pure.

A year that was not loaded is never guessed: whoever needs it gets ``YearMissingError``.
"""

from __future__ import annotations

import datetime
from collections.abc import Iterable, Mapping

import msgspec

_SATURDAY = 5


class YearMissingError(LookupError):
    """A day of a year was asked for whose calendar is not loaded."""

    def __init__(self, year: int) -> None:
        super().__init__(f"the working calendar of {year} is not loaded")
        self.year = year


class Year(msgspec.Struct, frozen=True):
    """One year's decree."""

    year: int
    holidays: tuple[datetime.date, ...]
    """Days off by decree, weekends within a holiday included, in their order."""
    make_up: tuple[datetime.date, ...]
    """Saturdays and Sundays that are worked instead, in their order."""
    source: str = ""
    """The decree, or the library that knows it."""

    def is_working(self, day: datetime.date) -> bool:
        """Say whether a day of this year is a working day."""
        return day in self.make_up or (day.weekday() < _SATURDAY and day not in self.holidays)


class Calendar(msgspec.Struct, frozen=True):
    """The years that are loaded."""

    years: Mapping[int, Year] = msgspec.field(default_factory=dict)

    @classmethod
    def of(cls, years: Iterable[Year]) -> Calendar:
        """Return a calendar of these years; where one stands twice, the last one counts."""
        return cls({year.year: year for year in years})

    def is_working(self, day: datetime.date) -> bool:
        """Say whether a day is a working day. Raises YearMissingError."""
        return self._year(day).is_working(day)

    def is_holiday(self, day: datetime.date) -> bool:
        """Say whether a day is off by decree; an ordinary weekend is not. Raises YearMissingError."""
        return day in self._year(day).holidays

    def _year(self, day: datetime.date) -> Year:
        found = self.years.get(day.year)
        if found is None:
            raise YearMissingError(day.year)
        return found
