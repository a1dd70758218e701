"""What people want of a site, as rows that its owner takes: the kinds of action and their bodies. Pure."""

from __future__ import annotations

from typing import Any, Final, Literal

import msgspec

from collector.core.contract import Contract
from collector.core.tickets.acts import Act
from collector.core.tickets.refused import Refused
from collector.core.tickets.transitions import TABLE
from collector.core.vehicle.events import StateWish
from telemetry.earliest import EARLIEST_MS

EDITION_ACTION: Final = "edition"
"""The kind of action that puts an edition in force; its body is an ``EditionBody`` as JSON."""
STATE_ACTION: Final = "state"
"""The kind of action that gives a vehicle a state; its body is a ``StateBody`` as JSON."""


MISSION_ACTION: Final = "mission"
"""The kind of action by which dispatch begins or ends a mission; its body is a ``MissionBody`` as JSON."""
TICKET_ACTION: Final = "ticket"
"""The kind of action by which a person acts on a ticket; its body is a ``TicketBody`` as JSON."""
LATEST_MS: Final = 4_102_444_800_000
"""2100-01-01 UTC: no time that a person says is later."""
_MOST_TEXT: Final = 4_000


class StateBody(msgspec.Struct, frozen=True, omit_defaults=True):
    """What such an action says."""

    state: StateWish
    why: str = ""
    until_ms: int | None = None
    """Until when that is expected to last, UTC ms. People end it: nothing ends by itself at that time."""


class MissionBody(msgspec.Struct, frozen=True):
    """What such an action says."""

    mission: str
    """Dispatch's own id."""
    what: Literal["begins", "ends"]
    at_ms: int
    """When it did, as dispatch says, UTC ms."""


class EditionBody(msgspec.Struct, frozen=True):
    """What such an action says: the kind of edition, and its content (JSON as text)."""

    kind: str
    content: str


class TicketBody(msgspec.Struct, frozen=True, omit_defaults=True):
    """What such an action says. Who does it stands in the action, in which role in the contract's roster."""

    what: str
    """A row of the table that persons may bring about."""
    ticket: str = ""
    """Id; empty for ``opened``."""
    at_ms: int | None = None
    """When it happened, as stated; ``None``: when it is taken."""
    body: dict[str, Any] = {}
    """What the act says, by the names of its row's shape."""
    seen: int | None = None
    """The number of the ticket's last event that whoever acts has seen: refused where it has moved on since."""


def ticket_of(kind: str, body: str) -> str:
    """Return the id of the ticket that an action is about; empty: none, or its body is none."""
    try:
        return msgspec.json.decode(body, type=TicketBody).ticket if kind == TICKET_ACTION else ""
    except (msgspec.DecodeError, ValueError):
        return ""


def act_of(wish: TicketBody, who: str, contract: Contract) -> Act:
    """Return the act that an action wants. Raises Refused for what no act is, ValueError for a wrong field."""
    row = TABLE.get(wish.what)
    if row is None or "person" not in row.by:
        raise Refused("no_such_act", wish.what, wish.ticket)
    person = contract.roster.get(who)
    if person is None:
        raise Refused("no_such_person", wish.what, wish.ticket, found=who)
    known = row.body.__struct_fields__
    for name in wish.body:
        if name not in known:
            raise ValueError(f"{name}: expected one of {', '.join(known) or 'nothing'}")
    _check(wish.body)
    if wish.at_ms is not None:
        _check({"at_ms": wish.at_ms})
    return Act(
        what=wish.what,
        who=who,
        role=person.role,
        ticket=wish.ticket,
        at_ms=wish.at_ms,
        body=msgspec.convert(wish.body, row.body),
        seen=wish.seen,
    )


def _check(fields: dict[str, Any]) -> None:
    """Raise ValueError for a time or a text that is out of all bounds."""
    for name, value in fields.items():
        if isinstance(value, dict):
            _check(value)
        elif name.endswith("_ms") and value is not None:
            if type(value) is not int or not EARLIEST_MS <= value < LATEST_MS:
                raise ValueError(f"{name}: expected a time between 2026 and 2100, found {value!r}"[:200])
        elif isinstance(value, str):
            if len(value) > _MOST_TEXT:
                raise ValueError(f"{name}: expected at most {_MOST_TEXT} characters, found {len(value)}")
            if any((ord(letter) < 32 and letter not in "\n\t") or letter == "\x7f" for letter in value):
                raise ValueError(f"{name}: expected printable text")
