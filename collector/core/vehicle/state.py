"""What judging remembers of a vehicle: small, because it is written at each commit that changed it, and plain JSON.

Every part is frozen and shared between versions of the state: whoever changes one makes a new one.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, Final, Literal, TypeVar

import msgspec

from collector.core.rules.types import Standing
from collector.core.tickets import Ticket
from telemetry.fleet import VehiclePlan
from telemetry.metrics import Value

FORMAT: Final = 1
"""Counted up when the meaning of the JSON changes; a step in ``UPGRADES`` then goes from each format to the next."""
UPGRADES: Final[dict[int, Callable[[dict[str, Any]], dict[str, Any]]]] = {}
"""Format -> function that turns the plain data of that format into that of the next."""


class StateError(ValueError):
    """A stored state that this version cannot read: of a newer format, or damaged."""


class EvidenceSample(msgspec.Struct, frozen=True, array_like=True):
    """One value as a record brought it."""

    agent: str
    run: str
    sequence: int
    time_ms: int
    device: str
    metric: str
    labels: Mapping[str, str]
    value: Value

    def plain(self) -> dict[str, Any]:
        """Return it as a ticket's evidence keeps it."""
        return {name: getattr(self, name) for name in self.__struct_fields__}


Phase = Literal["pending", "firing", "clearing"]


class Condition(msgspec.Struct, frozen=True):
    """One rule on one thing while it is not clear. Times are event times, UTC ms.

    ``since_ms`` is when it became bad, ``last_ms`` its last evidence, ``clear_ms`` when a clearing began.
    ``counted_ms`` is from when its for-duration counts: later than ``since_ms`` where its source was away in between.
    ``held``: it may not open now (another fault explains it, the vehicle is parked); its for-duration begins anew
    afterwards.
    ``ticket`` is the key of its ticket, ``first`` the values that showed it first, or what cleared it first.
    """

    rule: str
    version: int
    source: str
    device: str
    ticket: str
    phase: Phase
    since_ms: int
    counted_ms: int
    last_ms: int
    clear_ms: int | None = None
    held: bool = False
    first: tuple[EvidenceSample, ...] = ()


class Source(msgspec.Struct, frozen=True, array_like=True):
    """One input of one device on the live lane.

    ``word_ms`` is when (our clock) it last said something of the device, ``last_ms`` the event time of its last
    sample, ``from_ms`` that of the first after a gap, ``step_ms`` the time between its last two samples.
    """

    word_ms: int | None
    last_ms: int
    from_ms: int
    step_ms: int = 0


class Past(msgspec.Struct, frozen=True, array_like=True):
    """One input of one device on the backlog lane: its last event time, the step to it, when (our clock) it came."""

    last_ms: int
    step_ms: int
    touched_ms: int


class Agent(msgspec.Struct, frozen=True):
    """One agent of the vehicle.

    Our clock: ``born_ms`` is when this run was born, ``heard_ms`` its last word, ``from_ms`` the first after a gap.
    ``left`` is the reason of its goodbye, ``lost`` says that the broker lost it; both until the next birth. ``earlier``
    are (run, session) of runs before this one, for telling a clash from a restart.
    """

    run: str = ""
    session: int = 0
    machine: str = ""
    version: str = ""
    interval_ms: int = 0
    born_ms: int | None = None
    heard_ms: int | None = None
    from_ms: int | None = None
    left: str = ""
    lost: bool = False
    earlier: tuple[tuple[str, int], ...] = ()


class Fact(msgspec.Struct, frozen=True, array_like=True):
    """What the vehicle as a whole was last known to be: the value, who said so, and when (event time)."""

    value: bool
    source: str
    time_ms: int


class Proof(msgspec.Struct, frozen=True, array_like=True):
    """One input's word that devices do their work: which, and until when that counts (event time).

    What it tells of is a stream that plays or a target that answers: its own device and all that this one depends on.
    """

    devices: tuple[str, ...]
    until_ms: int


class Problem(msgspec.Struct, frozen=True, array_like=True):
    """Why an agent cannot read a device; empty text: over. Event time, when we heard of it (our clock), who said so."""

    text: str
    time_ms: int
    noted_ms: int
    run: str = ""


class Pulse(msgspec.Struct, frozen=True, array_like=True):
    """Something that happens and is over at once: event time of the first, when (our clock) we heard the last, text."""

    first_ms: int
    noted_ms: int
    text: str = ""


class Known(msgspec.Struct, frozen=True, array_like=True):
    """Who a device is, as one of its inputs says, and the event time of the newest word."""

    time_ms: int
    input: str
    identity: Mapping[str, str]

    @property
    def model(self) -> str:
        """Model, empty if it is not known."""
        return self.identity.get("model", "")

    @property
    def firmware(self) -> str:
        """Firmware version, empty if it is not known."""
        return self.identity.get("firmware", "")


class Change(msgspec.Struct, frozen=True, array_like=True):
    """A firmware version of a device that changed. ``told``: its ticket was opened."""

    device: str
    was: str
    is_now: str
    time_ms: int
    told: bool = False


