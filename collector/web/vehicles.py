"""Vehicles: ``GET /api/vehicles`` by page or by name, ``GET /api/vehicles/{vehicle}``. Times are ISO 8601, UTC."""

from __future__ import annotations

import asyncio
import bisect
import itertools
from collections.abc import Collection, Sequence
from typing import Any, Final

import msgspec
from aiohttp import web

from collector.accounts.roles import Principal
from collector.core.problems import ClosedNote
from collector.core.vehicle.summary import SHOWN_MS, AgentSummary, Details, DeviceSummary, ProblemSummary
from collector.read import changes as numbers
from collector.read import tickets as tickets_of
from collector.read import vehicles as read
from collector.read.tickets import TicketRow
from collector.read.vehicles import VehicleRow
from collector.read.view import EVERYTHING, View
from collector.web.answers import each, iso, known, limit
from collector.web.app import SOURCES, Sources, json
from collector.web.changes import revision
from collector.web.identity import principal_of
from collector.web.tickets import fault_name, ticket_row
from collector.web.view import view_of, without_what_is_not_theirs
from telemetry.fleet import Device, VehiclePlan

routes = web.RouteTableDef()
MOST_NAMED: Final = 500
"""Vehicles that one request may name."""
MISSED: Final = 3
"""After so many intervals without a word nothing is known of a device any more."""
LEAST_CURRENT_MS: Final = 15_000
_UNKNOWN: Final = VehiclePlan(agents={})
Key = tuple[str, str]
"""(site, vehicle)."""


@routes.get("/api/vehicles")
async def vehicles(request: web.Request) -> web.Response:
    """List vehicles by site and name: those of the fleet file, and those that were heard without standing in it.

    ``?site=`` and ``?limit=`` (200, at most 1,000) narrow the page, ``?after=`` is the ``next`` of the page before;
    ``?vehicle=`` (again and again) names those that are wanted. ``revision`` is where ``/api/changes?since=`` goes on.
    """
    known(request, "vehicle", "site", "after", "limit")
    sources, query, view = request.app[SOURCES], request.query, view_of(request)
    now = await asyncio.to_thread(numbers.revisions, sources.store.engine)
    at = revision({site: number for site, number in now.items() if view.has_site(site)})
    names = query.getall("vehicle", [])
    if len(names) > MOST_NAMED:
        raise web.HTTPBadRequest(text=f"vehicle: expected at most {MOST_NAMED}, found {len(names)}")
    if names:
        found, after = await asyncio.to_thread(named_vehicles, sources, names, view), None
    else:
        found, after = await asyncio.to_thread(
            list_vehicles, sources, query.get("site"), _after(query.get("after")), limit(request), view
        )
    found = await asyncio.to_thread(_theirs, found, principal_of(request))
    return json({"vehicles": found, "next": None if after is None else "/".join(after), "revision": at})


@routes.get("/api/vehicles/{vehicle}")
async def vehicle(request: web.Request) -> web.Response:
    """Show one vehicle with its devices, tickets and notes. 404 for one that nobody knows."""
    found = await asyncio.to_thread(show_vehicle, request.app[SOURCES], request.match_info["vehicle"], view_of(request))
    if found is None:
        raise web.HTTPNotFound(text=f"no vehicle {request.match_info['vehicle']!r}")
    return json(_theirs([found], principal_of(request))[0])


def _theirs(found: list[dict[str, Any]], principal: Principal) -> list[dict[str, Any]]:
    return [without_what_is_not_theirs(one, principal, one["site"]) for one in found]


def list_vehicles(
    sources: Sources, site: str | None = None, after: Key | None = None, most: int = 200, view: View = EVERYTHING
) -> tuple[list[dict[str, Any]], Key | None]:
    """Return a page of vehicles as the API shows them, and the last one's key if there may be more. Blocks."""
    rows = read.list_vehicles(sources.store.engine, site=site, after=after, limit=most + 1, view=view)
    planned = sources.vehicles
    begin = 0 if after is None else bisect.bisect_right(planned, after)
    if site is not None:
        begin = max(begin, bisect.bisect_left(planned, (site, "")))
        planned = planned[: bisect.bisect_right(planned, (site, "\U0010ffff"))]
    wanted = itertools.islice((key for key in itertools.islice(planned, begin, None) if view.has(*key)), most + 1)
    keys = sorted({*wanted, *((row.site, row.vehicle) for row in rows)})
    shown = keys[:most]
    return _show(sources, shown, {(row.site, row.vehicle): row for row in rows}), (
        shown[-1] if len(keys) > most else None
    )


def named_vehicles(sources: Sources, names: Collection[str], view: View = EVERYTHING) -> list[dict[str, Any]]:
    """Return those of these vehicles of a view that anybody knows. Blocks."""
    found = ((site_of(sources, name), name) for name in dict.fromkeys(names))
    keys = [(site, name) for site, name in found if site is not None and view.has(site, name)]
    return _show(sources, keys, read.vehicles_of(sources.store.engine, keys))


