"""Draw ordinary lives with a fault in them: scenarios for ``kitwatch drill`` without what is expected. Pure."""

from __future__ import annotations

import functools
import random
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from telemetry.files import parse_yaml
from tests.lives.course import seconds
from tests.lives.draw import description

SITES: Final = (2, 3, 1, 2, 3, 1, 2, 3, 2, 1, 12)
"""Vehicles of a site, by number in turn."""
TUNNELS: Final = ("tunnel_100", "tunnel_180", "tunnel_234")
SITUATIONS: Final[Mapping[str, float]] = {
    "road": 24, "mission": 10, "tunnel": 12, "outage": 10, "parking": 12, "mouth": 8, "parked": 10, "standing": 6,
    "weak": 4, "start": 8,
}  # fmt: skip
"""Where a fault begins, with its share."""
ENDINGS: Final[Mapping[str, float]] = {"road": 64, "tunnel": 14, "outage": 8, "parking": 14}
"""Where it ends."""
STAYS: Final = ("home", "hospital", "clinic")
TWICE: Final = 0.15
"""Share of the lives in which a second fault befalls another vehicle."""
DEAD_SPOT_S: Final = 480
"""Heard once a minute a hole of nine minutes is a silence of ten: as long as is allowed where nothing is known."""
AFTER_S: Final = 2700
"""So long a life goes on after its fault."""
KNOWN: Final[Mapping[str, Mapping[str, Any]]] = {
    "city": {"passes": 20, "days": 10, "lost": 0},
    "weak_hole": {"passes": 20, "days": 10, "lost": 0},
    "tunnel_100": {"passes": 20, "days": 10, "lost": 20, "p50": "90s", "p95": "100s"},
    "tunnel_180": {"passes": 20, "days": 10, "lost": 20, "p50": "170s", "p95": "180s"},
    "tunnel_234": {"passes": 20, "days": 10, "lost": 20, "p50": "220s", "p95": "234s"},
    "dead_spot": {"passes": 20, "days": 10, "lost": 20, "p50": "8m", "p95": "9m"},
}
"""What a site that has driven there for weeks knows of contact."""


@dataclass(frozen=True)
class Put:
    """A fault that was put into a life."""

    fault: str
    """As the catalogue names it."""
    form: str
    vehicle: str
    situation: str
    ending: str
    from_s: int
    to_s: int | None
    """``None``: it stays."""


@dataclass(frozen=True)
class Case:
    """One life with its faults."""

    name: str
    wiring: str
    vehicles: int
    tablet: str
    record: str
    """What is known of places: ``none``, ``usual`` (roads with contact) or ``known`` (holes too)."""
    scenario: Mapping[str, Any]
    puts: Sequence[Put]


@functools.cache
def forms() -> Mapping[str, Mapping[str, Mapping[str, Any]]]:
    """Return ``forms.yaml``: fault -> form -> what it is and what is promised of it."""
    path = Path(__file__).with_name("forms.yaml")
    found: Mapping[str, Any] = parse_yaml(path.read_text("utf-8"), path.name)
    return {
        fault: {form: {key: _said(value) for key, value in says.items()} for form, says in of.items()}
        for fault, of in found.items()
    }


def _said(value: Any) -> Any:
    """Return yes and no as words, however YAML has read them."""
    if isinstance(value, Mapping):
        return {key: _said(one) for key, one in value.items()}
    return ("no", "yes")[value] if isinstance(value, bool) else value


def cases(faults: int, seed: int) -> list[Case]:
    """Return lives with so many faults at least: each form in turn, in an order that the seed draws."""
    chance = random.Random(f"told/{seed}")
    order: list[tuple[str, str]] = []
    found: list[Case] = []
    put = 0
    while put < faults:
        if len(order) < 2:
            every = [(fault, form) for fault, of in forms().items() for form in of]
            order += chance.sample(every, len(every))
        number = len(found) + 1
        which = [order.pop(0)]
        if chance.random() < TWICE:
            which.append(order.pop(0))
        found.append(draw(which, seed, number))
        put += len(found[-1].puts)
    return found


