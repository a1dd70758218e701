"""For whom a notification is, and when each of them may be told (docs/notifications.md). Pure."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final, Literal

import msgspec

from collector.core.contract import Contract
from collector.core.roster import ROLES, Roster, Way, quiet_until_ms
from collector.core.tickets import events as e
from collector.core.tickets.events import TicketEvent
from telemetry.faults import SlaClass

Kind = Literal[
    "opened", "reopened", "escalated", "asked", "assigned", "call_back", "renamed", "resolved", "cancelled", "merged",
    "unmerged",
]  # fmt: skip
"""What people are told of a ticket."""
_KINDS: Final[dict[str, Kind]] = {
    "opened": "opened",
    "reopened": "reopened",
    "dissatisfied": "reopened",
    "reopened_by_hand": "reopened",
    "escalated": "escalated",
    "asked": "asked",
    "assigned": "assigned",
    "call_back_drawn": "call_back",
    "taken_over": "renamed",
    "self_healed": "resolved",
    "resolved": "resolved",
    "cancelled": "cancelled",
    "merged": "merged",
    "unmerged": "unmerged",
}
"""By the event of a ticket."""
_TO_WHO_KNOWS: Final = ("renamed", "resolved", "cancelled", "merged", "unmerged")
"""Kinds of which only those are told who were told of the ticket."""
_BEGINS: Final = ("opened", "reopened", "reopened_by_hand", "dissatisfied", "migrated", "taken_into_contract")
"""Events with which a round begins."""
Note = Literal["", "nobody_on_duty", "not_reachable"]


class Recipients(msgspec.Struct, frozen=True):
    """For whom a notification is."""

    people: tuple[str, ...]
    """Ids of the roster, each once."""
    roles: frozenset[str] = frozenset()
    """To people of which roles it goes, whether or not they can be told."""
    note: Note = ""
    """What the text has to say of it: it goes to others than it should."""


def kind_of(event: TicketEvent) -> Kind | None:
    """Return what people are told of an event, ``None``: nothing."""
    return _KINDS.get(event.what)


def recipients_of(
    event: TicketEvent, earlier: Sequence[TicketEvent], contract: Contract, known: frozenset[str]
) -> Recipients:
    """Return for whom the notification of an event is.

    ``earlier``: what happened to the ticket before, oldest first; ``known``: the names of the channels that there are.
    Who did it is told nothing.
    """
    if kind_of(event) in _TO_WHO_KNOWS:
        told = [_of(one, contract, known) for one in _round(earlier) if kind_of(one) not in (None, *_TO_WHO_KNOWS)]
        people = {person for one in told for person in one.people}
        found = Recipients(tuple(sorted(people)), frozenset().union(*(one.roles for one in told)))
    else:
        found = _of(event, contract, known)
    return Recipients(tuple(id for id in found.people if id != event.who), found.roles, found.note)


def wait_ms(contract: Contract, person: str, sla_class: SlaClass, at_ms: int, *, group: bool = True) -> int:
    """Return how long a notification of ``at_ms`` for a person has to wait. ``group``: for others like it too."""
    if sla_class == "disaster":
        return 0
    may_go_ms = at_ms + (contract.telling.group_wait_ms if group else 0)
    return quiet_until_ms(contract.roster.get(person), contract.time_zone, may_go_ms) - at_ms


def ways_of(contract: Contract, person: str, known: frozenset[str]) -> tuple[Way, ...]:
    """Return the channels by which a person is reached, the preferred one first."""
    return Roster(contract.roster, known, contract.time_zone, 0).ways(person)


def others_for(contract: Contract, person: str, known: frozenset[str], at_ms: int) -> tuple[str, ...]:
    """Return who is turned to, one after the other, where a person cannot be reached."""
    roster = Roster(contract.roster, known, contract.time_zone, at_ms)
    return tuple(dict.fromkeys(roster.instead_of(person)))


def _round(events: Sequence[TicketEvent]) -> Sequence[TicketEvent]:
    """Return the events of the present round."""
    begins = [number for number, event in enumerate(events) if event.what in _BEGINS]
    return events[begins[-1] :] if begins else events


def _of(event: TicketEvent, contract: Contract, known: frozenset[str]) -> Recipients:
    roster = Roster(contract.roster, known, contract.time_zone, event.recorded_ms)
    named = _named(event)
    note: Note = ""
    people: list[str] = []
    for who in named:
        found = _on_duty(roster, who)
        if not found and who in ROLES and (found := _present(roster, roster.with_role(who))):
            note = "nobody_on_duty"
        people += found
    if not people and roster.ids:
        note = "nobody_on_duty" if any(who in ROLES for who in named) else "not_reachable"
        for ids in (roster.with_role("engineer"), roster.with_role("manager"), roster.ids):
            people = people or _present(roster, ids)
    roles = {who if who in ROLES else contract.roster[who].role for who in named if who in {*ROLES, *contract.roster}}
    return Recipients(tuple(dict.fromkeys(people)), frozenset(roles), note)


def _named(event: TicketEvent) -> tuple[str, ...]:
    """Return the roles and people that an event names."""
    body = event.body
    if isinstance(body, e.Escalation):
        return tuple(body.to.split())
    if isinstance(body, e.Assignment | e.Draw):
        return (body.to,)
    return ("engineer",)


def _on_duty(roster: Roster, who: str) -> list[str]:
    """Return the people of a role who are on duty, or one person; stand-ins for those who are absent."""
    return _present(roster, roster.on_duty(who) if who in ROLES else [who])


def _present(roster: Roster, ids: Sequence[str]) -> list[str]:
    return [present for id in ids if (present := roster.present(id)) is not None]
