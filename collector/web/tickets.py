"""Tickets: ``GET /api/tickets`` by page, ``GET /api/tickets/{ticket}``."""

from __future__ import annotations

import asyncio
import re
import time
from collections.abc import Mapping, Sequence
from typing import Annotated, Any, Final

import msgspec
from aiohttp import web

from collector.core.clock_words import told
from collector.core.clocks import Clock, Terms
from collector.core.contract import DEFAULT, Contract
from collector.core.problems import Evidence
from collector.core.tickets.events import Correction, Opening, TicketEvent
from collector.core.tickets.fold import fold
from collector.core.tickets.hardware import Hardware, hardware_of
from collector.core.tickets.promises import clocks_of, settled_ms
from collector.core.tickets.telling import event_words, evidence_lines, last_draw, standing, who_name
from collector.core.tickets.texts import TEXTS, event_name, state_name
from collector.core.tickets.ticket import Ticket
from collector.read import changes as numbers
from collector.read import tickets as read
from collector.site.in_force import CONTRACT
from collector.store.editions import latest_of
from collector.store.errors import SeveralTickets
from collector.store.store import Store
from collector.store.ticket_rows import read_event
from collector.web import ticket_types as shown
from collector.web.answers import MOST, PAGE, Limit, Moment, both, both_lines, each, in_ms, iso
from collector.web.app import SOURCES, json
from collector.web.identity import principal_of
from collector.web.operations import operation, query_of
from collector.web.problems import unexpected
from collector.web.revisions import revision_of, revisions_of
from collector.web.view import view_of, without_what_is_not_theirs
from telemetry.faults import FAULTS, SlaClass
from telemetry.fleet import Site

routes = web.RouteTableDef()
_contract: Final = msgspec.json.Decoder(Contract)


