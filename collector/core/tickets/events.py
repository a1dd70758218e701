"""What can happen to a ticket: events as they are written down, and what each of them says. Facts only.

An event is named by ``what``, a row of the table in ``transitions``; the row says which of the shapes below its body
has. Events are never changed: a mistake is corrected by a further event (``Correction``).
"""

from __future__ import annotations

import datetime
from typing import Final, Literal

import msgspec

from collector.core.clocks import Facts, Spare
from collector.core.problems import Evidence, ProblemRef
from telemetry.faults import Severity, SlaClass

UPGRADE: Final = "upgrade"
RULE: Final = "rule"
DESK: Final = "desk"
"""Who did it where no person did: a migration of the database, a problem's change, the desk itself (time)."""

Source = Literal["rule", "call", "fax", "form"]
"""How effective notice came (docs/contract.md, R10)."""
Role = Literal["root", "symptom", "attached"]
"""What a problem is to a ticket: what it is about; explained by that; brought to it by a person or by a merge."""


class Body(msgspec.Struct, frozen=True, omit_defaults=True):
    """What an event says beside who and when."""


class Remark(Body, frozen=True):
    """Nothing but words, if any."""

    text: str = ""


NO_WORDS: Final = Remark()
"""Where an event says nothing more."""


class Caller(msgspec.Struct, frozen=True):
    """Who called; each of them is called back (docs/contract.md, R13)."""

    name: str
    phone: str = ""


class Opening(Body, frozen=True, kw_only=True):
    """What a ticket begins with. Times are UTC milliseconds."""

    source: Source
    fault: str
    """Id in the catalogue; empty where a person has not named one."""
    sla_class: SlaClass
    severity: Severity
    vehicle: str = ""
    device: str = ""
    event_ms: int
    """When it happened, as far as known: down time counts from here."""
    detected_ms: int
    """When we knew."""
    problem: ProblemRef | None = None
    """The problem it is about; a call names none."""
    rule: str = ""
    rule_version: int = 0
    caller: Caller | None = None
    spare: Spare | None = None
    """Where the spare part is, as far as it is known when the ticket is opened."""
    text: str = ""
    evidence: tuple[Evidence, ...] = ()


class Migration(Opening, frozen=True, kw_only=True):
    """A ticket of the first version. It has no clocks until a person takes it into the contract."""

    opened_ms: int
    over_event_ms: int | None = None
    """When its fault ended, and when that was known, if it has."""
    over_ms: int | None = None


class Assignment(Body, frozen=True):
    """Who is to deal with it (a roster id)."""

    to: str


class Link(Body, frozen=True):
    """Another ticket of this site that has to do with this one."""

    other: str
    relation: Literal["related", "cause", "continues"] = "related"


class Attachment(Body, frozen=True):
    """A problem that belongs to this ticket too."""

    problem: ProblemRef
    role: Role = "attached"
    text: str = ""
    verb: Literal["", "blocks", "degrades"] = ""
    """Of a symptom: how the ticket's problem explains it."""


class Call(Body, frozen=True):
    """Somebody who called about the same matter."""

    caller: Caller
    text: str = ""


class Response(Body, frozen=True):
    """The response that the contract asks for: by remote support, or on site."""

    how: Literal["remote", "on_site"]
    text: str = ""


class Wait(Body, frozen=True):
    """The ticket waits for somebody else; the contract file says for what one may wait, and what that stops."""

    reason: str
    evidence: str
    until_ms: int


class Escalation(Body, frozen=True):
    """The next level is told at once."""

    to: str = ""
    """Roles and roster ids, a blank between; where a person names nobody, the next level of the ticket's clocks."""
    why: str = ""
    clock: str = ""
    """Which clock's level it is, in which class; empty where a person named somebody else."""
    level: int = 0
    """Which of the clock's levels, counted from 1."""
    due_ms: int | None = None
    """When that clock is or was due."""


