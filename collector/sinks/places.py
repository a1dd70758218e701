"""The drain that learns places from the log: contact kept and lost, kits switched off, what each vehicle has there.

It reads what was committed by its cursor, as every sink does, merges what that shows into ``gap``, ``coverage`` and
``journey`` in the transaction that moves the cursor, and offers what judging is to go by to the site's owner as an
edition: at most one an hour of each kind, and only where it says something new (docs/coverage.md).
"""

from __future__ import annotations

import datetime
import logging
import time
import zoneinfo
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from typing import Any, Final

import msgspec
from sqlalchemy import Connection

from collector.core import coverage_record, gap_record, journeys, signals
from collector.core.coverage import LINK, SERVICE, SIGNAL, Coverage
from collector.core.coverage_record import CoverageRecord, Key
from collector.core.gap_record import GapRecord
from collector.core.journeys import Finding, Journey, Signal
from collector.core.places import Cell, cell_of, coarse_of
from collector.core.vehicle.events import Left
from collector.sinks.sink import Portion, Sink
from collector.site.handover import Handover
from collector.site.in_force import COVERAGE, GAPS, digest
from collector.store import chunks, editions, places, schema
from collector.store.batch import Batch, Group, Stepped
from collector.store.chunks import Piece, most_ahead_ms
from collector.store.history import read_schema, schemas_of
from collector.store.store import Store
from telemetry.fleet import Site
from telemetry.records import Schema

logger = logging.getLogger(__name__)

NAME: Final = "places"
EVERY_S: Final = 300.0
"""How long it waits between two looks at the log."""
MOST_RUNS: Final = 10_000
"""Of which the boot is remembered."""
EDITION_MS: Final = 3_600_000
"""No more than one edition of a kind in this time."""
BYTES_AN_HOUR: Final = 131_072
"""Large ones are made so much less often: what is kept of them for as long as the log stays small."""
FIX_MS: Final = 15_000
"""An older fix does not say where a signal was."""


class Layout(msgspec.Struct, frozen=True):
    """Where a schema's columns of interest stand."""

    fix: tuple[int, int] | None = None
    """Latitude and longitude."""
    legs: tuple[tuple[str, int, int | None, int | None, int | None], ...] = ()
    """(leg, RSRP, RSRQ, SINR, cell identity)."""
    service: tuple[int | None, int | None] = (None, None)
    """Technology and registration."""
    link: tuple[tuple[int, ...], tuple[int, ...]] = ((), ())
    """Loss and round trip of each target."""

    @classmethod
    def of(cls, known: Schema) -> Layout:
        """Return that of a schema."""
        index = {column.key(): number for number, column in enumerate(known.columns)}
        first: dict[str, int] = {}
        every: dict[str, list[int]] = {}
        for number, column in enumerate(known.columns):
            first.setdefault(column.metric, number)
            every.setdefault(column.metric, []).append(number)
        latitude, longitude = first.get("gnss.latitude"), first.get("gnss.longitude")
        legs: dict[str, tuple[str, int, int | None, int | None, int | None]] = {}
        for (metric, labels), number in index.items():
            if metric == "modem.rsrp_dbm":  # of several modems the first one of each leg
                leg = dict(labels).get("leg", "lte")
                beside = [index.get((name, labels)) for name in ("modem.rsrq_db", "modem.sinr_db", "modem.cell_id")]
                legs.setdefault(leg, (leg, number, *beside))  # type: ignore[arg-type]
        return cls(
            None if latitude is None or longitude is None else (latitude, longitude),
            tuple(legs.values()),
            (first.get("modem.technology"), first.get("modem.registration")),
            (tuple(every.get("link.loss_percent", ())), tuple(every.get("link.rtt_ms", ()))),
        )

    def signals(self, values: Sequence[Any]) -> Iterator[tuple[str, str, dict[str, int]]]:
        """Yield (leg, radio cell, values by name) of what a sample tells."""
        for leg, power, *beside, cell in self.legs:
            if values[power] is not None:
                pairs = zip(SIGNAL, (power, *beside), strict=True)
                found = {
                    name: round(values[place])
                    for name, place in pairs
                    if place is not None and values[place] is not None
                }
                yield leg, "" if cell is None or values[cell] is None else str(values[cell]), found
        technology, registration = (None if place is None else values[place] for place in self.service)
        found = {}
        if technology not in (None, "none"):
            found["nr"] = 100 if str(technology).startswith("5g") else 0
        if registration in ("home", "roaming"):
            found["home"] = 100 if registration == "home" else 0
        if found:
            yield SERVICE, "", found
        losses, trips = ([values[place] for place in places if values[place] is not None] for places in self.link)
        found = {}
        if losses:
            found["loss"] = round(min(losses))
        if trips:
            found["rtt"] = round(min(trips), -1)
        if found:
            yield LINK, "", {name: int(value) for name, value in found.items()}


