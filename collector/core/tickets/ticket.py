"""A ticket as its events have made it (``fold``). Facts only."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final, Literal

import msgspec

from collector.core.problems import ProblemRef
from collector.core.tickets import events as e
from collector.core.tickets.transitions import LIVE, OPEN, State
from telemetry.faults import SLA_CLASSES, Severity, SlaClass

MOST_TIMES: Final = 8
"""Of a problem's beginning that a ticket keeps."""
NOBODY: Final = frozenset({e.RULE, e.DESK, e.UPGRADE})
"""Who acts where no person does."""
_RANK: Final[tuple[SlaClass, ...]] = ("disaster", "general", "hardware", "change", "consultation", "deferrable")
assert set(_RANK) == set(SLA_CLASSES)


class TicketProblem(msgspec.Struct, frozen=True):
    """A problem of a ticket. ``holds``: while the ticket lives, no other one may be about it."""

    role: e.Role
    holds: bool = True
    over_event_ms: int | None = None
    """When it ended, as far as that is written down; ``None`` while it lasts."""


class Waiting(msgspec.Struct, frozen=True):
    """For what a ticket waits, since when and until when (UTC ms)."""

    reason: str
    since_ms: int
    until_ms: int


class Unjudged(msgspec.Struct, frozen=True):
    """Nobody can say how a ticket's problem stands."""

    what: Literal["data_missing", "orphaned"]
    since_ms: int


class Tried(msgspec.Struct, frozen=True):
    """A call-back that reached nobody."""

    caller: e.Caller
    at_ms: int


class Linked(msgspec.Struct, frozen=True):
    """Another ticket, and what it is to this one."""

    other: str
    relation: str


class Ticket(msgspec.Struct, frozen=True, kw_only=True):
    """A ticket as its events make it. All times are UTC milliseconds, those of acts as stated."""

    site: str
    id: str
    """Can be said on the telephone: ``2026-0153``, per site and year."""
    source: e.Source
    vehicle: str = ""
    """Empty for one of the site itself."""
    device: str = ""
    fault: str = ""
    rule: str = ""
    rule_version: int = 0
    root: ProblemRef | None = None
    """The problem that it is about."""
    sla_class: SlaClass
    severity: Severity
    state: State = "new"
    round: int = 1
    """Counts up with every reopening."""
    event_ms: int
    """When it happened; down time counts from here."""
    detected_ms: int
    opened_ms: int
    notice_ms: int
    """Effective notice of this round (docs/contract.md, R10): clocks count from here."""
    over_event_ms: int | None = None
    """When its fault ended as far as is known, on the kit's clock; ``None`` while it lasts."""
    over_ms: int | None = None
    """When we knew that."""
    acknowledged_ms: int | None = None
    responded_ms: int | None = None
    """First response of this round."""
    planned_ms: int | None = None
    """First plan of this round."""
    resolved_ms: int | None = None
    closed_ms: int | None = None
    closed_by: str = ""
    """The event that closed it (``self_healed``, ``confirmed``, ...); ``given_up`` only where nobody was reached."""
    changed_ms: int
    """When its last event was written down."""
    assigned: str = ""
    touched: bool = False
    """A person has done more in this round than read and comment."""
    worked: tuple[str, ...] = ()
    """Who has worked on it in this round: none of them may make the call-back (docs/contract.md, R13)."""
    waiting: Waiting | None = None
    """Ends by itself at its time, at resolve and at a merge; see ``is_waiting``."""
    silenced_until_ms: int | None = None
    unjudged: Unjudged | None = None
    """What it rests on cannot be seen, or is gone: a person is asked."""
    times: tuple[int, ...] = ()
    """The last times at which its problem began, as far as they are written down."""
    recurring: bool = False
    """Came too often: it no longer heals by itself, and further times are only counted."""
    not_reached: tuple[Tried, ...] = ()
    """Call-backs of this round that reached nobody."""
    asked: tuple[e.Caller, ...] = ()
    """Whom call-backs of this round are done with: they have answered, or could not be reached often enough."""
    answered: bool = False
    """Somebody has answered a call-back of this round."""
    callers: tuple[e.Caller, ...] = ()
    problems: Mapping[ProblemRef, TicketProblem] = {}
    links: tuple[Linked, ...] = ()
    in_contract: bool = True
    """False for one of the first version that nobody has taken into the contract: no clocks, nobody is told."""
    merged_into: str = ""
    before_merge: State | None = None
    window_over: bool = False
    """It is closed for good: its problems are free."""
    last_event: int = 0
    """Number of its last event."""

    @property
    def is_open(self) -> bool:
        """Whether somebody owes something."""
        return self.state in OPEN

    @property
    def is_live(self) -> bool:
        """Whether its problems find it again: until it is closed and the reopen window is over."""
        return self.state in LIVE and not self.window_over

    def is_waiting(self, now_ms: int) -> bool:
        """Say whether it waits for somebody else."""
        return self.waiting is not None and self.is_open and now_ms < self.waiting.until_ms

    def is_silenced(self, now_ms: int) -> bool:
        """Say whether nobody is told of it."""
        return self.silenced_until_ms is not None and self.is_open and now_ms < self.silenced_until_ms

    @property
    def waiting_reason(self) -> str:
        """For what it waits, or last waited; empty: for nothing."""
        return "" if self.waiting is None else self.waiting.reason

    @property
    def waiting_until_ms(self) -> int | None:
        """Until when."""
        return None if self.waiting is None else self.waiting.until_ms

    def to_ask(self) -> tuple[e.Caller, ...]:
        """Return who is still to be called back in this round: each caller once; one without a name: nobody called."""
        callers = tuple(dict.fromkeys(self.callers)) or (e.Caller(""),)
        return tuple(caller for caller in callers if caller not in self.asked)

    def held(self) -> list[ProblemRef]:
        """Return the problems about which there may be no other live ticket."""
        return [ref for ref, held in self.problems.items() if held.holds] if self.is_live else []


def higher(one: SlaClass, other: SlaClass) -> bool:
    """Say whether the first class is graver than the other."""
    return _RANK.index(one) < _RANK.index(other)
