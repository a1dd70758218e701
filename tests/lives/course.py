"""Where vehicles are in a scenario, when their kit is fed, and when it can be heard. Imports nothing of the product.

Times are seconds since the scenario begins; a span is (from, to).
"""

from __future__ import annotations

import itertools
import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final

Span = tuple[float, float]
_UNITS_S: Final = {"s": 1, "m": 60, "h": 3600, "d": 86_400}
_START_S: Final = 150
"""After so long a kit that was fed is surely heard: its host, router and modem have started."""
_CONTACT_S: Final = 40
"""After so long an agent is surely heard where contact has come back: it tries again at random within half a minute."""
_TWO_POLLS_S: Final = 21
"""Whoever stands for so long is polled twice, at ten seconds: the last word of a kit may die with it."""


def seconds(text: str) -> int:
    """Return the seconds of ``90s``, ``9m``, ``-1h``. Raises ValueError."""
    found = re.fullmatch(r"(-?)(\d+)([smhd])", text)
    if found is None:
        raise ValueError(f"expected a duration, found {text!r}")
    return (-1 if found[1] else 1) * int(found[2]) * _UNITS_S[found[3]]


@dataclass(frozen=True, slots=True)
class Leg:
    """A part of a vehicle's way."""

    vehicle: str
    what: str
    """A road, ``standing`` or ``parked``."""
    place: str
    """Where it stands; empty on a road."""
    from_s: int
    to_s: int
    seen_still: bool = False
    """It stood here with the ignition on just before, where its receiver has a fix and its words come through."""

    @property
    def lasts_s(self) -> int:
        """How long."""
        return self.to_s - self.from_s


