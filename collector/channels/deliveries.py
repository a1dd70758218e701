"""Notifications and their deliveries in the database. Blocking: call from a thread."""

from __future__ import annotations

import itertools
from collections.abc import Collection, Iterable
from typing import Any, Literal, NamedTuple

import msgspec
from sqlalchemy import Connection, Engine, case, func, literal, select, tuple_, update

from collector.store import schema
from collector.store.store import Store

State = Literal["waiting", "folded", "sent", "passed", "failed"]
_n, _d = schema.notification.c, schema.delivery.c
_both = schema.delivery.join(schema.notification, (_d.site == _n.site) & (_d.notification == _n.key))
_waits = _d.state == literal("waiting", literal_execute=True)


class Lane(NamedTuple):
    """An entry of ``notifications`` in ``collector.yaml`` for one site."""

    site: str
    receiver: str
    """Its name: a receiver itself, or the channel to people of the roster."""
    channel: str
    """Its kind."""


class Waiting(NamedTuple):
    """The oldest notification about a ticket that waits for a receiver. Times are UTC ms."""

    key: str
    ticket: str
    body: str
    receiver: str
    channel: str
    of_roster: bool
    address: str
    attempts: int
    next_ms: int
    """When it was meant to be tried next."""
    wait_ms: int
    """How long that was to wait."""
    earliest_ms: int
    """The first time at which any notification that waits for this receiver about the ticket was meant to be tried."""
    shortest_ms: int
    """The shortest wait of them."""


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
    of_roster: bool = False
    """Whether the receiver is a person of the roster."""
    folded_into: str = ""
    """The notification in whose message it goes."""


class Place(NamedTuple):
    """A place in the list of deliveries."""

    id: int
    receiver: str
    channel: str


def next_of_each_ticket(store: Store, lane: Lane, limit: int = 100) -> list[Waiting]:
    """Return the oldest waiting notification of each ticket and receiver in a lane, those that are due first.

    One for a person waits for the older ones that wait for that person on other channels.
    """
    alone = case((_n.ticket == "", _n.id), else_=0)  # what is about no ticket waits for nothing
    group = (_d.of_roster, _d.receiver, case((_d.of_roster, ""), else_=_d.channel), _n.ticket, alone)
    place = func.row_number().over(partition_by=group, order_by=_n.id).label("place")
    earliest = func.min(_d.next_ms).over(partition_by=group).label("earliest_ms")
    shortest = func.min(_d.wait_ms).over(partition_by=group).label("shortest_ms")
    columns = (
        _n.key, _n.ticket, _n.body, _d.receiver, _d.channel, _d.of_roster, _d.address, _d.attempts, _d.next_ms,
        _d.wait_ms,
    )  # fmt: skip
    waiting = (
        select(_n.id, *columns, earliest, shortest, place)
        .select_from(_both)
        .where(_d.site == lane.site, _waits, _d.of_roster | _own(lane, _d))
        .subquery()
    )
    w = waiting.c
    query = select(*(w[column.name] for column in columns), w.earliest_ms, w.shortest_ms)
    query = query.where(w.place == 1, _in(lane, w))
    with store.engine.connect() as connection:
        rows = connection.execute(query.order_by(w.earliest_ms, w.id).limit(limit)).all()
        return [Waiting._make(row) for row in rows]


class Held(NamedTuple):
    """What a message to a person holds."""

    bodies: list[str]
    """Of its notifications, oldest first."""
    later: str | None
    """The body of the latest notification about the ticket with which the person was tried already, if later."""
    handed_by: list[str]
    """People for whom it was and who could not be told."""
    failed_by: list[str]
    """The person's channels that did not take it."""


def begin(store: Store, site: str, one: Waiting) -> Held:
    """Write down that a message to a person is tried and what it holds; return that.

    All that waits for the person about the ticket goes into it, up to what has been tried before, by whatever channel:
    what may have arrived already must not become another message under the same key.
    """
    mine = (_d.site == site) & (_d.receiver == one.receiver) & _d.of_roster
    with store.transaction() as connection:
        if one.ticket and not one.attempts:
            fresh = _fresh(connection, mine, one.ticket)
            if one.key in fresh and len(fresh) > 1:
                folded = update(schema.delivery).where(mine, _d.notification.in_(fresh - {one.key}))
                connection.execute(folded.values(state="folded", folded_into=one.key))
        connection.execute(_the(site, one).values(attempts=one.attempts + 1))
        folded_in = select(_n.key, _n.body).select_from(_both).where(mine, _d.folded_into == one.key)
        holds = {one.key: one.body} | {row.key: row.body for row in connection.execute(folded_in.order_by(_n.id))}
        latest = _latest(connection, mine, one.ticket) if one.ticket else None
        later = None if latest is None or latest[0] in holds else latest[1]
        return Held(list(holds.values()), later, *_before(connection, mine, one, list(holds)))


