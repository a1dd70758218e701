"""What can befall a simulated kit, each with its strength. Pure.

A fault changes a ``Condition``: which devices are dead or mute, whether there is a way out, what is read in place of a
healthy value. What a strength means stands in docs/drills.md.
"""

from __future__ import annotations

import random
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Final

from telemetry.metrics import Value

Change = Callable[[Value | None, str, float, random.Random], Value | None]
"""(healthy value, label, seconds since the fault began, chance) -> what is read."""


@dataclass(slots=True)
class Condition:
    """How a kit is while the same faults last."""

    dead: set[str] = field(default_factory=set)
    """Devices that neither answer nor work."""
    mute: set[str] = field(default_factory=set)
    """Devices that work and do not answer."""
    half: set[str] = field(default_factory=set)
    """Devices that answer every other poll, by chance."""
    values: dict[tuple[str, str], list[tuple[int, Change]]] = field(default_factory=dict)
    """(device, or `agent/NAME` for what that tells of itself; metric) -> changes with the time since when."""
    way_out: bool = True
    """The modem's."""
    cut_off: set[str] = field(default_factory=set)
    """Agents whose words reach nobody, whatever their way."""
    mute_to: set[tuple[str, str]] = field(default_factory=set)
    """(agent, device): it answers the others."""
    unread: set[tuple[str, str]] = field(default_factory=set)
    """(agent, or the empty text for all; device): nobody polls it, and nothing is said of it."""
    hung: set[str] = field(default_factory=set)
    """Agents that do nothing, and go on where they stopped."""
    without: dict[str, set[str]] = field(default_factory=dict)
    """Device -> metrics that its schema does not have any more."""
    power: bool = True
    """The kit is fed."""
    boxes_down: set[str] = field(default_factory=set)
    """Agents that do not run."""
    problems: dict[tuple[str, str], str] = field(default_factory=dict)
    """(device, input) -> what the agent says of it."""
    firmware: dict[str, str] = field(default_factory=dict)
    clock_offset_s: dict[str, float] = field(default_factory=dict)
    """Agent -> how fast the time is that it is told."""
    no_clock: set[str] = field(default_factory=set)
    """Agents that nobody tells the time."""
    overruns: set[str] = field(default_factory=set)
    """Agents whose outbox holds an hour."""
    clash: set[str] = field(default_factory=set)
    """Agents of which there is a copy."""
    restarts: list[tuple[str, int, int]] = field(default_factory=list)
    """(device, from, to): it is down for so long, though the fault lasts."""


@dataclass(frozen=True, slots=True)
class Befallen:
    """A fault of one vehicle, from when to when (UTC ms; ``None``: it stays)."""

    fault: str
    device: str
    strength: float
    begins_ms: int
    ends_ms: int | None
    agent: str = ""
    """Empty: the box, or all where that is possible."""
    noise: float = 0.0
    """Standard deviation of the strength, in its unit."""
    slope: float = 0.0
    """So much an hour towards the strength; 0: at once."""
    form: str = ""

    def lasts_at(self, time_ms: int) -> bool:
        """Say whether it is there."""
        return self.begins_ms <= time_ms and (self.ends_ms is None or time_ms < self.ends_ms)


Apply = Callable[[Condition, Befallen], None]


@dataclass(frozen=True, slots=True)
class Kind:
    """A fault that can be simulated."""

    apply: Apply
    devices: tuple[str, ...]
    """Where it may be; the first one where the scenario says nothing. None: anywhere."""
    strength: float = 0.0
    """Where the scenario says nothing; docs/drills.md says its unit."""
    forms: tuple[str, ...] = ()
    cycle: Callable[[Befallen], tuple[int, int]] | None = None
    """(period, of which so long it is there) in milliseconds: a fault that comes and goes by itself."""


def _set(metric: str, value: Value | None, device: str = "", label: str = "") -> Apply:
    def apply(condition: Condition, befallen: Befallen) -> None:
        _change(
            condition,
            befallen,
            device or befallen.device,
            metric,
            lambda old, at, *_: value if label in ("", at) else old,
        )

    return apply


