"""A fault ticket as facts; the table of its life comes with the contract's clocks."""

from __future__ import annotations

from typing import Any, Literal

import msgspec

from telemetry.faults import Severity

TicketState = Literal["open", "resolved"]
What = Literal["opened", "event_moved", "resolved", "reopened", "note"]
"""What a line of a ticket's history tells of."""


class Evidence(msgspec.Struct, frozen=True):
    """Why a ticket was opened or resolved: the rule, its version, and the very samples (FIELD_NOTES 45).

    Each of ``samples`` is ``{"agent", "run", "sequence", "time_ms", "device", "metric", "labels", "value"}``.
    """

    rule: str
    rule_version: int
    samples: tuple[dict[str, Any], ...] = ()
    text: str = ""


class Ticket(msgspec.Struct, frozen=True, kw_only=True):
    """One fault of one device. All times are UTC milliseconds.

    ``id`` is made from the vehicle's own counter, so that ``step`` needs no chance and no database. ``key`` is what at
    most one open ticket may have within a vehicle: fault, device and the labels of what broke. ``event_ms`` is when
    it happened, ``detected_ms`` when we knew; clocks run from the detection (REQUIREMENTS, clocks), down time from the
    event. A site's ticket has an empty ``vehicle``.
    """

    id: str
    site: str
    vehicle: str
    device: str
    key: str
    fault: str
    severity: Severity
    sla_class: str
    state: TicketState
    rule: str
    rule_version: int
    event_ms: int
    detected_ms: int
    opened_ms: int
    resolved_event_ms: int | None = None
    resolved_ms: int | None = None
    evidence: tuple[Evidence, ...] = ()


class HistoryEntry(msgspec.Struct, frozen=True, kw_only=True):
    """One line of a ticket's history, never changed: at ``at_ms``, ``who`` (``rule``, ``survey``, a person) did it."""

    ticket: str
    at_ms: int
    who: str
    what: What
    text: str = ""


class ClosedNote(msgspec.Struct, frozen=True, kw_only=True):
    """A fault that began and ended before we heard of it (DESIGN 2, Late data): history, no notice, no clock."""

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


class InventoryEntry(msgspec.Struct, frozen=True, kw_only=True):
    """Who a device said it is, when first seen and whenever it changed."""

    site: str
    vehicle: str
    device: str
    seen_ms: int
    identity: dict[str, str | None]


Effect = Ticket | HistoryEntry | ClosedNote | InventoryEntry
"""What ``step`` wants kept. A ``Ticket`` replaces the row of its id."""
