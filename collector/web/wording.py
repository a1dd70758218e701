"""Times and spans as people read them. Pure."""

from __future__ import annotations

import datetime
import zoneinfo
from typing import Final

from collector.core.tickets.texts import Language

DAY_S: Final = 86_400
_UNITS: Final = {"zh": ("秒", "分钟", "小时", "天"), "en": (" s", " min", " h", " d")}


def span(ms: int, language: Language) -> str:
    """Return how long something takes, in the unit that fits: ``40 s``, ``12 min``, ``5 h``, ``3 d``."""
    seconds = max(0, ms // 1000)
    for per, below, unit in ((1, 120, 0), (60, 7_200, 1), (3_600, 2 * DAY_S, 2)):
        if seconds < below:
            return f"{seconds // per}{_UNITS[language][unit]}"
    return f"{seconds // DAY_S}{_UNITS[language][3]}"


def left(ms: int, language: Language) -> str:
    """Return what is left of a clock: ``1:02:03``, from two days on ``3 d``; without a sign."""
    seconds = abs(ms) // 1000
    if seconds >= 2 * DAY_S:
        return f"{seconds // DAY_S}{_UNITS[language][3]}"
    return f"{seconds // 3600}:{seconds // 60 % 60:02}:{seconds % 60:02}"


def clock(ms: int, zone: str, now_ms: int) -> str:
    """Return a time in the site's zone: ``20:15`` today, ``11-27 20:15`` else, with the year where that is another."""
    at, now = (datetime.datetime.fromtimestamp(one / 1000, _zone(zone)) for one in (ms, now_ms))
    if at.date() == now.date():
        return f"{at:%H:%M}"
    return f"{at:%m-%d %H:%M}" if at.year == now.year else f"{at:%Y-%m-%d %H:%M}"


def exact(ms: int, zone: str) -> str:
    """Return a time in full: ``2026-11-28 20:15:07``."""
    return f"{datetime.datetime.fromtimestamp(ms / 1000, _zone(zone)):%Y-%m-%d %H:%M:%S}"


def minute(ms: int, zone: str) -> str:
    """Return a time to the minute, with its date: ``2026-11-28 20:15``."""
    return f"{datetime.datetime.fromtimestamp(ms / 1000, _zone(zone)):%Y-%m-%d %H:%M}"


def _zone(name: str) -> zoneinfo.ZoneInfo:
    try:
        return zoneinfo.ZoneInfo(name)
    except (zoneinfo.ZoneInfoNotFoundError, ValueError):
        return zoneinfo.ZoneInfo("UTC")
