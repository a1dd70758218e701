"""What people do on the page of a vehicle: give it a duty, silence its tickets; ``POST /vehicles/{vehicle}``."""

from __future__ import annotations

import secrets as randomness
from collections.abc import Mapping, Sequence
from typing import Any, Final, get_args

import msgspec
from aiohttp import web

from collector.core.tickets.refused import Refused
from collector.core.tickets.texts import refusal
from collector.core.vehicle.events import StateWish
from collector.site.acts import StateBody, TicketBody
from collector.web import act_forms
from collector.web.act_forms import ActForm, Field, moment, typed
from collector.web.actions import MOST_WHY, keep_state
from collector.web.app import Sources
from collector.web.outcome import wait_for
from collector.web.pages import Page
from collector.web.people import keep_act
from collector.web.texts import Words
from collector.web.ticket_acts import ActsView, Done, NotDone

_SILENT_MS: Final = 4 * 3_600_000
"""How long a silence is proposed to last."""


class Subject(msgspec.Struct, frozen=True):
    """The vehicle that somebody acts on."""

    site: str
    vehicle: str
    tickets: Sequence[str]
    """Its open tickets."""


def vehicle_forms(page: Page, subject: Subject) -> ActsView:
    """Return the forms of a vehicle."""
    whats = ("duty", *(("silence_vehicle",) if subject.tickets else ()))
    return ActsView([ActForm(what, _fields(what, page, subject)) for what in whats], once=randomness.token_urlsafe(12))


def _fields(what: str, page: Page, subject: Subject) -> list[Field]:
    if what == "silence_vehicle":
        until = typed(page.now_ms + _SILENT_MS, page.zone(subject.site))
        return [
            Field("until", "time", "silenced.until_ms", True, value=until),
            Field("why", "line", "silenced.why", True),
        ]
    words = Words(page.language)
    duties = [(one, words.name("duty", one)) for one in get_args(StateWish)]
    return [
        Field("state", "radio", "duty.state", True, duties),
        Field("why", "line", "duty.why"),
        Field("until", "time", "duty.until"),
    ]


async def do(
    request: web.Request, sources: Sources, page: Page, subject: Subject, given: Mapping[str, str]
) -> Done | NotDone:
    """Do what a filled form says. Raises 400 for no form of ours, 403 for nobody of the roster."""
    what = given.get("act", "")
    if what not in ("duty", "silence_vehicle"):
        raise web.HTTPBadRequest(text=f"act: expected a form of this page, found {what[:50]!r}")
    form = ActForm(what, _fields(what, page, subject))
    if given.get("look"):  # it comes back from signing in
        return NotDone(act_forms.filled(form, given, {}, Words(page.language).name("outcome", "again")), 200)
    problems = _problems(form, page, subject, given)
    if problems:
        return NotDone(act_forms.filled(form, given, problems), 422)
    until_ms = moment(given.get("until", ""), page.zone(subject.site))
    why, once = given.get("why", "").strip(), given.get("once", "")[:60]
    try:
        if what == "duty":
            state: Any = given["state"]
            action = await keep_state(request, subject.site, subject.vehicle, StateBody(state, why, until_ms), once)
        for ticket in subject.tickets if what == "silence_vehicle" else ():
            body = TicketBody("silenced", ticket, None, {"until_ms": until_ms, "why": why})
            action = await keep_act(request, subject.site, body, f"{once}/{ticket}")
    except Refused as refused:
        return NotDone(act_forms.filled(form, given, {}, refusal(refused, page.language)), 409)
    except (web.HTTPTooManyRequests, web.HTTPServiceUnavailable) as error:
        return NotDone(act_forms.filled(form, given, {}, error.text or error.reason), error.status)
    except (ValueError, TypeError) as error:
        return NotDone(act_forms.filled(form, given, {}, str(error)[:300]), 422)
    outcome = await wait_for(sources, action, page.language)
    if outcome.status == "refused":
        return NotDone(act_forms.filled(form, given, {}, outcome.words), 409)
    return Done(action)


def _problems(form: ActForm, page: Page, subject: Subject, given: Mapping[str, str]) -> dict[str, str]:
    """Say what lacks: whoever takes a vehicle out of service says why."""
    found = {one.name: "needed" for one in form.fields if one.required and not given.get(one.name, "").strip()}
    if form.what == "duty" and given.get("state") == "workshop" and not given.get("why", "").strip():
        found["why"] = "needed"
    if len(given.get("why", "").strip()) > MOST_WHY:
        found["why"] = "too_long"
    if form.what == "duty" and given.get("state") and given["state"] not in get_args(StateWish):
        found["state"] = "no_choice"
    until = given.get("until", "").strip()
    until_ms = moment(until, page.zone(subject.site))
    if until and until_ms is None:
        found["until"] = "no_time"
    elif until_ms is not None and until_ms <= page.now_ms:
        found["until"] = "past"
    return found
