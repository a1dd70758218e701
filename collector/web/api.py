"""The HTTP API: vehicles, tickets, and a stream that tells when something has changed. Times are ISO 8601, UTC."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator, Mapping, Sequence
from datetime import UTC, datetime
from typing import Any, Final, Literal

import msgspec
from aiohttp import web
from sqlalchemy import func, select

from collector.core.problems import ClosedNote, Problem
from collector.core.tickets.events import Opening, TicketEvent
from collector.core.tickets.texts import event_name, state_name
from collector.core.tickets.ticket import Ticket
from collector.core.tickets.transitions import STATES, State
from collector.core.vehicle.state import StateError, Vehicle, state_of, trouble_of
from collector.store import queries, schema
from collector.store.errors import SeveralTickets
from collector.web.app import SOURCES, Sources, json
from telemetry.faults import FAULTS
from telemetry.fleet import Device, VehiclePlan

routes = web.RouteTableDef()
LOOK_S: Final = 1.0
"""How often the database is asked whether something changed, while anybody wants to know."""
KEEPALIVE_S: Final = 15.0
MOST: Final = 1_000
MOST_OPEN: Final = 10_000
"""Open tickets that the list of vehicles shows at most."""


class Changes:
    """A number that grows whenever what the API shows has changed; looked up only while somebody waits."""

    def __init__(self) -> None:
        self.revision = 0
        self.watchers = 0
        self._news = asyncio.Event()
        self._seen: object = None

    async def look(self, sources: Sources) -> None:
        """Compare with what was there before."""
        seen = await asyncio.to_thread(_fingerprint, sources)
        if seen != self._seen:
            self._seen = seen
            self.revision += 1
            news, self._news = self._news, asyncio.Event()
            news.set()

    async def wait(self, revision: int) -> None:
        """Wait until the revision is another."""
        while self.revision == revision:
            await self._news.wait()


CHANGES: web.AppKey[Changes] = web.AppKey("changes", Changes)


async def watch_changes(app: web.Application) -> AsyncIterator[None]:
    """Look for changes while the application runs."""
    app[CHANGES] = Changes()

    async def look() -> None:
        while True:
            await asyncio.sleep(LOOK_S)
            if app[CHANGES].watchers:
                with contextlib.suppress(Exception):  # a database that is away for a while changes nothing
                    await app[CHANGES].look(app[SOURCES])

    task = asyncio.create_task(look())
    yield
    task.cancel()
    with contextlib.suppress(asyncio.CancelledError):
        await task


def _fingerprint(sources: Sources) -> object:
    with sources.store.engine.connect() as connection:
        batches = connection.execute(select(func.sum(schema.site.c.last_batch), func.sum(schema.site.c.epoch))).one()
        lines = connection.scalar(select(func.max(schema.ticket_event.c.recorded_ms)))
        actions = connection.scalar(select(func.max(schema.action.c.id)))
        waiting = connection.scalar(select(func.count()).where(schema.action.c.taken_ms.is_(None)))
    return tuple(batches), lines, actions, waiting


@routes.get("/api/changes")
async def changes(request: web.Request) -> web.StreamResponse:
    """Stream server-sent events (WHATWG HTML, 9.2): ``change`` with a revision, at once and after every change."""
    told = request.app[CHANGES]
    headers = {"Content-Type": "text/event-stream", "Cache-Control": "no-store", "X-Accel-Buffering": "no"}
    response = web.StreamResponse(headers=headers)
    await response.prepare(request)
    told.watchers += 1
    try:
        revision = -1
        while True:
            if revision != told.revision:
                revision = told.revision
                await response.write(f"event: change\ndata: {revision}\n\n".encode())
            try:
                await asyncio.wait_for(told.wait(revision), KEEPALIVE_S)
            except TimeoutError:
                await response.write(b": still here\n\n")
    except (ConnectionResetError, asyncio.CancelledError):
        pass
    finally:
        told.watchers -= 1
    return response


# --- vehicles ---------------------------------------------------------------------------------------------------------


@routes.get("/api/vehicles")
async def vehicles(request: web.Request) -> web.Response:
    """List all vehicles: those of the fleet file, and those that were heard without standing in it."""
    return json({"vehicles": await asyncio.to_thread(list_vehicles, request.app[SOURCES])})


@routes.get("/api/vehicles/{vehicle}")
async def vehicle(request: web.Request) -> web.Response:
    """Show one vehicle with its devices, tickets and notes. 404 for one that nobody knows."""
    found = await asyncio.to_thread(show_vehicle, request.app[SOURCES], request.match_info["vehicle"])
    if found is None:
        raise web.HTTPNotFound(text=f"no vehicle {request.match_info['vehicle']!r}")
    return json(found)


def list_vehicles(sources: Sources) -> list[dict[str, Any]]:
    """Return every vehicle as the API shows it. Blocks."""
    states = queries.vehicle_states(sources.store.engine)
    tickets: dict[tuple[str, str], list[queries.TicketRow]] = {}
    for row in queries.list_tickets(sources.store.engine, state="open", limit=MOST_OPEN):
        tickets.setdefault((row.site, row.vehicle), []).append(row)
    known = {(site, name): plan for site, s in sources.fleet.sites.items() for name, plan in s.vehicles.items()}
    keys = [*known, *(key for key in states if key not in known)]
    return [_vehicle(sources, *key, known.get(key), states.get(key), tickets.get(key, [])) for key in keys]


def show_vehicle(sources: Sources, name: str) -> dict[str, Any] | None:
    """Return one vehicle with all that is known of it, ``None`` if nothing is. Blocks."""
    engine = sources.store.engine
    found = next((one for one in list_vehicles(sources) if one["vehicle"] == name), None)
    if found is None:
        return None
    site = found["site"]
    identities = {entry.device: entry.identity for entry in queries.list_inventory(engine, site=site, vehicle=name)}
    for device in found["devices"]:
        device["identity"] = identities.get(device["device"])
    found["tickets"] = [ticket_row(t) for t in queries.list_tickets(engine, site=site, vehicle=name)]
    found["notes"] = [_note(note) for note in queries.list_notes(engine, site=site, vehicle=name)]
    return found


def _vehicle(
    sources: Sources,
    site: str,
    name: str,
    plan: VehiclePlan | None,
    stored: bytes | None,
    tickets: Sequence[queries.TicketRow],
) -> dict[str, Any]:
    state, problem = None, ""
    try:
        state = Vehicle.from_json(stored) if stored is not None else None
    except StateError as error:
        problem = str(error)
    plan = plan or VehiclePlan(agents={})
    state = state or Vehicle.new(site, name, plan)
    heard = [agent.heard_ms for agent in state.agents.values() if agent.heard_ms is not None]
    return {
        "site": site,
        "vehicle": name,
        "name": plan.name,
        "plate": plan.plate,
        "time_zone": sources.fleet.sites[site].time_zone if site in sources.fleet.sites else "UTC",
        "in_fleet_file": bool(plan.agents),
        "state": state_of(state, plan, sources.rules.settings.fact_ms) if heard else "never_heard",
        "heard_at": iso(max(heard, default=None)),
        "agents": {
            id: {
                "heard_at": iso(agent.heard_ms),
                "version": agent.version,
                "left": agent.left,
                "lost": agent.lost,
            }
            for id, agent in state.agents.items()
        },
        "devices": _devices(plan, state, tickets),
        "problems": [_problem(problem) for problem in state.problems.values()],
        "open_tickets": [ticket_row(ticket) for ticket in tickets],
        "problem": problem,
    }


def _problem(problem: Problem) -> dict[str, Any]:
    """Return what is true of the kit, ticket or not; ``cause`` is the key of the problem that explains it."""
    return {
        "key": problem.key.text(),
        "device": problem.key.device,
        "fault": problem.key.fault,
        "fault_name": _fault_name(problem.key.fault),
        "state": problem.state,
        "event_at": iso(problem.event_ms),
        "detected_at": iso(problem.detected_ms),
        "times": problem.times,
        "cause": None if problem.cause is None else problem.cause.key.text(),
    }


def _fault_name(id: str) -> dict[str, str]:
    fault = FAULTS.get(id)
    return {"zh": fault.zh, "en": fault.en} if fault else {"zh": id, "en": id}


def _devices(plan: VehiclePlan, state: Vehicle, tickets: Sequence[queries.TicketRow]) -> list[dict[str, Any]]:
    """Return the fleet file's devices and those that were heard all the same, with their last word."""
    words: dict[tuple[str, str], int] = {}
    for (agent, id, _), source in state.sources.items():
        if source.answered_ms is not None:
            words[agent, id] = max(source.answered_ms, words.get((agent, id), 0))
    planned: dict[tuple[str, str], Device] = {(agent, id): device for agent, id, device in plan.devices()}
    rows = []
    for agent, id in [*planned, *(key for key in words if key not in planned)]:
        device = planned.get((agent, id))
        rows.append(
            {
                "device": id,
                "agent": agent,
                "kind": device.kind if device else "agent" if id == "agent" else "",
                "name": device.name if device else "",
                "heard_at": iso(words.get((agent, id))),
                "problem": trouble_of(state, agent, id),
                "open_tickets": [ticket.id for ticket in tickets if ticket.device == id],
            }
        )
    return rows


