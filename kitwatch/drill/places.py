"""What a drill's centre knows of places: what it has learnt before, and what it learns from its own log meanwhile.

The same as the drain of ``collector.sinks.places`` without a database: the pure parts are the product's own.
"""

from __future__ import annotations

import datetime
import math
import zoneinfo
from collections import defaultdict
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from typing import Any, Final

from collector.core import gap_record, journeys
from collector.core.contact_gaps import KEPT_DAYS, KEPT_PASSES, ContactGaps
from collector.core.coverage import LINK, SERVICE, Coverage, Usual
from collector.core.gap_record import GapRecord
from collector.core.journeys import Finding, Journey
from collector.core.places import Cell, cell_of, coarse_of
from collector.core.vehicle.events import Left
from collector.sinks.places import EDITION_MS
from collector.store import batch as log
from collector.store.chunks import most_ahead_ms
from collector.store.rows import Changes
from kitwatch.drill.scenario import Drill, milliseconds
from simulator.life.body import LEG_DB
from simulator.life.world import FADING_M, Map, Point, Radio, degrees, fading_db
from telemetry.records import Schema

_DAY_MS: Final = 86_400_000
_STEP_M: Final = 100.0
_PASSES: Final = {"passes": 20, "days": 10, "lost": 0}
"""Of a road with contact, where the scenario says nothing."""


class Places:
    """See the module. ``spans`` gives (from, to) of problems of a vehicle and of the site, by fault."""

    def __init__(self, drill: Drill, spans: Callable[[str], Iterable[tuple[str, int, int | None]]]) -> None:
        self._drill = drill
        self._spans = spans
        self._zone = zoneinfo.ZoneInfo("Asia/Shanghai")
        self._records: dict[Cell, GapRecord] = {}
        self._journeys: defaultdict[str, Journey] = defaultdict(Journey)
        self._boots: dict[tuple[str, str, str], str] = {}
        self._fixes: dict[tuple[str, str], dict[str, tuple[int, int]]] = {}
        """By (vehicle, agent) and schema: where latitude and longitude stand."""
        self._found: list[tuple[str, Finding]] = []
        """What was found and is not learnt yet."""
        self._now_ms = drill.begins_ms
        self._pace_ms = 1000 * drill.combination.poll_s + drill.lives.interval_ms
        self._told = b""
        self._next_ms = drill.begins_ms + EDITION_MS
        self._remember(drill.scenario.world.record, drill.lives.map, drill.begins_ms)

    def edition(self, now_ms: int) -> bytes | None:
        """Return what judging is to go by from now on, ``None`` if that is nothing new."""
        gaps = gap_record.edition(self._records.items(), now_ms)
        content = gaps.to_json()
        if content == self._told or (not self._told and gaps == ContactGaps()):
            return None
        self._told = content
        return content

    def due(self, now_ms: int) -> bool:
        """Say whether an hour has passed since this was asked last."""
        if now_ms < self._next_ms:
            return False
        self._next_ms = now_ms + EDITION_MS
        return True

    # --- what was learnt before ---------------------------------------------------------------------------------------

    def _remember(self, said: Any, of: Map, now_ms: int) -> None:
        if said == "none":
            return
        contact: Mapping[str, Mapping[str, Any]] = (said or {}).get("contact", {}) if isinstance(said, Mapping) else {}
        names = contact if said else {name: _PASSES for name, road in of.roads.items() if road.radio.contact}
        for name, row in names.items():
            for cell in _cells(of, name):
                self._records[cell] = _record(row, now_ms)

    def coverage(self) -> bytes | None:
        """Return what is usual in the places of the scenario, as thirty days of all vehicles would have taught it."""
        drill = self._drill
        said = drill.scenario.world.record
        if said == "none":
            return None
        of, seed = drill.lives.map, drill.lives.seed
        names = said.get("coverage", ()) if isinstance(said, Mapping) else [*of.roads, *of.places]
        found: dict[Cell, dict[str, list[tuple[float, ...]]]] = {}
        for name in names:
            for point, radio, fading in _spots(of, name, seed):
                cell = cell_of(*degrees(point))
                for where in (cell, coarse_of(cell)):
                    for leg, figures in _figures(radio, fading).items():
                        found.setdefault(where, {}).setdefault(leg, []).append(figures)
        vehicles = [one.name for one in drill.lives.vehicles if not one.modules]
        usual = {
            cell: {leg: [Usual(name, True, _mean(rows)) for name in vehicles] for leg, rows in legs.items()}
            for cell, legs in found.items()
        }
        return Coverage(usual).to_json() if usual else None

    # --- what is learnt meanwhile -------------------------------------------------------------------------------------

    def take(self, changes: Changes) -> None:
        """Take in what was committed."""
        for row in changes.runs:
            self._boots[row.vehicle, row.agent, row.run] = row.boot
        for (vehicle, agent, id), schema in changes.schemas.items():
            fix = _fix_of(schema)
            if fix is not None:
                self._fixes.setdefault((vehicle, agent), {})[id] = fix
        if changes.batch is None:
            return
        self._now_ms = changes.batch.now_ms
        heading, at_ms = changes.batch.heading, changes.batch.received_ms
        for entry in changes.batch.entries:
            if isinstance(entry, log.TimePassed):
                at_ms = max(at_ms, entry.now_ms)
            elif isinstance(entry, log.Group):
                self._found += self._take(entry, at_ms, heading.listening_since_ms)
            elif isinstance(entry, log.Stepped) and isinstance(entry.event, Left):
                journeys.goodbye(self._journeys[entry.vehicle])

    def learn(self) -> None:
        """Learn from what was taken in."""
        found, self._found = self._found, []
        for vehicle, journey in self._journeys.items():
            if journey.waiting:
                found += [(vehicle, one) for one in journeys.settle(journey, self._now_ms, self._explained(vehicle))]
        zone = datetime.datetime.fromtimestamp(self._now_ms / 1000, self._zone).utcoffset()
        offset_ms = 0 if zone is None else round(zone.total_seconds() * 1000)
        for vehicle, one in found:
            self._records.setdefault(one.cell, GapRecord()).add(one, vehicle, offset_ms)

    def _explained(self, vehicle: str) -> Callable[[int, int], bool]:
        spans = [*self._spans(vehicle), *self._spans("")]
        return lambda from_ms, to_ms: any(journeys.explains(*one, from_ms, to_ms) for one in spans)

    def _take(self, group: log.Group, at_ms: int, listening_ms: int | None) -> list[tuple[str, Finding]]:
        journey = self._journeys[group.vehicle]
        fixes_of = self._fixes.get((group.vehicle, group.agent), {})
        times, fixes = [], []
        for moment in group.moments:
            clock = None if moment.clock is None else group.clocks.get(moment.clock)
            if clock is None:
                continue
            time_ms = clock.place(moment.mono_ms)
            if time_ms > at_ms + most_ahead_ms(clock):
                continue
            times.append(time_ms)
            for entry in moment.entries:
                if entry[0] in fixes_of:  # no kind of event is the name of a schema
                    latitude, longitude = fixes_of[entry[0]]
                    if entry[1][latitude] is not None:
                        fixes.append((time_ms, entry[1][latitude], entry[1][longitude]))
        if not times:
            return []
        if group.lane == "backlog":
            journeys.backlog(journey, times, at_ms)
            return []
        boot = self._boots.get((group.vehicle, group.agent, group.run), "")
        bounds = (min(times), max(times))
        found = journeys.live(journey, group.agent, boot, at_ms, bounds, fixes, listening_ms, self._pace_ms)
        return [(group.vehicle, one) for one in found]


