"""The compactor: the log regrouped into chunks of an agent and ten minutes, and the figures of each hour.

It reads the log by its cursor, merges what it finds into the chunks and hours that are touched, and writes them with
the cursor in one transaction; between two looks it waits, so that a chunk is not rewritten for every moment. Merging is
idempotent a record. Late samples correct both, but a chunk that retention has dropped is not begun again.

A record of a run without clock, or from more than five minutes ahead, stands in a chunk of its run with the two times
between which it lies, and in no hour.
"""

from __future__ import annotations

import logging
import time
from collections import Counter
from collections.abc import Callable, Iterable, Sequence
from typing import Any, Final

import msgspec
from sqlalchemy import Connection, Select, Table, bindparam, select

from collector.core.figures import FigureColumns, Figures, Hour, interval_of
from collector.sinks.sink import Portion, Sink
from collector.store import batch, chunks, schema
from collector.store.batch import Batch, Group, Packed
from collector.store.chunks import AHEAD_MS, SLOT_MS, Piece
from collector.store.counters import count, insert_of
from collector.store.history import SINK, read_schema, schemas_of, unpack_hour
from collector.store.store import Store
from telemetry.fleet import Site, VehiclePlan

logger = logging.getLogger(__name__)

NAME: Final = SINK
EVERY_S: Final = 300.0
"""How long it waits between two looks at the log."""
HOURS_KEPT_DAYS: Final = 800
"""How long figures stand: a year's report, with the year before to compare (docs/retention.md)."""
DAY_MS: Final = 86_400_000


def _by_key(table: Table, *columns: str) -> Select[Any]:
    """Return what asks for these columns of a row, made once: to make it costs more than to ask."""
    return select(*(table.c[name] for name in columns)).where(*(c == bindparam(c.name) for c in table.primary_key))


_CHUNK: Final = _by_key(schema.chunk, "latest_ms", "content")
_HOUR: Final = _by_key(schema.hour, "figures")


class ChunkKey(msgspec.Struct, frozen=True):
    """Where a chunk stands. ``run`` is empty for records with a time; else ``slot_ms`` is of the run's own clock."""

    vehicle: str
    agent: str
    run: str
    slot_ms: int


class _Sorted(msgspec.Struct):
    """What some batches bring of one vehicle, sorted by where it goes."""

    chunks: dict[ChunkKey, list[Piece]] = msgspec.field(default_factory=dict)
    received_ms: dict[ChunkKey, int] = msgspec.field(default_factory=dict)
    figures: dict[str, list[tuple[str, Piece, int]]] = msgspec.field(default_factory=dict)
    """(agent, moment, UTC ms) by vehicle."""
    starts: dict[tuple[str, str, str], tuple[str, int]] = msgspec.field(default_factory=dict)
    """(run before, when we heard) by (vehicle, agent, run)."""
    repeated: int = 0
    """Records that stood in the log more than once: the intake has forgotten what it had seen."""


class _Rows(msgspec.Struct):
    """What one transaction writes."""

    chunk: list[dict[str, Any]] = msgspec.field(default_factory=list)
    hour: list[dict[str, Any]] = msgspec.field(default_factory=list)
    run_start: list[dict[str, Any]] = msgspec.field(default_factory=list)
    repeated: int = 0


