"""Take a call: ``/call`` makes a ticket of a telephone call, or notes it on the vehicle's open one.

Made for somebody with the receiver in one hand: a vehicle is found by a few letters, and what is likely is a choice.
"""

from __future__ import annotations

import asyncio
import re
import secrets as randomness
import time
from collections.abc import Mapping, Sequence
from typing import Any, Final

import msgspec
from aiohttp import web
from msgspec.structs import replace

from collector.core.tickets.refused import Refused
from collector.core.tickets.texts import refusal, state_name
from collector.read import tickets as read
from collector.read.tickets import TicketRow
from collector.site.acts import TicketBody
from collector.web.act_forms import Choices, Field, moment
from collector.web.app import SOURCES, Sources
from collector.web.outcome import Outcome, shown, wait_for
from collector.web.pages import Page, page, page_of, render
from collector.web.people import keep_act
from collector.web.requests import MOST_FORM_BYTES, form_of
from collector.web.texts import Words
from collector.web.tickets import fault_or_request
from collector.web.view import view_of
from telemetry.faults import FAULTS, SLA_CLASSES, SLA_NAMES, severity
from telemetry.fleet import VehiclePlan

routes = web.RouteTableDef()
SYMPTOMS: Final[Mapping[str, str]] = {
    "no_picture": "video_all_down",
    "one_camera": "camera_down",
    "frozen": "stream_frozen",
    "no_network": "wan_no_data",
    "no_sound": "",
    "no_power": "",
    "tablet": "",
    "question": "",
}
"""What callers say, and the fault of the catalogue that it is, where it is one."""
CLASSES: Final[Mapping[str, str]] = {"question": "consultation"}
"""Classes of what is no fault."""
NEW: Final = "new"


class Meant(msgspec.Struct, frozen=True):
    """A vehicle that a text means."""

    site: str
    id: str
    plan: VehiclePlan

    @property
    def name(self) -> str:
        """How people call it."""
        return self.plan.name or self.id


class CallView(msgspec.Struct, frozen=True, kw_only=True):
    """What the page shows."""

    fields: Mapping[str, Field]
    once: str
    meant: Sequence[Meant] = ()
    """Vehicles that fit what was typed."""
    said: str = ""
    """What was typed for a vehicle."""
    open_tickets: Choices = ()
    problem: str = ""
    done: Outcome | None = None


@routes.get("/call")
@page
async def call(request: web.Request) -> web.StreamResponse:
    """Show the form; ``?vehicle=`` names the vehicle, ``?done=`` shows what came of the call before."""
    head, sources = await page_of(request), request.app[SOURCES]
    done: Outcome | None = None
    for site in head.sites:
        done = done or await asyncio.to_thread(shown, sources, request.query.get("done"), site.site, head.language)
    view = await _view(request, head, {"vehicle": request.query.get("vehicle", "")}, {})
    part = "_call_vehicle.html" if done is None else "_call_number.html"
    return render(head, part if head.part else "call.html", view=replace(view, done=done))


@routes.post("/call")
async def take_call(request: web.Request) -> web.StreamResponse:
    """Make a ticket of a call, or note it on an open one: 303 to the page with its number, or the form with what lacks.

    409: it is not possible. 422: something is missing or fits nothing.
    """
    given = await form_of(request, MOST_FORM_BYTES)
    head, sources = await page_of(request), request.app[SOURCES]
    view = await _view(request, head, given, {})
    if given.get("look"):  # it comes back from signing in
        again = Words(head.language).name("outcome", "again")
        return render(head, "call.html", view=replace(view, problem=again))
    problems = _problems(view, given, head)
    if problems:
        return render(head, "call.html", 422, view=await _view(request, head, given, problems))
    meant = view.meant[0] if view.meant else None
    site = meant.site if meant else head.sites[0].site
    body = _body(given, meant, head, site)
    try:
        action = await keep_act(request, site, body, given.get("once", "")[:50])
        outcome = await wait_for(sources, action, head.language)
        words = outcome.words if outcome.status == "refused" else ""
    except Refused as refused:
        words = refusal(refused, head.language)
    except (web.HTTPTooManyRequests, web.HTTPServiceUnavailable) as error:
        words = error.text or error.reason
    except (ValueError, TypeError) as error:
        words = str(error)[:300]
    if words:
        view = await _view(request, head, given, {})
        return render(head, "call.html", 409, view=replace(view, problem=words))
    return web.Response(status=303, headers={"Location": f"call?done={action}"})


async def _view(request: web.Request, head: Page, given: Mapping[str, str], problems: Mapping[str, str]) -> CallView:
    sources, view = request.app[SOURCES], view_of(request, "act")
    vehicles = [
        Meant(site, id, plan)
        for site, one in sources.fleet.sites.items()
        for id, plan in one.vehicles.items()
        if view.has(site, id)
    ]
    said = given.get("vehicle", "").strip()
    meant = meant_by(said, vehicles) if said else []
    found = await asyncio.to_thread(_open_tickets, sources, head, meant[0]) if len(meant) == 1 else []
    fields = {one.name: one for one in _fields(head, vehicles, found)}
    for name, one in fields.items():
        focus = name == "vehicle" and not problems
        fields[name] = replace(one, value=given.get(name, one.value), problem=problems.get(name, ""), takes_focus=focus)
    return CallView(
        fields=fields, once=randomness.token_urlsafe(12), meant=meant, said=said, open_tickets=found
    )  # fmt: skip


