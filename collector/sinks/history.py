"""The compactor: the log regrouped into chunks of an agent and ten minutes, and the figures of each hour (DESIGN 3).

It reads the log by its cursor, merges what it finds into the chunks and hours that are touched, and writes them with
the cursor in one transaction; between two looks it waits, so that a chunk is not rewritten for every moment. Merging is
idempotent a record. Late samples correct both, but a chunk that retention has dropped is not begun again.

A record of a run without clock, or from more than five minutes ahead, stands in a chunk of its run with the two times
between which it lies, and in no hour.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import time
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from typing import Any, Final

import msgspec
import zstandard
from sqlalchemy import Connection, select

from collector.core.figures import FigurePlan, Figures, Hour, interval_of
from collector.outgoing import Progress
from collector.store import batch, chunks, log, schema
from collector.store.batch import Batch, Group
from collector.store.chunks import AHEAD_MS, SLOT_MS, Piece
from collector.store.counters import count, insert_of
from collector.store.history import SINK, unpack_hour
from collector.store.store import Store
from telemetry.fleet import Site, VehiclePlan
from telemetry.records import Schema

logger = logging.getLogger(__name__)

NAME: Final = SINK
BATCHES_A_READ: Final = 100
RECORDS_A_STEP: Final = 30_000
"""Each step rewrites the chunks that it touches: large steps cost less, but this much memory and one transaction."""
HOURS_KEPT_DAYS: Final = 800
"""How long figures stand: a year's report, with the year before to compare (docs/retention.md)."""
DAY_MS: Final = 86_400_000


@dataclass(frozen=True, slots=True)
class ChunkKey:
    """Where a chunk stands. ``run`` is empty for records with a time; else ``slot_ms`` is of the run's own clock."""

    vehicle: str
    agent: str
    run: str
    slot_ms: int


@dataclass(slots=True)
class _Portion:
    """What some batches bring, sorted by where it goes."""

    chunks: dict[ChunkKey, list[Piece]] = field(default_factory=dict)
    received_ms: dict[ChunkKey, int] = field(default_factory=dict)
    figures: dict[str, list[tuple[str, Piece, int]]] = field(default_factory=dict)
    """(agent, moment, UTC ms) by vehicle."""
    starts: dict[tuple[str, str, str], tuple[str, int]] = field(default_factory=dict)
    """(run before, when we heard) by (vehicle, agent, run)."""
    repeated: int = 0
    """Records that stood in the log more than once: the intake has forgotten what it had seen."""


@dataclass(slots=True)
class _Rows:
    """What one transaction writes."""

    chunk: list[dict[str, Any]] = field(default_factory=list)
    hour: list[dict[str, Any]] = field(default_factory=list)
    run_start: list[dict[str, Any]] = field(default_factory=list)
    repeated: int = 0


