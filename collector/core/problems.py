"""A problem: what is true of the kit, as ``step`` and ``survey`` see it (docs/architecture.md, Judging). Facts only.

Nobody's work stands in a problem. It may flap, go stale, be explained by another. What people owe because of it is a
ticket, which the desk keeps; a ``ProblemChange`` is all that the desk hears of a problem.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Literal, NamedTuple

import msgspec

from collector.core.identities import ProblemKey
from telemetry.faults import Severity, SlaClass

Duty = Literal["on_duty", "on_mission", "parked", "workshop"]
"""What a vehicle is doing, as far as judging goes (docs/architecture.md, Judging)."""

ProblemState = Literal["active", "stale", "over", "orphaned"]
"""``stale``: its data are missing; ``orphaned``: its vehicle, device, rule or column is gone, a person is asked."""

ProblemNews = Literal[
    "began",
    "again",
    "moved",
    "caused",
    "over",
    "stale",
    "orphaned",
    "adopted",
    "noted",
    "raised",
    "explains",
    "waited",
    "back",
]
"""What happened to a problem.

``began``: it is active for the first time, or for the first time since it was over and forgotten. ``again``: it was
over and is active anew (``times`` has grown). ``moved``: late data have shown that it began earlier. ``caused``: its
``cause`` has changed. ``adopted``: a new version of its rule goes on with it. ``noted``: a word for the record.
``raised``: it weighs more now (``sla_class``). ``explains``: late data have shown that it was what another problem, a
silence, is about (``ProblemChange.of``); it may be over. ``waited``: it has waited for what it may be a symptom of
(``waits_until_ms``), and is none. ``back``: its data are there again (after ``stale``).
"""


class ProblemRef(NamedTuple):
    """A problem within its site; ``vehicle`` is empty for one of the site itself."""

    vehicle: str
    key: ProblemKey


class Forecast(msgspec.Struct, frozen=True):
    """What will come, and when, if it goes on like this: what a preventive ticket is about."""

    what: str
    """A metric, or a part of the centre."""
    reaches: float
    """The value that it will reach."""
    unit: str
    at_ms: int
    """When (UTC ms)."""
    device: str = ""
    labels: Mapping[str, str] = {}


class Evidence(msgspec.Struct, frozen=True):
    """What a problem rests on: the rule, its version, and the very samples (docs/field-notes.md 45)."""

    rule: str
    rule_version: int
    samples: tuple[Mapping[str, Any], ...] = ()
    """Each ``{"agent", "run", "sequence", "time_ms", "device", "metric", "labels", "value", "shows"}``; ``shows``: of
    which it is the first, the worst, the last bad or a good one."""
    text: str = ""
    """The same in words, or what stands for samples where there are none (silence)."""
    kit: tuple[Mapping[str, Any], ...] = ()
    """How each device of the vehicle was then: ``{"agent", "device", "says", "time_ms"}``; ``says``: ``answers``,
    ``gone`` or ``unheard``; ``time_ms``: its last sign of life. Of what is beyond a bound, ``{"more"}``: how many."""
    forecast: Forecast | None = None
    """Of a preventive problem; ``None``: it is there already."""


class Problem(msgspec.Struct, frozen=True, kw_only=True):
    """One fault of one thing. All times are UTC milliseconds."""

    site: str
    vehicle: str
    """Empty for a problem of the site itself."""
    key: ProblemKey
    rule: str
    rule_version: int
    state: ProblemState
    event_ms: int
    """When it began, on the kit's clock."""
    detected_ms: int
    """When we knew, on the centre's clock."""
    over_event_ms: int | None = None
    """When it ended, on the kit's clock: of the last bad sample's end. Set while ``state`` is ``over``."""
    over_ms: int | None = None
    """When we knew that it had ended."""
    times: int = 1
    """How often it has begun since the problem was first there."""
    flapping: bool = False
    cause: ProblemRef | None = None
    """The problem that explains this one: a symptom opens no ticket."""
    verb: Literal["", "blocks", "degrades"] = ""
    """How that explains it; empty: it is the same fault told twice, or nothing does."""
    waits_until_ms: int | None = None
    """It is shown, and opens no ticket before this or before all that it needs has shown life since it began."""
    duty: Duty = "on_duty"
    """The vehicle's duty when it last began: decides the class of a ticket."""
    sla_class: SlaClass | None = None
    """What its rule says; ``None``: the class of the fault in the catalogue."""
    severity: Severity | None = None
    """What its rule says; ``None``: as the class has it."""
    sees_end: bool = True
    """Whether its end can be seen in readings; one that cannot (``firmware_changed``) ends by acknowledgement."""
    evidence: tuple[Evidence, ...] = ()
    """Bounded: what opened it, the last word, what ended it."""

    @property
    def ref(self) -> ProblemRef:
        """What names it within its site."""
        return ProblemRef(self.vehicle, self.key)


class ProblemChange(msgspec.Struct, frozen=True):
    """What ``step`` and ``survey`` tell the desk, in order: the problem as it is now and what has happened to it."""

    problem: Problem
    news: ProblemNews
    text: str = ""
    """In plain words, for the ticket's history."""
    of: ProblemRef | None = None
    """With ``explains``: the problem that it explains."""
    since_ms: int = 0
    """With ``explains``: when that one began: a later one of its key is another matter."""


class ClosedNote(msgspec.Struct, frozen=True, kw_only=True):
    """A fault that began and ended before we heard of it (Late data): for the record, no ticket."""

    site: str
    vehicle: str
    device: str
    key: str
    fault: str
    rule: str
    rule_version: int
    began_ms: int
    ended_ms: int
    noted_ms: int
