"""Times of the command line: the wall clock of a zone, to the minute, such as ``2026-05-08 16:00``."""

from __future__ import annotations

import datetime
import zoneinfo
from typing import Final

from telemetry.time_zones import is_time_zone

FORM: Final = "%Y-%m-%d %H:%M"


def zone_problem(zone: str) -> str:
    """Return what is wrong with the name of a zone, empty if nothing is."""
    if is_time_zone(zone):
        return ""
    return f"--zone: expected a zone such as Asia/Shanghai, found {zone!r}"


def read(text: str, zone: str) -> datetime.datetime:
    """Return a time of the zone's wall clock. Raises ValueError for what is none."""
    try:
        return datetime.datetime.strptime(text, FORM).replace(tzinfo=zoneinfo.ZoneInfo(zone))
    except ValueError:
        raise ValueError(f"expected a time such as '2026-05-08 16:00', found {text!r}") from None


def show(at: datetime.datetime, zone: str) -> str:
    """Return a time as the zone's wall clock has it."""
    return at.astimezone(zoneinfo.ZoneInfo(zone)).strftime(FORM)
