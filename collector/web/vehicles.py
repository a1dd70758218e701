"""Vehicles: ``GET /api/vehicles`` by page or by name, ``GET /api/vehicles/{vehicle}``."""

from __future__ import annotations

import asyncio
import bisect
import itertools
from collections.abc import Collection, Iterable, Iterator, Sequence
from typing import Annotated, Final, cast

import msgspec
from aiohttp import web

from collector.accounts.roles import Principal
from collector.core.problems import ClosedNote
from collector.core.vehicle.summary import SHOWN_MS, AgentSummary, Details, DeviceSummary, ProblemSummary, VehicleState
from collector.read import changes as numbers
from collector.read import tickets as tickets_of
from collector.read import vehicles as read
from collector.read.tickets import TicketRow
from collector.read.vehicles import VehicleRow
from collector.read.view import EVERYTHING, View
from collector.web import vehicle_types as shown
from collector.web.answers import PAGE, Limit, both, each, iso
from collector.web.app import SOURCES, Sources, json
from collector.web.identity import principal_of
from collector.web.operations import operation, query_of
from collector.web.problems import unexpected
from collector.web.revisions import revision_of, revisions_of
from collector.web.tickets import fault_name, ticket_row
from collector.web.view import view_of, without_what_is_not_theirs
from telemetry.fleet import Device, VehiclePlan

routes = web.RouteTableDef()
UNKNOWN: Final = "Nobody knows the vehicle, or not for whoever asks."
MISSED: Final = 3
"""After so many intervals without a word nothing is known of a device any more."""
LEAST_CURRENT_MS: Final = 15_000
_UNKNOWN: Final = VehiclePlan(agents={})
Key = tuple[str, str]
"""(site, vehicle)."""


