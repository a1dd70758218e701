"""What people do to tickets: ``POST /api/tickets``, ``POST /api/tickets/{ticket}/acts``.

Whoever acts is the person of the contract's roster that has signed in (``persons.py``): no field and no header names
them.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Mapping
from datetime import UTC, datetime
from typing import Any, Literal

import msgspec
from aiohttp import web
from sqlalchemy.exc import IntegrityError

from collector.accounts.accounts import Author
from collector.core.clocks import Spare
from collector.core.tickets.refused import Refused
from collector.core.tickets.texts import refusal
from collector.core.tickets.transitions import TABLE
from collector.read import tickets as read
from collector.site.acts import TICKET_ACTION, TicketBody, act_of
from collector.store import audit, queries
from collector.web import answer_types as shown
from collector.web.actions import TOO_MANY, refuse_too_many
from collector.web.app import SOURCES, Sources, json
from collector.web.identity import author_of
from collector.web.operations import operation
from collector.web.persons import person_at
from collector.web.problems import unexpected
from collector.web.requests import body_of, refuse_foreign
from collector.web.tickets import SiteQuery, ticket_meant
from collector.web.vehicles import site_of
from collector.web.view import view_of
from telemetry.faults import FAULTS, SlaClass, severity

routes = web.RouteTableDef()


class CallerSaid(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Who called."""

    name: str
    phone: str = ""