def _change(condition: Condition, befallen: Befallen, device: str, metric: str, change: Change) -> None:
    if device == "agent":
        device = f"agent/{befallen.agent or 'box'}"  # what it tells of itself, and no other one does
    condition.values.setdefault((device, metric), []).append((befallen.begins_ms, change))


def _level(metric: str, label: str = "", digits: int | None = 1) -> Apply:
    """Read the strength; with a slope, rise or fall to it. ``digits`` ``None``: a whole number."""

    def apply(condition: Condition, befallen: Befallen) -> None:
        def change(old: Value | None, at: str, age: float, chance: random.Random) -> Value | None:
            if label not in ("", at) or old is None:
                return old
            value = befallen.strength
            if befallen.slope:
                moved = float(old) + befallen.slope * age / 3600
                value = min(moved, value) if befallen.slope > 0 else max(moved, value)
            return round(value + chance.gauss(0, befallen.noise), digits)

        _change(condition, befallen, befallen.device, metric, change)

    return apply


def _whole_level(metric: str, label: str = "") -> Apply:
    def apply(condition: Condition, befallen: Befallen) -> None:
        def change(old: Value | None, at: str, _age: float, _chance: random.Random) -> Value | None:
            return round(befallen.strength) if label in ("", at) else old

        _change(condition, befallen, befallen.device, metric, change)

    return apply


def _by_form(**forms: Apply) -> Apply:
    """Choose by the form; the first one where the scenario says none."""

    def apply(condition: Condition, befallen: Befallen) -> None:
        forms[befallen.form or next(iter(forms))](condition, befallen)

    return apply


def _all(*applies: Apply) -> Apply:
    def apply(condition: Condition, befallen: Befallen) -> None:
        for one in applies:
            one(condition, befallen)

    return apply


def _no_signal(condition: Condition, befallen: Befallen) -> None:
    """Nothing is registered: signal figures are withheld, and there is no way out."""
    condition.way_out = False
    for metric in ("modem.rsrp_dbm", "modem.rsrq_db", "modem.sinr_db", "modem.band", "modem.cell_id"):
        _change(condition, befallen, "modem", metric, lambda *_: None)
    _change(condition, befallen, "modem", "modem.technology", lambda *_: "none")


def _no_way_out(condition: Condition, befallen: Befallen) -> None:
    condition.way_out = False


def _dead(*devices: str) -> Apply:
    def apply(condition: Condition, befallen: Befallen) -> None:
        condition.dead.update(devices or (befallen.device,))

    return apply


def _mute(condition: Condition, befallen: Befallen) -> None:
    if befallen.agent:
        condition.mute_to.add((befallen.agent, befallen.device))
    else:
        condition.mute.add(befallen.device)


def _unread(condition: Condition, befallen: Befallen) -> None:
    condition.unread.add((befallen.agent, befallen.device))


def _half(condition: Condition, befallen: Befallen) -> None:
    condition.half.add(befallen.device)


def _router_dead(condition: Condition, befallen: Befallen) -> None:
    condition.dead.add("router")
    condition.way_out = False


def _problem(input_of: Mapping[str, str], text: str) -> Apply:
    def apply(condition: Condition, befallen: Befallen) -> None:
        name = input_of.get(befallen.device, "snmp")
        condition.problems[befallen.device, name] = text
        # what answers and cannot be read is reachable, and all that is known of it
        condition.values.setdefault((befallen.device, "*"), []).append((befallen.begins_ms, lambda *_: None))

    return apply


LOSSES: Final = (0.0, 33.3, 66.7, 100.0)
"""Percent, by how many of a poll's three probes are lost."""


def _loss(condition: Condition, befallen: Befallen) -> None:
    """Lose so many percent of the probes, spread evenly: of 10 % each tenth one."""
    share = befallen.strength / 100
    begin = random.Random(befallen.begins_ms).random()

    def lost_by(number: int) -> int:
        return int(begin + number * share)

    sent: dict[str, int] = {}
    """Probes so far, by target: three a poll, however often that is."""

    def change(_old: Value | None, at: str, _age: float, _chance: random.Random) -> Value:
        before = sent.get(at, 0)
        sent[at] = before + 3
        return LOSSES[lost_by(before + 3) - lost_by(before)]

    _change(condition, befallen, "link", "link.loss_percent", change)


