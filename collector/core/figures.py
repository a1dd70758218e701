"""The figures of an hour: what was observed of each device, and how much of it was good. Pure.

Everything is a set of seconds of the hour or is taken once a sample's name, so that samples may come in any order, in
any portions and again: the hour is the same. A late sample simply adds its seconds.

What holds: a sample of a device vouches for the seconds from its moment on, for one interval of its input and never
longer than ``MOST_S``. A second is *observed* if any sample of the device vouches for it, *bad* if one of those shows
one of ``BAD``, *good* if it is observed and not bad. What nobody observed is neither.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from typing import Any, Final

import msgspec

from telemetry.fleet import VehiclePlan
from telemetry.inputs import InputConfig
from telemetry.intervals import Intervals
from telemetry.metrics import METRICS, Value
from telemetry.records import Column, Schema

FORMAT: Final = 1
HOUR_MS: Final = 3_600_000
_LAST_S: Final = HOUR_MS // 1000 - 1
MOST_S: Final = 300
"""No sample vouches for longer than this, however rarely its input polls."""
OWN_INTERVAL_S: Final = 30.0
"""How often an agent samples itself (device ``agent``), which no fleet file says."""

BAD: Final[Mapping[str, frozenset[Value]]] = {
    "device.reachable": frozenset({False}),
    "stream.up": frozenset({False}),
    "stream.frozen": frozenset({True}),
    "link.loss_percent": frozenset({100.0}),
    "modem.sim": frozenset({"absent", "locked", "failure"}),
    "modem.registration": frozenset({"searching", "denied", "not_registered", "emergency_only"}),
    "gnss.antenna": frozenset({"open", "short"}),
}
"""Values that say that a device does not do its work. Weak radio or a missing fix may be the place's fault."""

SUMMED: Final = frozenset(
    {
        "modem.rsrp_dbm",
        "modem.sinr_db",
        "link.rtt_ms",
        "link.loss_percent",
        "stream.bitrate_kbps",
        "stream.packet_loss_percent",
        "power.supply_v",
    }
)
"""Metrics of which reports need number, mean, lowest and highest value."""
PARKED: Final = "power.ignition"


class DeviceHour(msgspec.Struct):
    """One device in one hour: seconds of the hour, counted from 0."""

    observed: Intervals = msgspec.field(default_factory=Intervals)
    bad: Intervals = msgspec.field(default_factory=Intervals)

    @property
    def observed_s(self) -> int:
        """How many seconds were observed."""
        return len(self.observed)

    @property
    def bad_s(self) -> int:
        """How many of them were bad."""
        return len(self.bad)

    @property
    def good_s(self) -> int:
        """How many of them were good: a bad second is always an observed one."""
        return self.observed_s - self.bad_s


class Summary(msgspec.Struct, gc=False):
    """Values of one metric in one hour. ``thousandths`` is their sum, whole, so that no order of adding shows."""

    number: int = 0
    thousandths: int = 0
    low: float = math.inf
    high: float = -math.inf

    @property
    def mean(self) -> float:
        """Mean value. There is at least one."""
        return self.thousandths / 1000 / self.number

    def add(self, value: float) -> None:
        """Take one more value."""
        self.number += 1
        self.thousandths += round(value * 1000)
        self.low, self.high = min(self.low, value), max(self.high, value)


class Hour(msgspec.Struct):
    """The figures of one vehicle in one hour.

    ``names`` are the samples of this hour that were taken, by ``agent/run``. ``parked`` are the seconds in which the
    ignition was known to be off. ``values`` stand under ``device/metric{label=value}``. Sets of seconds, and not only
    their numbers, so that a report can cut out what a mission, a maintenance window or a ticket covers.
    """

    names: dict[str, Intervals] = msgspec.field(default_factory=dict)
    devices: dict[str, DeviceHour] = msgspec.field(default_factory=dict)
    parked: Intervals = msgspec.field(default_factory=Intervals)
    values: dict[str, Summary] = msgspec.field(default_factory=dict)

    @property
    def samples(self) -> int:
        """How many samples fell into this hour."""
        return sum(len(numbers) for numbers in self.names.values())

    def to_json(self) -> bytes:
        """Return it for the database: the same bytes whatever the order in which things came."""
        stored = _Stored(
            FORMAT,
            {name: numbers.pairs() for name, numbers in self.names.items()},
            {name: (one.observed.pairs(), one.bad.pairs()) for name, one in self.devices.items()},
            self.parked.pairs(),
            {name: (one.number, one.thousandths, one.low, one.high) for name, one in self.values.items()},
        )
        return msgspec.json.encode(stored, order="sorted")

    @classmethod
    def from_json(cls, content: bytes) -> Hour:
        """Return a stored hour. Raises FiguresError."""
        try:
            stored = _DECODER.decode(content)
        except msgspec.DecodeError as error:
            raise FiguresError(f"expected the figures of an hour, found: {error}") from None
        if stored.format != FORMAT:
            raise FiguresError(f"expected figures of format {FORMAT}, found {stored.format}")
        return cls(
            {name: Intervals(pairs) for name, pairs in stored.names.items()},
            {name: DeviceHour(Intervals(seen), Intervals(bad)) for name, (seen, bad) in stored.devices.items()},
            Intervals(stored.parked),
            {name: Summary(*figures) for name, figures in stored.values.items()},
        )


