"""The drain that learns places from the log: where contact is kept and lost, where kits are switched off.

It reads what was committed by its cursor, as every sink does, merges what that shows into the tables ``gap`` and
``journey`` in the transaction that moves the cursor, and offers what judging is to go by to the site's owner as an
edition: at most one an hour of each kind, and only where it says something new (docs/coverage.md).
"""

from __future__ import annotations

import datetime
import logging
import time
import zoneinfo
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any, Final

import msgspec
from sqlalchemy import Connection, select

from collector.core import gap_record, journeys
from collector.core.gap_record import GapRecord
from collector.core.journeys import Finding, Journey
from collector.core.places import Cell
from collector.core.vehicle.events import Left
from collector.sinks.sink import Portion, Sink
from collector.site.handover import Handover
from collector.site.in_force import GAPS, digest
from collector.store import chunks, places, schema
from collector.store.batch import Batch, Group, Stepped
from collector.store.chunks import AHEAD_MS, Piece
from collector.store.store import Store
from telemetry.fleet import Site
from telemetry.records import Schema

logger = logging.getLogger(__name__)

NAME: Final = "places"
MOST_RUNS: Final = 10_000
"""Of which the boot is remembered."""
EDITION_MS: Final = 3_600_000
"""No more than one edition of a kind in this time."""


class Layout(msgspec.Struct, frozen=True):
    """Where a schema's columns of interest stand."""

    fix: tuple[int, int] | None = None
    """Latitude and longitude."""

    @classmethod
    def of(cls, known: Schema) -> Layout:
        """Return that of a schema."""
        index = {column.metric: number for number, column in enumerate(known.columns)}
        latitude, longitude = index.get("gnss.latitude"), index.get("gnss.longitude")
        return cls(None if latitude is None or longitude is None else (latitude, longitude))


@dataclass(slots=True)
class _Learnt:
    """What one portion changes."""

    journeys: dict[str, Journey] = field(default_factory=dict)
    found: list[tuple[str, Finding]] = field(default_factory=list)
    gaps: dict[Cell, GapRecord] = field(default_factory=dict)


