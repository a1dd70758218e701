"""The standard kit: 14 schemas, 109 metrics, 8,640 moments and 64,800 records a day.

Values move as they do in a vehicle that drives through a town, stops and drives on: cells change, counters count,
temperatures creep. Everything is made from a seed, so that the same seed gives the same bytes. Values are in the
catalogue's types, as the agent's sampler would hand them on.
"""

from __future__ import annotations

import math
import random
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Final

from telemetry.metrics import METRICS, Value
from telemetry.records import Column, Schema

MOMENT_MS: Final = 10_000
MOMENTS_A_DAY: Final = 86_400_000 // MOMENT_MS
START_MS: Final = 36_000_000
"""Monotonic time of the first moment: the vehicle was started ten hours ago."""

Key = tuple[str, str]
"""(metric, value of its one label or the empty text)."""


@dataclass(frozen=True, slots=True)
class Part:
    """One input of one device: polled every ``every`` moments; ``keys`` are its columns in the schema's order."""

    input: str
    device: str
    every: int
    keys: tuple[Key, ...]
    schema: Schema
    schema_id: str


@dataclass(frozen=True, slots=True)
class KitSample:
    """One part's values at one moment, in the order of its schema's columns."""

    mono_ms: int
    part: Part
    values: tuple[Value | None, ...]


_INTERFACES: Final = ("br-lan", "wlan0", "wwan0")
_DEVICE: Final = ("device.reachable", "device.uptime_s", "device.cpu_percent", "device.memory_percent")
_CAMERA: Final = (*(_DEVICE[:3]), "device.temperature_c", "device.firmware")
_RADIO: Final = ("modem.rsrp_dbm", "modem.rsrq_db", "modem.sinr_db", "modem.band")
_STREAM: Final = tuple(name for name in METRICS if name.startswith("stream."))
_NOT_IN_IT: Final = frozenset(
    {
        "gnss.implied_speed_kmh",
        "host.battery_capacity_percent",
        "host.battery_cycles",
        "host.gateway_hardware_address",
    }
)
"""What came later: the kit stays what figures of other days were measured with."""
_GNSS: Final = tuple(name for name in METRICS if name.startswith("gnss.") and name not in _NOT_IN_IT)
_HOST: Final = tuple(name for name in METRICS if name.startswith("host.") and name not in _NOT_IN_IT)
_WHAT: Final[tuple[tuple[str, str, int, tuple[str, ...], tuple[tuple[str, str], ...]], ...]] = (
    # input, device, every n moments, metrics without a label, (metric, label)
    (
        "snmp", "router", 1, (*_DEVICE, "device.temperature_c", "device.firmware"),
        tuple((f"interface.{field}", name) for name in _INTERFACES for field in ("up", "bytes_sent", "bytes_received",
                                                                                 "errors")),
    ),
    (
        "modem", "modem", 1, ("device.reachable", "modem.registration", "modem.technology", "modem.plmn", "modem.sim"),
        (("modem.cell_id", "lte"), *((metric, leg) for leg in ("lte", "nr") for metric in _RADIO)),
    ),
    ("gnss", "gnss", 1, ("device.reachable", *_GNSS), ()),
    (
        "probe", "link", 1, (),
        tuple((f"link.{field}", to) for to in ("centre", "gateway") for field in ("rtt_ms", "jitter_ms",
                                                                                  "loss_percent")),
    ),
    ("snmp", "power", 1, ("device.reachable", "power.supply_v", "power.ignition", "power.shore_power"), ()),
    ("system", "gateway", 3, _HOST, ()),
    ("snmp", "camera-1", 3, _CAMERA, ()),
    ("snmp", "camera-2", 3, _CAMERA, ()),
    ("snmp", "encoder", 3, (*_DEVICE, "device.temperature_c", "device.firmware"), ()),
    (
        "snmp", "ups", 3, ("device.reachable", "device.temperature_c", "power.supply_v", "power.battery_percent",
                           "power.on_battery", "power.runtime_s"), (),
    ),
    (
        "agent", "agent", 3, ("agent.outbox_records", "agent.outbox_oldest_s", "agent.records_dropped",
                              "agent.poll_seconds", "agent.rss_bytes", "agent.bytes_on_air"), (),
    ),
    ("stream", "camera-1", 6, (), tuple((name, "main") for name in _STREAM)),
    ("stream", "camera-2", 6, (), tuple((name, "main") for name in _STREAM)),
    ("http", "tablet", 6, ("device.reachable", "device.uptime_s", "host.cpu_percent", "host.memory_percent",
                           "host.disk_percent", "host.temperature_c", "host.battery_percent", "host.load1"), ()),
)  # fmt: skip


