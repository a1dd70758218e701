"""The fleet file: the truth about what ought to be there. Reading and checking; no other I/O.

Sites with their vehicles, the vehicles' agents, and the devices each agent polls. Agent and collector both go by it:
the collector knows from it who ought to speak, and an agent's own configuration is written from it.
"""

from __future__ import annotations

import datetime
from collections.abc import Callable, Iterable, Iterator, Mapping
from pathlib import Path
from typing import Annotated, Final, Literal

import msgspec

from telemetry.files import FileError, load
from telemetry.inputs import Address, Id, InputConfig, Inputs, Port, ProbeInput, Seconds, StreamInput
from telemetry.metrics import METRICS, nearest
from telemetry.topics import COLLECTOR, AgentName

IDLE_PATH_S: Final = 230
"""A path over which nothing goes for longer may be forgotten: the shortest of the large clouds' balancers waits 240 s
(Azure Load Balancer, idle timeout 4 minutes; AWS Network Load Balancer 350 s; Google 600 s)."""
DeviceKind = Literal[
    "router", "modem", "gnss", "camera", "encoder", "switch", "ups", "power", "host", "link", "module", "agent"
]
VehicleStateByHand = Literal["on_duty", "workshop"]
KitPower = Literal["always", "delayed", "ignition"]
Circuit = Literal["ignition", "always"]


