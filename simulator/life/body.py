"""One vehicle's kit as time goes on: what of it is fed and works, and what each input reads. Pure."""

from __future__ import annotations

import bisect
import dataclasses
import random
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Final

from simulator.life.faults import FAULTS, LOSSES, Befallen, Change, Condition, condition_of
from simulator.life.kit import PROBE, ROWS, TARGETS, Input, router_address
from simulator.life.world import Drive, Spot
from telemetry.metrics import Value

START_MS: Final = {
    "router": 75_000, "modem": 85_000, "camera-1": 70_000, "camera-2": 72_000, "encoder": 65_000, "switch": 40_000,
    "power": 15_000, "gnss": 30_000, "box": 45_000,
}  # fmt: skip
"""How long after it was fed a device (``box``: the host of the agent) does its work."""
_BEHIND_SWITCH: Final = ("camera-1", "camera-2", "encoder", "switch")
_RESTARTS: Final = {
    "router_dead": ("router",), "router_reboot_loop": ("router",), "planned_restart": ("router",),
    "camera_down": (), "encoder_down": (), "modem_hung": (), "switch_unpowered": _BEHIND_SWITCH,
}  # fmt: skip
"""Faults after whose end a device has been started anew; an empty list: the device that had it."""
LEG_DB: Final = {"lte": 2.0, "nr": -2.0}
"""By so much each leg is better than their mean."""
MOMENTS_MS: Final = {"cranking": 3_000, "nsa_flip": 20_000, "handover": 15_000}
"""Troubles of a moment, and how long they are where the scenario does not say."""
_FOR_EVER_MS: Final = 10**15
_ROW_BITS: Final = ROWS.bit_length()
_LIVED_MS: Final = 36_000_000
"""How long everything has been running when a life begins."""


@dataclass(frozen=True, slots=True)
class Wiring:
    """From what a vehicle's kit is fed."""

    kit_power: str = "always"
    """``always``, ``delayed`` or ``ignition``."""
    off_after_ms: int = 600_000
    """For ``delayed``: so long after the ignition."""
    goodbye: bool = True
    """Agents say goodbye before the kit dies by plan."""
    cameras_on: str = "always"
    """The circuit of cameras, encoder and switch: ``always`` or ``ignition``."""
    switch: str = "unmanaged"
    """On what cameras and encoder hang: ``none`` (the router), ``unmanaged`` or ``managed``."""


Read = tuple[list[Value | None] | None, str]
"""What one poll of an input brought: its values, ``None`` where nothing at all is known, and what is wrong."""


@dataclass(slots=True)
class Between:
    """What holds between two breaks."""

    condition: Condition
    ignition: bool
    fed: bool
    down: set[str]
    """Devices that do not work: dead, without power, or still starting."""
    way_out: bool
    all_answer: bool
    """No device is down, or says nothing, or something else than it should."""
    from_ms: int
    until_ms: int


