"""What people were told: ``GET /api/notifications`` and ``POST /api/notifications/{id}/retry``."""

from __future__ import annotations

import asyncio

import msgspec
from aiohttp import web

from collector.accounts.accounts import Author
from collector.channels import deliveries
from collector.channels.deliveries import Delivery
from collector.store import audit
from collector.web import answer_types as shown
from collector.web.answers import PAGE, Limit, Moment, as_json, each, in_ms, iso
from collector.web.app import SOURCES, Sources, json
from collector.web.identity import author_of
from collector.web.operations import operation, query_of
from collector.web.problems import unexpected
from collector.web.requests import refuse_foreign
from collector.web.view import view_of

routes = web.RouteTableDef()


class NotificationsQuery(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Which deliveries are wanted."""

    state: deliveries.State | None = None
    """Only those in this state."""
    ticket: str | None = None
    """Only about this ticket."""
    receiver: str | None = None
    """Only what this person or receiver is told."""
    site: str | None = None
    """Only this site's."""
    from_: Moment | None = msgspec.field(default=None, name="from")
    """Only of notifications made at this time or later."""
    until: Moment | None = None
    """Only of notifications made before this time."""
    after: str | None = None
    """The `next` of the page before."""
    limit: Limit = PAGE
    """Deliveries of a page."""


@routes.get("/api/notifications")
@operation(shown.Deliveries, query=NotificationsQuery)
async def notifications(request: web.Request) -> web.Response:
    """List what people were told and what became of it, page by page, the newest notification first."""
    query, view = query_of(request, NotificationsQuery), view_of(request, "notifications")
    if view.vehicles is not None:
        raise web.HTTPForbidden(text="notifications are told of whole sites, not of a department's vehicles")
    after = _after(query.after)
    found = await asyncio.to_thread(
        lambda: deliveries.listed(
            request.app[SOURCES].store.engine,
            site=query.site,
            ticket=query.ticket,
            receiver=query.receiver,
            state=query.state,
            from_ms=in_ms(query.from_),
            until_ms=in_ms(query.until),
            after=after,
            limit=query.limit + 1,
            sites=view.sites,
        )
    )
    more = None
    if len(found) > query.limit:
        last = found[query.limit - 1]
        more = f"{last.id}/{last.channel}/{last.receiver}"
    return json(shown.Deliveries(deliveries=each(found[: query.limit], row, "id", "site", "ticket"), next=more))


def _after(text: str | None) -> deliveries.Place | None:
    if text is None:
        return None
    id, _, rest = text.partition("/")
    channel, slash, receiver = rest.partition("/")
    if not (id.isascii() and id.isdecimal() and len(id) <= 18) or not slash:
        raise unexpected("after", "the `next` of a page", text)
    return deliveries.Place(int(id), receiver, channel)


@routes.post("/api/notifications/{id:[0-9]{1,18}}/retry")
@operation(
    shown.Retried,
    status=202,
    refuses={
        404: "There is no such notification, or not for whoever asks.",
        409: "None of its deliveries has failed.",
    },
)
async def retry_notification(request: web.Request) -> web.Response:
    """Send again what failed of a notification."""
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
    return json(shown.Retried(notification=id, retried=done), 202)


def _retry(sources: Sources, site: str, id: int, by: Author) -> int:
    with sources.store.transaction() as connection:
        done = deliveries.retry(connection, [id], by.at_ms)
        if done:
            audit.append(
                connection, at_ms=by.at_ms, who=by.who, via=by.via, what="notification.retried", site=site,
                subject=str(id), detail={"deliveries": done},
            )  # fmt: skip
        return done


def row(one: Delivery) -> shown.Delivery:
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
        "next_at": iso(one.next_ms) if one.state == "waiting" else None,
        "settled_at": None if one.state == "waiting" else iso(one.next_ms),
        "error": one.error,
        "body": as_json(one.body),
    }
