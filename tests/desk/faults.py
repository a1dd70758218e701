"""Mistakes that the machine must notice, each made in the product or its database while a block runs."""

from __future__ import annotations

import contextlib
import copy
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final
from unittest import mock

from collector.channels import deliveries
from collector.channels.notifier import Notifier
from collector.core.tickets import acts, draft, fold, timers
from collector.core.tickets.events import TicketEvent
from collector.store import on_postgres, on_sqlite, statements
from collector.store.commit import SiteConnection
from collector.store.errors import CommitFailed
from collector.store.rows import Changes
from collector.store.store import Store
from tests.desk.by_hand import differences
from tests.desk.centre import Found
from tests.desk.run import Kind

Make = Callable[[], contextlib.AbstractContextManager[Any]]


@dataclass(frozen=True)
class Fault:
    """One mistake: what is otherwise in the code while it is made, and in the databases."""

    code: Make = contextlib.nullcontext
    database: Callable[[Store], None] = lambda store: None
    kinds: tuple[Kind, ...] = ("sqlite",)
    """Over which databases it is to be noticed."""
    shows_as: type[Exception] | tuple[type[Exception], ...] = Found


def _drop_unique_index(store: Store) -> None:
    with store.transaction() as connection:
        connection.exec_driver_sql("DROP INDEX ticket_problem_one_live")


def _let_events_be_changed(store: Store) -> None:
    with store.transaction() as connection:
        if store.path is not None:
            for verb in ("update", "delete", "replace"):
                connection.exec_driver_sql(f"DROP TRIGGER ticket_event_no_{verb}")
        else:
            connection.exec_driver_sql("DROP TRIGGER ticket_event_is_final ON ticket_event")


def _without_case(what: str) -> Make:
    return lambda: mock.patch.object(fold, "_MORE", {name: case for name, case in fold._MORE.items() if name != what})


@contextlib.contextmanager
def _epoch_forgotten() -> Iterator[None]:
    def made(parts: tuple[statements.Part, ...]) -> str:
        return statements.postgres(parts).replace("epoch = %b::int8", "%b::int8 IS NOT NULL")

    owner = statements.SQLITE_OWNER.replace("epoch = ?", "? IS NOT NULL")
    with mock.patch.object(on_sqlite, "SQLITE_OWNER", owner), mock.patch.object(on_postgres, "postgres", made):
        yield


def _apart(name: str) -> Make:
    """Return the mistake of committing one part of the changes in a transaction of its own, afterwards."""
    commit = SiteConnection.commit

    def in_two(self: SiteConnection, changes: Changes) -> None:
        apart = Changes()
        setattr(apart, name, getattr(changes, name))
        rest = copy.copy(changes)
        setattr(rest, name, [])
        commit(self, rest)
        if getattr(apart, name):
            commit(self, apart)

    return lambda: mock.patch.object(SiteConnection, "commit", in_two)


async def _taken_for_sent(self: Notifier, one: Any, attempts: int, retry: Any) -> None:
    await self._settle(one, "sent", attempts, 0, "")


@contextlib.contextmanager
def _table_not_asked() -> Iterator[None]:
    with (
        mock.patch.object(draft, "possible", return_value=True),
        mock.patch.object(acts, "possible", return_value=True),
    ):
        yield


def _newest_first() -> contextlib.AbstractContextManager[Any]:
    real = deliveries.next_of_each_ticket

    def newest(store: Store, lane: deliveries.Lane, limit: int = 100) -> list[deliveries.Waiting]:
        waiting = [one for one in deliveries.listed(store.engine, site=lane.site, state="waiting")
                   if (one.receiver, one.channel) == (lane.receiver, lane.channel)]  # fmt: skip
        return [
            deliveries.Waiting(
                one.key, one.ticket, one.body, one.receiver, one.channel, one.of_roster, address="",
                attempts=one.attempts, next_ms=0, wait_ms=0, earliest_ms=0, shortest_ms=0,
            )
            for one in waiting
        ] or real(store, lane, limit)  # fmt: skip

    return mock.patch.object(deliveries, "next_of_each_ticket", newest)


FAULTS: Final[Mapping[str, Fault]] = {
    "the unique index is dropped": Fault(database=_drop_unique_index, kinds=("sqlite", "postgresql")),
    "events may be changed": Fault(database=_let_events_be_changed, kinds=("sqlite", "postgresql")),
    "the epoch is not looked at": Fault(
        code=_epoch_forgotten, kinds=("sqlite", "postgresql"), shows_as=(Found, CommitFailed)
    ),
    "the fold lacks a case: planned": Fault(code=_without_case("planned")),
    "the fold lacks a case: problem_over": Fault(code=_without_case("problem_over")),
    "an action is marked in another transaction": Fault(code=_apart("actions_taken")),
    "notifications are written in another transaction": Fault(code=_apart("notifications")),
    "what was told of a clock is forgotten": Fault(code=lambda: mock.patch.object(timers, "_told", return_value={})),
    "the table is not asked": Fault(code=_table_not_asked),
    "a receiver that is away counts as told": Fault(code=lambda: mock.patch.object(Notifier, "_fail", _taken_for_sent)),
    "the newest notification goes first": Fault(code=_newest_first),
}


def unnoticed_cases(histories: Sequence[tuple[TicketEvent, ...]]) -> tuple[set[str], set[str]]:
    """Return the cases of the fold that these histories need, and those of them whose lack nobody would notice."""
    happened = {event.what for told in histories for event in told} & fold._MORE.keys()
    unnoticed = set()
    for what in happened:
        with _without_case(what)():
            if not any(_is_noticed(told) for told in histories if any(event.what == what for event in told)):
                unnoticed.add(what)
    return happened, unnoticed


def _is_noticed(told: tuple[TicketEvent, ...]) -> bool:
    """Say whether the ticket was another one after any of these events: the judge looks after each step."""
    try:
        return any(
            differences(fold.fold("north", "2026-0001", told[:number]), told[:number])
            for number in range(1, len(told) + 1)
        )
    except Exception:  # a fold that raises is noticed too
        return True
