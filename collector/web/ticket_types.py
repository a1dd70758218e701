"""What the API answers about tickets, as types (``answer_types.py``)."""

from __future__ import annotations

from typing import Any, TypedDict

from collector.core.clocks import Status as ClockStatus
from collector.core.tickets.events import Role as ProblemRole
from collector.core.tickets.events import Source
from collector.core.tickets.transitions import State
from collector.web.answer_types import Lines, SparePart, Time, Words
from telemetry.faults import Severity, SlaClass


class TicketRow(TypedDict):
    """A ticket as lists show it."""

    id: str
    """Its number, which counts per site and year."""
    site: str
    vehicle: str
    """Empty: it is about the site itself."""
    device: str
    """Empty: it is about the whole vehicle."""
    fault: str
    """Of the catalogue; empty where a person has not named one."""
    fault_name: Words
    first: Words
    """What to do first."""
    severity: Severity
    sla_class: SlaClass
    state: State
    state_name: Words
    open: bool
    """Whether somebody owes something."""
    round: int
    """Counts up each time it is reopened."""
    recurring: bool
    """It came back so often that it no longer closes by itself."""
    in_contract: bool
    assigned: str
    """The person to whom it is assigned, empty for nobody."""
    event_at: Time | None
    """When it happened, on the kit's clock."""
    detected_at: Time | None
    """When that was known here."""
    opened_at: Time | None
    notice_at: Time | None
    """When notice came: clocks count from here."""
    over_event_at: Time | None
    """Since when readings are good."""
    resolved_at: Time | None
    closed_at: Time | None
    closed_by: str
    """How it was closed, empty while it is not."""
    changed_at: Time | None
    waiting_for: str
    """What it waits for, empty if it does not."""
    waiting_until: Time | None
    silenced_until: Time | None
    merged_into: str


class Caller(TypedDict):
    """Who called about it."""

    name: str
    phone: str


class Clock(TypedDict):
    """One of a ticket's clocks (docs/contract.md)."""

    clock: str
    """What it counts: response, resolution, ..."""
    sla_class: SlaClass
    start_at: Time | None
    due_at: Time | None
    """`null`: the calendar of that year is not loaded."""
    ended_at: Time | None
    missing_year: int | None
    """The year whose calendar is missing."""
    status: ClockStatus
    told: Lines
    """How it was counted."""


class Hardware(TypedDict):
    """Whether the contract's clause on hardware (R8) applies."""

    r8: bool
    lacks: list[str]
    """What is missing for it to apply."""
    warranty_until: str | None
    spare: str | None
    """What was last said of a spare part."""
    spares: list[SparePart]


class CallBack(TypedDict):
    """Who is to call back whom."""

    to: str
    """The person who was drawn, empty for nobody yet."""
    among: list[str]
    seed: str
    """What was drawn with: the same gives the same person."""
    callers: list[Caller]
    """Those who are still to be asked."""
    not_reached_at: list[Time | None]


class TicketProblem(TypedDict):
    """A problem that a ticket deals with."""

    vehicle: str
    key: str
    role: ProblemRole


class TicketLink(TypedDict):
    """Another ticket that has to do with it."""

    ticket: str
    relation: str


class Evidence(TypedDict):
    """What a ticket rests on."""

    rule: str
    rule_version: int
    samples: list[dict[str, Any]]
    """Single readings, each with its time, device, metric, labels, value, and what it `shows`."""
    text: str
    kit: list[dict[str, Any]]
    """How each device of the vehicle was then."""
    forecast: dict[str, Any] | None
    """Of a preventive ticket: what will be reached when."""
    words: Lines


class TicketEvent(TypedDict):
    """Something that happened to a ticket."""

    number: int
    at: Time | None
    """When it happened, as stated."""
    corrected_at: Time | None
    """When it happened, as somebody has corrected it."""
    recorded_at: Time | None
    who: str
    what: str
    """A row of the table of docs/tickets.md."""
    what_name: Words
    text: str
    who_name: Words
    words: Words
    """What it says, in a sentence."""
    says: dict[str, Any]
    """The same by names; those of times end in `_at`."""


class Ticket(TicketRow):
    """A ticket with all that happened to it."""

    source: Source
    key: str
    """Of the problem that it is about."""
    rule: str
    rule_version: int
    text: str
    """What was said when it was opened."""
    callers: list[Caller]
    readings_good_since: Time | None
    standing: Lines
    """How it stands, in sentences."""
    hardware: Hardware | None
    call_back: CallBack | None
    """`null`: it is not resolved."""
    clocks: list[Clock]
    """Empty where no contract is in force."""
    problems: list[TicketProblem]
    links: list[TicketLink]
    evidence: list[Evidence]
    history: list[TicketEvent]


class Tickets(TypedDict):
    """A page of tickets."""

    tickets: list[TicketRow]
    next: str | None
    """The next page's `after`; `null`: this was the last."""
    revision: str
    """Where `since` goes on: all changes up to here are in it."""