def draw(which: Sequence[tuple[str, str]], seed: int, number: int) -> Case:
    """Return the life with this number, which has one fault or two (in different vehicles), each (fault, form)."""
    chance = random.Random(f"told/{seed}/{number}")
    needs: dict[str, Any] = {}
    for fault, form in which:
        needs |= forms()[fault][form].get("needs", {})
    wiring = chance.choice(list(description()["wirings"]))
    wired = {key: _said(value) for key, value in description()["wirings"][wiring].items()}
    usual_tablet = wired.pop("tablet")
    tablet = needs.get("tablet", usual_tablet if chance.random() < 0.5 else chance.choice(("no", "yes")))
    least = max(len(which), needs.get("vehicles", 1))
    vehicles = next(site for site in (SITES[(number + seed) % len(SITES)], *SITES) if site >= least)
    poll = needs.get("poll", "60s" if vehicles == 12 else chance.choice(("10s", "60s", "60s")))
    record = "known" if needs.get("record") else chance.choice(("none", "usual", "known", "known"))
    names = [f"a{one:02d}" for one in range(1, vehicles + 1)]
    befallen = chance.sample(names, len(which))
    puts: list[Put] = []
    drives: dict[str, list[str]] = {}
    happens: list[dict[str, Any]] = []
    for (fault, form), vehicle in zip(which, befallen, strict=True):
        way = _Way(chance)
        put, lines = _put(
            way, fault, form, vehicle, wired["kit_power"], outage=not any("centre" in line for line in happens)
        )
        if forms()[fault][form].get("other"):
            lines[0]["other"] = next(name for name in names if name != vehicle)
        puts.append(put)
        happens += lines
        drives[vehicle] = way.legs
    until_s = max((put.from_s if put.to_s is None else put.to_s) + AFTER_S for put in puts)
    until_s += 60 - until_s % 60
    if any(put.to_s is None for put in puts):
        until_s += 1800
    for name in names:
        if name not in drives:
            way = _Way(chance, chance.choice(("", "mission")))
            way.trips(until_s)
            drives[name] = way.legs
        happens += _troubles(chance, name, until_s)
    world: dict[str, Any] = {
        **wired,
        "roads": _said(description()["roads"]),
        "places": _said(description()["places"]),
        "vehicles": {name: {"drives": drives[name]} for name in names},
    }
    if needs.get("switch"):
        world["switch"] = needs["switch"]
    if record == "none":
        world["record"] = "none"
    elif record == "known":
        covered = [*world["roads"], *(name for name in world["places"] if name != "garage")]
        world["record"] = {
            "coverage": [name for name in covered if world["roads"].get(name, {}).get("contact") != "no"],
            "contact": {name: dict(row) for name, row in KNOWN.items()},
        }
    about = ", ".join(f"{put.fault} ({put.form}) of {put.vehicle}, {put.situation}" for put in puts)
    scenario = {
        "about": f"{about}; {wiring}, seed {seed}, life {number}",
        "because": "An ordinary life with a fault in it, drawn by `make told`.",
        "starts": "2026-03-02T08:00:00+08:00",
        "lasts": f"{until_s}s",
        "seeds": 1,
        "jitter": "0s",
        "vary": {"poll": [poll], "vehicles": [vehicles], "tablet": [tablet]},
        "world": world,
        "happens": sorted(happens, key=lambda line: seconds(line["at"])),
    }
    return Case(f"told-{seed}-{number}", wiring, vehicles, tablet, record, scenario, puts)


# --- the fault --------------------------------------------------------------------------------------------------------


def _put(
    way: _Way, fault: str, form: str, vehicle: str, power: str, *, outage: bool
) -> tuple[Put, list[dict[str, Any]]]:
    """Drive to where the fault begins and on until it is over; return it and what happens."""
    says = forms()[fault][form]
    chance = way.chance
    lasts_s = _lasts_s(chance, says)
    shares = dict(SITUATIONS)
    if not outage or power == "delayed":
        shares["outage"] = 0
    if power != "always":
        shares["parked"] = 0
    if says.get("plain"):
        shares = {"road": 1, "mission": 1}
    situation = chance.choices(list(shares), list(shares.values()))[0]
    lines: list[dict[str, Any]] = []
    way.drive(60 * chance.randint(24, 40), "" if chance.random() < 0.5 else chance.choice(TUNNELS))
    stay_s = (lasts_s or 3600) + 900 if situation == "parked" else 60 * chance.randint(20, 60)
    if situation == "tunnel":
        tunnel = chance.choice(TUNNELS)
        hole_s = int(tunnel.removeprefix("tunnel_"))
        at_s = way.at_s + chance.randint(10, hole_s - 20)
        way.go(tunnel, hole_s)
    elif situation == "outage":
        away_s = 60 * chance.randint(6, 30)
        what = chance.choice(("broker_away", "collector_away"))
        lines.append({"at": f"{way.at_s + 300}s", "centre": what, "for": f"{away_s}s"})
        at_s = way.at_s + 300 + chance.randint(60, away_s)
    elif situation == "parking":
        place = chance.choice(STAYS)
        way.go("standing", 120, f" at {place}")
        at_s = way.at_s - chance.randint(15, 90)
        way.go("parked", stay_s, f" at {place}")
    elif situation == "mouth":
        at_s = way.at_s - chance.randint(5, 40)
        way.go("dead_spot", DEAD_SPOT_S)
    elif situation == "parked":
        place = chance.choice(STAYS)
        way.go("standing", 120, f" at {place}")
        at_s = way.at_s + chance.randint(300, 900)
        way.go("parked", stay_s + 900, f" at {place}")
    elif situation == "standing":
        at_s = way.at_s + chance.randint(180, 600)
        way.go("standing", 60 * chance.randint(20, 40), " at hospital")
    elif situation == "weak":
        at_s = way.at_s + chance.randint(60, 600)
        way.go("weak_hole", 1080)
    elif situation == "start":
        place = chance.choice(STAYS)
        way.go("standing", 120, f" at {place}")
        way.go("parked", stay_s, f" at {place}")
        at_s = way.at_s + chance.randint(240, 480)
    else:
        at_s = way.at_s + chance.randint(300, 900)
    to_s = None if lasts_s is None else at_s + lasts_s
    ends_s = (at_s + 3600 if to_s is None else to_s) + 600
    rest = " on mission" if situation == "mission" else ""
    ending = _ending(chance, says, way.at_s, to_s, outage=outage and situation != "outage" and power != "delayed")
    if ending == "tunnel" and to_s is not None:
        tunnel = chance.choice(TUNNELS)
        hole_s = int(tunnel.removeprefix("tunnel_"))
        way.drive(to_s - way.at_s - chance.randint(10, hole_s - 20), "", rest)
        way.go(tunnel, hole_s)
    elif ending == "parking" and to_s is not None:
        place = chance.choice(STAYS)
        way.drive(to_s - way.at_s - chance.randint(180, 900), "", rest)
        way.go("standing", 120, f" at {place}")
        way.go("parked", 2400, f" at {place}")
    elif ending == "outage" and to_s is not None:
        what = chance.choice(("broker_away", "collector_away"))
        lines.append(
            {"at": f"{to_s - chance.randint(60, 600)}s", "centre": what, "for": f"{chance.randint(660, 1500)}s"}
        )
    if rest or ending != "road" or chance.random() < 0.6:
        way.drive(max(ends_s - way.at_s, 600), "", rest)
    else:
        way.trips(ends_s)
    way.drive(1800)
    put = Put(fault, form, vehicle, situation, ending, at_s, to_s)
    return put, [*_lines(says, fault, vehicle, at_s, lasts_s), *lines]


