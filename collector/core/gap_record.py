"""The record of contact in one cell, as the table ``gap`` keeps it, and the edition that all of them make. Pure."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping
from typing import Any, Final

import msgspec

from collector.core.contact_gaps import KEPT_DAYS, KEPT_PASSES, MANY_LOSSES, ContactGaps
from collector.core.journeys import Booted, Finding, Lost, Passed
from collector.core.places import Cell

DAY_MS: Final = 86_400_000
KEPT_MS: Final = 90 * DAY_MS
"""What is older counts no more."""
MOST_LOSSES: Final = 40
"""Of a cell: the last ones."""
MOST_BOOTS: Final = 8
MOST_VEHICLES: Final = 16
"""So many are told apart."""


class Detail(msgspec.Struct, array_like=True):
    """What a row holds beside its figures."""

    losses: list[tuple[int, int]] = []
    """(event time, seconds), the newest last."""
    boots: list[int] = []
    """When (our clock)."""
    vehicles: list[str] = []
    """Who has been here, the first ones."""


class GapRecord(msgspec.Struct):
    """What is known of contact in a cell."""

    passes: int = 0
    days: int = 0
    """On how many days there was a pass."""
    day: int = -1
    """The last of them, since 1970."""
    detail: Detail = msgspec.field(default_factory=Detail)
    last_ms: int = 0
    """Event time of the last of anything."""

    def add(self, finding: Finding, vehicle: str, utc_offset_ms: int) -> None:
        """Take in what was found of a vehicle. ``utc_offset_ms``: where the site's days begin."""
        detail = self.detail
        if vehicle not in detail.vehicles and len(detail.vehicles) < MOST_VEHICLES:
            detail.vehicles = [*detail.vehicles, vehicle]
        if isinstance(finding, Passed):
            day = (finding.time_ms + utc_offset_ms) // DAY_MS
            self.passes += 1
            if day > self.day:
                self.days, self.day = self.days + 1, day
            self.last_ms = max(self.last_ms, finding.time_ms)
        elif isinstance(finding, Lost):
            detail.losses = sorted([*detail.losses, (finding.from_ms, finding.seconds)])[-MOST_LOSSES:]
            self.last_ms = max(self.last_ms, finding.from_ms)
        elif isinstance(finding, Booted):
            detail.boots = sorted([*detail.boots, finding.heard_ms])[-MOST_BOOTS:]
            self.last_ms = max(self.last_ms, finding.heard_ms)

    def row(self, cell: Cell) -> Mapping[str, Any]:
        """Return it as columns of the table; percentiles are of all losses that it holds."""
        seconds = sorted(one for _, one in self.detail.losses)
        return {
            "cell": cell,
            "passes": self.passes,
            "days": self.days,
            "day": self.day,
            "lost": len(seconds),
            "boots": len(self.detail.boots),
            "p50_s": percentile(seconds, 0.5) if seconds else 0,
            "p95_s": percentile(seconds, 0.95) if seconds else 0,
            "vehicles": len(self.detail.vehicles),
            "last_ms": self.last_ms,
            "detail": msgspec.json.encode(self.detail),
        }

    @classmethod
    def of(cls, row: Any) -> GapRecord:
        """Return the record of a row."""
        return cls(row.passes, row.days, row.day, msgspec.json.decode(row.detail, type=Detail), row.last_ms)


def percentile(ordered: list[int], part: float) -> int:
    """Return the nearest rank of values in order; the 95th of fewer than 20 is the longest."""
    if part > 0.5 and len(ordered) < MANY_LOSSES:
        return ordered[-1]
    return ordered[math.ceil(part * len(ordered)) - 1]


def edition(records: Iterable[tuple[Cell, GapRecord]], now_ms: int) -> ContactGaps:
    """Return what judging is to go by from now on."""
    since_ms = now_ms - KEPT_MS
    kept, lost, boots = set(), {}, {}
    for cell, record in records:
        losses = tuple(sorted(seconds for time_ms, seconds in record.detail.losses if time_ms >= since_ms))
        parkings = sum(time_ms >= since_ms for time_ms in record.detail.boots)
        if losses:
            lost[cell] = losses
        elif record.passes >= KEPT_PASSES and record.days >= KEPT_DAYS:
            kept.add(cell)
        if parkings:
            boots[cell] = parkings
    return ContactGaps(frozenset(kept), lost, boots)
