"""Sites: ``GET /api/sites`` says how each gets on, ``GET /readyz`` whether this collector's are looked after.

It comes from the database, so that it is told beside any collector, and while none lives.
"""

from __future__ import annotations

import asyncio
import time

from aiohttp import web
from sqlalchemy.exc import SQLAlchemyError

from collector.channels import deliveries
from collector.read import sites as read
from collector.read import vehicles
from collector.read.sites import SiteRow
from collector.read.view import EVERYTHING, View
from collector.web import answer_types as shown
from collector.web.answers import iso
from collector.web.app import SOURCES, Sources, json
from collector.web.operations import operation
from collector.web.view import refuse_part, view_of
from telemetry.fleet import Site

routes = web.RouteTableDef()


@routes.get("/api/sites")
@operation(shown.Sites)
async def sites(request: web.Request) -> web.Response:
    """List the sites: who owns them, whether they listen, what their sinks have before them."""
    return json(await asyncio.to_thread(list_sites, request.app[SOURCES], view_of(request)))


@routes.get("/readyz")
async def ready(request: web.Request) -> web.Response:
    """Say whether this collector's sites are looked after, by whichever collector: 200, or 503 with what is not.

    403: whose role is not at all of them. ``/healthz`` says whether this process lives; to restart it mends
    nothing of this.
    """
    refuse_part(request, "figures", "/readyz")
    try:
        async with asyncio.timeout(5):
            sources = request.app[SOURCES]
            problems = await asyncio.to_thread(read.unready, sources.store.engine, sources.statuses)
    except (SQLAlchemyError, TimeoutError) as error:
        problems = [f"database: {type(error).__name__}"]
    return json({"ready": not problems, "problems": problems}, 503 if problems else 200)


def list_sites(sources: Sources, view: View = EVERYTHING) -> shown.Sites:
    """Return the sites of a view as the API shows them, those of the fleet file first. Blocks."""
    rows = {row.site: row for row in read.list_sites(sources.store.engine)}
    names = [*sources.fleet.sites, *(site for site in rows if site not in sources.fleet.sites)]
    found: list[shown.Site] = []
    for name in filter(view.has_site, names):
        plan = sources.fleet.sites.get(name) or Site(vehicles={}, time_zone="UTC")
        one: shown.Site = {
            "site": name,
            "name": plan.name,
            "time_zone": plan.time_zone,
            "hotline": plan.hotline,
            "spares": [{"kind": spare.kind, "name": spare.name, "place": spare.place} for spare in plan.spares],
            "state": "never_owned",
            "since": None,
            "vehicles": _vehicles(sources, name, view),
        }
        if (row := rows.get(name)) is not None:
            try:
                one = _site(sources, one, row)
            except Exception as error:
                one["state"], one["problem"] = "unknown", f"cannot be shown: {type(error).__name__}: {error}"[:500]
        found.append(one)
    now_ms = next((row.now_ms for row in rows.values()), time.time_ns() // 1_000_000)
    return {"now": iso(now_ms) or "", "sites": found}


def _vehicles(sources: Sources, site: str, view: View) -> shown.SiteVehicles:
    """Return who is silent, and who of the fleet file was never heard; the latter may not be fitted out yet."""
    plan = sources.fleet.sites.get(site)
    planned = [name for name in (plan.vehicles if plan else ()) if view.has(site, name)]
    known = vehicles.vehicles_of(sources.store.engine, [(site, name) for name in planned])
    heard = {name: row for name in planned if (row := known.get((site, name))) is not None and row.heard_ms is not None}
    return {
        "planned": len(planned),
        "heard": len(heard),
        "silent": [
            {"vehicle": name, "since": iso(row.silent_since_ms)}
            for name, row in heard.items()
            if row.silent_since_ms is not None
        ],
        "never_heard": [name for name in planned if name not in heard],
    }


def _site(sources: Sources, bare: shown.Site, row: SiteRow) -> shown.Site:
    condition, since_ms = row.condition
    owned, report = condition != "unowned", row.report
    waiting, oldest_ms = deliveries.waiting(sources.store, row.site)
    failed = deliveries.failed(sources.store, row.site)
    sinks: dict[str, shown.Sink] = {}
    for name, behind in read.sinks_behind(sources.store.engine, row).items():
        ours = sources.sinks.get((row.site, name))
        sinks[name] = {
            "batches_behind": behind.batches,
            "oldest_at": iso(behind.oldest_ms),
            "error": ours.error if ours else "",
        }
    return {
        **bare,
        "state": condition,
        "since": iso(since_ms),
        "owned": owned,
        "owner": row.owner,
        "epoch": row.epoch,
        "alive_at": iso(row.heartbeat_ms),
        "connected": owned and report.connected,
        "listening_since": iso(report.listening_since_ms) if owned else None,
        "heard_at": iso(row.heard_ms),
        "committed_at": iso(row.committed_ms),
        "waiting_messages": report.waiting_messages,
        "oldest_waiting_at": iso(report.oldest_waiting_ms),
        "error": report.error,
        "editions": dict(report.editions),
        "differing": list(report.differing),
        "over_quota": report.over_quota,
        "begun_anew": list(report.begun_anew),
        "damaged": list(report.damaged),
        "sinks": sinks,
        "notifications": {"waiting": waiting, "oldest_at": iso(oldest_ms), "failed": failed},
        "problem": row.problem,
    }
