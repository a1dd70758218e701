"""The forms by which people act on tickets: made from the rows of the table, read back into what an act says. Pure.

Which forms there are is the table's word (``core/tickets/offered.py``), which fields they have that of the row's body:
a new row is a new form. What stands here is how a field looks: that follows from its name.
"""

from __future__ import annotations

import datetime
import zoneinfo
from collections.abc import Iterable, Mapping, Sequence
from typing import Any, Final, Literal

import msgspec
from msgspec.structs import replace

from collector.core.contract import Contract
from collector.core.identities import IdentityError, ProblemKey
from collector.core.roster import ROLES
from collector.core.tickets import events as e
from collector.core.tickets.acts import IN_WORDS, WORDS_ALONE
from collector.core.tickets.offered import CALL_BACKS
from collector.core.tickets.texts import TEXTS, Language
from collector.core.tickets.ticket import NOBODY, Ticket
from collector.core.tickets.transitions import TABLE, Transition
from telemetry.faults import SLA_CLASSES, SLA_NAMES, severity

Kind = Literal["line", "words", "choice", "radio", "check", "time", "date", "ticket"]
Choices = Sequence[tuple[str, str]]
"""(value, what people read)."""
CALL_BACK: Final = "call_back"
"""The one form for whatever comes of a call-back (docs/contract.md, R13)."""
_LEFT_OUT: Final = frozenset({"clock", "level", "due_ms", "severity", "role", "verb"})
"""What no person says: the desk's own fields, and what follows from others."""
_WORDS: Final = frozenset({"text", "done"})
"""What may take more than a line."""
_IN_SIGHT: Final = frozenset({"planned", "call_attached", CALL_BACK})
"""Acts of which the words are the matter."""
_MINUTE_MS: Final = 60_000
_HOUR_MS: Final = 3_600_000
_AHEAD_MS: Final = {"silenced": 4 * _HOUR_MS, "waits": 24 * _HOUR_MS}
"""How far from now an end is proposed."""
NEXT: Final[Mapping[str, Sequence[str]]] = {
    "new": ("acknowledged", "responded"),
    "acknowledged": ("responded",),
    "responded": ("planned", "resolved"),
    "planned": ("resolved",),
    "resolved": (CALL_BACK,),
    "closed": ("reopened_by_hand",),
    "merged": ("unmerged",),
}
"""What is likely done next in a state: shown first. In which state what may be done is not said here."""


class Field(msgspec.Struct, frozen=True):
    """One thing that a form asks."""

    name: str
    kind: Kind
    label: str
    """Key of its label in the group ``field`` of the texts."""
    required: bool = False
    choices: Choices = ()
    value: str = ""
    problem: str = ""
    """Key of what is wrong with what was typed, in the group ``field_problem``."""
    hint: str = ""
    """Key of a remark in the texts."""
    is_extra: bool = False
    """It can be left alone: shown once somebody asks for it."""
    takes_focus: bool = False
    """Whoever opens the page begins here."""


class ActForm(msgspec.Struct, frozen=True):
    """The form of an act."""

    what: str
    """A row of the table, or ``CALL_BACK``."""
    fields: Sequence[Field] = ()
    is_first: bool = False
    """It is what is likely done next."""
    problem: str = ""
    """Why it was refused, in words."""

    @property
    def is_bad(self) -> bool:
        """Whether something is wrong with it."""
        return bool(self.problem) or any(one.problem for one in self.fields)


class Around(msgspec.Struct, frozen=True, kw_only=True):
    """What a form's choices are made of."""

    ticket: Ticket
    events: Sequence[e.TicketEvent]
    contract: Contract
    who: str
    """Roster id of whoever looks."""
    zone: str
    language: Language
    now_ms: int
    others: Choices = ()
    """Other open tickets of the site."""
    problems: Choices = ()
    """Problems of the vehicle that are not this ticket's."""


class Read(msgspec.Struct):
    """What came of reading a form."""

    what: str
    """A row of the table; empty where it cannot be told."""
    says: dict[str, Any] = msgspec.field(default_factory=dict)
    at_ms: int | None = None
    problems: dict[str, str] = msgspec.field(default_factory=dict)
    """By field, as in ``Field.problem``."""


# --- making them ------------------------------------------------------------------------------------------------------


def forms(rows: Iterable[Transition], around: Around) -> list[ActForm]:
    """Return the forms of these rows, those of what is likely next first."""
    whats = [CALL_BACK if row.what in CALL_BACKS else row.what for row in rows]
    first = [what for what in first_of(around.ticket, around.now_ms) if what in whats]
    rest = [what for what in dict.fromkeys(whats) if what not in first]
    return [ActForm(what, fields_of(what, around), is_first=what in first) for what in (*first, *rest)]


def first_of(ticket: Ticket, now_ms: int) -> Sequence[str]:
    """Return what is likely done next to a ticket."""
    if ticket.is_open and not ticket.in_contract:
        return ("taken_into_contract",)
    if ticket.is_waiting(now_ms):
        return ("goes_on", "resolved")
    if ticket.is_open and ticket.over_event_ms is not None:
        return ("resolved", *NEXT.get(ticket.state, ()))
    return NEXT.get(ticket.state, ())


