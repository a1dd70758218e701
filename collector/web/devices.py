"""Devices of the fleet: ``GET /api/devices``, by the fleet file and by what they say they are."""

from __future__ import annotations

import asyncio
import itertools
from collections.abc import Iterator, Sequence
from typing import Final

import msgspec
from aiohttp import web

from collector.core.vehicle.state import InventoryEntry
from collector.read import vehicles as read
from collector.read.view import View
from collector.web import vehicle_types as shown
from collector.web.answers import PAGE, Limit, iso
from collector.web.app import SOURCES, Sources, json
from collector.web.identity import principal_of
from collector.web.operations import operation, query_of
from collector.web.problems import unexpected
from collector.web.view import view_of, without_what_is_not_theirs
from telemetry.fleet import Device, DeviceKind

routes = web.RouteTableDef()
_AT_ONCE: Final = 100
"""Vehicles whose devices are asked for at a time."""
Key = tuple[str, str, str]
"""(site, vehicle, device)."""


class DevicesQuery(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Which devices are wanted."""

    site: str | None = None
    """Only this site's."""
    vehicle: str | None = None
    """Only this vehicle's."""
    kind: DeviceKind | None = None
    """Only of this kind."""
    model: str | None = None
    """Only those that say they are this model."""
    firmware: str | None = None
    """Only those that say they have this firmware."""
    after: str | None = None
    """The `next` of the page before."""
    limit: Limit = PAGE
    """Devices of a page."""


@routes.get("/api/devices")
@operation(shown.Devices, query=DevicesQuery)
async def devices(request: web.Request) -> web.Response:
    """List devices by site, vehicle and name, page by page: models, firmware, warranty.

    Those of the fleet file, and those that were heard without standing in it.
    """
    query, view, principal = query_of(request, DevicesQuery), view_of(request), principal_of(request)
    after = _after(query.after)
    found = await asyncio.to_thread(
        lambda: list(itertools.islice(_devices(request.app[SOURCES], query, after, view), query.limit + 1))
    )
    page = [without_what_is_not_theirs(one, principal, one["site"]) for one in found[: query.limit]]
    more = "/".join(_key(page[-1])) if len(found) > query.limit else None
    return json(shown.Devices(devices=page, next=more))


def _after(text: str | None) -> Key | None:
    if text is None:
        return None
    parts = text.split("/")
    if len(parts) != 3:
        raise unexpected("after", "the `next` of a page", text)
    return parts[0], parts[1], parts[2]


def _key(one: shown.Device) -> Key:
    return one["site"], one["vehicle"], one["device"]


def _devices(sources: Sources, query: DevicesQuery, after: Key | None, view: View) -> Iterator[shown.Device]:
    """Yield the devices that are wanted, in order. Blocks."""
    known = {*sources.vehicles, *read.heard_vehicles(sources.store.engine, query.site)}
    keys = sorted(
        key
        for key in known
        if view.has(*key)
        and query.site in (None, key[0])
        and query.vehicle in (None, key[1])
        and (after is None or key >= after[:2])
    )
    for begin in range(0, len(keys), _AT_ONCE):
        part = keys[begin : begin + _AT_ONCE]
        identities = read.inventory_of(sources.store.engine, part)
        for key in part:
            for one in _of_vehicle(sources, *key, identities.get(key, ())):
                if (after is None or _key(one) > after) and _is_wanted(one, query):
                    yield one


def _is_wanted(one: shown.Device, query: DevicesQuery) -> bool:
    asked = ((query.kind, one["kind"]), (query.model, one["identity"].get("model")))
    return all(wanted in (None, found) for wanted, found in (*asked, (query.firmware, one["identity"].get("firmware"))))


def _of_vehicle(
    sources: Sources, site: str, vehicle: str, inventory: Sequence[InventoryEntry]
) -> Iterator[shown.Device]:
    at = sources.fleet.sites.get(site)
    plan = at.vehicles.get(vehicle) if at else None
    planned: dict[str, tuple[str, Device]] = {id: (agent, one) for agent, id, one in plan.devices()} if plan else {}
    said = {entry.device: entry for entry in inventory}
    for id in sorted({*planned, *said}):
        agent, device = planned.get(id, ("", None))
        entry = said.get(id)
        warranty = device.warranty_until if device else None
        yield {
            "site": site,
            "vehicle": vehicle,
            "device": id,
            "agent": agent,
            "kind": device.kind if device else "",
            "name": device.name if device else "",
            "depends_on": list(device.depends_on) if device else [],
            "circuit": device.circuit if device else "ignition",
            "warranty_until": None if warranty is None else warranty.isoformat(),
            "in_fleet_file": device is not None,
            "identity": dict(entry.identity) if entry else {},
            "seen_at": iso(entry.seen_ms if entry else None),
        }
