"""What judging remembers of a vehicle: small, because it is written at each commit that changed it, and plain JSON.

Every part is frozen and shared between versions of the state: whoever changes one makes a new one (``draft``).
"""

from __future__ import annotations

import functools
from collections.abc import Callable, Mapping
from typing import Any, Final, Literal, TypeVar

import msgspec

from collector.core.identities import (
    Identity,
    IdentityError,
    InventoryKey,
    OccurrenceKey,
    OperandKey,
    ProblemKey,
    RuleStateKey,
    SourceKey,
    TroubleKey,
)
from collector.core.problems import Duty, Problem
from collector.core.rules.reducers import Window
from collector.core.rules.rule_state import RuleState
from collector.core.vehicle.upgrade import from_format_1
from telemetry.fleet import VehiclePlan

FORMAT: Final = 2
"""Counted up when the meaning of the JSON changes; a step in ``UPGRADES`` then goes from each format to the next."""
UPGRADES: Final[dict[int, Callable[[dict[str, Any]], dict[str, Any]]]] = {1: from_format_1}
"""Format -> function that turns the plain data of that format into that of the next."""
_TEXTS: Final = 65_536
"""Text forms of keys that are remembered; a fleet of 2,000 vehicles has about so many sources."""


class StateError(ValueError):
    """A stored state that this version cannot read: of a newer format, or damaged."""


class NewerStateError(StateError):
    """A stored state that a newer version has written: it is not damaged, and must not be thrown away."""


class Source(msgspec.Struct, frozen=True, array_like=True):
    """One input of one device as live records tell of it."""

    answered_ms: int | None
    """When (our clock) it last said something of the device, ``None`` for never."""
    last_ms: int
    """Event time of its last sample."""
    from_ms: int
    """Event time of the first sample after a gap."""
    step_ms: int = 0
    """Time between its last two samples."""


class Past(msgspec.Struct, frozen=True, array_like=True):
    """One input of one device as the backlog tells of it."""

    last_ms: int
    """Event time of its last sample."""
    step_ms: int
    """Time between its last two samples."""
    touched_ms: int
    """When (our clock) the last one came."""


class Agent(msgspec.Struct, frozen=True, omit_defaults=True):
    """One agent of the vehicle. Times are our clock's."""

    run: str = ""
    session: int = 0
    machine: str = ""
    version: str = ""
    interval_ms: int = 0
    """Its sending interval."""
    born_ms: int | None = None
    """When this run was born."""
    heard_ms: int | None = None
    """Its last word."""
    from_ms: int | None = None
    """Its first word after a gap."""
    left: str = ""
    """The reason of its goodbye, until the next birth."""
    lost: bool = False
    """The broker lost it, until the next birth."""
    earlier: tuple[tuple[str, int], ...] = ()
    """(run, session) of runs before this one, for telling a clash from a restart."""


class Fact(msgspec.Struct, frozen=True, array_like=True):
    """What the vehicle as a whole was last known to be: the value, who said so, and when (event time)."""

    value: bool
    source: SourceKey
    time_ms: int


class Proof(msgspec.Struct, frozen=True, array_like=True):
    """One input's word that devices do their work: which, and until when that counts (event time).

    What it tells of is a stream that plays or a target that answers: its own device and all that this one depends on.
    """

    devices: tuple[str, ...]
    until_ms: int


class Reading(msgspec.Struct, frozen=True, array_like=True):
    """What one source last told of an indicator."""

    version: int
    """Of the rule."""
    verdict: int
    until_ms: int
    """Until when it counts (event time)."""


class InputTrouble(msgspec.Struct, frozen=True, array_like=True):
    """Why an agent cannot read a device: the wire's event ``problem``."""

    text: str
    """Empty: over."""
    time_ms: int
    """Event time."""
    noted_ms: int
    """When (our clock) we heard of it."""
    run: str = ""
    """The run that said so."""


class Occurrence(msgspec.Struct, frozen=True, array_like=True):
    """Something that happens to an agent and is over at once."""

    first_ms: int
    """Event time of the first."""
    noted_ms: int
    """When (our clock) we heard of the last."""
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


