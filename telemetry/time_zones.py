"""Is a name that of a time zone? As ``zoneinfo.available_timezones`` has it, which reads all files there are (1 MB)."""

from __future__ import annotations

import zoneinfo
from typing import Final

_NO_NAMES: Final = frozenset({"posix", "right", "posixrules"})
"""Folders of the same zones once more, with leap seconds and without, and a rule: nobody is to name these."""


def is_time_zone(name: str) -> bool:
    """Say whether it is one that this machine knows."""
    try:
        zoneinfo.ZoneInfo(name)
    except (zoneinfo.ZoneInfoNotFoundError, ValueError, OSError):  # no such file; no name of a file, no zone; a folder
        return False
    return name.partition("/")[0] not in _NO_NAMES
