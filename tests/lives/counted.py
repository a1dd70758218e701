"""What of its troubles a life has really had: those that came while the kit was fed. Imports nothing of the product."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from typing import Any, Final

from tests.lives.course import Course, Leg, seconds

_WEAK_DBM: Final = -115
_NIGHT_S: Final = 3 * 3600
_NEEDS_NO_KIT: Final = ("firmware_changed", "hot_day")
"""They last for long: a kit that is off has them at its next start."""


def counted(scenario: Mapping[str, Any]) -> Counter[str]:
    """Return how often each trouble is lived."""
    course = Course(scenario)
    world = scenario["world"]
    counts: Counter[str] = Counter()
    for legs in course.legs.values():
        for leg in legs:
            counts[_trouble(course, world, leg)] += 1
            if leg.what == "parked" and course.dark(leg) and leg.from_s and not leg.seen_still:
                counts["parkings not seen still, kit goes off"] += 1
    for line in scenario["happens"]:
        counts.update(_lines(course, line))
    counts["convoys of three"] = _convoys(course)
    counts[f"sites of {len(course.legs)}"] = 1
    counts[f"lives {'with' if course.tablet else 'without'} tablets"] = 1
    if not course.told:
        counts["lives whose fleet file does not say how kits are fed"] = 1
    del counts[""]
    return counts


def _trouble(course: Course, world: Mapping[str, Any], leg: Leg) -> str:
    """Return what a leg is counted as; empty: as nothing."""
    if not leg.place:
        return "" if leg.what == "city" else leg.what
    if leg.what != "parked":
        return ""
    if not course.dark(leg):
        weak = world["places"][leg.place].get("rsrp", 0) <= _WEAK_DBM and leg.lasts_s >= _NIGHT_S
        return f"nights at {_WEAK_DBM} dBm" if weak else "parkings, kit lives on"
    says = course.says_goodbye and course.contact(leg.place)
    return f"parkings {'home' if leg.place == 'home' else 'elsewhere'} {'with' if says else 'without'} goodbye"


def _lines(course: Course, line: Mapping[str, Any]) -> Counter[str]:
    at_s = seconds(line["at"])
    if "centre" in line:
        what = line["centre"]
        long = "for" in line and seconds(line["for"]) >= 10 * 3600
        return Counter({what: 1, f"{what} {line.get('by')}": "by" in line, f"{what} for 10 h and more": long})
    vehicles = list(course.legs) if line["vehicle"] == "all" else [line["vehicle"]]
    fed = [name for name in vehicles if line["fault"] in _NEEDS_NO_KIT or course.is_fed(name, at_s)]
    return Counter({line["fault"]: len(fed)})


def _convoys(course: Course) -> int:
    """Return how often three vehicles fell silent in one tunnel together."""
    begins = Counter(
        (leg.what, leg.from_s)
        for legs in course.legs.values()
        for leg in legs
        if not leg.place and not course.contact(leg.what)
    )
    return sum(number >= 3 for number in begins.values())
