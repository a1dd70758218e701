"""What is quiet now: silenced tickets and vehicles in the workshop, by whom, why and until when. ``/silences``."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from typing import Final

import msgspec
from aiohttp import web

from collector.core.tickets.events import Silence
from collector.core.tickets.telling import who_name
from collector.read import tickets as read
from collector.read import vehicles as vehicles_of
from collector.read.tickets import TicketRow
from collector.read.view import View
from collector.site.acts import STATE_ACTION, StateBody
from collector.store import queries
from collector.web.app import SOURCES, Sources
from collector.web.pages import Page, contracts_of, page, page_of, render
from collector.web.tickets import fault_or_request
from collector.web.view import view_of

routes = web.RouteTableDef()
MOST: Final = 1000
"""Open tickets among which silenced ones are looked for, and vehicles in the workshop, at most."""


class QuietLine(msgspec.Struct, frozen=True):
    """Something about which nobody is told. Times are UTC ms."""

    site: str
    id: str
    vehicle: str
    vehicle_name: str
    name: Mapping[str, str]
    """Of the fault; of a vehicle nothing."""
    since_ms: int | None
    until_ms: int | None
    who: str
    """Who has set it; empty: the fleet file says so."""
    why: str


@routes.get("/silences")
@page
async def silences(request: web.Request) -> web.StreamResponse:
    """Show silenced tickets and vehicles in the workshop."""
    head, sources, view = await page_of(request), request.app[SOURCES], view_of(request)
    tickets, vehicles = await asyncio.to_thread(
        lambda: (silenced_tickets(sources, head, view), workshop(sources, head, view))
    )
    return render(head, "silences.html", tickets=tickets, vehicles=vehicles)


def silenced_tickets(sources: Sources, page: Page, view: View) -> list[QuietLine]:
    """Return the tickets about which nobody is told now, the first to end first. Blocks."""
    rows = read.list_tickets(sources.store.engine, state="open", limit=MOST, view=view)
    silent = [row for row in rows if row.silenced_until_ms is not None and row.silenced_until_ms > page.now_ms]
    contracts = contracts_of(sources, [site.site for site in page.sites])
    found = []
    for row in sorted(silent, key=lambda row: row.silenced_until_ms or 0):
        whole = read.ticket(sources.store.engine, row.id, row.site)
        said = next((one for one in reversed(whole[1]) if isinstance(one.body, Silence)), None) if whole else None
        why = said.body.why if said and isinstance(said.body, Silence) else ""
        who = who_name(said.who, contracts[row.site], page.language) if said and row.site in contracts else ""
        found.append(_of_ticket(sources, row, said.at_ms if said else None, who, why))
    return found


def _of_ticket(sources: Sources, row: TicketRow, since_ms: int | None, who: str, why: str) -> QuietLine:
    name = _name(sources, row.site, row.vehicle)
    fault = fault_or_request(row.fault)
    return QuietLine(row.site, row.id, row.vehicle, name, fault, since_ms, row.silenced_until_ms, who, why)


def workshop(sources: Sources, page: Page, view: View) -> list[QuietLine]:
    """Return the vehicles in the workshop. Blocks."""
    engine = sources.store.engine
    rows = vehicles_of.list_vehicles(engine, state="workshop", limit=MOST, view=view)
    return [last_duty(sources, page, row.site, row.vehicle) for row in rows]


def last_duty(sources: Sources, page: Page, site: str, vehicle: str) -> QuietLine:
    """Return who last gave a vehicle a duty, why and until when; nobody: the fleet file says so. Blocks."""
    found = queries.list_actions(
        sources.store.engine, lambda query, *_: query, site=site, vehicle=vehicle, status="taken", limit=20
    )
    action = next((one for one in found if one.kind == STATE_ACTION), None)
    name = _name(sources, site, vehicle)
    if action is None:
        return QuietLine(site, "", vehicle, name, {}, None, None, "", "")
    try:
        said = msgspec.json.decode(action.body, type=StateBody)
    except msgspec.DecodeError:
        said = StateBody("on_duty")
    contract = contracts_of(sources, [site])[site]
    who = who_name(action.who, contract, page.language)
    return QuietLine(site, "", vehicle, name, {}, action.taken_ms, said.until_ms, who, said.why)


def _name(sources: Sources, site: str, vehicle: str) -> str:
    plan = sources.fleet.sites[site].vehicles.get(vehicle) if site in sources.fleet.sites else None
    return (plan.name if plan else "") or vehicle