def _fix_of(schema: Schema) -> tuple[int, int] | None:
    index = {column.metric: number for number, column in enumerate(schema.columns)}
    if "gnss.latitude" not in index or "gnss.longitude" not in index:
        return None
    return index["gnss.latitude"], index["gnss.longitude"]


def _cells(of: Map, name: str) -> set[Cell]:
    """Return the cells of a road, of the mouth of one without contact, or of a place."""
    road = of.roads.get(name)
    if road is None:
        return {cell_of(*degrees(of.places[name].point))}
    if not road.radio.contact:
        return {cell_of(*degrees(road.entrance))}
    steps = range(math.ceil(road.length_m / _STEP_M))
    return {cell_of(*degrees(road.at(number * _STEP_M))) for number in steps}


def _spots(of: Map, name: str, seed: int) -> Iterator[tuple[Point, Radio, float]]:
    """Yield points of a road, or of a place, with its radio and how it fades there."""
    road = of.roads.get(name)
    if road is None:
        place = of.places[name]
        yield place.point, place.radio, fading_db(seed, name, 0, place.radio.noise)
        return
    for number in range(math.ceil(road.length_m / _STEP_M)):
        metres = number * _STEP_M
        yield road.at(metres), road.radio, fading_db(seed, name, int(metres / FADING_M), road.radio.noise)


def _figures(radio: Radio, fading: float) -> dict[str, tuple[float, ...]]:
    """Return what is usual there, by leg, as ``collector.core.coverage.figures_of`` names it."""
    if not radio.contact:
        return {}
    found: dict[str, tuple[float, ...]] = {
        "lte": (radio.rsrp + fading + LEG_DB["lte"], radio.rsrq, radio.sinr),
        SERVICE: (100.0 if radio.nr else 0.0, 100.0),
        LINK: (radio.loss + 0.5, radio.delay + 4),
    }
    if radio.nr:
        found["nr"] = (radio.rsrp + fading + LEG_DB["nr"], radio.rsrq, radio.sinr)
    return found


def _mean(rows: Sequence[tuple[float, ...]]) -> tuple[int | None, ...]:
    return tuple(round(sum(column) / len(rows)) for column in zip(*rows, strict=True))


def _record(row: Mapping[str, Any], now_ms: int) -> GapRecord:
    """Return the record of a cell as ``record.contact`` says it."""
    lost, boots = int(row.get("lost", 0)), int(row.get("boots", 0))
    passes, days = int(row.get("passes", KEPT_PASSES)), int(row.get("days", KEPT_DAYS))
    p50, p95 = (milliseconds(row[key]) // 1000 if key in row else 0 for key in ("p50", "p95"))
    record = GapRecord(passes, days, day=now_ms // _DAY_MS - 1)
    long = max(1, round(0.06 * lost))
    losses = [p50] * (lost - boots - long) + [p95] * long if lost > boots else []
    record.detail.losses = [(now_ms - (number + 1) * _DAY_MS // 2, one) for number, one in enumerate(losses)]
    record.detail.boots = [now_ms - (number + 1) * _DAY_MS for number in range(boots)]
    return record