class Body:
    """See the module. ``until_ms`` bounds what is looked at ahead."""

    def __init__(
        self, drive: Drive, wiring: Wiring, befallen: Sequence[Befallen], begins_ms: int, until_ms: int, seed: str
    ) -> None:
        self.drive = drive
        self.wiring = wiring
        self.begins_ms = begins_ms
        self.router_address = router_address(seed.rpartition("/")[2])
        self._befallen = _cycled(befallen, until_ms)
        self._seed = seed
        self.off = self._unfed(until_ms)
        """When the kit is not fed, (from, to), and whether that is by plan."""
        self._starts = self._started()
        times = {begins_ms, *drive.breaks(until_ms)}
        for one in self._befallen:
            times.add(one.begins_ms)
            times.update(() if one.ends_ms is None else (one.ends_ms,))
        for device, starts in self._starts.items():
            times.update(time_ms + START_MS.get(device, 0) for time_ms in starts)
        for begins, ends, _ in self.off:
            times |= {begins, ends, *(ends + wait for wait in START_MS.values())}
        for _, begins, ends in condition_of(self._befallen).restarts:
            times |= {begins, ends}
        self.breaks = sorted(time_ms for time_ms in times if begins_ms <= time_ms < until_ms)
        self._between: dict[int, Between] = {}
        self._now: Between | None = None
        """What held when that was asked last."""

    # --- power and starts ---------------------------------------------------------------------------------------------

    def _unfed(self, until_ms: int) -> list[tuple[int, int, bool]]:
        found: list[tuple[int, int, bool]] = []
        wait_ms = {"ignition": 0, "delayed": self.wiring.off_after_ms}.get(self.wiring.kit_power)
        off_ms: int | None = None
        for time_ms in [*self.drive.breaks(until_ms), until_ms + 1]:
            parked = time_ms <= until_ms and self.drive.leg(time_ms).what == "parked"
            if parked and off_ms is None:
                off_ms = time_ms
            elif not parked and off_ms is not None:
                if wait_ms is not None and off_ms + wait_ms < time_ms:
                    found.append((off_ms + wait_ms, time_ms, True))
                off_ms = None
        for one in self._befallen:
            if one.fault == "power_lost":
                found.append((one.begins_ms, until_ms + 1 if one.ends_ms is None else one.ends_ms, False))
            elif one.fault == "clock_1970":
                found.append((one.begins_ms, one.begins_ms + 10_000, True))
        return sorted(found)

    def _started(self) -> dict[str, list[int]]:
        """Return when each device was started anew."""
        found: dict[str, list[int]] = {}
        for _, ends, _ in self.off:
            for device in (*START_MS, "gateway"):
                found.setdefault(device, []).append(ends)
        for one in self._befallen:
            if one.fault in _RESTARTS and one.ends_ms is not None:
                for device in _RESTARTS[one.fault] or (one.device,):
                    found.setdefault(device, []).append(one.ends_ms - START_MS.get(device, 0))
        for device, _, ends in condition_of(self._befallen).restarts:
            found.setdefault(device, []).append(ends - START_MS.get(device, 0))
        return {device: sorted(times) for device, times in found.items()}

    def fed(self, time_ms: int) -> bool:
        """Say whether the kit has power."""
        return not any(begins <= time_ms < ends for begins, ends, _ in self.off)

    def started_ms(self, device: str, time_ms: int) -> int:
        """Return when a device was started last."""
        starts = self._starts.get(device)
        if starts and (place := bisect.bisect_right(starts, time_ms)):
            return starts[place - 1]
        return self.begins_ms - _LIVED_MS - 7_000 * len(device)

    # --- what holds now -----------------------------------------------------------------------------------------------

    def between(self, time_ms: int) -> Between:
        """Return what holds until the next break."""
        now = self._now
        if now is not None and now.from_ms <= time_ms < now.until_ms:  # as nearly always
            return now
        place = bisect.bisect_right(self.breaks, time_ms)
        found = self._between.get(place)
        if found is None:
            from_ms = self.breaks[place - 1] if place else 0
            until_ms = self.breaks[place] if place < len(self.breaks) else _FOR_EVER_MS
            found = self._between[place] = self._look(time_ms, from_ms, until_ms)
        self._now = found
        return found

    def _look(self, time_ms: int, from_ms: int, until_ms: int) -> Between:
        condition = condition_of([one for one in self._befallen if one.lasts_at(time_ms)])
        spot = self.drive.at(time_ms)
        fed = self.fed(time_ms)
        down = set(condition.dead)
        for device, wait_ms in START_MS.items():
            since = self.started_ms(device, time_ms)
            if since >= self.begins_ms and time_ms < since + wait_ms:
                down.add(device)
        for device, begins, ends in condition.restarts:
            if begins <= time_ms < ends:
                down.add(device)
        if "router" in down:
            down.add("modem")
            if self.wiring.switch == "none" and "router" in condition.dead:
                down.update(_BEHIND_SWITCH)
        if self.wiring.cameras_on == "ignition" and not spot.ignition:
            down.update(_BEHIND_SWITCH)
        way_out = fed and condition.way_out and spot.radio.contact and not down & {"router", "modem"}
        all_answer = not (down or condition.problems or condition.mute or condition.mute_to or condition.half)
        return Between(condition, spot.ignition, fed, down, way_out, all_answer, from_ms, until_ms)

    def has_contact(self, time_ms: int) -> bool:
        """Say whether there is contact where the vehicle is, whatever its own modem does."""
        return self.drive.at(time_ms).radio.contact

    def way_out(self, time_ms: int) -> bool:
        """Say whether the vehicle's modem reaches the centre."""
        return self.between(time_ms).way_out

    def having(self, fault: str, time_ms: int) -> Befallen | None:
        """Return this fault, if the kit has it."""
        return next((one for one in self._befallen if one.fault == fault and one.lasts_at(time_ms)), None)

    # --- what is read -------------------------------------------------------------------------------------------------

    def read(self, one: Input, time_ms: int, spot: Spot, now: Between, chance: random.Random) -> Read:
        """Return what a poll of an input brings; ``now`` is what holds then."""
        if not now.all_answer and (amiss := self._amiss(one, time_ms, now, chance)) is not None:
            return amiss
        number = chance.getrandbits(_ROW_BITS)
        while number >= ROWS:  # as ``chance.choice`` draws, in fewer calls
            number = chance.getrandbits(_ROW_BITS)
        row = list(one.rows[number])
        problem = _FILL.get(one.kind, _uptime)(self, row, one, time_ms, spot, now, chance) or ""
        if now.condition.values:
            told_of = f"agent/{one.agent}" if one.device == "agent" else one.device
            for (of, metric), changes in now.condition.values.items():
                if of == told_of:
                    self._change(row, one, metric, changes, time_ms, chance)
        return row, problem

    def _amiss(self, one: Input, time_ms: int, now: Between, chance: random.Random) -> Read | None:
        """Return what a poll brings of a device that does not answer, or not all of it; ``None``: all is well."""
        device, condition = one.device, now.condition
        told = condition.problems.get((device, one.name))
        if told is not None and device not in now.down:
            reachable: list[Value | None] = [True if metric == "device.reachable" else None for metric, _ in one.keys]
            return (reachable if one.primary else None), told
        silent = (
            device in condition.mute
            or (one.agent, device) in condition.mute_to
            or (device in condition.half and chance.random() < 0.5)
        )
        if device in now.down or (silent and one.name != "stream"):
            if not one.primary:
                return None, "no answer"
            if one.agent == PROBE:
                lost = {"device.reachable": False, "link.loss_percent": 100.0}
                return [lost.get(metric) for metric, _ in one.keys], f"{device}: no answer"
            hung = self.having("modem_hung", time_ms) is not None and "router" not in now.down
            dead = {"device.reachable": False, "modem.port_open": hung}
            return [dead.get(metric) for metric, _ in one.keys], "no answer"
        return None

    def _change(
        self,
        row: list[Value | None],
        one: Input,
        metric: str,
        changes: list[tuple[int, Change]],
        time_ms: int,
        chance: random.Random,
    ) -> None:
        for (name, label), place in one.places.items():
            if name == metric:
                for since_ms, change in changes:
                    row[place] = change(row[place], label, (time_ms - since_ms) / 1000, chance)


