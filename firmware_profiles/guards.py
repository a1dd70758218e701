"""Guards across metrics: what one figure says about another. The same for every maker, over SNMP and HTTP. Pure.

- signal figures are withheld while the SIM or the registration is known to be bad; what is not told withholds nothing;
- a data connection older than the device's own uptime is impossible, so its age is dropped;
- RSRP above RSSI is impossible (RSSI is the power of the whole channel, RSRP that of one of its resource elements,
  3GPP TS 36.214 section 5.1), so the RSRP is dropped;
- radio figures carry the leg that the technology says: 4G and the one set of an NSA device are LTE, SA is NR, 2G and
  3G have none. Where the technology is not told, a modem that gives an RSRP (which only LTE and NR have) has the
  profile's ``default_leg``.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Final

from firmware_profiles.cells import compiled, same, shown
from firmware_profiles.model import Condition, Metric
from telemetry.metrics import Metric as Entry
from telemetry.metrics import Value

SIGNAL: Final = ("modem.rssi_dbm", "modem.rsrp_dbm", "modem.rsrq_db", "modem.sinr_db")
BAD_SIM: Final = frozenset({"absent", "locked", "failure"})
BAD_REGISTRATION: Final = frozenset({"denied", "not_registered", "searching"})
LEG_OF: Final[Mapping[str, str | None]] = {
    "4g": "lte",
    "5g_nsa": "lte",
    "5g_sa": "nr",
    "3g": None,
    "2g": None,
    "none": None,
}
Flag = Callable[[str, str, str], None]
"""Takes a flag's kind, the metric and what was seen."""


def holds(condition: Condition, raw: str | None) -> bool:
    """Return whether a raw text meets the condition; nothing told meets it unless it is required."""
    if raw is None or raw == "":
        return not condition.required
    if condition.one_of is not None and not any(same(raw, wanted) for wanted in condition.one_of):
        return False
    if condition.none_of is not None and any(same(raw, unwanted) for unwanted in condition.none_of):
        return False
    return condition.matches is None or compiled(condition.matches).search(raw) is not None


@dataclass(slots=True)
class Found:
    """A value of a metric, before it is a reading; ``labels`` may still get a leg."""

    metric: Metric
    entry: Entry
    value: Value
    labels: dict[str, str]


@dataclass(slots=True)
class Judged:
    """Values that have been found, by modem, so that they can be held against each other."""

    found: list[Found]
    values: dict[str, dict[str, Value]] = field(default_factory=dict)

    def __post_init__(self) -> None:
        for item in self.found:
            values = self.values.setdefault(item.labels.get("modem", ""), {})
            values.setdefault(item.metric.metric, item.value)

    def of(self, item: Found) -> Mapping[str, Value]:
        """Return everything that is known of the modem (or of the device) that a value belongs to."""
        return self.values[item.labels.get("modem", "")]


def meant(item: Found, judged: Judged, flag: Flag) -> bool:
    """Return whether the conditions on other metrics, under which this figure means anything, hold."""
    for condition in item.metric.when:
        if condition.metric is None:
            continue
        other = judged.of(item).get(condition.metric)
        raw = None if other is None else str(other)
        if not holds(condition, raw):
            if condition.flag is not None:
                flag(condition.flag, item.metric.metric, f"{shown(item.value)} ({condition.metric} is {raw})")
            return False
    return True


def set_legs(default_leg: str | None, found: list[Found], judged: Judged) -> None:
    """Give radio figures without a leg of their own the leg that the technology says."""
    for item in found:
        if "leg" not in item.entry.labels or "leg" in item.labels:
            continue
        values = judged.of(item)
        technology = values.get("modem.technology")
        leg = LEG_OF.get(str(technology))
        if technology is None and "modem.rsrp_dbm" in values:
            leg = default_leg
        if leg is not None:
            item.labels["leg"] = leg


def _above(one: Value, other: Value) -> bool:
    return isinstance(one, int | float) and isinstance(other, int | float) and one > other


def guarded(found: list[Found], judged: Judged, flag: Flag) -> list[Found]:
    """Return what the guards across metrics leave."""
    kept: list[Found] = []
    uptime = next((item.value for item in found if item.metric.metric == "device.uptime_s"), None)
    for item in found:
        name = item.metric.metric
        if name == "modem.connection_uptime_s" and isinstance(uptime, int) and _above(item.value, uptime):
            flag("contradiction", name, f"{item.value} above the device's uptime {uptime}")
            continue
        if name not in SIGNAL:
            kept.append(item)
            continue
        values = judged.of(item)
        sim, registration = values.get("modem.sim"), values.get("modem.registration")
        if sim in BAD_SIM or registration in BAD_REGISTRATION:
            why = f"sim {sim}" if sim in BAD_SIM else f"registration {registration}"
            flag("withheld", name, f"{shown(item.value)} ({why})")
            continue
        if name == "modem.rsrp_dbm":
            rssi = next((o for o in found if o.metric.metric == "modem.rssi_dbm" and o.labels == item.labels), None)
            if rssi is not None and _above(item.value, rssi.value):
                flag("contradiction", name, f"{item.value} above RSSI {rssi.value}")
                continue
        kept.append(item)
    return kept
