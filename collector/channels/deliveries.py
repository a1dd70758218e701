"""Notifications and their deliveries in the database. Blocking: call from a thread."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any, Literal, NamedTuple

import msgspec
from sqlalchemy import Connection, Engine, case, func, literal, select, tuple_, update

from collector.store import schema
from collector.store.store import Store

State = Literal["waiting", "sent", "failed"]
_n, _d = schema.notification.c, schema.delivery.c
_both = schema.delivery.join(schema.notification, (_d.site == _n.site) & (_d.notification == _n.key))


class Lane(NamedTuple):
    """What is delivered in order: the notifications of a site for one receiver over one channel."""

    site: str
    receiver: str
    channel: str


class Waiting(NamedTuple):
    """A notification that waits in a lane. ``next_ms`` (UTC) is when it was meant to be tried next."""

    key: str
    ticket: str
    body: str
    attempts: int
    next_ms: int


class Delivery(msgspec.Struct, frozen=True, kw_only=True):
    """A notification and what became of it for one receiver over one channel. Times are UTC ms."""

    id: int
    """The notification's number: the order in which they were made."""
    site: str
    key: str
    ticket: str
    body: str
    created_ms: int
    receiver: str
    channel: str
    state: State
    attempts: int
    next_ms: int
    """When it is tried next (waiting) or was settled."""
    error: str


def next_of_each_ticket(store: Store, lane: Lane, limit: int = 100) -> list[Waiting]:
    """Return the oldest waiting notification of each ticket, those that are due first."""
    alone = case((_n.ticket == "", _n.id), else_=0)  # what is about no ticket waits for nothing
    place = func.row_number().over(partition_by=(_n.ticket, alone), order_by=_n.id).label("place")
    waiting = (
        select(_n.id, _n.key, _n.ticket, _n.body, _d.attempts, _d.next_ms, place)
        .select_from(_both)
        .where(_in(lane), _d.state == literal("waiting", literal_execute=True))
        .subquery()
    )
    w = waiting.c
    query = select(w.key, w.ticket, w.body, w.attempts, w.next_ms).where(w.place == 1).order_by(w.next_ms, w.id)
    with store.engine.connect() as connection:
        return [Waiting(*row) for row in connection.execute(query.limit(limit))]


def settle(store: Store, lane: Lane, key: str, state: State, *, attempts: int, next_ms: int, error: str) -> None:
    """Note what became of a waiting delivery."""
    change = update(schema.delivery).where(_in(lane), _d.notification == key, _d.state == "waiting")
    with store.transaction() as connection:
        connection.execute(change.values(state=state, attempts=attempts, next_ms=next_ms, error=error))


def give_up_unknown(store: Store, site: str, known: Iterable[tuple[str, str]], now_ms: int) -> int:
    """Mark as failed what waits for a receiver that is no longer configured; return how many. ``retry`` undoes it."""
    lost = update(schema.delivery).where(_d.site == site, _d.state == "waiting")
    lanes = list(known)
    if lanes:
        lost = lost.where(tuple_(_d.receiver, _d.channel).not_in(lanes))
    with store.transaction() as connection:
        return connection.execute(
            lost.values(state="failed", next_ms=now_ms, error="the configuration knows no such receiver any more")
        ).rowcount


def listed(
    engine: Engine,
    *,
    site: str | None = None,
    ticket: str | None = None,
    state: State | None = None,
    id: int | None = None,
    limit: int = 200,
) -> list[Delivery]:
    """Return deliveries, those of the newest notification first."""
    own = (_n.id, _n.site, _n.key, _n.ticket, _n.body, _n.created_ms)
    query = select(*own, _d.receiver, _d.channel, _d.state, _d.attempts, _d.next_ms, _d.error).select_from(_both)
    for column, value in ((_n.site, site), (_n.ticket, ticket), (_d.state, state), (_n.id, id)):
        if value is not None:
            query = query.where(column == value)
    query = query.order_by(_n.id.desc(), _d.receiver, _d.channel).limit(limit)
    with engine.connect() as connection:
        return [Delivery(**row._mapping) for row in connection.execute(query)]


def waiting(store: Store, site: str) -> tuple[int, int | None]:
    """Return how many deliveries wait, and when the oldest of their notifications was made (UTC ms)."""
    query = select(func.count(), func.min(_n.created_ms)).select_from(_both).where(_d.site == site)
    with store.engine.connect() as connection:
        row = connection.execute(query.where(_d.state == literal("waiting", literal_execute=True))).one()
    return row[0], row[1]


def failed(store: Store, site: str) -> int:
    """Return how many deliveries are refused or given up."""
    with store.engine.connect() as connection:
        query = select(func.count()).select_from(schema.delivery).where(_d.site == site, _d.state == "failed")
        return connection.scalar(query) or 0


def retry(connection: Connection, ids: Iterable[int] | None, now_ms: int, site: str | None = None) -> int:
    """Ask for failed deliveries of these notifications (all: ``None``) to be sent after all; return how many.

    Within ``store.transaction()``.
    """
    change = update(schema.delivery).where(_d.state == "failed")
    if site is not None:
        change = change.where(_d.site == site)
    if ids is not None:
        wanted = select(_n.site, _n.key).where(_n.id.in_(list(ids)))
        change = change.where(tuple_(_d.site, _d.notification).in_(wanted))
    values: dict[str, Any] = {"state": "waiting", "next_ms": now_ms, "attempts": 0}
    return connection.execute(change.values(**values)).rowcount


def _in(lane: Lane) -> Any:
    return (_d.site == lane.site) & (_d.receiver == lane.receiver) & (_d.channel == lane.channel)