class VehiclesQuery(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Which vehicles are wanted."""

    site: str | None = None
    """Only this site's."""
    state: VehicleState | None = None
    """Only those in this state."""
    vehicle: Annotated[list[str], msgspec.Meta(max_length=500)] = []
    """These, whatever else is said, on one page; again and again."""
    since: str | None = None
    """A `revision`: only what has changed after it."""
    after: str | None = None
    """The `next` of the page before."""
    limit: Limit = PAGE
    """Vehicles of a page."""


@routes.get("/api/vehicles")
@operation(shown.Vehicles, query=VehiclesQuery)
async def vehicles(request: web.Request) -> web.Response:
    """List vehicles by site and name, page by page.

    Those of the fleet file, and those that were heard without standing in it.
    """
    query, sources, view = query_of(request, VehiclesQuery), request.app[SOURCES], view_of(request)
    now = await asyncio.to_thread(numbers.revisions, sources.store.engine)
    if query.vehicle:
        found, after = await asyncio.to_thread(named_vehicles, sources, query.vehicle, view), None
    else:
        since, place = revisions_of(query.since), _after(query.after)
        found, after = await asyncio.to_thread(
            lambda: list_vehicles(
                sources, query.site, place, query.limit, view, state=query.state, since=since
            )
        )  # fmt: skip
    found = await asyncio.to_thread(_theirs, found, principal_of(request))
    more = None if after is None else "/".join(after)
    return json(shown.Vehicles(vehicles=found, next=more, revision=revision_of(now, view)))


@routes.get("/api/vehicles/{vehicle}")
@operation(shown.Vehicle, refuses={404: UNKNOWN})
async def vehicle(request: web.Request) -> web.Response:
    """Show one vehicle with its devices, tickets and notes."""
    site, name = await vehicle_meant(request)
    found = await asyncio.to_thread(show_vehicle, request.app[SOURCES], site, name)
    return json(without_what_is_not_theirs(found, principal_of(request), site))


async def vehicle_meant(request: web.Request) -> tuple[str, str]:
    """Return (site, name) of the vehicle that a path names. Raises 404 for one that nobody knows, or not to them."""
    name = request.match_info["vehicle"]
    site = await asyncio.to_thread(site_of, request.app[SOURCES], name)
    if site is None or not view_of(request).has(site, name):
        raise web.HTTPNotFound(text=f"no vehicle {name[:50]!r}")
    return site, name


def _theirs(found: list[shown.VehicleRow], principal: Principal) -> list[shown.VehicleRow]:
    return [without_what_is_not_theirs(one, principal, one["site"]) for one in found]


def list_vehicles(
    sources: Sources,
    site: str | None = None,
    after: Key | None = None,
    most: int = PAGE,
    view: View = EVERYTHING,
    *,
    state: VehicleState | None = None,
    since: numbers.Revisions | None = None,
) -> tuple[list[shown.VehicleRow], Key | None]:
    """Return a page of vehicles as the API shows them, and the last one's key if there may be more. Blocks."""
    engine = sources.store.engine
    rows = read.list_vehicles(engine, site=site, after=after, limit=most + 1, view=view, state=state, since=since)
    planned: Iterable[Key] = ()
    if since is None and state in (None, "never_heard"):
        heard = read.heard_vehicles(engine, site) if state else set()
        planned = (key for key in _planned(sources, site, after) if view.has(*key) and key not in heard)
    keys = sorted({*itertools.islice(planned, most + 1), *((row.site, row.vehicle) for row in rows)})
    page = keys[:most]
    return _show(sources, page, {(row.site, row.vehicle): row for row in rows}), (
        page[-1] if len(keys) > most else None
    )


def _planned(sources: Sources, site: str | None, after: Key | None) -> Iterator[Key]:
    """Yield the vehicles of the fleet file behind a place."""
    planned = sources.vehicles
    begin = 0 if after is None else bisect.bisect_right(planned, after)
    end = len(planned)
    if site is not None:
        begin = max(begin, bisect.bisect_left(planned, (site, "")))
        end = bisect.bisect_right(planned, (site, "\U0010ffff"))
    yield from itertools.islice(planned, begin, max(begin, end))


def named_vehicles(sources: Sources, names: Collection[str], view: View = EVERYTHING) -> list[shown.VehicleRow]:
    """Return those of these vehicles of a view that anybody knows. Blocks."""
    found = ((site_of(sources, name), name) for name in dict.fromkeys(names))
    keys = [(site, name) for site, name in found if site is not None and view.has(site, name)]
    return _show(sources, keys, read.vehicles_of(sources.store.engine, keys))


def show_vehicle(sources: Sources, site: str, name: str) -> shown.Vehicle:
    """Return one vehicle with all that is known of it. Blocks."""
    engine, key = sources.store.engine, (site, name)
    (row,) = _show(sources, [key], read.vehicles_of(engine, [key]))
    identities = {entry.device: entry.identity for entry in read.list_inventory(engine, site=site, vehicle=name)}
    for device in row["devices"]:
        device["identity"] = identities.get(device["device"])
    tickets = tickets_of.list_tickets(engine, site=site, vehicle=name)
    return {
        **row,
        "tickets": each(tickets, ticket_row, "site", "id", "vehicle"),
        "notes": each(tickets_of.list_notes(engine, site=site, vehicle=name), _note, "device", "fault"),
    }


def site_of(sources: Sources, name: str) -> str | None:
    """Return the site of a vehicle: the fleet file's, or the one where it was heard. Blocks."""
    planned = sources.fleet.find(name)
    return planned[0] if planned else read.site_of(sources.store.engine, name)


def _after(text: str | None) -> Key | None:
    if text is None:
        return None
    site, slash, name = text.partition("/")
    if not slash:
        raise unexpected("after", "the `next` of a page", text)
    return site, name


def _show(sources: Sources, keys: Sequence[Key], rows: dict[Key, VehicleRow]) -> list[shown.VehicleRow]:
    tickets = tickets_of.open_tickets_of(sources.store.engine, keys)
    found = []
    for key in keys:
        try:
            found.append(_vehicle(sources, key, rows.get(key), tickets.get(key, [])))
        except Exception as error:  # damaged: it is shown without what is known of it, and says why
            bare = _vehicle(sources, key, None, ())
            problem = f"cannot be shown: {type(error).__name__}: {error}"[:500]
            found.append({**bare, "state": "unknown", "problem": problem})
    return found


def _vehicle(sources: Sources, key: Key, row: VehicleRow | None, tickets: Sequence[TicketRow]) -> shown.VehicleRow:
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
        "department": plan.department,
        "home": None if plan.home is None else {"latitude": plan.home.latitude, "longitude": plan.home.longitude},
        "time_zone": at.time_zone if at else "UTC",
        "in_fleet_file": bool(plan.agents),
        "state": cast(VehicleState, row.state) if row else "never_heard",
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


def _problem(problem: ProblemSummary) -> shown.VehicleProblem:
    """Return what is true of the kit, ticket or not; ``cause`` is the key of the problem that explains it."""
    return {
        "key": problem.key,
        "device": problem.device,
        "fault": problem.fault,
        "fault_name": both(fault_name(problem.fault).__getitem__),
        "state": problem.state,
        "event_at": iso(problem.event_ms),
        "detected_at": iso(problem.detected_ms),
        "times": problem.times,
        "cause": problem.cause,
    }


def _devices(plan: VehiclePlan, details: Details, tickets: Sequence[TicketRow]) -> list[shown.VehicleDevice]:
    """Return the fleet file's devices and those that were heard all the same, with their last word."""
    planned: dict[Key, Device] = {(agent, id): device for agent, id, device in plan.devices()}
    told = {(one.agent, one.device): one for one in details.devices}
    heard = [key for key, one in told.items() if key not in planned and one.answered_ms is not None]
    rows: list[shown.VehicleDevice] = []
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


def _note(note: ClosedNote) -> shown.Note:
    return {
        "device": note.device,
        "fault": note.fault,
        "rule": note.rule,
        "began_at": iso(note.began_ms),
        "ended_at": iso(note.ended_ms),
        "noted_at": iso(note.noted_ms),
    }
