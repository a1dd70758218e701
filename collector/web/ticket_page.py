"""A ticket: ``/tickets/{ticket}``, with ``?site=`` where several sites have its number."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping, Sequence
from typing import Any

import msgspec
from aiohttp import web
from msgspec.structs import replace

from collector.accounts.roles import Principal
from collector.channels import deliveries
from collector.channels.deliveries import Delivery
from collector.core.clock_words import told
from collector.core.clocks import Clock
from collector.core.contract import Contract
from collector.core.problems import ProblemRef
from collector.core.tickets.events import Caller, Correction, TicketEvent
from collector.core.tickets.fold import fold
from collector.core.tickets.hardware import hardware_of
from collector.core.tickets.promises import clocks_of, settled_ms
from collector.core.tickets.telling import event_words, evidence_lines, standing, who_name
from collector.core.tickets.texts import Language, event_name, state_name
from collector.core.tickets.ticket import Ticket
from collector.read import tickets as read
from collector.read.clocks import next_due
from collector.store.errors import SeveralTickets
from collector.store.ticket_rows import read_event
from collector.web.act_forms import Around
from collector.web.app import SOURCES, Sources
from collector.web.identity import principal_of
from collector.web.outcome import Outcome, shown
from collector.web.pages import Page, contracts_of, page, page_of, render
from collector.web.persons import nobody
from collector.web.requests import MOST_FORM_BYTES, form_of
from collector.web.ticket_acts import ActsView, Done, acts_of, around_of, do, result_address, with_refused
from collector.web.tickets import contract_of, fault_name, fault_or_request
from collector.web.view import view_for
from telemetry.faults import FAULTS, SLA_NAMES

routes = web.RouteTableDef()


class ClockLine(msgspec.Struct, frozen=True):
    """A clock, and how it was counted."""

    clock: Clock
    status: str
    lines: Sequence[str]


class HistoryLine(msgspec.Struct, frozen=True):
    """Something that happened to it. Times are UTC ms."""

    number: int
    at_ms: int
    recorded_ms: int
    corrected_ms: int | None
    who: str
    what: str
    words: str


class ProblemLine(msgspec.Struct, frozen=True):
    """A problem that it is about, and its part in it."""

    role: str
    name: Mapping[str, str]
    vehicle: str
    device: str
    over_ms: int | None


class TicketView(msgspec.Struct, frozen=True, kw_only=True):
    """What the page shows."""

    site: str
    id: str
    ticket: Ticket | None
    problem: str = ""
    """Why it cannot be shown; ``history`` then holds its rows as they are."""
    vehicle_name: str = ""
    vehicle_phone: str = ""
    device_name: str = ""
    device_kind: str = ""
    class_name: Mapping[str, str] = msgspec.field(default_factory=dict)
    fault_name: Mapping[str, str] = msgspec.field(default_factory=dict)
    state_name: Mapping[str, str] = msgspec.field(default_factory=dict)
    first: Mapping[str, str] = msgspec.field(default_factory=dict)
    text: str = ""
    next: Clock | None = None
    assigned: str = ""
    standing: Sequence[str] = ()
    clocks: Sequence[ClockLine] = ()
    problems: Sequence[ProblemLine] = ()
    evidence: Sequence[Sequence[str]] = ()
    callers: Sequence[Caller] = ()
    history: Sequence[HistoryLine] = ()
    deliveries: Sequence[Delivery] = ()
    people: Mapping[str, str] = msgspec.field(default_factory=dict)
    """Names of the roster, by id."""
    around: Around | None = None
    acts: ActsView | None = None
    """What whoever looks may do; ``None``: nothing."""
    done: Outcome | None = None
    """What came of an act after which the page was opened."""


@routes.get("/tickets/{ticket}")
@page
async def ticket(request: web.Request) -> web.StreamResponse:
    """Show one ticket. 404 for one that there is not, 400 where ``?site=`` is needed."""
    head = await page_of(request)
    return _shown(head, await _view(request, head))


@routes.post("/tickets/{ticket}")
async def act(request: web.Request) -> web.StreamResponse:
    """Do what a form of the page says: 303 to the page with what came of it, or the form again with what is wrong.

    400: no form of the page. 409: it is not possible. 422: something is missing or cannot be read.
    """
    given = await form_of(request, MOST_FORM_BYTES)
    head = await page_of(request)
    view = await _view(request, head)
    if view.around is None:
        raise web.HTTPForbidden(text=nobody(principal_of(request)))
    result = await do(request, request.app[SOURCES], view.around, given)
    if isinstance(result, Done):
        return web.Response(status=303, headers={"Location": result_address(request, result)})
    view = await _view(request, head)  # the ticket may have moved on meanwhile
    return _shown(head, replace(view, acts=with_refused(view.acts, result.form)), result.status)


async def _view(request: web.Request, head: Page) -> TicketView:
    id, query, sources = request.match_info["ticket"], request.query, request.app[SOURCES]
    try:
        view = await asyncio.to_thread(ticket_of, sources, head, id, query.get("site"), principal_of(request))
    except SeveralTickets as error:
        raise web.HTTPBadRequest(text=str(error)) from None
    if view is None:
        raise web.HTTPNotFound(text=f"no ticket {id!r}")
    return replace(view, done=await asyncio.to_thread(shown, sources, query.get("done"), view.site, head.language))


def _shown(head: Page, view: TicketView, status: int = 200) -> web.Response:
    return render(head, "_ticket_parts.html" if head.part else "ticket.html", status, view=view)


def ticket_of(sources: Sources, page: Page, id: str, site: str | None, seen_by: Principal) -> TicketView | None:
    """Return what the page of a ticket shows to somebody, ``None`` if there is none. Blocks. Raises SeveralTickets."""
    found = read.events_of(sources.store.engine, id, site, view_for(seen_by, sources.fleet))
    if found is None:
        return None
    site, rows = found
    told_to: Sequence[Delivery] = ()
    if seen_by.may("notifications", site):
        told_to = deliveries.listed(sources.store.engine, site=site, ticket=id, limit=500)
    now = contracts_of(sources, [site])[site]
    people = {name: person.name for name, person in now.roster.items()}
    try:
        events = [read_event(*row) for row in rows]
        ticket = fold(site, id, events)
        contract = contract_of(sources.store, site, settled_ms(ticket, events)) or now
        may_act = bool(page.csrf_token) and seen_by.may("act", site)
        around = around_of(sources, page, seen_by, ticket, events, now) if may_act else None
        whole = _whole(sources, page, ticket, events, contract, told_to, people)
        return replace(whole, around=around, acts=acts_of(around, may_act=may_act))
    except Exception as error:  # a damaged event costs its ticket's words, not the page
        history = [HistoryLine(row[0], row[2], row[3], None, row[4], row[1], row[5]) for row in rows]
        problem = f"{type(error).__name__}: {error}"[:500]
        return TicketView(
            site=site, id=id, ticket=None, problem=problem, history=history, deliveries=told_to, people=people
        )


def _whole(
    sources: Sources,
    page: Page,
    ticket: Ticket,
    events: Sequence[TicketEvent],
    contract: Contract,
    told_to: Sequence[Delivery],
    people: Mapping[str, str],
) -> TicketView:
    language, now_ms = page.language, page.now_ms
    site = sources.fleet.sites.get(ticket.site)
    plan = site.vehicles.get(ticket.vehicle) if site else None
    device = next((one for _, id, one in plan.devices() if id == ticket.device), None) if plan else None
    fault = FAULTS.get(ticket.fault)
    clocks = clocks_of(ticket, events, contract)
    corrected = {event.body.number: event.body.at_ms for event in events if isinstance(event.body, Correction)}
    hardware = None if site is None else hardware_of(ticket, events, site)
    return TicketView(
        site=ticket.site,
        id=ticket.id,
        ticket=ticket,
        vehicle_name=(plan.name if plan else "") or ticket.vehicle,
        vehicle_phone=plan.phone if plan else "",
        device_name="" if ticket.device == ticket.vehicle else (device.name if device else "") or ticket.device,
        device_kind=device.kind if device else "",
        class_name=dict(zip(("zh", "en"), SLA_NAMES[ticket.sla_class], strict=True)),
        fault_name=fault_or_request(ticket.fault),
        state_name=state_name(ticket.state),
        first={"zh": fault.first_zh, "en": fault.first_en} if fault else {"zh": "", "en": ""},
        text=getattr(events[0].body, "text", ""),
        next=next_due(clocks) if ticket.is_open else None,
        assigned=who_name(ticket.assigned, contract, language) if ticket.assigned else "",
        standing=standing(ticket, events, contract, hardware, now_ms, language),
        clocks=[ClockLine(one, one.status(now_ms), told(one, contract.terms, now_ms, language)) for one in clocks],
        problems=[_problem(ref, held.role, held.over_event_ms) for ref, held in ticket.problems.items()],
        evidence=[_evidence(one, contract, language) for one in _evidence_of(events)],
        callers=ticket.callers,
        history=[
            HistoryLine(
                event.number, event.at_ms, event.recorded_ms, corrected.get(event.number),
                who_name(event.who, contract, language), event_name(event.what)[language],
                event_words(event, contract, language),
            )
            for event in events
        ],
        deliveries=told_to,
        people=people,
    )  # fmt: skip


def _problem(ref: ProblemRef, role: str, over_ms: int | None) -> ProblemLine:
    return ProblemLine(role, fault_name(ref.key.fault), ref.vehicle, ref.key.device, over_ms)


def _evidence_of(events: Sequence[TicketEvent]) -> list[Any]:
    found = (one for event in events for one in getattr(event.body, "evidence", ()))
    return [one for one in found if isinstance(one, msgspec.Struct)]


def _evidence(one: Any, contract: Contract, language: Language) -> list[str]:
    return list(evidence_lines(one, contract, language))
