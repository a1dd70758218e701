"""What pages, replay and reports read of the past, without InfluxDB. Blocking: call from a thread.

Chunks hold single records for as long as retention says, hours their figures for much longer (docs/retention.md).
Samples and events are complete: what the compactor does not have yet is read from the log. Hours are behind by its
wait, five minutes.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any, Final, NamedTuple

import msgspec
import zstandard
from sqlalchemy import Connection, bindparam, func, select

from collector.core.figures import HOUR_MS, Hour
from collector.store import batch, log, schema
from collector.store.chunks import AHEAD_MS, SLOT_MS, Kept, unfold
from collector.store.store import Store
from telemetry.metrics import Value
from telemetry.records import Schema


class HistorySample(NamedTuple):
    """One sample. ``time_ms`` is UTC; ``values`` stand in the order of ``schema.columns``, ``None``: unknown."""

    time_ms: int
    agent: str
    run: str
    sequence: int
    late: bool
    schema: Schema
    values: Sequence[Value | None]


class HistoryEvent(NamedTuple):
    """One event: ``kind`` and ``body`` as in ``telemetry.records.Event``."""

    time_ms: int
    agent: str
    run: str
    sequence: int
    kind: str
    device: str
    body: dict[str, Any]


SINK: Final = "history"
"""The compactor's name in the table ``cursor``."""
_BATCHES_A_READ: Final = 100
_schema: Final = msgspec.json.Decoder(Schema)
_SCHEMAS: Final = select(schema.schema.c.agent, schema.schema.c.id, schema.schema.c.content).where(
    schema.schema.c.site == bindparam("s"), schema.schema.c.vehicle == bindparam("v")
)


def schemas_of(connection: Connection, site: str, vehicle: str) -> dict[tuple[str, str], bytes]:
    """Return the schemas of a vehicle by (agent, name), as they are stored: ``read_schema``, for one costs only itself.

    All at once, for whoever needs one needs the others: 1,000 questions of 200 vehicles were a third of what their
    first five minutes of history cost.
    """
    return {(agent, id): content for agent, id, content in connection.execute(_SCHEMAS, {"s": site, "v": vehicle})}


def read_schema(content: bytes) -> Schema:
    """Return a stored schema. Raises msgspec.DecodeError."""
    return _schema.decode(content)


def samples(store: Store, site: str, vehicle: str, from_ms: int, to_ms: int) -> list[HistorySample]:
    """Return a vehicle's samples of ``from_ms`` <= time < ``to_ms`` (UTC), in order of time."""
    with store.engine.connect() as connection:
        known = {name: read_schema(content) for name, content in schemas_of(connection, site, vehicle).items()}
    found = [
        HistorySample(time_ms, agent, record.run, record.sequence, record.lane == "backlog", plan, record.entry[1])
        for time_ms, agent, record in _placed(store, site, vehicle, from_ms, to_ms)
        if len(record.entry) == 2 and (plan := known.get((agent, record.entry[0]))) is not None
    ]
    return sorted(found, key=lambda sample: sample[:4])


def events(store: Store, site: str, vehicle: str, from_ms: int, to_ms: int) -> list[HistoryEvent]:
    """Return a vehicle's events of ``from_ms`` <= time < ``to_ms`` (UTC), in order of time."""
    found = [
        HistoryEvent(time_ms, agent, record.run, record.sequence, *record.entry)
        for time_ms, agent, record in _placed(store, site, vehicle, from_ms, to_ms)
        if len(record.entry) == 3
    ]
    return sorted(found, key=lambda event: event[:4])


def hours(store: Store, site: str, vehicle: str, from_ms: int, to_ms: int) -> dict[int, Hour]:
    """Return a vehicle's figures by the hour's beginning (UTC ms), for all hours that the span touches.

    An hour that is missing was not observed at all.
    """
    t = schema.hour.c
    query = (
        select(t.hour_ms, t.figures)
        .where(
            t.site == site, t.vehicle == vehicle, t.hour_ms >= from_ms // HOUR_MS * HOUR_MS, t.hour_ms < to_ms
        )
        .order_by(t.hour_ms)
    )  # fmt: skip
    with store.engine.connect() as connection:
        return {row.hour_ms: unpack_hour(row.figures) for row in connection.execute(query)}


class Extent(NamedTuple):
    """How much history a site has: chunks, their bytes, and the beginning of the oldest placed one (UTC ms)."""

    chunks: int
    bytes: int
    oldest_ms: int | None


def extent(store: Store, site: str) -> Extent:
    """Return how much history there is."""
    t = schema.chunk.c
    here = t.site == site
    query = select(
        select(func.count()).where(here).scalar_subquery(),
        select(func.coalesce(func.sum(func.length(t.content)), 0)).where(here).scalar_subquery(),
        select(func.min(t.slot_ms)).where(here, t.run == "").scalar_subquery(),
    )
    with store.engine.connect() as connection:
        row = connection.execute(query).one()
    return Extent(row[0], int(row[1]), row[2])


def unpack_hour(figures: bytes) -> Hour:
    """Return the figures of a row of ``hour``. Raises FiguresError."""
    return Hour.from_json(zstandard.decompress(figures))


def _placed(store: Store, site: str, vehicle: str, from_ms: int, to_ms: int) -> Iterator[tuple[int, str, Kept]]:
    """Yield (UTC ms, agent, record), each record once.

    The log first: what the compactor takes over meanwhile then stands in both, and not in neither.
    """
    seen: set[tuple[str, str, int]] = set()
    found = [*_not_compacted(store, site, vehicle, from_ms), *_compacted(store, site, vehicle, from_ms, to_ms)]
    for agent, record in found:
        time_ms, name = record.time_ms, (agent, record.run, record.sequence)
        if time_ms is not None and from_ms <= time_ms < to_ms and name not in seen:
            seen.add(name)
            yield time_ms, agent, record


def _not_compacted(store: Store, site: str, vehicle: str, from_ms: int) -> Iterator[tuple[str, Kept]]:
    position = log.position(store, site, SINK)
    while batches := log.read(store, site, position, _BATCHES_A_READ):
        position = batches[-1].number
        for one in batches:
            if one.received_ms + AHEAD_MS < from_ms:
                continue
            for group in one.groups:
                if group.vehicle != vehicle:
                    continue
                for record in unfold([group]):
                    time_ms = record.time_ms
                    if time_ms is not None and time_ms <= one.received_ms + AHEAD_MS:
                        yield group.agent, record


def _compacted(store: Store, site: str, vehicle: str, from_ms: int, to_ms: int) -> Iterator[tuple[str, Kept]]:
    t = schema.chunk.c
    query = select(t.agent, t.content).where(
        t.site == site, t.vehicle == vehicle, t.run == "", t.slot_ms > from_ms - SLOT_MS, t.slot_ms < to_ms
    )
    with store.engine.connect() as connection:
        for row in connection.execute(query):
            for record in unfold(batch.decode_groups(row.content)):
                yield row.agent, record
