"""What may come of a quiet life, from what happened in it alone. Imports nothing of the product.

No ticket and no note about any vehicle or device. About the centre and for planned changes exactly what happened, each
once. Two exceptions are stated: the first pass through a hole longer than ten minutes (at most one ticket a hole and
site), and the first two parkings, in a place that nothing names yet, of a kit that dies with the ignition and was not
seen still.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Final

_UNITS_S: Final = {"s": 1, "m": 60, "h": 3600, "d": 86_400}
LONG_HOLE_S: Final = 600
"""Where nothing is known of a place so much silence is allowed."""
NAMED_AFTER: Final = 2
"""Silences of a site in a place that ended with a boot, after which it is known as one where one parks."""
OFF_S: Final = 30
"""A clock that is off by less is right."""
AROUND_S: Final = 900
"""So long after its cause a problem of the centre's may have begun, by its own readings; before it not at all."""
_SLACK_S: Final = 120
ABOUT_THE_CENTRE: Final = {
    "broker_away": ("broker_down", "site", 90),
    "collector_away": ("platform_module_down", "collector", 60),
    "influxdb_away": ("influx_unreachable", "collector", 330),
    "clock_off": ("centre_clock_wrong", "site", 900),
}
"""What happens -> fault, its root, and the seconds after which it must have been found."""
ALWAYS_SPEAK: Final = ("always",)
"""Kits whose clocks can be compared with the centre's at any time."""


@dataclass
class Verdict:
    """What was wrong, and what was right for a reason."""

    wrong: list[str] = field(default_factory=list)
    expected: Counter[str] = field(default_factory=Counter)
    """Problems of the centre and planned changes that came as they should, by fault."""
    excepted: Counter[str] = field(default_factory=Counter)
    """Tickets that a stated exception allows, by the exception."""


@dataclass(frozen=True)
class Happened:
    """Something that must, or may, be told."""

    fault: str
    at: str
    from_ms: int
    to_ms: int
    must: bool = True


def judge(scenario: Mapping[str, Any], came: Mapping[str, Any], parkings: Iterable[Mapping[str, Any]]) -> Verdict:
    """Compare what came (``kitwatch drill --json``: one run) with what the scenario let happen."""
    verdict = Verdict()
    begins_ms = came["begins_ms"]
    happened = _happened(scenario, begins_ms, came["until_ms"])
    _problems(verdict, came["problems"], happened)
    allowed = Counter((one.fault, one.at) for one in happened)
    holes = _long_holes(scenario, begins_ms)
    used: set[str] = set()
    unnamed = _unnamed(scenario, parkings, begins_ms)
    for ticket in _begun(came):
        key = (ticket["fault"], ticket["at"])
        if allowed[key] > 0:
            allowed[key] -= 1
            continue
        hole = next((one for one in holes if one not in used and _matches(ticket, holes[one])), None)
        if hole is not None:
            used.add(hole)
            verdict.excepted["first pass through a long hole"] += 1
        elif any(_matches(ticket, [one]) for one in unnamed):
            verdict.excepted["parking that was not seen, in a place without a name"] += 1
        else:
            verdict.wrong.append(_said("ticket", ticket["fault"], ticket["at"], ticket["event_ms"], begins_ms))
    for note in came["notes"]:
        verdict.wrong.append(_said("note", note["fault"], note["at"], note["began_ms"], begins_ms))
    return verdict


def _begun(came: Mapping[str, Any]) -> list[Mapping[str, Any]]:
    """Return each time that a ticket was about: one that is opened again is as wrong as a new one."""
    kept = {(ticket["fault"], ticket["at"]): ticket for ticket in came["tickets"]}
    times = [
        problem
        for problem in came["problems"]
        if (problem["fault"], problem["at"]) in kept and not problem.get("cause")
    ]
    again = {(problem["fault"], problem["at"]) for problem in times}
    return [*times, *(ticket for key, ticket in kept.items() if key not in again)]


def seconds(text: str) -> int:
    """Return the seconds of ``90s``, ``9m``, ``-1h``."""
    found = re.fullmatch(r"(-?)(\d+)([smhd])", text)
    if found is None:
        raise ValueError(f"expected a duration, found {text!r}")
    return (-1 if found[1] else 1) * int(found[2]) * _UNITS_S[found[3]]


# --- what must be told ------------------------------------------------------------------------------------------------


