"""A scenario: which faults begin when, on which vehicle, and how strong. Data; time is an argument."""

from __future__ import annotations

import importlib.resources
import random
from pathlib import Path
from typing import Annotated, Literal

import msgspec

from telemetry.files import FileError, convert, load, parse_yaml
from telemetry.inputs import Id

SimulatedFault = Literal[
    "antenna_degraded", "sim_absent", "camera_unpowered", "router_dead", "gnss_antenna_cut", "supply_sag"
]
"""``antenna_degraded``: both legs weaker by ``strength`` dB. ``supply_sag``: the supply lower by ``strength`` volts."""


class Fault(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """One fault: from ``at`` on, for ``lasts`` seconds (for ever where absent). ``camera`` says which camera."""

    vehicle: Id
    fault: SimulatedFault
    at: Annotated[float, msgspec.Meta(ge=0)]
    lasts: Annotated[float, msgspec.Meta(gt=0)] | None = None
    strength: float = 0.0
    camera: Id = "camera-1"

    def active(self, seconds: float) -> bool:
        """Say whether the fault is there at ``seconds`` since the scenario began."""
        return seconds >= self.at and (self.lasts is None or seconds < self.at + self.lasts)


class Scenario(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """A named list of faults. ``repeat`` seconds after its beginning it begins anew, if given."""

    name: str
    faults: tuple[Fault, ...] = ()
    seed: int = 1
    repeat: Annotated[float, msgspec.Meta(gt=0)] | None = None

    def active(self, vehicle: str, seconds: float) -> list[Fault]:
        """Return the faults of a vehicle that are there at ``seconds``."""
        if self.repeat:
            seconds %= self.repeat
        return [fault for fault in self.faults if fault.vehicle == vehicle and fault.active(seconds)]

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