class FiguresError(ValueError):
    """Stored figures that this version cannot read."""


Pairs = list[tuple[int, int]]


class _Stored(msgspec.Struct):
    format: int
    names: dict[str, Pairs]
    devices: dict[str, tuple[Pairs, Pairs]]
    parked: Pairs
    values: dict[str, tuple[int, int, float, float]]


_DECODER: Final = msgspec.json.Decoder(_Stored)


class FigureColumns:
    """What the samples of one schema mean for the figures. ``interval_s`` is that of their input."""

    __slots__ = ("bad", "device", "parked", "seconds", "summed")

    def __init__(self, schema: Schema, interval_s: float) -> None:
        columns = list(enumerate(schema.columns))
        self.device = schema.device
        self.seconds = min(max(math.ceil(interval_s), 1), MOST_S)
        self.bad = [(at, BAD[column.metric]) for at, column in columns if column.metric in BAD]
        self.parked = [at for at, column in columns if column.metric == PARKED]
        self.summed = [(at, _name(schema.device, column)) for at, column in columns if column.metric in SUMMED]


class Figures:
    """The hours of one vehicle, while samples are added to them. ``load`` gives a stored hour by its beginning."""

    def __init__(self, load: Callable[[int], Hour | None] = lambda hour_ms: None) -> None:
        self.hours: dict[int, Hour] = {}
        self._load = load

    def add(
        self,
        agent: str,
        run: str,
        time_ms: int,
        samples: Sequence[tuple[int, FigureColumns, Sequence[Value | None]]],
    ) -> None:
        """Take (sequence, columns, values) of the samples of one moment (UTC ms)."""
        begin_ms = time_ms // HOUR_MS * HOUR_MS
        hour = self._hour(begin_ms)
        names = hour.names.setdefault(f"{agent}/{run}", Intervals())
        first = (time_ms - begin_ms) // 1000
        for sequence, columns, values in samples:
            last = first + columns.seconds - 1
            bad = parked = False
            for at, wrong in columns.bad:
                bad = bad or values[at] in wrong
            for at in columns.parked:
                parked = parked or values[at] is False
            if last <= _LAST_S:
                _cover(hour, columns.device, first, last, bad, parked)
            else:
                _cover(hour, columns.device, first, _LAST_S, bad, parked)
                _cover(self._hour(begin_ms + HOUR_MS), columns.device, 0, last - _LAST_S - 1, bad, parked)
            if names.add(sequence) and columns.summed:  # sums must not take a sample twice
                for at, name in columns.summed:
                    value: Any = values[at]
                    if value is not None:
                        summary = hour.values.get(name)
                        if summary is None:
                            summary = hour.values[name] = Summary()
                        summary.add(float(value))

    def _hour(self, hour_ms: int) -> Hour:
        hour = self.hours.get(hour_ms)
        if hour is None:
            hour = self.hours[hour_ms] = self._load(hour_ms) or Hour()
        return hour


def _cover(hour: Hour, name: str, first: int, last: int, bad: bool, parked: bool) -> None:
    """Say that these seconds of a device were observed."""
    device = hour.devices.get(name)
    if device is None:
        device = hour.devices[name] = DeviceHour()
    device.observed.add_range(first, last)
    if bad:
        device.bad.add_range(first, last)
    if parked:
        hour.parked.add_range(first, last)


def interval_of(plan: VehiclePlan, agent: str, schema: Schema) -> float:
    """Return how often, in seconds, the input of a schema polls by the fleet file, or by default if that is silent."""
    known = plan.agents.get(agent)
    device = known.devices.get(schema.device) if known else None
    config: InputConfig | None = getattr(device, schema.input, None) if device else None
    if config is not None:
        return config.interval
    return OWN_INTERVAL_S if schema.input == "agent" else InputConfig().interval


def _name(device: str, column: Column) -> str:
    labels = ",".join(f"{key}={value}" for key, value in sorted(column.labels.items()))
    return f"{device}/{column.metric}" + (f"{{{labels}}}" if labels else "")


assert all(name in METRICS for name in (*BAD, *SUMMED, PARKED))
