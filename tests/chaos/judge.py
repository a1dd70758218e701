"""Holds what the collector and InfluxDB have against what the agents put into their outboxes. Code of its own.

Nothing here calls the product's intake, drains or line writer: only the published formats are read (the log's rows are
JSON in zstd; InfluxDB is asked in InfluxQL).
"""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import Any

import zstandard

from telemetry.records import Clock, Sample
from tests.chaos.world import SITE, Obligation, RecordKey, World, rows
from tests.services.influxdb import points

PointKey = tuple[str, tuple[tuple[str, str], ...], int]


@dataclass
class Verdict:
    """What was found wrong; all empty is what is promised."""

    obligations: int = 0
    lost: list[Any] = field(default_factory=list)
    doubled: list[Any] = field(default_factory=list)
    unknown: list[Any] = field(default_factory=list)
    different: list[Any] = field(default_factory=list)
    twin_tickets: list[Any] = field(default_factory=list)

    @property
    def holds(self) -> bool:
        """Nothing lost, nothing doubled, nothing that nobody sent."""
        return not (self.lost or self.doubled or self.unknown or self.different or self.twin_tickets)

    def __str__(self) -> str:
        parts = {name: getattr(self, name) for name in ("lost", "doubled", "unknown", "different", "twin_tickets")}
        told = ", ".join(f"{len(value)} {name} {value[:3]}" for name, value in parts.items())
        return f"{self.obligations} obligations: {told}"


@dataclass(frozen=True)
class Kept:
    """One record in the collector's log."""

    entry: list[Any]
    mono_ms: int
    clock: Clock | None


def kept(database: str) -> Iterable[tuple[RecordKey, Kept]]:
    """Yield every record in the log, as often as it stands there."""
    for (content,) in rows(database, "SELECT content FROM batch ORDER BY number"):
        _, groups = json.loads(zstandard.ZstdDecompressor().decompress(bytes(content)))
        for vehicle, agent, run, _lane, pairs, clocks, moments in groups:
            numbers = iter([n for first, last in pairs for n in range(first, last + 1)])
            for mono_ms, clock, entries in moments:
                named = None if clock is None else Clock(*clocks[str(clock)])
                for entry in entries:
                    yield (vehicle, agent, run, next(numbers)), Kept(entry, mono_ms, named)


def expected_points(key: RecordKey, obligation: Obligation, time_ms: int) -> dict[PointKey, dict[str, Any]]:
    """Return the points that one sample makes (DESIGN 5)."""
    sample, schema = obligation.record, obligation.schema
    assert isinstance(sample, Sample)
    assert schema is not None
    found: dict[PointKey, dict[str, Any]] = {}
    for column, value in zip(schema.columns, sample.values, strict=True):
        if value is None:
            continue
        measurement, name = column.metric.split(".")
        tags = {"site": SITE, "vehicle": key[0], "agent": key[1], "device": schema.device, **column.labels}
        found.setdefault((measurement, tuple(sorted(tags.items())), time_ms), {})[name] = value
    return found


def judge(world: World) -> Verdict:
    """Compare everything with everything."""
    owed = world.obligations()
    verdict = Verdict(obligations=len(owed))
    times = _judge_log(world, owed, verdict)
    _judge_points(world, owed, times, verdict)
    _judge_tickets(world, owed, verdict)
    return verdict


def _judge_log(world: World, owed: dict[RecordKey, Obligation], verdict: Verdict) -> dict[RecordKey, int]:
    times: dict[RecordKey, int] = {}
    counted: Counter[RecordKey] = Counter()
    for key, found in kept(world.database):
        counted[key] += 1
        if key not in owed:
            verdict.unknown.append(key)
            continue
        record = owed[key].record
        if isinstance(record, Sample):
            same = found.entry == [record.schema, list(record.values)]
        else:
            same = found.entry == [record.kind, record.device, json.loads(json.dumps(dict(record.body)))]
        if not same or found.mono_ms != record.mono_ms:
            verdict.different.append((key, record, found))
        if found.clock is None or found.clock not in owed[key].clocks:
            verdict.different.append((key, "clock", found.clock, owed[key].clocks))
        else:
            times[key] = found.clock.wall_ms + found.mono_ms - found.clock.mono_ms
    verdict.doubled += [(key, count) for key, count in counted.items() if count > 1]
    verdict.lost += [key for key in owed if key not in counted]
    return times


def _judge_points(
    world: World, owed: dict[RecordKey, Obligation], times: dict[RecordKey, int], verdict: Verdict
) -> None:
    expected: dict[PointKey, dict[str, Any]] = {}
    for key, obligation in owed.items():
        if isinstance(obligation.record, Sample) and key in times:
            for point, fields in expected_points(key, obligation, times[key]).items():
                if point in expected:
                    verdict.doubled.append(("two samples make one point", point))
                expected[point] = fields
    stored = points(world.influx)
    verdict.lost += [("point", point) for point in expected if point not in stored]
    verdict.unknown += [("point", point) for point in stored if point not in expected]
    verdict.different += [
        ("point", point, fields, stored[point])
        for point, fields in expected.items()
        if point in stored and stored[point] != fields
    ]


def _judge_tickets(world: World, owed: dict[RecordKey, Obligation], verdict: Verdict) -> None:
    """No two open tickets for a key, and every piece of evidence is a record that was really sent."""
    still_open: Counter[tuple[str, str]] = Counter()
    query = "SELECT vehicle, key, resolved_ms, evidence FROM ticket"
    for vehicle, key, resolved_ms, evidence in rows(world.database, query):
        if resolved_ms is None:
            still_open[(vehicle, key)] += 1
        for piece in json.loads(evidence):
            for sample in piece["samples"]:
                name = (vehicle, sample["agent"], sample["run"], sample["sequence"])
                if name not in owed:
                    verdict.unknown.append(("evidence", name))
                elif not _is_in(sample, owed[name]):
                    verdict.different.append(("evidence", name, sample))
    verdict.twin_tickets += [key for key, count in still_open.items() if count > 1]


def _is_in(sample: dict[str, Any], obligation: Obligation) -> bool:
    record, schema = obligation.record, obligation.schema
    if not isinstance(record, Sample) or schema is None:
        return False
    return any(
        (column.metric, column.labels, value) == (sample["metric"], sample["labels"], sample["value"])
        for column, value in zip(schema.columns, record.values, strict=True)
    )