class Vehicle(msgspec.Struct, frozen=True, kw_only=True):
    """The vehicle's state.

    ``tickets`` are the open ones by key. ``conditions`` belong to the live lane, ``late`` to the backlog lane, both by
    rule and thing. ``ended`` remembers (event, resolved) of resolved tickets by key for as long as late data may come.
    ``proofs`` stand under the source until it says the contrary. ``problems`` stand under agent/device/input,
    ``inventory`` and ``changes`` under the device, and under device/input for what a second input of it says.
    ``skipped`` counts samples that were not judged, by reason. ``given`` is the state that people last gave it, empty
    if they never did: the fleet file's holds.
    """

    format: int = FORMAT
    site: str
    vehicle: str
    next_ticket: int = 1
    given: Literal["", "on_duty", "on_mission", "workshop"] = ""
    agents: dict[str, Agent] = {}
    sources: dict[str, Source] = {}
    conditions: dict[str, Condition] = {}
    tickets: dict[str, Ticket] = {}
    past: dict[str, Past] = {}
    late: dict[str, Condition] = {}
    ended: dict[str, tuple[tuple[int, int], ...]] = {}
    facts: dict[str, Fact] = {}
    proofs: dict[str, Proof] = {}
    problems: dict[str, Problem] = {}
    pulses: dict[str, Pulse] = {}
    inventory: dict[str, Known] = {}
    changes: dict[str, Change] = {}
    asked: tuple[str, ...] = ()
    skipped: dict[str, int] = {}

    @classmethod
    def new(cls, site: str, vehicle: str, plan: VehiclePlan) -> Vehicle:
        """Return the state of a vehicle of which nothing was heard yet."""
        return cls(site=site, vehicle=vehicle, agents={agent: Agent() for agent in plan.agents})

    def to_json(self) -> bytes:
        """Return it for the database."""
        return _ENCODER.encode(self)

    @classmethod
    def from_json(cls, content: bytes) -> Vehicle:
        """Return a stored state, brought to this format. Raises StateError."""
        return load_state(content, _VEHICLE_DECODER, FORMAT, UPGRADES)


_ENCODER: Final = msgspec.json.Encoder()
_VEHICLE_DECODER: Final = msgspec.json.Decoder(Vehicle)


S = TypeVar("S")


def load_state(
    content: bytes,
    decoder: msgspec.json.Decoder[S],
    format: int,
    upgrades: Mapping[int, Callable[[dict[str, Any]], dict[str, Any]]],
) -> S:
    """Return a stored state as the decoder's type, upgraded step by step. Raises StateError."""
    try:
        found = msgspec.json.decode(content, type=_Stamp).format
        if found > format:
            raise StateError(f"expected a state of format {format} at most, found {found}: written by a newer version")
        if found == format:
            return decoder.decode(content)
        plain = msgspec.json.decode(content)
        while plain["format"] < format:
            step = upgrades.get(plain["format"])
            if step is None:
                raise StateError(f"expected a way from format {plain['format']} to {format}, found none")
            plain = {**step(plain), "format": plain["format"] + 1}
        return decoder.decode(msgspec.json.encode(plain))
    except msgspec.DecodeError as error:
        raise StateError(f"expected a stored state, found: {error}") from None


class _Stamp(msgspec.Struct):
    format: int


def problem_of(vehicle: Vehicle, agent: str, device: str) -> str:
    """Return why an agent cannot read a device, by any of its inputs; empty if it can."""
    return "; ".join(
        problem.text
        for name, problem in vehicle.problems.items()
        if problem.text and name.split("/")[:2] == [agent, device]
    )


def standing(vehicle: Vehicle, plan: VehiclePlan, fact_ms: int) -> Standing:
    """Return what the vehicle's state means for judging (DESIGN 5).

    What people say (``given``, or else the fleet file) before parked. Ignition off counts until its device says
    otherwise; once that device has been silent for ``fact_ms`` while others speak, nothing is known of the ignition. A
    goodbye that says so parks the vehicle until that agent is back or the ignition is known to be on.
    """
    given = vehicle.given or plan.state
    if given != "on_duty":
        return given
    ignition = vehicle.facts.get("ignition")
    if ignition is not None and _is_current(vehicle, ignition, fact_ms):
        if not ignition.value:
            return "parked"
        if _spoke_after(vehicle, ignition):
            return "on_duty"
    return "parked" if any(agent.left == "parked" for agent in vehicle.agents.values()) else "on_duty"


def _spoke_after(vehicle: Vehicle, fact: Fact) -> bool:
    """Say whether the one who tells the fact has spoken since any agent said that the vehicle is parked."""
    teller = vehicle.sources.get(fact.source)
    parked_ms = [agent.heard_ms or 0 for agent in vehicle.agents.values() if agent.left == "parked"]
    return teller is not None and teller.word_ms is not None and teller.word_ms > max(parked_ms, default=-1)


def _is_current(vehicle: Vehicle, fact: Fact, fact_ms: int) -> bool:
    teller = vehicle.sources.get(fact.source)
    heard = max((agent.heard_ms for agent in vehicle.agents.values() if agent.heard_ms is not None), default=None)
    if teller is None or teller.word_ms is None or heard is None:
        return True
    return heard - teller.word_ms <= fact_ms


def state_of(
    vehicle: Vehicle, plan: VehiclePlan, fact_ms: int
) -> Literal["on_duty", "on_mission", "parked", "workshop", "silent"]:
    """Return the vehicle's state as people see it."""
    if any(ticket.fault == "vehicle_silent" for ticket in vehicle.tickets.values()):
        return "silent"
    return standing(vehicle, plan, fact_ms)
