"""What is true of a vehicle at each moment of a scenario, from its text alone. Imports nothing of the product.

Times are seconds since the life began; spans are half open.
"""

from __future__ import annotations

import bisect
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any, Final

from tests.lives.course import seconds

Span = tuple[float, float]
START_S: Final = 180.0
"""So long after it was fed a device has to be given (router 2 min, camera and encoder 3, others 2)."""
MODEM_START_S: Final = 90.0
"""So long after it was fed the simulated modem reaches the centre."""
DEAF: Final = ("broker_away", "collector_away")
BEHIND_CAMERAS: Final = ("camera-1", "camera-2", "encoder", "switch")


@dataclass(frozen=True)
class Leg:
    """A part of a vehicle's way."""

    from_s: float
    to_s: float
    what: str
    place: str
    mission: bool


class Course:
    """One vehicle's life in a scenario. ``tablet``: it has one with an uplink of its own."""

    def __init__(self, scenario: Mapping[str, Any], vehicle: str, *, tablet: bool) -> None:
        self.tablet = tablet
        self.until_s = float(seconds(scenario["lasts"]))
        world = scenario["world"]
        self.power = str(world["kit_power"])
        self._cameras_on = world.get("cameras_on", "always")
        self._shapes: dict[str, Mapping[str, Any]] = {"city": {}, **world["roads"], **world["places"]}
        self.legs = list(_legs(world["vehicles"][vehicle]["drives"], self.until_s))
        self._starts = [leg.from_s for leg in self.legs]
        self.deaf: list[Span] = []
        self.gone: list[tuple[float, float, str]] = []
        """When the box reaches nobody by a fault: (from, to, fault)."""
        for line in scenario["happens"]:
            from_s = float(seconds(line["at"]))
            to_s = from_s + seconds(line["for"]) if "for" in line else self.until_s
            if line.get("centre") in DEAF:
                self.deaf.append((from_s, to_s))
        self._unfed = [
            (leg.from_s + (600 if self.power == "delayed" else 0), leg.to_s)
            for leg in self.legs
            if leg.what == "parked"
            and self.power != "always"
            and leg.to_s - leg.from_s > 600 * (self.power == "delayed")
        ]

    def cut(self, from_s: float, to_s: float, fault: str) -> None:
        """Let a fault of the vehicle close its way out."""
        self.gone.append((from_s, to_s, fault))
        if fault == "power_lost":
            self._unfed.append((from_s, to_s))

    # --- a moment -----------------------------------------------------------------------------------------------------

    def leg(self, at_s: float) -> Leg:
        """Return where it is."""
        return self.legs[max(0, bisect.bisect_right(self._starts, at_s) - 1)]

    def duty(self, at_s: float) -> str:
        """Return ``on_duty``, ``mission`` or ``parked``."""
        leg = self.leg(at_s)
        return "parked" if leg.what == "parked" else "mission" if leg.mission else "on_duty"

    def ignition(self, at_s: float) -> bool:
        """Say whether it is on."""
        return self.leg(at_s).what != "parked"

    def driving(self, at_s: float) -> bool:
        """Say whether it is on a road."""
        return self.leg(at_s).what not in ("parked", "standing")

    def shape(self, at_s: float) -> Mapping[str, Any]:
        """Return the keys of its road or place."""
        leg = self.leg(at_s)
        return self._shapes.get(leg.place or leg.what, {})

    def contact(self, at_s: float) -> bool:
        """Say whether there is any, whatever the kit does."""
        return bool(self.shape(at_s).get("contact", "yes") == "yes")

    def strong(self, at_s: float) -> bool:
        """Say whether the radio is good there."""
        return self.contact(at_s) and float(self.shape(at_s).get("rsrp", -88)) > -105

    def fix(self, at_s: float) -> bool:
        """Say whether there is a sky."""
        return bool(self.shape(at_s).get("fix", "yes") == "yes")

    def shore_power(self, at_s: float) -> bool:
        """Say whether it stands on it."""
        leg = self.leg(at_s)
        return (
            leg.what == "parked"
            and self.shape(at_s).get("shore_power", "yes" if leg.place == "home" else "no") == "yes"
        )

    def fed(self, at_s: float, device: str = "") -> bool:
        """Say whether the kit, or this device of it, has power."""
        if device == "pad":
            return True
        if device in BEHIND_CAMERAS and self._cameras_on == "ignition" and not self.ignition(at_s):
            return False
        return not any(a <= at_s < b for a, b in self._unfed)

    def up(self, at_s: float, device: str) -> bool:
        """Say whether a device has had its time to start since it was fed."""
        return self.fed(at_s, device) and not any(
            self.fed(at_s, device) and not self.fed(edge - 1, device) and edge <= at_s < edge + START_S
            for edge in self.edges()
        )

    def listening(self, at_s: float) -> bool:
        """Say whether anybody listens."""
        return not any(a <= at_s < b for a, b in self.deaf)

    def way_out(self, at_s: float, agent: str = "box") -> bool:
        """Say whether an agent's words reach the centre's collector."""
        if not self.contact(at_s) or not self.listening(at_s):
            return False
        if agent == "tablet":
            return True
        if any(a <= at_s < b for a, b, _ in self.gone):
            return False
        return self.fed(at_s) and not any(b <= at_s < b + MODEM_START_S for _, b in self._unfed)

    # --- spans --------------------------------------------------------------------------------------------------------

    def edges(self) -> list[float]:
        """Return when anything may change."""
        found = {0.0, *self._starts}
        for a, b in (*self.deaf, *self._unfed):
            found |= {a, b, b + MODEM_START_S, b + START_S}
        for a, b, _ in self.gone:
            found |= {a, b}
        found |= {leg.to_s + START_S for leg in self.legs if leg.what == "parked"}
        return sorted(at_s for at_s in found if at_s < self.until_s)

    def spans(self, holds: Callable[[float], bool], from_s: float = 0.0, to_s: float | None = None) -> list[Span]:
        """Return when something holds, between two moments."""
        end_s = self.until_s if to_s is None else min(to_s, self.until_s)
        cuts = sorted({from_s, *(edge for edge in self.edges() if from_s < edge < end_s)})
        found: list[Span] = []
        for a, b in zip(cuts, [*cuts[1:], end_s], strict=True):
            if b <= a or not holds(a):
                continue
            if found and found[-1][1] == a:
                found[-1] = (found[-1][0], b)
            else:
                found.append((a, b))
        return found

    def heard(self, at_s: float, agent: str = "box") -> float | None:
        """Return when the centre hears of a moment; ``None``: not in this life."""
        return next((a for a, _ in self.spans(lambda one: self.way_out(one, agent), at_s)), None)

    def silence(self, at_s: float, agent: str = "box") -> Span:
        """Return the silence of an agent that a moment lies in."""
        spans = self.spans(lambda one: not self.way_out(one, agent))
        return next(((a, b) for a, b in spans if a <= at_s < b), (at_s, at_s))


def _legs(drives: list[str], until_s: float) -> Iterator[Leg]:
    at_s = 0.0
    for number, text in enumerate(drives):
        words = text.split()
        last = number == len(drives) - 1
        to_s = until_s if last else at_s + seconds(words[1])
        place = words[words.index("at") + 1] if "at" in words else ""
        yield Leg(at_s, to_s, words[0], place, text.endswith(" on mission"))
        at_s = to_s