def _fresh(connection: Connection, mine: Any, ticket: str) -> set[str]:
    """Return the oldest notifications that wait for a person about a ticket, up to the first that was tried before."""
    waiting = select(_d.notification).select_from(_both).where(mine, _waits, _n.ticket == ticket)
    attempts = (
        select(_n.id, _n.key, func.sum(_d.attempts).label("attempts"))
        .select_from(_both)
        .where(mine, _n.ticket == ticket, _d.notification.in_(waiting))
        .group_by(_n.id, _n.key)
        .order_by(_n.id)
    )
    return {row.key for row in itertools.takewhile(lambda row: not row.attempts, connection.execute(attempts))}


def _before(connection: Connection, mine: Any, one: Waiting, holds: list[str]) -> tuple[list[str], list[str]]:
    """Return from whom, and from which other channels, a message comes to a person over this channel."""
    query = select(_d.notification, _d.channel, _d.state, _d.handed_by).where(mine, _d.notification.in_(holds))
    rows = connection.execute(query).all()
    people = {row.handed_by for row in rows if row.handed_by}
    failed = {row.channel for row in rows if row.notification == one.key and row.state in ("passed", "failed")}
    return sorted(people), sorted(failed - {one.channel})


def _latest(connection: Connection, mine: Any, ticket: str) -> tuple[str, str] | None:
    """Return key and body of the latest notification about a ticket with which a person was tried."""
    tried = (_d.attempts > 0) | (_d.state == "folded")
    query = select(_n.key, _n.body).select_from(_both).where(mine, _n.ticket == ticket, tried)
    row = connection.execute(query.order_by(_n.id.desc()).limit(1)).first()
    return None if row is None else (row.key, row.body)


def settle(
    store: Store, site: str, one: Waiting, state: State, *, attempts: int, next_ms: int, error: str, wait_ms: int = 0
) -> None:
    """Note what became of a waiting delivery."""
    with store.transaction() as connection:
        connection.execute(
            _the(site, one).values(state=state, attempts=attempts, next_ms=next_ms, wait_ms=wait_ms, error=error)
        )


def told(store: Store, site: str, one: Waiting) -> list[str]:
    """Return the keys of all notifications that a message holds."""
    holds = select(_d.notification).where(_d.site == site, _d.receiver == one.receiver, _d.folded_into == one.key)
    with store.engine.connect() as connection:
        return [one.key, *connection.scalars(holds)]


def last_told_ms(store: Store, site: str, person: str, ticket: str) -> int | None:
    """Return when a person took the last message about a ticket (UTC ms)."""
    mine = (_d.site == site) & (_d.receiver == person) & _d.of_roster & (_n.ticket == ticket)
    query = select(func.max(_d.next_ms)).select_from(_both).where(mine, _d.state == "sent")
    with store.engine.connect() as connection:
        found: int | None = connection.scalar(query)
        return found


def give_up_unknown(store: Store, site: str, known: Iterable[tuple[str, str]], now_ms: int) -> int:
    """Mark as failed what waits for a receiver that is no longer configured; return how many. ``retry`` undoes it."""
    lanes = [Lane(site, *one) for one in known]
    lost = update(schema.delivery).where(_d.site == site, _d.state == "waiting", *(~_in(lane, _d) for lane in lanes))
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
    receiver: str | None = None,
    id: int | None = None,
    from_ms: int | None = None,
    until_ms: int | None = None,
    after: Place | None = None,
    limit: int = 200,
    sites: Collection[str] | None = None,
) -> list[Delivery]:
    """Return deliveries (``sites``: of these alone), those of the newest notification first.

    ``from_ms`` <= when the notification was made < ``until_ms``; ``after`` ended the page before.
    """
    own = (_n.id, _n.site, _n.key, _n.ticket, _n.body, _n.created_ms)
    its = (_d.receiver, _d.channel, _d.state, _d.attempts, _d.next_ms, _d.error, _d.of_roster, _d.folded_into)
    query = select(*own, *its).select_from(_both)
    asked = ((_n.site, site), (_n.ticket, ticket), (_d.state, state), (_d.receiver, receiver), (_n.id, id))
    for column, value in asked:
        if value is not None:
            query = query.where(column == value)
    if sites is not None:
        query = query.where(_n.site.in_(sites))
    if from_ms is not None:
        query = query.where(_n.created_ms >= from_ms)
    if until_ms is not None:
        query = query.where(_n.created_ms < until_ms)
    if after is not None:
        behind = tuple_(_d.receiver, _d.channel) > tuple_(after.receiver, after.channel)
        query = query.where((_n.id < after.id) | ((_n.id == after.id) & behind))
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
    values: dict[str, Any] = {"state": "waiting", "next_ms": now_ms, "wait_ms": 0, "attempts": 0}
    return connection.execute(change.values(**values)).rowcount


def _own(lane: Lane, columns: Any) -> Any:
    """Say whether a delivery is for the lane's own receiver."""
    return ~columns.of_roster & (columns.receiver == lane.receiver) & (columns.channel == lane.channel)


def _in(lane: Lane, columns: Any) -> Any:
    """Say whether a delivery goes by a lane."""
    return _own(lane, columns) | (columns.of_roster & (columns.channel == lane.receiver))


def _the(site: str, one: Waiting) -> Any:
    its = (_d.notification == one.key) & (_d.receiver == one.receiver) & (_d.channel == one.channel)
    return update(schema.delivery).where(_d.site == site, its, _d.state == "waiting")
