"""What people were told: ``GET /api/notifications`` and ``POST /api/notifications/{id}/retry``."""

from __future__ import annotations

import asyncio
from typing import Any, Final

from aiohttp import web

from collector.accounts.accounts import Author
from collector.channels import deliveries
from collector.channels.deliveries import Delivery
from collector.store import audit
from collector.web.answers import as_json, each, iso, known, limit, one_of
from collector.web.app import SOURCES, Sources, json
from collector.web.identity import author_of
from collector.web.requests import refuse_foreign
from collector.web.view import view_of

routes = web.RouteTableDef()
_STATES: Final = ("waiting", "folded", "sent", "passed", "failed")


@routes.get("/api/notifications")
async def notifications(request: web.Request) -> web.Response:
    """List deliveries, the newest notification first; narrowed by ``?state=``, ``?ticket=``, ``?receiver=``,
    ``?site=``, ``?limit=``."""
    known(request, "state", "ticket", "receiver", "site", "limit")
    query, most, view = request.query, limit(request), view_of(request, "notifications")
    if view.vehicles is not None:
        raise web.HTTPForbidden(text="notifications are told of whole sites, not of a department's vehicles")
    state = one_of(request, "state", _STATES)
    found = await asyncio.to_thread(
        lambda: deliveries.listed(
            request.app[SOURCES].store.engine,
            site=query.get("site"),
            ticket=query.get("ticket"),
            receiver=query.get("receiver"),
            state=state,  # type: ignore[arg-type]
            limit=most,
            sites=view.sites,
        )
    )
    return json({"deliveries": each(found, row, "id", "site", "ticket")})


@routes.post("/api/notifications/{id:[0-9]{1,18}}/retry")
async def retry(request: web.Request) -> web.Response:
    """Send again what failed of a notification: 202 with how many deliveries.

    403: whose role does not allow it at the site. 415: no JSON. 404: there is no such notification. 409: none of its
    deliveries has failed.
    """
    refuse_foreign(request)
    view = view_of(request, "retry")
    id, sources = int(request.match_info["id"]), request.app[SOURCES]
    found = await asyncio.to_thread(lambda: deliveries.listed(sources.store.engine, id=id))
    if not found or not view.has_all([found[0].site]):
        raise web.HTTPNotFound(text=f"no notification {id}")
    done = await asyncio.to_thread(_retry, sources, found[0].site, id, author_of(request))
    if not done:
        raise web.HTTPConflict(text=f"notification {id}: none of its deliveries has failed")
    for wake in sources.wakes_of_notifiers.get(found[0].site, ()):
        wake()
    return json({"notification": id, "retried": done}, 202)


def _retry(sources: Sources, site: str, id: int, by: Author) -> int:
    with sources.store.transaction() as connection:
        done = deliveries.retry(connection, [id], by.at_ms)
        if done:
            audit.append(
                connection, at_ms=by.at_ms, who=by.who, via=by.via, what="notification.retried", site=site,
                subject=str(id), detail={"deliveries": done},
            )  # fmt: skip
        return done


def row(one: Delivery) -> dict[str, Any]:
    """Return a delivery as the API shows it."""
    return {
        "notification": one.id,
        "site": one.site,
        "ticket": one.ticket,
        "key": one.key,
        "created_at": iso(one.created_ms),
        "receiver": one.receiver,
        "channel": one.channel,
        "of_roster": one.of_roster,
        "folded_into": one.folded_into or None,
        "state": one.state,
        "attempts": one.attempts,
        "next_at" if one.state == "waiting" else "settled_at": iso(one.next_ms),
        "error": one.error,
        "body": as_json(one.body),
    }
