"""The call-backs to make, those of whoever looks first: ``/call-backs``. The form is that of the ticket's page."""

from __future__ import annotations

import asyncio
import secrets as randomness
from collections.abc import Sequence
from typing import Final

import msgspec
from aiohttp import web

from collector.accounts.roles import Principal
from collector.core.calendar import YearMissingError
from collector.core.contract import Contract
from collector.core.tickets.events import Caller, Resolution, TicketEvent
from collector.core.tickets.offered import CALL_BACKS, hindrance
from collector.core.tickets.telling import last_draw, who_name
from collector.core.tickets.ticket import Ticket
from collector.core.tickets.timers import call_back_due_ms
from collector.read import tickets as read
from collector.web import act_forms
from collector.web.act_forms import CALL_BACK, ActForm, Around
from collector.web.app import SOURCES, Sources
from collector.web.identity import principal_of
from collector.web.outcome import Outcome, shown
from collector.web.pages import Page, contracts_of, page, page_of, render
from collector.web.ticket_acts import ActsView
from collector.web.tickets import fault_name
from collector.web.view import view_for

routes = web.RouteTableDef()
MOST: Final = 300
"""Tickets that wait for their call-back, at most shown."""


class CallBackLine(msgspec.Struct, frozen=True, kw_only=True):
    """A call-back to make. Times are UTC ms."""

    ticket: Ticket
    vehicle_name: str
    vehicle_phone: str
    name: str
    """Of the fault, or what the caller said."""
    callers: Sequence[Caller]
    done: Resolution | None
    done_by: str
    tried: Sequence[int]
    """When nobody was reached."""
    to: str
    """Who is to call; empty: nobody could be drawn."""
    is_mine: bool
    due_ms: int | None
    acts: ActsView | None
    """The form; ``None`` for who worked on the ticket or is nobody of the roster."""


@routes.get("/call-backs")
@page
async def call_backs(request: web.Request) -> web.StreamResponse:
    """Show what is to be called back; ``?done=`` shows what came of the one before."""
    head, sources = await page_of(request), request.app[SOURCES]
    lines = await asyncio.to_thread(lines_of, sources, head, principal_of(request))
    done: Outcome | None = None
    for site in head.sites:
        done = done or await asyncio.to_thread(shown, sources, request.query.get("done"), site.site, head.language)
    mine, others = ([one for one in lines if one.is_mine is wanted] for wanted in (True, False))
    return render(head, "call_backs.html", mine=mine, others=others, done=done)


def lines_of(sources: Sources, page: Page, seen_by: Principal) -> list[CallBackLine]:
    """Return every call-back that somebody may see, those of whoever looks first, then by when. Blocks."""
    view = view_for(seen_by, sources.fleet)
    rows = read.list_tickets(sources.store.engine, state="resolved", view=view, limit=MOST)
    contracts = contracts_of(sources, [site.site for site in page.sites])
    found = []
    for row in rows:
        whole = read.ticket(sources.store.engine, row.id, row.site)
        if whole is not None and row.site in contracts:
            found.append(_line(sources, page, seen_by, *whole, contracts[row.site]))
    return sorted(found, key=lambda one: (not one.is_mine, one.due_ms is None, one.due_ms or 0, one.ticket.id))


def _line(
    sources: Sources, page: Page, seen_by: Principal, ticket: Ticket, events: Sequence[TicketEvent], contract: Contract
) -> CallBackLine:
    site = sources.fleet.sites.get(ticket.site)
    plan = site.vehicles.get(ticket.vehicle) if site else None
    draw, who = last_draw(ticket, events), seen_by.person_in(contract.roster)
    resolved = next((one for one in reversed(events) if isinstance(one.body, Resolution)), None)
    try:
        due_ms = call_back_due_ms(ticket, events, contract)
    except YearMissingError:
        due_ms = None
    named = fault_name(ticket.fault)[page.language] or str(getattr(events[0].body, "text", ""))
    return CallBackLine(
        ticket=ticket,
        vehicle_name=(plan.name if plan else "") or ticket.vehicle or page.name(ticket.site),
        vehicle_phone=plan.phone if plan else "",
        name=named,
        callers=[one for one in ticket.to_ask() if one.name],
        done=resolved.body if resolved and isinstance(resolved.body, Resolution) else None,
        done_by=who_name(resolved.who, contract, page.language) if resolved else "",
        tried=[one.at_ms for one in ticket.not_reached],
        to=who_name(draw.to, contract, page.language) if draw else "",
        is_mine=draw is not None and draw.to == who,
        due_ms=due_ms,
        acts=_acts(page, ticket, events, contract, who) if page.may_act else None,
    )


def _acts(
    page: Page, ticket: Ticket, events: Sequence[TicketEvent], contract: Contract, who: str | None
) -> ActsView | None:
    if who is None or hindrance(CALL_BACKS[0], who, ticket, events, contract, page.now_ms) is not None:
        return None
    around = Around(
        ticket=ticket, events=events, contract=contract, who=who, zone=page.zone(ticket.site), language=page.language,
        now_ms=page.now_ms,
    )  # fmt: skip
    form = ActForm(CALL_BACK, act_forms.fields_of(CALL_BACK, around), is_first=True)
    return ActsView([form], ticket.last_event, randomness.token_urlsafe(12))
