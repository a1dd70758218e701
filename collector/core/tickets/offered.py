"""Which acts somebody may do to a ticket as it stands, whatever they say: the table, less what its life rules out.

Pure. Acts are refused by it, and the pages show by it which forms a ticket has.
"""

from __future__ import annotations

from collections.abc import Sequence

from collector.core.contract import Contract
from collector.core.tickets.events import TicketEvent
from collector.core.tickets.promises import clocks_of
from collector.core.tickets.refused import Reason
from collector.core.tickets.ticket import NOBODY, Ticket
from collector.core.tickets.transitions import TABLE, Transition, possible

CALL_BACKS = ("confirmed", "dissatisfied", "not_reached")
"""What may come of a call-back."""


def offered(
    who: str, ticket: Ticket, events: Sequence[TicketEvent], contract: Contract, now_ms: int
) -> list[Transition]:
    """Return the rows that somebody may bring about now, in the order of the table."""
    return [
        row
        for row in TABLE.values()
        if "person" in row.by
        and possible(row.what, ticket.state)
        and hindrance(row.what, who, ticket, events, contract, now_ms) is None
    ]


def hindrance(
    what: str, who: str, ticket: Ticket, events: Sequence[TicketEvent], contract: Contract, now_ms: int
) -> Reason | None:
    """Say what keeps somebody from an act that the table allows, whatever it says; ``None``: nothing."""
    if what == "responded" and ticket.state not in ("new", "acknowledged"):
        # after the response only where a raised class asks for one again
        found = clocks_of(ticket, events, contract)
        owed = any(clock.what == "response" and clock.ended_ms is None for clock in found)
        return None if owed else "responded_already"
    if what == "goes_on" and not ticket.is_waiting(now_ms):
        return "not_waiting"
    if what == "reopened_by_hand" and ticket.window_over:
        return "window_over"
    if what == "taken_into_contract" and ticket.in_contract:
        return "not_migrated"
    if what in CALL_BACKS and who in ticket.worked:
        return "worked_on_it"
    return None


def moved_on(events: Sequence[TicketEvent], seen: int) -> bool:
    """Say whether a person, or a change of state, came after the event that somebody has seen last; words are none."""
    later = [event for event in events if event.number > seen and event.what != "commented"]
    return any(event.who not in NOBODY or TABLE[event.what].to is not None for event in later)