def _stream_loss(condition: Condition, befallen: Befallen) -> None:
    def change(_old: Value | None, _at: str, _age: float, chance: random.Random) -> Value:
        return round(min(100.0, max(0.0, chance.gauss(befallen.strength, befallen.strength / 6))), 2)

    _change(condition, befallen, befallen.device, "stream.packet_loss_percent", change)


def _ignored(condition: Condition, befallen: Befallen) -> None:
    """Change nothing that is read: the fault is in when the agent speaks."""


def _lost_way_out(condition: Condition, befallen: Befallen) -> None:
    """Be where there is no contact; with an agent, only that one's words reach nobody."""
    if befallen.agent:
        condition.cut_off.add(befallen.agent)
        return
    condition.cut_off.update(("box", "tablet"))
    _set("modem.registration", "searching")(condition, befallen)
    _no_signal(condition, befallen)


def _overrun(condition: Condition, befallen: Befallen) -> None:
    condition.overruns.add(befallen.agent or "box")


def _clash(condition: Condition, befallen: Befallen) -> None:
    condition.clash.add(befallen.agent or "box")


def _without(condition: Condition, befallen: Befallen) -> None:
    condition.without.setdefault(befallen.device, set()).add(befallen.form)


def _slow_module(condition: Condition, befallen: Befallen) -> None:
    _change(condition, befallen, befallen.device, "link.rtt_ms", lambda *_: float(befallen.strength))


def _weaker(condition: Condition, befallen: Befallen) -> None:
    """Both legs are so many dB weaker, and no better in quality."""
    for metric, share in (("modem.rsrp_dbm", 1.0), ("modem.sinr_db", 0.6), ("modem.rsrq_db", 0.15)):

        def change(
            old: Value | None, _at: str, _age: float, _chance: random.Random, share: float = share
        ) -> Value | None:
            return None if not isinstance(old, int | float) else round(max(old - share * befallen.strength, -140.0), 1)

        _change(condition, befallen, "modem", metric, change)


def _fallback(condition: Condition, befallen: Befallen) -> None:
    _change(condition, befallen, "modem", "modem.technology", lambda old, *_: "4g" if old == "5g_nsa" else old)
    for metric in ("modem.rsrp_dbm", "modem.rsrq_db", "modem.sinr_db", "modem.band"):
        _change(condition, befallen, "modem", metric, lambda old, at, *_: None if at == "nr" else old)


def _roaming(condition: Condition, befallen: Befallen) -> None:
    """Be registered with another network; where there is none at all nothing changes."""
    _change(condition, befallen, "modem", "modem.registration", lambda old, *_: "roaming" if old == "home" else old)


def _burst(condition: Condition, befallen: Befallen) -> None:
    """A handover: a long round trip, and one probe of three lost; of none that answers at all nothing changes."""
    _change(condition, befallen, "link", "link.rtt_ms", lambda old, *_: None if old is None else 400.0)
    _change(condition, befallen, "link", "link.loss_percent", lambda old, *_: old if old == 100.0 else 33.3)


def _hotter(condition: Condition, befallen: Befallen) -> None:
    """Everything is so many degrees hotter."""
    for device, metric in (
        ("router", "device.temperature_c"), ("camera-1", "device.temperature_c"), ("camera-2", "device.temperature_c"),
        ("encoder", "device.temperature_c"), ("ups", "device.temperature_c"), ("modem", "modem.temperature_c"),
        ("gateway", "host.temperature_c"), ("pad", "host.temperature_c"), ("tablet", "host.temperature_c"),
    ):  # fmt: skip

        def change(old: Value | None, _at: str, age: float, _chance: random.Random) -> Value | None:
            share = min(1.0, age / 7200)  # two hours until it is as hot as that
            return None if not isinstance(old, int | float) else round(old + share * befallen.strength, 1)

        _change(condition, befallen, device, metric, change)


