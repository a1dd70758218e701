"""``GET /api/changes``: a stream that names what has changed, so that a page asks again for that and nothing else."""

from __future__ import annotations

import asyncio
import contextlib
import time
from collections.abc import AsyncIterator, Mapping
from typing import Final

import msgspec
from aiohttp import web
from sqlalchemy import Engine
from sqlalchemy.exc import SQLAlchemyError

from collector.read import changes as read
from collector.read import sites
from collector.read.view import View
from collector.web import answer_types as shown
from collector.web.app import SOURCES
from collector.web.identity import still_may
from collector.web.operations import operation, query_of
from collector.web.revisions import parse_revision, revision, revisions_of
from collector.web.view import view_of

routes = web.RouteTableDef()
LOOK_S: Final = 1.0
"""How often the database is asked for the sites' numbers, while anybody wants to know."""
KEEPALIVE_S: Final = 15.0
_HEADERS: Final = {
    "Content-Type": "text/event-stream",
    "Cache-Control": "no-store, no-transform",  # a proxy that compresses would hold events back
    "X-Accel-Buffering": "no",  # nginx
}
Conditions = Mapping[str, tuple[str, bool]]
"""By site: what is wrong, and whether its session stands."""


class Watch:
    """The sites' numbers and conditions as they were last seen; looked up only while somebody waits."""

    def __init__(self) -> None:
        self.watchers = 0
        self.revisions: Mapping[str, int] = {}
        self.conditions: Conditions = {}
        self.looked = False
        self._news = asyncio.Event()

    async def look(self, engine: Engine) -> None:
        """Ask the database."""
        rows = await asyncio.to_thread(sites.list_sites, engine)
        revisions = {row.site: row.revision for row in rows}
        conditions = {row.site: (row.condition[0], row.report.connected) for row in rows}
        if not self.looked or (revisions, conditions) != (self.revisions, self.conditions):
            self.revisions, self.conditions, self.looked = revisions, conditions, True
            news, self._news = self._news, asyncio.Event()
            news.set()

    def seen(self, view: View) -> tuple[Mapping[str, int], Conditions]:
        """Return numbers and conditions of the sites of a view."""
        return (
            {site: number for site, number in self.revisions.items() if view.has_site(site)},
            {site: one for site, one in self.conditions.items() if view.has_site(site)},
        )

    async def wait(self) -> None:
        """Wait until something is new."""
        await self._news.wait()


WATCH: web.AppKey[Watch] = web.AppKey("watch", Watch)


async def watch_changes(app: web.Application) -> AsyncIterator[None]:
    """Look for changes while the application runs."""
    app[WATCH] = Watch()

    async def look() -> None:
        while True:
            await asyncio.sleep(LOOK_S)
            if app[WATCH].watchers:
                with contextlib.suppress(Exception):  # a database that is away for a while changes nothing
                    await app[WATCH].look(app[SOURCES].store.engine)

    task = asyncio.create_task(look())
    yield
    task.cancel()
    with contextlib.suppress(asyncio.CancelledError):
        await task


class ChangesQuery(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """From where on somebody wants to know."""

    since: str | None = None
    """A `revision` up to which everything is known; it goes before `Last-Event-ID`."""
    site: str | None = None
    """Only this site's."""


@routes.get("/api/changes")
@operation(shown.Change, media_type="text/event-stream", query=ChangesQuery)
async def changes(request: web.Request) -> web.StreamResponse:
    """Stream what changes, as server-sent events (WHATWG HTML, 9.2).

    An event `change` comes at once, and whenever something has changed; its data are a `Change`, its id the revision.
    With `since`, or the header `Last-Event-ID` that browsers send by themselves, it goes on from there; without one,
    and where nobody can say what has changed since, `reset` is true: read everything anew, then follow. A comment
    comes every 15 s while nothing does. The stream ends when whoever asks is signed out or has another role.
    """
    query, view = query_of(request, ChangesQuery), view_of(request)
    if query.site is not None:
        view = view.at(query.site)
    since = revisions_of(query.since)
    if query.since is None and (last := request.headers.get("Last-Event-ID")) is not None:
        since = parse_revision(last)  # of another collector, or cut off on the way: then it begins anew
    watch = request.app[WATCH]
    watch.watchers += 1
    try:
        await watch.look(request.app[SOURCES].store.engine)  # 503 where it cannot be asked, before the stream begins
        response = web.StreamResponse(headers=_HEADERS)
        await response.prepare(request)
        with contextlib.suppress(ConnectionResetError, SQLAlchemyError):  # whoever reads it asks again
            await _stream(request, response, view, since)
    finally:
        watch.watchers -= 1
    return response


async def _stream(request: web.Request, response: web.StreamResponse, view: View, since: read.Revisions | None) -> None:
    """Write events until whoever reads them may not any more. Raises ConnectionResetError, SQLAlchemyError."""
    watch, engine = request.app[WATCH], request.app[SOURCES].store.engine
    known_s = time.monotonic()
    told: Conditions | None = None
    while True:
        if time.monotonic() - known_s >= KEEPALIVE_S:
            known_s = time.monotonic()
            if not await still_may(request, "look"):
                return  # signed out, revoked, of another role: whoever it is asks anew
        now, conditions = watch.seen(view)
        found = read.Changed(reset=True)
        if since is not None:
            found = await asyncio.to_thread(read.changed, engine, since, now, view)
        other = sorted(site for site in conditions if (told or {}).get(site) != conditions[site])
        if told is None or other or found != read.Changed():
            await response.write(_event(found, now, other))
        since, told = now, conditions
        try:
            if watch.seen(view) == (now, conditions):
                await asyncio.wait_for(watch.wait(), KEEPALIVE_S)
        except TimeoutError:
            await response.write(b": still here\n\n")


def _event(found: read.Changed, now: read.Revisions, other: list[str]) -> bytes:
    at = revision(now)
    data: shown.Change = {
        "revision": at,
        "reset": found.reset,
        "vehicles": sorted({vehicle for _, vehicle in found.vehicles}),
        "tickets": [{"site": site, "id": id} for site, id in sorted(found.tickets)],
        "sites": other,
    }
    return f"id: {at}\nevent: change\ndata: ".encode() + msgspec.json.encode(data) + b"\n\n"
