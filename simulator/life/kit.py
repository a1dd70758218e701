"""The kit of a simulated vehicle: which inputs read which devices, and what they read while nothing is wrong. Pure.

It is the standard kit (docs/architecture.md, Names in InfluxDB): 64,800 records a day at its own intervals. Rows are
drawn from a few dozen healthy ones made beforehand, because a thousand vehicle-days are to be lived in minutes; what
has to go on (counters, positions) or hangs on the place (radio) is put in for each sample.
"""

from __future__ import annotations

import functools
import random
import zlib
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Final

from telemetry.fleet import Device
from telemetry.metrics import METRICS, Value
from telemetry.records import Column, Schema

BOX: Final = "box"
"""The agent that reads the kit."""
TABLET: Final = "tablet"
"""The agent of a tablet that has an uplink of its own."""
PROBE: Final = "probe"
"""The agent in the centre that probes the platform."""
ROWS: Final = 61
"""Healthy rows that are made of each input: a prime, so that they do not keep step with anything."""
_DEVICE: Final = ("device.reachable", "device.uptime_s", "device.cpu_percent", "device.memory_percent")
_TEMPERATURE: Final = ("device.temperature_c", "device.firmware")
_BLOCKED: Final = ("device.firmware_blocked",)
"""Of the router: its profile names versions that must not run."""
_RADIO: Final = ("modem.rsrp_dbm", "modem.rsrq_db", "modem.sinr_db", "modem.band")
_STREAM: Final = tuple(name for name in METRICS if name.startswith("stream."))
_GNSS: Final = ("device.reachable", *(name for name in METRICS if name.startswith("gnss.")))
_HOST: Final = ("device.reachable", *(name for name in METRICS if name.startswith("host.")))
_ALIKE: Final = frozenset({"modem", "gnss", "probe", "system", "http"})
"""Inputs whose devices go on alike from poll to poll."""
TARGETS: Final = ("centre", "public")
"""What is asked for round trip and loss, both behind the modem."""
_LINK: Final = ("link.rtt_ms", "link.jitter_ms", "link.loss_percent")
_MODULE: Final = (*_LINK, "link.status")
_INTERFACE: Final = ("interface.up", "interface.bytes_sent", "interface.bytes_received", "interface.errors")
_UPS: Final = (
    "device.reachable", "device.temperature_c", "power.supply_v", "power.battery_percent", "power.on_battery",
    "power.runtime_s", "power.battery_replace", "power.self_test",
)  # fmt: skip
_POWER: Final = ("device.reachable", "power.supply_v", "power.ignition", "power.shore_power", "power.engine")
_AGENT: Final = tuple(name for name in METRICS if name.startswith("agent."))
_MODEM: Final = (
    "device.reachable", "modem.registration", "modem.technology", "modem.plmn", "modem.sim", "modem.temperature_c",
    "modem.bytes_sent", "modem.bytes_received", "modem.port_open",
)  # fmt: skip

