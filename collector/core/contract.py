"""What the desk knows of the contract: what its file says, with the defaults of docs/contract.md. Facts."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final

import msgspec

from collector.core.calendar import Calendar
from collector.core.clocks import Terms
from collector.core.problems import Duty
from collector.core.roster import Person, Role
from telemetry.faults import Severity, SlaClass, severity

HOUR_MS: Final = 3_600_000


class Level(msgspec.Struct, frozen=True, kw_only=True):
    """One step of escalation: who is told when a clock is not ended by then."""

    after_ms: int
    """From when the clock is due; below 0: so long before."""
    to: tuple[str, ...]
    """Roles, or ids of the roster."""


class WaitReason(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """For what a ticket may wait."""

    stops_clock: bool
    """Whether the second clock (solution, plan) stands still meanwhile; the response clock never does."""


class Telling(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """How notifications for people wait, fold and fail over (docs/notifications.md)."""

    group_wait_ms: int = 30_000
    """A notification waits so long for others about the same ticket; one of a disaster does not wait."""
    group_interval_ms: int = 300_000
    """Least time between two messages to one person about one ticket."""
    repeat_ms: int = 4 * HOUR_MS
    """A grave ticket that nobody has acknowledged is told again each."""
    repeat_most: int = 1
    """So often until anybody does anything, also where the same problem opens it again; 0: never."""
    fail_over_after: int = 3
    """Failed attempts after which the next channel or person has it."""
    link: str = ""
    """Where people reach the pages; empty: texts have no link."""


_MINUTE_MS: Final = 60_000
DEFAULT_LEVELS: Final[Mapping[str, tuple[Level, ...]]] = {
    "response": (
        Level(after_ms=-15 * _MINUTE_MS, to=("engineer",)),
        Level(after_ms=0, to=("manager",)),
        Level(after_ms=HOUR_MS, to=("information",)),
    ),
    **dict.fromkeys(
        ("solution", "on_site", "recovery", "call_back"),
        (
            Level(after_ms=-24 * HOUR_MS, to=("engineer",)),
            Level(after_ms=0, to=("manager",)),
            Level(after_ms=24 * HOUR_MS, to=("information",)),
        ),
    ),
}
"""Upwards before and after a clock runs out (docs/contract.md, R11)."""


class Contract(msgspec.Struct, frozen=True, kw_only=True):
    """What the desk of a site goes by. Durations are milliseconds."""

    time_zone: str = "Asia/Shanghai"
    """The site's: decides in which year a ticket is numbered."""
    reopen_window_ms: int = 72 * HOUR_MS
    """How long after its closing the same problem reopens a ticket."""
    recurring_times: int = 3
    """A problem that begins so often, each time within the reopen window of the one before, heals by itself no more."""
    parked_class: Mapping[SlaClass, SlaClass] = msgspec.field(default_factory=lambda: {"disaster": "general"})
    """The class of a fault while the vehicle is parked or in the workshop; what is not named becomes deferrable."""
    wait_reasons: Mapping[str, WaitReason] = {}
    call_back_tries: int = 3
    """Call-backs on different days that reached nobody, after which a ticket is closed."""
    call_back_days: int = 3
    """Working days after the solution within which whoever asked for it is called back."""
    call_back_by: tuple[Role, ...] = ("engineer", "dispatcher")
    """Who may be drawn for a call-back."""
    call_back_own_deferrable: bool = False
    """A call-back is made for what can wait of the centre itself too, of which nobody called."""
    roster: Mapping[str, Person] = {}
    """The people, by id."""
    terms: Terms = msgspec.field(default_factory=Terms)
    """What the clocks go by."""
    calendar: Calendar = msgspec.field(default_factory=Calendar)
    """The working calendar; what it does not know cannot be computed."""
    escalation: Mapping[str, tuple[Level, ...]] = msgspec.field(default_factory=lambda: DEFAULT_LEVELS)
    """By clock (``response``, ``solution``, ``on_site``, ``recovery``, ``call_back``), in the order of time."""
    ask_after_ms: int = 24 * HOUR_MS
    """So long after readings were good again, or went missing, whoever deals with an open ticket is asked about it."""
    telling: Telling = msgspec.field(default_factory=Telling)
    """How notifications for people wait, fold and fail over."""
    correction_ms: int = 24 * HOUR_MS
    """How long whoever acted may correct the time; afterwards only the information department may."""

    @property
    def tells_people(self) -> bool:
        """Whether anybody of the roster is told by a channel of their own."""
        return any(person.channels for person in self.roster.values())

    def class_for(
        self, sla_class: SlaClass, grave: Severity | None, duty: Duty, *, always: bool
    ) -> tuple[SlaClass, Severity]:
        """Return class and severity of a fault of this class while the vehicle is on that duty (docs/faults.md).

        ``grave``: the rule's own word on the severity. ``always``: the class holds for a parked vehicle too.
        """
        if duty in ("parked", "workshop") and not always:
            lower = self.parked_class.get(sla_class, "deferrable")
            return lower, severity(lower)
        return sla_class, grave or severity(sla_class)


DEFAULT: Final = Contract(
    wait_reasons={"customer": WaitReason(True), "vehicle": WaitReason(True), "parts": WaitReason(False)},
)
"""What holds where no contract file says otherwise (docs/contract.md)."""
