"""Draw quiet lives from their description: scenarios for ``kitwatch drill`` without what is expected. Pure."""

from __future__ import annotations

import functools
import random
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from telemetry.durations import milliseconds
from telemetry.files import parse_yaml
from tests.lives.counted import counted

_DAY_S: Final = 86_400
_MORNING_S: Final = 6 * 3600
_EVENING_S: Final = 22 * 3600
_STAY_MIN_S: Final = 600
"""A trip that would leave less of its half day than this ends it on the road."""
_LAST_LEG_S: Final = 900
"""So long a half day's last leg takes at least: what comes next may be on the other side of the town."""
_APART_S: Final = 3 * 3600
"""From the end of an outage of the centre to the next one's begin."""
_AFTER_S: Final = 3600
"""So long a life goes on after an outage at least: what must be told of it is told then."""
_TRIES: Final = 20
"""So often another hour is drawn for an outage that would come too close to another."""
_SHORT_HOLE_S: Final = 550
"""With the time to connect again it is shorter than ten minutes, the limit where nothing is known."""
CONVOY: Final = 3
_CONVOY_BEFORE_S, _CONVOY_AFTER_S = 1_200, 900
"""Who does not drive with it is parked from so long before until so long after."""


@dataclass(frozen=True, slots=True)
class Life:
    """One quiet life of a site."""

    name: str
    wiring: str
    seed: int
    vehicles: int
    tablet: str
    days: int
    scenario: Mapping[str, Any]
    """As it would stand in a file."""

    @property
    def counts(self) -> Counter[str]:
        """How often each trouble is lived."""
        return counted(self.scenario)


@functools.cache
def description() -> Mapping[str, Any]:
    """Return ``quiet.yaml``."""
    path = Path(__file__).with_name("quiet.yaml")
    found: Mapping[str, Any] = parse_yaml(path.read_text("utf-8"), path.name)
    return found


def wirings() -> list[str]:
    """Return the names of the wirings."""
    return list(description()["wirings"])


def troubles() -> Mapping[str, int]:
    """Return what quiet lives must be full of, names in ``Life.counts``: so often in 1,000 vehicle-days at least."""
    found: Mapping[str, int] = description()["at_least"]
    return found


