"""``kitwatch status``: how the centre gets on, in a screen: sites, broker, InfluxDB, what waits, who is silent.

It reads the database beside the collectors, whichever of them owns a site, and asks broker and InfluxDB whether they
are there. What an owner itself last wrote is believed only while it lives.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import sys
import time
from collections.abc import Mapping
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

from kitwatch.collector import CONFIG
from telemetry.printable import without_password

if TYPE_CHECKING:
    from collector.config import CollectorConfig
    from collector.read.sites import SiteRow
    from collector.store.store import Store
    from telemetry.fleet import Fleet

BEHIND_S: Final = 60
"""A sink whose oldest waiting batch is older than this and its own interval is behind; history's is 5 minutes."""
UNDELIVERED_MS: Final = 600_000
"""So too a notification that waits."""
_NAMED: Final = 10
"""Most vehicles that a line names."""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add what the subcommand takes."""
    parser.add_argument("--config", type=Path, default=CONFIG, metavar="FILE", help="default: %(default)s")
    parser.add_argument("--json", action="store_true", help="print one JSON object and nothing else")


def run(args: argparse.Namespace) -> int:
    """Print it; return 1 if anything is bad, 2 where the configuration or the database cannot be used."""
    from collector.config import load_config, load_fleet_of
    from collector.store.errors import StoreError
    from collector.store.store import Store
    from telemetry.files import FileError

    try:
        config = load_config(args.config)
        fleet, sites = load_fleet_of(config, args.config)
        store = Store.open(config.database)
        try:
            store.require_current()
            with store.errors():
                found = look(store, config, fleet, sites, time.time_ns() // 1_000_000)
        finally:
            store.close()
        found |= asyncio.run(_servers(config))
    except (FileError, StoreError, OSError) as error:
        print(f"kitwatch: {error}", file=sys.stderr)
        return 2
    bad = [*(text for row in found["sites"] for text in row["bad"]), *found.pop("bad")]
    if args.json:
        print(json.dumps({"good": not bad, "bad": bad, **found}, ensure_ascii=False))
    else:
        print("\n".join(_lines(found, bad)))
    return 1 if bad else 0


def look(store: Store, config: CollectorConfig, fleet: Fleet, sites: tuple[str, ...], now_ms: int) -> dict[str, Any]:
    """Return how these sites get on, by the database. ``now_ms`` is this machine's clock, for what has no other."""
    from collector.read.sites import list_sites
    from collector.sinks.registry import sinks_of
    from collector.site.handover import Handover

    rows = {row.site: row for row in list_sites(store.engine)}
    found = []
    for site in sites:
        every_s = {sink.name: sink.every_s for sink in sinks_of(config, store, site, fleet.sites[site], Handover())}
        found.append(_site(store, fleet, site, rows.get(site), every_s, now_ms))
    return {"sites": found}


def _site(
    store: Store, fleet: Fleet, site: str, row: SiteRow | None, every_s: Mapping[str, float], now_ms: int
) -> dict[str, Any]:
    condition, since_ms = ("never_owned", None) if row is None else row.condition
    at_ms = now_ms if row is None else row.now_ms
    bad = [] if condition == "listening" else [f"site {site}: {condition.replace('_', ' ')}{_since(since_ms, at_ms)}"]
    if bad and row is not None and row.report.error:
        bad[0] += f": {row.report.error}"
    if row is not None and row.report.begun_anew:
        anew = _names([name or "the site itself" for name in row.report.begun_anew])
        bad.append(f"site {site}: what was stored could not be read and began anew: {anew} (kitwatch deadletters ls)")
    if row is not None and row.report.damaged:
        rows = _names(list(row.report.damaged))
        bad.append(f"site {site}: stored rows cannot be read and are set aside: {rows} (kitwatch deadletters ls)")
    sinks = {} if row is None else _sinks(store, row)
    bad += [
        f"site {site}: {name} is {one['batches']} batches behind, the oldest {_age(one['oldest_s'])}"
        for name, one in sinks.items()
        if one["oldest_s"] is not None and one["oldest_s"] > BEHIND_S + every_s.get(name, 0)
    ]
    notifications = _notifications(store, site, now_ms)
    if notifications["failed"]:
        bad.append(f"site {site}: {notifications['failed']} notifications failed (kitwatch notifications ls)")
    if (notifications["oldest_s"] or 0) * 1000 > UNDELIVERED_MS:
        waiting, oldest = notifications["waiting"], _age(notifications["oldest_s"])
        bad.append(f"site {site}: {waiting} notifications wait, the oldest {oldest}")
    vehicles = _vehicles(store, fleet, site)
    if vehicles["silent"]:
        bad.append(f"site {site}: silent: {_names([one['vehicle'] for one in vehicles['silent']])}")
    return {
        "site": site,
        "state": condition,
        "since": _iso(since_ms),
        "owner": None if row is None or condition == "unowned" else row.owner,
        "connected": row is not None and condition != "unowned" and row.report.connected,
        "error": "" if row is None else row.report.error,
        "sinks": sinks,
        "notifications": notifications,
        "vehicles": vehicles,
        "bad": bad,
    }