class Course:
    """The ways of all vehicles of a scenario, and what follows from them."""

    def __init__(self, scenario: Mapping[str, Any]) -> None:
        world = scenario["world"]
        self._world = world
        self.tablet = scenario.get("vary", {}).get("tablet", ["no"])[0] == "yes"
        self.power: str = world["kit_power"]
        self.told = world.get("told", "yes") == "yes"
        """The fleet file says how kits are fed."""
        self.says_goodbye = world.get("goodbye", "yes") == "yes"
        self.removed_s: dict[str, int] = {
            line["vehicle"]: seconds(line["at"]) for line in scenario["happens"] if line.get("centre") == "remove"
        }
        """Since when a vehicle is out of the fleet file."""
        self._deaf: list[Span] = [
            (seconds(line["at"]), seconds(line["at"]) + seconds(line["for"]))
            for line in scenario["happens"]
            if line.get("centre") in ("broker_away", "collector_away")
        ]
        self._set: list[int] = [
            at_s
            for line in scenario["happens"]
            if line.get("centre") == "clock_off"
            for at_s in (seconds(line["at"]), seconds(line["at"]) + seconds(line["for"]))
        ]
        """When our clock was set: whoever does that is started anew, and times from before are by another clock."""
        self.legs: dict[str, list[Leg]] = {name: self._legs(name) for name in world["vehicles"]}
        self.fed: dict[str, list[Span]] = {name: self._fed(legs) for name, legs in self.legs.items()}
        """When a vehicle's box has power."""
        self.heard: dict[str, list[Span]] = {name: self._heard(name) for name in self.legs}
        """When one of a vehicle's agents is surely heard, whatever becomes of the centre."""

    def contact(self, where: str) -> bool:
        """Say whether messages pass on a road or at a place."""
        return bool(self._shape(where).get("contact", "yes") != "no")

    def _has_fix(self, where: str) -> bool:
        return bool(self._shape(where).get("fix", "yes") != "no")

    def _shape(self, where: str) -> Mapping[str, Any]:
        found: Mapping[str, Any] = {**self._world["roads"], **self._world.get("places", {})}.get(where, {})
        return found

    def _legs(self, vehicle: str) -> list[Leg]:
        found: list[Leg] = []
        at_s = 0
        for said in self._world["vehicles"][vehicle]["drives"]:
            what, lasts, *rest = said.split()
            place = rest[1] if rest[:1] == ["at"] else ""
            before = found[-1] if found else None
            stood = before is not None and (before.what, before.place) == ("standing", place)
            long = before is not None and before.lasts_s >= _TWO_POLLS_S
            seen = what == "parked" and stood and long and self.contact(place) and self._has_fix(place)
            found.append(Leg(vehicle, what, place, at_s, at_s + seconds(lasts), seen))
            at_s = found[-1].to_s
        return found

    def _fed(self, legs: Sequence[Leg]) -> list[Span]:
        if self.power == "always":
            return [(0, legs[-1].to_s)]
        after_s = seconds(self._world.get("off_after", "10m")) if self.power == "delayed" else 0
        spans: list[Span] = []
        parked_s: int | None = None
        for leg in legs:
            if leg.what != "parked":
                parked_s = None
                spans.append((leg.from_s, leg.to_s))
                continue
            parked_s = leg.from_s if parked_s is None else parked_s
            if parked_s + after_s > leg.from_s:
                spans.append((leg.from_s, min(leg.to_s, parked_s + after_s)))
        return joined(spans)

    def _heard(self, vehicle: str) -> list[Span]:
        legs = self.legs[vehicle]
        reached = joined((leg.from_s, leg.to_s) for leg in legs if self.contact(leg.place or leg.what))
        reached = _later(reached, _CONTACT_S)
        found = reached if self.tablet else common(reached, _later(self.fed[vehicle], _START_S))
        return common(found, [(0, self.removed_s.get(vehicle, legs[-1].to_s))])

    # --- what follows -------------------------------------------------------------------------------------------------

    def driven(self, vehicle: str) -> list[Span]:
        """Return when a vehicle's ignition is on."""
        return joined((leg.from_s, leg.to_s) for leg in self.legs[vehicle] if leg.what != "parked")

    def there(self) -> Iterator[Leg]:
        """Yield the legs that vehicles began while they were in the fleet file."""
        for name, legs in self.legs.items():
            gone_s = self.removed_s.get(name)
            yield from (leg for leg in legs if gone_s is None or leg.from_s < gone_s)

    def is_fed(self, vehicle: str, at_s: float) -> bool:
        """Say whether a vehicle's box has power."""
        return any(a <= at_s < b for a, b in self.fed[vehicle])

    def dark(self, leg: Leg) -> bool:
        """Say whether the kit goes off during a parking."""
        return not any(a <= leg.from_s and leg.to_s <= b for a, b in self.fed[leg.vehicle])

    def listened(self, leg: Leg) -> bool:
        """Say whether somebody listened at the centre, by one clock, when a leg began, until after its end."""
        until_s = leg.to_s + _START_S
        return not common(self._deaf, [(leg.from_s, until_s)]) and not any(
            leg.from_s <= at_s < until_s for at_s in self._set
        )

    def is_deaf(self, at_s: float) -> bool:
        """Say whether nobody listens."""
        return self.listens_s(at_s) > at_s

    def listens_s(self, at_s: float) -> float:
        """Return since when somebody listens, at a moment or after it."""
        return max((b for a, b in self._deaf if a <= at_s < b), default=at_s)

    def heard_s(self, vehicle: str, at_s: float) -> float:
        """Return by when a box's word of before a moment is heard: at once, or where nobody listened, when it can."""
        since_s = self.listens_s(at_s)
        spans = common(self.heard[vehicle], self.fed[vehicle])
        end_s = self.legs[vehicle][-1].to_s
        return at_s if since_s == at_s else next((max(a, since_s) for a, b in spans if b > since_s), end_s)

    def who_is_heard(self, from_s: float, to_s: float) -> set[str]:
        """Return who is heard at a moment between these."""
        return {name for name, spans in self.heard.items() if common(spans, [(from_s, to_s)])}

    def together(self, number: int, from_s: float, to_s: float, lasts_s: float) -> float | None:
        """Return since when, between these, so many vehicles at least are heard for so long without a break."""
        edges = sorted({from_s, to_s, *(t for spans in self.heard.values() for span in spans for t in span)})
        since: float | None = None
        for a, b in itertools.pairwise(edges):
            if a < from_s or b > to_s:
                continue
            heard = sum(any(x <= a and b <= y for x, y in spans) for spans in self.heard.values())
            since = (a if since is None else since) if heard >= number else None
            if since is not None and b - since >= lasts_s:
                return since
        return None


def joined(spans: Iterable[Span]) -> list[Span]:
    """Return spans in order, those that touch as one."""
    found: list[Span] = []
    for a, b in spans:
        if found and a <= found[-1][1]:
            found[-1] = (found[-1][0], max(b, found[-1][1]))
        else:
            found.append((a, b))
    return found


def common(some: Sequence[Span], others: Sequence[Span]) -> list[Span]:
    """Return what lies in both."""
    found = [(max(a, x), min(b, y)) for a, b in some for x, y in others if max(a, x) < min(b, y)]
    return sorted(found)


def _later(spans: Iterable[Span], by_s: float) -> list[Span]:
    """Return spans that begin so much later, but for what has been so from the beginning."""
    return [(a if a == 0 else a + by_s, b) for a, b in spans if a == 0 or a + by_s < b]
