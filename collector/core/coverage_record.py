"""The record of what a vehicle has in a cell, as the table ``coverage`` keeps it, and the edition of all. Pure."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any, Final, NamedTuple

import msgspec

from collector.core.coverage import OTHERS, OWN_DAYS, OWN_SAMPLES, Coverage, Usual, figures_of
from collector.core.gap_record import DAY_MS
from collector.core.places import Cell

LEAST_SAMPLES: Final = 5
"""Fewer have no median that others could be held against."""
MOST_SAMPLES: Final = 2_000
"""Beyond this old ones fade: all counts are halved."""
MOST_VEHICLES: Final = 8
"""Of a cell and leg that have a record: others than these have enough to be held against."""
MOST_RADIO_CELLS: Final = 4
"""Of a vehicle, in a cell: what is beyond stands together under none."""
_MEANS: Final = frozenset({"nr", "home", "loss"})
"""Figures of which the mean counts; of all others it is the median."""

Histogram = dict[int, int]
"""How often each value was there."""


class Key(NamedTuple):
    """Of what a record is."""

    cell: Cell
    leg: str
    vehicle: str
    radio_cell: str
    """The network's own, empty where it is not known or does not matter."""


class CoverageRecord(msgspec.Struct):
    """What a vehicle had in a cell."""

    days: int = 0
    day: int = -1
    """The last of them, since 1970."""
    n: int = 0
    last_ms: int = 0
    """Event time of the last sample."""
    figures: dict[str, Histogram] = {}

    def add(self, values: Mapping[str, int], time_ms: int, utc_offset_ms: int) -> None:
        """Take in a sample: values by the names of figures."""
        day = (time_ms + utc_offset_ms) // DAY_MS
        if day > self.day:
            self.days, self.day = self.days + 1, day
        self.n += 1
        self.last_ms = max(self.last_ms, time_ms)
        for name, value in values.items():
            histogram = self.figures.setdefault(name, {})
            histogram[value] = histogram.get(value, 0) + 1
        if self.n > MOST_SAMPLES:
            self.n //= 2
            for name, histogram in self.figures.items():
                self.figures[name] = {value: count // 2 for value, count in histogram.items() if count > 1}

    def row(self, key: Key) -> Mapping[str, Any]:
        """Return it as columns of the table."""
        return {
            **key._asdict(),
            "days": self.days,
            "day": self.day,
            "n": self.n,
            "last_ms": self.last_ms,
            "histogram": msgspec.json.encode({name: dict(sorted(one.items())) for name, one in self.figures.items()}),
        }

    @classmethod
    def of(cls, row: Any) -> CoverageRecord:
        """Return the record of a row."""
        figures = msgspec.json.decode(row.histogram, type=dict[str, Histogram])
        return cls(row.days, row.day, row.n, row.last_ms, figures)


def figure(name: str, histograms: Iterable[Histogram]) -> int | None:
    """Return what counts of a figure: a mean in percent or a median; ``None`` of nothing."""
    together: Histogram = {}
    for histogram in histograms:
        for value, count in histogram.items():
            together[value] = together.get(value, 0) + count
    total = sum(together.values())
    if not total:
        return None
    if name in _MEANS:
        return round(sum(value * count for value, count in together.items()) / total)
    passed = 0
    for value in sorted(together):
        passed += together[value]
        if 2 * passed >= total:
            return value
    raise AssertionError("unreachable")


def edition(records: Iterable[tuple[Key, CoverageRecord]]) -> Coverage:
    """Return what judging is to go by from now on: cells of which it says something.

    ``records`` come sorted by their keys.
    """
    cells: dict[Cell, dict[str, list[Usual]]] = {}
    together: list[CoverageRecord] = []
    of: tuple[Cell, str, str] | None = None

    def close() -> None:
        if of is None or sum(one.n for one in together) < LEAST_SAMPLES:
            return
        cell, leg, vehicle = of
        days, n = max(one.days for one in together), sum(one.n for one in together)
        figures = tuple(figure(name, (one.figures.get(name, {}) for one in together)) for name in figures_of(leg))
        enough = days >= OWN_DAYS and n >= OWN_SAMPLES
        cells.setdefault(cell, {}).setdefault(leg, []).append(Usual(vehicle, enough, figures))

    for key, record in records:
        if key[:3] != of:
            close()
            of, together = key[:3], []
        together.append(record)
    close()
    told = {
        cell: {leg: known for leg, known in legs.items() if len(known) >= OTHERS or known[0].enough}
        for cell, legs in cells.items()
    }
    return Coverage({cell: legs for cell, legs in told.items() if legs})
