"""Rows of what is learnt of places: read and written by the drain (``collector.sinks.places``). Blocking."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any, Final, NamedTuple

import msgspec
from sqlalchemy import Connection, and_, func, or_, select

from collector.core.contact_gaps import KEPT_DAYS, KEPT_PASSES
from collector.core.coverage_record import MOST_RADIO_CELLS, MOST_VEHICLES, CoverageRecord, Key
from collector.core.gap_record import GapRecord
from collector.core.journeys import EXPLAINS, Journey
from collector.core.places import Cell
from collector.store import schema
from collector.store.counters import insert_of

_A_QUERY: Final = 500
"""Values that one question names: SQLite takes no more than some thousands."""


def chunked(values: Iterable[str]) -> Iterator[list[str]]:
    """Yield the values in order, as many at a time as one question may name."""
    ordered = sorted(values)
    for at in range(0, len(ordered), _A_QUERY):
        yield ordered[at : at + _A_QUERY]


def journeys(connection: Connection, site: str, vehicles: Iterable[str]) -> dict[str, Journey]:
    """Return what is remembered of these vehicles; anew of those that are not known."""
    t = schema.journey.c
    found = {name: Journey() for name in vehicles}
    for names in chunked(found):
        for row in connection.execute(select(t.vehicle, t.content).where(t.site == site, t.vehicle.in_(names))):
            found[row.vehicle] = msgspec.json.decode(row.content, type=Journey)
    return found


def gap_records(connection: Connection, site: str, cells: Iterable[Cell]) -> dict[Cell, GapRecord]:
    """Return the records of these cells, as far as there are any."""
    t = schema.gap
    return {
        row.cell: GapRecord.of(row)
        for names in chunked(set(cells))
        for row in connection.execute(select(t).where(t.c.site == site, t.c.cell.in_(names)))
    }


def telling_gaps(connection: Connection, site: str) -> Iterator[tuple[Cell, GapRecord]]:
    """Yield the records that judging has a use for, in order of their cells."""
    t = schema.gap
    told = or_(t.c.lost > 0, t.c.boots > 0, and_(t.c.passes >= KEPT_PASSES, t.c.days >= KEPT_DAYS))
    for row in connection.execute(select(t).where(t.c.site == site, told).order_by(t.c.cell)):
        yield row.cell, GapRecord.of(row)


def put(connection: Connection, table: Any, site: str, rows: Sequence[Mapping[str, Any]]) -> None:
    """Write rows; one that is there is replaced."""
    if not rows:
        return
    statement = insert_of(connection)(table)
    rest = {c.name: statement.excluded[c.name] for c in table.columns if not c.primary_key}
    key = [c.name for c in table.primary_key]
    connection.execute(
        statement.on_conflict_do_update(index_elements=key, set_=rest), [{"site": site, **row} for row in rows]
    )


def boot_of(connection: Connection, site: str, vehicle: str, agent: str, run: str) -> str:
    """Return the boot of a run, empty if nobody said it."""
    t = schema.run.c
    query = select(t.boot).where(t.site == site, t.vehicle == vehicle, t.agent == agent, t.run == run)
    return connection.scalar(query) or ""


class Span(NamedTuple):
    """When a fault was there (event time); no end: it is."""

    fault: str
    from_ms: int
    to_ms: int | None


class _Content(msgspec.Struct):
    over_event_ms: int | None = None


def spans(connection: Connection, site: str, vehicle: str, faults: Iterable[str] = EXPLAINS) -> list[Span]:
    """Return when these faults of a vehicle, or of the site, were there as far as rows still tell."""
    p, n = schema.problem.c, schema.closed_note.c
    names = sorted(faults)
    found = []
    query = select(p.fault, p.event_ms, p.content).where(
        p.site == site, p.vehicle.in_((vehicle, "")), p.fault.in_(names)
    )  # fmt: skip
    for row in connection.execute(query):
        found.append(Span(row.fault, row.event_ms, msgspec.json.decode(row.content, type=_Content).over_event_ms))
    query = select(n.fault, n.began_ms, n.ended_ms).where(n.site == site, n.vehicle == vehicle, n.fault.in_(names))
    found += [Span(row.fault, row.began_ms, row.ended_ms) for row in connection.execute(query)]
    return found


def edition_of(connection: Connection, site: str, kind: str) -> tuple[int, str, int]:
    """Return (when it was put in force, its digest, its size) of a kind's last edition; ``(0, "", 0)`` for none."""
    t = schema.edition.c
    query = select(t.at_ms, t.digest, func.length(t.content).label("size")).where(t.site == site, t.kind == kind)
    row = connection.execute(query.order_by(t.number.desc()).limit(1)).one_or_none()
    return (0, "", 0) if row is None else (row.at_ms, row.digest, row.size)


class KnownCoverage:
    """The records of some cells: those of some vehicles, and who else has any."""

    def __init__(self, records: dict[Key, CoverageRecord], present: dict[tuple[Cell, str], set[str]]) -> None:
        self.records = records
        self._present = present
        self._radio_cells: dict[tuple[Cell, str, str], set[str]] = {}
        for key in records:
            self._radio_cells.setdefault(key[:3], set()).add(key.radio_cell)

    def key(self, cell: Cell, leg: str, vehicle: str, radio_cell: str) -> Key | None:
        """Return under which key a signal is kept; ``None``: enough others are known there."""
        present = self._present.setdefault((cell, leg), set())
        if vehicle not in present:
            if len(present) >= MOST_VEHICLES:
                return None
            present.add(vehicle)
        radio_cells = self._radio_cells.setdefault((cell, leg, vehicle), set())
        if radio_cell not in radio_cells and len(radio_cells) >= MOST_RADIO_CELLS:
            radio_cell = ""
        radio_cells.add(radio_cell)
        return Key(cell, leg, vehicle, radio_cell)


def coverage_records(
    connection: Connection, site: str, cells: Iterable[Cell], vehicles: Iterable[str]
) -> KnownCoverage:
    """Return what is known of these vehicles in these cells, and who else is."""
    t = schema.coverage
    of, present, records = set(vehicles), dict[tuple[Cell, str], set[str]](), dict[Key, CoverageRecord]()
    for names in chunked(cells):
        query = select(t.c.cell, t.c.leg, t.c.vehicle).where(t.c.site == site, t.c.cell.in_(names)).distinct()
        for row in connection.execute(query):
            present.setdefault((row.cell, row.leg), set()).add(row.vehicle)
        for some in chunked(of):
            mine = select(t).where(t.c.site == site, t.c.cell.in_(names), t.c.vehicle.in_(some))
            for row in connection.execute(mine):
                records[Key(row.cell, row.leg, row.vehicle, row.radio_cell)] = CoverageRecord.of(row)
    return KnownCoverage(records, present)


def all_coverage(connection: Connection, site: str) -> Iterator[tuple[Key, CoverageRecord]]:
    """Yield every record, sorted by its key."""
    t = schema.coverage
    query = select(t).where(t.c.site == site).order_by(t.c.cell, t.c.leg, t.c.vehicle, t.c.radio_cell)
    for row in connection.execute(query.execution_options(yield_per=1_000)):
        yield Key(row.cell, row.leg, row.vehicle, row.radio_cell), CoverageRecord.of(row)