def fields_of(what: str, around: Around) -> list[Field]:
    """Return what the form of an act asks."""
    if what == CALL_BACK:
        return [*_call_back(around), replace(_when(), is_extra=True)]
    body = TABLE[what].body
    found = []
    for one in msgspec.structs.fields(body):
        if one.name not in _LEFT_OUT and not _is_idle(what, one.name, around):
            found += _fields(what, one, around)
    if "at_ms" not in body.__struct_fields__:
        found.append(_when())
    return [replace(one, is_extra=_is_extra(what, one)) for one in found]


def _is_extra(what: str, one: Field) -> bool:
    if one.required:
        return False
    return one.name in ("at", "spare", "spare_warranty_until") or (one.name == "text" and what not in _IN_SIGHT)


def _is_idle(what: str, name: str, around: Around) -> bool:
    """Say whether a field has nothing to ask of this ticket."""
    ticket = around.ticket
    if name == "why_unrecovered":
        return not ticket.problems or ticket.over_event_ms is not None
    return name == "callers_word" and not ticket.callers


def _fields(what: str, one: msgspec.structs.FieldInfo, around: Around) -> list[Field]:
    name, shape = one.name, TABLE[what].body.__name__
    label = f"{what}.{name}" if name in ("text", "to", "reason", "why", "spare") else name
    required = one.required or name in IN_WORDS or (what in WORDS_ALONE and name == "text")
    if name == "caller":
        return [Field("caller_name", "line", "caller_name", required), Field("caller_phone", "line", "caller_phone")]
    if name in ("other", "into"):
        return [Field(name, "ticket", label, required, around.others)]
    if name in ("until_ms", "at_ms"):
        ahead_ms = _AHEAD_MS.get(what)
        value = "" if ahead_ms is None else typed(around.now_ms + ahead_ms, around.zone)
        return [Field(name.removesuffix("_ms"), "time", f"{what}.{name}", required, value=value)]
    if one.type is bool:
        return [Field(name, "check", label)]
    if one.type == datetime.date | None:
        return [Field(name, "date", label, required)]
    choices = _choices(shape, name, around)
    if choices is not None:
        kind: Kind = "radio" if name == "how" else "choice"
        return [Field(name, kind, label, required, choices, _proposed(what, name, around))]
    return [Field(name, "words" if name in _WORDS else "line", label, required)]


def _choices(shape: str, name: str, around: Around) -> Choices | None:
    texts, roster = TEXTS[around.language], around.contract.roster
    people = [(id, f"{person.name} · {texts.values[person.role]}") for id, person in roster.items()]
    match shape, name:
        case "Assignment", "to":
            return sorted(people, key=lambda one: one[0] != around.who)
        case "Escalation", "to":
            return [("", ""), *((role, texts.values[role]) for role in ROLES), *people]
        case "Wait", "reason":
            return [(reason, texts.wait_reasons.get(reason, reason)) for reason in around.contract.wait_reasons]
        case _, "sla_class":
            at = ("zh", "en").index(around.language)
            return [(one, SLA_NAMES[one][at]) for one in SLA_CLASSES if one != around.ticket.sla_class]
        case "SpareWord", "spare":
            return [(one, texts.values[one]) for one in ("at_hand", "ordered", "none")]
        case "Response", "how":
            return [(one, one) for one in ("remote", "on_site")]
        case "Link", "relation":
            return [(one, texts.values[one]) for one in ("related", "cause", "continues")]
        case _, "problem":
            return around.problems
        case _, "number":
            return _correctable(around)
    return None


def _proposed(what: str, name: str, around: Around) -> str:
    return around.who if what == "assigned" and name == "to" and around.ticket.assigned != around.who else ""


def _correctable(around: Around) -> Choices:
    """Return the acts whose time somebody may correct, the last one first."""
    person, names = around.contract.roster.get(around.who), TEXTS[around.language].events
    everybodys = person is not None and person.role == "information"
    return [
        (str(event.number), f"{event.number} · {typed(event.at_ms, around.zone).replace('T', ' ')} {names[event.what]}")
        for event in reversed(around.events)
        if event.what != "corrected" and event.who not in NOBODY and (everybodys or event.who == around.who)
    ]


def _call_back(around: Around) -> list[Field]:
    """Return the three questions: was anybody reached, is it solved, how content are they."""
    texts = TEXTS[around.language]
    left = around.ticket.to_ask()
    callers = [(f"{one.name}\t{one.phone}", f"{one.name} {one.phone}".strip()) for one in left if one.name]
    yes_no = [("yes", "yes"), ("no", "no")]
    satisfied = [(one, texts.values.get(one, one)) for one in ("excellent", "good")]
    asked = [Field("caller", "choice", "asked", True, callers)] if len(callers) > 1 else []
    return [
        *asked,
        Field("reached", "radio", "reached", True, yes_no),
        Field("solved", "radio", "solved", choices=yes_no),
        Field("answer", "radio", "answer", choices=[*satisfied, ("bad", "bad")]),
        Field("text", "words", "call_back.text"),
    ]


