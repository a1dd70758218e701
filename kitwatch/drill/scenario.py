"""A drill's scenario: what stands in its file, and what becomes of it for one seed and combination (docs/drills.md).

Reading is strict: an unknown key, a road that is not there or a fault that no kit can have is one clear error.
"""

from __future__ import annotations

import datetime
import importlib.resources
import itertools
import random
import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final, Literal, NamedTuple

import msgspec

from simulator.life.agent import Centre, Outage
from simulator.life.body import Wiring
from simulator.life.faults import FAULTS, Befallen
from simulator.life.kit import router_address
from simulator.life.lives import Lives, Vehicle
from simulator.life.world import Leg, Map, Radio
from telemetry.durations import Span
from telemetry.durations import milliseconds as _plain_ms
from telemetry.files import FileError, convert, load, parse_yaml
from telemetry.metrics import nearest

SITE: Final = "north"
CENTRE_VEHICLE: Final = "centre"
"""What the platform's modules stand under."""
SHIPPED: Final = "scenarios"
YesNo = Literal["yes", "no"]
Tablet = Literal["no", "yes", "shared"]
Power = Literal["always", "delayed", "ignition"]
Switch = Literal["none", "unmanaged", "managed"]
Moment = str | float
_PARTS: Final = re.compile(r"(?:\d+(?:\.\d+)?(?:ms|s|m|h|d))+")
_PART: Final = re.compile(r"\d+(?:\.\d+)?(?:ms|s|m|h|d)")
_LEG: Final = re.compile(r"(\S+)(?: ((?:\d+(?:\.\d+)?(?:ms|s|m|h|d))+))?(?: at (\S+))?( on mission)?")
_FOR_EVER_MS: Final = 400 * 86_400_000


