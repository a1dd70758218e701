"""What judging remembers of a vehicle: small, because it is written at each commit that changed it, and plain JSON.

Every part is frozen and shared between versions of the state: whoever changes one makes a new one (``draft``).
"""

from __future__ import annotations

import functools
from bisect import bisect_right
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
from collector.core.vehicle.events import RecordName
from collector.core.vehicle.upgrade import from_format_1, from_format_2
from telemetry.fleet import VehiclePlan

FORMAT: Final = 3
"""Counted up when the meaning of the JSON changes; a step in ``UPGRADES`` then goes from each format to the next."""
UPGRADES: Final[dict[int, Callable[[dict[str, Any]], dict[str, Any]]]] = {1: from_format_1, 2: from_format_2}
"""Format -> function that turns the plain data of that format into that of the next."""
_NOTHING: Final[Mapping[str, tuple[tuple[int, int], ...]]] = {}
_MOST: Final = 2**63
_TEXTS: Final = 65_536
"""Text forms of keys that are remembered; a fleet of 2,000 vehicles has about so many sources."""


class StateError(ValueError):
    """A stored state that this version cannot read: of a newer format, or damaged."""


class NewerStateError(StateError):
    """A stored state that a newer version has written: it is not damaged, and must not be thrown away."""


class Source(msgspec.Struct, frozen=True, array_like=True, gc=False):
    """One input of one device."""

    answered_ms: int | None
    """When (our clock) it last said something of the device, ``None`` for never."""
    last_ms: int
    """Event time of its last sample."""
    from_ms: int
    """Event time of the first sample after a gap."""
    step_ms: int = 0
    """Time between its last two samples."""
    alive_ms: int = 0
    """Event time of the last sample that showed its device alive; 0 for never."""


class ClockOff(msgspec.Struct, frozen=True, array_like=True):
    """That an agent's trusted clock and ours differ."""

    since_ms: int
    """Since when, without a word that says otherwise (our clock)."""
    off_ms: int
    """Ours minus the agent's: the least that was seen, for a word on its way makes it more."""
    last_ms: int
    """The last word that said so (our clock)."""


class Agent(msgspec.Struct, frozen=True, omit_defaults=True):
    """One agent of the vehicle. Times are our clock's."""

    run: str = ""
    session: int = 0
    machine: str = ""
    boot: str = ""
    """Of its box, as its last birth said."""
    version: str = ""
    interval_ms: int = 0
    """Its sending interval."""
    born_ms: int | None = None
    """When this run was born."""
    heard_ms: int | None = None
    """Its last word."""
    from_ms: int | None = None
    """Its first word after a gap."""
    silent_ms: int = 0
    """How long it had been silent, at least, when our clock was set back: its last word is dated anew then."""
    left: str = ""
    """The reason of its goodbye, until the next birth."""
    lost: bool = False
    """The broker lost it, until the next birth."""
    trusted: bool = False
    """Its clock is GNSS's or NTP's, as a live record has said since its run began, or since a gap or our own."""
    clock_off: ClockOff | None = None
    untold_ms: int | None = None
    """Since when its live words say that nobody has told it the time."""
    earlier: tuple[tuple[str, int], ...] = ()
    """(run, session) of runs before this one, for telling a clash from a restart."""


Missing = Mapping[str, Mapping[str, tuple[tuple[int, int], ...]]]
"""Agent -> run -> inclusive intervals of sequence numbers."""