def draw(wiring: str, seed: int, vehicle_days: float) -> Life:
    """Return the life of one site with this wiring and seed, of so many vehicle-days at least."""
    about = description()
    fleets = about["fleets"]
    vehicles = fleets[seed % len(fleets)]
    days = max(1, -int(-vehicle_days // vehicles))
    chance = random.Random(f"{wiring}/{seed}")
    wired = _wired(wiring, seed)
    tablet = wired.pop("tablet")
    names = [f"a{number:02d}" for number in range(1, vehicles + 1)]
    drives = _drives(chance, names, days, dies=wired["kit_power"] != "always")
    happens = _of_vehicles(chance, names, days) + _of_the_centre(chance, names, days)
    scenario = {
        "about": f"A quiet life of {vehicles} vehicles for {days} days, wired {wiring}, seed {seed}",
        "because": "No vehicle has a fault.",
        "starts": "2026-03-02T00:00:00+08:00",
        "lasts": f"{days}d",
        "seeds": 1,
        "jitter": "0s",
        "vary": {"poll": ["10s"], "vehicles": [vehicles], "tablet": [tablet]},
        "world": {
            **wired,
            # with one vehicle our own machine decides, and it is our clock that is off here
            "centre_synchronised": "no" if vehicles == 1 else chance.choice(("no", "yes")),
            "roads": _words(about["roads"]),
            "places": _words(about["places"]),
            "record": "none",
            "vehicles": {name: {"drives": legs} for name, legs in drives.items()},
        },
        "happens": sorted(happens, key=lambda line: milliseconds(line["at"])),
    }
    return Life(f"quiet-{wiring}-{seed}", wiring, seed, vehicles, tablet, days, scenario)


def _wired(wiring: str, seed: int) -> dict[str, Any]:
    """Return how the kits of a site are wired: seeds take what they differ in in turn, other wirings one on."""
    about = description()
    # sites of each size take their turns too
    turn = seed // len(about["fleets"]) + seed % len(about["fleets"]) + wirings().index(wiring)
    turns = {**about["turns"]["all"], **about["turns"].get(wiring, {})}
    wired = {**about["wirings"][wiring], **{key: values[turn % len(values)] for key, values in turns.items()}}
    return {key: _word(value) for key, value in wired.items()}


def _word(value: Any) -> Any:
    """Return yes and no as the words that they are in a scenario, however YAML has read them."""
    return ("no", "yes")[value] if isinstance(value, bool) else value


def _words(shapes: Mapping[str, Mapping[str, Any]]) -> dict[str, dict[str, Any]]:
    return {name: {key: _word(value) for key, value in shape.items()} for name, shape in shapes.items()}


# --- where they are ---------------------------------------------------------------------------------------------------


class _Way:
    """The legs of one vehicle, one after another. ``dies``: its kit goes off while it is parked."""

    def __init__(self, chance: random.Random, *, dies: bool) -> None:
        self.chance = chance
        self.dies = dies
        self.legs: list[str] = []
        self.at_s = 0

    def go(self, what: str, seconds: int, rest: str = "") -> None:
        """Add a leg."""
        self.legs.append(f"{what} {seconds}s{rest}")
        self.at_s += seconds

    def park(self, place: str, until_s: int) -> None:
        """Stand for a moment, mostly, and park until then."""
        about = description()["trip"]
        if self.chance.random() < about["seen_still"] and place != "garage" and until_s - self.at_s > _STAY_MIN_S // 2:
            self.go("standing", self.chance.randint(*about["still_s"]), f" at {place}")
        self.go("parked", until_s - self.at_s, f" at {place}")

    def chosen(self, shares: Mapping[str, float]) -> str:
        """Return a name by its share; a garage without contact only for kits that die there by plan."""
        names = [name for name in shares if self.dies or name != "garage"]
        return self.chance.choices(names, [shares[name] for name in names])[0]


def _drives(chance: random.Random, names: Sequence[str], days: int, *, dies: bool) -> dict[str, list[str]]:
    about = description()
    convoy_s = milliseconds(about["convoy_at"]) // 1000
    ways = {name: _Way(chance, dies=dies) for name in names}
    for way in ways.values():
        way.go("parked", _MORNING_S, f" at {way.chosen(about['night'])}")
    for day in range(days):
        zero_s = day * _DAY_S
        convoy = set(chance.sample(names, CONVOY)) if len(names) >= CONVOY else set()
        tunnel = chance.choice(about["convoy_through"])
        through_s = _lasts(chance, tunnel)
        others_park = chance.random() < 0.5
        for name, way in ways.items():
            if name in convoy or not others_park:
                _half_day(way, zero_s + convoy_s)
                way.go(tunnel if name in convoy else "city", through_s)
            else:
                _half_day(way, zero_s + convoy_s - _CONVOY_BEFORE_S)
                way.park("home", zero_s + convoy_s + through_s + _CONVOY_AFTER_S)
            _half_day(way, zero_s + _EVENING_S)
            until_s = zero_s + _DAY_S + (_MORNING_S if day < days - 1 else 0)
            way.park(way.chosen(about["night"]), until_s)
    return {name: way.legs for name, way in ways.items()}


def _half_day(way: _Way, until_s: int) -> None:
    """Make trips until so many seconds since the life began, to the second."""
    trip = description()["trip"]
    chance = way.chance
    while until_s - way.at_s > 2 * _STAY_MIN_S + _LAST_LEG_S:
        rest = " on mission" if chance.random() < trip["on_mission"] else ""
        drive_s = 60 * chance.randint(*trip["drive_min"])
        hole = way.chosen(trip["hole"])
        if hole == "none":
            if until_s - way.at_s < drive_s + _LAST_LEG_S:
                break
            way.go("city", drive_s, rest)
        else:
            hole_s = _lasts(chance, hole)
            if until_s - way.at_s < drive_s + hole_s + _LAST_LEG_S:
                break
            way.go("city", drive_s // 2, rest)
            way.go(hole, hole_s, rest)
            way.go("city", drive_s - drive_s // 2, rest)
        left_s = until_s - way.at_s - _LAST_LEG_S
        if left_s < _STAY_MIN_S:
            break
        place = way.chosen(trip["stay"])
        if chance.random() < 0.25 and place != "garage":
            way.go("standing", min(left_s, 60 * chance.randint(*trip["standing_min"])), f" at {place}")
        else:
            way.park(place, way.at_s + min(left_s, 60 * chance.randint(*trip["parked_min"])))
    if until_s > way.at_s:
        way.go("city", until_s - way.at_s)


def _lasts(chance: random.Random, hole: str) -> int:
    """Return how long a pass takes, in seconds: traffic is never twice the same."""
    trip = description()["trip"]
    usual_s = milliseconds(trip["lasts"][hole]) // 1000
    passed_s = round(usual_s * chance.uniform(*trip["times"]))
    return min(passed_s, _SHORT_HOLE_S) if usual_s <= _SHORT_HOLE_S else passed_s


# --- what befalls them ------------------------------------------------------------------------------------------------


def _of_vehicles(chance: random.Random, names: Sequence[str], days: int) -> list[dict[str, Any]]:
    about = description()
    lines: list[dict[str, Any]] = []
    for day in range(days):
        at_s = day * _DAY_S + milliseconds(about["planned_restart"]["at"]) // 1000
        strength = chance.randint(*about["planned_restart"]["lasts_s"])
        lines.append(
            {"at": f"{at_s}s", "vehicle": "all", "device": "router", "fault": "planned_restart", "strength": strength}
        )
    for name in names:
        for fault, says in about["vehicle"].items():
            for _ in range(_how_many(chance, says["per_day"] * days, bool(says.get("once")))):
                day_s = chance.randrange(days) * _DAY_S
                line: dict[str, Any] = {
                    "at": f"{day_s + chance.randint(7 * 3600, 20 * 3600)}s", "vehicle": name, "fault": fault,
                }  # fmt: skip
                line |= {key: says[key] for key in ("device", "agent", "strength") if key in says}
                if "lasts_min" in says:
                    line["for"] = f"{chance.randint(*says['lasts_min'])}m"
                lines.append(line)
    return lines


def _of_the_centre(chance: random.Random, names: Sequence[str], days: int) -> list[dict[str, Any]]:
    lines: list[dict[str, Any]] = []
    taken: list[tuple[int, int]] = []
    about = description()["centre"]
    kinds = [what for what, says in about.items() for _ in range(_how_many(chance, says["per_day"] * days, False))]
    chance.shuffle(kinds)
    for what in kinds:
        if what == "remove" and (len(names) < 2 or any(line["centre"] == what for line in lines)):
            continue
        says = about[what]
        # the hours of one kind are its own: most are short
        lasts_s = 60 * chance.randint(*chance.choice(says["lasts_min"])) if "lasts_min" in says else 0
        for _ in range(_TRIES):
            at_s = chance.randrange(days * _DAY_S - lasts_s - _AFTER_S)
            if all(at_s + lasts_s + _APART_S < begins or ends + _APART_S < at_s for begins, ends in taken):
                break
        else:
            continue
        taken.append((at_s, at_s + lasts_s))
        if what == "remove":
            lines.append({"at": f"{at_s}s", "centre": what, "vehicle": names[-1]})
            continue
        line = {"at": f"{at_s}s", "centre": what, "for": f"{lasts_s // 60}m"}
        if "by" in says:
            line["by"] = chance.choice(says["by"])
        lines.append(line)
    return lines


def _how_many(chance: random.Random, mean: float, once: bool) -> int:
    whole = int(mean) + (chance.random() < mean - int(mean))
    return min(whole, 1) if once else whole