# --- tickets ----------------------------------------------------------------------------------------------------------


@routes.get("/api/tickets")
async def tickets(request: web.Request) -> web.Response:
    """List tickets, the last opened first; ``?state=``, ``?vehicle=``, ``?site=``, ``?limit=`` narrow it.

    ``state`` is ``open`` (somebody owes something) or one of the states of a ticket's life.
    """
    query = request.query
    unknown = sorted(set(query) - {"state", "vehicle", "site", "limit"})
    if unknown:
        raise web.HTTPBadRequest(text=f"expected state, vehicle, site or limit, found {unknown[0]!r}")
    states: tuple[State | Literal["open"], ...] = ("open", *STATES)
    state = next((one for one in states if one == query.get("state")), None)
    if state is None and "state" in query:
        raise web.HTTPBadRequest(text=f"state: expected open, {', '.join(STATES)}, found {query['state']!r}")
    limit = query.get("limit", "200")
    if not limit.isdecimal() or not 1 <= int(limit) <= MOST:
        raise web.HTTPBadRequest(text=f"limit: expected 1 to {MOST}, found {limit!r}")
    found = await asyncio.to_thread(
        queries.list_tickets,
        request.app[SOURCES].store.engine,
        site=query.get("site"),
        state=state,
        vehicle=query.get("vehicle"),
        limit=int(limit),
    )
    return json({"tickets": [ticket_row(ticket) for ticket in found]})


