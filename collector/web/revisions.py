"""Revisions: up to where somebody has seen what the sites' commits have changed, as one text (``north:17,south:3``)."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final

from collector.read.changes import Revisions
from collector.read.view import View
from collector.web.problems import unexpected
from telemetry.topics import is_id

_MOST: Final = 200
"""Sites of one text."""


def revision_of(numbers: Mapping[str, int], view: View) -> str:
    """Return the numbers of a view's sites as a text."""
    return revision({site: number for site, number in numbers.items() if view.has_site(site)})


def revision(numbers: Mapping[str, int]) -> str:
    """Return the sites' numbers as one text: ``north:17,south:3``."""
    return ",".join(f"{site}:{number}" for site, number in sorted(numbers.items()))


def parse_revision(text: str) -> dict[str, int] | None:
    """Return what ``revision`` gave, ``None`` for anything else."""
    found = {}
    parts = text.split(",") if text else []
    for part in parts:
        site, _, number = part.partition(":")
        if not is_id(site) or not (number.isascii() and number.isdecimal() and len(number) <= 18):
            return None
        found[site] = int(number)
    return found if len(parts) <= _MOST else None


def revisions_of(since: str | None) -> Revisions | None:
    """Return the numbers of a parameter ``since``. Raises 400 for one that is no revision."""
    if since is None:
        return None
    found = parse_revision(since)
    if found is None:
        raise unexpected("since", "a revision such as north:17", since)
    return found
