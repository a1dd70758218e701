"""Where a vehicle is, and what the radio is like there. Pure; times are UTC milliseconds, distances metres.

Every road is a closed way of its own around one town, so that all vehicles pass the same places, and roads are far
enough apart for their cells not to touch. No position jumps: before a place, and before the mouth of a road without
contact, a vehicle drives straight there at the end of the leg before; to any other road at its beginning.
"""

from __future__ import annotations

import bisect
import math
import random
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Final

import msgspec

TOWN: Final = (31.2304, 121.4737)
"""WGS 84 degrees."""
SPEED_KMH: Final = 40.0
_METRES_A_DEGREE: Final = 111_320.0
_METRES_EAST: Final = _METRES_A_DEGREE * math.cos(math.radians(TOWN[0]))
"""In a degree of longitude there."""
_STRAIGHT_MS: Final = 25.0
"""Metres a second on the way to where the next leg begins."""
_APART_M: Final = 1_000.0
"""Half of what lies between two roads at least: cells of H3 resolution 9 are some 350 m wide."""
CREEP_MS: Final = 65_000
"""So long before its end a leg has led to the next one's place or mouth: whatever the poll, the last fix is there."""
_CREEP_KMH: Final = 8.0
FADING_M: Final = 500.0
"""Over so many metres slow fading is the same."""
_FOR_EVER_MS: Final = 10_000 * 86_400_000
Point = tuple[float, float]
"""Metres east and north of the town."""


@dataclass(frozen=True, slots=True)
class Radio:
    """What the radio is like on a road or at a place."""

    rsrp: float = -88.0
    """dBm, mean of both legs."""
    noise: float = 4.0
    """dB, standard deviation of slow fading."""
    rsrq: float = -11.0
    sinr: float = 12.0
    nr: bool = True
    """There is 5G."""
    contact: bool = True
    """Messages pass."""
    fix: bool = True
    """There is a position."""
    delay: float = 42.0
    """ms to the centre."""
    loss: float = 0.0
    """%, beside one probe in sixty polls."""


@dataclass(frozen=True, slots=True)
class Road:
    """A closed way."""

    radio: Radio
    entrance: Point
    centre: Point
    length_m: float = 12_000.0

    def at(self, metres: float) -> Point:
        """Return where one is after so many metres."""
        turn = math.atan2(self.entrance[1] - self.centre[1], self.entrance[0] - self.centre[0])
        turn += 2 * math.pi * metres / self.length_m
        radius = self.length_m / (2 * math.pi)
        return self.centre[0] + radius * math.cos(turn), self.centre[1] + radius * math.sin(turn)


@dataclass(frozen=True, slots=True)
class Place:
    """Where vehicles stand."""

    radio: Radio
    point: Point
    shore_power: bool = False


@dataclass(frozen=True, slots=True)
class Leg:
    """A part of a vehicle's day: on a road, or standing at a place, with the ignition on or off."""

    lasts_ms: int
    what: str
    """The road, ``standing``, ``parked`` or ``workshop``."""
    place: str = ""
    """Where it stands; empty: where it is."""
    on_mission: bool = False


class Spot(msgspec.Struct, frozen=True):
    """Where a vehicle is at a moment, and how it stands there."""

    point: Point
    speed_kmh: float
    ignition: bool
    shore_power: bool
    radio: Radio
    fading_db: float

    @property
    def degrees(self) -> Point:
        """Latitude and longitude."""
        return degrees(self.point)


@dataclass(frozen=True, slots=True)
class Map:
    """The roads and places of a world."""

    roads: Mapping[str, Road]
    places: Mapping[str, Place]

    @classmethod
    def of(
        cls, roads: Mapping[str, tuple[Radio, float]], places: Mapping[str, tuple[Radio, bool]], same: Mapping[str, str]
    ) -> Map:
        """Lay out roads (radio, length in metres) and places (radio, shore power) so that no two share a cell.

        ``same``: places that stand in the cell of another one.
        """
        laid: dict[str, Road] = {}
        number_of, widest_m = max(len(roads), 3), max(length for _, length in roads.values()) / (2 * math.pi)
        ring_m = (widest_m + _APART_M) / math.sin(math.pi / number_of)
        for number, (name, (radio, length_m)) in enumerate(roads.items()):
            angle, radius_m = 2 * math.pi * number / number_of, length_m / (2 * math.pi)
            out_m = ring_m - radius_m
            laid[name] = Road(radio, _polar(angle, out_m), _polar(angle, ring_m), length_m)
        stand: dict[str, Place] = {}
        for number, (name, (radio, shore)) in enumerate(places.items()):
            out, between = divmod(number - 1, number_of)
            point = _polar(2 * math.pi * (between + 0.5) / number_of, ring_m + 900 * out) if number else (0.0, 0.0)
            stand[name] = Place(radio, point, shore)
        for name, other in same.items():
            stand[name] = Place(stand[name].radio, stand[other].point, stand[name].shore_power)
        return cls(laid, stand)


def fading_db(seed: int, where: str, number: int, noise: float) -> float:
    """Return the slow fading of the that 500 m of a road, or of a place: the same for every vehicle."""
    return random.Random(f"{seed}/{where}/{number}").gauss(0, noise)


def degrees(point: Point) -> Point:
    """Return latitude and longitude of a point."""
    east, north = point
    latitude = TOWN[0] + north / _METRES_A_DEGREE
    return round(latitude, 7), round(TOWN[1] + east / _METRES_EAST, 7)


def _polar(angle: float, metres: float) -> Point:
    return metres * math.cos(angle), metres * math.sin(angle)


