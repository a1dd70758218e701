"""What people do on the page of a ticket: its forms, and ``POST /tickets/{ticket}`` that takes one of them.

An act goes the way of the API's (``people.py``). A form that is refused comes back as it was filled, with why.
"""

from __future__ import annotations

import asyncio
import secrets as randomness
from collections.abc import Mapping, Sequence
from typing import Final
from urllib.parse import urlencode

import msgspec
from aiohttp import web
from msgspec.structs import replace

from collector.accounts.roles import Principal
from collector.core.contract import Contract
from collector.core.tickets.events import TicketEvent
from collector.core.tickets.offered import offered
from collector.core.tickets.refused import Refused
from collector.core.tickets.texts import refusal
from collector.core.tickets.ticket import Ticket
from collector.core.tickets.transitions import TABLE
from collector.read import tickets as read
from collector.read import vehicles as vehicles_of
from collector.site.acts import TicketBody
from collector.web import act_forms
from collector.web.act_forms import ActForm, Around, Choices, Read
from collector.web.app import Sources
from collector.web.outcome import wait_for
from collector.web.pages import Page
from collector.web.people import keep_act
from collector.web.texts import Words
from collector.web.tickets import fault_name, fault_or_request
from collector.web.view import view_for

_MOST_OTHERS: Final = 300


class ActsView(msgspec.Struct, frozen=True):
    """The forms of a ticket for whoever looks."""

    forms: Sequence[ActForm] = ()
    seen: int = 0
    """The number of the ticket's last event."""
    once: str = ""
    """What makes of a form that is sent twice one act."""
    is_stranger: bool = False
    """Their role may act, but they are nobody of the roster."""

    @property
    def first(self) -> list[ActForm]:
        """What is likely done next, and what was refused."""
        return [form for form in self.forms if form.is_first or form.is_bad]

    @property
    def others(self) -> list[ActForm]:
        """The rest."""
        return [form for form in self.forms if not (form.is_first or form.is_bad)]


def acts_of(around: Around | None, *, may_act: bool) -> ActsView | None:
    """Return the forms; ``None`` for who may do nothing. ``around``: ``None`` for nobody of the roster."""
    if not may_act:
        return None
    if around is None:
        return ActsView(is_stranger=True)
    rows = offered(around.who, around.ticket, around.events, around.contract, around.now_ms)
    found = act_forms.forms(rows, around)
    return ActsView(found, around.ticket.last_event, randomness.token_urlsafe(12))


def around_of(
    sources: Sources, page: Page, seen_by: Principal, ticket: Ticket, events: Sequence[TicketEvent], contract: Contract
) -> Around | None:
    """Return what the choices of a ticket's forms are made of; ``None`` for nobody of the roster. Blocks."""
    who = seen_by.person_in(contract.roster)
    if who is None:
        return None
    return Around(
        ticket=ticket,
        events=events,
        contract=contract,
        who=who,
        zone=page.zone(ticket.site),
        language=page.language,
        now_ms=page.now_ms,
        others=_others(sources, page, seen_by, ticket),
        problems=_problems(sources, page, ticket),
    )


def _others(sources: Sources, page: Page, seen_by: Principal, ticket: Ticket) -> Choices:
    """Return the other open tickets of the site, those of the same vehicle first."""
    view, site = view_for(seen_by, sources.fleet), sources.fleet.sites.get(ticket.site)
    found = read.list_tickets(sources.store.engine, site=ticket.site, state="open", limit=_MOST_OTHERS, view=view)
    names = {} if site is None else {id: plan.name for id, plan in site.vehicles.items()}
    others = sorted((one for one in found if one.id != ticket.id), key=lambda one: one.vehicle != ticket.vehicle)
    return [
        (one.id, " ".join((names.get(one.vehicle) or one.vehicle, fault_or_request(one.fault)[page.language])).strip())
        for one in others
    ]


def _problems(sources: Sources, page: Page, ticket: Ticket) -> Choices:
    """Return the problems of the vehicle that are not the ticket's."""
    key = (ticket.site, ticket.vehicle)
    row = vehicles_of.vehicles_of(sources.store.engine, [key]).get(key) if ticket.vehicle else None
    ours = {ref.key.text() for ref in ticket.problems}
    return [
        (f"{ticket.vehicle}\t{one.key}", f"{fault_name(one.fault)[page.language]} {one.device}")
        for one in (row.details.problems if row else ())
        if one.key not in ours
    ]


# --- doing it ---------------------------------------------------------------------------------------------------------


class Done(msgspec.Struct, frozen=True):
    """An act that was kept, and perhaps taken."""

    action: int


class NotDone(msgspec.Struct, frozen=True):
    """A form that was refused, as it was filled."""

    form: ActForm
    status: int


async def do(request: web.Request, sources: Sources, around: Around, given: Mapping[str, str]) -> Done | NotDone:
    """Do what a filled form says. Raises 400 for no form of ours, 403 for nobody of the roster."""
    what = given.get("act", "")
    if what != act_forms.CALL_BACK and (what == "opened" or what not in TABLE or "person" not in TABLE[what].by):
        raise web.HTTPBadRequest(text=f"act: expected a form of this page, found {what[:50]!r}")
    ticket, language = around.ticket, around.language
    form = ActForm(what, act_forms.fields_of(what, around), is_first=True)
    if given.get("look"):  # it comes back from signing in
        return NotDone(act_forms.filled(form, given, {}, Words(language).name("outcome", "again")), 200)
    found = act_forms.read(what, given, around)
    await asyncio.to_thread(_check_others, sources, ticket.site, found)
    if found.problems:
        return NotDone(act_forms.filled(form, given, found.problems), 422)
    seen = given.get("seen", "")
    body = TicketBody(found.what, ticket.id, found.at_ms, found.says, int(seen) if _is_number(seen) else None)
    try:
        action = await keep_act(request, ticket.site, body, given.get("once", "")[:50])
    except Refused as refused:
        return NotDone(act_forms.filled(form, given, {}, refusal(refused, language)), 409)
    except (web.HTTPTooManyRequests, web.HTTPServiceUnavailable) as error:
        return NotDone(act_forms.filled(form, given, {}, error.text or error.reason), error.status)
    except (ValueError, TypeError) as error:
        return NotDone(act_forms.filled(form, given, {}, str(error)[:300]), 422)
    outcome = await wait_for(sources, action, language)
    if outcome.status == "refused":
        return NotDone(act_forms.filled(form, given, {}, outcome.words), 409)
    return Done(action)


def _check_others(sources: Sources, site: str, found: Read) -> None:
    for name in ("other", "into"):
        if name in found.says and read.events_of(sources.store.engine, found.says[name], site) is None:
            found.problems[name] = "no_ticket"


def _is_number(text: str) -> bool:
    return text.isascii() and text.isdecimal() and len(text) <= 9


def with_refused(view: ActsView | None, refused: ActForm) -> ActsView:
    """Return the forms with the refused one first, whether the ticket still has it or not."""
    view = view or ActsView()
    return replace(view, forms=[refused, *(form for form in view.forms if form.what != refused.what)])


def result_address(request: web.Request, done: Done) -> str:
    """Return where what came of an act is shown, relative to the ticket's page: there, or where the form stood."""
    if request.query.get("back") == "call-backs":
        return f"../call-backs?done={done.action}"
    here = request.path.rpartition("/")[2]
    query = {name: request.query[name] for name in ("site",) if name in request.query}
    return f"{here}?{urlencode({**query, 'done': done.action})}"
