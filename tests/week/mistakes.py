"""Mistakes that the comparison must find: each is a change of the product's code and the few tickets that show it."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from contextlib import AbstractContextManager
from dataclasses import dataclass
from datetime import datetime
from typing import Any, Final
from unittest import mock

import msgspec
from sqlalchemy import select, update

from collector.channels import deliveries
from collector.channels.deliveries import Held, Lane, Waiting
from collector.channels.fail_over import FailOver
from collector.channels.people import People
from collector.core import recipients
from collector.core.contract import Contract
from collector.core.roster import Roster
from collector.core.tickets import acts, timers
from collector.core.tickets.ticket import Ticket
from collector.store import schema
from collector.store.store import Store
from tests.week.scenario import local


@dataclass(frozen=True, slots=True)
class Mistake:
    """One mistake, and which part of the week shows it."""

    make: Callable[[], AbstractContextManager[Any]]
    tickets: tuple[str, ...]
    until: datetime


def _all_on_duty(self: Roster, role: str) -> list[str]:
    return self.with_role(role)


def _never_absent(self: Roster, id: str) -> str | None:
    return id if self.ways(id) else None


def _begin_alone(store: Store, site: str, one: Waiting) -> Held:
    """Count the attempt, and fold nothing into it."""
    its = (schema.delivery.c.notification == one.key) & (schema.delivery.c.receiver == one.receiver)
    with store.transaction() as connection:
        connection.execute(update(schema.delivery).where(its).values(attempts=one.attempts + 1))
    return Held([one.body], None, [], [])


_next_of_each_ticket = deliveries.next_of_each_ticket


def _newest_first(store: Store, lane: Lane, limit: int = 100) -> list[Waiting]:
    """Take the newest of what waits about each ticket."""
    found = _next_of_each_ticket(store, lane, limit)
    d, n = schema.delivery.c, schema.notification.c
    both = schema.delivery.join(schema.notification, (d.site == n.site) & (d.notification == n.key))
    with store.engine.connect() as connection:
        for number, one in enumerate(found):
            same = (d.receiver == one.receiver) & (n.ticket == one.ticket) & (d.state == "waiting")
            newest = connection.execute(
                select(n.key, n.body, d.attempts, d.next_ms).select_from(both).where(same).order_by(n.id.desc())
            ).first()
            if newest is not None:
                found[number] = one._replace(key=newest[0], body=newest[1], attempts=newest[2], next_ms=newest[3])
    return found


_draw = timers.draw


def _draw_from_all(ticket: Ticket, contract: Contract, now_ms: int) -> Any:
    return _draw(msgspec.structs.replace(ticket, worked=frozenset()), contract, now_ms)


async def _always_free(self: People, one: Waiting) -> float:
    return 0.0


def _nobody(self: FailOver, *_: Any) -> bool:
    return False


MISTAKES: Final[Mapping[str, Mistake]] = {
    "duty is ignored": Mistake(
        lambda: mock.patch.object(Roster, "on_duty", _all_on_duty), ("night",), local(5, "12:00")
    ),
    "quiet hours are ignored": Mistake(
        lambda: mock.patch.object(recipients, "quiet_until_ms", lambda person, zone, at_ms: at_ms),
        ("question",),
        local(7, "06:00"),
    ),
    "folding is forgotten": Mistake(
        lambda: mock.patch.object(deliveries, "begin", _begin_alone), ("burst",), local(4, "16:00")
    ),
    "the interval between two messages is forgotten": Mistake(
        lambda: mock.patch.object(People, "free_s", _always_free), ("burst",), local(4, "16:00")
    ),
    "the newest is told first": Mistake(
        lambda: mock.patch.object(deliveries, "next_of_each_ticket", _newest_first), ("burst",), local(4, "16:00")
    ),
    "nobody has it after a channel that failed": Mistake(
        lambda: mock.patch.multiple(FailOver, _next_channel=_nobody, _next_person=_nobody),
        ("camera",),
        local(7, "14:20"),
    ),
    "who is absent is told": Mistake(
        lambda: mock.patch.object(Roster, "present", _never_absent), ("wish",), local(7, "12:00")
    ),
    "who worked on it is to call back": Mistake(
        lambda: mock.patch.object(acts, "draw", _draw_from_all), ("night",), local(5, "07:00")
    ),
    "the levels of clocks are never told": Mistake(
        lambda: mock.patch.object(timers, "_of", return_value=()), ("forgotten",), local(10, "12:00")
    ),
}
