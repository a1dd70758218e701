"""The working calendars that this installation knows: the library's, and what people put in themselves.

The decree comes in November, the library some weeks later; until then ``calendar/<year>.yaml`` beside ``contract.yaml``
says it (``kitwatch contract calendar add``). A file counts before the library.
"""

from __future__ import annotations

import datetime
from pathlib import Path
from typing import Final

import msgspec
from chinese_calendar.constants import holidays, workdays

from collector.core.calendar import Calendar, Year
from telemetry.files import FileError, load

_LIBRARY: Final = "chinesecalendar"


class YearFile(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """One year's decree: ``calendar/<year>.yaml``."""

    year: int
    """The year; the file is named for it."""
    source: str
    """The decree: who, when, number."""
    holidays: tuple[datetime.date, ...]
    """Every day off by decree, weekends within a holiday included."""
    make_up: tuple[datetime.date, ...]
    """Every Saturday and Sunday that is worked instead (调休)."""


def library_years() -> list[Year]:
    """Return the years that the library knows as a whole."""
    years = sorted({day.year for day in holidays} & {day.year for day in workdays})
    return [
        Year(
            year,
            tuple(sorted(day for day in holidays if day.year == year)),
            tuple(sorted(day for day in workdays if day.year == year)),
            _LIBRARY,
        )
        for year in years
    ]


def read_year(path: Path) -> Year:
    """Return a decree's file. Raises FileError for what is no decree."""
    found = load(path, YearFile)
    for key, days in (("holidays", found.holidays), ("make_up", found.make_up)):
        for number, day in enumerate(days):
            if day.year != found.year:
                raise FileError(path, f"{key}.{number}", f"expected a day of {found.year}, found {day}")
            if day in days[:number]:
                raise FileError(path, f"{key}.{number}", f"expected each day once, found {day} again")
    for number, day in enumerate(found.make_up):
        if day.weekday() < 5:
            raise FileError(path, f"make_up.{number}", f"expected a Saturday or Sunday, found {day:%A} {day}")
        if day in found.holidays:
            raise FileError(path, f"make_up.{number}", f"expected a day that is no holiday, found {day} in both")
    return Year(found.year, tuple(sorted(found.holidays)), tuple(sorted(found.make_up)), found.source)


def load_calendar(folder: Path | None) -> Calendar:
    """Return the library's years and those of a folder of ``<year>.yaml`` files. Raises FileError."""
    years = library_years()
    for path in sorted(folder.glob("*.yaml")) if folder is not None and folder.is_dir() else ():
        year = read_year(path)
        if path.stem != str(year.year):
            raise FileError(path, "year", f"expected {path.stem}, as the file is named; found {year.year}")
        years.append(year)
    return Calendar.of(years)
