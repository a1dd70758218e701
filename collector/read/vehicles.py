"""Vehicles as their summaries tell, and their devices' identities. Blocking: call from a thread."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import msgspec
from sqlalchemy import Engine, Row, select, tuple_

from collector.core.vehicle.state import InventoryEntry
from collector.core.vehicle.summary import Details
from collector.read.changes import Revisions, changed_after
from collector.read.rows import fetch, where
from collector.read.view import EVERYTHING, View
from collector.store import schema
from collector.store.summary_rows import read_details

_identity = msgspec.json.Decoder(dict[str, str | None])
_EMPTY = Details()
Known = dict[tuple[str, str], tuple[bytes, Details]]
"""By (site, vehicle): the details as they were read last, as they stand there and as what that says."""


class VehicleRow(msgspec.Struct, frozen=True, kw_only=True):
    """What is known of a vehicle; see ``Summary``."""

    site: str
    vehicle: str
    state: str
    """``unknown``: its site has had no owner of this version yet."""
    heard_ms: int | None
    silent_since_ms: int | None
    details: Details
    problem: str = ""
    """Why there are no details."""


def list_vehicles(
    engine: Engine,
    *,
    site: str | None = None,
    after: tuple[str, str] | None = None,
    limit: int = 200,
    view: View = EVERYTHING,
    state: str | None = None,
    since: Revisions | None = None,
    known: Known | None = None,
) -> list[VehicleRow]:
    """Return a page of the vehicles of a view by (site, vehicle); ``after`` is the last one of the page before.

    ``since``: what later commits have changed. Details that stand in ``known`` as in the database are not read again.
    """
    v = schema.vehicle_summary
    query = select(v).order_by(v.c.site, v.c.vehicle).limit(limit)
    if after is not None:
        query = query.where(tuple_(v.c.site, v.c.vehicle) > tuple_(*after))
    if since is not None:
        query = query.where(changed_after(since, v.c.site, v.c.revision))
    query = where(view.narrow(query, v.c.site, v.c.vehicle), v, site=site, state=state)
    return [_vehicle(row, known) for row in fetch(engine, query)]


def heard_vehicles(engine: Engine, site: str | None = None) -> set[tuple[str, str]]:
    """Return (site, vehicle) of those that were ever heard."""
    v = schema.vehicle_summary
    query = where(select(v.c.site, v.c.vehicle).where(v.c.heard_ms.is_not(None)), v, site=site)
    return {(row.site, row.vehicle) for row in fetch(engine, query)}


def vehicles_of(engine: Engine, keys: Sequence[tuple[str, str]]) -> dict[tuple[str, str], VehicleRow]:
    """Return those of these (site, vehicle) of which something is known."""
    v = schema.vehicle_summary
    query = select(v).where(tuple_(v.c.site, v.c.vehicle).in_(keys))
    return {(row.site, row.vehicle): _vehicle(row) for row in fetch(engine, query)} if keys else {}


def site_of(engine: Engine, vehicle: str) -> str | None:
    """Return the site where a vehicle was heard, ``None`` if it never was."""
    v = schema.vehicle_summary.c
    found = fetch(engine, select(v.site).where(v.vehicle == vehicle).order_by(v.site).limit(1))
    return found[0].site if found else None


def list_inventory(engine: Engine, *, site: str | None = None, vehicle: str | None = None) -> list[InventoryEntry]:
    """Return who each device says it is now: the last entry of each, by vehicle and device."""
    i = schema.inventory
    query = where(select(i).order_by(i.c.vehicle, i.c.device, i.c.seen_ms), i, site=site, vehicle=vehicle)
    newest = {(row.site, row.vehicle, row.device): row for row in fetch(engine, query)}
    return [_entry(row) for row in newest.values()]


def inventory_of(engine: Engine, keys: Sequence[tuple[str, str]]) -> dict[tuple[str, str], list[InventoryEntry]]:
    """Return who the devices of these (site, vehicle) say they are now, by device."""
    i = schema.inventory
    query = select(i).where(tuple_(i.c.site, i.c.vehicle).in_(keys)).order_by(i.c.device, i.c.seen_ms)
    newest = {(row.site, row.vehicle, row.device): row for row in (fetch(engine, query) if keys else ())}
    found: dict[tuple[str, str], list[InventoryEntry]] = {}
    for (site, vehicle, _), row in newest.items():
        found.setdefault((site, vehicle), []).append(_entry(row))
    return found


def _entry(row: Row[Any]) -> InventoryEntry:
    return InventoryEntry(
        site=row.site, vehicle=row.vehicle, device=row.device, seen_ms=row.seen_ms, identity=_read(row.identity)
    )


def _vehicle(row: Row[Any], known: Known | None = None) -> VehicleRow:
    details, problem = _EMPTY, ""
    key = (row.site, row.vehicle)
    content, read = (b"", _EMPTY) if known is None else known.get(key, (b"", _EMPTY))
    try:
        details = read if content and content == row.details else read_details(row.details)
        if known is not None:
            known[key] = (row.details, details)
    except (ValueError, RecursionError) as error:
        problem = f"its summary cannot be read: {error}" if row.details else "its site has had no owner yet"
    return VehicleRow(
        site=row.site,
        vehicle=row.vehicle,
        state=row.state,
        heard_ms=row.heard_ms,
        silent_since_ms=row.silent_since_ms,
        details=details,
        problem=problem,
    )


def _read(identity: str) -> dict[str, str | None]:
    try:
        return _identity.decode(identity)
    except (ValueError, RecursionError) as error:
        return {"problem": f"cannot be read: {error}"}
