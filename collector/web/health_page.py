"""How kitwatch itself gets on: sites, owners, sinks, channels, what was refused, what is in force. ``/health``."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping, Sequence
from typing import Final

import msgspec
from aiohttp import web

from collector.channels import deliveries
from collector.read import sites as read
from collector.read.sites import Behind, SiteRow
from collector.read.view import View
from collector.store import editions, queries
from collector.web.app import SOURCES, Sources
from collector.web.pages import Page, SiteHead, page, page_of, render
from collector.web.view import view_of

routes = web.RouteTableDef()
MOST: Final = 1_000
"""Refused letters and messages that are counted; beyond that the page says so."""


class Letters(msgspec.Struct, frozen=True, kw_only=True):
    """What one sink, or the intake, could not take."""

    what: str
    count: int
    newest_ms: int
    reason: str
    """Of the newest one."""


class SiteHealth(msgspec.Struct, frozen=True, kw_only=True):
    """One site."""

    head: SiteHead
    row: SiteRow | None
    sinks: Mapping[str, tuple[Behind, str]]
    """By sink: how far it is behind, and its error if it is this process's."""
    waiting: int
    """Notifications that wait."""
    failed: int
    """Notifications that were given up."""
    dead_letters: Sequence[Letters]
    quarantine: Sequence[Letters]
    editions: Sequence[tuple[str, int, str]]
    """(kind, number, digest) in force."""
    counters: Sequence[tuple[str, int]]
    """What was counted since the site began."""

    @property
    def is_broker_reached(self) -> bool:
        """Whether its owner lives and its MQTT session stands."""
        return self.row is not None and self.head.condition != "unowned" and self.row.report.connected


@routes.get("/health")
@page
async def health(request: web.Request) -> web.StreamResponse:
    """Show how each site that one may see gets on."""
    head = await page_of(request)
    found = await asyncio.to_thread(health_of, request.app[SOURCES], head, view_of(request))
    return render(head, "_health.html" if head.part else "health.html", found=found, most=MOST)


def health_of(sources: Sources, page: Page, seen: View) -> list[SiteHealth]:
    """Return what the page shows. Blocks."""
    rows = {row.site: row for row in read.list_sites(sources.store.engine)}
    counted: dict[str, list[tuple[str, int]]] = {}
    for (site, name), value in read.counters(sources.store.engine).items():
        counted.setdefault(site, []).append((name, value))
    heads = [head for head in page.sites if seen.has_site(head.site)]
    return [_site(sources, head, rows.get(head.site), counted.get(head.site, [])) for head in heads]


def _site(sources: Sources, head: SiteHead, row: SiteRow | None, counters: Sequence[tuple[str, int]]) -> SiteHealth:
    engine, site = sources.store.engine, head.site
    behind = {} if row is None else read.sinks_behind(engine, row)
    ours = {name: sources.sinks.get((site, name)) for name in behind}
    letters = [(one.sink, one.at_ms, one.reason) for one in queries.list_dead_letters(engine, site=site, limit=MOST)]
    aside = [(one.kind, one.at_ms, one.reason) for one in queries.list_quarantine(engine, site=site, limit=MOST)]
    return SiteHealth(
        head=head,
        row=row,
        sinks={name: (one, progress.error if (progress := ours[name]) else "") for name, one in behind.items()},
        waiting=deliveries.waiting(sources.store, site)[0],
        failed=deliveries.failed(sources.store, site),
        dead_letters=_counted(letters),
        quarantine=_counted(aside),
        editions=[
            (kind, number, digest) for kind, (number, digest, _) in sorted(editions.latest(sources.store, site).items())
        ],
        counters=counters,
    )


def _counted(found: Sequence[tuple[str, int, str]]) -> list[Letters]:
    """Return how many there are of each kind; the newest come first."""
    by_kind: dict[str, list[tuple[int, str]]] = {}
    for what, at_ms, reason in found:
        by_kind.setdefault(what, []).append((at_ms, reason))
    return [
        Letters(what=what, count=len(ones), newest_ms=ones[0][0], reason=ones[0][1])
        for what, ones in sorted(by_kind.items())
    ]