class Fork(msgspec.Struct, frozen=True, omit_defaults=True):
    """The vehicle as it was at the last word before a hole in an agent's sequence (``forks``)."""

    base: str
    """That vehicle, as JSON: it does not change any more, and is small so."""
    position: int
    """The last batch of the site's log that it has seen."""
    since_ms: int
    """When it was taken (our clock)."""
    missing: Missing = {}
    """Records that are known to be and have not come."""
    silent: tuple[str, ...] = ()
    """Agents that have said nothing for a while beside another one that speaks: there may be a hole."""
    filled_ms: int | None = None
    """Since when (our clock) nothing is missing."""
    filled_first_ms: int | None = None
    """When that was so for the first time."""
    settled: bool = False
    """That was so for long enough for live to show what has ended meanwhile."""
    found: bool = False
    """There is a hole, or was: what live says meanwhile is provisional."""

    @property
    def is_filled(self) -> bool:
        """Whether all has come that was missing, or will never come, and live has spoken since."""
        return self.found and not self.missing and self.settled

    def lacks(self, name: RecordName) -> bool:
        """Say whether this record is one of those that are missing."""
        pairs = self.missing.get(name.agent, _NOTHING).get(name.run, ())
        at = bisect_right(pairs, (name.sequence, _MOST)) - 1
        return at >= 0 and name.sequence <= pairs[at][1]

    def vehicle(self) -> Vehicle:
        """Return the vehicle as it was. Raises StateError."""
        return Vehicle.from_json(self.base.encode())


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
    """0: its key says what the indicator is. Another one is of a rule, as states of before have it."""
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
    last_ms: int = 0
    """Event time of the last sample of that run, 0 while it goes on."""


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
    over_ms: int = 0
    """When (our clock) we knew of the last end."""


class Position(msgspec.Struct, frozen=True, array_like=True):
    """Where the vehicle was when one of its receivers last had a fix."""

    time_ms: int
    """Event time."""
    latitude: float
    longitude: float
    speed_kmh: float | None
    agent: str
    """Whose receiver; empty: it is where it was before its box booted, as far as anybody knows."""
    lost_ms: int = 0
    """Event time of that receiver's first word afterwards that had no fix; 0: none."""


class Part(msgspec.Struct, frozen=True, array_like=True):
    """What was observed of a leg's signal against the usual in one part of a rule's window."""

    number: int
    """Since 1970, of the kit's clock."""
    n: int = 0
    residuals: float = 0.0
    """Sum of RSRP less the usual, dB."""
    qualities_n: int = 0
    qualities: float = 0.0
    """Sum of RSRQ and SINR less the usual, dB."""
    cells: tuple[str, ...] = ()
    """Where, as the distinguishing part of the cells' names."""


class LegState(msgspec.Struct, frozen=True, array_like=True):
    """What was observed of a leg's signal against the usual."""

    parts: tuple[Part, ...] = ()
    """The last ones that had an observation, the newest last, still running."""
    low: float = 0.0
    """By how much it was weaker than the limit, summed up since that was nothing."""
    low_ms: int = 0
    """Event time of the first observation of that."""
    high: float = 0.0
    """The same of being stronger than the limit."""
    high_ms: int = 0
    of: str = ""
    """With whom it was last compared."""


class ReceptionState(msgspec.Struct, frozen=True, array_like=True):
    """What was observed of a modem's signal where the vehicle moved."""

    version: int
    """Of the rule: a new one begins anew."""
    latitude: float
    longitude: float
    """Of the last observation."""
    time_ms: int
    """Event time of that."""
    legs: Mapping[str, LegState] = {}
    lacking: int = 0
    """Samples in places of which there is not enough record."""


class Parking(msgspec.Struct, frozen=True, array_like=True):
    """That the vehicle is parked, inferred from its silence: nobody has said so."""

    since_ms: int
    """The kit's last word (our clock)."""
    why: Literal["still", "place"]
    """It stood still at its last word, or it was where silences of this site have ended with a boot."""


class Feeding(msgspec.Struct, frozen=True, array_like=True):
    """What was learnt of how the kit is fed."""

    always_ms: int | None = None
    """When (our clock) it was last heard for 10 min after the ignition went off, without a gap."""
    boots: int = 0
    """Silences since then that ended with a boot."""


class Silence(msgspec.Struct, frozen=True, array_like=True):
    """A silence of the vehicle that was told, where it was last heard before it. Our clock's times."""

    cell: str
    """Empty: nobody knows."""
    from_ms: int
    """Its last word before."""
    to_ms: int = 0
    """Its first word afterwards; where that may have come in a pause of ours, the site's last before; where its box had
    booted, the last reading of before. 0: there was none yet."""
    unrecorded: bool = False
    """The record of places does not learn it: a pause of ours was in it, or only what came late told where it was."""