class _Shape(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    pass


class Vary(_Shape, frozen=True, kw_only=True):
    """The matrix."""

    poll: tuple[Span, ...] = ("10s", "60s")
    vehicles: tuple[int, ...] = (2, 12)
    tablet: tuple[Tablet, ...] = ("no", "yes")


class RoadShape(_Shape, frozen=True, kw_only=True):
    """What the radio is like on a road."""

    rsrp: float = -88
    noise: float = 4
    rsrq: float = -11
    sinr: float = 12
    nr: YesNo = "yes"
    contact: YesNo = "yes"
    fix: YesNo = "yes"
    delay: float = 42
    loss: float = 0
    length: float = 12
    """km"""

    def radio(self) -> Radio:
        """Return it as the simulator has it."""
        return Radio(
            self.rsrp, self.noise, self.rsrq, self.sinr, self.nr == "yes", self.contact == "yes", self.fix == "yes",
            self.delay, self.loss,
        )  # fmt: skip


class PlaceShape(RoadShape, frozen=True, kw_only=True):
    """The same of a place."""

    shore_power: YesNo | None = None
    same_cell_as: str = ""


class VehicleShape(_Shape, frozen=True, kw_only=True):
    """One vehicle; what is not said is the world's."""

    drives: tuple[str, ...] = ("city",)
    repeat: YesNo = "no"
    kit_power: Power | None = None
    told: YesNo | None = None
    goodbye: YesNo | None = None
    cameras_on: Literal["always", "ignition"] | None = None
    switch: Switch | None = None
    clock: Literal["gnss", "ntp", "centre", "none"] | None = None
    off_after: Span | None = None


class WorldShape(_Shape, frozen=True, kw_only=True):
    """Who is there."""

    kit_power: Power = "always"
    off_after: Span = "10m"
    told: YesNo = "yes"
    goodbye: YesNo | None = None
    cameras_on: Literal["always", "ignition"] = "always"
    circuit: Mapping[str, Literal["always"]] = {}
    switch: Switch = "unmanaged"
    sending_interval: Span = "0s"
    polls: Literal["usual", "alike"] = "usual"
    clock: Literal["gnss", "ntp", "centre", "none"] = "gnss"
    centre_synchronised: YesNo = "yes"
    roads: Mapping[str, RoadShape] = {}
    places: Mapping[str, PlaceShape] = {}
    record: Any = None
    platform: tuple[str, ...] = ()
    vehicles: Mapping[str, VehicleShape] = {}
    fleet: Mapping[str, Mapping[str, Any]] = {}
    further: Mapping[str, Mapping[str, str]] = {}
    """By vehicle: devices that the fleet file names and nobody reads, and their kinds."""


class Line(_Shape, frozen=True, kw_only=True):
    """What happens."""

    at: Span
    lasts: Span | None = msgspec.field(default=None, name="for")
    every: Span | None = None
    times: int | None = None
    until: Span | None = None
    only: Mapping[str, Any] = msgspec.field(default_factory=dict, name="if")
    vehicle: str | tuple[str, ...] = ()
    device: str = ""
    agent: str = ""
    fault: str = ""
    strength: float | None = None
    noise: float = 0.0
    slope: float = 0.0
    form: str = ""
    other: str = ""
    centre: str = ""
    by: str = ""
    rule: str = ""
    column: str = ""
    person: str = ""
    of: str = ""


class ExpectedTicket(_Shape, frozen=True, kw_only=True):
    """One ticket that must come."""

    fault: str
    at: str
    sla_class: str | tuple[str, ...] = msgspec.field(name="class")
    event: Moment | tuple[Moment, Moment]
    over: Moment | tuple[Moment, Moment]
    notifications: int | tuple[int, int]
    labels: Mapping[str, str] | None = None
    class_at_opening: str | tuple[str, ...] = ""
    of: int | None = None
    opened_within: Span = "5m"
    opened_after: Span = "0s"
    readable: Moment | None = None
    opened_as: str = ""
    renamed_within: Span = "3m"
    state: str = ""
    times: int | tuple[int, int] = 1
    recurring: Literal["yes", "no", "any"] = "no"
    marks: tuple[str, ...] = ()
    symptoms: tuple[str, ...] | None = None
    history_rows: int = 20
    forecast: Moment | tuple[Moment, Moment] | None = None
    only: Mapping[str, Any] = msgspec.field(default_factory=dict, name="if")


class ExpectedNote(_Shape, frozen=True, kw_only=True):
    """One closed note that must come."""

    fault: str
    at: str
    event: Moment | tuple[Moment, Moment] = "any"
    over: Moment | tuple[Moment, Moment] = "any"
    of: int | None = None
    only: Mapping[str, Any] = msgspec.field(default_factory=dict, name="if")


class Expect(_Shape, frozen=True, kw_only=True):
    """What must come, and nothing else."""

    tickets: tuple[ExpectedTicket, ...] = ()
    notes: tuple[ExpectedNote, ...] = ()


class Scenario(_Shape, frozen=True, kw_only=True):
    """The whole file."""

    about: str
    because: str
    lasts: Span
    starts: datetime.datetime = datetime.datetime.fromisoformat("2026-03-02T08:00:00+08:00")
    seeds: int = 5
    jitter: Span = "60s"
    vary: Vary = Vary()
    world: WorldShape = WorldShape()
    happens: tuple[Line, ...] = ()
    expect: Expect = Expect()


class Combination(NamedTuple):
    """One of the matrix, and the seed."""

    poll_s: int = 10
    vehicles: int = 2
    tablet: str = "no"
    seed: int = 1

    @property
    def words(self) -> str:
        """It in words, without the seed."""
        return f"{self.poll_s} s, {self.vehicles} vehicles, tablet {self.tablet}"

    def holds(self, only: Mapping[str, Any]) -> bool:
        """Say whether a line is there."""
        mine = {"poll": f"{self.poll_s}s", "vehicles": self.vehicles, "tablet": self.tablet}
        return all(mine[key] in (value if isinstance(value, list | tuple) else [value]) for key, value in only.items())


@dataclass(frozen=True, slots=True)
class Happening:
    """A line in its time, with its number in the file (from 1); times are UTC milliseconds."""

    number: int
    line: Line
    begins_ms: int
    ends_ms: int | None


@dataclass(frozen=True, slots=True)
class Drill:
    """A scenario as it is lived once."""

    name: str
    scenario: Scenario
    combination: Combination
    begins_ms: int
    until_ms: int
    shifts: tuple[int, ...]
    """By line of ``happens``: how much later it begins than the file says."""
    lives: Lives
    happenings: tuple[Happening, ...]
    """Of the centre and of people."""


def shipped() -> list[str]:
    """Return the names of the scenarios that kitwatch ships."""
    found = importlib.resources.files("kitwatch.drill").joinpath(SHIPPED)
    return sorted(one.name.removesuffix(".yaml") for one in found.iterdir() if one.name.endswith(".yaml"))


def load_scenario(name_or_path: str) -> Scenario:
    """Return a scenario by its name or its file, checked. Raises FileError."""
    path = Path(name_or_path)
    if path.suffix in {".yaml", ".yml"}:
        return _checked(load(path, Scenario), path)
    file = importlib.resources.files("kitwatch.drill").joinpath(SHIPPED, f"{name_or_path}.yaml")
    if not file.is_file():
        raise FileError(
            name_or_path, "", f"expected a .yaml file or a shipped scenario{nearest(name_or_path, shipped())}"
        )
    return _checked(convert(parse_yaml(file.read_text("utf-8"), file.name), Scenario, file.name), file.name)


def combinations(scenario: Scenario, seeds: int | None = None) -> Iterator[Combination]:
    """Yield the matrix of a scenario, each for all seeds."""
    vary = scenario.vary
    for poll, vehicles, tablet in itertools.product(vary.poll, vary.vehicles, vary.tablet):
        for seed in range(1, (seeds or scenario.seeds) + 1):
            yield Combination(milliseconds(poll) // 1000, vehicles, tablet, seed)


def _checked(scenario: Scenario, path: str | Path) -> Scenario:
    """Raise FileError for what no drill can do."""
    roads = {"city", *scenario.world.roads}
    for number, line in enumerate(scenario.happens, 1):
        key = f"happens[{number}]"
        begins = [name for name in ("vehicle", "centre", "person") if getattr(line, name)]
        if not line.fault and not line.centre and not line.person:
            raise FileError(path, key, f"expected a fault, centre or person, found {begins or 'none of them'}")
        if line.fault:
            kind = FAULTS.get(line.fault)
            if kind is None:
                raise FileError(
                    path,
                    f"{key}.fault",
                    f"expected a fault that can be simulated, found {line.fault!r}{nearest(line.fault, FAULTS)}",
                )
            if line.device and kind.devices and line.device not in kind.devices:
                raise FileError(
                    path,
                    f"{key}.device",
                    f"expected one of {', '.join(kind.devices)} for {line.fault}, found {line.device!r}",
                )
            if line.form and kind.forms and line.form not in kind.forms:
                raise FileError(path, f"{key}.form", f"expected one of {', '.join(kind.forms)}, found {line.form!r}")
        elif line.centre and line.centre not in CENTRE:
            raise FileError(path, f"{key}.centre", f"expected one of {', '.join(CENTRE)}, found {line.centre!r}")
        elif line.person and line.person not in PEOPLE:
            raise FileError(path, f"{key}.person", f"expected one of {', '.join(PEOPLE)}, found {line.person!r}")
    for name, vehicle in scenario.world.vehicles.items():
        for number, leg in enumerate(vehicle.drives, 1):
            match = _LEG.fullmatch(leg)
            key = f"world.vehicles.{name}.drives[{number}]"
            if match is None:
                raise FileError(path, key, f"expected WHAT DURATION [at PLACE] [on mission], found {leg!r}")
            if match[1] not in roads | {"standing", "parked", "workshop"}:
                raise FileError(
                    path, key, f"expected a road of the world, standing, parked or workshop, found {match[1]!r}"
                )
            if match[3] and match[3] not in {"home", "hospital", *scenario.world.places}:
                raise FileError(path, key, f"expected a place of the world, found {match[3]!r}")
    for number, ticket in enumerate(scenario.expect.tickets, 1):
        if ticket.of is not None and not 1 <= ticket.of <= len(scenario.happens):
            raise FileError(path, f"expect.tickets[{number}].of", f"expected the number of a line, found {ticket.of}")
    return scenario


CENTRE: Final = (
    "clock_off", "collector_away", "broker_away", "influxdb_away", "influxdb_refuses", "disk_full", "quarantine",
    "sink_behind", "broker_drops", "certificate_expiring", "channel_fails", "receiver_fails", "over_quota",
    "calendar_missing", "remove", "reload",
)  # fmt: skip
PEOPLE: Final = ("acknowledge", "respond", "plan", "resolve", "cancel", "workshop", "on_duty")


def drill_of(name: str, scenario: Scenario, combination: Combination) -> Drill:
    """Return a scenario as it is lived with this seed in this combination."""
    chance = random.Random(f"{name}/{combination}")
    begins_ms = round(scenario.starts.timestamp() * 1000)
    until_ms = begins_ms + milliseconds(scenario.lasts)
    jitter_ms = milliseconds(scenario.jitter)
    shifts = tuple(chance.randrange(jitter_ms + 1) if jitter_ms else 0 for _ in scenario.happens)
    named = dict(scenario.world.vehicles)
    for number in itertools.count(1):
        if len(named) >= combination.vehicles:
            break
        named.setdefault(f"a{number:02d}", VehicleShape())
    befallen: dict[str, list[Befallen]] = {vehicle: [] for vehicle in named}
    happenings = []
    for number, (line, shift) in enumerate(zip(scenario.happens, shifts, strict=True), 1):
        if not combination.holds(line.only):
            continue
        for begin_ms, end_ms in _times(line, begins_ms + shift, until_ms):
            if line.column:
                vehicle, device, metric = line.column.split("/")
                gone = Befallen("column_removed", device, 0.0, begin_ms, end_ms, form=metric)
                befallen.setdefault(vehicle, []).append(gone)
                continue
            if not line.fault:
                happenings.append(Happening(number, line, begin_ms, end_ms))
                continue
            whom = [line.vehicle] if isinstance(line.vehicle, str) else list(line.vehicle)
            for vehicle in named if whom == ["all"] else whom:
                befallen.setdefault(vehicle, []).append(_befallen(line, begin_ms, end_ms))
    world = scenario.world
    vehicles = tuple(
        _vehicle(vehicle, shape, world, combination, befallen[vehicle]) for vehicle, shape in named.items()
    )
    if world.platform:
        standing = (Leg(_FOR_EVER_MS, "standing", "home"),)
        of_centre = tuple(befallen.get(CENTRE_VEHICLE, ()))
        vehicles += (Vehicle(CENTRE_VEHICLE, standing, befallen=of_centre, modules=world.platform),)
    lives = Lives(
        SITE,
        _map(world),
        vehicles,
        begins_ms,
        until_ms,
        combination.seed,
        combination.poll_s,
        world.polls == "alike",
        milliseconds(world.sending_interval),
        _centre(happenings, until_ms),
    )
    return Drill(name, scenario, combination, begins_ms, until_ms, shifts, lives, tuple(happenings))


def _times(line: Line, zero_ms: int, until_ms: int) -> Iterator[tuple[int, int | None]]:
    """Yield when a line begins and ends."""
    at_ms = zero_ms + milliseconds(line.at)
    lasts_ms = None if line.lasts is None else milliseconds(line.lasts)
    if line.every is None:
        yield at_ms, None if lasts_ms is None else at_ms + lasts_ms
        return
    step_ms = milliseconds(line.every)
    last_ms = min(until_ms, zero_ms + milliseconds(line.until)) if line.until is not None else until_ms
    for number in range(line.times if line.times is not None else 1_000_000):
        begins = at_ms + number * step_ms
        if begins >= last_ms:
            return
        yield begins, None if lasts_ms is None else begins + lasts_ms


def _befallen(line: Line, begins_ms: int, ends_ms: int | None) -> Befallen:
    kind = FAULTS[line.fault]
    strength = kind.strength if line.strength is None else line.strength
    form = line.form
    if line.fault == "foreign_network":
        form = router_address(line.other)
    device = line.device or (kind.devices[0] if kind.devices else "")
    return Befallen(
        line.fault, device, strength, begins_ms, ends_ms, line.agent, line.noise,
        line.slope, form,
    )  # fmt: skip


def _vehicle(
    name: str, shape: VehicleShape, world: WorldShape, combination: Combination, befallen: Sequence[Befallen]
) -> Vehicle:
    power = shape.kit_power or world.kit_power
    says = shape.goodbye or world.goodbye or ("no" if power == "ignition" else "yes")
    fleet: dict[str, Any] = dict(world.fleet.get(name, {}))
    clock = shape.clock or world.clock
    return Vehicle(
        name,
        tuple(_leg(leg) for leg in shape.drives),
        shape.repeat == "yes",
        Wiring(
            power,
            milliseconds(shape.off_after if shape.off_after is not None else world.off_after),
            says == "yes",
            shape.cameras_on or world.cameras_on,
            shape.switch or world.switch,
        ),
        combination.tablet,
        shape.switch or world.switch,
        "rtc" if clock == "none" else clock,
        tuple(befallen),
        fleet,
    )


def _leg(text: str) -> Leg:
    match = _LEG.fullmatch(text)
    assert match is not None
    lasts_ms = milliseconds(match[2]) if match[2] else _FOR_EVER_MS
    place = match[3] or ("home" if match[1] == "parked" else "")
    return Leg(lasts_ms, match[1], place, bool(match[4]))


def _map(world: WorldShape) -> Map:
    roads = {"city": RoadShape(), **world.roads}
    places = {"home": PlaceShape(), "hospital": PlaceShape(), **world.places}
    return Map.of(
        {name: (road.radio(), 1000 * road.length) for name, road in roads.items()},
        {
            name: (place.radio(), (place.shore_power or ("yes" if name == "home" else "no")) == "yes")
            for name, place in places.items()
        },
        {name: place.same_cell_as for name, place in places.items() if place.same_cell_as},
    )


def _centre(happenings: Sequence[Happening], until_ms: int) -> Centre:
    def outages(what: str) -> tuple[Outage, ...]:
        return tuple(
            Outage(one.begins_ms, until_ms + 1 if one.ends_ms is None else one.ends_ms)
            for one in happenings
            if one.line.centre == what
        )

    steps = [
        (one.begins_ms, until_ms + 1 if one.ends_ms is None else one.ends_ms, signed_ms(one.line.by))
        for one in happenings
        if one.line.centre == "clock_off"
    ]

    def offset_ms(time_ms: int) -> int:
        return sum(by for begins, ends, by in steps if begins <= time_ms < ends)

    return Centre(outages("broker_away"), outages("collector_away"), offset_ms)


def milliseconds(span: Span) -> int:
    """Return a duration that may have several parts (``2h30m``), in milliseconds. Raises ValueError."""
    if isinstance(span, str) and _PARTS.fullmatch(span):
        return sum(_plain_ms(part) for part in _PART.findall(span))
    return _plain_ms(span)


def signed_ms(text: str) -> int:
    """Return a duration that may be negative, in milliseconds."""
    return -milliseconds(text[1:]) if text.startswith("-") else milliseconds(text)
