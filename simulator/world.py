"""What is really so in a simulated vehicle at a time: the truth that the devices then tell in their protocols. Pure."""

from __future__ import annotations

import math
from dataclasses import dataclass, field

from simulator.scenario import Scenario

_KNOT_KMH = 1.852
_EARTH_M_PER_DEGREE = 111_320.0


@dataclass(frozen=True, slots=True)
class Leg:
    """Radio figures of one leg: dBm, dB, dB."""

    rsrp: float
    rsrq: float
    sinr: float


@dataclass(frozen=True, slots=True)
class KitState:
    """The truth about one vehicle's kit."""

    seconds: float
    router_alive: bool
    sim_present: bool
    registered: bool
    lte: Leg
    nr: Leg
    modem_temperature_c: float
    bytes_sent: int
    bytes_received: int
    supply_v: float
    latitude: float
    longitude: float
    speed_kmh: float
    course: float
    satellites: int
    cameras_alive: dict[str, bool] = field(default_factory=dict)


def kit_state(scenario: Scenario, vehicle: str, cameras: list[str], seconds: float) -> KitState:
    """Return the truth at ``seconds`` since the scenario began.

    The vehicle drives a circle of 2 km radius at 40 km/h around the Bund of Shanghai; signal moves with the place and
    a little noise, volume grows by 1.5 MB/s up and 60 kB/s down while there is a connection.
    """
    faults = {fault.fault: fault for fault in scenario.active(vehicle, seconds)}
    dead_cameras = {f.camera for f in scenario.active(vehicle, seconds) if f.fault == "camera_unpowered"}
    speed_kmh = 40.0
    angle = (speed_kmh / 3.6 * seconds / 2000.0 + _phase(vehicle)) % math.tau
    latitude = 31.2397 + 2000.0 * math.sin(angle) / _EARTH_M_PER_DEGREE
    longitude = 121.4900 + 2000.0 * math.cos(angle) / (_EARTH_M_PER_DEGREE * math.cos(math.radians(31.2397)))
    loss = faults["antenna_degraded"].strength if "antenna_degraded" in faults else 0.0
    fading = 4.0 * math.sin(angle * 3)
    sim = "sim_absent" not in faults
    sag = faults["supply_sag"].strength if "supply_sag" in faults else 0.0
    return KitState(
        seconds=seconds,
        router_alive="router_dead" not in faults,
        sim_present=sim,
        registered=sim,
        lte=_leg(scenario, f"{vehicle}/lte", seconds, -92.0 + fading, loss),
        nr=_leg(scenario, f"{vehicle}/nr", seconds, -88.0 + fading, loss),
        modem_temperature_c=44.0 + 3.0 * math.sin(seconds / 60.0),
        bytes_sent=int(1.5e6 * seconds),
        bytes_received=int(6e4 * seconds),
        supply_v=round(13.9 - sag + scenario.noise(f"{vehicle}/supply", seconds, 0.05), 2),
        latitude=latitude,
        longitude=longitude,
        speed_kmh=speed_kmh,
        course=(90.0 - math.degrees(angle + math.pi / 2)) % 360.0,
        satellites=0 if "gnss_antenna_cut" in faults else 14,
        cameras_alive={camera: camera not in dead_cameras for camera in cameras},
    )


def _phase(vehicle: str) -> float:
    return (sum(vehicle.encode()) % 64) / 64.0 * math.tau


def _leg(scenario: Scenario, name: str, seconds: float, rsrp: float, loss: float) -> Leg:
    rsrp += scenario.noise(f"{name}/rsrp", seconds, 1.5) - loss
    # Noise and interference stay where they are, so what the antenna loses is lost in SINR too.
    sinr = max(-12.0, 18.0 + scenario.noise(f"{name}/sinr", seconds, 1.5) - loss * 0.9)
    rsrq = max(-19.5, -10.0 + scenario.noise(f"{name}/rsrq", seconds, 0.5) - loss * 0.3)
    return Leg(max(-140.0, rsrp), rsrq, sinr)
