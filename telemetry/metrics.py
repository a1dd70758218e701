"""The metric catalogue: the single list of what a reading may be called.

A metric is ``<measurement>.<field>``. Its name, type and labels never change once released, because InfluxDB keeps a
field's type for ever; the list only grows.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Final, Literal

Kind = Literal["float", "int", "bool", "text", "state"]
Value = float | int | bool | str
"""What a reading may carry. An unknown value is absent, never a filler."""

_KIND_WORDS: Final = {
    "float": "a number",
    "int": "a whole number",
    "bool": "true or false",
    "text": "text",
    "state": "one of the state's words",
}
MAX_TEXT: Final = 128
"""Longest text value, in characters; kit is hostile and a tag or field must stay small."""


@dataclass(frozen=True, slots=True)
class Metric:
    """One entry of the catalogue.

    ``low`` and ``high`` are the plausible range, both inclusive: a value outside is a device's lie or a wrong scale,
    not a fault of the kit. ``states`` are the words of a ``state`` metric.
    """

    name: str
    kind: Kind
    unit: str
    meaning: str
    low: float = -math.inf
    high: float = math.inf
    labels: tuple[str, ...] = ()
    states: tuple[str, ...] = ()
    measurement: str = field(init=False)
    field: str = field(init=False)

    def __post_init__(self) -> None:
        measurement, _, name = self.name.partition(".")
        object.__setattr__(self, "measurement", measurement)
        object.__setattr__(self, "field", name)

    def check(self, value: object) -> Value:
        """Return ``value`` in this metric's type.

        A whole number is taken for a ``float``, and a float without fraction for an ``int``, because JSON does not
        tell them apart. Raises ValueError with what was expected and what was found.
        """
        result: Value
        if self.kind == "float" and isinstance(value, int | float) and not isinstance(value, bool):
            result = _float(value)
            if not math.isfinite(result):
                raise ValueError(f"{self.name}: expected a finite number, found {value!r}")
        elif self.kind == "int" and isinstance(value, int | float) and not isinstance(value, bool):
            if not math.isfinite(_float(value)) or int(value) != value:
                raise ValueError(f"{self.name}: expected a whole number, found {value!r}")
            result = int(value)
        elif self.kind == "bool" and isinstance(value, bool):
            return value
        elif self.kind == "text" and isinstance(value, str):
            if len(value) > MAX_TEXT:
                raise ValueError(f"{self.name}: expected at most {MAX_TEXT} characters, found {len(value)}")
            if not value.isprintable():
                raise ValueError(f"{self.name}: expected printable text, found {value!r}")
            return value
        elif self.kind == "state" and isinstance(value, str):
            if value not in self.states:
                raise ValueError(f"{self.name}: expected one of {', '.join(self.states)}, found {value!r}")
            return value
        else:
            raise ValueError(f"{self.name}: expected {_KIND_WORDS[self.kind]}, found {value!r}")
        if not self.low <= result <= self.high:
            raise ValueError(f"{self.name}: expected {self.low:g} to {self.high:g} {self.unit}, found {value!r}")
        return result


def _float(value: float) -> float:
    try:
        return float(value)
    except OverflowError:  # an int beyond every float
        return math.inf


_UNITS: Final = {
    "_dbm": "dBm",
    "_db": "dB",
    "_c": "degC",
    "_percent": "%",
    "_mhz": "MHz",
    "_kmh": "km/h",
    "_kbps": "kbit/s",
    "_ms": "ms",
    "_s": "s",
    "_v": "V",
    "_bytes": "B",
    "_days": "d",
    "_seconds": "s",
}
_RADIO: Final = ("leg", "modem")
_MODEM: Final = ("modem",)
_COUNT_MAX: Final = 2**60
"""More than 10 Gbit/s move in 29 years; what is above is a filler or another number's bits."""
_FLOAT_MAX: Final = 1e12
"""Of whatever unit: what is above is no measurement, and sums of it must stay numbers."""
_SECONDS_MAX: Final = 20 * 365 * 86_400
_RUNTIME_MAX: Final = 31 * 86_400


def _unit(name: str) -> str:
    if ".bytes_" in name:
        return "B"
    if name.endswith("_hours_left"):
        return "h"
    return next((unit for suffix, unit in _UNITS.items() if name.endswith(suffix)), "")


