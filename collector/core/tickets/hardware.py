"""Whether a ticket is a hardware fault under warranty with its spare part at hand (docs/contract.md, R8). Pure."""

from __future__ import annotations

import datetime
import zoneinfo
from collections.abc import Sequence
from typing import Literal

import msgspec

from collector.core.clocks import Spare
from collector.core.tickets.events import TicketEvent
from collector.core.tickets.promises import facts_of
from collector.core.tickets.ticket import Ticket
from telemetry.fleet import Site, SparePart

Lack = Literal["class", "warranty_unknown", "warranty_over", "spare_unsaid", "spare_ordered", "spare_none"]
"""Why R8 does not apply: another class; of the warranty; of the spare part, as a person has said."""


class Hardware(msgspec.Struct, frozen=True):
    """What R8 asks of a ticket about a device of the fleet file."""

    warranty_until: datetime.date | None
    """As the fleet file says it; ``None``: it does not."""
    spares: tuple[SparePart, ...]
    """What the site keeps for devices of this kind."""
    spare: Spare | None
    """What a person has said last, in this round, of the part that is needed: that alone counts for the clocks."""
    lacks: tuple[Lack, ...]

    @property
    def applies(self) -> bool:
        """Whether R8 applies."""
        return not self.lacks


def hardware_of(ticket: Ticket, events: Sequence[TicketEvent], site: Site) -> Hardware | None:
    """Return it as of the ticket's notice; ``None`` for one that is about no device of the fleet file."""
    plan = site.vehicles.get(ticket.vehicle)
    device = next((one for _, id, one in plan.devices() if id == ticket.device), None) if plan else None
    if device is None:
        return None
    said = facts_of(ticket, events).spares
    spare: Spare | None = said[-1][1] if said else None
    lacks: list[Lack] = [] if ticket.sla_class == "hardware" else ["class"]
    notice = datetime.datetime.fromtimestamp(ticket.notice_ms / 1000, zoneinfo.ZoneInfo(site.time_zone)).date()
    if device.warranty_until is None:
        lacks.append("warranty_unknown")
    elif device.warranty_until < notice:
        lacks.append("warranty_over")
    if spare is None:
        lacks.append("spare_unsaid")
    elif spare != "at_hand":
        lacks.append("spare_ordered" if spare == "ordered" else "spare_none")
    return Hardware(
        device.warranty_until, tuple(one for one in site.spares if one.kind == device.kind), spare, tuple(lacks)
    )
