"""What people want: ``POST /api/vehicles/{vehicle}/state``, ``GET /api/actions``, ``GET /api/actions/{id}``.

An action is a row. The owner of the vehicle's site, in whichever collector, steps it and marks it as taken in one
commit, so that it happens once (docs/architecture.md). What a dispatch system tells is signed (``missions.py``).
"""

from __future__ import annotations

import asyncio
from datetime import datetime
from typing import Annotated, Final

import msgspec
from aiohttp import web
from sqlalchemy.exc import IntegrityError

from collector.accounts.accounts import Author
from collector.core.vehicle.events import StateWish
from collector.site.acts import STATE_ACTION, StateBody
from collector.store import audit, queries
from collector.store.rows import Action
from collector.web import answer_types as shown
from collector.web.answers import PAGE, Limit, Moment, as_json, each, in_ms, iso
from collector.web.app import SOURCES, Sources, json
from collector.web.identity import author_of
from collector.web.operations import operation, query_of
from collector.web.persons import person_at
from collector.web.problems import unexpected
from collector.web.requests import body_of, refuse_foreign
from collector.web.vehicles import UNKNOWN, vehicle_meant
from collector.web.view import view_of

routes = web.RouteTableDef()
MOST_WHY: Final = 500
"""Characters of a reason."""
TOO_MANY: Final = "Too many acts wait for the vehicle, or for tickets of the site, already."


class StateRequest(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """The body of a request."""

    state: StateWish
    why: Annotated[str, msgspec.Meta(max_length=MOST_WHY)] = ""
    """Why, in words; shown beside the duty."""
    until: datetime | None = None
    """Until when that is expected to last. A person ends it: nothing ends by itself at that time."""


@routes.post("/api/vehicles/{vehicle}/state")
@operation(shown.Kept, status=202, body=StateRequest, refuses={404: UNKNOWN, 429: TOO_MANY})
async def set_vehicle_state(request: web.Request) -> web.Response:
    """Put a vehicle on duty, on a mission or into the workshop, as a person of the roster.

    It is done once the action shows ``taken``.
    """
    refuse_foreign(request)
    wish = await body_of(request, StateRequest)
    site, name = await vehicle_meant(request)
    if wish.until is not None and wish.until.tzinfo is None:
        raise unexpected("until", "a time with its zone such as 2026-05-08T16:00:00+08:00", wish.until.isoformat())
    id = await keep_state(request, site, name, StateBody(wish.state, wish.why, in_ms(wish.until)))
    return json(shown.Kept(action=id, status="waiting", url=f"/api/actions/{id}"), 202)


async def keep_state(request: web.Request, site: str, vehicle: str, wish: StateBody, once: str = "") -> int:
    """Keep the duty that somebody gives a vehicle for the site's owner; return the action's id.

    ``once``: what names this wish alone: said again it is the same action. Raises 403 for who is not in the roster, 429
    where too many wait already.
    """
    sources = request.app[SOURCES]
    _, who = await person_at(request, site, "duty")
    await refuse_too_many(sources, site, vehicle)
    body, key = msgspec.json.encode(wish).decode(), f"form/{site}/{who}/{once}" if once else ""
    said, by = " ".join(part for part in (wish.state, wish.why) if part), author_of(request)
    try:
        id = await asyncio.to_thread(keep, sources, site, vehicle, STATE_ACTION, body, who, by, said, key)
    except IntegrityError:
        kept = await asyncio.to_thread(queries.action_of_key, sources.store.engine, key)
        if kept is None:
            raise
        return kept.id
    if site in sources.wakes:
        sources.wakes[site]()
    return id


async def refuse_too_many(sources: Sources, site: str, vehicle: str) -> None:
    """Raise 429 where as many acts as may wait for a vehicle (empty: for its site's tickets) wait already."""
    waiting = await asyncio.to_thread(queries.count_waiting_actions, sources.store.engine, site, vehicle)
    if waiting >= sources.quotas.actions:
        raise web.HTTPTooManyRequests(text=f"{waiting} actions wait for {vehicle or site}: quotas.actions")


class ActionsQuery(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Which actions are wanted."""

    site: str | None = None
    """Only this site's."""
    vehicle: str | None = None
    """Only what is wanted of this vehicle, or of a new ticket about it."""
    ticket: str | None = None
    """Only what has acted on this ticket."""
    status: queries.ActionStatus | None = None
    """Only those that wait, are done, or were refused."""
    from_: Moment | None = msgspec.field(default=None, name="from")
    """Only those of this time or later."""
    until: Moment | None = None
    """Only those of before this time."""
    after: Annotated[int, msgspec.Meta(ge=0)] | None = None
    """The `next` of the page before."""
    limit: Limit = PAGE
    """Actions of a page."""


@routes.get("/api/actions")
@operation(shown.Actions, query=ActionsQuery)
async def actions(request: web.Request) -> web.Response:
    """List what people have wanted and what became of it, page by page, the newest first."""
    query, view = query_of(request, ActionsQuery), view_of(request, "act")
    found = await asyncio.to_thread(
        lambda: queries.list_actions(
            request.app[SOURCES].store.engine,
            view.narrow,
            site=query.site,
            vehicle=query.vehicle,
            ticket=query.ticket,
            status=query.status,
            from_ms=in_ms(query.from_),
            until_ms=in_ms(query.until),
            before=query.after,
            limit=query.limit + 1,
        )
    )
    more = str(found[query.limit - 1].id) if len(found) > query.limit else None
    return json(shown.Actions(actions=each(found[: query.limit], _show, "id", "site", "vehicle"), next=more))


@routes.get("/api/actions/{id:[0-9]{1,18}}")
@operation(shown.Action, refuses={404: "There is no such action, or not for whoever asks."})
async def action(request: web.Request) -> web.Response:
    """Show an action: ``waiting`` until the site's owner has taken it, ``refused`` if it could not be done."""
    id = int(request.match_info["id"])
    found = await asyncio.to_thread(queries.action, request.app[SOURCES].store.engine, id)
    if found is None or not view_of(request, "act").has(found.site, found.vehicle):
        raise web.HTTPNotFound(text=f"no action {id}")
    return json(each([found], _show, "id", "site", "vehicle")[0])


def _show(action: Action) -> shown.Action:
    return {
        "action": action.id,
        "status": "waiting" if action.taken_ms is None else "refused" if action.error else "taken",
        "site": action.site,
        "vehicle": action.vehicle,
        "kind": action.kind,
        "body": as_json(action.body),
        "by": action.who,
        "created_at": iso(action.created_ms),
        "taken_at": iso(action.taken_ms),
        "error": action.error,
        "ticket": action.ticket,
    }


def keep(
    sources: Sources, site: str, vehicle: str, kind: str, body: str, who: str, by: Author, said: str, key: str = ""
) -> int:
    """Keep what is wanted of a vehicle, return the action's id; ``by``, ``said``: for the audit log. Blocks.

    Raises IntegrityError where there is an action of this key.
    """
    with sources.store.transaction() as connection:
        id = queries.add_action(
            connection, site=site, vehicle=vehicle, kind=kind, body=body, who=who, created_ms=by.at_ms, key=key
        )  # fmt: skip
        audit.append(
            connection, at_ms=by.at_ms, who=by.who, via=by.via, what=f"vehicle.{kind}", site=site, subject=vehicle,
            detail={"action": id, "said": said, "person": who},
        )  # fmt: skip
    return id
