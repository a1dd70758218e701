"""What machines ask: ``/healthz`` and ``/metrics``."""

from __future__ import annotations

import asyncio
import time
from typing import Final

from aiohttp import web
from sqlalchemy.exc import SQLAlchemyError

from collector.read import sites
from collector.site.status import stuck
from collector.store.history import Extent
from collector.web.app import SOURCES, Sources, json
from collector.web.identity import known_principal
from collector.web.view import refuse_part, view_for

routes = web.RouteTableDef()
Extents = dict[str, tuple[float, Extent]]
"""How much history holds, as it was asked last: (monotonic seconds, what was found) by site."""
EXTENTS: Final = web.AppKey("extents", Extents)
_EXPOSITION: Final = "text/plain; version=0.0.4; charset=utf-8"
"""Prometheus text exposition format."""


@routes.get("/healthz")
async def health(request: web.Request) -> web.Response:
    """Say whether this process lives and gets on: 200, or 503 with what does not.

    A broker or an InfluxDB that is away is no illness of ours: it is told, and does not count. ``ready`` and
    ``not_ready`` are what ``/readyz`` answers. Nobody needs to sign in to be told that; how each site, sink and
    receiver gets on is told to who may see ``/metrics``.
    """
    sources = request.app[SOURCES]
    problems = [f"site {site}: {words}" for site, words in stuck(sources.statuses, time.monotonic()).items()]
    unready = []
    try:
        unready = await asyncio.wait_for(asyncio.to_thread(sites.unready, sources.store.engine, sources.statuses), 5)
    except (SQLAlchemyError, TimeoutError) as error:
        problems.append(f"database: {type(error).__name__}")
        unready = problems
    found: dict[str, object] = {"status": "ill" if problems else "ok", "problems": problems, "ready": not unready}
    if view_for(await known_principal(request), sources.fleet, "figures").has_all(sources.fleet.sites):
        found |= {"not_ready": unready, **_parts(sources)}
    return json(found, 503 if problems else 200)


def _parts(sources: Sources) -> dict[str, object]:
    """Return how each site, sink and receiver gets on."""
    owners = {
        site: {
            "state": status.state,
            "epoch": status.epoch,
            "connected": status.connected,
            "listening": status.listening_since_ms is not None,
            "error": status.error,
        }
        for site, status in sources.statuses.items()
    }
    sinks: dict[str, dict[str, object]] = {}
    for (site, name), one in sources.sinks.items():
        told = {"position": one.position, "error": one.error, "last_refusal": one.last_refusal}
        sinks.setdefault(name, {})[site] = told
    receivers: dict[str, dict[str, object]] = {}
    for (site, name), one in sources.receivers.items():
        receivers.setdefault(name, {})[site] = {"error": one.error, "last_refusal": one.last_refusal}
    return {"sites": owners, **sinks, "receivers": receivers}


@routes.get("/metrics")
async def metrics(request: web.Request) -> web.Response:
    """Return the figures of this process and of what is committed. 403: whose role is not at every site."""
    refuse_part(request, "figures", "/metrics")
    body = await asyncio.to_thread(_exposed, request.app[SOURCES], request.app[EXTENTS])
    return web.Response(body=body, headers={"Content-Type": _EXPOSITION})


def _exposed(sources: Sources, extents: Extents) -> bytes:
    from collector.web.metrics import exposed  # prometheus_client, 1 MB, is loaded where somebody asks for the figures

    return exposed(sources, extents)