class _Learnt(msgspec.Struct):
    """What one portion changes."""

    journeys: dict[str, Journey] = msgspec.field(default_factory=dict)
    found: list[tuple[str, Finding]] = msgspec.field(default_factory=list)
    gaps: dict[Cell, GapRecord] = msgspec.field(default_factory=dict)
    taught: list[tuple[str, Signal]] = msgspec.field(default_factory=list)
    coverage: dict[Key, CoverageRecord] = msgspec.field(default_factory=dict)
    counts: Counter[str] = msgspec.field(default_factory=Counter)


class Places(Sink):
    """The drain of one site. ``plan`` is what the fleet file says of it; ``handover`` takes its editions.

    ``every_s`` is how long it waits between two looks at the log.
    """

    name = NAME
    sealed = True
    records_a_look = 30_000

    def __init__(
        self,
        store: Store,
        site: str,
        plan: Site,
        handover: Handover,
        *,
        every_s: float = EVERY_S,
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
        self._stored: dict[str, dict[tuple[str, str], bytes]] = {}
        """Schemas of vehicles that were asked for in this look."""
        self._known, self._coverage = "", Coverage()
        self._made_ms = 0
        """When an edition of coverage was last made, whatever became of it."""
        self._boots: dict[tuple[str, str, str], str] = {}
        self._paces = {name: _pace_ms(plan, name) for name in plan.vehicles}

    def prepare(self, batches: Sequence[Batch]) -> Portion:
        """Return what these batches show, to be written with the cursor."""
        learnt = _Learnt()
        self._stored.clear()
        self._boots = {run: boot for run, boot in self._boots.items() if boot}  # who is unknown is asked for again
        with self._store.engine.connect() as connection:
            for one in map(Batch.opened, batches):  # so that only one batch is decoded at a time
                vehicles = {entry.vehicle for entry in one.entries if isinstance(entry, Group | Stepped)}
                learnt.journeys |= places.journeys(connection, self._site, vehicles - learnt.journeys.keys())
                for entry in one.entries:
                    if isinstance(entry, Group):
                        self._take(connection, learnt, one, entry)
                    elif isinstance(entry, Stepped) and isinstance(entry.event, Left):
                        journeys.goodbye(learnt.journeys[entry.vehicle])
            self._settle(connection, learnt, batches[-1].now_ms)
            self._merge(connection, learnt, batches[-1].now_ms)
            self._offer_coverage(connection)
        self._stored.clear()
        learnt.counts.update(type(finding).__name__.lower() for _, finding in learnt.found)
        return Portion(write=lambda connection: self._write(connection, learnt), counts=learnt.counts)

    # --- contact ------------------------------------------------------------------------------------------------------

    def _take(self, connection: Connection, learnt: _Learnt, one: Batch, group: Group) -> None:
        journey = learnt.journeys[group.vehicle]
        timed = [
            (time_ms, piece)
            for piece in chunks.pieces([group])
            if piece.clock is not None
            and (time_ms := piece.clock.place(piece.moment.mono_ms)) <= one.received_ms + most_ahead_ms(piece.clock)
        ]
        if not timed:
            return
        self._hear(connection, journey, group, timed)
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

    def _hear(self, connection: Connection, journey: Journey, group: Group, timed: list[tuple[int, Piece]]) -> None:
        """Hold the signals of records that are known to be from a place."""
        cell, fix_ms = (journey.place, journey.fix_ms) if group.lane == "live" else (None, 0)
        for time_ms, piece in timed:
            fix = self._fix(connection, group, piece)
            if fix is not None:
                cell, fix_ms = cell_of(*fix), time_ms
            if cell is None or not 0 <= time_ms - fix_ms <= FIX_MS:
                continue
            for entry in piece.moment.entries:
                if len(entry) == 2:
                    layout = self._layout(connection, group.vehicle, group.agent, entry[0])
                    for leg, radio_cell, values in layout.signals(entry[1]) if layout is not None else ():
                        signals.take(journey, Signal(time_ms, cell, leg, radio_cell, values))

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
            if journey.held:
                spans = places.spans(connection, self._site, vehicle, signals.SPOILS)
                taught, refused = signals.teach(journey, vehicle, self._usual(connection), spans)
                learnt.taught += [(vehicle, signal) for signal in taught]
                learnt.counts["signals"] += len(taught)
                learnt.counts["signals_of_bad_antennas"] += refused
            if not journey.waiting:
                continue
            spans = places.spans(connection, self._site, vehicle)

            def explained(from_ms: int, to_ms: int, spans: list[places.Span] = spans) -> bool:
                return any(journeys.explains(*one, from_ms, to_ms) for one in spans)

            learnt.found += [(vehicle, finding) for finding in journeys.settle(journey, now_ms, explained)]

    def _merge(self, connection: Connection, learnt: _Learnt, now_ms: int) -> None:
        cells = {finding.cell for _, finding in learnt.found}
        learnt.gaps = places.gap_records(connection, self._site, cells)
        offset_ms = self._utc_offset_ms(now_ms)
        for vehicle, finding in learnt.found:
            learnt.gaps.setdefault(finding.cell, GapRecord()).add(finding, vehicle, offset_ms)
        self._merge_coverage(connection, learnt, offset_ms)

    def _merge_coverage(self, connection: Connection, learnt: _Learnt, offset_ms: int) -> None:
        """Take what was taught into the records of the cell and of the coarse one around it."""
        cells = {cell for _, one in learnt.taught for cell in (one.cell, coarse_of(one.cell))}
        known = places.coverage_records(connection, self._site, cells, {vehicle for vehicle, _ in learnt.taught})
        for vehicle, one in learnt.taught:
            for cell, radio_cell in ((one.cell, one.radio_cell), (coarse_of(one.cell), "")):
                key = known.key(cell, one.leg, vehicle, radio_cell)
                if key is None:
                    learnt.counts["signals_of_enough_others"] += 1
                    continue
                learnt.coverage[key] = record = known.records.setdefault(key, CoverageRecord())
                record.add(one.values, one.time_ms, offset_ms)

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
        places.put(connection, schema.coverage, site, [record.row(key) for key, record in learnt.coverage.items()])
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

    def _offer_coverage(self, connection: Connection) -> None:
        """Offer the next edition of coverage, of what is committed: reading it all must not hold up a commit."""
        now_ms = self._now_ms()
        at_ms, known, size = places.edition_of(connection, self._site, COVERAGE)
        least_ms = max(EDITION_MS, EDITION_MS * size // BYTES_AN_HOUR)
        if 0 <= now_ms - max(at_ms, self._made_ms) < least_ms:
            return
        self._made_ms = now_ms
        made = coverage_record.edition(places.all_coverage(connection, self._site))
        content = made.to_json()
        if digest(content) != known and (known or made):
            self._handover.offer(COVERAGE, content)

    def _usual(self, connection: Connection) -> Coverage:
        """Return what judging goes by: the last edition."""
        _, known, _ = places.edition_of(connection, self._site, COVERAGE)
        if known and self._known != known:
            content = editions.latest_of(self._store, self._site, COVERAGE)
            self._known, self._coverage = known, Coverage() if content is None else Coverage.from_json(content)
        return self._coverage

    def _layout(self, connection: Connection, vehicle: str, agent: str, id: str) -> Layout | None:
        """Return where a schema's columns stand; ``None`` for one that tells nothing of interest."""
        key = (vehicle, agent, id)
        if key not in self._layouts:
            if vehicle not in self._stored:
                self._stored[vehicle] = schemas_of(connection, self._site, vehicle)
            content = self._stored[vehicle].get((agent, id))
            if content is None:
                return None
            layout = Layout.of(read_schema(content))
            self._layouts[key] = None if layout == Layout() else layout
        return self._layouts[key]

    def _boot(self, connection: Connection, group: Group) -> str:
        key = (group.vehicle, group.agent, group.run)
        known = self._boots.get(key)
        if known is None:
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
