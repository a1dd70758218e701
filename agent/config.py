"""``agent.yaml``: who this agent is, where its broker is, what it polls. Reading, checking and writing it.

``kitwatch fleet agent VEHICLE AGENT`` writes it from the fleet file; ``load`` reads it.
"""

from __future__ import annotations

import os
from collections.abc import Mapping
from itertools import chain
from pathlib import Path
from typing import Annotated, Any, Final

import msgspec
import yaml

from firmware_profiles.own import folders_of, metrics_of, missing_profiles, refuse_slow_patterns
from telemetry.files import FileError
from telemetry.files import load as load_file
from telemetry.fleet import Broker, Device, Fleet, check_devices
from telemetry.inputs import Id
from telemetry.metrics import nearest
from telemetry.topics import COLLECTOR, AgentName

STATE_DIRECTORY: Final = "/var/lib/kitwatch/agent"
"""Where the agent keeps its state if neither its file nor systemd says."""
_Wait = Annotated[float, msgspec.Meta(ge=0, le=86400)]
_Positive = Annotated[float, msgspec.Meta(gt=0, le=86400)]


class Waits(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Every wait of the agent, in seconds. The defaults suit a vehicle; tests and demo shorten them."""

    straggler: _Positive = 1.0
    """How long the polls that were due together wait for the slowest of them."""
    own_figures: _Positive = 30.0
    """How often the agent samples itself."""
    problem_repeat: _Wait = 60.0
    """Least time between two ``problem`` events of one input."""
    spread: _Wait = 5.0
    """The first connect, and the first after a stable connection, comes at a random time up to this: no whole fleet
    comes at once."""
    backoff_base: _Positive = 1.0
    """The n-th wait after failures is random up to ``backoff_base * 2^n``, and never above ``backoff_cap``."""
    backoff_cap: _Positive = 30.0
    """The longest wait between two connects."""
    stable: _Wait = 300.0
    """How long a connection must last for the failures before it to be forgotten."""
    connect: _Positive = 15.0
    """Most time for a connect."""
    unanswered: _Positive = 30.0
    """A connection is over when something waits for the broker and for so long nothing came back: no packet, and no
    byte that left the socket's queue. A link that is slow but moves is left alone."""
    link_poll: _Positive = 0.5
    """How often the default routes are looked at while waiting; a new one ends the wait."""
    presence: _Wait = 0.5
    """How long a birth waits for the collector's retained presence."""
    birth_repeat: _Positive = 60.0
    """When a birth that nobody answered is published again."""
    drain: _Wait = 0.0
    """At the end: how long to wait until the collector has committed what is held."""
    goodbye: _Positive = 2.0
    """Most time for the goodbye."""
    resend: _Positive = 300.0
    """A record that was not acknowledged end to end for so long, while connected, is published again."""
    schema_repeat: _Positive = 10.0
    """Least time between two answers to a request for the same schema or clock."""
    live_expiry: Annotated[int, msgspec.Meta(ge=1)] = 600
    """How long the broker keeps live messages (message expiry interval)."""
    clocks: _Positive = 10.0
    """How often this machine's own clocks are looked at."""
    ask: _Positive = 2.0
    """Most time for one answer of the centre to "what time is it"."""
    ask_repeat: _Positive = 5.0
    """Pause between two rounds of asking for the time."""
    clock_patience: _Wait = 30.0
    """How long records wait for a trustworthy clock before they are sent with a doubtful one."""
    clock_stale: _Positive = 3600.0
    """How long a clock's source counts without being heard again before a less trusted one is."""


class AgentConfig(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """The whole file."""

    site: Id
    """The site's name in topics."""
    vehicle: Id
    """The vehicle's name in topics."""
    agent: Id
    """This agent's name in topics; a vehicle may have several agents."""
    broker: Broker
    """Where to publish."""
    devices: dict[Id, Device]
    """What to poll, as in the fleet file (``depends_on`` is the centre's matter and not looked at)."""
    profiles: tuple[str, ...] = ()
    """Folders of own firmware profiles, read after the shipped ones; relative ones count from this file's folder."""
    state_directory: str = ""
    """Where the outbox is kept; empty: what systemd made for the unit (``$STATE_DIRECTORY``), else
    ``/var/lib/kitwatch/agent``."""
    send_interval: Annotated[float, msgspec.Meta(ge=0, le=3600)] = 0.0
    """Seconds between messages; 0 sends what is due together at once. Events never wait."""
    outbox_bytes: Annotated[int, msgspec.Meta(ge=4 * 2**20)] = 64 * 2**20
    """The most disk that the outbox takes."""
    waits: Waits = Waits()
    """How long the agent waits for what."""

    @property
    def name(self) -> AgentName:
        """Who speaks."""
        return AgentName(self.site, self.vehicle, self.agent)


def load(path: Path, environment: Mapping[str, str] = os.environ) -> AgentConfig:
    """Return the file, checked, with a state directory and absolute folders of profiles.

    Raises FileError with the first thing that is wrong, in an own profile too.
    """
    config = load_file(path, AgentConfig)
    if not config.state_directory:
        config = msgspec.structs.replace(config, state_directory=_state_directory(environment))
    for key in ("vehicle", "agent"):
        if getattr(config, key) == COLLECTOR:
            raise FileError(path, key, f"expected another name, found {COLLECTOR!r}, which is reserved")
    folders = folders_of(config.profiles, path)
    if folders:
        config = msgspec.structs.replace(config, profiles=folders)
        refuse_slow_patterns(folders)
    alone = {name: msgspec.structs.replace(device, depends_on=()) for name, device in config.devices.items()}
    for problem in chain(
        missing_profiles(config.devices, folders, path, "devices"),
        check_devices(alone, alone, path, "devices", metrics_of(folders)),
    ):
        raise problem
    for key, secret in _secret_files(config):
        if not Path(secret).is_file():
            raise FileError(path, key, f"expected an existing file, found none at {secret!r}")
    return config


def _state_directory(environment: Mapping[str, str]) -> str:
    """Return the first directory that systemd made for this unit (systemd.exec(5), StateDirectory=)."""
    return environment.get("STATE_DIRECTORY", "").partition(":")[0] or STATE_DIRECTORY


def _secret_files(config: AgentConfig) -> list[tuple[str, str]]:
    """Return (key, path) of every file that the configuration names."""
    parts: list[tuple[str, msgspec.Struct]] = [("broker", config.broker)]
    if config.broker.tls is not None:
        parts.append(("broker.tls", config.broker.tls))
    for device_id, device in config.devices.items():
        parts += [(f"devices.{device_id}.{name}", input_config) for name, input_config in device.configured()]
    found = []
    for key, part in parts:
        for name in part.__struct_fields__:
            value = getattr(part, name)
            if (name.endswith("_file") or key == "broker.tls") and value is not None:
                found.append((f"{key}.{name}", str(value)))
    return found


def render(fleet: Fleet, vehicle: str, agent: str, path: str | Path = "fleet.yaml") -> str:
    """Return the text of ``agent.yaml`` for one agent of the fleet file ``path``.

    Raises FileError when there is no such vehicle or agent, or its site has no broker.
    """
    found = fleet.find(vehicle)
    if found is None:
        known = [name for site in fleet.sites.values() for name in site.vehicles]
        raise FileError(path, "sites", f"expected the vehicle {vehicle!r}, found none{nearest(vehicle, known)}")
    site_id, plan = found
    key = f"sites.{site_id}.vehicles.{vehicle}.agents"
    if agent not in plan.agents:
        hint = nearest(agent, plan.agents)
        raise FileError(path, key, f"expected the agent {agent!r}, found only {', '.join(plan.agents)}{hint}")
    broker = fleet.sites[site_id].broker
    if broker is None:
        raise FileError(path, f"sites.{site_id}", "expected the key 'broker', which every agent needs; found none")
    chosen = plan.agents[agent]
    devices = {
        name: msgspec.structs.replace(device, depends_on=(), warranty_until=None)
        for name, device in chosen.devices.items()
        if device.configured()
    }
    config = AgentConfig(
        site=site_id,
        vehicle=vehicle,
        agent=agent,
        broker=broker,
        devices=devices,
        profiles=fleet.profiles,
        send_interval=chosen.send_interval,
        outbox_bytes=chosen.outbox_bytes,
        state_directory=chosen.state_directory,
    )
    return dump(config)


def dump(config: AgentConfig) -> str:
    """Return the configuration as YAML, without what is as the defaults say."""
    return yaml.safe_dump(_without_defaults(config), allow_unicode=True, sort_keys=False)


def _without_defaults(value: Any) -> Any:
    if isinstance(value, msgspec.Struct):
        fields = msgspec.structs.fields(type(value))
        return {
            field.encode_name: _without_defaults(getattr(value, field.name))
            for field in fields
            if field.required or getattr(value, field.name) != _default(field)
        }
    if isinstance(value, dict):
        return {key: _without_defaults(part) for key, part in value.items()}
    if isinstance(value, list | tuple):
        return [_without_defaults(part) for part in value]
    return value


def _default(field: msgspec.structs.FieldInfo) -> Any:
    return field.default_factory() if field.default_factory is not msgspec.NODEFAULT else field.default