@dataclass(frozen=True, slots=True)
class _Stretch:
    """A leg in its time: first straight from ``start`` to the road, then on it, at last straight to ``end``."""

    begins_ms: int
    ends_ms: int
    leg: Leg
    start: Point
    end: Point
    there_ms: int = 0
    leaves_ms: int = 0


class Drive:
    """One vehicle's way from ``begins_ms`` on. The last leg never ends, unless they ``repeat``."""

    def __init__(self, of: Map, legs: Sequence[Leg], begins_ms: int, seed: int, *, repeat: bool = False) -> None:
        self._map = of
        self._seed = seed
        self._cycle_ms = sum(leg.lasts_ms for leg in legs) if repeat else 0
        self._begins_ms = begins_ms
        self._stretches: list[_Stretch] = []
        at_ms, where = begins_ms, (0.0, 0.0)
        for number, leg in enumerate(legs):
            last = number == len(legs) - 1
            after = legs[(number + 1) % len(legs)] if repeat or not last else None
            ends_ms = at_ms + leg.lasts_ms + (_FOR_EVER_MS if last and not repeat else 0)
            stretch = self._stretch(at_ms, ends_ms, leg, after, where)
            self._stretches.append(stretch)
            at_ms, where = ends_ms, stretch.end
        self._starts = [one.begins_ms for one in self._stretches]
        self._faded: dict[tuple[str, int], float] = {}

    def _stretch(self, begins_ms: int, ends_ms: int, leg: Leg, after: Leg | None, where: Point) -> _Stretch:
        road = self._map.roads.get(leg.what)
        if road is None:
            point = self._map.places[leg.place].point if leg.place else where
            return _Stretch(begins_ms, ends_ms, leg, point, point)
        there_ms = min(round(1000 * math.dist(where, road.entrance) / _STRAIGHT_MS), leg.lasts_ms // 2)
        driven = road.at(SPEED_KMH / 3.6 * (leg.lasts_ms - there_ms) / 1000)
        end = self._begin_of(after)
        if end is None:
            return _Stretch(begins_ms, ends_ms, leg, where, driven, there_ms)
        straight_ms = round(1000 * math.dist(driven, end) / _STRAIGHT_MS)
        leaves_ms = min(straight_ms + CREEP_MS, leg.lasts_ms // 2)
        return _Stretch(begins_ms, ends_ms, leg, where, end, there_ms, leaves_ms)

    def _begin_of(self, leg: Leg | None) -> Point | None:
        """Return where a leg has to be begun; ``None``: anywhere."""
        if leg is None:
            return None
        road = self._map.roads.get(leg.what)
        if road is not None:
            return None if road.radio.contact else road.entrance
        return self._map.places[leg.place].point if leg.place else None

    def breaks(self, until_ms: int) -> list[int]:
        """Return when legs begin."""
        if not self._cycle_ms:
            return [time_ms for time_ms in self._starts if time_ms < until_ms]
        rounds = range(0, max(0, until_ms - self._begins_ms), self._cycle_ms)
        return [time_ms + more for more in rounds for time_ms in self._starts if time_ms + more < until_ms]

    def _find(self, time_ms: int) -> tuple[_Stretch, int]:
        if self._cycle_ms:
            time_ms = self._begins_ms + (time_ms - self._begins_ms) % self._cycle_ms
        return self._stretches[max(0, bisect.bisect_right(self._starts, time_ms) - 1)], time_ms

    def leg(self, time_ms: int) -> Leg:
        """Return the leg of a moment."""
        return self._find(time_ms)[0].leg

    def at(self, time_ms: int) -> Spot:
        """Return where the vehicle is."""
        one, time_ms = self._find(time_ms)
        leg = one.leg
        road = self._map.roads.get(leg.what)
        if road is None:
            place = self._map.places.get(leg.place)
            radio = place.radio if place else Radio()
            shore = place.shore_power if place and leg.what != "standing" else False
            return Spot(one.start, 0.0, leg.what == "standing", shore, radio, self._fading(leg.place, 0, radio.noise))
        on_ms, off_ms = one.begins_ms + one.there_ms, one.ends_ms - one.leaves_ms
        metres = SPEED_KMH / 3.6 * (min(max(time_ms, on_ms), off_ms) - on_ms) / 1000
        point, speed = road.at(metres), SPEED_KMH
        if time_ms < on_ms:
            point, speed = _straight(one.start, point, (time_ms - one.begins_ms) / 1000, one.there_ms / 1000)
        elif time_ms >= off_ms and one.leaves_ms:
            way_ms = max(one.leaves_ms - CREEP_MS, 1)
            if time_ms < off_ms + way_ms:
                point, speed = _straight(point, one.end, (time_ms - off_ms) / 1000, way_ms / 1000)
            else:
                point, speed = one.end, _CREEP_KMH
        fading = self._fading(leg.what, int(metres % road.length_m / FADING_M), road.radio.noise)
        return Spot(point, speed, True, False, road.radio, fading)

    def _fading(self, where: str, number: int, noise: float) -> float:
        """Return the slow fading of a place: the same for every vehicle of the world."""
        found = self._faded.get((where, number))
        if found is None:
            found = self._faded[where, number] = fading_db(self._seed, where, number, noise)
        return found


def _straight(begin: Point, end: Point, passed_s: float, lasts_s: float) -> tuple[Point, float]:
    """Return where one is on a straight way, and how fast (km/h)."""
    part = passed_s / lasts_s
    point = (begin[0] + part * (end[0] - begin[0]), begin[1] + part * (end[1] - begin[1]))
    return point, 3.6 * math.dist(begin, end) / lasts_s
