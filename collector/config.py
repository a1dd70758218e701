"""The collector's configuration: ``collector.yaml``. Relative paths count from the file's folder.

>>> broker: {host: 127.0.0.1, port: 1883}            # doctest: +SKIP
... database: sqlite:///var/kitwatch.sqlite
... fleet: fleet.yaml
... sites: [north]
"""

from __future__ import annotations

import os
from pathlib import Path
from typing import Annotated, Final, Literal
from urllib.parse import urlsplit

import msgspec

from collector.channels.registry import Receiver
from collector.dead_mans_switch import NAME as SWITCH
from collector.dead_mans_switch import DeadMansSwitch
from collector.site.health import PEOPLE
from collector.site.quotas import Quotas
from firmware_profiles.own import folders_of, load_fleet
from telemetry.files import FileError, convert, read_secret, read_yaml
from telemetry.fleet import Broker, Fleet
from telemetry.inputs import Address, Id
from telemetry.metrics import nearest

SINK_NAMES = frozenset({"history", "influxdb", SWITCH, PEOPLE})
"""Figures and tickets tell sinks, receivers, people and the dead man's switch by their names."""
OLD_WORDS: Final = {
    "notices": "notifications: [{channel: webhook, url: ...}]",
    "log": "retention: {days: ..., max_bytes: ...}",
}
"""Keys of the first version, and what stands in their place."""
LEAST_KEY: Final = 16
"""Characters of a key that signs; a shorter one can be guessed."""
Positive = Annotated[float, msgspec.Meta(gt=0)]
HostName = Annotated[str, msgspec.Meta(pattern=r"\A[A-Za-z0-9:._-]{1,253}\Z")]
"""A name or an address (RFC 3986, 3.2.2), an IPv6 address without brackets."""