def _jumping(condition: Condition, befallen: Befallen) -> None:
    """Let every other fix be off by so many kilometres: the receiver has one a second."""

    def change(old: Value | None, _at: str, age: float, _chance: random.Random) -> Value | None:
        off = befallen.strength / 111.32 if int(age / 10) % 2 else 0.0
        return None if not isinstance(old, int | float) else round(old + off, 7)

    def speed(old: Value | None, *_: object) -> Value | None:
        return None if old is None else 3600.0 * befallen.strength

    _change(condition, befallen, "gnss", "gnss.latitude", change)
    _change(condition, befallen, "gnss", "gnss.implied_speed_kmh", speed)


def _no_fix(condition: Condition, befallen: Befallen) -> None:
    _change(condition, befallen, "gnss", "gnss.fix", lambda *_: "none")
    for metric in ("gnss.latitude", "gnss.longitude", "gnss.speed_kmh", "gnss.hdop", "gnss.implied_speed_kmh"):
        _change(condition, befallen, "gnss", metric, lambda *_: None)
    _change(condition, befallen, "gnss", "gnss.satellites", lambda *_: 0)
    _change(condition, befallen, "gnss", "gnss.fix_age_s", lambda _old, _at, age, _chance: round(age, 1))


def _power_lost(condition: Condition, befallen: Befallen) -> None:
    condition.power = False


def _agent_down(condition: Condition, befallen: Befallen) -> None:
    condition.boxes_down.add(befallen.agent or "box")


def _agent_hung(condition: Condition, befallen: Befallen) -> None:
    condition.hung.add(befallen.agent or "box")


def _firmware(router: str, encoder: str, camera: str) -> Apply:
    """Be of another version, after a restart."""

    def apply(condition: Condition, befallen: Befallen) -> None:
        new = {"router": router, "encoder": encoder}.get(befallen.device, camera)
        condition.firmware[befallen.device] = new
        condition.restarts.append((befallen.device, befallen.begins_ms, befallen.begins_ms + 80_000))
        _change(condition, befallen, befallen.device, "device.firmware", lambda old, *_: None if old is None else new)

    return apply


def _clock_off(condition: Condition, befallen: Befallen) -> None:
    condition.clock_offset_s[befallen.agent or "box"] = 3600 * befallen.strength


def _volume(condition: Condition, befallen: Befallen) -> None:
    """Send so many GB a day, the usual 1.5 among them."""

    def change(old: Value | None, _at: str, age: float, _chance: random.Random) -> Value | None:
        return None if not isinstance(old, int) else old + round((befallen.strength - 1.5) * 1e9 * age / 86_400)

    _change(condition, befallen, "modem", "modem.bytes_sent", change)


def _on_battery(condition: Condition, befallen: Befallen) -> None:
    _change(condition, befallen, "ups", "power.on_battery", lambda *_: True)
    _change(condition, befallen, "ups", "power.supply_v", lambda *_: 0.0)
    _change(
        condition, befallen, "ups", "power.battery_percent", lambda _o, _a, age, _c: round(max(20.0, 100 - age / 60), 1)
    )


def _engine_on(inner: Apply) -> Apply:
    """Change the supply only while the engine runs: what is read then is above 13 V."""
    return _where(inner, lambda old: old > 13.0)


def _engine_off(inner: Apply) -> Apply:
    return _where(inner, lambda old: old <= 13.0)


def _where(inner: Apply, holds: Callable[[float], bool]) -> Apply:
    def apply(condition: Condition, befallen: Befallen) -> None:
        own = Condition()
        inner(own, befallen)
        for (device, metric), changes in own.values.items():
            for _, one in changes:

                def change(
                    old: Value | None, at: str, age: float, chance: random.Random, one: Change = one
                ) -> Value | None:
                    return one(old, at, age, chance) if isinstance(old, int | float) and holds(old) else old

                _change(condition, befallen, device, metric, change)

    return apply


def _resting(condition: Condition, befallen: Befallen) -> None:
    """Rest at a voltage that falls by the slope (V a day) to the strength."""

    def change(old: Value | None, _at: str, age: float, _chance: random.Random) -> Value | None:
        return None if old is None else round(max(float(old) - abs(befallen.slope) * age / 86_400, 10.5), 2)

    _change(condition, befallen, "power", "power.supply_v", change)