class SpareWord(Body, frozen=True):
    """Where the spare part is: class ``hardware`` counts with one at hand (docs/contract.md, R8)."""

    spare: Spare
    text: str = ""


class Silence(Body, frozen=True):
    """Nobody is told until then."""

    until_ms: int
    why: str


class ProblemWord(Body, frozen=True):
    """What became of one of the ticket's problems. ``event_ms``: when, on the kit's clock."""

    problem: ProblemRef
    event_ms: int
    text: str = ""
    evidence: tuple[Evidence, ...] = ()


class Reopening(ProblemWord, frozen=True, kw_only=True):
    """The same problem again: the next round begins with this class."""

    sla_class: SlaClass
    severity: Severity


class Resolution(Body, frozen=True):
    """What a person did about it."""

    done: str
    test: str = ""
    """How it was tested on site (docs/contract.md, R3)."""
    spare: str = ""
    """The spare part that was used."""
    spare_warranty_until: datetime.date | None = None
    """The last day of that part's own warranty."""
    why_unrecovered: str = ""
    """Why it counts as resolved although the readings have not recovered."""


class Draw(Body, frozen=True):
    """Who is to call back, drawn by ``draw`` from those who may (docs/contract.md, R13)."""

    to: str
    among: tuple[str, ...]
    """Roster ids, in the order in which they were drawn from."""
    seed: str
    """What was drawn with: whoever does it again gets the same."""
    until_ms: int | None = None
    """When it is due; ``None``: the calendar of that year is not loaded."""
    worked: bool = False
    """All who may call had worked on it: it fell to the managers."""


class CallBack(Body, frozen=True):
    """A call-back: what was said, and who was asked."""

    caller: Caller | None = None
    """One of the ticket's callers; ``None``: the only one, or whoever has to do with it where nobody called."""
    text: str = ""


class Satisfaction(Body, frozen=True):
    """The answer to a call-back that found the user content: 优 or 良."""

    answer: Literal["excellent", "good"]
    caller: Caller | None = None
    """As in ``CallBack``."""
    text: str = ""


class MergeInto(Body, frozen=True):
    """This ticket goes on in another one."""

    into: str


class Merged(Body, frozen=True, kw_only=True):
    """What a ticket got from one that was merged into it."""

    ticket: str
    notice_ms: int
    sla_class: SlaClass
    severity: Severity
    problems: tuple[ProblemRef, ...] = ()
    callers: tuple[Caller, ...] = ()
    facts: Facts | None = None
    """What its clocks went by, where it was merged: what it brings ends no later than it would have there."""


class Cancellation(Body, frozen=True):
    """A false alarm, and why."""

    reason: str
    callers_word: bool = False
    """That whoever called says so too; asked for where a call was."""


class TakeOver(Body, frozen=True, kw_only=True):
    """The cause was found: from now on the ticket is about that, and ``was`` is free again."""

    problem: ProblemRef
    was: ProblemRef
    event_ms: int
    over_event_ms: int | None = None
    """When it ended, if it has."""
    rule: str
    rule_version: int
    text: str = ""
    evidence: tuple[Evidence, ...] = ()


class ClassChange(Body, frozen=True):
    """A person raises or lowers the class; duty only raises it."""

    sla_class: SlaClass
    severity: Severity
    why: str


class Correction(Body, frozen=True):
    """An own act happened at another time than was said."""

    number: int
    """Which of the ticket's events."""
    at_ms: int
    reason: str


class TicketEvent(msgspec.Struct, frozen=True, kw_only=True):
    """One event of a ticket, written once. Times are UTC milliseconds."""

    number: int
    """1, 2, ... within the ticket."""
    what: str
    """Its name: a row of ``transitions.TABLE``."""
    at_ms: int
    """When it happened, as stated: clocks go by this."""
    recorded_ms: int
    """When it was written down."""
    who: str
    """``rule``, ``desk``, ``upgrade`` or a roster id."""
    body: Body
