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

_DAY_S: Final = 86_400
_MORNING_S: Final = 6 * 3600
_EVENING_S: Final = 22 * 3600
_STAY_MIN_S: Final = 600
"""A trip that would leave less of its half day than this ends it on the road."""
_LAST_LEG_S: Final = 900
"""So long a half day's last leg takes at least: what comes next may be on the other side of the town."""
_APART_S: Final = 6 * 3600
"""Between two outages of the centre."""
CONVOY: Final = 3


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
    counts: Mapping[str, int]
    """How often each trouble occurs."""


@functools.cache
def description() -> Mapping[str, Any]:
    """Return ``quiet.yaml``."""
    path = Path(__file__).with_name("quiet.yaml")
    found: Mapping[str, Any] = parse_yaml(path.read_text("utf-8"), path.name)
    return found


def wirings() -> list[str]:
    """Return the names of the wirings."""
    return list(description()["wirings"])


def troubles() -> set[str]:
    """Return what a quiet life must be full of: the names in ``Life.counts`` without which it proves nothing."""
    about = description()
    parkings = {f"parkings {where} {how} goodbye" for where in ("home", "elsewhere") for how in ("with", "without")}
    named = {*about["vehicle"], *about["centre"], *(set(about["trip"]["hole"]) - {"none"})}
    return named | parkings | {"nights at -115 dBm", "planned restarts", "convoys of three"}