def _disk(condition: Condition, befallen: Befallen) -> None:
    """Use the strength in percent; with a slope (% a day) rise to it."""

    def change(old: Value | None, _at: str, age: float, _chance: random.Random) -> Value | None:
        if old is None:
            return None
        return (
            round(min(befallen.strength, float(old) + befallen.slope * age / 86_400), 2)
            if befallen.slope
            else (befallen.strength)
        )

    def free(old: Value | None, at: str, age: float, chance: random.Random) -> Value | None:
        used = change(41.0, at, age, chance)
        return None if old is None or used is None else round(36_400_000_000 * (1 - float(used) / 100))

    _change(condition, befallen, befallen.device, "host.disk_percent", change)
    _change(condition, befallen, befallen.device, "host.disk_free_bytes", free)


def _foreign(condition: Condition, befallen: Befallen) -> None:
    """Hang on the Wi-Fi of another vehicle, whose router's hardware address the form says."""
    _change(condition, befallen, "pad", "host.gateway_hardware_address", lambda *_: befallen.form)


def _no_clock(condition: Condition, befallen: Befallen) -> None:
    condition.no_clock.add(befallen.agent or "box")
    _change(condition, befallen, "agent", "agent.clock_offset_s", lambda *_: None)


_HOSTS: Final = ("gateway", "tablet", "pad")
_CAMERAS: Final = ("camera-1", "camera-2")
_STREAMS: Final = ("camera-1", "encoder")
_SNMP: Final = ("router", *_CAMERAS, "encoder", "ups", "power", "switch")
_ANY: Final = (*_SNMP, "tablet", "modem", "gnss")
_INPUT_OF: Final = {"tablet": "http", "modem": "modem", "gnss": "gnss"}
_NO_SIM: Final = _all(_set("modem.registration", "not_registered"), _no_signal)

