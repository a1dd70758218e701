"""Guards across metrics: what one figure says about another. The same for every maker, over SNMP and HTTP. Pure.

- signal figures are withheld while the SIM, the registration or the technology is bad (``telemetry.radio``);
- RSRP above RSSI is impossible, and nobody can say which of the two it is: both are dropped;
- a data connection older than the device's own uptime is impossible, so its age is dropped;
- what a GNSS receiver says of its solution means nothing without a fix;
- a part of the identity that turns up as a text of another metric is no value, and does not leave the vehicle as one;
- radio figures carry the leg that the technology says: 4G and the one set of an NSA device are LTE, SA is NR, 2G and
  3G have none. Where the technology is not told, a modem that gives an RSRP (which only LTE and NR have) has the
  profile's ``default_leg``.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Final

import msgspec

from firmware_profiles.cells import compiled, same, shown
from firmware_profiles.model import Condition, Metric
from telemetry.metrics import Metric as Entry
from telemetry.metrics import Value
from telemetry.radio import LEG_OF, contradict, foreign, why_withheld
from telemetry.readings import Identity

_SOLUTION: Final = ("gnss.hdop", "gnss.latitude", "gnss.longitude", "gnss.speed_kmh")
Flag = Callable[[str, str, str], None]
"""Takes a flag's kind, the metric and what was seen."""


def holds(condition: Condition, raw: str | None) -> bool:
    """Return whether a raw text meets the condition; nothing told meets it unless it is required."""
    if raw is None or raw == "":
        return not condition.required
    if condition.absent:
        return False
    if condition.one_of is not None and not any(same(raw, wanted) for wanted in condition.one_of):
        return False
    if condition.none_of is not None and any(same(raw, unwanted) for unwanted in condition.none_of):
        return False
    return condition.matches is None or compiled(condition.matches).search(raw) is not None


class Found(msgspec.Struct):
    """A value of a metric, before it is a reading; ``labels`` may still get a leg."""

    metric: Metric
    entry: Entry
    value: Value
    labels: dict[str, str]


class Judged(msgspec.Struct):
    """Values that have been found, by modem, so that they can be held against each other."""

    found: list[Found]
    values: dict[str, dict[str, Value]] = msgspec.field(default_factory=dict)

    def __post_init__(self) -> None:
        for item in self.found:
            values = self.values.setdefault(item.labels.get("modem", ""), {})
            values.setdefault(item.metric.metric, item.value)

    def of(self, item: Found) -> Mapping[str, Value]:
        """Return what is known of the modem that a value belongs to, and of the device where the modem does not say."""
        return {**self.values.get("", {}), **self.values[item.labels.get("modem", "")]}


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


def guarded(found: list[Found], judged: Judged, identity: Identity, flag: Flag) -> list[Found]:
    """Return what the guards across metrics leave."""
    uptime = next((item.value for item in found if item.metric.metric == "device.uptime_s"), None)
    secret = {part for part in (identity.imei, identity.imsi, identity.iccid) if part}
    kept: list[Found] = []
    for item in found:
        name, values = item.metric.metric, judged.of(item)
        if isinstance(item.value, str) and item.value in secret:
            flag("withheld", name, "(a part of the identity)")
            continue
        if name == "modem.connection_uptime_s" and isinstance(uptime, int) and _above(item.value, uptime):
            flag("contradiction", name, f"{item.value} above the device's uptime {uptime}")
            continue
        if name in _SOLUTION and values.get("gnss.fix") == "none":
            flag("withheld", name, f"{shown(item.value)} (no fix)")
            continue
        why = why_withheld(
            name, values.get("modem.sim"), values.get("modem.registration"), values.get("modem.technology")
        )
        if why is not None:
            flag("withheld", name, f"{shown(item.value)} ({why})")
            continue
        if foreign(name, values.get("modem.technology")):
            flag("contradiction", name, f"{shown(item.value)} (technology {values['modem.technology']})")
            continue
        kept.append(item)
    return _possible(kept, flag)


def _possible(found: list[Found], flag: Flag) -> list[Found]:
    """Leave out the pairs of RSRP and RSSI that cannot both be true: they came in one record."""
    powers = {(item.metric.metric, *sorted(item.labels.items())): item.value for item in found}
    kept: list[Found] = []
    for item in found:
        of = sorted(item.labels.items())
        rsrp, rssi = powers.get(("modem.rsrp_dbm", *of)), powers.get(("modem.rssi_dbm", *of))
        pair = item.metric.metric in ("modem.rsrp_dbm", "modem.rssi_dbm")
        if pair and isinstance(rsrp, float) and isinstance(rssi, float) and contradict(rsrp, rssi):
            flag("contradiction", item.metric.metric, f"RSRP {rsrp:g} above RSSI {rssi:g}")
            continue
        kept.append(item)
    return kept
