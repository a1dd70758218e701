"""Holds what the collector and InfluxDB have against what the agents put into their outboxes. Code of its own.

Nothing here calls the product's intake, sinks or line writer: only the published formats are read (the log's rows are
JSON in zstd; InfluxDB is asked in InfluxQL).

InfluxDB hides a repeat, since writing twice writes the same point. So ``doubled`` is counted where a repeat shows: rows
of the log and of history's chunks, samples and observed seconds of its hours, ticket history, evidence, closed notes.
"""

from __future__ import annotations

import asyncio
import json
from collections import Counter
from collections.abc import Hashable, Iterable, Iterator, Mapping
from dataclasses import dataclass, field, fields
from typing import Any

import zstandard

from collector.core.tickets.events import TicketEvent
from collector.core.tickets.fold import fold
from collector.sinks.history import Compactor
from collector.sinks.runner import SinkRunner
from collector.store import schema
from collector.store.store import Store
from collector.store.ticket_rows import read_event, ticket_row
from telemetry.fleet import load_fleet
from telemetry.records import Clock, Sample
from tests.chaos.judged_again import differences
from tests.chaos.world import SITE, AgentKey, Obligation, RecordKey, World, rows
from tests.services.influxdb import points

PointKey = tuple[str, tuple[tuple[str, str], ...], int]


OWN_S = 30
"""A sample of the agent's own figures vouches for so many seconds (core/figures.py)."""


@dataclass
class Verdict:
    """What was found wrong; all empty is what is promised."""

    obligations: int = 0
    lost: list[Any] = field(default_factory=list)
    """Records and points that are not there, notifications that nobody got."""
    doubled: list[Any] = field(default_factory=list)
    unknown: list[Any] = field(default_factory=list)
    different: list[Any] = field(default_factory=list)
    """There, but not as it was sent, or at a time that no clock of the agent gives."""
    twin_tickets: list[Any] = field(default_factory=list)
    judged_otherwise: list[Any] = field(default_factory=list)
    """What comes out otherwise when the log is judged again."""

    def counts(self) -> dict[str, int]:
        """Return how many of each."""
        return {f.name: len(getattr(self, f.name)) for f in fields(self) if f.name != "obligations"}

    @property
    def holds(self) -> bool:
        """Nothing lost, nothing doubled, nothing that nobody sent."""
        return not any(self.counts().values())

    def __str__(self) -> str:
        told = ", ".join(f"{count} {name} {getattr(self, name)[:3]}" for name, count in self.counts().items())
        return f"{self.obligations} obligations: {told}"


@dataclass(frozen=True)
class Kept:
    """One record in the collector's log."""

    entry: list[Any]
    mono_ms: int
    clock: Clock | None


class Log:
    """The collector's log, read on and on, so that what is cleared away later was seen."""

    def __init__(self, database: str) -> None:
        self.database = database
        self.records: list[tuple[RecordKey, Kept]] = []
        """Every record, as often as it stands there."""
        self.newest: dict[AgentKey, list[tuple[int, int]]] = {}
        """By agent, (batch, newest monotonic time in it), in order."""
        self.number = 0

    def read_on(self) -> None:
        """Read what is new. Raises what the database raises while it is down."""
        query = f"SELECT number, content FROM batch WHERE number > {self.number} ORDER BY number"
        for number, content in rows(self.database, query):
            for key, found in _decode(bytes(content)):
                self.records.append((key, found))
                arrivals = self.newest.setdefault(key[:2], [])
                if arrivals and arrivals[-1][0] == number:
                    arrivals[-1] = (number, max(arrivals[-1][1], found.mono_ms))
                else:
                    arrivals.append((number, found.mono_ms))
            self.number = number

    def names(self) -> set[RecordKey]:
        """Return the records that are there."""
        return {key for key, _ in self.records}

    def delivered(self, agent: AgentKey, since_ms: int) -> int | None:
        """Return the first batch with a record of the agent that is no older, ``None`` if there is none yet."""
        for number, mono_ms in self.newest.get(agent, []):
            if mono_ms >= since_ms:
                return number
        return None


def _decode(content: bytes) -> Iterator[tuple[RecordKey, Kept]]:
    _, _, entries = json.loads(zstandard.ZstdDecompressor().decompress(content))
    for vehicle, agent, run, _lane, pairs, clocks, moments in (rest for tag, *rest in entries if tag == "g"):
        numbers = iter([n for first, last in pairs for n in range(first, last + 1)])
        for mono_ms, clock, told in moments:
            named = None if clock is None else Clock(*clocks[str(clock)])
            for entry in told:
                yield (vehicle, agent, run, next(numbers)), Kept(entry, mono_ms, named)


