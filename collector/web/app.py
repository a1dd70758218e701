"""The web server's parts put together: API, metrics, health; the pages add themselves.

Everything that people see comes from what is committed, and what they want is a row that the site's owner takes, so
that pages and API can run beside any collector. It answers only who asks for one of its names (``requests.py``), whom
it knows, and who may (``identity.py``).
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass, field
from types import MappingProxyType
from typing import Final

import msgspec
from aiohttp import web

from collector.accounts.accounts import DEFAULT_SESSIONS, Lasting
from collector.accounts.attempts import Attempts
from collector.accounts.rosters import Rosters
from collector.channels.pace import Pace
from collector.config import Missions
from collector.outgoing import Progress
from collector.read.clocks import TicketClocks
from collector.site.quotas import Quotas
from collector.site.status import Status
from collector.store.store import Store
from collector.web.access import check_routes
from collector.web.connections import Counts, note_work
from collector.web.error_pages import as_pages
from collector.web.problems import as_problems
from collector.web.requests import Handler, only_for, only_text
from telemetry.fleet import Fleet


@dataclass(frozen=True, slots=True)
class Sources:
    """Where the web server reads, and whom it tells. All but the first two are about this process."""

    store: Store
    fleet: Fleet
    statuses: Mapping[str, Status]
    """By site."""
    sinks: Mapping[tuple[str, str], Progress] = field(default_factory=dict)
    """By site and the sink's name."""
    receivers: Mapping[tuple[str, str], Progress] = field(default_factory=dict)
    """By site and the receiver's name."""
    wakes: Mapping[str, Callable[[], None]] = field(default_factory=dict)
    """By site: tell its owner that somebody wants something."""
    wakes_of_notifiers: Mapping[str, Sequence[Callable[[], None]]] = field(default_factory=dict)
    """By site: tell those who deliver that something is to be sent again."""
    connections: Counts = field(default_factory=Counts)
    """What has come of the connections to the pages."""
    quotas: Quotas = field(default_factory=Quotas)
    missions: Missions | None = None
    """How a dispatch system tells missions; ``None``: none does."""
    sessions: Lasting = DEFAULT_SESSIONS
    """How long people stay signed in."""
    vehicles: Sequence[tuple[str, str]] = field(init=False)
    """(site, vehicle) of the fleet file, in the order of pages."""

    def __post_init__(self) -> None:
        keys = ((site, vehicle) for site, plan in self.fleet.sites.items() for vehicle in plan.vehicles)
        object.__setattr__(self, "vehicles", sorted(keys))


_SAFE: Final = MappingProxyType(
    {
        "X-Content-Type-Options": "nosniff",
        "Referrer-Policy": "same-origin",
        "Content-Security-Policy": ("default-src 'self'; frame-ancestors 'none'; base-uri 'none'; form-action 'self'"),
    }
)
"""Headers of every answer that has none of its own."""
SOURCES: web.AppKey[Sources] = web.AppKey("sources", Sources)


def make_app(sources: Sources, names: Collection[str] = ()) -> web.Application:
    """Return the application; ``names``: the hosts by which people reach it, besides this machine's own."""
    from collector.web import changes, fleet_page, identity, machine, missions, openapi, pages, sign_in

    checks = [only_for(names), only_text, sign_in.keep_forms, identity.check_access]
    app = web.Application(middlewares=[note_work, _safe_headers, as_problems, as_pages, *checks])
    app[SOURCES] = sources
    app[identity.GATE] = identity.Gate(sources.store, Rosters(sources.store), sources.sessions)
    app[sign_in.ATTEMPTS] = Attempts()
    app[sign_in.HASHING] = asyncio.Semaphore(sign_in.AT_ONCE)
    if sources.missions is not None:
        app[missions.PACE] = Pace([(sources.missions.per_minute, 60.0)])
    app[machine.EXTENTS] = {}
    app.add_routes(machine.routes)
    add_api(app)
    openapi.check_described(app)
    app[fleet_page.CLOCKS] = TicketClocks()
    app[fleet_page.KNOWN] = {}
    pages.add_pages(app)
    check_routes(app)
    app.cleanup_ctx.append(changes.watch_changes)
    return app


def add_api(app: web.Application) -> None:
    """Add the API, with signing in and out and the sites' ``/readyz``."""
    from collector.web import (
        actions,
        changes,
        devices,
        missions,
        notifications,
        openapi,
        people,
        readings,
        sign_in,
        sites,
        tickets,
        vehicles,
    )

    app[readings.READING] = asyncio.Semaphore(readings.AT_ONCE)
    of_vehicles, of_people = (vehicles, readings, devices), (tickets, people, actions, missions, notifications)
    for part in (sites, *of_vehicles, *of_people, changes, sign_in, openapi):
        app.add_routes(part.routes)


def json(found: object, status: int = 200) -> web.Response:
    """Return plain data or msgspec types as a JSON answer."""
    return web.Response(
        body=msgspec.json.encode(found),
        status=status,
        content_type="application/json",
        headers={"Cache-Control": "no-store"},
    )


@web.middleware
async def _safe_headers(request: web.Request, handler: Handler) -> web.StreamResponse:
    try:
        response = await handler(request)
    except web.HTTPException as refused:
        _make_safe(refused)
        raise
    if not response.prepared:
        _make_safe(response)
    return response


def _make_safe(response: web.StreamResponse) -> None:
    for name, value in _SAFE.items():
        response.headers.setdefault(name, value)