def draw(wiring: str, seed: int, vehicle_days: float) -> Life:
    """Return the life of one site with this wiring and seed, of so many vehicle-days at least."""
    about = description()
    fleets = about["fleets"]
    vehicles = fleets[seed % len(fleets)]
    days = max(1, -int(-vehicle_days // vehicles))
    chance = random.Random(f"{wiring}/{seed}")
    wired = _wired(wiring, seed)
    tablet = wired.pop("tablet")
    counts: Counter[str] = Counter()
    names = [f"a{number:02d}" for number in range(1, vehicles + 1)]
    drives = _drives(chance, names, days, wired, counts)
    happens = _of_vehicles(chance, names, days, tablet, counts) + _of_the_centre(chance, names, days, counts)
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
    return Life(f"quiet-{wiring}-{seed}", wiring, seed, vehicles, tablet, days, scenario, dict(counts))


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
    """The legs of one vehicle, one after another."""

    def __init__(self, chance: random.Random, counts: Counter[str]) -> None:
        self.chance = chance
        self.counts = counts
        self.legs: list[str] = []
        self.at_s = 0

    def go(self, what: str, seconds: int, rest: str = "") -> None:
        """Add a leg."""
        self.legs.append(f"{what} {seconds}s{rest}")
        self.at_s += seconds

    def park(self, place: str, seconds: int, says_goodbye: bool) -> None:
        """Stand for a minute, mostly, and park."""
        stands = self.chance.random() < description()["trip"]["seen_still"] and seconds > _STAY_MIN_S // 2
        if stands and place != "garage":
            self.go("standing", 60, f" at {place}")
            seconds -= 60
        where = "home" if place == "home" else "elsewhere"
        self.counts[f"parkings {where} {'with' if says_goodbye else 'without'} goodbye"] += 1
        self.go("parked", seconds, f" at {place}")


def _drives(
    chance: random.Random,
    names: Sequence[str],
    days: int,
    wired: Mapping[str, Any],
    counts: Counter[str],
) -> dict[str, list[str]]:
    about = description()
    convoy_s = milliseconds(about["convoy_at"]) // 1000
    says = wired.get("goodbye", "yes") == "yes" and wired["kit_power"] != "always"
    dies = wired["kit_power"] != "always"
    ways = {name: _Way(chance, counts) for name in names}
    for day in range(days):
        convoy = set(chance.sample(names, CONVOY)) if len(names) > CONVOY else set()
        counts["convoys of three"] += bool(convoy)
        for name, way in ways.items():
            zero_s = day * _DAY_S
            way.park(_chosen(chance, about["night"], dies), _MORNING_S, says)
            counts["nights at -115 dBm"] += way.legs[-1].endswith("village")
            _half_day(way, zero_s + convoy_s, says, dies)
            road = "tunnel_180" if name in convoy else "city"
            counts["tunnel_180"] += name in convoy
            way.go(road, 180)
            _half_day(way, zero_s + _EVENING_S, says, dies)
            way.park(_chosen(chance, about["night"], dies), zero_s + _DAY_S - way.at_s, says)
    return {name: way.legs for name, way in ways.items()}


def _half_day(way: _Way, until_s: int, says: bool, dies: bool) -> None:
    """Make trips until so many seconds since the life began, to the second."""
    trip = description()["trip"]
    chance = way.chance
    while until_s - way.at_s > 2 * _STAY_MIN_S + _LAST_LEG_S:
        rest = " on mission" if chance.random() < trip["on_mission"] else ""
        drive_s = 60 * chance.randint(*trip["drive_min"])
        hole = _chosen(chance, trip["hole"], dies)
        if hole == "none":
            if until_s - way.at_s < drive_s + _LAST_LEG_S:
                break
            way.go("city", drive_s, rest)
        else:
            hole_s = milliseconds(trip["lasts"][hole]) // 1000
            if until_s - way.at_s < drive_s + hole_s + _LAST_LEG_S:
                break
            way.go("city", drive_s // 2, rest)
            way.go(hole, hole_s, rest)
            way.counts[hole] += 1
            way.go("city", drive_s - drive_s // 2, rest)
        left_s = until_s - way.at_s - _LAST_LEG_S
        if left_s < _STAY_MIN_S:
            break
        place = _chosen(chance, trip["stay"], dies)
        if chance.random() < 0.25 and place != "garage":
            way.go("standing", min(left_s, 60 * chance.randint(*trip["standing_min"])), f" at {place}")
        else:
            way.park(place, min(left_s, 60 * chance.randint(*trip["parked_min"])), says)
    if until_s > way.at_s:
        way.go("city", until_s - way.at_s)


def _chosen(chance: random.Random, shares: Mapping[str, float], dies: bool) -> str:
    """Return a name by its share; a garage without contact only for kits that die there by plan."""
    names = [name for name in shares if dies or name != "garage"]
    return chance.choices(names, [shares[name] for name in names])[0]


# --- what befalls them ------------------------------------------------------------------------------------------------


def _of_vehicles(
    chance: random.Random, names: Sequence[str], days: int, tablet: str, counts: Counter[str]
) -> list[dict[str, Any]]:
    about = description()
    lines: list[dict[str, Any]] = []
    for day in range(days):
        at_s = day * _DAY_S + milliseconds(about["planned_restart_at"]) // 1000
        lines.append(
            {"at": f"{at_s}s", "vehicle": "all", "device": "router", "fault": "planned_restart", "strength": 90}
        )
        counts["planned restarts"] += len(names)
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
                counts[fault] += 1
    return lines


def _of_the_centre(
    chance: random.Random, names: Sequence[str], days: int, counts: Counter[str]
) -> list[dict[str, Any]]:
    lines: list[dict[str, Any]] = []
    taken: list[int] = []
    for what, says in description()["centre"].items():
        for _ in range(_how_many(chance, says["per_day"] * days, False)):
            # by day, so that the kits that have a clock speak, and six hours from any other outage of ours
            at_s = chance.randrange(days) * _DAY_S + chance.randint(7 * 3600, 17 * 3600)
            if any(abs(at_s - other) < _APART_S for other in taken):
                continue
            if what == "remove":
                if len(names) < 2:
                    continue
                lines.append({"at": f"{at_s}s", "centre": what, "vehicle": names[-1]})
            else:
                line = {"at": f"{at_s}s", "centre": what, "for": f"{chance.randint(*says['lasts_min'])}m"}
                if "by" in says:
                    line["by"] = chance.choice(says["by"])
                lines.append(line)
            taken.append(at_s)
            counts[what] += 1
            if what == "remove":
                break
    return lines


def _how_many(chance: random.Random, mean: float, once: bool) -> int:
    whole = int(mean) + (chance.random() < mean - int(mean))
    return min(whole, 1) if once else whole
