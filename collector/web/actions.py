"""What people want of a vehicle: ``POST /api/vehicles/{vehicle}/state`` and ``GET /api/actions/{id}``.

An action is a row. The owner of the vehicle's site, in whichever collector, steps it and marks it as taken in one
commit, so that it happens once (docs/architecture.md). A state is taken over the socket alone (``peer.py``,
``kitwatch duty``); what a dispatch system tells over TCP is signed (``missions.py``).
"""

from __future__ import annotations

import asyncio
import time
from typing import Any

import msgspec
from aiohttp import web

from collector.core.vehicle.events import StateWish
from collector.site.acts import STATE_ACTION, StateBody
from collector.store import audit, queries
from collector.store.audit import Via
from collector.store.rows import Action
from collector.web.answers import as_json, each, iso
from collector.web.app import SOURCES, Sources, json
from collector.web.peer import contract_in_force, login_of, nobody, person_of
from collector.web.requests import body_of, refuse_foreign
from collector.web.vehicles import site_of

routes = web.RouteTableDef()


class StateRequest(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """The body of a request."""

    state: StateWish


@routes.post("/api/vehicles/{vehicle}/state")
async def set_state(request: web.Request) -> web.Response:
    """Take a vehicle's duty from a person: 202 with the action; it is done once that shows ``taken``.

    400: the body is wrong. 403: over TCP, nobody of the roster, or a page of another origin sent it. 404: nobody knows
    the vehicle. 408, 413, 415: it does not come, is too long, or no JSON. 429: too many wait for the vehicle already.
    """
    refuse_foreign(request)
    wish = await body_of(request, StateRequest)
    login = login_of(request, "a vehicle's duty is changed (kitwatch duty)")
    name, sources = request.match_info["vehicle"], request.app[SOURCES]
    site = await asyncio.to_thread(site_of, sources, name)
    if site is None:
        raise web.HTTPNotFound(text=f"no vehicle {name!r}")
    who = person_of(await asyncio.to_thread(contract_in_force, sources, site), login)
    if who is None:
        raise web.HTTPForbidden(text=nobody(login))
    await refuse_too_many(sources, site, name)
    body = msgspec.json.encode(StateBody(wish.state)).decode()
    id = await asyncio.to_thread(keep, sources, site, name, STATE_ACTION, body, who, "socket", wish.state)
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
    if found is None:
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
    sources: Sources, site: str, vehicle: str, kind: str, body: str, who: str, via: Via, said: str, key: str = ""
) -> int:
    """Keep what is wanted of a vehicle, return the action's id; ``said``: it, for the audit log. Blocks.

    Raises IntegrityError where there is an action of this key.
    """
    now_ms = time.time_ns() // 1_000_000
    with sources.store.transaction() as connection:
        id = queries.add_action(
            connection, site=site, vehicle=vehicle, kind=kind, body=body, who=who, created_ms=now_ms, key=key
        )  # fmt: skip
        audit.append(
            connection, at_ms=now_ms, who=who, via=via, what=f"vehicle.{kind}", site=site, subject=vehicle,
            detail={"action": id, "said": said},
        )  # fmt: skip
    return id