FAULTS: Final[Mapping[str, Kind]] = {
    # --- radio and link
    "antenna_degraded": Kind(_weaker, ("modem",), 30),
    "sim_absent": Kind(_all(_set("modem.sim", "absent"), _NO_SIM), ("modem",)),
    "sim_locked": Kind(_all(_set("modem.sim", "locked"), _NO_SIM), ("modem",)),
    "registration_denied": Kind(_all(_set("modem.registration", "denied"), _no_signal), ("modem",)),
    "roaming": Kind(_all(_roaming, _set("modem.plmn", "46001")), ("modem",)),
    "nr_fallback": Kind(_fallback, ("modem",)),
    "nsa_flip": Kind(_fallback, ("modem",)),
    "handover": Kind(_burst, ("link",)),
    "modem_hot": Kind(_level("modem.temperature_c"), ("modem",), 90),
    "modem_hung": Kind(_all(_dead("modem"), _no_way_out), ("modem",)),
    "wan_no_data": Kind(_no_way_out, ("router",)),
    "lost_way_out": Kind(_lost_way_out, ("modem",)),
    "high_delay": Kind(_level("link.rtt_ms", digits=3), ("link",), 600),
    "packet_loss": Kind(_loss, ("link",), 20),
    "data_volume": Kind(_volume, ("modem",), 8),
    # --- router
    "router_dead": Kind(_router_dead, ("router",)),
    "router_reboot_loop": Kind(
        _router_dead, ("router",), 180, cycle=lambda one: (round(1000 * one.strength), round(1000 * one.strength / 3))
    ),
    "planned_restart": Kind(_router_dead, ("router",), 90),
    "management_unreachable": Kind(_mute, _ANY),
    "half_answers": Kind(_half, _ANY),
    "unread": Kind(_unread, _ANY),
    # --- audio and video
    "camera_down": Kind(_dead(), _CAMERAS),
    "encoder_down": Kind(_dead(), ("encoder",)),
    "switch_unpowered": Kind(_dead(*_CAMERAS, "encoder", "switch"), ("switch",)),
    "stream_frozen": Kind(_set("stream.frozen", True), _STREAMS),
    "stream_lossy": Kind(_stream_loss, _STREAMS, 10),
    "encoder_no_video": Kind(_set("device.video_input", False), ("encoder",)),
    # --- position
    "gnss_antenna": Kind(
        _by_form(
            no_fix=_all(_no_fix, _set("gnss.antenna", "unknown")),
            open=_all(_no_fix, _set("gnss.antenna", "open")),
            short=_all(_no_fix, _set("gnss.antenna", "short")),
        ),
        ("gnss",),
        forms=("no_fix", "open", "short"),
    ),
    "gnss_jumping": Kind(_jumping, ("gnss",), 5),
    # --- power
    "supply_sag": Kind(_level("power.supply_v", digits=2), ("power",), 11.0),
    "cranking": Kind(_level("power.supply_v", digits=2), ("power",), 8.5),
    "alternator_weak": Kind(
        _by_form(engine=_engine_on(_level("power.supply_v", digits=2)), resting=_engine_off(_resting)),
        ("power",),
        12.6,
        forms=("engine", "resting"),
    ),
    "ups_battery_worn": Kind(
        _by_form(
            replace=_set("power.battery_replace", True),
            self_test=_set("power.self_test", "failed"),
            runtime=_level("power.runtime_s", digits=None),
        ),
        ("ups",),
        120,
        forms=("replace", "self_test", "runtime"),
    ),
    "on_battery": Kind(_on_battery, ("ups",)),
    "power_lost": Kind(_power_lost, ("power",)),
    # --- hosts and agents
    "disk_filling": Kind(_disk, _HOSTS, 95),
    "battery_worn": Kind(
        _by_form(capacity=_level("host.battery_capacity_percent"), cycles=_whole_level("host.battery_cycles")),
        ("pad", "tablet"),
        50,
        forms=("capacity", "cycles"),
    ),
    "host_hot": Kind(_level("host.temperature_c"), _HOSTS, 90),
    "cpu_runaway": Kind(_level("host.cpu_percent"), _HOSTS, 98),
    "foreign_network": Kind(_foreign, ("pad",)),
    "agent_down": Kind(_agent_down, ("agent",)),
    "agent_killed": Kind(_agent_down, ("agent",)),
    "agent_hung": Kind(_agent_hung, ("agent",)),
    "clock_unset": Kind(_no_clock, ("agent",)),
    "host_clock_off": Kind(_level("agent.clock_offset_s"), ("agent",), 300),
    "clock_off": Kind(_clock_off, ("agent",), 1),
    "clock_1970": Kind(_ignored, ("agent",)),
    "outbox_overrun": Kind(_overrun, ("agent",)),
    "outbox_volatile": Kind(_set("agent.outbox_volatile", True), ("agent",)),
    "login_refused": Kind(_problem(_INPUT_OF, "login refused: wrong user or password"), _ANY),
    "identity_clash": Kind(_clash, ("agent",)),
    "hot_day": Kind(_hotter, ("router",), 15),
    # --- modules of the platform, probed from the centre
    "platform_module_down": Kind(_dead(), ()),
    "platform_module_slow": Kind(_slow_module, (), 9000),
    # --- firmware, certificates, schemas
    "column_removed": Kind(_without, _ANY),
    "firmware_changed": Kind(_firmware("RUTX_R_00.07.14.2", "5.4.1", "12.11.5"), ("router", *_CAMERAS, "encoder")),
    "firmware_upgrade": Kind(_firmware("RUTX_R_00.07.14.2", "5.4.1", "12.11.5"), ("router", *_CAMERAS, "encoder")),
    "firmware_blocked": Kind(
        _all(_firmware("RUTX_R_00.07.03.4", "", ""), _set("device.firmware_blocked", True)), ("router",)
    ),
    "certificate_expiring": Kind(_whole_level("link.certificate_days", "centre"), ("link",), 20),
    "profile_unknown": Kind(_problem(_INPUT_OF, "profile_unknown: no profile fits"), _SNMP),
}
"""Every fault of a vehicle's kit that can be simulated, by the catalogue's names where it has one."""


def condition_of(befallen: Sequence[Befallen]) -> Condition:
    """Return how a kit is with these faults."""
    condition = Condition()
    for one in befallen:
        FAULTS[one.fault].apply(condition, one)
    return condition
