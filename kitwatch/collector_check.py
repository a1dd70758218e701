"""``kitwatch collector --check``: are all files sound, what run time will lack, what is out of reach now."""

from __future__ import annotations

import asyncio
import json
from pathlib import Path
from typing import TYPE_CHECKING
from urllib.parse import urlsplit

from kitwatch import needs
from kitwatch.needs import Need
from telemetry.printable import without_password

if TYPE_CHECKING:
    from collector.config import CollectorConfig


def check(config: CollectorConfig, path: Path, *, as_json: bool) -> int:
    """Print it; return 1 where something is needed that is not there. What is not in reach now is no mistake.

    Raises FileError for the first thing that is wrong in a file.
    """
    from collector.main import load

    fleet, sites, rules = load(config, path)
    vehicles = sum(len(fleet.sites[site].vehicles) for site in sites)
    lacking, reach = _needs(config), asyncio.run(_reach(config))
    if as_json:
        found = {
            "sites": list(sites),
            "vehicles": vehicles,
            "rules": len(rules.by_id),
            "influxdb": without_password(config.influxdb.url) if config.influxdb else None,
            "needs": [need._asdict() for need in lacking],
            "reach": [need._asdict() for need in reach],
        }
        print(json.dumps(found, ensure_ascii=False))
    else:
        told = [f"{path}: sites {', '.join(sites)}; {vehicles} vehicles; {len(rules.by_id)} rules"]
        print("\n".join([*told, *needs.lines(lacking, reach)]))
    return 1 if any(need.problem for need in lacking) else 0


def _needs(config: CollectorConfig) -> list[Need]:
    from collector.store.store import Store
    from telemetry.files import read_secret

    found = needs.tls(config.broker)
    password = config.broker.password_file
    if password is not None:
        found.append(needs.checked("broker.password_file", lambda: read_secret(password, "broker.password_file")))
    file = Store.open(config.database).path
    if file is not None:
        found.append(needs.folder("database", file.parent))
    return found


async def _reach(config: CollectorConfig) -> list[Need]:
    return [
        await _broker(config),
        *([await asyncio.to_thread(_database, config)]),
        *([await _influxdb(config)] if config.influxdb is not None else []),
        *[
            await _port(f"{one.name} ({one.channel})", str(url))
            for one in config.notifications
            if (url := getattr(one, "url", None))
        ],
        *([needs.free_port("a free port for the pages", config.web.host, config.web.port)] if config.web else []),
    ]


async def _broker(config: CollectorConfig) -> Need:
    from telemetry.files import FileError
    from telemetry.reach import broker_problem

    what = f"the broker at {config.broker.host}:{config.broker.port}"
    try:
        return Need(what, await broker_problem(config.broker))
    except FileError as error:
        return Need(what, str(error))


def _database(config: CollectorConfig) -> Need:
    from collector.store import migrations
    from collector.store.errors import StoreError
    from collector.store.store import Store

    store = Store.open(config.database)
    what = f"the database {store}"
    try:
        found = store.revision()
    except StoreError as error:
        return Need(what, str(error))
    finally:
        store.close()
    if found and found not in migrations.revisions():
        return Need(what, f"made by a later version: expected up to {migrations.head()}, found {found}")
    return Need(what)


async def _influxdb(config: CollectorConfig) -> Need:
    from collector.sinks.influxdb_server import ping
    from collector.sinks.sink import NotNow

    assert config.influxdb is not None
    what = f"InfluxDB at {without_password(config.influxdb.url)}"
    try:
        return Need(f"{what} ({await ping(config.influxdb)})")
    except NotNow as error:
        return Need(what, str(error))


async def _port(what: str, url: str) -> Need:
    """Return whether somebody listens where notifications go; nothing is said to them."""
    parts = urlsplit(url)
    if parts.scheme not in ("http", "https") or not parts.hostname:
        return Need(what)
    try:
        async with asyncio.timeout(5):
            port = parts.port or (443 if parts.scheme == "https" else 80)
            _, writer = await asyncio.open_connection(parts.hostname, port)
            writer.close()
    except TimeoutError:
        return Need(what, f"no answer from {parts.hostname}")
    except OSError as error:
        return Need(what, f"{parts.hostname}: {error.strerror or error}")
    return Need(what)
