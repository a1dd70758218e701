"""The contract file: ``contract.yaml`` (docs/contract.md).

Every key has the contract's own default, so that an empty file is the hospital's maintenance contract as it stands::

    start: 2026-01-01
    classes:
      disaster: {response: 1h}
      general: {response: 2h, solution: {working_days: 3, after: response, ends_with: plan}}
    waiting:
      customer: {stops_clock: true}
      parts: {stops_clock: false}
"""

from __future__ import annotations

import datetime
import zoneinfo
from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Literal

import msgspec

from collector.calendars import load_calendar
from collector.core.calendar import Calendar
from collector.core.clocks import DEFAULT_CLASSES, ClassTerms, Solution, Terms
from collector.core.contract import DEFAULT, DEFAULT_LEVELS, Contract, Level, Telling, WaitReason
from collector.core.roster import ROLES, Role
from collector.core.tickets.ticket import MOST_TIMES
from collector.roster import PersonKeys, people
from telemetry.durations import Span, milliseconds
from telemetry.faults import SLA_CLASSES, SlaClass
from telemetry.files import FileError, load

_Days = Annotated[int, msgspec.Meta(ge=1, le=366)]


class SolutionKeys(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """The second clock of a class: so many working or calendar days."""

    working_days: _Days | None = None
    """Days that are worked by the decree of the year."""
    calendar_days: _Days | None = None
    """Days, worked or not."""
    after: Literal["notice", "response"] = "response"
    """What it is counted from; the response at the latest from when that was due."""
    ends_with: Literal["plan", "resolve"] = "plan"
    """What ends it: a solution that was proposed, or one that was carried out."""


class ClassKeys(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """What a class promises. A clock that is not named does not exist."""

    response: Span | None = None
    """From the notice to the response, around the clock."""
    solution: SolutionKeys | None = None
    """The second clock."""
    on_site: Span | None = None
    """From the notice to somebody on site; waiting stops it as it does the second clock."""
    recovery: Span | None = None
    """From the notice to good readings; waiting stops it as it does the second clock."""


class WaitingKeys(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """A reason for which a ticket may wait."""

    stops_clock: bool
    """Whether the second clock stands still meanwhile; the response clock never does."""


class TellingKeys(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """How notifications for people of the roster wait, fold and fail over (docs/notifications.md)."""

    group_wait: Span = "30s"
    """A notification waits so long for others about the same ticket; one of a disaster does not wait."""
    group_interval: Span = "5m"
    """Least time between two messages to one person about one ticket."""
    repeat: Span = "4h"
    """A `disaster` or `general` ticket that nobody has acknowledged is told again each."""
    repeat_most: Annotated[int, msgspec.Meta(ge=0, le=100)] = 1
    """So often until anybody does anything, also where the same problem opens it again; 0: never."""
    fail_over_after: Annotated[int, msgspec.Meta(ge=1, le=100)] = 3
    """Failed attempts after which the next channel or person has it."""
    link: Annotated[str, msgspec.Meta(pattern=r"^(https?://[^\s/?#]+(/[^\s?#]*)?)?\Z", max_length=128)] = ""
    """Where people reach the pages: what they are told ends with this, `/#` and the ticket's number."""


class LevelKeys(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """One level of escalation of a clock: one of `before`, `at_due`, `after`, and who is told."""

    before: Span | None = None
    """So long before the clock is due."""
    at_due: bool = False
    """When it is due."""
    after: Span | None = None
    """So long after."""
    to: Annotated[tuple[str, ...], msgspec.Meta(min_length=1)]
    """Roles, or ids of the roster."""


class ContractFile(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """The whole file."""

    start: datetime.date | None = None
    """Clocks exist for notices from this day on (the site's zone)."""
    classes: dict[SlaClass, ClassKeys] = {}
    """Classes whose promises differ from docs/contract.md, R4 to R9; a class is replaced as a whole."""
    waiting: dict[str, WaitingKeys] = {}
    """Reasons for waiting, beside or instead of `customer`, `vehicle` and `parts`."""
    raise_asks_again: bool = True
    """A class raised after the response asks for a response again."""
    roll_off_holidays: bool = False
    """A last calendar day that is not worked moves to the first working day after it (Civil Code, art. 203)."""
    parked_class: dict[SlaClass, SlaClass] = {}
    """The class of a fault while the vehicle is parked; what is not named becomes `deferrable`."""
    reopen_window: Span = "72h"
    """How long after its closing the same problem reopens a ticket."""
    recurring_times: Annotated[int, msgspec.Meta(ge=2, le=MOST_TIMES)] = 3
    """A problem that begins so often, each time within the reopen window of the one before, heals by itself no more."""
    call_back_tries: Annotated[int, msgspec.Meta(ge=1, le=20)] = 3
    """Call-backs on different days that reach nobody, after which a ticket is closed."""
    call_back_within_days: _Days = 3
    """Working days after the solution within which whoever asked for it is called back."""
    call_back_by: Annotated[tuple[Role, ...], msgspec.Meta(min_length=1)] = ("engineer", "dispatcher")
    """Roles from which a call-back is drawn, without those who worked on the ticket."""
    call_back_own_deferrable: bool = False
    """A call-back is made for what can wait (`deferrable`) of the centre itself too, of which nobody called."""
    roster: dict[Annotated[str, msgspec.Meta(pattern=r"^[a-z0-9][a-z0-9-]{0,31}\Z")], PersonKeys] = {}
    """The people, by an id that stands in tickets."""
    notifications: TellingKeys = TellingKeys()
    """How those of them who have channels are told."""
    escalation: dict[Literal["response", "solution", "on_site", "recovery", "call_back"], tuple[LevelKeys, ...]] = {}
    """Levels by clock; a clock that is named has these instead of its own."""
    ask_after: Span = "24h"
    """So long after readings were good again, or went missing, whoever deals with an open ticket is asked about it."""
    corrections_within: Span = "24h"
    """How long whoever acted may correct the time of an act; afterwards only the information department may."""
    calendar: str | None = None
    """Folder of the working calendars that people put in, `<year>.yaml` each; if not set `calendar` beside it."""


class Agreed(msgspec.Struct, frozen=True):
    """What a contract file says, for the site of one time zone."""

    contract: Contract
    """What the desk goes by."""
    terms: Terms
    """What the clocks go by."""
    calendar: Calendar
    """The working calendar."""


def load_contract(path: Path | None, time_zone: str = DEFAULT.time_zone) -> Agreed:
    """Return the contract file, or the defaults without one. Raises FileError for the first thing that is wrong."""
    file = ContractFile() if path is None else load(path, ContractFile)
    where = path or Path("contract.yaml")
    folder = None if path is None else _folder(path, file)
    if file.calendar is not None and folder is not None and not folder.is_dir():
        raise FileError(where, "calendar", f"expected a folder, found none at {str(folder)!r}")
    reasons = {**DEFAULT.wait_reasons, **{name: WaitReason(keys.stops_clock) for name, keys in file.waiting.items()}}
    terms = Terms(
        time_zone=time_zone,
        start_ms=None if file.start is None else _midnight(file.start, time_zone),
        classes=_classes(where, file.classes),
        waiting_stops=tuple(sorted(name for name, reason in reasons.items() if reason.stops_clock)),
        raise_asks_again=file.raise_asks_again,
        roll_off_holidays=file.roll_off_holidays,
    )
    calendar = load_calendar(folder)
    contract = Contract(
        time_zone=time_zone,
        reopen_window_ms=_ms(where, "reopen_window", file.reopen_window),
        recurring_times=file.recurring_times,
        parked_class={**DEFAULT.parked_class, **file.parked_class},
        wait_reasons=reasons,
        call_back_tries=file.call_back_tries,
        call_back_days=file.call_back_within_days,
        call_back_by=file.call_back_by,
        call_back_own_deferrable=file.call_back_own_deferrable,
        roster=people(where, file.roster),
        escalation=_levels(where, file),
        telling=_telling(where, file.notifications),
        terms=terms,
        calendar=calendar,
        ask_after_ms=_ms(where, "ask_after", file.ask_after),
        correction_ms=_ms(where, "corrections_within", file.corrections_within),
    )
    return Agreed(contract, terms, calendar)


def calendar_folder(path: Path) -> Path:
    """Return the folder of the calendars that belong to a contract file. Raises FileError."""
    return _folder(path, load(path, ContractFile))


def _folder(path: Path, file: ContractFile) -> Path:
    return path.resolve().parent / (file.calendar or "calendar")


def _classes(path: Path, given: Mapping[SlaClass, ClassKeys]) -> Mapping[SlaClass, ClassTerms]:
    classes = dict(DEFAULT_CLASSES)
    for name, keys in given.items():
        key = f"classes.{name}"
        solution = None
        if keys.solution is not None:
            working, calendar = keys.solution.working_days, keys.solution.calendar_days
            if (working is None) == (calendar is None):
                raise FileError(path, f"{key}.solution", "expected either working_days or calendar_days")
            solution = Solution(
                working or calendar or 0,
                "calendar" if working is None else "working",
                keys.solution.after,
                keys.solution.ends_with,
            )
            if keys.solution.after == "response" and keys.response is None:
                raise FileError(path, f"{key}.solution.after", "expected a response clock to count from, found none")
        classes[name] = ClassTerms(
            None if keys.response is None else _ms(path, f"{key}.response", keys.response),
            solution,
            None if keys.on_site is None else _ms(path, f"{key}.on_site", keys.on_site),
            None if keys.recovery is None else _ms(path, f"{key}.recovery", keys.recovery),
        )
    assert set(classes) == set(SLA_CLASSES)
    return classes


def _telling(path: Path, keys: TellingKeys) -> Telling:
    return Telling(
        group_wait_ms=_span(path, "notifications.group_wait", keys.group_wait),
        group_interval_ms=_span(path, "notifications.group_interval", keys.group_interval),
        repeat_ms=_ms(path, "notifications.repeat", keys.repeat),
        repeat_most=keys.repeat_most,
        fail_over_after=keys.fail_over_after,
        link=keys.link.rstrip("/"),
    )


def _levels(path: Path, file: ContractFile) -> dict[str, tuple[Level, ...]]:
    found = dict(DEFAULT_LEVELS)
    for clock, levels in file.escalation.items():
        made = []
        for number, keys in enumerate(levels):
            key = f"escalation.{clock}.{number}"
            if (keys.before is not None) + keys.at_due + (keys.after is not None) != 1:
                raise FileError(path, key, "expected one of before, at_due and after")
            for who in keys.to:
                if who not in file.roster and who not in ROLES:
                    raise FileError(path, f"{key}.to", f"expected a role or somebody of the roster, found {who!r}")
            span_ms = -_ms(path, f"{key}.before", keys.before) if keys.before is not None else 0
            if keys.after is not None:
                span_ms = _ms(path, f"{key}.after", keys.after)
            made.append(Level(after_ms=span_ms, to=keys.to))
        found[clock] = tuple(sorted(made, key=lambda level: level.after_ms))
    return found


def _span(path: Path, key: str, span: Span) -> int:
    try:
        return milliseconds(span)
    except ValueError as error:
        raise FileError(path, key, str(error)) from None


def _ms(path: Path, key: str, span: Span) -> int:
    found = _span(path, key, span)
    if not found:
        raise FileError(path, key, f"expected more than nothing, found {span!r}")
    return found


def _midnight(day: datetime.date, time_zone: str) -> int:
    begin = datetime.datetime.combine(day, datetime.time(), zoneinfo.ZoneInfo(time_zone))
    return round(begin.timestamp() * 1000)
