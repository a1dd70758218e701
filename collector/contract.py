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
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Literal

import msgspec

from collector.calendars import load_calendar
from collector.core.calendar import Calendar
from collector.core.clocks import DEFAULT_CLASSES, ClassTerms, Solution, Terms
from collector.core.contract import DEFAULT, Contract, WaitReason
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
    """From the notice to somebody on site."""
    recovery: Span | None = None
    """From the notice to good readings."""


class WaitingKeys(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """A reason for which a ticket may wait."""

    stops_clock: bool
    """Whether the second clock stands still meanwhile; the response clock never does."""


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
    """A last calendar day on a public holiday moves to the first working day after it (Civil Code, art. 203)."""
    parked_class: dict[SlaClass, SlaClass] = {}
    """The class of a fault while the vehicle is parked; what is not named becomes `deferrable`."""
    reopen_window: Span = "72h"
    """How long after its closing the same problem reopens a ticket."""
    recurring_times: Annotated[int, msgspec.Meta(ge=2, le=100)] = 3
    """A problem that begins so often within the reopen window no longer heals by itself."""
    call_back_tries: Annotated[int, msgspec.Meta(ge=1, le=20)] = 3
    """Call-backs on different days that reach nobody, after which a ticket is closed."""
    corrections_within: Span = "24h"
    """How long whoever acted may correct the time of an act; afterwards only the information department may."""
    calendar: str | None = None
    """Folder of the working calendars that people put in, `<year>.yaml` each; if not set `calendar` beside it."""


@dataclass(frozen=True, slots=True)
class Agreed:
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
    folder = None if path is None else path.resolve().parent / (file.calendar or "calendar")
    if file.calendar is not None and folder is not None and not folder.is_dir():
        raise FileError(where, "calendar", f"expected a folder, found none at {str(folder)!r}")
    reasons = {**DEFAULT.wait_reasons, **{name: WaitReason(keys.stops_clock) for name, keys in file.waiting.items()}}
    contract = Contract(
        time_zone=time_zone,
        reopen_window_ms=_ms(where, "reopen_window", file.reopen_window),
        recurring_times=file.recurring_times,
        parked_class={**DEFAULT.parked_class, **file.parked_class},
        wait_reasons=reasons,
        call_back_tries=file.call_back_tries,
        correction_ms=_ms(where, "corrections_within", file.corrections_within),
    )
    terms = Terms(
        time_zone=time_zone,
        start_ms=None if file.start is None else _midnight(file.start, time_zone),
        classes=_classes(where, file.classes),
        waiting_stops=frozenset(name for name, reason in reasons.items() if reason.stops_clock),
        raise_asks_again=file.raise_asks_again,
        roll_off_holidays=file.roll_off_holidays,
    )
    return Agreed(contract, terms, load_calendar(folder))


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


def _ms(path: Path, key: str, span: Span) -> int:
    try:
        found = milliseconds(span)
    except ValueError as error:
        raise FileError(path, key, str(error)) from None
    if not found:
        raise FileError(path, key, f"expected more than nothing, found {span!r}")
    return found


def _midnight(day: datetime.date, time_zone: str) -> int:
    begin = datetime.datetime.combine(day, datetime.time(), zoneinfo.ZoneInfo(time_zone))
    return round(begin.timestamp() * 1000)