class InventoryEntry(msgspec.Struct, frozen=True, kw_only=True):
    """Who a device said it is, when first seen and whenever it changed."""

    site: str
    vehicle: str
    device: str
    seen_ms: int
    identity: dict[str, str | None]


class Change(msgspec.Struct, frozen=True, array_like=True):
    """A firmware version of a device that changed."""

    device: str
    was: str
    is_now: str
    time_ms: int
    told: bool = False
    """Its problem has begun."""


MOST_MISSIONS: Final = 50
"""Of one vehicle that are remembered as begun, and as over."""


class Ended(msgspec.Struct, frozen=True, array_like=True):
    """What is remembered of a problem that is over, for as long as late data may come."""

    times: int
    """How often it has begun."""
    spans: tuple[tuple[int, int], ...]
    """(begin, end), event time, of the last ones."""


class Vehicle(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """The vehicle's state."""

    format: int
    site: str
    vehicle: str
    given: Literal["", "on_duty", "on_mission", "workshop"] = ""
    """The duty that people last gave it, empty if they never did: the fleet file's holds."""
    missions: tuple[str, ...] = ()
    """Missions that dispatch has begun and not ended, the last one last."""
    missions_over: tuple[str, ...] = ()
    """The last ones that it ended: word of their beginning may come afterwards."""
    agents: Mapping[str, Agent] = {}
    sources: Mapping[SourceKey, Source] = {}
    rule_states: Mapping[RuleStateKey, RuleState] = {}
    """Rules that are not clear, as live records tell."""
    problems: Mapping[ProblemKey, Problem] = {}
    """Those that are not over."""
    windows: Mapping[OperandKey, Window] = {}
    """Of indicators that go by more than the last sample."""
    readings: Mapping[OperandKey, Reading] = {}
    """The last words of indicators that rules look at from other devices."""
    past: Mapping[SourceKey, Past] = {}
    late: Mapping[RuleStateKey, RuleState] = {}
    """Rules that are not clear, as the backlog tells."""
    ended: Mapping[ProblemKey, Ended] = {}
    facts: Mapping[str, Fact] = {}
    proofs: Mapping[SourceKey, Proof] = {}
    """By the source that gave it, until that says the contrary."""
    troubles: Mapping[TroubleKey, InputTrouble] = {}
    occurrences: Mapping[OccurrenceKey, Occurrence] = {}
    inventory: Mapping[InventoryKey, Known] = {}
    """The first input's word under the device alone, what a second one says under both."""
    changes: Mapping[InventoryKey, Change] = {}
    skipped: Mapping[str, int] = {}
    """Samples that were not judged, by reason."""

    @classmethod
    def new(cls, site: str, vehicle: str, plan: VehiclePlan) -> Vehicle:
        """Return the state of a vehicle of which nothing was heard yet."""
        return cls(format=FORMAT, site=site, vehicle=vehicle, agents={agent: Agent() for agent in plan.agents})

    def to_json(self) -> bytes:
        """Return it for the database; keys in their text form."""
        return encode_state(self)

    @classmethod
    def from_json(cls, content: bytes) -> Vehicle:
        """Return a stored state, brought to this format. Raises StateError."""
        return load_state(content, cls, FORMAT, UPGRADES, _KEYS)


Keys = Mapping[str, Callable[[str], Identity]]
"""Of a state's parts: how the text of a key is read. Parts that do not stand here have plain names as keys."""
_KEYS: Final[Keys] = {
    "sources": SourceKey.parse,
    "rule_states": RuleStateKey.parse,
    "problems": ProblemKey.parse,
    "windows": OperandKey.parse,
    "readings": OperandKey.parse,
    "past": SourceKey.parse,
    "late": RuleStateKey.parse,
    "ended": ProblemKey.parse,
    "proofs": SourceKey.parse,
    "troubles": TroubleKey.parse,
    "occurrences": OccurrenceKey.parse,
    "inventory": InventoryKey.parse,
    "changes": InventoryKey.parse,
}


@functools.lru_cache(_TEXTS)
def _text(key: Identity) -> str:
    return key.text()


encode_state: Final = msgspec.json.Encoder(enc_hook=_text).encode
S = TypeVar("S", bound=msgspec.Struct)


def load_state(
    content: bytes,
    kind: type[S],
    format: int,
    upgrades: Mapping[int, Callable[[dict[str, Any]], dict[str, Any]]],
    keys: Keys,
) -> S:
    """Return a stored state as ``kind``, upgraded step by step, its keys read. Raises StateError."""
    try:
        plain = msgspec.json.decode(content, type=dict[str, Any])
        found = plain.get("format")
        if not isinstance(found, int):
            raise StateError(f"expected a state with its format, found {found!r}")
        if found > format:
            raise NewerStateError(
                f"expected a state of format {format} at most, found {found}: written by a newer version"
            )
        for number in range(found, format):
            if number not in upgrades:
                raise StateError(f"expected a way from format {number} to {format}, found none")
            plain = {**upgrades[number](plain), "format": number + 1}
        for part, parse in keys.items():
            if part in plain:
                plain[part] = {parse(key): value for key, value in plain[part].items()}
        return msgspec.convert(plain, kind)
    except (msgspec.DecodeError, msgspec.ValidationError, IdentityError, AttributeError, KeyError, TypeError) as error:
        raise StateError(f"expected a stored state, found: {error}") from None


def trouble_of(vehicle: Vehicle, agent: str, device: str) -> str:
    """Return why an agent cannot read a device, by any of its inputs; empty if it can."""
    return "; ".join(
        trouble.text for key, trouble in vehicle.troubles.items() if trouble.text and key[:2] == (agent, device)
    )


def duty_of(vehicle: Vehicle, plan: VehiclePlan, fact_ms: int) -> Duty:
    """Return what the vehicle is doing as far as judging goes; ``duty`` says how that is found."""
    return duty(vehicle.given or plan.state, vehicle.facts, vehicle.agents, vehicle.sources, fact_ms)


def duty(
    given: Literal["on_duty", "on_mission", "workshop"],
    facts: Mapping[str, Fact],
    agents: Mapping[str, Agent],
    sources: Mapping[SourceKey, Source],
    fact_ms: int,
) -> Duty:
    """Return what a vehicle is doing.

    What people say (``given``, or else the fleet file) before parked. Ignition off counts until its device says
    otherwise; once that device has been silent for ``fact_ms`` while others speak, nothing is known of the ignition. A
    goodbye that says so parks the vehicle until that agent is back or the ignition is known to be on.
    """
    if given != "on_duty":
        return given
    ignition = facts.get("ignition")
    if ignition is not None:
        teller = sources.get(ignition.source)
        answered_ms = None if teller is None else teller.answered_ms
        if _is_current(answered_ms, agents, fact_ms):
            if not ignition.value:
                return "parked"
            if answered_ms is not None and answered_ms > _parked_ms(agents):
                return "on_duty"
    return "parked" if any(agent.left == "parked" for agent in agents.values()) else "on_duty"


def _parked_ms(agents: Mapping[str, Agent]) -> int:
    """Return when any agent last said that the vehicle is parked."""
    return max((agent.heard_ms or 0 for agent in agents.values() if agent.left == "parked"), default=-1)


def _is_current(answered_ms: int | None, agents: Mapping[str, Agent], fact_ms: int) -> bool:
    heard_ms = max((agent.heard_ms for agent in agents.values() if agent.heard_ms is not None), default=None)
    return answered_ms is None or heard_ms is None or heard_ms - answered_ms <= fact_ms


def state_of(vehicle: Vehicle, plan: VehiclePlan, fact_ms: int) -> Duty | Literal["silent"]:
    """Return the vehicle's state as people see it."""
    if any(key.fault == "vehicle_silent" for key in vehicle.problems):
        return "silent"
    return duty_of(vehicle, plan, fact_ms)
