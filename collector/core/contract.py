"""What the desk knows of the contract: what its file says, with the defaults of docs/contract.md. Facts."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final

import msgspec

from collector.core.problems import Duty
from telemetry.faults import Severity, SlaClass, severity

HOUR_MS: Final = 3_600_000


class WaitReason(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """For what a ticket may wait."""

    stops_clock: bool
    """Whether the second clock (solution, plan) stands still meanwhile; the response clock never does."""


class Contract(msgspec.Struct, frozen=True, kw_only=True):
    """What the desk of a site goes by. Durations are milliseconds."""

    time_zone: str = "Asia/Shanghai"
    """The site's: decides in which year a ticket is numbered."""
    reopen_window_ms: int = 72 * HOUR_MS
    """How long after its closing the same problem reopens a ticket."""
    recurring_times: int = 3
    """A problem that begins so often within the reopen window no longer heals by itself."""
    parked_class: Mapping[SlaClass, SlaClass] = msgspec.field(default_factory=lambda: {"disaster": "general"})
    """The class of a fault while the vehicle is parked or in the workshop; what is not named becomes deferrable."""
    wait_reasons: Mapping[str, WaitReason] = {}
    call_back_tries: int = 3
    """Call-backs on different days that reached nobody, after which a ticket is closed."""
    correction_ms: int = 24 * HOUR_MS
    """How long whoever acted may correct the time; afterwards only the information department may."""

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