def _f(
    name: str, meaning: str, low: float = -_FLOAT_MAX, high: float = _FLOAT_MAX, labels: tuple[str, ...] = ()
) -> Metric:
    return Metric(name, "float", _unit(name), meaning, low, high, labels)


def _i(name: str, meaning: str, low: float = 0, high: float = _COUNT_MAX, labels: tuple[str, ...] = ()) -> Metric:
    return Metric(name, "int", _unit(name), meaning, low, high, labels)


def _b(name: str, meaning: str, labels: tuple[str, ...] = ()) -> Metric:
    return Metric(name, "bool", "", meaning, labels=labels)


def _t(name: str, meaning: str, labels: tuple[str, ...] = ()) -> Metric:
    return Metric(name, "text", "", meaning, labels=labels)


def _s(name: str, meaning: str, states: str, labels: tuple[str, ...] = ()) -> Metric:
    return Metric(name, "state", "", meaning, labels=labels, states=tuple(states.split()))


_ALL: Final = (
    _s(
        "modem.registration",
        "network registration, best of the domains",
        "home roaming searching denied not_registered emergency_only unknown",
        _MODEM,
    ),
    _s("modem.technology", "radio access in use", "none 2g 3g 4g 5g_nsa 5g_sa", _MODEM),
    _t("modem.operator", "operator as the network names it", _MODEM),
    _t("modem.plmn", "MCC and MNC, 5 or 6 digits", _MODEM),
    _f("modem.rssi_dbm", "received signal strength, the whole channel", -150, -1, _RADIO),
    _f("modem.rsrp_dbm", "reference signal received power", -160, -20, _RADIO),
    _f("modem.rsrq_db", "reference signal received quality", -45, 21, _RADIO),
    _f("modem.sinr_db", "signal to interference and noise", -40, 40, _RADIO),
    _t("modem.band", "band in use: B3, n78", _RADIO),
    _f("modem.bandwidth_mhz", "downlink bandwidth", 0.2, 1000, _RADIO),
    _i("modem.cell_id", "cell identity (ECI or NCI)", 0, 2**36 - 1, _RADIO),
    _i("modem.pci", "physical cell identity", 0, 1007, _RADIO),
    _i("modem.tac", "tracking area code", 0, 2**24 - 1, _RADIO),
    _f("modem.temperature_c", "temperature of the module, the hottest sensor", -45, 130, _MODEM),
    _s("modem.sim", "state of the SIM in use", "ready absent locked failure busy unknown", _MODEM),
    _b("modem.connected", "data connection is up", _MODEM),
    _i("modem.connection_uptime_s", "age of the data connection", 0, _SECONDS_MAX, _MODEM),
    _b("modem.port_open", "the port is there and could be opened, whether the modem answers or not", _MODEM),
    _i("modem.bytes_sent", "bytes sent over the air, as the device counts", labels=_MODEM),
    _i("modem.bytes_received", "bytes received over the air, as the device counts", labels=_MODEM),
    _b("device.reachable", "the device answered this poll"),
    _i("device.uptime_s", "time since the device started", 0, _SECONDS_MAX),
    _f("device.cpu_percent", "processor load", 0, 100),
    _f("device.memory_percent", "memory in use", 0, 100),
    _f("device.temperature_c", "temperature, by sensor where there are several", -60, 150, ("sensor",)),
    _t("device.firmware", "firmware version as the device gives it"),
    _b("device.firmware_blocked", "the version is one that its profile says must not run"),
    _b("device.video_input", "a picture arrives at this input of an encoder or recorder", ("input",)),
    _b("interface.up", "operational status is up", ("interface",)),
    _i("interface.bytes_sent", "bytes out", labels=("interface",)),
    _i("interface.bytes_received", "bytes in", labels=("interface",)),
    _i("interface.errors", "errors in and out", labels=("interface",)),
    _f("link.rtt_ms", "round trip, median of the poll", 0, 600_000, ("target",)),
    _f("link.jitter_ms", "mean difference of successive round trips", 0, 600_000, ("target",)),
    _f("link.loss_percent", "probes without answer", 0, 100, ("target",)),
    _i("link.status", "HTTP status code", 100, 599, ("target",)),
    _i("link.certificate_days", "days until the certificate ends, negative after", -36500, 36500, ("target",)),
    _b("stream.up", "the stream plays", ("stream",)),
    _f("stream.bitrate_kbps", "payload bit rate", 0, 10_000_000, ("stream",)),
    _f("stream.packet_loss_percent", "RTP packets missing by sequence number", 0, 100, ("stream",)),
    _f("stream.jitter_ms", "interarrival jitter (RFC 3550 section 6.4.1)", 0, 600_000, ("stream",)),
    _f("stream.frames_per_second", "access units a second by RTP time stamp", 0, 1000, ("stream",)),
    _b("stream.frozen", "packets come but no new picture does", ("stream",)),
    _s("gnss.fix", "kind of fix", "none 2d 3d dgps rtk_float rtk"),
    _i("gnss.satellites", "satellites in the solution", 0, 200),
    _f("gnss.hdop", "horizontal dilution of precision", 0, 99.99),
    _f("gnss.latitude", "WGS 84 latitude in degrees, north positive", -90, 90),
    _f("gnss.longitude", "WGS 84 longitude in degrees, east positive", -180, 180),
    _f("gnss.speed_kmh", "speed over ground", 0, 2000),
    _f("gnss.fix_age_s", "time since the last fix", 0),
    _f("gnss.implied_speed_kmh", "speed that the way from the fix before to this one asks for", 0, 1e7),
    _s("gnss.antenna", "antenna as the receiver sees it", "ok open short unknown"),
    _f("power.supply_v", "supply voltage", 0, 1000),
    _f("power.battery_percent", "charge of the battery", 0, 100),
    _b("power.on_battery", "the kit runs from the battery"),
    _i("power.runtime_s", "time the battery will last", 0, _RUNTIME_MAX),
    _b("power.battery_replace", "the UPS asks for a new battery"),
    _s("power.self_test", "result of the UPS's last self-test", "passed warning failed aborted running none unknown"),
    _b("power.engine", "the engine runs"),
    _b("power.ignition", "ignition is on"),
    _b("power.shore_power", "shore power is connected"),
    _f("host.cpu_percent", "processor load", 0, 100),
    _f("host.memory_percent", "memory in use", 0, 100),
    _f("host.disk_percent", "disk in use", 0, 100),
    _i("host.disk_free_bytes", "disk free"),
    _f("host.load1", "load average over a minute", 0, 100_000),
    _f("host.temperature_c", "temperature, the hottest sensor", -60, 150),
    _f("host.battery_percent", "charge of the host's battery", 0, 100),
    _f("host.battery_capacity_percent", "what the battery holds when full, of what it was made to hold", 0, 150),
    _i("host.battery_cycles", "charges that the battery has counted", 0, 100_000),
    _i("host.uptime_s", "time since the host started", 0, _SECONDS_MAX),
    _i("host.boot_count", "boots that the agent has counted", 0, 10_000_000),
    _t("host.gateway", "address of the default gateway"),
    _t("host.gateway_hardware_address", "MAC address of the default gateway: xx:xx:xx:xx:xx:xx, small letters"),
    _i("agent.outbox_records", "records held for the centre", 0, 2**40),
    _f("agent.outbox_oldest_s", "age of the oldest record held", 0),
    _f("agent.outbox_hours_left", "hours until the outbox is full at the present rate", 0),
    _b("agent.outbox_volatile", "records wait in memory only, because the disk does not take them"),
    _i("agent.records_dropped", "records lost since the run began"),
    _f("agent.poll_seconds", "longest poll since the last sample", 0),
    _i("agent.rss_bytes", "resident memory of the agent"),
    _f("agent.clock_offset_s", "host clock minus trusted clock"),
    _i("agent.bytes_on_air", "bytes sent and received over MQTT since the run began"),
)

METRICS: Final[Mapping[str, Metric]] = {metric.name: metric for metric in _ALL}
"""Every metric by its name."""


def metric(name: str) -> Metric:
    """Return the catalogue's entry. Raises KeyError with the nearest names for one that is not there."""
    found = METRICS.get(name)
    if found is None:
        raise KeyError(f"unknown metric {name!r}{nearest(name, METRICS)}")
    return found


def nearest(word: str, words: Iterable[str]) -> str:
    """Return ``", did you mean X?"`` for the most similar of ``words``, or nothing."""
    import difflib

    close = difflib.get_close_matches(word, list(words), n=1, cutoff=0.7)
    return f", did you mean {close[0]!r}?" if close else ""
