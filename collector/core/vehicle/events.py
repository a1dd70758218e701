"""What can happen to a vehicle: the events that ``step`` takes (docs/architecture.md). Facts only."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any, Literal

import msgspec

from collector.core.identities import ProblemKey
from telemetry.message import Lane
from telemetry.metrics import Value
from telemetry.records import EventKind

if TYPE_CHECKING:
    from collector.core.rules.schemas import CompiledSchema


class RecordName(msgspec.Struct, frozen=True, gc=False):
    """The one name of a record within its vehicle. No tuple: making one costs five times as much, and each has one."""

    agent: str
    run: str
    sequence: int


class Observed(msgspec.Struct, frozen=True, gc=False):
    """A sample. ``time_ms`` is UTC, placed by the clock that the batch names; ``values`` follow its columns."""

    name: RecordName
    lane: Lane
    time_ms: int
    compiled: CompiledSchema
    values: Sequence[Value | None]


class Happened(msgspec.Struct, frozen=True):
    """An event of the agent: its start, who a device is, what cannot be read, what was lost."""

    name: RecordName
    lane: Lane
    time_ms: int
    kind: EventKind
    device: str
    body: Mapping[str, Any]


class Born(msgspec.Struct, frozen=True, array_like=True, tag="born"):
    """An agent is there: a birth message. ``interval_s`` is its sending interval."""

    agent: str
    run: str
    session: int
    machine: str
    interval_s: float
    version: str = ""
    boot: str = ""
    """Of its box: another one than before says that it has started anew."""
    missing: tuple[tuple[str, tuple[tuple[int, int], ...]], ...] = ()
    """(run, intervals) of the records that it holds and that have not come: of no others will any come."""


class Left(msgspec.Struct, frozen=True, array_like=True, tag="left"):
    """A planned goodbye. Counts only with the run and session of the last birth."""

    agent: str
    run: str
    session: int
    reason: str


class Died(msgspec.Struct, frozen=True, array_like=True, tag="died"):
    """The broker's word that a connection was lost. Counts only with the run and session of the last birth."""

    agent: str
    run: str
    session: int


class ClockRead(msgspec.Struct, frozen=True):
    """How far a live word of an agent shows its clock from ours, where that is news: ours minus the agent's."""

    agent: str
    trusted: bool
    """By GNSS or NTP, and not by our own time."""
    off_ms: int
    told: bool = True
    """Somebody has told it the time: GNSS, NTP, or we."""


class Missed(msgspec.Struct, frozen=True, array_like=True, tag="missed"):
    """Records of a run are known to be, because later ones came, and have not come: a hole."""

    agent: str
    run: str
    pairs: tuple[tuple[int, int], ...]


class Gone(msgspec.Struct, frozen=True, array_like=True, tag="gone"):
    """Nobody waits for these records any more."""

    agent: str
    run: str
    pairs: tuple[tuple[int, int], ...]


class Quiet(msgspec.Struct, frozen=True, array_like=True, tag="quiet"):
    """An agent has said nothing for a while beside another one that speaks."""

    agent: str


class Rejoined(msgspec.Struct, frozen=True, array_like=True, tag="rejoined"):
    """The fork of the vehicle was stepped to the present, and became its state.

    ``rounds`` are the batches of the log up to which records were put in order together; the last ones up to here.
    ``given_up``: that could not be done, and what live says stands.
    """

    rounds: tuple[int, ...] = ()
    given_up: bool = False


class OverQuota(msgspec.Struct, frozen=True, array_like=True, tag="over_quota"):
    """Something that speaks for the vehicle wants more than one vehicle may cost the centre: it was refused."""

    quota: str
    text: str
    """The quota in words, for the ticket."""


class TimePassed(msgspec.Struct, frozen=True):
    """It is as late as the vehicle asked for: what silence and time alone can change is judged."""


StateWish = Literal["on_duty", "on_mission", "workshop"]
"""The duties that people give a vehicle; ``on_duty``: none of the others, parked or not is up to what it tells."""


class Acted(msgspec.Struct, frozen=True, array_like=True, tag="acted"):
    """A person, or dispatch, has said what state the vehicle is in."""

    state: StateWish
    who: str
    mission: str = ""
    """Dispatch's own id of the mission that begins (``on_mission``) or is over (``on_duty``); empty: people's word."""
    at_ms: int = 0
    """When that was (UTC ms), where it has waited for us: what the kit tells of before goes by what held then."""


class Acknowledged(msgspec.Struct, frozen=True, array_like=True, tag="acknowledged"):
    """A person has seen a problem whose end no reading can show (``Problem.sees_end``): it is over."""

    problem: ProblemKey
    who: str


class Unlisted(msgspec.Struct, frozen=True, array_like=True, tag="unlisted"):
    """The fleet file named this device of the vehicle, or all of it, and does no more."""

    device: str = ""
    """Empty: the vehicle."""


class Listed(msgspec.Struct, frozen=True, array_like=True, tag="listed"):
    """The fleet file names this device or agent of the vehicle, or all of it, and did not before."""

    name: str = ""
    """Empty: the vehicle."""


Told = Observed | Happened
"""What records tell."""
Event = Told | Born | Left | Died | OverQuota | TimePassed | Acted | Acknowledged | Unlisted | Listed | ClockRead
OfSequence = Missed | Gone | Quiet
"""What the order of an agent's records tells (``forks``)."""


class Listening(msgspec.Struct, frozen=True):
    """Since when we hear: silence counts only over this.

    ``since_ms`` is ``None`` while we do not listen; ``reconnect_ms`` is how long agents are given to come back after
    listening began (3 minutes by default). All on the collector's clock, UTC ms.
    """

    since_ms: int | None
    reconnect_ms: int = 180_000