class DataPlan(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """What a SIM card's contract allows."""

    gigabytes: Annotated[float, msgspec.Meta(gt=0)]
    """Volume of a month, both ways, in 10^9 bytes."""
    billing_day: Annotated[int, msgspec.Meta(ge=1, le=28)] = 1
    """The day on which the carrier's month begins, UTC."""


class Device(Inputs, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """One device that an agent polls, by one input or several."""

    kind: DeviceKind
    """What it is; rules and the graph of causes go by it."""
    name: str = ""
    """How people call it."""
    depends_on: tuple[Id, ...] = ()
    """Devices of this vehicle that it cannot work without."""
    circuit: Circuit = "ignition"
    """Where it gets its power: `ignition`: nothing is expected of it while the vehicle is parked; `always`: its silence
    is a fault then too."""
    warranty_until: datetime.date | None = None
    """The last day of its maker's warranty: tickets say whether a hardware fault is under it."""
    data_plan: DataPlan | None = None
    """Of the SIM card in a modem or router: without it nobody knows when the month's volume will be used up."""
    hardware_address: Annotated[str, msgspec.Meta(pattern=r"^[0-9A-Fa-f]{2}(:[0-9A-Fa-f]{2}){5}$")] | None = None
    """Of a router: the MAC address of its side to the vehicle, or the BSSID of its Wi-Fi. It tells whose network a
    tablet is in: the address of the gateway is the same in every vehicle."""


class Tls(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """TLS towards the broker; its host name is always checked."""

    ca: str
    """File of the authority's certificate."""
    certificate: str | None = None
    """File of the vehicle's own certificate."""
    key: str | None = None
    """File of its key, unless it stands in the certificate's file."""

    def __post_init__(self) -> None:
        if self.key is not None and self.certificate is None:
            raise ValueError("a key needs a certificate")


class Broker(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Where the MQTT v5 broker is."""

    host: Address
    """Name or address."""
    port: Port = 8883
    """Its listener; 8883 is MQTT over TLS."""
    tls: Tls | None = None
    """How the line is protected; none: in clear."""
    user: str | None = None
    """Name to log in with, where no certificate says who we are."""
    password_file: str | None = None
    """File that holds the password of `user`."""
    keepalive: Annotated[int, msgspec.Meta(ge=5, le=3600)] = 60
    """MQTT keep alive in seconds; over 230 a balancer or a NAT on the way may have forgotten the idle path."""

    def __post_init__(self) -> None:
        if self.password_file is not None and self.user is None:
            raise ValueError("a password_file needs a user")


class AgentPlan(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """One agent of a vehicle."""

    devices: dict[Id, Device]
    """What it polls, by a name of its own in the vehicle."""
    send_interval: Annotated[float, msgspec.Meta(ge=0, le=3600)] = 0.0
    """Seconds between messages; 0 sends each moment at once."""
    outbox_bytes: Annotated[int, msgspec.Meta(ge=4 * 2**20)] = 64 * 2**20
    """The most disk that it may hold."""
    state_directory: str = ""
    """Where it keeps its outbox: needed only where two agents run on one box."""


class Place(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """A place on the map, in degrees of WGS 84."""

    latitude: Annotated[float, msgspec.Meta(ge=-90, le=90)]
    """North is positive."""
    longitude: Annotated[float, msgspec.Meta(ge=-180, le=180)]
    """East is positive."""


class VehiclePlan(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """One vehicle: how people call it, where it lives, who speaks for it."""

    agents: dict[Id, AgentPlan]
    """The agents that speak for it, by name."""
    name: str = ""
    """How people call it."""
    plate: str = ""
    """Its number plate."""
    phone: str = ""
    """The number of the crew's telephone."""
    department: str = ""
    """The department whose vehicle it is: who is limited to departments sees only their vehicles (docs/sign-in.md)."""
    home: Place | None = None
    """Where it stands when it is off duty."""
    state: VehicleStateByHand = "on_duty"
    """What it is doing until somebody says otherwise; in the workshop no ticket opens."""
    kit_power: KitPower | None = None
    """How the box and its kit are fed: `always` (from the battery), `ignition` (cut with it), `delayed` (cut some time
    after it). If it is not given the collector learns it. It decides whether silence may mean that the vehicle is
    parked."""
    silent_after: Seconds | None = None
    """Seconds without a message after which a vehicle on duty counts as silent, in place of the 240 s where contact is
    known to be kept and the 600 s where nothing is known. Where contact is known to be lost it is what was learnt."""
    parked_silent_after: Annotated[float, msgspec.Meta(gt=0)] = 72 * 3600.0
    """The same for a vehicle that is parked, known or inferred, and for one that fell silent while nobody listened."""

    def host_of(self, agent: str) -> str:
        """Return the device that is the box on which an agent runs; its own name where the file has none."""
        plan = self.agents.get(agent)
        devices = {} if plan is None else plan.devices
        own = [id for id, one in devices.items() if one.kind == "host" and one.system is not None]
        return own[0] if own else agent

    def devices(self) -> Iterator[tuple[str, str, Device]]:
        """Yield (agent, device id, device) of all agents."""
        for agent, plan in self.agents.items():
            for device_id, device in plan.devices.items():
                yield agent, device_id, device


class SparePart(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """A spare part that a site keeps at hand. No stock is kept: what was used stands on the ticket."""

    kind: DeviceKind
    """For devices of which kind it is."""
    name: str = ""
    """How people call it: maker and model."""
    place: str = ""
    """Where it lies."""


class Site(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """An emergency centre or hospital with its vehicles; one collector at a time owns it."""

    vehicles: dict[Id, VehiclePlan]
    """Its vehicles, by a name that is unique in the fleet."""
    name: str = ""
    """How people call it."""
    time_zone: str = "Asia/Shanghai"
    """In which times are shown to people."""
    hotline: str = ""
    """The telephone number that people of the site call."""
    broker: Broker | None = None
    """The broker of its agents: needed to write their configuration."""
    spares: tuple[SparePart, ...] = ()
    """Spare parts at hand: tickets about a device show those of its kind."""

    def other_routers(self, vehicle: str) -> frozenset[str]:
        """Return the hardware addresses of the other vehicles' routers, in small letters; none of this one's."""
        found: dict[bool, set[str]] = {True: set(), False: set()}
        for name, plan in self.vehicles.items():
            for _, _, device in plan.devices():
                if device.hardware_address is not None:
                    found[name == vehicle].add(device.hardware_address.lower())
        return frozenset(found[False] - found[True])


class Fleet(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """The whole file."""

    sites: dict[Id, Site]
    """All sites, by name."""
    profiles: tuple[str, ...] = ()
    """Folders of own firmware profiles, read after the shipped ones; relative ones count from this file's folder."""

    def find(self, vehicle: str) -> tuple[str, VehiclePlan] | None:
        """Return (site, plan) of a vehicle, or ``None``; vehicle ids are unique in the fleet."""
        for site_id, site in self.sites.items():
            if vehicle in site.vehicles:
                return site_id, site.vehicles[vehicle]
        return None


MetricsOf = Callable[[str, str, InputConfig], Iterable[str]]
"""(device kind, input name, its configuration) -> metrics that it may yield. Profiles know; this module does not."""

_FIXED: Mapping[str, str] = {"system": "host", "modem": "modem", "gnss": "gnss", "probe": "link", "stream": "stream"}


def fixed_metrics(kind: str, name: str, config: InputConfig) -> Iterable[str]:
    """Return the metrics of inputs that need no profile; none for ``snmp`` and ``http``."""
    measurement = _FIXED.get(name)
    return [metric.name for metric in METRICS.values() if metric.measurement == measurement]


def load_fleet(path: Path, metrics_of: MetricsOf = fixed_metrics) -> Fleet:
    """Return the fleet file, checked. Raises FileError with the first thing that is wrong."""
    fleet = load(path, Fleet)
    for problem in check(fleet, path, metrics_of):
        raise problem
    return fleet


def check(fleet: Fleet, path: str | Path, metrics_of: MetricsOf = fixed_metrics) -> Iterator[FileError]:
    """Yield everything in a fleet that does not hold together, first things first."""
    from telemetry.time_zones import is_time_zone  # the agent, which has no fleet, goes without

    where: dict[str, str] = {}
    for site_id, site in fleet.sites.items():
        key = f"sites.{site_id}"
        if not is_time_zone(site.time_zone):
            import zoneinfo

            hint = nearest(site.time_zone, zoneinfo.available_timezones())
            yield FileError(
                path, f"{key}.time_zone", f"expected a zone such as Asia/Shanghai, found {site.time_zone!r}{hint}"
            )
        for vehicle_id, vehicle in site.vehicles.items():
            here = f"{key}.vehicles.{vehicle_id}"
            if vehicle_id == COLLECTOR:
                yield FileError(path, here, f"expected another name, found {COLLECTOR!r}, which is reserved")
            if vehicle_id in where:
                yield FileError(path, here, f"expected each vehicle once, found it in site {where[vehicle_id]!r} too")
            where[vehicle_id] = site_id
            yield from check_vehicle(vehicle, path, here, metrics_of)


def check_vehicle(
    vehicle: VehiclePlan, path: str | Path, key: str, metrics_of: MetricsOf = fixed_metrics
) -> Iterator[FileError]:
    """Yield what is wrong with one vehicle."""
    if not vehicle.agents:
        yield FileError(path, f"{key}.agents", "expected at least one agent, found none")
    known = {device_id for _, device_id, _ in vehicle.devices()}
    for agent_id, agent in vehicle.agents.items():
        here = f"{key}.agents.{agent_id}"
        if agent_id == COLLECTOR:
            yield FileError(path, here, f"expected another name, found {COLLECTOR!r}, which is reserved")
        yield from check_devices(agent.devices, known, path, f"{here}.devices", metrics_of)


def check_devices(
    devices: Mapping[str, Device],
    known: Iterable[str],
    path: str | Path,
    key: str,
    metrics_of: MetricsOf = fixed_metrics,
) -> Iterator[FileError]:
    """Yield what is wrong with one agent's devices; ``known`` are all device ids of the vehicle."""
    known = set(known)
    needed = {other for device in devices.values() for other in device.depends_on}
    for device_id, device in devices.items():
        here = f"{key}.{device_id}"
        configured = device.configured()
        if not configured and device_id not in needed:  # a plain switch is read by nobody, and others hang on it
            yield FileError(path, here, "expected at least one input (snmp, modem, http, gnss, ...), found none")
        for name, config in configured:
            if config.deadline > config.interval:
                yield FileError(
                    path,
                    f"{here}.{name}.deadline",
                    f"expected at most the interval of {config.interval:g} s, found {config.deadline:g}",
                )
        for other in device.depends_on:
            if other not in known or other == device_id:
                hint = nearest(other, known - {device_id})
                yield FileError(
                    path, f"{here}.depends_on", f"expected another device of the vehicle, found {other!r}{hint}"
                )
        yield from _twice(configured, device.kind, path, here, metrics_of)


def _twice(
    configured: list[tuple[str, InputConfig]], kind: str, path: str | Path, key: str, metrics_of: MetricsOf
) -> Iterator[FileError]:
    """One series from two inputs would be two values at one time: the device must be split or an input dropped."""
    yielded: dict[tuple[str, str], str] = {}
    for name, config in configured:
        for metric in metrics_of(kind, name, config):
            for label in _fixed_labels(metric, config):
                other = yielded.setdefault((metric, label), name)
                if other != name:
                    found = f"{metric}{{{label}}}" if label else metric
                    yield FileError(
                        path, key, f"expected each series from one input, found {found} from both {other} and {name}"
                    )
                    return


def _fixed_labels(metric: str, config: InputConfig) -> list[str]:
    if isinstance(config, ProbeInput) and metric.startswith("link."):
        return [f"target={target}" for target in config.targets]
    if isinstance(config, StreamInput) and metric.startswith("stream."):
        return [f"stream={config.stream}"]
    return [""]


def agent_names(fleet: Fleet, site_id: str) -> list[AgentName]:
    """Return every agent of a site that ought to speak."""
    site = fleet.sites[site_id]
    return [AgentName(site_id, vehicle, agent) for vehicle, plan in site.vehicles.items() for agent in plan.agents]
