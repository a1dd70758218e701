"""What a ticket went through and what the contract says: the one thing that oracle and product are both given.

Every time is a minute since the Unix epoch, UTC.
"""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from typing import Literal

Class = Literal["disaster", "hardware", "general", "change", "consultation", "deferrable"]
CLASSES: tuple[Class, ...] = ("disaster", "hardware", "general", "change", "consultation", "deferrable")
Unit = Literal["hours", "working_days", "calendar_days"]
Kind = Literal["respond", "plan", "resolve", "wait", "go_on", "class", "spare", "cancel", "heal", "reopen"]


@dataclass(frozen=True)
class Length:
    """So many hours or days."""

    amount: int
    unit: Unit


HOURS_2 = Length(2, "hours")


@dataclass(frozen=True)
class Contract:
    """The keys of the contract file that a clock depends on; the defaults are the requirements'."""

    first: dict[str, Length] = field(
        default_factory=lambda: {
            "disaster": Length(1, "hours"), "general": HOURS_2, "change": HOURS_2, "consultation": HOURS_2,
        }
    )  # fmt: skip
    second: dict[str, Length] = field(
        default_factory=lambda: {
            "general": Length(3, "working_days"), "change": Length(7, "working_days"),
            "hardware": Length(2, "calendar_days"), "deferrable": Length(7, "calendar_days"),
        }
    )  # fmt: skip
    on_site: dict[str, Length] = field(default_factory=dict)
    recovery: dict[str, Length] = field(default_factory=dict)
    stopping: frozenset[str] = frozenset({"customer", "vehicle"})  # the reasons of waiting that stop the second clock
    roll_off_holidays: bool = False
    raise_asks_again: bool = True
    start: int = 0


@dataclass(frozen=True)
class Act:
    """One thing that a person did, or that befell the ticket (heal: the problem was over before anybody touched it)."""

    kind: Kind
    at: int
    what: str = ""  # the new class, the spare, the reason of waiting; remote or on_site for respond
    until: int | None = None  # when the waiting ends by itself
    corrected: tuple[int, ...] = ()  # the times that it was corrected to, in order

    @property
    def when(self) -> int:
        """The time that counts: the last correction."""
        return self.corrected[-1] if self.corrected else self.at


@dataclass(frozen=True)
class Case:
    """One ticket, looked at ``now``."""

    number: int
    notice: int
    notice_typed: int | None  # as it was typed first, where it was corrected
    klass: Class
    spare: str
    acts: tuple[Act, ...]
    now: int
    zones: tuple[str, ...]
    contract: Contract
    loaded: frozenset[int]  # the years whose calendar is loaded


def last_round(case: Case) -> Case:
    """The case from the last reopening on, which is a notice of its own; the case itself where there was none."""
    acts = sorted(case.acts, key=lambda act: act.when)
    begins = max((place for place, act in enumerate(acts) if act.kind == "reopen"), default=None)
    if begins is None:
        return case
    before = [act.what for act in acts[:begins] if act.kind == "class"]
    klass: Class = before[-1] if before else case.klass  # type: ignore[assignment]
    return replace(case, notice=acts[begins].when, klass=klass, spare="none", acts=tuple(acts[begins + 1 :]))


@dataclass(frozen=True)
class Counted:
    """One clock as it must be shown."""

    name: str  # response, solution (the second), on_site, recovery
    start: int
    due: int | None
    missing_year: int | None  # why there is no due time
    ended: int | None
    state: str  # running, kept, missed, void, unknown (it cannot be computed)