def show_vehicle(sources: Sources, name: str, view: View = EVERYTHING) -> dict[str, Any] | None:
    """Return one vehicle with all that is known of it, ``None`` if nothing is. Blocks."""
    engine = sources.store.engine
    for found in named_vehicles(sources, [name], view):
        site = found["site"]
        identities = {entry.device: entry.identity for entry in read.list_inventory(engine, site=site, vehicle=name)}
        for device in found.get("devices", ()):
            device["identity"] = identities.get(device["device"])
        tickets = tickets_of.list_tickets(engine, site=site, vehicle=name)
        found["tickets"] = each(tickets, ticket_row, "site", "id", "vehicle")
        found["notes"] = each(tickets_of.list_notes(engine, site=site, vehicle=name), _note, "device", "fault")
        return found
    return None


def site_of(sources: Sources, name: str) -> str | None:
    """Return the site of a vehicle: the fleet file's, or the one where it was heard. Blocks."""
    planned = sources.fleet.find(name)
    return planned[0] if planned else read.site_of(sources.store.engine, name)


def _after(text: str | None) -> Key | None:
    if text is None:
        return None
    site, slash, name = text.partition("/")
    if not slash:
        raise web.HTTPBadRequest(text=f"after: expected the `next` of a page, found {text[:50]!r}")
    return site, name


def _show(sources: Sources, keys: Sequence[Key], rows: dict[Key, VehicleRow]) -> list[dict[str, Any]]:
    tickets = tickets_of.open_tickets_of(sources.store.engine, keys)

    def show(key: Key) -> dict[str, Any]:
        return _vehicle(sources, key, rows.get(key), tickets.get(key, []))

    shown = []
    for key in keys:
        (one,) = each([key], show)
        shown.append({"site": key[0], "vehicle": key[1], "devices": [], "problems": [], "open_tickets": [], **one})
    return shown


def _vehicle(sources: Sources, key: Key, row: VehicleRow | None, tickets: Sequence[TicketRow]) -> dict[str, Any]:
    site, name = key
    at = sources.fleet.sites.get(site)
    plan = (at.vehicles.get(name) if at else None) or _UNKNOWN
    details = row.details if row else Details()
    agents = {**dict.fromkeys(plan.agents, AgentSummary(None, 0)), **details.agents}
    return {
        "site": site,
        "vehicle": name,
        "name": plan.name,
        "plate": plan.plate,
        "phone": plan.phone,
        "home": msgspec.to_builtins(plan.home),
        "time_zone": at.time_zone if at else "UTC",
        "in_fleet_file": bool(plan.agents),
        "state": row.state if row else "never_heard",
        "parked_inferred": bool(details.parked_inferred),
        "heard_at": iso(row.heard_ms if row else None),
        "silent_since": iso(row.silent_since_ms if row else None),
        "agents": {
            id: {
                "heard_at": iso(agent.heard_ms),
                "version": agent.version,
                "left": agent.left,
                "lost": agent.lost,
            }
            for id, agent in agents.items()
        },
        "devices": _devices(plan, details, tickets),
        "problems": [_problem(problem) for problem in details.problems],
        "open_tickets": each(tickets, ticket_row, "site", "id", "vehicle"),
        "problem": row.problem if row else "",
    }


def _problem(problem: ProblemSummary) -> dict[str, Any]:
    """Return what is true of the kit, ticket or not; ``cause`` is the key of the problem that explains it."""
    return {
        "key": problem.key,
        "device": problem.device,
        "fault": problem.fault,
        "fault_name": fault_name(problem.fault),
        "state": problem.state,
        "event_at": iso(problem.event_ms),
        "detected_at": iso(problem.detected_ms),
        "times": problem.times,
        "cause": problem.cause,
    }


def _devices(plan: VehiclePlan, details: Details, tickets: Sequence[TicketRow]) -> list[dict[str, Any]]:
    """Return the fleet file's devices and those that were heard all the same, with their last word."""
    planned: dict[Key, Device] = {(agent, id): device for agent, id, device in plan.devices()}
    told = {(one.agent, one.device): one for one in details.devices}
    heard = [key for key, one in told.items() if key not in planned and one.answered_ms is not None]
    rows = []
    for key in [*planned, *heard]:
        agent, id = key
        device, one = planned.get(key), told.get(key)
        rows.append(
            {
                "device": id,
                "agent": agent,
                "kind": device.kind if device else "agent" if id == "agent" else "",
                "name": device.name if device else "",
                "heard_at": iso(one.answered_ms if one else None),
                "current_until": iso(current_until_ms(device, one, details.agents.get(agent))),
                "problem": one.trouble if one else "",
                "open_tickets": [ticket.id for ticket in tickets if ticket.device == id],
            }
        )
    return rows


def current_until_ms(device: Device | None, one: DeviceSummary | None, agent: AgentSummary | None) -> int | None:
    """Return until when the last word of a device says how it is: for three of its intervals, and the sending one.

    ``SHOWN_MS`` more, by which its last word may be behind.
    """
    if one is None or one.answered_ms is None:
        return None
    polls = [round(1000 * config.interval) for _, config in device.configured()] if device else []
    interval_ms = max(polls, default=one.step_ms)
    return (
        one.answered_ms + max(LEAST_CURRENT_MS, MISSED * interval_ms) + SHOWN_MS + (agent.interval_ms if agent else 0)
    )


def _note(note: ClosedNote) -> dict[str, Any]:
    return {
        "device": note.device,
        "fault": note.fault,
        "rule": note.rule,
        "began_at": iso(note.began_ms),
        "ended_at": iso(note.ended_ms),
        "noted_at": iso(note.noted_ms),
    }