def _when() -> Field:
    return Field("at", "time", "at", hint="now_if_empty")


# --- reading them back ------------------------------------------------------------------------------------------------


def read(what: str, given: Mapping[str, str], around: Around) -> Read:
    """Return what a filled form says; ``problems`` tells of fields that cannot be read, or that lack an answer."""
    fields = fields_of(what, around)
    found = Read(_what_came(given) if what == CALL_BACK else what)
    for one in fields:
        text = given.get(one.name, "").strip().replace("\r\n", "\n")
        if one.required and not text:
            found.problems[one.name] = "needed"
        elif one.kind in ("choice", "radio") and text and text not in {value for value, _ in one.choices}:
            found.problems[one.name] = "no_choice"
        elif text:
            _take(found, one, text, around)
    if what == CALL_BACK:
        _judge_call_back(found, given)
    if "sla_class" in found.says and "severity" in TABLE[found.what].body.__struct_fields__:
        found.says["severity"] = severity(found.says["sla_class"])
    return found


def _take(found: Read, one: Field, text: str, around: Around) -> None:
    says = found.says
    if one.kind == "time":
        at_ms = moment(text, around.zone)
        if at_ms is None:
            found.problems[one.name] = "no_time"
        elif one.name == "until":
            says["until_ms"] = at_ms
        elif found.what == "corrected":
            says["at_ms"] = _of_this_minute(at_ms, around.ticket.notice_ms)
        else:
            found.at_ms = _of_this_minute(at_ms, around.ticket.notice_ms)
    elif one.kind == "date":
        try:
            says[one.name] = datetime.date.fromisoformat(text).isoformat()
        except ValueError:
            found.problems[one.name] = "no_date"
    elif one.kind == "check":
        says[one.name] = True
    elif one.kind == "ticket":
        says[one.name] = ticket_number(text, around.now_ms, around.zone)
    elif one.name in ("caller_name", "caller_phone"):
        says.setdefault("caller", {})[one.name.removeprefix("caller_")] = text
    elif one.name == "caller":
        name, _, phone = text.partition("\t")
        says["caller"] = {"name": name, "phone": phone}
    elif one.name == "number":
        says["number"] = int(text)
    elif one.name == "problem":
        _take_problem(found, text)
    elif one.name not in ("reached", "solved"):
        says[one.name] = text


def _take_problem(found: Read, text: str) -> None:
    vehicle, _, key = text.partition("\t")
    try:
        found.says["problem"] = [vehicle, msgspec.to_builtins(ProblemKey.parse(key))]
    except IdentityError:
        found.problems["problem"] = "no_choice"


def _what_came(given: Mapping[str, str]) -> str:
    """Return which act a call-back is: not reached, not solved or not content, content."""
    if given.get("reached") == "no":
        return "not_reached"
    return "dissatisfied" if given.get("solved") == "no" or given.get("answer") == "bad" else "confirmed"


def _judge_call_back(found: Read, given: Mapping[str, str]) -> None:
    """Ask for both answers of somebody who was reached; what was not asked is left out."""
    if given.get("reached") == "yes":
        found.problems |= {name: "needed" for name in ("solved", "answer") if not given.get(name)}
    if found.what != "confirmed":
        found.says.pop("answer", None)


def filled(form: ActForm, given: Mapping[str, str], problems: Mapping[str, str], problem: str = "") -> ActForm:
    """Return a form as somebody filled it, with what was wrong."""
    fields = [replace(one, value=given.get(one.name, ""), problem=problems.get(one.name, "")) for one in form.fields]
    return replace(form, fields=fields, problem=problem)


def ticket_number(text: str, now_ms: int, zone: str) -> str:
    """Return a ticket's number from how it is said: ``153`` is this year's; what follows a blank is left out."""
    number = text.partition(" ")[0]
    if not (number.isascii() and number.isdecimal()):
        return number
    year = datetime.datetime.fromtimestamp(now_ms / 1000, zoneinfo.ZoneInfo(zone)).year
    return f"{year}-{int(number):04d}" if len(number) < 9 else number


def typed(ms: int, zone: str) -> str:
    """Return a time as a field for local times holds it: ``2026-05-08T16:00``."""
    return f"{datetime.datetime.fromtimestamp(ms / 1000, zoneinfo.ZoneInfo(zone)):%Y-%m-%dT%H:%M}"


def moment(text: str, zone: str) -> int | None:
    """Return a local time that was typed, to the minute, as UTC ms; ``None`` for what is none."""
    try:
        local = datetime.datetime.fromisoformat(text[:16]).replace(tzinfo=zoneinfo.ZoneInfo(zone))
        return round(local.timestamp() * 1000) if ":" in text else None
    except (ValueError, OverflowError):
        return None


def _of_this_minute(at_ms: int, notice_ms: int) -> int:
    """Return a typed time; in the minute of the notice it is the notice: nobody types seconds."""
    return notice_ms if notice_ms - _MINUTE_MS < at_ms < notice_ms else at_ms