# agent, input, device, seconds between polls, metrics without a label, (metrics, labels)
_Labelled = tuple[tuple[tuple[str, ...], tuple[str, ...]], ...]
_INPUTS: Final[tuple[tuple[str, str, str, int, tuple[str, ...], _Labelled], ...]] = (
    (BOX, "snmp", "router", 10, (*_DEVICE, *_TEMPERATURE, *_BLOCKED), ((_INTERFACE, ("br-lan", "wlan0", "wwan0")),)),
    (BOX, "modem", "modem", 10, _MODEM, ((("modem.cell_id",), ("lte",)), (_RADIO, ("lte", "nr")))),
    (BOX, "gnss", "gnss", 10, _GNSS, ()),
    (BOX, "probe", "link", 10, ("device.reachable",), ((_LINK, TARGETS), (("link.certificate_days",), ("centre",)))),
    (BOX, "snmp", "power", 10, _POWER, ()),
    (BOX, "system", "gateway", 30, _HOST, ()),
    (BOX, "snmp", "camera-1", 30, (*_DEVICE[:3], *_TEMPERATURE), ()),
    (BOX, "snmp", "camera-2", 30, (*_DEVICE[:3], *_TEMPERATURE), ()),
    (BOX, "snmp", "encoder", 30, (*_DEVICE, *_TEMPERATURE), ((("device.video_input",), ("main",)),)),
    (BOX, "snmp", "ups", 30, _UPS, ()),
    (BOX, "agent", "agent", 30, _AGENT, ()),
    (BOX, "snmp", "switch", 30, (*_DEVICE[:3], *_TEMPERATURE), ()),
    (BOX, "stream", "camera-1", 60, (), ((_STREAM, ("main",)),)),
    (BOX, "stream", "encoder", 60, (), ((_STREAM, ("main",)),)),
    (BOX, "http", "tablet", 60, ("device.reachable", "device.uptime_s", *(
        name for name in _HOST if name in ("host.cpu_percent", "host.memory_percent", "host.disk_percent",
                                           "host.temperature_c", "host.battery_percent", "host.load1",
                                           "host.battery_capacity_percent", "host.battery_cycles"))), ()),
    (TABLET, "system", "pad", 30, _HOST, ()),
    (TABLET, "snmp", "router", 10, (*_DEVICE, *_TEMPERATURE, *_BLOCKED), ()),
    (TABLET, "agent", "agent", 30, _AGENT, ()),
)  # fmt: skip
KINDS: Final[Mapping[str, str]] = {
    "router": "router", "modem": "modem", "gnss": "gnss", "link": "link", "power": "power", "gateway": "host",
    "camera-1": "camera", "camera-2": "camera", "encoder": "encoder", "ups": "ups", "switch": "switch",
    "tablet": "host", "pad": "host",
}  # fmt: skip
"""Kind by device, as the fleet file has it."""
_SETTINGS: Final[Mapping[str, dict[str, Any]]] = {
    "snmp": {"address": "10.0.0.1", "community_file": "community"},
    "modem": {"port": "/dev/ttyUSB2"},
    "gnss": {"port": "/dev/ttyUSB0"},
    "http": {"url": "http://10.0.0.9"},
    "probe": {"targets": {
        "centre": {"kind": "icmp", "address": "mqtt.example.org"},
        "public": {"kind": "icmp", "address": "223.5.5.5"},
    }},
    "stream": {"url": "rtsp://10.0.0.2/main"},
    "system": {},
}  # fmt: skip
FIRMWARE: Final[Mapping[str, str]] = {
    "router": "RUTX_R_00.07.13.1", "encoder": "5.3.104", "camera-1": "12.10.68", "camera-2": "12.10.68",
}  # fmt: skip
MODELS: Final[Mapping[str, str]] = {
    "router": "RUTX50", "modem": "RM520N-GL", "camera-1": "P3265", "camera-2": "P3265", "encoder": "M7104",
    "ups": "Smart-UPS 750", "gateway": "APU2", "pad": "FZ-G2", "power": "PDU-8", "gnss": "NEO-M9N", "tablet": "FZ-G2",
}  # fmt: skip
_FURTHER: Final[Mapping[str, dict[str, Any]]] = {
    "modem": {"data_plan": {"gigabytes": 100}} if "data_plan" in Device.__struct_fields__ else {},
}
"""What the fleet file says of a device beside its inputs."""
Key = tuple[str, str]
"""(metric, value of its one label or the empty text)."""


@dataclass(frozen=True, slots=True)
class Input:
    """One input of one device: its columns, and healthy rows of them."""

    agent: str
    name: str
    device: str
    every_ms: int
    schema: Schema
    schema_id: str
    keys: tuple[Key, ...]
    """Of the columns, in their order."""
    places: Mapping[Key, int]
    """Where each column stands."""
    plain: Mapping[str, int]
    """The same of those without a label, by metric."""
    rows: tuple[tuple[Value | None, ...], ...]
    """Healthy ones."""
    primary: bool
    """It is the device's first input, which says ``device.reachable``."""
    kind: str
    """What goes on in its rows from poll to poll: named by the input where all devices of that are alike, else by the
    device."""
    legs: tuple[tuple[str, int, int, int], ...] = ()
    """Of a modem, where the signal of each leg stands: (leg, RSRP, RSRQ, SINR)."""
    traffic: tuple[tuple[int, int, int], ...] = ()
    """Of a router, of each interface: where the bytes sent and received stand, and bytes a second."""


@functools.lru_cache(16)
def inputs(agent: str, poll_s: int, *, switch: bool = False, alike: bool = False) -> tuple[Input, ...]:
    """Return the inputs of an agent; none polls more often than every ``poll_s``, or all do: ``alike``.

    ``switch``: it is a managed one.
    """
    found: list[Input] = []
    for of, name, device, every_s, plain, labelled in _INPUTS:
        if of != agent or (device == "switch" and not switch):
            continue
        columns = [Column(metric) for metric in plain if metric in METRICS]
        for metrics, labels in labelled:
            there = [metric for metric in metrics if metric in METRICS]
            columns += [Column(metric, {METRICS[metric].labels[0]: label}) for label in labels for metric in there]
        columns.sort(key=Column.key)
        schema = Schema(name, device, tuple(columns))
        keys = tuple((column.metric, next(iter(column.labels.values()), "")) for column in columns)
        chance = random.Random(f"{agent}/{name}/{device}")
        rows = _rows(device, keys, chance)
        places = {key: place for place, key in enumerate(keys)}
        found.append(
            Input(
                agent,
                name,
                device,
                1000 * (poll_s if alike else max(every_s, poll_s)),
                schema,
                schema.id(),
                keys,
                places,
                _plain(places),
                rows,
                name == "agent" or not any(one.device == device for one in found),
                name if name in _ALIKE else device,
                _legs(places),
                _traffic(places),
            )
        )
    return tuple(found)