# --- what goes on from poll to poll -----------------------------------------------------------------------------------
# Rounded to whole tenths or thousandths, and divided: rounding to digits goes through text, at four times the cost.


def _put(row: list[Value | None], one: Input, metric: str, value: Value | None) -> None:
    """Put a value in, where the catalogue has the metric."""
    place = one.plain.get(metric)
    if place is not None:
        row[place] = value


def _uptime(body: Body, row: list[Value | None], one: Input, time_ms: int, *_: object) -> None:
    place = one.plain.get("device.uptime_s")
    if place is not None:
        row[place] = (time_ms - body.started_ms(one.device, time_ms)) // 1000


def _router(body: Body, row: list[Value | None], one: Input, time_ms: int, *_: object) -> None:
    up_s = (time_ms - body.started_ms("router", time_ms)) // 1000
    row[one.plain["device.uptime_s"]] = up_s
    for sent, received, rate in one.traffic:
        row[sent] = up_s * rate + 1_117
        row[received] = up_s * (rate // 9) + 903


def _modem(
    body: Body, row: list[Value | None], one: Input, time_ms: int, spot: Spot, now: Between, chance: random.Random
) -> None:
    places, plain, radio = one.places, one.plain, spot.radio
    if not radio.contact:
        row[plain["modem.registration"]] = "searching"
        row[plain["modem.technology"]] = "none"
        row[places["modem.cell_id", "lte"]] = None
        for metric in ("modem.rsrp_dbm", "modem.rsrq_db", "modem.sinr_db", "modem.band"):
            row[places[metric, "lte"]] = row[places[metric, "nr"]] = None
    else:
        level = radio.rsrp + spot.fading_db + chance.gauss(0, 1.5)
        for leg, rsrp, rsrq, sinr in one.legs:
            row[rsrp] = float(round(min(level + LEG_DB[leg], -44.0)))
            row[rsrq] = round(10 * (radio.rsrq + chance.gauss(0, 1.0))) / 10
            row[sinr] = round(10 * (radio.sinr + chance.gauss(0, 2.0))) / 10
        east, north = spot.point
        row[places["modem.cell_id", "lte"]] = (int(east // 1500) & 0xFFF) << 20 | (int(north // 1500) & 0xFFF) << 8 | 1
        if not radio.nr:
            row[plain["modem.technology"]] = "4g"
            for metric in ("modem.rsrp_dbm", "modem.rsrq_db", "modem.sinr_db", "modem.band"):
                row[places[metric, "nr"]] = None
    lived_s = (time_ms - body.started_ms("modem", time_ms)) // 1000
    row[plain["modem.bytes_sent"]] = lived_s * 15_400 + 512
    row[plain["modem.bytes_received"]] = lived_s * 1_900 + 256


def _gnss(
    body: Body, row: list[Value | None], one: Input, time_ms: int, spot: Spot, now: Between, chance: random.Random
) -> None:
    plain = one.plain
    if not spot.radio.fix:
        for metric in ("gnss.latitude", "gnss.longitude", "gnss.speed_kmh", "gnss.hdop", "gnss.implied_speed_kmh"):
            _put(row, one, metric, None)
        row[plain["gnss.fix"]], row[plain["gnss.satellites"]] = "none", 0
        row[plain["gnss.fix_age_s"]] = None
        return
    _put(row, one, "gnss.implied_speed_kmh", round(spot.speed_kmh, 1))
    latitude, longitude = spot.degrees
    row[plain["gnss.latitude"]] = latitude
    row[plain["gnss.longitude"]] = longitude
    row[plain["gnss.speed_kmh"]] = (
        round(10 * max(0.0, spot.speed_kmh + chance.gauss(0, 2))) / 10 if spot.speed_kmh else 0.0
    )


def _probe(
    body: Body, row: list[Value | None], one: Input, time_ms: int, spot: Spot, now: Between, chance: random.Random
) -> str:
    places, radio = one.places, spot.radio
    if one.agent == PROBE:
        return ""
    for target in TARGETS:
        row[places["link.rtt_ms", target]] = round(1000 * (radio.delay + abs(chance.gauss(0, 5)))) / 1000
        if radio.loss:
            lost = sum(chance.random() * 100 < radio.loss for _ in range(3))
            row[places["link.loss_percent", target]] = LOSSES[lost]
    if now.way_out:
        return ""
    for (metric, _), place in places.items():
        row[place] = 100.0 if metric == "link.loss_percent" else None
    row[one.plain["device.reachable"]] = False
    return "; ".join(f"{target}: no answer" for target in TARGETS)


def _power(
    body: Body, row: list[Value | None], one: Input, time_ms: int, spot: Spot, now: Between, chance: random.Random
) -> None:
    plain = one.plain
    row[plain["power.ignition"]] = now.ignition
    _put(row, one, "power.engine", now.ignition)
    row[plain["power.shore_power"]] = spot.shore_power
    if not now.ignition:
        row[plain["power.supply_v"]] = round(13.4 if spot.shore_power else 12.6, 2)


def _host(body: Body, row: list[Value | None], one: Input, time_ms: int, *_: object) -> None:
    up_s = (
        (time_ms - body.started_ms("gateway", time_ms)) // 1000
        if one.device == "gateway"
        else (time_ms - body.begins_ms + _LIVED_MS) // 1000
    )
    row[one.plain["host.uptime_s"]] = up_s
    _put(row, one, "host.gateway_hardware_address", body.router_address)


_FILL: Final[Mapping[str, Callable[..., str | None]]] = {
    "router": _router, "modem": _modem, "gnss": _gnss, "probe": _probe, "power": _power, "system": _host,
}  # fmt: skip


def _cycled(befallen: Sequence[Befallen], until_ms: int) -> list[Befallen]:
    """Return the faults with those that come and go by themselves as what they are: many short ones."""
    found: list[Befallen] = []
    for one in befallen:
        kind = FAULTS[one.fault]
        ends_ms = until_ms + 1 if one.ends_ms is None else one.ends_ms
        if one.fault == "planned_restart":
            ends_ms = one.begins_ms + round(1000 * one.strength)
        if one.fault in MOMENTS_MS and one.ends_ms is None:
            ends_ms = one.begins_ms + MOMENTS_MS[one.fault]
        if one.fault == "agent_killed":
            ends_ms = one.begins_ms + 10_000
        period_ms, there_ms = kind.cycle(one) if kind.cycle else (ends_ms - one.begins_ms, ends_ms - one.begins_ms)
        for begins in range(one.begins_ms, ends_ms, period_ms):
            found.append(dataclasses.replace(one, begins_ms=begins, ends_ms=min(begins + there_ms, ends_ms)))
    return found
