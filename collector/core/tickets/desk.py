"""The desk of a site: who owes what because of what has happened. ``desk(state, event, contract, now)``. Pure.

What it guarantees, whatever the events:

- it is a pure function: no clock, no chance, no I/O, and its arguments are never changed;
- a ticket is what its events make it (``fold``), and an event once written is never changed;
- what the table (``transitions``) does not name is refused, and nothing has changed;
- there is one live ticket about a problem, until that ticket is closed and its reopen window is over; none is live that
  is merged or cancelled;
- a problem that another one explains opens none; one whose ticket was cancelled opens none before it has been over;
- only a ticket that no person has touched closes by itself;
- each level of a clock is told once a round, and after an outage only the highest one that has passed;
- whoever is to call back was drawn from those who had not worked on it.

What it leaves out: who is told what, by which channel.
"""

from __future__ import annotations

from collections.abc import Iterable

import msgspec

from collector.core.contract import Contract
from collector.core.problems import ProblemChange
from collector.core.tickets import events as e
from collector.core.tickets.acts import Act, acted
from collector.core.tickets.draft import DeskEffect, DeskState, Draft
from collector.core.tickets.on_problems import free, heard, tell_end
from collector.core.tickets.ticket import Ticket
from collector.core.tickets.timers import ASKED, passed, window_ends_ms


class TimePassed(msgspec.Struct, frozen=True):
    """It is as late as ``DeskState.wake_ms`` asked for."""


DeskEvent = ProblemChange | Act | TimePassed
"""What the desk hears of: problems, people, time."""


def desk(state: DeskState, event: DeskEvent, contract: Contract, now_ms: int) -> tuple[DeskState, list[DeskEffect]]:
    """Return the desk after ``event`` and what it wants done. ``now_ms`` is the centre's clock, UTC ms.

    Raises Refused for an act that is not possible.
    """
    draft = _draft(state, contract, now_ms)
    if isinstance(event, Act):
        acted(draft, event)
    elif isinstance(event, ProblemChange):
        heard(draft, event)
    return draft.finish()


def desk_all(
    state: DeskState, changes: Iterable[ProblemChange], contract: Contract, now_ms: int
) -> tuple[DeskState, list[DeskEffect]]:
    """Return the same as ``desk`` with one change after the other: a fleet that comes back shares one working copy."""
    draft = _draft(state, contract, now_ms)
    for change in changes:
        heard(draft, change)
    return draft.finish()


def _draft(state: DeskState, contract: Contract, now_ms: int) -> Draft:
    """Return a working copy in which windows that are over are closed: no problem finds a ticket of one of them."""
    draft = Draft(state, contract, now_ms)
    if state.next_ms is None or now_ms < state.next_ms:
        return draft
    for id in sorted(id for id, wake_ms in state.wakes.items() if wake_ms <= now_ms):
        ticket = draft.tickets[id]
        window_ms = window_ends_ms(ticket, contract)
        if window_ms is None:
            _escalate(draft, tell_end(draft, ticket))
        elif window_ms <= now_ms:
            _close_window(draft, ticket)
    return draft


def _close_window(draft: Draft, ticket: Ticket) -> None:
    """Let go of a closed ticket whose reopen window is over."""
    held = ticket.held()
    ticket = draft.record(ticket, "window_over", e.DESK)
    free(draft, held, ticket)


def _escalate(draft: Draft, ticket: Ticket) -> None:
    """Tell the next level of each clock for which it is time, and ask a person what readings cannot say."""
    for due in passed(ticket, draft.events[ticket.id], draft.contract, draft.now_ms):
        body = e.Escalation(to=" ".join(due.to), why="", clock=due.clock, level=due.level, due_ms=due.due_ms)
        what = "asked" if due.clock.partition("/")[0] in ASKED else "escalated"
        ticket = draft.record(ticket, what, e.DESK, body)