class Restart(msgspec.Struct, frozen=True, array_like=True):
    """A start of an agent whose box has booted and whose run before did not end as it should."""

    run: str
    """The new one."""
    noted_ms: int
    """When (our clock) we heard of it."""
    started_ms: int
    """Event time of the start, 0 while only its birth is known."""
    last_ms: int
    """Event time of the last word before."""
    position: Position | None
    """Where the vehicle was then, and how fast."""
    found: Position | None = None
    """Where it was first found after the start."""


class Expectation(msgspec.Struct, frozen=True, omit_defaults=True):
    """What may be expected of the vehicle (``collector.core.vehicle.expectation``)."""

    duty: Duty | Literal[""] = ""
    """As it was last noted; empty: not yet."""
    left: Mapping[Duty, tuple[int, int]] = {}
    """When a duty was last left: our clock, the kit's clock."""
    listed: Mapping[str, int] = {}
    """When (our clock) the fleet file first named a device or an agent; empty: the vehicle. What was always there does
    not stand here."""
    parking: Parking | None = None
    feeding: Feeding = Feeding()
    parkings: tuple[tuple[str, int], ...] = ()
    """(cell, our clock): where the last silences were that ended with a boot, the newest last."""
    silences: tuple[Silence, ...] = ()
    """The last ones that nothing of the kit explains, the newest last."""
    unheard: bool = False
    """It fell silent while we did not listen, and has said nothing since."""
    restarts: Mapping[str, Restart] = {}
    """By agent, those that are not judged yet: the old run is not whole."""


GivenDuty = Literal["", "on_duty", "on_mission", "workshop"]


class Vehicle(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """The vehicle's state."""

    format: int
    site: str
    vehicle: str
    given: GivenDuty = ""
    """The duty that people last gave it, empty if they never did: the fleet file's holds."""
    given_before: tuple[tuple[int, GivenDuty], ...] = ()
    """Until when (UTC ms) another one held, where word of its end has waited for us: records from before go by it."""
    missions: tuple[str, ...] = ()
    """Missions that dispatch has begun and not ended, the last one last."""
    missions_over: tuple[str, ...] = ()
    """The last ones that it ended: word of their beginning may come afterwards."""
    agents: Mapping[str, Agent] = {}
    sources: Mapping[SourceKey, Source] = {}
    rule_states: Mapping[RuleStateKey, RuleState] = {}
    """Rules that are not clear."""
    problems: Mapping[ProblemKey, Problem] = {}
    """Those that are not over."""
    windows: Mapping[OperandKey, Window] = {}
    """Of indicators that go by more than the last sample."""
    readings: Mapping[OperandKey, Reading] = {}
    """The last words of indicators that rules look at from other devices."""
    clear_until: Mapping[SourceKey, int] = {}
    """Until when (event time) a source's clear samples need not be looked at: no window is open, no word expires."""
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
    arrived: Mapping[SourceKey, int] = {}
    """When (our clock) a live sample last came that said something and was not judged, by source."""
    reception: Mapping[ProblemKey, ReceptionState] = {}
    """Signal against the usual, by the problem that it can make."""
    position: Position | None = None
    expectation: Expectation = Expectation()
    fork: Fork | None = None
    """There where records are missing, or may be."""

    @property
    def has_hole(self) -> bool:
        """Whether records are missing: silence and beginnings that live sees meanwhile may be none."""
        return self.fork is not None and self.fork.found

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
    "reception": ProblemKey.parse,
    "windows": OperandKey.parse,
    "readings": OperandKey.parse,
    "clear_until": SourceKey.parse,
    "ended": ProblemKey.parse,
    "proofs": SourceKey.parse,
    "troubles": TroubleKey.parse,
    "occurrences": OccurrenceKey.parse,
    "inventory": InventoryKey.parse,
    "changes": InventoryKey.parse,
    "arrived": SourceKey.parse,
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