class InfluxDB(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """An InfluxDB of version 1, 2 or 3 (docs/components.md)."""

    url: str
    """Its API: `http://...` or `https://...`."""
    bucket: str
    """Version 1: the database, or DATABASE/POLICY."""
    token_file: str | None = None
    """Holds the token; version 1: ``name:password`` or a JSON web token; none where the server asks for none."""
    org: str = ""
    """Version 2 and 3 only."""
    version: Literal[1, 2, 3] | None = None
    """Asked of the server (``/ping``) where it is not given."""
    retention_days: Positive = 365.0
    """How far back the bucket goes: what is older is held back. A server that keeps less tells us itself."""


class History(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """How much history a site keeps (docs/retention.md)."""

    days: Positive = 7.0
    """Older records of history are let go."""
    max_bytes: Annotated[int, msgspec.Meta(ge=2**20)] = 4 * 2**30
    """Most bytes of records a site, the oldest let go first."""


class Retention(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """How long the log is kept, per site; a sink that falls behind it is told the gap."""

    days: Positive = 7.0
    """What is older is let go, whoever is behind."""
    max_bytes: Annotated[int, msgspec.Meta(ge=2**20)] = 4 * 2**30
    """Most bytes a site, the oldest let go first."""


class Web(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Where pages and API are served. Port 0 takes a free one."""

    host: Address = "127.0.0.1"
    """Address to listen on."""
    port: Annotated[int, msgspec.Meta(ge=0, le=65535)] = 8080
    """TCP port; 0 takes a free one."""
    names: tuple[HostName, ...] = ()
    """Hosts by which people reach the pages, without port: what stands in their address bar, also in front of a proxy.
    Requests for any other host than these, `localhost` and the address itself are refused."""
    session_idle: Positive = 43_200.0
    """Seconds after which who has signed in and done nothing has to do so again (12 h)."""
    session_longest: Positive = 604_800.0
    """Seconds after which everybody has to (7 days)."""
    connections: Annotated[int, msgspec.Meta(ge=8, le=10_000)] = 250
    """Most connections at once, and never more than half the files that the process may open; an open page is one."""


class Missions(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Missions as the dispatch system (120 调度) tells them: `POST /api/missions`, signed (docs/missions.md)."""

    signing_key_file: str
    """Holds the key that signs: ``whsec_`` and base64, or any text of 16 characters and more."""
    per_minute: Annotated[int, msgspec.Meta(ge=1, le=100_000)] = 600
    """Most requests a minute; more are answered with 429."""


class Timings(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """How long things take, in seconds unless the name says otherwise. Each default was measured or agreed."""

    linger_ms: Annotated[float, msgspec.Meta(ge=0, le=5000)] = 100.0
    """How long what comes in waits for company before it is read, at most; the more comes, the shorter. What comes
    after a pause of this length is read at once."""
    gather_ms: Annotated[float, msgspec.Meta(ge=0, le=5000)] = 1000.0
    """How long a commit waits for more while nothing is urgent: no problem has changed, nobody acts, no agent waits.
    Never longer than a beat."""
    receipt: Annotated[float, msgspec.Meta(ge=0, le=3600)] = 30.0
    """Least time between two receipts of one agent."""
    beat: Positive = 5.0
    """Seconds between two heartbeats through the broker and back."""
    reconnect_window: Annotated[float, msgspec.Meta(ge=0)] = 180.0
    """How long agents are given to come back once we listen again."""
    session_expiry: Annotated[int, msgspec.Meta(ge=0)] = 3600
    """How long the broker keeps our queue while we are away."""
    retry: Positive = 1.0
    """First wait after a failure; doubled each time, up to ``retry_most``."""
    retry_most: Positive = 30.0
    """The longest wait between two tries."""


class CollectorConfig(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """The whole file."""

    broker: Broker
    """Where the sites' agents publish."""
    database: str
    """`sqlite:///FILE` or `postgresql://...`; the latter where there is more than one collector."""
    fleet: str
    """The fleet file."""
    sites: tuple[Id, ...] = ()
    """Those of the fleet file that this collector may own; empty: all."""
    rules: tuple[str, ...] = ()
    """Rules files, read after the shipped ones in this order; of a folder all its files by name."""
    profiles: tuple[str, ...] = ()
    """Folders of own firmware profiles beside those that the fleet file names: devices may name profiles of both."""
    contract: str | None = None
    """The contract file (`kitwatch contract check`); without one the hospital's contract holds as it stands."""
    influxdb: InfluxDB | None = None
    """Where readings are written for dashboards; none: nowhere."""
    notifications: tuple[Receiver, ...] = ()
    """Who is told when a ticket opens, opens again or is resolved."""
    dead_mans_switch: DeadMansSwitch | None = None
    """A second place that sees when this centre is silent; none: nobody does."""
    history: History = History()
    """Records that stand in our own database."""
    retention: Retention = Retention()
    """The log of what was committed."""
    web: Web | None = None
    """Pages and API; none: not served."""
    missions: Missions | None = None
    """Missions that a dispatch system tells over `web`; none: they are not taken."""
    socket: str | None = None
    """The socket on which people of the roster act (`kitwatch tickets`, `kitwatch duty`); if not set `collector.sock`
    in `$RUNTIME_DIRECTORY`, none where that is not set either."""
    timings: Timings = Timings()
    """How long things take."""
    quotas: Quotas = Quotas()
    """What one vehicle may cost."""
    mqtt_client: Literal["mqtt5", "paho"] = "mqtt5"
    """What speaks to the broker: a reader of our own over the codec `mqtt5`, or `paho-mqtt`, which costs more."""
    speed: Positive = 1.0
    """Divides the durations of rules; for the demo and drills only."""


def load_config(path: Path) -> CollectorConfig:
    """Return the configuration with absolute paths. Raises FileError for the first thing that is wrong."""
    data = read_yaml(path)
    for old, new in OLD_WORDS.items():
        if isinstance(data, dict) and old in data:
            raise FileError(path, old, f"expected {new}, found the old word")
    config = convert(data, CollectorConfig, path)
    folder = path.resolve().parent
    influxdb, switch = config.influxdb, config.dead_mans_switch
    if influxdb is not None:
        _check_url(influxdb.url, path, "influxdb.url")
        if influxdb.token_file is not None:
            influxdb = msgspec.structs.replace(influxdb, token_file=_absolute(influxdb.token_file, folder))
            read_secret(str(influxdb.token_file), "influxdb.token_file")
    return msgspec.structs.replace(
        config,
        broker=_absolute_broker(config.broker, folder),
        database=_absolute_database(config.database, folder, path),
        fleet=_absolute(config.fleet, folder),
        rules=tuple(_absolute(rule, folder) for rule in config.rules),
        profiles=folders_of(config.profiles, path),
        contract=None if config.contract is None else _absolute(config.contract, folder),
        socket=None if config.socket is None else _absolute(config.socket, folder),
        influxdb=influxdb,
        missions=None if config.missions is None else _missions(config.missions, path),
        notifications=_receivers(config.notifications, path),
        dead_mans_switch=switch.checked(path, SWITCH) if switch is not None else None,
    )


def socket_path(config: CollectorConfig) -> Path | None:
    """Return where people's socket is, ``None`` where there is none."""
    if config.socket is not None:
        return Path(config.socket)
    folder = os.environ.get("RUNTIME_DIRECTORY")
    return Path(folder) / "collector.sock" if folder else None


def load_fleet_of(config: CollectorConfig, path: Path) -> tuple[Fleet, tuple[str, ...]]:
    """Return the fleet file and the sites that this collector may own. Raises FileError; ``path`` is for its words."""
    fleet = load_fleet(Path(config.fleet), config.profiles)
    for number, site in enumerate(config.sites):
        if site not in fleet.sites:
            hint = nearest(site, fleet.sites)
            known = ", ".join(fleet.sites) or "none"
            raise FileError(
                path, f"sites.{number}", f"expected a site of the fleet file ({known}), found {site!r}{hint}"
            )
    return fleet, config.sites or tuple(fleet.sites)


def _receivers(receivers: tuple[Receiver, ...], path: Path) -> tuple[Receiver, ...]:
    seen: set[str] = set()
    found: list[Receiver] = []
    for number, one in enumerate(receivers):
        key = f"notifications.{number}"
        if one.name in seen:
            raise FileError(path, f"{key}.receiver", f"expected a name of its own, found {one.name!r} twice")
        if one.name in SINK_NAMES:
            raise FileError(path, f"{key}.receiver", f"expected another name than one of ours, found {one.name!r}")
        seen.add(one.name)
        found.append(one.checked(path, key))
    return tuple(found)


def _missions(missions: Missions, path: Path) -> Missions:
    file = _absolute(missions.signing_key_file, path.resolve().parent)
    if len(read_secret(file, "missions.signing_key_file")) < LEAST_KEY:
        raise FileError(file, "", f"expected a key of {LEAST_KEY} characters at least, found a shorter one")
    return msgspec.structs.replace(missions, signing_key_file=file)


def _check_url(url: str, path: Path, key: str) -> None:
    parts = urlsplit(url)
    if parts.scheme not in ("http", "https") or not parts.hostname:
        raise FileError(path, key, f"expected http://... or https://..., found {url!r}")


def _absolute(name: str, folder: Path) -> str:
    return str(folder / name)


def _absolute_broker(broker: Broker, folder: Path) -> Broker:
    tls = broker.tls
    if tls is not None:
        tls = msgspec.structs.replace(
            tls,
            ca=_absolute(tls.ca, folder),
            certificate=_absolute(tls.certificate, folder) if tls.certificate else None,
            key=_absolute(tls.key, folder) if tls.key else None,
        )
    password = _absolute(broker.password_file, folder) if broker.password_file else None
    return msgspec.structs.replace(broker, tls=tls, password_file=password)


def _absolute_database(url: str, folder: Path, path: Path) -> str:
    kind, _, rest = url.partition("://")
    if kind == "sqlite" and rest.startswith("/") and len(rest) > 1:
        return f"sqlite:///{folder / rest[1:]}"
    if kind == "postgresql" and rest:
        return url
    raise FileError(path, "database", f"expected sqlite:///FILE or postgresql://..., found {kind!r}")
