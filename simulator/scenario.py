"""A scenario: which faults begin when, on which vehicle, and how strong. Data; time is an argument."""

from __future__ import annotations

import importlib.resources
import random
from collections.abc import Collection, Mapping
from pathlib import Path
from typing import Annotated, Final, Literal

import msgspec

from telemetry.files import FileError, convert, load, parse_yaml
from telemetry.inputs import Id

SimulatedFault = Literal[
    "antenna_degraded",
    "sim_absent",
    "sim_locked",
    "registration_denied",
    "nr_fallback",
    "modem_hot",
    "modem_hung",
    "router_dead",
    "router_reboot_loop",
    "snmp_dead",
    "firmware_changed",
    "camera_unpowered",
    "encoder_unpowered",
    "encoder_no_video",
    "stream_frozen",
    "stream_lossy",
    "password_changed",
    "gnss_antenna_cut",
    "gnss_jumping",
    "supply_sag",
    "on_battery",
    "ups_battery_worn",
]
STRENGTHS: Final[Mapping[str, tuple[str, float]]] = {
    "antenna_degraded": ("dB that both legs are weaker", 0.0),
    "modem_hot": ("degrees a second that the module gets hotter, up to 115", 0.5),
    "router_reboot_loop": ("seconds from start to start; it is up for the second half of them", 60.0),
    "stream_lossy": ("percent of the packets that are lost", 10.0),
    "gnss_jumping": ("kilometres that every other position is off", 5.0),
    "supply_sag": ("volts that the supply is lower", 0.0),
    "on_battery": ("seconds that a full battery lasts", 1800.0),
    "ups_battery_worn": ("seconds that a full battery still lasts", 120.0),
}
"""What a fault's strength is, and how much where none is given; the other faults have none."""


class Fault(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """One fault of one vehicle's kit."""

    vehicle: Id
    """Whose kit it is."""
    fault: SimulatedFault
    """``firmware_changed`` is the router's, ``snmp_dead`` a router that works and tells nothing, ``password_changed``
    the encoder's."""
    at: Annotated[float, msgspec.Meta(ge=0)]
    """Seconds since the scenario began."""
    lasts: Annotated[float, msgspec.Meta(gt=0)] | None = None
    """Seconds; without it the fault stays."""
    strength: float | None = None
    """What ``STRENGTHS`` says."""
    camera: Id = "camera-1"
    """Which camera has it."""

    @property
    def size(self) -> float:
        """The strength, or what it is where none is given."""
        if self.strength is not None:
            return self.strength
        return STRENGTHS[self.fault][1] if self.fault in STRENGTHS else 0.0

    def active(self, seconds: float) -> bool:
        """Say whether the fault is there at ``seconds`` since the scenario began."""
        return seconds >= self.at and (self.lasts is None or seconds < self.at + self.lasts)


class Scenario(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """A named list of faults."""

    name: str
    """How people call it."""
    faults: tuple[Fault, ...] = ()
    """What befalls the kit, in any order."""
    seed: int = 1
    """Of everything that varies at random."""
    repeat: Annotated[float, msgspec.Meta(gt=0)] | None = None
    """So many seconds after its beginning it begins anew."""

    def active(self, vehicle: str, seconds: float) -> list[Fault]:
        """Return the faults of a vehicle that are there at ``seconds``."""
        seconds = self._within(seconds)
        return [fault for fault in self.faults if fault.vehicle == vehicle and fault.active(seconds)]

    def age(self, fault: Fault, seconds: float) -> float:
        """Return for how many seconds an active fault has been there."""
        return self._within(seconds) - fault.at

    def ended(self, vehicle: str, kinds: Collection[str], seconds: float) -> float | None:
        """Return when one of these faults of a vehicle ended last, seconds since the scenario began; None: never."""
        begun = seconds - self._within(seconds)
        before = begun - self.repeat if self.repeat and begun else None
        ends = [f.at + f.lasts for f in self.faults if f.vehicle == vehicle and f.fault in kinds and f.lasts]
        found = [begun + end for end in ends if begun + end <= seconds]
        if before is not None and self.repeat:
            # A fault that lasts beyond the repetition ends with it.
            found += [before + min(end, self.repeat) for end in ends]
        return max(found, default=None)

    def _within(self, seconds: float) -> float:
        return seconds % self.repeat if self.repeat else seconds

    def noise(self, what: str, seconds: float, spread: float) -> float:
        """Return a deviation within ``+-spread`` that depends on the seed, the name and the whole second alone."""
        return random.Random(f"{self.seed}/{what}/{int(seconds)}").uniform(-spread, spread)


def load_scenario(name_or_path: str) -> Scenario:
    """Return a shipped scenario by its name, or a file's. Raises FileError."""
    path = Path(name_or_path)
    if path.suffix in {".yaml", ".yml"}:
        return load(path, Scenario)
    shipped = importlib.resources.files("simulator").joinpath("scenarios")
    file = shipped.joinpath(f"{name_or_path}.yaml")
    if not file.is_file():
        names = sorted(entry.name.removesuffix(".yaml") for entry in shipped.iterdir() if entry.name.endswith(".yaml"))
        raise FileError(name_or_path, "", f"expected a .yaml file or one of {', '.join(names)}")
    return convert(parse_yaml(file.read_text("utf-8"), file.name), Scenario, file.name)
