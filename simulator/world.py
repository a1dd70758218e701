"""What is really so in a simulated vehicle at a time: the truth that the devices then tell in their protocols. Pure."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Literal

from simulator.scenario import Fault, Scenario

_EARTH_M_PER_DEGREE = 111_320.0


@dataclass(frozen=True, slots=True)
class Leg:
    """Radio figures of one leg: dBm, dB, dB."""

    rsrp: float
    rsrq: float
    sinr: float


Sim = Literal["ready", "absent", "locked"]


@dataclass(frozen=True, slots=True)
class KitState:
    """The truth about one vehicle's kit."""

    seconds: float
    router_alive: bool
    router_tells: bool
    router_uptime_s: float
    router_updated: bool
    sim: Sim
    registered: bool
    denied: bool
    nr_used: bool
    lte: Leg
    nr: Leg
    """The 5G leg, there while ``nr_used``."""
    modem_answers: bool
    modem_temperature_c: float
    bytes_sent: int
    bytes_received: int
    supply_v: float
    on_mains: bool
    battery_percent: float
    battery_runtime_s: float
    latitude: float
    longitude: float
    speed_kmh: float
    course: float
    satellites: int
    encoder_alive: bool
    encoder_has_video: bool
    encoder_password_changed: bool
    stream_frozen: bool
    stream_loss: float
    """Percent of the packets that are lost."""
    cameras_alive: dict[str, bool] = field(default_factory=dict)

    @property
    def sim_present(self) -> bool:
        """A SIM is in the modem, locked or not."""
        return self.sim != "absent"


def kit_state(scenario: Scenario, vehicle: str, cameras: list[str], seconds: float) -> KitState:
    """Return the truth at ``seconds`` since the scenario began.

    The vehicle drives a circle of 2 km radius at 40 km/h around the Bund of Shanghai; signal moves with the place and
    a little noise, volume grows by 1.5 MB/s up and 60 kB/s down from the router's start on.
    """
    active = scenario.active(vehicle, seconds)
    faults: dict[str, Fault] = {fault.fault: fault for fault in active}
    dead_cameras = {fault.camera for fault in active if fault.fault == "camera_unpowered"}
    speed_kmh = 40.0
    angle = (speed_kmh / 3.6 * seconds / 2000.0 + _phase(vehicle)) % math.tau
    latitude = 31.2397 + 2000.0 * math.sin(angle) / _EARTH_M_PER_DEGREE
    longitude = 121.4900 + 2000.0 * math.cos(angle) / (_EARTH_M_PER_DEGREE * math.cos(math.radians(31.2397)))
    if "gnss_jumping" in faults and int(seconds) % 2:
        latitude += faults["gnss_jumping"].size * 1000.0 / _EARTH_M_PER_DEGREE
    loss = _size(faults, "antenna_degraded")
    fading = 4.0 * math.sin(angle * 3)
    sim: Sim = "absent" if "sim_absent" in faults else "locked" if "sim_locked" in faults else "ready"
    denied = sim == "ready" and "registration_denied" in faults
    alive, running, uptime = _router(scenario, vehicle, faults, seconds)
    percent, runtime = _battery(scenario, faults, seconds)
    return KitState(
        seconds=seconds,
        router_alive=alive,
        router_tells="snmp_dead" not in faults,
        router_uptime_s=uptime,
        router_updated="firmware_changed" in faults,
        sim=sim,
        registered=sim == "ready" and not denied,
        denied=denied,
        nr_used="nr_fallback" not in faults,
        lte=_leg(scenario, f"{vehicle}/lte", seconds, -92.0 + fading, loss),
        nr=_leg(scenario, f"{vehicle}/nr", seconds, -88.0 + fading, loss),
        modem_answers="modem_hung" not in faults,
        modem_temperature_c=_temperature(scenario, faults, seconds),
        bytes_sent=int(1.5e6 * running),
        bytes_received=int(6e4 * running),
        supply_v=round(
            13.9 - _size(faults, "supply_sag") + scenario.noise(f"{vehicle}/supply", seconds, 0.05),
            2,
        ),
        on_mains="on_battery" not in faults,
        battery_percent=percent,
        battery_runtime_s=runtime,
        latitude=latitude,
        longitude=longitude,
        speed_kmh=speed_kmh,
        course=(90.0 - math.degrees(angle + math.pi / 2)) % 360.0,
        satellites=0 if "gnss_antenna_cut" in faults else 14,
        encoder_alive="encoder_unpowered" not in faults,
        encoder_has_video="encoder_no_video" not in faults,
        encoder_password_changed="password_changed" in faults,
        stream_frozen="stream_frozen" in faults,
        stream_loss=_size(faults, "stream_lossy"),
        cameras_alive={camera: camera not in dead_cameras for camera in cameras},
    )


def _size(faults: Mapping[str, Fault], name: str) -> float:
    return faults[name].size if name in faults else 0.0


def _router(scenario: Scenario, vehicle: str, faults: Mapping[str, Fault], seconds: float) -> tuple[bool, float, float]:
    """Return whether the router has power, how long it has run in the scenario, and its uptime (seconds)."""
    if "router_reboot_loop" in faults:
        period = faults["router_reboot_loop"].size
        up = scenario.age(faults["router_reboot_loop"], seconds) % period - period / 2
        return up >= 0 and "router_dead" not in faults, max(up, 0.0), max(up, 0.0)
    started = scenario.ended(vehicle, ("router_dead", "router_reboot_loop"), seconds)
    if started is None:
        return "router_dead" not in faults, seconds, seconds + 86_400.0
    return "router_dead" not in faults, seconds - started, seconds - started


def _temperature(scenario: Scenario, faults: Mapping[str, Fault], seconds: float) -> float:
    usual = 44.0 + 3.0 * math.sin(seconds / 60.0)
    hot = faults.get("modem_hot")
    return usual if hot is None else min(usual + hot.size * scenario.age(hot, seconds), 115.0)


def _battery(scenario: Scenario, faults: Mapping[str, Fault], seconds: float) -> tuple[float, float]:
    """Return the UPS' charge (percent) and how long it would last (seconds). A charge falls with time on battery."""
    full = faults["ups_battery_worn"].size if "ups_battery_worn" in faults else 1800.0
    used = 0.0
    if "on_battery" in faults:
        if "ups_battery_worn" not in faults:
            full = faults["on_battery"].size
        used = scenario.age(faults["on_battery"], seconds)
    left = max(full - used, 0.0)
    return 100.0 * left / full, left


def _phase(vehicle: str) -> float:
    return (sum(vehicle.encode()) % 64) / 64.0 * math.tau


def _leg(scenario: Scenario, name: str, seconds: float, rsrp: float, loss: float) -> Leg:
    rsrp += scenario.noise(f"{name}/rsrp", seconds, 1.5) - loss
    # Noise and interference stay where they are, so what the antenna loses is lost in SINR too.
    sinr = max(-12.0, 18.0 + scenario.noise(f"{name}/sinr", seconds, 1.5) - loss * 0.9)
    rsrq = max(-19.5, -10.0 + scenario.noise(f"{name}/rsrq", seconds, 0.5) - loss * 0.3)
    return Leg(max(-140.0, rsrp), rsrq, sinr)