def parts(rename: Mapping[str, str] | None = None) -> tuple[Part, ...]:
    """Return the parts of the kit; ``rename`` gives devices other ids, and by that their schemas other names."""
    found = []
    for name, device, every, plain, labelled in _WHAT:
        columns = [Column(metric) for metric in plain]
        columns += [Column(metric, {METRICS[metric].labels[0]: label}) for metric, label in labelled]
        columns.sort(key=Column.key)
        keys = tuple((column.metric, next(iter(column.labels.values()), "")) for column in columns)
        schema = Schema(name, (rename or {}).get(device, device), tuple(columns))
        found.append(Part(name, device, every, keys, schema, schema.id()))
    return tuple(found)


PARTS: Final = parts()
"""The kit as the benchmarks use it."""


def samples(
    seed: int, moments: int, kit: tuple[Part, ...] = PARTS, start_ms: int = START_MS
) -> Iterator[list[KitSample]]:
    """Yield what is sampled at each of so many moments, ten seconds apart, the first one with all parts."""
    drive = _Drive(random.Random(seed))
    for number in range(moments):
        drive.go_on()
        yield [
            KitSample(start_ms + number * MOMENT_MS, part, drive.values(part))
            for part in kit
            if number % part.every == 0
        ]


class _Drive:
    """The truth about the vehicle, ten seconds after ten seconds."""

    def __init__(self, chance: random.Random) -> None:
        self._chance = chance
        self._seconds = 36_000
        self._pace = 0.0
        self._rest = 12
        self._course = chance.uniform(0, 2 * math.pi)
        self._at = [chance.uniform(30.9, 31.4), chance.uniform(121.2, 121.7)]
        self._walks: dict[Key, float] = {}
        self._counts: dict[Key, int] = {}
        self._cell = chance.randrange(2**20) << 8 | 1
        self._bands = ("B3", "n78")

    def go_on(self) -> None:
        """Let ten seconds pass."""
        chance = self._chance
        self._seconds += 10
        self._rest -= 1
        if self._rest <= 0:  # at the next light, or off again
            self._pace = 0.0 if self._pace else chance.uniform(20, 70)
            self._rest = chance.randrange(3, 30)
        self._course += chance.gauss(0, 0.2)
        step = self._pace / 3.6 * 10 / 111_320
        self._at[0] += step * math.cos(self._course)
        self._at[1] += step * math.sin(self._course) / 0.857
        if self._pace and chance.random() < 0.04:
            self._cell = chance.randrange(2**20) << 8 | chance.randrange(1, 4)
            self._bands = (chance.choice(("B1", "B3", "B8", "B41")), chance.choice(("n41", "n78")))

    def values(self, part: Part) -> tuple[Value | None, ...]:
        """Return the values of a part's columns now."""
        return tuple(METRICS[metric].check(self._value(part, metric, label)) for metric, label in part.keys)

    def _value(self, part: Part, metric: str, label: str) -> Value:
        here = (f"{part.device}/{metric}", label)
        moving = self._pace > 0
        match metric:
            case "interface.bytes_sent" | "interface.bytes_received" | "agent.bytes_on_air":
                most = {"wwan0": 6_000_000, "br-lan": 7_000_000, "wlan0": 90_000}.get(label, 1_500)
                return self._count(here, self._chance.randrange(most // 2, most))
            case "device.uptime_s" | "host.uptime_s":
                return self._seconds + len(part.device) * 1_117
            case "modem.rsrp_dbm":
                return round(self._walk(here, -92 if label == "lte" else -97, 4.0 if moving else 0.7, -118, -70))
            case "modem.rsrq_db":
                return round(self._walk(here, -11, 1.5 if moving else 0.4, -19, -6), 1)
            case "modem.sinr_db":
                return round(self._walk(here, 12, 3.0 if moving else 1.0, -5, 28))
            case "gnss.speed_kmh":
                return round(max(0.0, self._pace + self._chance.gauss(0, 3)), 3) if moving else 0.0
            case "gnss.satellites":
                return round(self._walk(here, 14, 0.6, 6, 24))
            case "gnss.hdop":
                return round(self._walk(here, 0.8, 0.04, 0.5, 3), 2)
            case "gnss.fix_age_s":
                return round(self._chance.uniform(0, 1), 1)
            case "link.rtt_ms":
                return round(self._walk(here, 38, 9, 17, 180), 3)
            case "link.jitter_ms":
                return round(abs(self._chance.gauss(0, 6)), 3)
            case "link.loss_percent":
                return 33.3 if self._chance.random() < 0.01 else 0.0
            case "stream.bitrate_kbps":
                return round(self._walk(here, 3_900, 120, 2_500, 5_200), 1)
            case "stream.jitter_ms":
                return round(abs(self._chance.gauss(2, 0.8)), 2)
            case "stream.packet_loss_percent":
                return round(self._chance.random() / 5, 2) if self._chance.random() < 0.1 else 0.0
            case "power.supply_v":
                return round(self._walk(here, 13.9 if part.device == "power" else 230.5, 0.05, 11.0, 240), 2)
            case "power.runtime_s":
                return 2_700 + 60 * round(self._walk(here, 0, 0.4, -5, 5))
            case "device.firmware":
                return {"router": "RUTX_R_00.07.13.1", "encoder": "5.3.104"}.get(part.device, "12.10.68")
            case "host.disk_free_bytes":
                return 21_474_836_480 - self._count(here, self._chance.randrange(4096) & ~4095 | 4096)
            case "host.load1":
                return round(self._walk(here, 0.4, 0.06, 0.0, 3.0), 2)
            case "agent.poll_seconds":
                return round(abs(self._chance.gauss(0.35, 0.1)), 3)
            case "agent.rss_bytes":
                return 41_943_040 + self._chance.randrange(16) * 4096
            case "agent.outbox_records":
                return self._chance.randrange(5, 25)
            case "agent.outbox_oldest_s":
                return round(self._chance.uniform(0, 30), 3)
        return self._steady(part, metric, label, here)

    def _steady(self, part: Part, metric: str, label: str, here: Key) -> Value:
        """Return what changes seldom or creeps."""
        if metric.endswith("temperature_c"):
            return round(self._walk(here, 47, 0.4, 20, 85), 1)
        if metric.endswith("cpu_percent"):
            return round(self._walk(here, 18, 3, 0, 100), 1)
        if metric.endswith(("memory_percent", "disk_percent", "battery_percent")):
            return round(self._walk(here, 61, 0.05, 0, 100), 1)
        fixed: dict[str, Value] = {
            "device.reachable": True,
            "interface.up": True,
            "interface.errors": 0,
            "modem.registration": "home",
            "modem.technology": "5g_nsa",
            "modem.plmn": "46000",
            "modem.sim": "ready",
            "modem.cell_id": self._cell,
            "modem.band": self._bands[label == "nr"],
            "gnss.fix": "3d",
            "gnss.latitude": round(self._at[0], 7),
            "gnss.longitude": round(self._at[1], 7),
            "gnss.antenna": "ok",
            "power.ignition": True,
            "power.shore_power": False,
            "power.on_battery": False,
            "host.boot_count": 412,
            "host.gateway": "192.168.1.1",
            "agent.records_dropped": 0,
            "stream.up": True,
            "stream.frames_per_second": 25.0,
            "stream.frozen": False,
        }
        return fixed[metric]

    def _walk(self, key: Key, middle: float, step: float, low: float, high: float) -> float:
        """Return a value that wanders and is drawn back to its middle."""
        at = self._walks.get(key, middle)
        at += self._chance.gauss(0, step) + 0.05 * (middle - at)
        at = self._walks[key] = min(max(at, low), high)
        return at

    def _count(self, key: Key, more: int) -> int:
        self._counts[key] = self._counts.get(key, 40_000_000 + len(key[0]) * 9_973_391) + more
        return self._counts[key]