def _sinks(store: Store, row: SiteRow) -> dict[str, dict[str, Any]]:
    from collector.read.sites import sinks_behind

    return {
        name: {
            "batches": one.batches,
            "oldest_s": None if one.oldest_ms is None else max(0, (row.now_ms - one.oldest_ms) // 1000),
        }
        for name, one in sinks_behind(store.engine, row).items()
    }


def _notifications(store: Store, site: str, now_ms: int) -> dict[str, Any]:
    from collector.channels.deliveries import failed, waiting

    number, oldest_ms = waiting(store, site)
    oldest_s = None if oldest_ms is None else max(0, (now_ms - oldest_ms) // 1000)
    return {"waiting": number, "oldest_s": oldest_s, "failed": failed(store, site)}


def _vehicles(store: Store, fleet: Fleet, site: str) -> dict[str, Any]:
    """Return who is silent, and who of the fleet file was never heard; the latter may not be fitted out yet."""
    from collector.read.vehicles import vehicles_of

    planned = fleet.sites[site].vehicles
    known = vehicles_of(store.engine, [(site, name) for name in planned])
    heard = {name: row for name in planned if (row := known.get((site, name))) is not None and row.heard_ms is not None}
    return {
        "planned": len(planned),
        "heard": len(heard),
        "silent": [
            {"vehicle": name, "since": _iso(row.silent_since_ms)}
            for name, row in heard.items()
            if row.silent_since_ms is not None
        ],
        "never_heard": [name for name in planned if name not in heard],
    }


async def _servers(config: CollectorConfig) -> dict[str, Any]:
    """Ask broker and InfluxDB whether they are there; neither is told anything. Raises FileError for TLS files."""
    from collector.sinks.influxdb_server import ping
    from collector.sinks.sink import NotNow
    from telemetry.reach import broker_problem

    broker = config.broker
    problem = await broker_problem(broker)
    found: dict[str, Any] = {
        "broker": {"address": f"{broker.host}:{broker.port}", "problem": problem},
        "influxdb": None,
        "bad": [f"broker {broker.host}:{broker.port}: {problem}"] if problem else [],
    }
    if config.influxdb is not None:
        server = found["influxdb"] = {"address": config.influxdb.url, "version": "", "problem": ""}
        try:
            server["version"] = await ping(config.influxdb)
        except NotNow as error:
            server["problem"] = str(error)
            found["bad"].append(f"InfluxDB {without_password(config.influxdb.url)}: {error}")
    return found


def _lines(found: Mapping[str, Any], bad: list[str]) -> list[str]:
    lines = [f"BAD {text}" for text in bad]
    for row in found["sites"]:
        vehicles = row["vehicles"]
        if row["state"] == "listening":
            lines.append(f"site {row['site']}: listening since {row['since']}, owned by {row['owner']}")
        lines.append(
            f"site {row['site']}: {vehicles['heard']} of {vehicles['planned']} vehicles heard, "
            f"{len(vehicles['silent'])} silent"
        )
        if vehicles["never_heard"]:
            lines.append(f"site {row['site']}: never heard: {_names(vehicles['never_heard'])}")
        lines += [f"site {row['site']}: {name}: {_behind(one)}" for name, one in row["sinks"].items()]
        told = row["notifications"]
        lines.append(f"site {row['site']}: notifications: {told['waiting']} waiting, {told['failed']} failed")
    if not found["broker"]["problem"]:
        lines.append(f"broker {found['broker']['address']}: in reach")
    if found["influxdb"] is not None and not found["influxdb"]["problem"]:
        lines.append(f"InfluxDB {found['influxdb']['address']}: in reach, {found['influxdb']['version']}")
    return lines


def _behind(sink: Mapping[str, Any]) -> str:
    if sink["oldest_s"] is None:
        return "nothing waits"
    return f"{sink['batches']} batches wait, the oldest {_age(sink['oldest_s'])}"


def _names(vehicles: list[str]) -> str:
    more = f" and {len(vehicles) - _NAMED} more" if len(vehicles) > _NAMED else ""
    return ", ".join(vehicles[:_NAMED]) + more


def _since(since_ms: int | None, now_ms: int) -> str:
    return "" if since_ms is None else f" for {_age(max(0, (now_ms - since_ms) // 1000))}"


def _age(seconds: int) -> str:
    """Return whole seconds as people say them."""
    for unit, length in (("days", 86_400), ("h", 3600), ("min", 60)):
        if seconds >= 2 * length:
            return f"{seconds // length} {unit}"
    return f"{seconds} s"


def _iso(time_ms: int | None) -> str | None:
    if time_ms is None:
        return None
    return datetime.fromtimestamp(time_ms / 1000, UTC).strftime("%Y-%m-%dT%H:%M:%SZ")