@functools.lru_cache(64)
def module_inputs(modules: tuple[str, ...], poll_s: int) -> tuple[Input, ...]:
    """Return the inputs of the centre's own agent, which probes modules of the platform."""
    found = []
    for name in modules:
        columns = [Column("device.reachable"), *(Column(metric, {"target": name}) for metric in _MODULE)]
        columns.sort(key=Column.key)
        schema = Schema("probe", name, tuple(columns))
        keys = tuple((column.metric, next(iter(column.labels.values()), "")) for column in columns)
        places = {key: place for place, key in enumerate(keys)}
        rows, every_ms = _rows(name, keys, random.Random(name)), 1000 * max(10, poll_s)
        found.append(
            Input(
                PROBE, "probe", name, every_ms, schema, schema.id(), keys, places, _plain(places), rows, True, "probe"
            )
        )
    return tuple(found)


def _plain(places: Mapping[Key, int]) -> Mapping[str, int]:
    return {metric: place for (metric, label), place in places.items() if not label}


def _legs(places: Mapping[Key, int]) -> tuple[tuple[str, int, int, int], ...]:
    return tuple(
        (leg, places["modem.rsrp_dbm", leg], places["modem.rsrq_db", leg], places["modem.sinr_db", leg])
        for leg in ("lte", "nr")
        if ("modem.rsrp_dbm", leg) in places
    )


def _traffic(places: Mapping[Key, int]) -> tuple[tuple[int, int, int], ...]:
    return tuple(
        (places["interface.bytes_sent", name], places["interface.bytes_received", name], rate)
        for name, rate in (("br-lan", 520_000), ("wlan0", 4_100), ("wwan0", 17_000))
        if ("interface.bytes_sent", name) in places
    )


def module_devices(modules: tuple[str, ...], poll_s: int) -> dict[str, Any]:
    """Return these modules as the fleet file says them."""
    interval = float(max(10, poll_s))
    return {
        name: {
            "kind": "module",
            "probe": {
                "interval": interval,
                "targets": {name: {"kind": "http", "url": f"https://{name}.example.org/health", "expect_status": 200}},
            },
        }
        for name in modules
    }


def devices(agent: str, poll_s: int, switch: str = "none", *, alike: bool = False) -> dict[str, Any]:
    """Return an agent's devices as the fleet file says them. ``switch``: ``none``, ``unmanaged`` or ``managed``."""
    found: dict[str, Any] = {}
    if agent == BOX and switch == "unmanaged":
        found["switch"] = {"kind": "switch"}
    for one in inputs(agent, poll_s, switch=switch == "managed", alike=alike):
        if one.device == "agent":
            continue
        device = found.setdefault(one.device, {"kind": KINDS[one.device]})
        device |= _FURTHER.get(one.device, {}) if one.primary and one.name != "agent" else {}
        interval = one.every_ms / 1000
        deadline = 15.0 if one.name == "stream" else 5.0
        device[one.name] = {"interval": interval, "deadline": min(deadline, interval), **_SETTINGS[one.name]}
        if switch != "none" and one.device in ("camera-1", "camera-2", "encoder"):
            device["depends_on"] = ["switch"]
    return found


def router_address(vehicle: str) -> str:
    """Return the hardware address of a vehicle's router."""
    return f"02:00:00:00:00:{zlib.crc32(vehicle.encode()) % 256:02x}"


def identity(device: str) -> dict[str, str]:
    """Return what a device says it is; empty: it says nothing."""
    if device not in MODELS:
        return {}
    found = {"model": MODELS[device]}
    if device in FIRMWARE:
        found["firmware"] = FIRMWARE[device]
    return found


# --- healthy rows -----------------------------------------------------------------------------------------------------