class Compactor:
    """The compactor of one site. ``plan`` is what the fleet file says of it, ``days`` how long chunks are kept.

    ``every_s`` is how long it waits between two looks at the log: so far the hours may be behind. Readers of samples
    take what is not yet compacted from the log.
    """

    def __init__(
        self,
        store: Store,
        site: str,
        plan: Site,
        *,
        days: float = 7.0,
        every_s: float = 300.0,
        now_ms: Callable[[], int] = lambda: time.time_ns() // 1_000_000,
    ) -> None:
        self.status = Progress()
        self._store = store
        self._site = site
        self._plan = plan
        self._keep_ms = round(days * DAY_MS)
        self._every_s = every_s
        self._now_ms = now_ms
        self._schemas: dict[tuple[str, str, str], FigurePlan] = {}

    async def run(self, stop: asyncio.Event) -> None:
        """Compact until ``stop`` is set. Raises what the database raises: the caller begins anew."""
        self.status.position = await asyncio.to_thread(self._begin)
        while not stop.is_set():
            if not await asyncio.to_thread(self.step):
                with contextlib.suppress(TimeoutError):
                    await asyncio.wait_for(stop.wait(), self._every_s)

    def step(self) -> bool:
        """Compact the next batches; return whether there were any. Blocking."""
        position = self.status.position
        batches = self._read(position)
        if not batches:
            return False
        gap = batches[-1].number - position - len(batches)
        if gap and position:
            self.status.counts["gap_batches"] += gap
            logger.error("site %s: %d batches were given up before history had them", self._site, gap)
        portion = self._sort(batches)
        with self._store.engine.connect() as connection:
            rows = self._merge(connection, portion)
        if self._write(rows, position, batches[-1].number):
            self.status.position = batches[-1].number
            self.status.counts["batches"] += len(batches)
            self.status.counts["chunks_written"] += len(rows.chunk)
            self.status.counts["hours_written"] += len(rows.hour)
        else:  # somebody else has taken over, or has given the site back to us
            self.status.position = self._begin()
        return True

    def _read(self, position: int) -> list[Batch]:
        """Return what follows in the log, as much as is good for one transaction."""
        found: list[Batch] = []
        records = 0
        while records < RECORDS_A_STEP:
            more = log.read(self._store, self._site, found[-1].number if found else position, BATCHES_A_READ)
            found += more
            records += sum(last - first + 1 for one in more for group in one.groups for first, last in group.pairs)
            if len(more) < BATCHES_A_READ:
                break
        return found

    # --- what came --------------------------------------------------------------------------------------------------

    def _sort(self, batches: Iterable[Batch]) -> _Portion:
        portion = _Portion()
        now_ms = self._now_ms()
        for one in batches:
            for group in one.groups:
                for piece in chunks.pieces([group]):
                    self._place(portion, group, piece, one.received_ms, now_ms)
        return portion

    def _place(self, portion: _Portion, group: Group, piece: Piece, received_ms: int, now_ms: int) -> None:
        """Say where the records of a moment go."""
        counts, entries = self.status.counts, piece.moment.entries
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

    def _merge(self, connection: Connection, portion: _Portion) -> _Rows:
        """Return the rows to write: what is stored, with the portion in it."""
        rows = _Rows()
        for (vehicle, agent, run), (before, heard_ms) in portion.starts.items():
            rows.run_start.append(
                {"vehicle": vehicle, "agent": agent, "run": run, "before": before, "noted_ms": heard_ms}
            )
        for key, found in portion.chunks.items():
            rows.chunk.append(self._chunk(connection, key, found, portion))
        for vehicle, placed in portion.figures.items():
            rows.hour += self._hours(connection, vehicle, placed)
        rows.repeated = portion.repeated
        return rows

    def _chunk(self, connection: Connection, key: ChunkKey, found: list[Piece], portion: _Portion) -> dict[str, Any]:
        t = schema.chunk.c
        stored = connection.execute(
            select(t.latest_ms, t.content).where(
                t.site == self._site,
                t.vehicle == key.vehicle,
                t.run == key.run,
                t.slot_ms == key.slot_ms,
                t.agent == key.agent,
            )
        ).one_or_none()
        if stored is not None:
            found = [*chunks.pieces(batch.decode(stored.content)), *found]
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

    def _bounds(self, connection: Connection, key: ChunkKey, portion: _Portion, before_ms: int) -> tuple[int, int]:
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
        t = schema.hour.c

        def load(hour_ms: int) -> Hour | None:
            query = select(t.figures).where(t.site == self._site, t.vehicle == vehicle, t.hour_ms == hour_ms)
            found = connection.scalar(query)
            return None if found is None else unpack_hour(found)

        figures = Figures(load)
        for agent, piece, time_ms in placed:
            samples = []
            for number, entry in zip(piece.numbers, piece.moment.entries, strict=True):
                if len(entry) == 2:
                    plan = self._figures(connection, vehicle, agent, entry[0])
                    if plan is None:
                        self.status.counts["schema_unknown"] += 1
                    else:
                        samples.append((number, plan, entry[1]))
            if samples:
                figures.add(agent, piece.run, time_ms, samples)
        return [
            {
                "vehicle": vehicle,
                "hour_ms": hour_ms,
                "samples": hour.samples,
                "figures": zstandard.compress(hour.to_json()),
            }
            for hour_ms, hour in sorted(figures.hours.items())
        ]

    def _figures(self, connection: Connection, vehicle: str, agent: str, id: str) -> FigurePlan | None:
        key = (vehicle, agent, id)
        plan = self._schemas.get(key)
        if plan is None:
            t = schema.schema.c
            query = select(t.content).where(
                t.site == self._site, t.vehicle == vehicle, t.agent == agent, t.id == id
            )  # fmt: skip
            found = connection.scalar(query)
            if found is None:
                return None
            known = msgspec.json.decode(found, type=Schema)
            fleet = self._plan.vehicles.get(vehicle) or VehiclePlan(agents={})
            plan = self._schemas[key] = FigurePlan(known, interval_of(fleet, agent, known))
        return plan

    # --- the database -----------------------------------------------------------------------------------------------

    def _begin(self) -> int:
        """Return where the cursor stands. Its row is made first, so that ``_write`` has one to lock."""
        row = {"site": self._site, "sink": NAME, "number": 0}
        with self._store.transaction() as connection:
            connection.execute(insert_of(connection)(schema.cursor).values(row).on_conflict_do_nothing())
        return log.position(self._store, self._site, NAME)

    def _write(self, rows: _Rows, position: int, number: int) -> bool:
        """Write everything and move the cursor, unless it was moved since the rows were read: then change nothing."""
        cursor = schema.cursor.c
        with self._store.transaction() as connection:
            query = select(cursor.number).where(cursor.site == self._site, cursor.sink == NAME)
            if connection.scalar(query.with_for_update()) != position:
                return False
            for table, written in ((schema.chunk, rows.chunk), (schema.hour, rows.hour)):
                _put(connection, table, self._site, written)
            _put(connection, schema.run_start, self._site, rows.run_start)
            if rows.repeated:
                logger.error("site %s: the log brought %d records twice", self._site, rows.repeated)
                count(connection, self._site, "history_repeated", rows.repeated)
            log.advance(connection, self._site, NAME, number)
        return True


def _put(connection: Connection, table: Any, site: str, rows: list[dict[str, Any]]) -> None:
    """Write rows; one that is there is replaced."""
    if not rows:
        return
    statement = insert_of(connection)(table)
    rest = {c.name: statement.excluded[c.name] for c in table.columns if not c.primary_key}
    key = [c.name for c in table.primary_key]
    statement = statement.on_conflict_do_update(index_elements=key, set_=rest)
    connection.execute(statement, [{"site": site, **row} for row in rows])