class OpenRequest(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """A call, fax or form that becomes a ticket. Times are ISO 8601 with their zone."""

    source: Literal["call", "fax", "form"] = "call"
    site: str = ""
    """Needed where neither the vehicle nor the collector says which."""
    vehicle: str = ""
    device: str = ""
    fault: str = ""
    """Of the catalogue, if the caller's words fit one."""
    sla_class: SlaClass | None = None
    """If not said the fault's, else ``general``."""
    caller: CallerSaid | None = None
    spare: Spare | None = None
    text: str = ""
    at: datetime | None = None
    """When the notice came; now if not said."""
    event_at: datetime | None = None
    """When it happened, if the caller knows."""


class ActRequest(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """What somebody did, or wants done, to a ticket."""

    act: str
    """A row of the table of docs/tickets.md."""
    at: datetime | None = None
    """When it happened; now if not said."""
    seen: int | None = None
    """The number of the last event that you have seen: the act is refused if the ticket has moved on since."""
    says: dict[str, Any] = {}
    """What the act says, by the names of its shape; those of times end in ``_at`` and are ISO 8601."""


@routes.post("/api/tickets")
@operation(
    shown.Kept, status=202, body=OpenRequest, refuses={404: "Nobody knows the vehicle or the site.", 429: TOO_MANY}
)
async def open_ticket(request: web.Request) -> web.Response:
    """Open a ticket from a call, fax or form.

    The action shows the ticket's number once it is ``taken``.
    """
    refuse_foreign(request)
    wish = await body_of(request, OpenRequest)
    sources = request.app[SOURCES]
    site = await asyncio.to_thread(_site_meant, sources, wish)
    if not view_of(request).has(site, wish.vehicle):
        raise web.HTTPNotFound(text=f"no site {site}" if not wish.vehicle else f"no vehicle {wish.vehicle[:50]!r}")
    fault = FAULTS.get(wish.fault)
    if wish.fault and fault is None:
        raise unexpected("fault", "one of the catalogue", wish.fault)
    sla_class = wish.sla_class or (fault.sla_class if fault else "general")
    at_ms = time.time_ns() // 1_000_000 if wish.at is None else _ms("at", wish.at)
    says: dict[str, Any] = {
        "source": wish.source,
        "fault": wish.fault,
        "sla_class": sla_class,
        "severity": severity(sla_class),
        "vehicle": wish.vehicle,
        "device": wish.device,
        "event_ms": at_ms if wish.event_at is None else _ms("event_at", wish.event_at),
        "detected_ms": at_ms,
        "text": wish.text,
    }
    if wish.caller is not None:
        says["caller"] = msgspec.to_builtins(wish.caller)
    if wish.spare is not None:
        says["spare"] = wish.spare
    body = TicketBody("opened", at_ms=None if wish.at is None else at_ms, body=says)
    return await _keep(request, site, body)


@routes.post("/api/tickets/{ticket}/acts")
@operation(
    shown.Kept,
    status=202,
    query=SiteQuery,
    body=ActRequest,
    refuses={404: "There is no such ticket, or none that the act names.", 429: TOO_MANY},
)
async def act_on_ticket(request: web.Request) -> web.Response:
    """Do something to a ticket, as the table of docs/tickets.md has it.

    It is done once the action shows ``taken``; ``refused`` says why it is not.
    """
    refuse_foreign(request)
    wish = await body_of(request, ActRequest)
    id = request.match_info["ticket"]
    site, _ = await ticket_meant(request)
    row = TABLE.get(wish.act)
    if row is None or wish.act == "opened" or "person" not in row.by:
        acts = ", ".join(what for what, one in TABLE.items() if "person" in one.by and what != "opened")
        raise unexpected("act", f"one of {acts}", wish.act)
    await asyncio.to_thread(_check_others, request.app[SOURCES], site, wish.says)
    at_ms = None if wish.at is None else _ms("at", wish.at)
    return await _keep(request, site, TicketBody(wish.act, id, at_ms, _stored(wish.says), wish.seen))


def _check_others(sources: Sources, site: str, says: Mapping[str, Any]) -> None:
    """Look whether the other tickets that an act names are there. Raises 404."""
    for name in ("other", "into"):
        if isinstance(other := says.get(name), str) and read.events_of(sources.store.engine, other, site) is None:
            raise web.HTTPNotFound(text=f"says.{name}: no ticket {other[:50]!r} of site {site}")


def _stored(says: Mapping[str, Any]) -> dict[str, Any]:
    """Return what an act says with its times as UTC milliseconds."""
    stored: dict[str, Any] = {}
    for name, value in says.items():
        if name.endswith("_at"):
            stored[f"{name.removesuffix('_at')}_ms"] = _ms(f"says.{name}", value)
        else:
            stored[name] = value
    return stored


def _ms(key: str, at: object) -> int:
    try:
        found = at if isinstance(at, datetime) else msgspec.convert(at, datetime)
        if found.tzinfo is None:
            raise ValueError("no zone")
        return round(found.astimezone(UTC).timestamp() * 1000)
    except (ValueError, OverflowError):
        raise unexpected(key, "a time with its zone such as 2026-05-08T16:00:00+08:00", str(at)) from None


async def _keep(request: web.Request, site: str, body: TicketBody) -> web.Response:
    """Keep the act for the site's owner. Raises 400 for what cannot be meant, and as ``keep_act``."""
    try:
        id = await keep_act(request, site, body)
    except Refused as refused:
        raise web.HTTPBadRequest(text=refusal(refused, "en")) from None
    except (ValueError, TypeError) as error:
        raise web.HTTPBadRequest(text=f"says: {error}") from None
    return json(shown.Kept(action=id, status="waiting", url=f"/api/actions/{id}"), 202)


async def keep_act(request: web.Request, site: str, body: TicketBody, once: str = "") -> int:
    """Keep the act for the site's owner; return the action's id.

    ``once``: what names this wish alone: said again it is the same action. Raises Refused and ValueError for what
    cannot be meant, 403 for who is not in the roster, 429 where too many wait already.
    """
    sources = request.app[SOURCES]
    contract, who = await person_at(request, site, "act")
    act_of(body, who, contract)
    vehicle = str(body.body.get("vehicle", "")) if body.what == "opened" else ""
    await refuse_too_many(sources, site, vehicle)
    key = f"form/{site}/{who}/{once}" if once else ""
    id = await asyncio.to_thread(_add, sources, site, vehicle, who, author_of(request), body, key)
    if site in sources.wakes:
        sources.wakes[site]()
    return id


def _add(sources: Sources, site: str, vehicle: str, who: str, by: Author, body: TicketBody, key: str) -> int:
    try:
        with sources.store.transaction() as connection:
            id = queries.add_action(
                connection, site=site, vehicle=vehicle, kind=TICKET_ACTION, body=msgspec.json.encode(body).decode(),
                who=who, created_ms=by.at_ms, key=key,
            )  # fmt: skip
            audit.append(
                connection, at_ms=by.at_ms, who=by.who, via=by.via, what=f"ticket.{body.what}", site=site,
                subject=body.ticket or vehicle, detail={"action": id, "person": who},
            )  # fmt: skip
    except IntegrityError:
        kept = queries.action_of_key(sources.store.engine, key)
        if kept is None:
            raise
        return kept.id
    return id


def _site_meant(sources: Sources, wish: OpenRequest) -> str:
    """Return the site of a new ticket. Raises 404 for one that nobody knows, 400 where several could be meant."""
    if wish.vehicle:
        site = site_of(sources, wish.vehicle)
        if site is None:
            raise web.HTTPNotFound(text=f"no vehicle {wish.vehicle[:50]!r}")
        if wish.site not in ("", site):
            raise unexpected("site", f"{site}, the vehicle's", wish.site)
        return site
    known = sorted(sources.fleet.sites)
    if wish.site:
        if wish.site not in known:
            raise web.HTTPNotFound(text=f"no site {wish.site[:50]!r}")
        return wish.site
    if len(known) != 1:
        raise unexpected("site", f"one of {', '.join(known)}", None)
    return known[0]