class TicketsQuery(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Which tickets are wanted, and in which order."""

    state: read.StateFilter | None = None
    """`open`: somebody owes something; `ended`: nobody does any more; or one of the states of a ticket's life."""
    site: str | None = None
    """Only this site's."""
    vehicle: str | None = None
    """Only this vehicle's."""
    device: str | None = None
    """Only about devices of this name."""
    fault: str | None = None
    """Only about this fault of the catalogue."""
    sla_class: SlaClass | None = None
    """Only of this class."""
    assigned: str | None = None
    """Only those assigned to this person of the roster."""
    ticket: Annotated[list[str], msgspec.Meta(max_length=500)] = []
    """Only these; again and again."""
    since: str | None = None
    """A `revision`: only what has changed after it."""
    from_: Moment | None = msgspec.field(default=None, name="from")
    """Only those opened (or changed, as `order` says) at this time or later."""
    until: Moment | None = None
    """Only those opened (or changed) before this time."""
    order: read.Order = "opened"
    """The last opened first, or the last changed."""
    after: str | None = None
    """The `next` of the page before."""
    limit: Limit | None = None
    """Tickets of a page; 200 if it is not given, all that `ticket` names."""


@routes.get("/api/tickets")
@operation(shown.Tickets, query=TicketsQuery)
async def tickets(request: web.Request) -> web.Response:
    """List tickets by page.

    The last opened come first, or the last changed. Whoever follows `next` to the end has seen every ticket that was
    there at the beginning.
    """
    query, view, engine = query_of(request, TicketsQuery), view_of(request), request.app[SOURCES].store.engine
    most = query.limit or (MOST if query.ticket else PAGE)
    now = await asyncio.to_thread(numbers.revisions, engine)
    found = await asyncio.to_thread(
        lambda: read.list_tickets(
            engine,
            site=query.site,
            state=query.state,
            vehicle=query.vehicle,
            device=query.device,
            fault=query.fault,
            sla_class=query.sla_class,
            assigned=query.assigned,
            ids=query.ticket or None,
            since=revisions_of(query.since),
            from_ms=in_ms(query.from_),
            until_ms=in_ms(query.until),
            order=query.order,
            after=_after(query.after),
            limit=most + 1,
            view=view,
        )
    )
    more = f"{'.'.join(map(str, read.After.of(found[most - 1], query.order)))}" if len(found) > most else None
    rows = each(found[:most], ticket_row, "site", "id", "vehicle")
    return json(shown.Tickets(tickets=rows, next=more, revision=revision_of(now, view)))


def _after(text: str | None) -> read.After | None:
    if text is None:
        return None
    at_ms, _, rest = text.partition(".")
    site, dot, id = rest.partition(".")
    if not re.fullmatch(r"-?[0-9]{1,18}", at_ms) or not dot:
        raise unexpected("after", "the `next` of a page", text)
    return read.After(int(at_ms), site, id)


class SiteQuery(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Which ticket of that number is meant."""

    site: str | None = None
    """Needed where several sites have a ticket of this number."""


@routes.get("/api/tickets/{ticket}")
@operation(shown.Ticket, query=SiteQuery, refuses={404: "There is no such ticket, or not for whoever asks."})
async def ticket(request: web.Request) -> web.Response:
    """Show one ticket with its history, clocks and evidence."""
    id, sources = request.match_info["ticket"], request.app[SOURCES]
    site, rows = await ticket_meant(request)
    whole = await asyncio.to_thread(_whole, sources.store, sources.fleet.sites.get(site), id, site, rows)
    return json(without_what_is_not_theirs(whole, principal_of(request), site))


async def ticket_meant(request: web.Request) -> tuple[str, list[tuple[Any, ...]]]:
    """Return the site of the ticket that a request names, and what happened to it (``read.events_of``).

    Raises 404 for one that there is not, or not for whoever asks; 400 where ``?site=`` is needed.
    """
    id, engine = request.match_info["ticket"], request.app[SOURCES].store.engine
    try:
        found = await asyncio.to_thread(read.events_of, engine, id, query_of(request, SiteQuery).site, view_of(request))
    except SeveralTickets as error:
        raise web.HTTPBadRequest(text=str(error)) from None
    if found is None:
        raise web.HTTPNotFound(text=f"no ticket {id[:50]!r}")
    return found


def contract_of(store: Store, site: str, at_ms: int | None = None) -> Contract | None:
    """Return the contract in force at a site, now or then; ``None`` where no owner has put one in yet. Blocks."""
    content = latest_of(store, site, CONTRACT, at_ms)
    return None if content is None else _contract.decode(content)


def _whole(store: Store, plan: Site | None, id: str, site: str, rows: Sequence[tuple[Any, ...]]) -> Any:
    """Return a ticket from its rows, what is settled under the contract of then; where they make none, why. Blocks."""
    try:
        events = [read_event(*row) for row in rows]
        ticket = fold(site, id, events)
        return show_ticket(ticket, events, contract_of(store, site, settled_ms(ticket, events)), plan)
    except Exception as error:
        names = ("number", "what", "at_ms", "recorded_ms", "who", "text")
        history = [dict(zip(names, row, strict=True)) for row in rows]
        problem = f"cannot be shown: {type(error).__name__}: {error}"[:500]
        return {"id": id, "site": site, "history": history, "problem": problem}


def fault_name(id: str) -> dict[str, str]:
    """Return the name of a fault by language."""
    fault = FAULTS.get(id)
    return {"zh": fault.zh, "en": fault.en} if fault else {"zh": id, "en": id}


def fault_or_request(id: str) -> dict[str, str]:
    """Return the name of a fault by language; of a ticket of a call that names none, that it is a request."""
    return fault_name(id) if id else {language: texts.standing["request"] for language, texts in TEXTS.items()}


def ticket_row(ticket: read.TicketRow | Ticket) -> shown.TicketRow:
    """Return a ticket as lists show it."""
    fault = FAULTS.get(ticket.fault)
    return {
        "id": ticket.id,
        "site": ticket.site,
        "vehicle": ticket.vehicle,
        "device": ticket.device,
        "fault": ticket.fault,
        "fault_name": both(fault_name(ticket.fault).__getitem__),
        "first": {"zh": fault.first_zh, "en": fault.first_en} if fault else {"zh": "", "en": ""},
        "severity": ticket.severity,
        "sla_class": ticket.sla_class,
        "state": ticket.state,
        "state_name": both(state_name(ticket.state).__getitem__),
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


def show_ticket(
    ticket: Ticket, events: Sequence[TicketEvent], contract: Contract | None, plan: Site | None = None
) -> shown.Ticket:
    """Return a ticket with all that happened to it and what it rests on; ``plan``: its site in the fleet file."""
    hardware = None if plan is None else hardware_of(ticket, events, plan)
    corrected = {event.body.number: event.body.at_ms for event in events if isinstance(event.body, Correction)}
    return {
        **ticket_row(ticket),
        "source": ticket.source,
        "key": "" if ticket.root is None else ticket.root.key.text(),
        "rule": ticket.rule,
        "rule_version": ticket.rule_version,
        "text": getattr(events[0].body, "text", ""),
        "callers": [msgspec.to_builtins(caller) for caller in ticket.callers],
        "readings_good_since": iso(ticket.over_event_ms if ticket.is_open else None),
        "standing": both_lines(
            lambda language: standing(
                ticket, events, contract or DEFAULT, hardware, time.time_ns() // 1_000_000, language
            )
        ),
        "hardware": None if hardware is None else _hardware(hardware),
        "call_back": _call_back(ticket, events),
        "clocks": []
        if contract is None
        else [_clock(clock, contract.terms) for clock in clocks_of(ticket, events, contract)],
        "problems": [
            {"vehicle": ref.vehicle, "key": ref.key.text(), "role": held.role} for ref, held in ticket.problems.items()
        ],
        "links": [{"ticket": link.other, "relation": link.relation} for link in ticket.links],
        "evidence": [
            _evidence(evidence, contract or DEFAULT)
            for event in events
            for evidence in getattr(event.body, "evidence", ())
            if not isinstance(evidence, str)
        ],
        "history": [_told(event, corrected.get(event.number), contract or DEFAULT) for event in events],
    }


def _evidence(evidence: Evidence, contract: Contract) -> shown.Evidence:
    """Return what a ticket rests on; times in its samples as ISO 8601."""
    return {
        "rule": evidence.rule,
        "rule_version": evidence.rule_version,
        "samples": [_sample(sample) for sample in evidence.samples],
        "text": evidence.text,
        "kit": [_sample(one) for one in evidence.kit],
        "forecast": None if evidence.forecast is None else msgspec.to_builtins(evidence.forecast),
        "words": both_lines(lambda language: evidence_lines(evidence, contract, language)),
    }


def _clock(clock: Clock, terms: Terms) -> shown.Clock:
    """Return a clock and how it was counted."""
    now_ms = time.time_ns() // 1_000_000
    return {
        "clock": clock.what,
        "sla_class": clock.sla_class,
        "start_at": iso(clock.start_ms),
        "due_at": iso(clock.due_ms),
        "ended_at": iso(clock.ended_ms),
        "missing_year": clock.missing_year,
        "status": clock.status(now_ms),
        "told": both_lines(lambda language: told(clock, terms, now_ms, language)),
    }


def _hardware(found: Hardware) -> shown.Hardware:
    """Return whether the contract's R8 applies, and by what."""
    return {
        "r8": found.applies,
        "lacks": list(found.lacks),
        "warranty_until": None if found.warranty_until is None else found.warranty_until.isoformat(),
        "spare": found.spare,
        "spares": [{"kind": spare.kind, "name": spare.name, "place": spare.place} for spare in found.spares],
    }


def _call_back(ticket: Ticket, events: Sequence[TicketEvent]) -> shown.CallBack | None:
    """Return who is to call back whom, and how that was drawn; ``None`` for one that is not resolved."""
    if ticket.state != "resolved":
        return None
    draw = last_draw(ticket, events)
    return {
        "to": "" if draw is None else draw.to,
        "among": [] if draw is None else list(draw.among),
        "seed": "" if draw is None else draw.seed,
        "callers": [msgspec.to_builtins(caller) for caller in ticket.to_ask()],
        "not_reached_at": [iso(tried.at_ms) for tried in ticket.not_reached],
    }


def _told(event: TicketEvent, corrected_ms: int | None, contract: Contract) -> shown.TicketEvent:
    body = msgspec.to_builtins(event.body)
    opening = isinstance(event.body, Opening)  # what that says stands on the ticket itself
    more = {} if opening else {name: value for name, value in body.items() if name not in ("text", "evidence")}
    return {
        "number": event.number,
        "at": iso(event.at_ms),
        "corrected_at": iso(corrected_ms),
        "recorded_at": iso(event.recorded_ms),
        "who": event.who,
        "what": event.what,
        "what_name": both(event_name(event.what).__getitem__),
        "text": body.get("text", ""),
        "who_name": both(lambda language: who_name(event.who, contract, language)),
        "words": both(lambda language: event_words(event, contract, language)),
        "says": {name.removesuffix("_ms") + "_at" if name.endswith("_ms") else name: iso(value)
                 if name.endswith("_ms") else value for name, value in more.items()},
    }  # fmt: skip


def _sample(sample: Mapping[str, Any]) -> dict[str, Any]:
    return {**{key: value for key, value in sample.items() if key != "time_ms"}, "at": iso(sample.get("time_ms"))}
