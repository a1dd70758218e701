"""What was read of a vehicle, by series: the last value of each, and means over steps of time. Blocking.

A series is what one device says of one metric with one set of labels, whichever of the vehicle's agents has read it.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping

import msgspec

from collector.store import history
from collector.store.store import Store
from telemetry.metrics import METRICS, Value

Wanted = Callable[[str, str], bool]
"""Says whether the series of a device and metric are wanted."""
Key = tuple[str, str, tuple[tuple[str, str], ...]]
"""(device, metric, labels)."""


class Last(msgspec.Struct):
    """The last value of a series. Times are UTC ms."""

    agent: str
    value: Value
    time_ms: int
    is_known: bool = True
    """Whether its device's last sample has told it too: ``False`` where that no longer knew it."""


class Series(msgspec.Struct):
    """A series over time, by steps: numbers as their mean, anything else as the last word."""

    device: str
    metric: str
    labels: Mapping[str, str]
    values: list[Value | None]
    """One of each step; ``None``: nothing was read in it."""
    _sums: dict[int, tuple[float, int]] = msgspec.field(default_factory=dict)

    def take(self, step: int, value: Value) -> None:
        """Take in a value; they come in order of time."""
        if isinstance(value, bool | str):
            self.values[step] = value
            return
        total, n = self._sums.get(step, (0.0, 0))
        self._sums[step] = (total + value, n + 1)
        self.values[step] = round((total + value) / (n + 1), 3)


def last_values(store: Store, site: str, vehicle: str, from_ms: int, until_ms: int, wanted: Wanted) -> dict[Key, Last]:
    """Return the last known value of each series that was read in a span (UTC ms, the end not in it)."""
    found: dict[Key, Last] = {}
    for sample in history.samples(store, site, vehicle, from_ms, until_ms):
        device = sample.schema.device
        for column, value in zip(sample.schema.columns, sample.values, strict=False):
            if not wanted(device, column.metric):
                continue
            key = (device, *column.key())
            if value is not None:
                found[key] = Last(sample.agent, value, sample.time_ms)
            elif key in found:
                found[key].is_known = False
    return found


def series_of(
    store: Store, site: str, vehicle: str, from_ms: int, step_ms: int, steps: int, wanted: Wanted
) -> list[Series]:
    """Return the series of a vehicle in ``steps`` steps from a time on (UTC ms), by metric, device and labels."""
    found: dict[Key, Series] = {}
    for sample in history.samples(store, site, vehicle, from_ms, from_ms + step_ms * steps):
        step, device = (sample.time_ms - from_ms) // step_ms, sample.schema.device
        for column, value in zip(sample.schema.columns, sample.values, strict=False):
            if value is None or not wanted(device, column.metric):
                continue
            key = (device, *column.key())
            if key not in found:
                found[key] = Series(device, column.metric, column.labels, [None] * steps)
            found[key].take(step, value)
    return [found[key] for key in sorted(found, key=lambda key: (key[1], key[0], key[2]))]


def unit_of(metric: str) -> str:
    """Return a metric's unit; empty for one without, and for one that only a newer agent knows."""
    known = METRICS.get(metric)
    return known.unit if known else ""