def _happened(scenario: Mapping[str, Any], begins_ms: int, until_ms: int) -> list[Happened]:
    world = scenario["world"]
    found = []
    for line in scenario["happens"]:
        from_ms = begins_ms + 1000 * seconds(line["at"])
        to_ms = min(until_ms, from_ms + 1000 * seconds(line["for"])) if "for" in line else until_ms
        if line.get("fault") == "firmware_changed":
            at = f"{line['vehicle']}/{line['device']}"
            # a kit that is off has its new version at its next start
            found.append(Happened("firmware_changed", at, from_ms, until_ms, must=world["kit_power"] in ALWAYS_SPEAK))
        if line.get("centre") in ABOUT_THE_CENTRE:
            fault, root, within_s = ABOUT_THE_CENTRE[line["centre"]]
            off_s = abs(seconds(line.get("by", "0s")))
            if "by" in line and off_s < OFF_S:
                continue
            heard = line["centre"] != "clock_off" or world["kit_power"] in ALWAYS_SPEAK
            found.append(
                # what is wrong is the very clock that says when: its problem may be dated by so much
                Happened(
                    fault,
                    root,
                    from_ms - 1000 * off_s,
                    to_ms + 1000 * off_s,
                    must=heard and to_ms - from_ms > 1000 * (within_s + _SLACK_S),
                )
            )
    return found


def _problems(verdict: Verdict, problems: Sequence[Mapping[str, Any]], happened: Sequence[Happened]) -> None:
    """See that each thing that happened is one problem, and that no other is told of the centre."""
    left = list(happened)
    for problem in problems:
        match = next(
            (
                one
                for one in left
                if (one.fault, one.at) == (problem["fault"], problem["at"])
                and one.from_ms - 1000 * _SLACK_S <= problem["event_ms"] <= one.to_ms + 1000 * _SLACK_S
            ),
            None,
        )
        if match is not None:
            left.remove(match)
            verdict.expected[match.fault] += 1
        elif "/" not in problem["at"] and problem["at"] in ("site", "collector"):
            verdict.wrong.append(
                f"problem {problem['fault']} {problem['at']}: nothing happened, or it was told already"
            )
    for one in left:
        if one.must:
            verdict.wrong.append(f"missing {one.fault} {one.at}")


# --- what is excepted -------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class _Silence:
    vehicle: str
    from_ms: int
    to_ms: int
    faults: tuple[str, ...]
    agents: tuple[str, ...] = ("box", "tablet")


def _long_holes(scenario: Mapping[str, Any], begins_ms: int) -> dict[str, list[_Silence]]:
    """Return the passes through each hole that is longer than what is allowed where nothing is known."""
    world = scenario["world"]
    offs = [abs(seconds(line["by"])) for line in scenario["happens"] if line.get("centre") == "clock_off"]
    off_ms = 1000 * max(offs, default=0)  # silence is dated by the centre's clock
    closed = {name for name, road in world["roads"].items() if road.get("contact") == "no"}
    found: dict[str, list[_Silence]] = {}
    for vehicle, shape in world["vehicles"].items():
        at_s = 0
        for leg in shape["drives"]:
            what, lasts = leg.split()[:2]
            lasts_s = seconds(lasts)
            if what in closed and lasts_s > LONG_HOLE_S:
                from_ms = begins_ms + 1000 * at_s
                found.setdefault(what, []).append(
                    _Silence(vehicle, from_ms - off_ms, from_ms + 1000 * lasts_s + off_ms, ("vehicle_silent",))
                )
            at_s += lasts_s
    return found


def _unnamed(scenario: Mapping[str, Any], parkings: Iterable[Mapping[str, Any]], begins_ms: int) -> list[_Silence]:
    """Return the parkings that nobody could know: the first two a place of this site that were not seen still."""
    world = scenario["world"]
    power = world["kit_power"]
    if power == "always":
        return []
    closed = {name for name, place in world["places"].items() if place.get("contact") == "no"}
    times: Counter[str] = Counter()
    found = []
    for one in sorted(parkings, key=lambda parking: parking["from_s"]):
        # the ignition of a kit that lives on is read as off, where there is contact
        known = one["seen_still"] or (power == "delayed" and one["place"] not in closed)
        if times[one["place"]] < NAMED_AFTER and not known and one["from_s"] > 0:
            from_ms = begins_ms + 1000 * one["from_s"]
            found.append(_Silence(one["vehicle"], from_ms, from_ms, ("vehicle_silent", "power_lost", "agent_down")))
        times[one["place"]] += one["from_s"] > 0  # nobody has heard of it before its life begins
    return found


def _matches(ticket: Mapping[str, Any], silences: Iterable[_Silence]) -> bool:
    """Say whether a ticket is about one of these silences: this vehicle, from this moment on."""
    vehicle = ticket["at"].split("/")[0]
    return any(
        vehicle == one.vehicle
        and ticket["fault"] in one.faults
        and one.from_ms - 1000 * _SLACK_S <= ticket["event_ms"] <= one.to_ms + 1000 * _SLACK_S
        for one in silences
    )


def _said(what: str, fault: str, at: str, event_ms: int, begins_ms: int) -> str:
    at_s = (event_ms - begins_ms) // 1000
    return f"{what} {fault} {at}, begun {at_s // 86_400}d {at_s // 3600 % 24:02d}:{at_s // 60 % 60:02d}:{at_s % 60:02d}"