class Compactor(Sink):
    """The compactor of one site. ``plan`` is what the fleet file says of it, ``days`` how long chunks are kept.

    ``every_s`` is how long it waits between two looks at the log: so far the hours may be behind. Readers of samples
    take what is not yet compacted from the log.
    """

    name = NAME
    sealed = True
    records_a_look = 30_000
    """Each look rewrites the chunks that it touches: large ones cost less, but this much memory and one transaction."""

    def __init__(
        self,
        store: Store,
        site: str,
        plan: Site,
        *,
        days: float = 7.0,
        every_s: float = EVERY_S,
        now_ms: Callable[[], int] = lambda: time.time_ns() // 1_000_000,
    ) -> None:
        self._counts: Counter[str] = Counter()
        self._store = store
        self._site = site
        self._plan = plan
        self._keep_ms = round(days * DAY_MS)
        self.every_s = every_s
        self._now_ms = now_ms
        self._columns_of: dict[tuple[str, str, str], FigureColumns] = {}
        """By vehicle, agent, schema."""
        self._alike: dict[tuple[bytes, float], FigureColumns] = {}
        """The same by schema and interval: vehicles are equipped alike."""
        self._stored: dict[str, dict[tuple[str, str], bytes]] = {}
        """Schemas of the vehicle whose turn it is, once they were asked for."""

    def prepare(self, batches: Sequence[Batch]) -> Portion:
        """Return the rows that these batches make with what is stored, to be written with the cursor."""
        by_vehicle: dict[str, Packed] = {}
        for one in batches:
            for vehicle, group in one.parts():
                by_vehicle.setdefault(vehicle, Packed()).add(group, one.received_ms)
        rows = _Rows()
        with self._store.engine.connect() as connection:
            for vehicle in list(by_vehicle):  # so that only one vehicle's records and schemas are in memory
                self._stored.clear()
                self._merge(connection, self._sort(by_vehicle.pop(vehicle).open()), rows)
        self._counts["chunks_written"] += len(rows.chunk)
        self._counts["hours_written"] += len(rows.hour)
        counts, self._counts = self._counts, Counter()
        return Portion(write=lambda connection: self._write(connection, rows), counts=counts)

    # --- what came --------------------------------------------------------------------------------------------------

    def _sort(self, found: Iterable[tuple[Group, int]]) -> _Sorted:
        """Sort what was received when (UTC ms)."""
        portion = _Sorted()
        now_ms = self._now_ms()
        for group, received_ms in found:
            for piece in chunks.pieces([group]):
                self._place(portion, group, piece, received_ms, now_ms)
        return portion

    def _place(self, portion: _Sorted, group: Group, piece: Piece, received_ms: int, now_ms: int) -> None:
        """Say where the records of a moment go."""
        counts, entries = self._counts, piece.moment.entries
        counts["records"] += len(entries)
        for entry in entries:
            if len(entry) == 3 and entry[0] == "started":
                before = str(entry[2].get("run_before") or "")
                portion.starts[group.vehicle, group.agent, piece.run] = (before, received_ms)
        time_ms = piece.time_ms
        if time_ms is None or time_ms > received_ms + AHEAD_MS:
            counts["without_time" if time_ms is None else "ahead"] += len(entries)
            key = ChunkKey(group.vehicle, group.agent, piece.run, piece.moment.mono_ms // SLOT_MS * SLOT_MS)
            portion.received_ms[key] = max(received_ms, portion.received_ms.get(key, 0))
            portion.chunks.setdefault(key, []).append(piece)
            return
        slot_ms = time_ms // SLOT_MS * SLOT_MS
        if slot_ms + SLOT_MS > now_ms - self._keep_ms:
            portion.chunks.setdefault(ChunkKey(group.vehicle, group.agent, "", slot_ms), []).append(piece)
        else:
            counts["figures_only"] += len(entries)
        if time_ms > now_ms - HOURS_KEPT_DAYS * DAY_MS:
            portion.figures.setdefault(group.vehicle, []).append((group.agent, piece, time_ms))

    # --- what is there ----------------------------------------------------------------------------------------------

    def _merge(self, connection: Connection, portion: _Sorted, rows: _Rows) -> None:
        """Add the rows to write: what is stored, with the portion in it."""
        for (vehicle, agent, run), (before, heard_ms) in portion.starts.items():
            rows.run_start.append(
                {"vehicle": vehicle, "agent": agent, "run": run, "before": before, "noted_ms": heard_ms}
            )
        for key, found in portion.chunks.items():
            rows.chunk.append(self._chunk(connection, key, found, portion))
        for vehicle, placed in portion.figures.items():
            rows.hour += self._hours(connection, vehicle, placed)
        rows.repeated += portion.repeated

    def _chunk(self, connection: Connection, key: ChunkKey, found: list[Piece], portion: _Sorted) -> dict[str, Any]:
        where = {"site": self._site, "vehicle": key.vehicle, "agent": key.agent, "run": key.run, "slot_ms": key.slot_ms}
        stored = connection.execute(_CHUNK, where).one_or_none()
        if stored is not None:
            found = [*chunks.pieces(batch.decode_groups(stored.content)), *found]
        groups = chunks.fold(key.vehicle, key.agent, found)
        records = sum(last - first + 1 for group in groups for first, last in group.pairs)
        portion.repeated += sum(len(piece.numbers) for piece in found) - records
        earliest_ms, latest_ms = key.slot_ms, key.slot_ms + SLOT_MS - 1
        if key.run:
            earliest_ms, latest_ms = self._bounds(connection, key, portion, stored.latest_ms if stored else 0)
        return {
            "vehicle": key.vehicle,
            "agent": key.agent,
            "run": key.run,
            "slot_ms": key.slot_ms,
            "earliest_ms": earliest_ms,
            "latest_ms": latest_ms,
            "records": records,
            "content": batch.encode(groups),
        }

    def _bounds(self, connection: Connection, key: ChunkKey, portion: _Sorted, before_ms: int) -> tuple[int, int]:
        start, run = schema.run_start.c, schema.run.c
        mine = (start.site == self._site) & (start.vehicle == key.vehicle) & (start.agent == key.agent)
        before = {row.run: row.before for row in connection.execute(select(start.run, start.before).where(mine))}
        for (vehicle, agent, name), (earlier, _) in portion.starts.items():
            if (vehicle, agent) == (key.vehicle, key.agent):
                before[name] = earlier
        query = select(run.run, run.first_ms, run.last_ms).where(
            run.site == self._site, run.vehicle == key.vehicle, run.agent == key.agent, run.first_ms.is_not(None)
        )
        times = {row.run: (row.first_ms, row.last_ms) for row in connection.execute(query)}
        received_ms = max(portion.received_ms[key], before_ms)
        earliest_ms, latest_ms = chunks.bounds(key.run, before, times, received_ms)
        return earliest_ms, received_ms if latest_ms is None else min(latest_ms, received_ms)

    def _hours(
        self, connection: Connection, vehicle: str, placed: list[tuple[str, Piece, int]]
    ) -> list[dict[str, Any]]:
        def load(hour_ms: int) -> Hour | None:
            found = connection.scalar(_HOUR, {"site": self._site, "vehicle": vehicle, "hour_ms": hour_ms})
            return None if found is None else unpack_hour(found)

        figures = Figures(load)
        for agent, piece, time_ms in placed:
            samples = []
            for number, entry in zip(piece.numbers, piece.moment.entries, strict=True):
                if len(entry) == 2:
                    columns = self._columns(connection, vehicle, agent, entry[0])
                    if columns is None:
                        self._counts["schema_unknown"] += 1
                    else:
                        samples.append((number, columns, entry[1]))
            if samples:
                figures.add(agent, piece.run, time_ms, samples)
        return [
            {
                "vehicle": vehicle,
                "hour_ms": hour_ms,
                "samples": hour.samples,
                "figures": batch.compress(hour.to_json()),
            }
            for hour_ms, hour in sorted(figures.hours.items())
        ]

    def _columns(self, connection: Connection, vehicle: str, agent: str, id: str) -> FigureColumns | None:
        key = (vehicle, agent, id)
        columns = self._columns_of.get(key)
        if columns is None:
            if vehicle not in self._stored:
                self._stored[vehicle] = schemas_of(connection, self._site, vehicle)
            content = self._stored[vehicle].get((agent, id))
            if content is None:
                return None
            known = read_schema(content)
            interval_s = interval_of(self._plan.vehicles.get(vehicle) or VehiclePlan(agents={}), agent, known)
            columns = self._alike.get((content, interval_s)) or FigureColumns(known, interval_s)
            self._columns_of[key] = self._alike[content, interval_s] = columns
        return columns

    # --- the database -----------------------------------------------------------------------------------------------

    def _write(self, connection: Connection, rows: _Rows) -> None:
        for table, written in ((schema.chunk, rows.chunk), (schema.hour, rows.hour)):
            _put(connection, table, self._site, written)
        _put(connection, schema.run_start, self._site, rows.run_start)
        if rows.repeated:
            logger.error("site %s: the log brought %d records twice", self._site, rows.repeated)
            count(connection, self._site, "history_repeated", rows.repeated)


def _put(connection: Connection, table: Any, site: str, rows: list[dict[str, Any]]) -> None:
    """Write rows; one that is there is replaced."""
    if not rows:
        return
    statement = insert_of(connection)(table)
    rest = {c.name: statement.excluded[c.name] for c in table.columns if not c.primary_key}
    key = [c.name for c in table.primary_key]
    statement = statement.on_conflict_do_update(index_elements=key, set_=rest)
    connection.execute(statement, [{"site": site, **row} for row in rows])
