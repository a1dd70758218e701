"""Which years of the working calendar a desk needs and does not have. Pure."""

from __future__ import annotations

import datetime
import zoneinfo
from typing import Final

from collector.core.calendar import YearMissingError
from collector.core.contract import Contract
from collector.core.tickets.draft import DeskState
from collector.core.tickets.promises import clocks_of
from collector.core.tickets.timers import call_back_due_ms

_DECEMBER: Final = 12
"""From this month on the coming year is wanted: its decree comes in November (docs/contract.md)."""


def missing_years(state: DeskState, contract: Contract, now_ms: int) -> list[int]:
    """Return the years that are needed and not loaded: this one, in December the next, and those that clocks need.

    Of a ticket those count that something is still owed by: its open clocks, its call-back.
    """
    today = datetime.datetime.fromtimestamp(now_ms / 1000, zoneinfo.ZoneInfo(contract.time_zone)).date()
    needed = {today.year} | ({today.year + 1} if today.month == _DECEMBER else set())
    missing = needed - set(contract.calendar.years)
    for ticket in state.tickets.values():
        events = state.events[ticket.id]
        if ticket.is_open:
            clocks = clocks_of(ticket, events, contract)
            missing |= {clock.missing_year for clock in clocks if clock.missing_year and clock.ended_ms is None}
        elif ticket.state == "resolved" and ticket.in_contract:
            try:
                call_back_due_ms(ticket, events, contract)
            except YearMissingError as error:
                missing.add(error.year)
    return sorted(missing)