def meant_by(text: str, vehicles: Sequence[Meant]) -> list[Meant]:
    """Return the vehicles that a few letters mean: one exactly so, one of that number, else all that contain them."""
    wanted = _plain(text)
    names = [(one, [_plain(name) for name in (one.plan.name, one.plan.plate, one.id)]) for one in vehicles]
    exact = [one for one, plain in names if wanted in plain]
    if exact:
        return exact
    if wanted.isdecimal():
        numbered = [one for one in vehicles if int(wanted) in map(int, re.findall(r"[0-9]+", one.plan.name or one.id))]
        if numbered:
            return numbered
    return [one for one, plain in names if wanted and any(wanted in name for name in plain)]


def _plain(text: str) -> str:
    return re.sub(r"[\s·.\-]", "", text).casefold()


def _open_tickets(sources: Sources, head: Page, meant: Meant) -> Choices:
    key = (meant.site, meant.id)
    found: list[TicketRow] = read.open_tickets_of(sources.store.engine, [key]).get(key, [])
    return [
        (one.id, f"{one.id} {fault_or_request(one.fault)[head.language]} · {state_name(one.state)[head.language]}")
        for one in found
    ]


def _fields(head: Page, vehicles: Sequence[Meant], open_tickets: Choices) -> list[Field]:
    words, at = Words(head.language), 0 if head.language == "zh" else 1
    classes = [
        ("", words.name("choice", "as_the_fault")),
        *((one, SLA_NAMES[one][at]) for one in SLA_CLASSES if one != "hardware"),
    ]
    known = [(one.name, " ".join((one.plan.plate, one.id)).strip()) for one in vehicles]
    return [
        Field("vehicle", "ticket", "call.vehicle", choices=known),
        Field("symptom", "radio", "call.symptom", choices=[(one, words.name("symptom", one)) for one in SYMPTOMS]),
        Field("text", "line", "call.text"),
        Field("caller_name", "line", "caller_name"),
        Field("caller_phone", "line", "caller_phone"),
        Field("goes_to", "radio", "call.goes_to", True, [*open_tickets, (NEW, words.name("choice", NEW))]),
        Field("sla_class", "choice", "call.class", choices=classes),
        Field("at", "time", "call.at", hint="now_if_empty"),
    ]


def _problems(view: CallView, given: Mapping[str, str], head: Page) -> dict[str, str]:
    """Say what lacks, by field."""
    found = {}
    if view.said and len(view.meant) != 1:
        found["vehicle"] = "no_vehicle" if not view.meant else "which_vehicle"
    if not view.said and len(head.sites) != 1:
        found["vehicle"] = "needed"
    if not given.get("symptom") and not given.get("text", "").strip():
        found["text"] = "symptom_or_words"
    if not given.get("caller_name", "").strip() and not given.get("caller_phone", "").strip():
        found["caller_name"] = "who_calls"
    goes_to = given.get("goes_to", "")
    if view.open_tickets and goes_to not in (NEW, *(id for id, _ in view.open_tickets)):
        found["goes_to"] = "no_choice"
    for name in ("symptom", "sla_class"):
        if given.get(name) and given[name] not in {value for value, _ in view.fields[name].choices}:
            found[name] = "no_choice"
    if given.get("at") and moment(given["at"], head.sites[0].time_zone if head.sites else "UTC") is None:
        found["at"] = "no_time"
    return found


def _body(given: Mapping[str, str], meant: Meant | None, head: Page, site: str) -> TicketBody:
    """Return the act that a form without problems wants."""
    words, symptom = Words(head.language), given.get("symptom", "")
    name, phone = (given.get(f"caller_{part}", "").strip() for part in ("name", "phone"))
    caller = {"name": name or phone, "phone": phone}
    fault = SYMPTOMS.get(symptom, "")
    parts = [words.name("symptom", symptom) if symptom and not fault else "", given.get("text", "").strip()]
    text = words.colon.join(part for part in parts if part)
    at_ms = moment(given.get("at", ""), head.zone(site))
    goes_to = given.get("goes_to", NEW)
    if goes_to not in ("", NEW):
        if fault:
            text = words.colon.join(part for part in (words.name("symptom", symptom), text) if part)
        return TicketBody("call_attached", goes_to, at_ms, {"caller": caller, "text": text})
    of_fault = FAULTS[fault].sla_class if fault else "general"
    sla_class: Any = given.get("sla_class") or CLASSES.get(symptom, of_fault)
    now_ms = time.time_ns() // 1_000_000 if at_ms is None else at_ms
    says = {
        "source": "call", "fault": fault, "sla_class": sla_class, "severity": severity(sla_class),
        "vehicle": meant.id if meant else "", "device": "", "event_ms": now_ms, "detected_ms": now_ms, "text": text,
        "caller": caller,
    }  # fmt: skip
    return TicketBody("opened", at_ms=at_ms, body=says)
