"""``GET /api/changes``: a stream that names what has changed, so that a page asks again for that and nothing else."""

from __future__ import annotations

import asyncio
import contextlib
import time
from collections.abc import AsyncIterator, Mapping
from typing import Any, Final

import msgspec
from aiohttp import web
from sqlalchemy import Engine

from collector.read import changes as read
from collector.read import sites
from collector.read.view import View
from collector.web.app import SOURCES
from collector.web.identity import still_may
from collector.web.view import view_of
from telemetry.topics import is_id

routes = web.RouteTableDef()
LOOK_S: Final = 1.0
"""How often the database is asked for the sites' numbers, while anybody wants to know."""
KEEPALIVE_S: Final = 15.0
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


@routes.get("/api/changes")
async def changes(request: web.Request) -> web.StreamResponse:
    """Stream server-sent events (WHATWG HTML, 9.2): ``change`` at once, and whenever something has changed.

    Its data are ``{"revision", "everything", "vehicles", "tickets", "sites"}``. ``?since=`` (a ``revision`` of before),
    or the browser's own ``Last-Event-ID``, goes on from there; without it the first event says ``everything``. 400: a
    ``since`` that is none.
    """
    watch, engine, view = request.app[WATCH], request.app[SOURCES].store.engine, view_of(request)
    known_s = time.monotonic()
    text = request.query.get("since", request.headers.get("Last-Event-ID"))
    since: read.Revisions | None = None if text is None else parse_revision(text)
    if since is None and "since" in request.query:
        raise web.HTTPBadRequest(text=f"since: expected a revision such as 'north:17', found {(text or '')[:50]!r}")
    headers = {"Content-Type": "text/event-stream", "Cache-Control": "no-store", "X-Accel-Buffering": "no"}
    response = web.StreamResponse(headers=headers)
    await response.prepare(request)
    watch.watchers += 1
    try:
        await watch.look(engine)
        told: Conditions | None = None
        while True:
            if time.monotonic() - known_s >= KEEPALIVE_S:
                known_s = time.monotonic()
                if not await still_may(request, "look"):
                    break  # signed out, revoked, of another role: whoever it is asks anew
            now, conditions = watch.seen(view)
            found = read.Changed(everything=True)
            if since is not None:
                found = await asyncio.to_thread(read.changed, engine, since, now)
                found.vehicles = {key for key in found.vehicles if view.has(*key)}
            other = sorted(site for site in conditions if (told or {}).get(site) != conditions[site])
            if told is None or other or found != read.Changed():
                await response.write(_event(found, now, other))
            since, told = now, conditions
            try:
                if watch.seen(view) == (now, conditions):
                    await asyncio.wait_for(watch.wait(), KEEPALIVE_S)
            except TimeoutError:
                await response.write(b": still here\n\n")
    except (ConnectionResetError, asyncio.CancelledError):
        pass
    finally:
        watch.watchers -= 1
    return response


def revision(numbers: Mapping[str, int]) -> str:
    """Return the sites' numbers as one text: ``north:17,south:3``."""
    return ",".join(f"{site}:{number}" for site, number in sorted(numbers.items()))


def parse_revision(text: str) -> dict[str, int] | None:
    """Return what ``revision`` gave, ``None`` for anything else."""
    found = {}
    for part in text.split(",") if text else ():
        site, _, number = part.partition(":")
        if not is_id(site) or not (number.isascii() and number.isdecimal() and len(number) <= 18):
            return None
        found[site] = int(number)
    return found


def _event(found: read.Changed, now: Mapping[str, int], other: list[str]) -> bytes:
    at = revision(now)
    data: dict[str, Any] = {
        "revision": at,
        "everything": found.everything,
        "vehicles": sorted({vehicle for _, vehicle in found.vehicles}),
        "tickets": [{"site": site, "id": id} for site, id in sorted(found.tickets)],
        "sites": other,
    }
    return f"id: {at}\nevent: change\ndata: ".encode() + msgspec.json.encode(data) + b"\n\n"
