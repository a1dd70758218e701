"""``kitwatch status``: how the centre gets on, in a screen: sites, broker, InfluxDB, what waits, who is silent.

It asks the collector's API, and where that does not answer the database beside it, which says so; then broker and
InfluxDB whether they are there. What an owner itself last wrote is believed only while it lives.
"""

from __future__ import annotations

import argparse
import asyncio
import http.client
import json
import sys
from collections.abc import Collection, Mapping
from datetime import datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

from kitwatch import collector_api
from kitwatch.collector import CONFIG
from kitwatch.collector_api import SOCKET, CollectorApi, Told
from telemetry.printable import without_password

if TYPE_CHECKING:
    from collector.config import CollectorConfig
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
    collector_api.add_arguments(parser, "that of collector.yaml, if there is one")
    parser.add_argument("--json", action="store_true", help="print one JSON object and nothing else")


def run(args: argparse.Namespace) -> int:
    """Print it; return 1 if anything is bad, 2 where the configuration is wrong or nobody can be asked."""
    from collector.store.errors import StoreError
    from telemetry.files import FileError

    try:
        found = _at_url(args) if args.url else _here(args)
    except (FileError, StoreError, Told, OSError, http.client.HTTPException) as error:
        where = f"{args.url}: expected a collector that answers, found: " if args.url and not _is_ours(error) else ""
        print(f"kitwatch: {where}{error}", file=sys.stderr)
        return 2
    bad = [*found.pop("bad"), *(text for row in found["sites"] for text in row["bad"])]
    if args.json:
        print(json.dumps({"good": not bad, "bad": bad, **found}, ensure_ascii=False))
    else:
        print("\n".join(_lines(found, bad)))
    return 1 if bad else 0


def _is_ours(error: Exception) -> bool:
    from telemetry.files import FileError

    return isinstance(error, FileError | Told)


def _at_url(args: argparse.Namespace) -> dict[str, Any]:
    """Ask a collector anywhere; broker and InfluxDB are its matter then. Raises Told, FileError, OSError."""
    told = collector_api.api_of(args).ask("GET", "/api/sites")
    return {"sites": [judged(one, told["now"]) for one in told["sites"]], "broker": None, "influxdb": None, "bad": []}


def _here(args: argparse.Namespace) -> dict[str, Any]:
    """Ask this machine's collector, the database where it does not answer; then broker and InfluxDB.

    Raises FileError, StoreError, Told.
    """
    from collector.config import load_config, load_fleet_of, socket_path
    from collector.store.store import Store

    config = load_config(args.config)
    fleet, sites = load_fleet_of(config, args.config)
    of_config = socket_path(config)
    path = args.socket or (str(of_config) if of_config else SOCKET if args.config == CONFIG else "")
    bad = []
    found: dict[str, Any] | None = None
    if path:
        try:
            told = CollectorApi(path).ask("GET", "/api/sites")
            found = {"sites": [judged(one, told["now"]) for one in told["sites"] if one["site"] in sites]}
        except (OSError, http.client.HTTPException) as error:
            bad.append(f"collector: nobody answers at {path}: {error}")
    if found is None:
        store = Store.open(config.database)
        try:
            store.require_current()
            with store.errors():
                found = look(store, fleet, sites)
        finally:
            store.close()
    servers = asyncio.run(_servers(config))
    return {**found, **servers, "bad": [*bad, *servers["bad"]]}


def look(store: Store, fleet: Fleet, sites: Collection[str]) -> dict[str, Any]:
    """Return how these sites get on, by the database alone."""
    from collector.web.app import Sources
    from collector.web.sites import list_sites

    told = list_sites(Sources(store, fleet, {}))
    return {"sites": [judged(one, told["now"]) for one in told["sites"] if one["site"] in sites]}


def judged(told: Mapping[str, Any], now: str) -> dict[str, Any]:
    """Return how a site gets on, and what of that is bad; ``told``: by the API, at ``now``."""
    site, condition = told["site"], told["state"]
    now_ms = _ms(now)
    bad = (
        []
        if condition == "listening"
        else [f"site {site}: {condition.replace('_', ' ')}{_since(told['since'], now_ms)}"]
    )
    if bad and told.get("error"):
        bad[0] += f": {told['error']}"
    if told.get("begun_anew"):
        anew = _names([name or "the site itself" for name in told["begun_anew"]])
        bad.append(f"site {site}: what was stored could not be read and began anew: {anew} (kitwatch deadletters ls)")
    if told.get("damaged"):
        rows = _names(told["damaged"])
        bad.append(f"site {site}: stored rows cannot be read and are set aside: {rows} (kitwatch deadletters ls)")
    sinks = {
        name: {"batches": one["batches_behind"], "oldest_s": _age_s(one["oldest_at"], now_ms)}
        for name, one in told.get("sinks", {}).items()
    }
    bad += [
        f"site {site}: {name} is {one['batches']} batches behind, the oldest {_age(one['oldest_s'])}"
        for name, one in sinks.items()
        if one["oldest_s"] is not None and one["oldest_s"] > BEHIND_S + _every_s().get(name, 0)
    ]
    waits = told.get("notifications", {"waiting": 0, "oldest_at": None, "failed": 0})
    notifications = {
        "waiting": waits["waiting"], "oldest_s": _age_s(waits["oldest_at"], now_ms), "failed": waits["failed"],
    }  # fmt: skip
    if notifications["failed"]:
        bad.append(f"site {site}: {notifications['failed']} notifications failed (kitwatch notifications ls)")
    if (notifications["oldest_s"] or 0) * 1000 > UNDELIVERED_MS:
        waiting, oldest = notifications["waiting"], _age(notifications["oldest_s"])
        bad.append(f"site {site}: {waiting} notifications wait, the oldest {oldest}")
    if told["vehicles"]["silent"]:
        bad.append(f"site {site}: silent: {_names([one['vehicle'] for one in told['vehicles']['silent']])}")
    return {
        "site": site,
        "state": condition,
        "since": told["since"],
        "owner": told.get("owner") if told.get("owned") else None,
        "connected": told.get("connected", False),
        "error": told.get("error", ""),
        "sinks": sinks,
        "notifications": notifications,
        "vehicles": told["vehicles"],
        "bad": bad,
    }


def _every_s() -> dict[str, float]:
    """Return how long a sink waits between two looks at the log, where that is long."""
    from collector.sinks import history, places

    return {one.NAME: one.EVERY_S for one in (history, places)}


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
    if found["broker"] is not None and not found["broker"]["problem"]:
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


def _since(since: str | None, now_ms: int) -> str:
    seconds = _age_s(since, now_ms)
    return "" if seconds is None else f" for {_age(seconds)}"


def _ms(at: str) -> int:
    return round(datetime.fromisoformat(at).timestamp() * 1000)


def _age_s(at: str | None, now_ms: int) -> int | None:
    return None if at is None else max(0, (now_ms - _ms(at)) // 1000)


def _age(seconds: int) -> str:
    """Return whole seconds as people say them."""
    for unit, length in (("days", 86_400), ("h", 3600), ("min", 60)):
        if seconds >= 2 * length:
            return f"{seconds // length} {unit}"
    return f"{seconds} s"