_FIXED: Final[Mapping[str, Value]] = {
    "device.reachable": True,
    "device.video_input": True,
    "device.firmware_blocked": False,
    "modem.port_open": True,
    "power.engine": True,
    "power.self_test": "passed",
    "host.battery_cycles": 120,
    "link.certificate_days": 200,
    "gnss.implied_speed_kmh": 0.0,
    "interface.up": True,
    "interface.errors": 0,
    "interface.bytes_sent": 0,
    "interface.bytes_received": 0,
    "modem.registration": "home",
    "modem.technology": "5g_nsa",
    "modem.plmn": "46000",
    "modem.sim": "ready",
    "modem.cell_id": 0,
    "modem.bytes_sent": 0,
    "modem.bytes_received": 0,
    "gnss.fix": "3d",
    "gnss.latitude": 0.0,
    "gnss.longitude": 0.0,
    "gnss.speed_kmh": 0.0,
    "gnss.antenna": "ok",
    "power.ignition": True,
    "power.shore_power": False,
    "power.on_battery": False,
    "power.battery_replace": False,
    "host.boot_count": 412,
    "host.gateway": "192.168.1.1",
    "host.disk_free_bytes": 21_474_836_480,
    "host.uptime_s": 0,
    "device.uptime_s": 0,
    "link.status": 200,
    "agent.records_dropped": 0,
    "agent.bytes_on_air": 0,
    "agent.outbox_volatile": False,
    "stream.up": True,
    "stream.frames_per_second": 25.0,
    "stream.frozen": False,
}
_AROUND: Final[Mapping[str, tuple[float, float, int]]] = {
    "device.cpu_percent": (18, 6, 1),
    "device.memory_percent": (61, 0.4, 1),
    "device.temperature_c": (47, 1.5, 1),
    "modem.rsrq_db": (-11, 1.2, 1),
    "modem.sinr_db": (12, 2.5, 1),
    "modem.rsrp_dbm": (-90, 0.1, 0),
    "modem.temperature_c": (52, 1.2, 1),
    "gnss.satellites": (14, 1.2, 0),
    "gnss.hdop": (0.8, 0.08, 2),
    "gnss.fix_age_s": (0.5, 0.2, 1),
    "link.rtt_ms": (42, 9, 3),
    "link.jitter_ms": (6, 2, 3),
    "power.battery_percent": (100, 0, 1),
    "host.cpu_percent": (22, 7, 1),
    "host.memory_percent": (58, 0.5, 1),
    "host.disk_percent": (41, 0.02, 1),
    "host.load1": (0.4, 0.1, 2),
    "host.temperature_c": (51, 1.5, 1),
    "host.battery_percent": (96, 1, 1),
    "host.battery_capacity_percent": (93, 0.1, 1),
    "agent.outbox_records": (14, 4, 0),
    "agent.outbox_oldest_s": (14, 5, 3),
    "agent.outbox_hours_left": (310, 0.5, 2),
    "agent.poll_seconds": (0.35, 0.06, 3),
    "agent.rss_bytes": (41_943_040, 8192, 0),
    "agent.clock_offset_s": (0.0, 0.004, 3),
    "stream.bitrate_kbps": (3_900, 130, 1),
    "stream.jitter_ms": (2, 0.4, 2),
}
"""Metric -> middle, spread, digits."""


def _rows(device: str, keys: tuple[Key, ...], chance: random.Random) -> tuple[tuple[Value | None, ...], ...]:
    return tuple(
        tuple(_healthy(device, metric, label, number, chance) for metric, label in keys) for number in range(ROWS)
    )


def _healthy(device: str, metric: str, label: str, number: int, chance: random.Random) -> Value | None:
    value: Value
    if metric == "device.firmware":
        return FIRMWARE.get(device)
    if metric == "modem.band":
        return "n78" if label == "nr" else "B3"
    if metric == "host.gateway" and device == "gateway":
        return "192.168.1.1"
    if metric == "link.loss_percent":
        value = 33.3 if number == 30 and label == "centre" else 0.0
    elif metric == "stream.packet_loss_percent":
        value = round(chance.random() / 5, 2) if number % 10 == 0 else 0.0
    elif metric == "power.supply_v":
        value = round(chance.gauss(230.5, 0.6), 2) if device == "ups" else round(chance.gauss(13.9, 0.05), 2)
    elif metric == "power.runtime_s":
        value = 2_700 + 60 * chance.randrange(-5, 6)
    elif metric in _AROUND:
        middle, spread, digits = _AROUND[metric]
        value = round(chance.gauss(middle, spread), digits)
    elif metric in _FIXED:
        value = _FIXED[metric]
    else:
        return _later(metric)
    return METRICS[metric].check(max(value, METRICS[metric].low) if isinstance(value, float) else value)


def _later(metric: str) -> Value | None:
    """Return a value for a metric that is newer than this table: nothing is known of it."""
    return None
