"""What people want of a vehicle: ``POST /api/vehicles/{vehicle}/state`` and ``GET /api/actions/{id}``.

An action is a row. The owner of the vehicle's site, in whichever collector, steps it and marks it as taken in one
commit, so that it happens once (docs/architecture.md). What a dispatch system tells is signed (``missions.py``).
"""

from __future__ import annotations

import asyncio
from typing import Any

import msgspec
from aiohttp import web

from collector.accounts.accounts import Author
from collector.core.vehicle.events import StateWish
from collector.site.acts import STATE_ACTION, StateBody
from collector.store import audit, queries
from collector.store.rows import Action
from collector.web.answers import as_json, each, iso
from collector.web.app import SOURCES, Sources, json
from collector.web.identity import author_of
from collector.web.persons import person_at
from collector.web.requests import body_of, refuse_foreign
from collector.web.vehicles import site_of
from collector.web.view import view_of

routes = web.RouteTableDef()


class StateRequest(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """The body of a request."""

    state: StateWish


@routes.post("/api/vehicles/{vehicle}/state")
async def set_state(request: web.Request) -> web.Response:
    """Take a vehicle's duty from a person: 202 with the action; it is done once that shows ``taken``.

    400: the body is wrong. 403: nobody of the site's roster, or a page of another origin sent it. 404: nobody knows the
    vehicle, or not for whoever asks. 408, 413, 415: it does not come, is too long, or no JSON. 429: too many wait for
    the vehicle already.
    """
    refuse_foreign(request)
    wish = await body_of(request, StateRequest)
    name, sources = request.match_info["vehicle"], request.app[SOURCES]
    site = await asyncio.to_thread(site_of, sources, name)
    if site is None or not view_of(request).has(site, name):
        raise web.HTTPNotFound(text=f"no vehicle {name!r}")
    _, who = await person_at(request, site, "duty")
    await refuse_too_many(sources, site, name)
    body = msgspec.json.encode(StateBody(wish.state)).decode()
    id = await asyncio.to_thread(keep, sources, site, name, STATE_ACTION, body, who, author_of(request), wish.state)
    if site in sources.wakes:
        sources.wakes[site]()
    return json({"action": id, "status": "waiting", "url": f"/api/actions/{id}"}, 202)


async def refuse_too_many(sources: Sources, site: str, vehicle: str) -> None:
    """Raise 429 where as many acts as may wait for a vehicle (empty: for its site's tickets) wait already."""
    waiting = await asyncio.to_thread(queries.count_waiting_actions, sources.store.engine, site, vehicle)
    if waiting >= sources.quotas.actions:
        raise web.HTTPTooManyRequests(text=f"{waiting} actions wait for {vehicle or site}: quotas.actions")


@routes.get("/api/actions/{id:[0-9]{1,18}}")
async def show_action(request: web.Request) -> web.Response:
    """Show an action: ``waiting`` until the site's owner has taken it, ``refused`` if it could not do it."""
    id = int(request.match_info["id"])
    found = await asyncio.to_thread(queries.action, request.app[SOURCES].store.engine, id)
    if found is None or not view_of(request, "act").has(found.site, found.vehicle):
        raise web.HTTPNotFound(text=f"no action {id}")
    return json({"action": found.id, **each([found], _show, "site", "vehicle")[0]})


def _show(action: Action) -> dict[str, Any]:
    return {
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