@routes.get("/api/tickets/{ticket}")
async def ticket(request: web.Request) -> web.Response:
    """Show one ticket with its history and evidence. 404 for one that there is not, 400 where ``?site=`` is needed."""
    id = request.match_info["ticket"]
    engine, site = request.app[SOURCES].store.engine, request.query.get("site")
    try:
        found = await asyncio.to_thread(queries.ticket, engine, id, site)
    except SeveralTickets as error:
        raise web.HTTPBadRequest(text=str(error)) from None
    if found is None:
        raise web.HTTPNotFound(text=f"no ticket {id!r}")
    return json(show_ticket(*found))


def ticket_row(ticket: queries.TicketRow | Ticket) -> dict[str, Any]:
    """Return a ticket as lists show it."""
    fault = FAULTS.get(ticket.fault)
    return {
        "id": ticket.id,
        "site": ticket.site,
        "vehicle": ticket.vehicle,
        "device": ticket.device,
        "fault": ticket.fault,
        "fault_name": _fault_name(ticket.fault),
        "first": {"zh": fault.first_zh, "en": fault.first_en} if fault else {"zh": "", "en": ""},
        "severity": ticket.severity,
        "sla_class": ticket.sla_class,
        "state": ticket.state,
        "state_name": state_name(ticket.state),
        "open": ticket.is_open,
        "round": ticket.round,
        "recurring": ticket.recurring,
        "in_contract": ticket.in_contract,
        "assigned": ticket.assigned,
        "event_at": iso(ticket.event_ms),
        "detected_at": iso(ticket.detected_ms),
        "opened_at": iso(ticket.opened_ms),
        "notice_at": iso(ticket.notice_ms),
        "over_event_at": iso(ticket.over_event_ms),
        "resolved_at": iso(ticket.resolved_ms),
        "closed_at": iso(ticket.closed_ms),
        "closed_by": ticket.closed_by,
        "changed_at": iso(ticket.changed_ms),
        "waiting_for": ticket.waiting_reason,
        "waiting_until": iso(ticket.waiting_until_ms),
        "silenced_until": iso(ticket.silenced_until_ms),
        "merged_into": ticket.merged_into,
    }


def show_ticket(ticket: Ticket, events: Sequence[TicketEvent]) -> dict[str, Any]:
    """Return a ticket with all that happened to it and what it rests on."""
    return {
        **ticket_row(ticket),
        "source": ticket.source,
        "key": "" if ticket.root is None else ticket.root.key.text(),
        "rule": ticket.rule,
        "rule_version": ticket.rule_version,
        "problems": [
            {"vehicle": ref.vehicle, "key": ref.key.text(), "role": held.role} for ref, held in ticket.problems.items()
        ],
        "links": [{"ticket": link.other, "relation": link.relation} for link in ticket.links],
        "evidence": [
            {**msgspec.to_builtins(evidence), "samples": [_sample(sample) for sample in evidence.samples]}
            for event in events
            for evidence in getattr(event.body, "evidence", ())
            if not isinstance(evidence, str)
        ],
        "history": [_told(event) for event in events],
    }


def _told(event: TicketEvent) -> dict[str, Any]:
    body = msgspec.to_builtins(event.body)
    opening = isinstance(event.body, Opening)  # what that says stands on the ticket itself
    more = {} if opening else {name: value for name, value in body.items() if name not in ("text", "evidence")}
    return {
        "number": event.number,
        "at": iso(event.at_ms),
        "recorded_at": iso(event.recorded_ms),
        "who": event.who,
        "what": event.what,
        "what_name": event_name(event.what),
        "text": body.get("text", ""),
        "says": {name.removesuffix("_ms") + "_at" if name.endswith("_ms") else name: iso(value)
                 if name.endswith("_ms") else value for name, value in more.items()},
    }  # fmt: skip


def _sample(sample: Mapping[str, Any]) -> dict[str, Any]:
    return {**{key: value for key, value in sample.items() if key != "time_ms"}, "at": iso(sample.get("time_ms"))}


def _note(note: ClosedNote) -> dict[str, Any]:
    return {
        "device": note.device,
        "fault": note.fault,
        "rule": note.rule,
        "began_at": iso(note.began_ms),
        "ended_at": iso(note.ended_ms),
        "noted_at": iso(note.noted_ms),
    }


def iso(ms: int | None) -> str | None:
    """Return UTC milliseconds as ISO 8601."""
    if ms is None:
        return None
    return datetime.fromtimestamp(ms / 1000, UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")
