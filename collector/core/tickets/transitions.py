"""The life of a ticket as a table: what may happen in which state, and what that makes of it (docs/tickets.md). Pure.

This is the one place for it: ``ticket`` and ``desk`` know no state by name that they could look up here, the documents
print the table, and a test walks every pair of state and event. What is not named is refused. A new state is a line of
``State``, its place in ``OPEN``, the rows that lead to it, and its name in each of ``texts/``.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final, Literal, get_args

import msgspec

from collector.core.tickets import events as e

State = Literal["new", "acknowledged", "responded", "planned", "resolved", "closed", "merged", "cancelled"]
STATES: Final[tuple[State, ...]] = get_args(State)
OPEN: Final[tuple[State, ...]] = ("new", "acknowledged", "responded", "planned")
"""Somebody owes something."""
LIVE: Final[tuple[State, ...]] = (*OPEN, "resolved", "closed")
"""Its problems find it again; ``closed``: until the reopen window is over."""

Party = Literal["person", "rule", "desk", "upgrade"]
"""Who makes it happen: a person, a problem's change, the desk itself (time, another ticket), a database migration."""
Before = Literal["before_merge"]


class Transition(msgspec.Struct, frozen=True, kw_only=True):
    """One row of the table."""

    what: str
    """Name of the event."""
    by: tuple[Party, ...]
    states: tuple[State, ...]
    """In which states it may happen; none: it begins a ticket."""
    to: State | Before | None = None
    """The state afterwards; ``None``: it stays as it is."""
    body: type[e.Body] = e.Remark
    """What the event says."""
    touches: bool = False
    """After it the ticket is somebody's: it neither heals by itself nor is taken over."""
    responds: bool = False
    """It is the contract's response, if there was none in this round."""
    next_round: bool = False
    """The ticket begins anew: nobody has responded, planned or worked on it in this round."""
    each_caller: bool = False
    """It ends the ticket only once each caller of it was asked (docs/contract.md, R13)."""


_PERSON: Final[tuple[Party, ...]] = ("person",)
_RULE: Final[tuple[Party, ...]] = ("rule",)
_DESK: Final[tuple[Party, ...]] = ("desk",)
_UPGRADE: Final[tuple[Party, ...]] = ("upgrade",)

_ROWS: Final = (
    Transition(what="opened", by=("rule", "person"), states=(), to="new", body=e.Opening),
    Transition(what="migrated", by=_UPGRADE, states=(), to="new", body=e.Migration),
    Transition(what="closed_by_upgrade", by=_UPGRADE, states=("new",), to="closed"),
    Transition(what="taken_into_contract", by=_PERSON, states=OPEN, touches=True),
    # work that leaves the state as it is
    Transition(what="assigned", by=_PERSON, states=LIVE, body=e.Assignment, touches=True),
    Transition(what="commented", by=_PERSON, states=LIVE),
    Transition(what="noted", by=("rule", "desk", "upgrade"), states=STATES),
    Transition(what="linked", by=("person", "desk"), states=LIVE, body=e.Link, touches=True),
    Transition(what="call_attached", by=_PERSON, states=LIVE, body=e.Call, touches=True),
    Transition(what="problem_attached", by=("person", "rule"), states=LIVE, body=e.Attachment, touches=True),
    # towards the solution
    Transition(what="acknowledged", by=_PERSON, states=("new",), to="acknowledged", touches=True),
    Transition(
        what="responded", by=_PERSON, states=OPEN, to="responded", body=e.Response, touches=True, responds=True,
    ),
    Transition(what="planned", by=_PERSON, states=OPEN, to="planned", touches=True, responds=True),
    Transition(
        what="resolved", by=_PERSON, states=OPEN, to="resolved", body=e.Resolution, touches=True, responds=True
    ),
    # marks
    Transition(what="waits", by=_PERSON, states=OPEN, body=e.Wait, touches=True),
    Transition(what="goes_on", by=_PERSON, states=OPEN, touches=True),
    Transition(what="escalated", by=("person", "desk"), states=(*OPEN, "resolved"), body=e.Escalation, touches=True),
    Transition(what="spare_noted", by=_PERSON, states=OPEN, body=e.SpareWord, touches=True),
    Transition(what="silenced", by=_PERSON, states=OPEN, body=e.Silence, touches=True),
    Transition(what="class_changed", by=("person", "rule"), states=OPEN, body=e.ClassChange, touches=True),
    # what its problems do
    Transition(what="problem_over", by=_RULE, states=OPEN, body=e.ProblemWord),
    Transition(what="self_healed", by=_RULE, states=("new",), to="closed"),
    Transition(what="problem_again", by=_RULE, states=OPEN, body=e.ProblemWord),
    Transition(
        what="reopened", by=_RULE, states=("resolved", "closed"), to="new", body=e.Reopening, next_round=True
    ),
    Transition(
        what="reopened_by_hand", by=_PERSON, states=("resolved", "closed"), to="new", touches=True, next_round=True
    ),
    Transition(what="recurring", by=_DESK, states=OPEN),
    Transition(what="event_moved", by=_RULE, states=LIVE, body=e.ProblemWord),
    Transition(what="data_missing", by=_RULE, states=OPEN, body=e.ProblemWord),
    Transition(what="data_back", by=_RULE, states=OPEN, body=e.ProblemWord),
    Transition(what="orphaned", by=_RULE, states=OPEN, body=e.ProblemWord),
    Transition(what="taken_over", by=_RULE, states=LIVE, body=e.TakeOver),
    Transition(what="asked", by=_DESK, states=OPEN, body=e.Escalation),
    # after the solution
    Transition(what="call_back_drawn", by=_DESK, states=("resolved",), body=e.Draw),
    Transition(
        what="confirmed", by=_PERSON, states=("resolved",), to="closed", body=e.Satisfaction, each_caller=True
    ),
    Transition(
        what="dissatisfied", by=_PERSON, states=("resolved",), to="new", body=e.CallBack, touches=True, next_round=True
    ),
    Transition(what="not_reached", by=_PERSON, states=("resolved",), body=e.CallBack),
    Transition(what="given_up", by=_DESK, states=("resolved",), to="closed", body=e.CallBack, each_caller=True),
    Transition(what="no_call_back", by=_DESK, states=("resolved",), to="closed"),
    Transition(what="window_over", by=_DESK, states=("closed",)),
    # other ways out
    Transition(what="merged", by=_PERSON, states=OPEN, to="merged", body=e.MergeInto, touches=True),
    Transition(what="got_merged", by=_DESK, states=OPEN, body=e.Merged, touches=True),
    Transition(what="unmerged", by=_PERSON, states=("merged",), to="before_merge", touches=True),
    Transition(what="gave_back", by=_DESK, states=OPEN, body=e.Merged, touches=True),
    Transition(what="cancelled", by=_PERSON, states=OPEN, to="cancelled", body=e.Cancellation, touches=True),
    Transition(what="corrected", by=_PERSON, states=STATES, body=e.Correction),
)  # fmt: skip
TABLE: Final[Mapping[str, Transition]] = {row.what: row for row in _ROWS}


def possible(what: str, state: State) -> bool:
    """Say whether an event may happen in this state."""
    return state in TABLE[what].states