def _ending(chance: random.Random, says: Mapping[str, Any], at_s: int, to_s: int | None, *, outage: bool) -> str:
    """Return where it ends: anywhere but on the road only where there is time to drive there."""
    shares = dict(ENDINGS) | ({} if outage else {"outage": 0})
    if to_s is None or says.get("plain") or to_s - at_s < 1500:
        return "road"
    return chance.choices(list(shares), list(shares.values()))[0]


def _lasts_s(chance: random.Random, says: Mapping[str, Any]) -> int | None:
    if "lasts_s" in says:
        return chance.randint(*says["lasts_s"])
    if "lasts" not in says:
        return None
    low, high = (60 * one for one in says["lasts"])
    return chance.randint(low, high)


def _lines(says: Mapping[str, Any], fault: str, vehicle: str, at_s: int, lasts_s: int | None) -> list[dict[str, Any]]:
    line: dict[str, Any] = {"at": f"{at_s}s", "vehicle": vehicle, "fault": says.get("fault", fault)}
    if lasts_s is not None:
        line["for"] = f"{lasts_s}s"
    if says.get("device"):
        line["device"] = says["device"]
    line |= {key: says[key] for key in ("agent", "strength", "noise", "slope", "form") if key in says}
    if "every" in says and lasts_s is not None:
        line |= {"for": says["on"], "every": says["every"], "times": lasts_s // seconds(says["every"])}
    return [line]


# --- where they are ---------------------------------------------------------------------------------------------------


class _Way:
    """The legs of one vehicle, one after another."""

    def __init__(self, chance: random.Random, mission: str = "") -> None:
        self.chance = chance
        self.mission = f" on {mission}" if mission else ""
        self.legs: list[str] = []
        self.at_s = 0

    def go(self, what: str, lasts_s: int, rest: str = "") -> None:
        """Add a leg."""
        self.legs.append(f"{what} {lasts_s}s{rest}")
        self.at_s += lasts_s

    def drive(self, lasts_s: int, hole: str = "", rest: str = "") -> None:
        """Drive through the city, with a hole in the middle."""
        if not hole:
            self.go("city", lasts_s, rest)
            return
        hole_s = DEAD_SPOT_S if hole == "dead_spot" else seconds(description()["trip"]["lasts"][hole])
        self.go("city", lasts_s // 2, rest)
        self.go(hole, hole_s, rest)
        self.go("city", lasts_s - lasts_s // 2, rest)

    def trips(self, until_s: int) -> None:
        """Drive, and stay, and drive, until then at least."""
        holes = ("", "", "", *TUNNELS, "dead_spot", "weak_hole")
        while self.at_s < until_s:
            rest = self.mission if self.chance.random() < 0.3 else ""
            self.drive(60 * self.chance.randint(20, 40), self.chance.choice(holes), rest)
            place = self.chance.choice(STAYS)
            if self.chance.random() < 0.4:
                self.go("standing", 60 * self.chance.randint(4, 25), f" at {place}")
            else:
                self.go("standing", 120, f" at {place}")
                self.go("parked", 60 * self.chance.randint(15, 60), f" at {place}")


def _troubles(chance: random.Random, vehicle: str, until_s: int) -> list[dict[str, Any]]:
    """Return what befalls a vehicle without a fault."""
    about = description()["vehicle"]
    return [
        {"at": f"{chance.randrange(until_s)}s", "vehicle": vehicle, "device": about[what]["device"], "fault": what}
        for what in ("cranking", "nsa_flip", "nsa_flip", "handover", "handover")
    ]
