"""What machines ask: ``/healthz`` and ``/metrics`` (Prometheus text exposition format 0.0.4)."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Iterable, Iterator, Mapping
from typing import Final

from aiohttp import web
from sqlalchemy import text
from sqlalchemy.exc import SQLAlchemyError

from collector.channels import delivery
from collector.sinks import history
from collector.sinks.influxdb import NAME
from collector.store import log, queries
from collector.store.history import Extent, extent
from collector.store.store import Store
from collector.web.app import SOURCES, Sources, json

routes = web.RouteTableDef()
Labels = tuple[tuple[str, str], ...]
ALIVE_S: Final = 30.0
"""A site that has not taken a turn for so long is stuck."""


@routes.get("/healthz")
async def health(request: web.Request) -> web.Response:
    """Say whether this process does its work: 200, or 503 with what does not.

    A broker or an InfluxDB that is away is no illness of ours: it is told, and does not count.
    """
    sources = request.app[SOURCES]
    problems = [
        f"site {site}: no turn for {time.monotonic() - status.alive_s:.0f} s"
        for site, status in sources.statuses.items()
        if time.monotonic() - status.alive_s > ALIVE_S
    ]
    try:
        await asyncio.wait_for(asyncio.to_thread(_ask_database, sources), 5)
    except (SQLAlchemyError, TimeoutError) as error:
        problems.append(f"database: {type(error).__name__}")
    sites = {
        site: {
            "state": status.state,
            "epoch": status.epoch,
            "connected": status.connected,
            "listening": status.listening_since_ms is not None,
            "error": status.error,
        }
        for site, status in sources.statuses.items()
    }
    drains = {site: {"position": drain.position, "error": drain.error} for site, drain in sources.drains.items()}
    found = {"status": "ill" if problems else "ok", "problems": problems, "sites": sites, "influxdb": drains}
    return json(found, 503 if problems else 200)


def _ask_database(sources: Sources) -> None:
    with sources.store.engine.connect() as connection:
        connection.execute(text("SELECT 1"))


@routes.get("/metrics")
async def metrics(request: web.Request) -> web.Response:
    """Return the figures of this process and of what is committed."""
    sources = request.app[SOURCES]
    body = "\n".join([*_of_process(sources), *await asyncio.to_thread(lambda: list(_of_database(sources)))]) + "\n"
    return web.Response(body=body.encode(), headers={"Content-Type": "text/plain; version=0.0.4; charset=utf-8"})


def _of_process(sources: Sources) -> Iterator[str]:
    statuses, drains = sources.statuses, sources.drains
    now_ms = time.time_ns() // 1_000_000
    yield from _family(
        "site_owner", "gauge", "1 while this collector owns the site",
        {(("site", site),): float(status.state == "owner") for site, status in statuses.items()},
    )  # fmt: skip
    yield from _family(
        "site_epoch", "gauge", "the site's epoch as this collector owned it last",
        {(("site", site),): status.epoch for site, status in statuses.items()},
    )  # fmt: skip
    yield from _family(
        "broker_connected", "gauge", "1 while the site's MQTT session is connected",
        {(("site", site),): float(status.connected) for site, status in statuses.items()},
    )  # fmt: skip
    yield from _family(
        "listening", "gauge", "1 while silence proves something: our beat comes back behind the queue",
        {(("site", site),): float(status.listening_since_ms is not None) for site, status in statuses.items()},
    )  # fmt: skip
    yield from _family(
        "messages_waiting", "gauge", "messages that came in and are not yet committed",
        {(("site", site),): status.waiting_messages for site, status in statuses.items()},
    )  # fmt: skip
    yield from _family(
        "message_oldest_waiting_seconds", "gauge", "age of the oldest of them",
        {
            (("site", site),): max(0, now_ms - status.oldest_waiting_ms) / 1000 if status.oldest_waiting_ms else 0.0
            for site, status in statuses.items()
        },
    )  # fmt: skip
    yield from _family(
        "site_events_total", "counter", "what this process did and saw: records, commits, receipts, duplicates, ...",
        {(("site", site), ("what", name)): n for site, status in statuses.items() for name, n in status.counts.items()},
    )  # fmt: skip
    yield from _family(
        "influxdb_failing", "gauge", "1 while InfluxDB does not take what we send",
        {(("site", site),): float(bool(drain.error)) for site, drain in drains.items()},
    )  # fmt: skip
    yield from _family(
        "influxdb_lines_total", "counter", "lines of line protocol by what became of them",
        {(("site", site), ("what", name)): n for site, drain in drains.items() for name, n in drain.counts.items()},
    )  # fmt: skip
    yield from _family(
        "drain_failing", "gauge", "1 while the other side of a drain does not take what we send",
        {(("site", site), ("drain", name)): float(bool(one.error)) for (site, name), one in sources.others.items()},
    )  # fmt: skip
    yield from _family(
        "drain_events_total", "counter", "what the drains of history and notices did and saw",
        {
            (("site", site), ("drain", name), ("what", what)): n
            for (site, name), one in sources.others.items()
            for what, n in one.counts.items()
        },
    )  # fmt: skip


def _of_database(sources: Sources) -> Iterator[str]:
    store, now_ms = sources.store, time.time_ns() // 1_000_000
    open_tickets: dict[Labels, float] = {}
    for ticket in queries.list_tickets(store.engine, state="open", limit=100_000):
        key = (("site", ticket.site), ("fault", ticket.fault), ("sla_class", ticket.sla_class))
        open_tickets[key] = open_tickets.get(key, 0) + 1
    yield from _family("tickets_open", "gauge", "open tickets", open_tickets)
    yield from _family(
        "committed_total", "counter", "what was committed and nobody may overlook, by all owners of the site",
        {(("site", site), ("what", name)): value for (site, name), value in queries.counters(store.engine).items()},
    )  # fmt: skip
    yield from _behind(store, now_ms, "influxdb", "InfluxDB", NAME, sources.drains)
    yield from _of_history(sources, now_ms)
    yield from _of_notices(sources, now_ms)


def _of_history(sources: Sources, now_ms: int) -> Iterator[str]:
    """Yield what history is behind, and how much it holds."""
    sites = [site for site, name in sources.others if name == history.NAME]
    yield from _behind(sources.store, now_ms, "history", "history", history.NAME, sites)
    found: dict[Labels, Extent] = {(("site", site),): extent(sources.store, site) for site in sites}
    yield from _family(
        "history_bytes", "gauge", "size of the chunks", {key: held.bytes for key, held in found.items()}
    )  # fmt: skip
    yield from _family(
        "history_oldest_seconds", "gauge", "age of the oldest chunk: so far history goes back",
        {key: _age_s(now_ms, held.oldest_ms) for key, held in found.items()},
    )  # fmt: skip


def _of_notices(sources: Sources, now_ms: int) -> Iterator[str]:
    """Yield the notices that nobody has got yet."""
    store = sources.store
    found = {
        (("site", site),): (*delivery.waiting(store, site), delivery.failed(store, site))
        for site, name in sources.others
        if name == delivery.NAME
    }
    yield from _family(
        "notices_waiting", "gauge", "notices that are not delivered yet",
        {key: count for key, (count, _, _) in found.items()},
    )  # fmt: skip
    yield from _family(
        "notices_oldest_waiting_seconds", "gauge", "age of the oldest of them",
        {key: _age_s(now_ms, oldest_ms) for key, (_, oldest_ms, _) in found.items()},
    )  # fmt: skip
    yield from _family(
        "notices_failed", "gauge", "notices that the receiver refused",
        {key: count for key, (_, _, count) in found.items()},
    )  # fmt: skip


def _behind(store: Store, now_ms: int, prefix: str, whose: str, drain: str, sites: Iterable[str]) -> Iterator[str]:
    """Yield how many committed batches a drain has before it, and how old the oldest of them is."""
    found: dict[Labels, tuple[int, int | None]] = {(("site", site),): log.waiting(store, site, drain) for site in sites}
    yield from _family(
        f"{prefix}_batches_behind", "gauge", f"batches that {whose} does not have yet",
        {key: batches for key, (batches, _) in found.items()},
    )  # fmt: skip
    yield from _family(
        f"{prefix}_seconds_behind", "gauge", "age of the oldest of them",
        {key: _age_s(now_ms, oldest_ms) for key, (_, oldest_ms) in found.items()},
    )  # fmt: skip


def _age_s(now_ms: int, since_ms: int | None) -> float:
    return 0.0 if since_ms is None else max(0.0, (now_ms - since_ms) / 1000)


def _family(name: str, kind: str, meaning: str, values: Mapping[Labels, float]) -> Iterator[str]:
    """Yield one metric family."""
    yield f"# HELP kitwatch_{name} {meaning}"
    yield f"# TYPE kitwatch_{name} {kind}"
    for labels, value in values.items():
        text = ",".join(f'{key}="{_escape(label)}"' for key, label in labels)
        yield f"kitwatch_{name}{{{text}}} {value:.15g}"


def _escape(label: str) -> str:
    return label.replace("\\", r"\\").replace('"', r"\"").replace("\n", r"\n")