def kept(database: str) -> list[tuple[RecordKey, Kept]]:
    """Return every record in the log, as often as it stands there."""
    log = Log(database)
    log.read_on()
    return log.records


def expected_points(key: RecordKey, obligation: Obligation, time_ms: int) -> dict[PointKey, dict[str, Any]]:
    """Return the points that one sample makes (docs/architecture.md, Names in InfluxDB)."""
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


def judge(world: World, log: Log | None = None) -> Verdict:
    """Compare everything with everything. ``log``: the log as far as it was followed; read now if not given."""
    log = log or Log(world.database)
    log.read_on()
    owed = world.obligations()
    verdict = Verdict(obligations=len(owed))
    times = _judge_log(log, owed, verdict)
    _judge_points(world, owed, times, verdict)
    _judge_history(world, owed, times, verdict)
    _judge_tickets(world, owed, verdict)
    verdict.judged_otherwise += differences(world.database)
    ids = [id for (id,) in rows(world.database, "SELECT key FROM notification")]
    missing, repeated = judge_notifications(ids, world.channel.delivered, world.crashes)
    verdict.lost += missing
    verdict.doubled += repeated
    return verdict


def repeats(names: Iterable[Hashable]) -> list[tuple[Hashable, int]]:
    """Return what stands there more than once, and how often."""
    return [(name, count) for name, count in Counter(names).items() if count > 1]


def _judge_log(log: Log, owed: dict[RecordKey, Obligation], verdict: Verdict) -> dict[RecordKey, int]:
    """Hold the log against the obligations; return the time at which each record was placed."""
    times: dict[RecordKey, int] = {}
    for key, found in log.records:
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
            continue
        time_ms = found.clock.wall_ms + found.mono_ms - found.clock.mono_ms
        if times.setdefault(key, time_ms) != time_ms:
            verdict.different.append((key, "stands at two times", times[key], time_ms))
    verdict.doubled += repeats(key for key, _ in log.records)
    there = log.names()
    verdict.lost += [key for key in owed if key not in there]
    return times


def _judge_points(
    world: World, owed: dict[RecordKey, Obligation], times: dict[RecordKey, int], verdict: Verdict
) -> None:
    """Hold InfluxDB against the obligations: every point there, none else, so none at a second time."""
    expected: dict[PointKey, dict[str, Any]] = {}
    for key, obligation in owed.items():
        if isinstance(obligation.record, Sample) and key in times:
            for point, values in expected_points(key, obligation, times[key]).items():
                if point in expected:
                    verdict.doubled.append(("two samples make one point", point))
                expected[point] = values
    stored = points(world.influx)
    verdict.lost += [("point", point) for point in expected if point not in stored]
    verdict.unknown += [("point", point) for point in stored if point not in expected]
    verdict.different += [
        ("point", point, values, stored[point])
        for point, values in expected.items()
        if point in stored and stored[point] != values
    ]