class Places(Sink):
    """The drain of one site. ``plan`` is what the fleet file says of it; ``handover`` takes its editions.

    ``every_s`` is how long it waits between two looks at the log.
    """

    name = NAME
    records_a_look = 30_000

    def __init__(
        self,
        store: Store,
        site: str,
        plan: Site,
        handover: Handover,
        *,
        every_s: float = 300.0,
        now_ms: Callable[[], int] = lambda: time.time_ns() // 1_000_000,
    ) -> None:
        self._store = store
        self._site = site
        self._plan = plan
        self._handover = handover
        self.every_s = every_s
        self._now_ms = now_ms
        self._zone = zoneinfo.ZoneInfo(plan.time_zone)
        self._layouts: dict[tuple[str, str, str], Layout | None] = {}
        self._boots: dict[tuple[str, str, str], str] = {}
        self._paces = {name: _pace_ms(plan, name) for name in plan.vehicles}

    def prepare(self, batches: Sequence[Batch]) -> Portion:
        """Return what these batches show, to be written with the cursor."""
        learnt = _Learnt()
        counts: Counter[str] = Counter()
        with self._store.engine.connect() as connection:
            vehicles = {entry.vehicle for one in batches for entry in one.entries if isinstance(entry, Group | Stepped)}
            learnt.journeys = places.journeys(connection, self._site, vehicles)
            for one in batches:
                for entry in one.entries:
                    if isinstance(entry, Group):
                        self._take(connection, learnt, one, entry)
                    elif isinstance(entry, Stepped) and isinstance(entry.event, Left):
                        journeys.goodbye(learnt.journeys[entry.vehicle])
            self._settle(connection, learnt, batches[-1].now_ms)
            self._merge(connection, learnt, batches[-1].now_ms)
        for _, finding in learnt.found:
            counts[type(finding).__name__.lower()] += 1
        return Portion(write=lambda connection: self._write(connection, learnt), counts=counts)

    # --- contact ------------------------------------------------------------------------------------------------------

    def _take(self, connection: Connection, learnt: _Learnt, one: Batch, group: Group) -> None:
        journey = learnt.journeys[group.vehicle]
        timed = [
            (time_ms, piece)
            for piece in chunks.pieces([group])
            if (time_ms := piece.time_ms) is not None and time_ms <= one.received_ms + AHEAD_MS
        ]
        if not timed:
            return
        if group.lane == "backlog":
            journeys.backlog(journey, (time_ms for time_ms, _ in timed), one.now_ms)
            return
        fixes = [
            (time_ms, *fix)
            for time_ms, piece in timed
            if (fix := self._fix(connection, group, piece)) is not None
        ]  # fmt: skip
        times = [time_ms for time_ms, _ in timed]
        found = journeys.live(
            journey,
            group.agent,
            self._boot(connection, group),
            one.received_ms,
            (min(times), max(times)),
            fixes,
            one.heading.listening_since_ms,
            self._paces.get(group.vehicle, 0),
        )
        learnt.found += [(group.vehicle, finding) for finding in found]

    def _fix(self, connection: Connection, group: Group, piece: Piece) -> tuple[float, float] | None:
        for entry in piece.moment.entries:
            if len(entry) != 2:
                continue
            layout = self._layout(connection, group.vehicle, group.agent, entry[0])
            if layout is not None and layout.fix is not None:
                latitude, longitude = (entry[1][place] for place in layout.fix)
                if latitude is not None and longitude is not None:
                    return latitude, longitude
        return None

    def _settle(self, connection: Connection, learnt: _Learnt, now_ms: int) -> None:
        for vehicle, journey in learnt.journeys.items():
            if not journey.waiting:
                continue
            spans = places.spans(connection, self._site, vehicle)

            def explained(from_ms: int, to_ms: int, spans: list[places.Span] = spans) -> bool:
                return any(
                    one.from_ms < to_ms and (one.to_ms is None or one.to_ms > from_ms) for one in spans
                )  # fmt: skip

            learnt.found += [(vehicle, finding) for finding in journeys.settle(journey, now_ms, explained)]

    def _merge(self, connection: Connection, learnt: _Learnt, now_ms: int) -> None:
        cells = {finding.cell for _, finding in learnt.found}
        learnt.gaps = places.gap_records(connection, self._site, cells)
        offset_ms = self._utc_offset_ms(now_ms)
        for vehicle, finding in learnt.found:
            learnt.gaps.setdefault(finding.cell, GapRecord()).add(finding, vehicle, offset_ms)

    def _utc_offset_ms(self, now_ms: int) -> int:
        offset = datetime.datetime.fromtimestamp(now_ms / 1000, self._zone).utcoffset()
        return 0 if offset is None else round(offset.total_seconds() * 1000)

    # --- the database -------------------------------------------------------------------------------------------------

    def _write(self, connection: Connection, learnt: _Learnt) -> None:
        site = self._site
        places.put(
            connection, schema.journey, site,
            [{"vehicle": name, "content": msgspec.json.encode(one)} for name, one in learnt.journeys.items()],
        )  # fmt: skip
        places.put(connection, schema.gap, site, [record.row(cell) for cell, record in learnt.gaps.items()])
        self._offer(connection)

    def _offer(self, connection: Connection) -> None:
        """Offer the next edition, if the last one is an hour old and says otherwise."""
        now_ms = self._now_ms()
        at_ms, known, _ = places.edition_of(connection, self._site, GAPS)
        if 0 <= now_ms - at_ms < EDITION_MS:
            return
        gaps = gap_record.edition(places.telling_gaps(connection, self._site), now_ms)
        content = gaps.to_json()
        if digest(content) != known and (known or gaps.kept or gaps.lost or gaps.boots):
            self._handover.offer(GAPS, content)

    def _layout(self, connection: Connection, vehicle: str, agent: str, id: str) -> Layout | None:
        """Return where a schema's columns stand; ``None`` for one that tells nothing of interest."""
        key = (vehicle, agent, id)
        if key not in self._layouts:
            t = schema.schema.c
            query = select(t.content).where(
                t.site == self._site, t.vehicle == vehicle, t.agent == agent, t.id == id
            )  # fmt: skip
            found = connection.scalar(query)
            if found is None:
                return None
            layout = Layout.of(msgspec.json.decode(found, type=Schema))
            self._layouts[key] = None if layout == Layout() else layout
        return self._layouts[key]

    def _boot(self, connection: Connection, group: Group) -> str:
        key = (group.vehicle, group.agent, group.run)
        known = self._boots.get(key)
        if not known:
            if len(self._boots) >= MOST_RUNS:
                self._boots.clear()
            known = self._boots[key] = places.boot_of(connection, self._site, *key)
        return known


def _pace_ms(plan: Site, vehicle: str) -> int:
    """Return how often the vehicle's devices are read at least, and its agents send."""
    found: list[Any] = [
        config.interval for _, _, device in plan.vehicles[vehicle].devices() for _, config in device.configured()
    ]
    sending = max((agent.send_interval for agent in plan.vehicles[vehicle].agents.values()), default=0.0)
    return round(1000 * (min(found, default=0) + sending))