def _judge_history(
    world: World, owed: dict[RecordKey, Obligation], times: dict[RecordKey, int], verdict: Verdict
) -> None:
    """History to its end: each record in one chunk and once, each sample counted once, the very seconds observed."""
    _compact(world)
    names = [
        key for (content,) in rows(world.database, "SELECT content FROM chunk") for key, _ in _decode(bytes(content))
    ]
    verdict.doubled += repeats(("chunk", *name) for name in names)
    verdict.unknown += [("chunk", name) for name in names if name not in owed]
    verdict.lost += [("chunk", name) for name in owed.keys() - set(names) if name in times]
    expected: dict[tuple[str, str], set[int]] = {}
    samples = 0
    for key, time_ms in times.items():
        schema = owed[key].schema
        if isinstance(owed[key].record, Sample) and schema is not None:
            samples += 1
            vouched_s = OWN_S if schema.device == "agent" else 1  # every input of the world polls once a second
            seconds = expected.setdefault((key[0], schema.device), set())
            seconds |= set(range(time_ms // 1000, time_ms // 1000 + vouched_s))
    observed: dict[tuple[str, str], set[int]] = {}
    counted = 0
    for vehicle, hour_ms, number, figures in rows(
        world.database, "SELECT vehicle, hour_ms, samples, figures FROM hour"
    ):
        counted += number
        stored = json.loads(zstandard.ZstdDecompressor().decompress(bytes(figures)))
        for device, (seen, _bad) in stored["devices"].items():
            seconds = observed.setdefault((vehicle, device), set())
            seconds |= {hour_ms // 1000 + second for first, last in seen for second in range(first, last + 1)}
    if counted > samples:
        verdict.doubled.append(("samples in the hours", counted, samples))
    for device in expected.keys() | observed.keys():
        if missing := expected.get(device, set()) - observed.get(device, set()):
            verdict.lost.append(("observed seconds", device, len(missing)))
        if more := observed.get(device, set()) - expected.get(device, set()):
            verdict.unknown.append(("observed seconds", device, len(more)))


def _compact(world: World) -> None:
    """Let the product's own compactor finish what it does every five minutes."""
    store = Store.open(world.database)
    try:
        compactor = Compactor(store, SITE, load_fleet(world.directory / "fleet.yaml").sites[SITE])
        asyncio.run(SinkRunner(store, SITE, compactor).catch_up())
    finally:
        store.close()


def _judge_tickets(world: World, owed: dict[RecordKey, Obligation], verdict: Verdict) -> None:
    """No two tickets for one fault, nothing in their history twice, and every piece of evidence was really sent.

    Twins are two live ones about a problem, and a problem that began twice at the same moment, on one ticket or two.
    """
    held = rows(world.database, "SELECT vehicle, key FROM ticket_problem WHERE holds")
    begun: list[tuple[str, str, int]] = []
    told: list[tuple[str, str, int]] = []
    numbers: dict[str, list[int]] = {}
    query = "SELECT ticket, number, what, body FROM ticket_event ORDER BY ticket, number"
    for ticket, number, what, content in rows(world.database, query):
        numbers.setdefault(ticket, []).append(number)
        body = json.loads(content)
        for piece in body.get("evidence", []) if isinstance(body.get("evidence"), list) else []:
            vehicle, _ = body["problem"]
            _judge_evidence(f"{ticket}/{number}", vehicle, piece["samples"], owed, verdict)
        if what in ("opened", "reopened", "problem_again"):
            begun.append((body["problem"][0], json.dumps(body["problem"][1]), body["event_ms"]))
        elif what == "problem_over":
            told.append((ticket, json.dumps(body["problem"]), body["event_ms"]))
    verdict.twin_tickets += repeats(held) + repeats(begun)
    verdict.doubled += repeats(("over", *row) for row in told)
    verdict.lost += [
        ("ticket event", ticket, found) for ticket, found in numbers.items() if found != [*range(1, len(found) + 1)]
    ]
    tickets = {id for (id,) in rows(world.database, "SELECT id FROM ticket")}
    verdict.lost += [("ticket", id) for id in tickets ^ numbers.keys()]
    verdict.different += [("ticket", id) for id in unlike_their_events(world.database)]
    notes = rows(world.database, "SELECT vehicle, device, key, began_ms, ended_ms FROM closed_note")
    verdict.doubled += repeats(("closed note", *row) for row in notes)


def unlike_their_events(database: str) -> list[str]:
    """Return the tickets whose row is not what the product's own fold makes of their events."""
    told: dict[str, list[TicketEvent]] = {}
    query = "SELECT ticket, number, what, at_ms, recorded_ms, who, body FROM ticket_event ORDER BY ticket, number"
    for ticket, *event in rows(database, query):
        told.setdefault(ticket, []).append(read_event(*event))
    ours = {"site", "revision"}  # of the commit, not of the ticket
    columns = ", ".join(column.name for column in schema.ticket.columns if column.name not in ours)
    stored = {row[0]: tuple(row) for row in rows(database, f"SELECT {columns} FROM ticket")}
    return [id for id, events in told.items() if id in stored and stored[id] != ticket_row(fold(SITE, id, events))]


def _judge_evidence(
    ticket: str,
    vehicle: str,
    samples: list[dict[str, Any]],
    owed: dict[RecordKey, Obligation],
    verdict: Verdict,
) -> None:
    names: list[Hashable] = []
    for sample in samples:
        name = (vehicle, sample["agent"], sample["run"], sample["sequence"])
        names.append(("evidence", ticket, *name, sample["metric"], json.dumps(sample["labels"], sort_keys=True)))
        if name not in owed:
            verdict.unknown.append(("evidence", name))
        elif not _is_in(sample, owed[name]):
            verdict.different.append(("evidence", name, sample))
    verdict.doubled += repeats(names)


def _is_in(sample: dict[str, Any], obligation: Obligation) -> bool:
    record, schema = obligation.record, obligation.schema
    if not isinstance(record, Sample) or schema is None:
        return False
    return any(
        (column.metric, column.labels, value) == (sample["metric"], sample["labels"], sample["value"])
        for column, value in zip(schema.columns, record.values, strict=True)
    )


def judge_notifications(
    ids: Iterable[str], delivered: Mapping[str, int], crashes: int
) -> tuple[list[tuple[str, str]], list[tuple[str, str, int]]]:
    """Return (notifications that were not delivered, notifications repeated more often than once a crash).

    ``ids``: the idempotency keys that the collector owes; ``delivered``: how often the channel got each.
    """
    missing = [("notification", id) for id in ids if not delivered.get(id)]
    return missing, [("notification", id, times) for id, times in delivered.items() if times > 1 + crashes]
