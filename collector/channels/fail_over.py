"""Which channel or person has a message next that a channel did not take (docs/notifications.md). Blocking."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Final, Literal

import msgspec
from sqlalchemy import Connection, exists, insert, select, update

from collector.channels.deliveries import Waiting
from collector.core.contract import Contract
from collector.core.notifications import Body
from collector.core.recipients import others_for, wait_ms, ways_of
from collector.core.roster import Way
from collector.store import schema
from collector.store.store import Store
from telemetry.faults import SlaClass

Passed = Literal["passed", "again", "given_up", "nobody"]
"""The next has it; nobody is left, so that all are tried again; that neither; it was left as it is (not ``tried``)."""
_d, _n = schema.delivery.c, schema.notification.c
_body: Final = msgspec.json.Decoder(Body).decode


class FailOver:
    """Passes on what one message holds, in one transaction. ``known``: the names of the channels that there are."""

    def __init__(self, store: Store, site: str, contract: Contract, known: frozenset[str], now_ms: int) -> None:
        self._store = store
        self._site = site
        self._contract = contract
        self._known = known
        self._now_ms = now_ms

    def pass_on(self, one: Waiting, words: str, *, refused: bool, tried: bool, again_ms: int) -> Passed:
        """Give a message to the next channel or person; where there is none, to all anew after ``again_ms``.

        ``words`` say why, ``refused`` that this channel will never take it. Not ``tried``: only if there is a next one.
        """
        with self._store.transaction() as connection:
            passed = self._next_channel(connection, one) or self._next_person(connection, one)
            if not passed and not tried:
                return "nobody"
            state = "failed" if refused else "passed"
            self._set(connection, one.key, one.receiver, one.channel, state=state, next_ms=self._now_ms, error=words)
            if passed:
                return "passed"
            if self._all_again(connection, one, again_ms):
                return "again"
            self._set(connection, one.key, one.receiver, one.channel, state="failed")
            return "given_up"

    def _next_channel(self, connection: Connection, one: Waiting) -> bool:
        """Let the person's next channel have it that has not refused it."""
        ways = self._ways(one.receiver)
        names = [way.by for way in ways]
        rows = self._rows(connection, one.key, one.receiver)
        for way in ways[names.index(one.channel) + 1 :] if one.channel in names else ways:
            if way.by not in rows:
                self._add(connection, one.key, one.receiver, way, 0)
                return True
            if rows[way.by] == "passed":
                self._set(connection, one.key, one.receiver, way.by, state="waiting", next_ms=self._now_ms, wait_ms=0)
                return True
        return False

    def _next_person(self, connection: Connection, one: Waiting) -> bool:
        """Let somebody else have what the message holds: each notification goes to the next who does not have it."""
        others = others_for(self._contract, one.receiver, self._known, self._now_ms)
        sla_class: SlaClass = _body(one.body).sla_class  # type: ignore[assignment]
        found = False
        for key in self._holds(connection, one):
            told = self._people(connection, key)
            other = next((id for id in others if id not in told), None)
            if other is not None:
                wait = wait_ms(self._contract, other, sla_class, self._now_ms, group=False)
                self._add(connection, key, other, self._ways(other)[0], wait)
                found = True
        return found

    def _all_again(self, connection: Connection, one: Waiting, again_ms: int) -> bool:
        """Let each person whose channels have all failed begin anew who was told nothing later about the ticket."""
        found = False
        for person in self._people(connection, one.key):
            rows = self._rows(connection, one.key, person)
            names = [*(way.by for way in self._ways(person)), *rows]
            first = next((name for name in names if rows.get(name) == "passed"), None)
            if (
                first is None
                or not {"passed", "failed"}.issuperset(rows.values())
                or self._later(connection, one, person)
            ):
                continue
            next_ms = self._now_ms + again_ms
            self._set(connection, one.key, person, first, state="waiting", next_ms=next_ms, wait_ms=again_ms)
            found = True
        return found

    def _later(self, connection: Connection, one: Waiting, person: str) -> bool:
        """Say whether a person has been told something later about the ticket."""
        own = select(_n.id).where(_n.site == self._site, _n.key == one.key).scalar_subquery()
        later = exists().where(
            _d.site == self._site, _d.receiver == person, _d.of_roster, _d.state == "sent",
            _n.site == _d.site, _n.key == _d.notification, _n.ticket == one.ticket, _n.id > own,
        )  # fmt: skip
        return bool(one.ticket) and bool(connection.scalar(select(later)))

    # --- rows ---------------------------------------------------------------------------------------------------------

    def _ways(self, person: str) -> Sequence[Way]:
        return ways_of(self._contract, person, self._known)

    def _rows(self, connection: Connection, key: str, person: str) -> dict[str, str]:
        """Return the states of a person's deliveries of a notification, by channel."""
        its = (_d.site == self._site) & (_d.notification == key) & (_d.receiver == person)
        return {row.channel: row.state for row in connection.execute(select(_d.channel, _d.state).where(its))}

    def _people(self, connection: Connection, key: str) -> list[str]:
        query = select(_d.receiver).where(_d.site == self._site, _d.notification == key, _d.of_roster)
        return sorted(set(connection.scalars(query)))

    def _holds(self, connection: Connection, one: Waiting) -> Iterable[str]:
        folded = (_d.site == self._site) & (_d.receiver == one.receiver) & (_d.folded_into == one.key)
        return [one.key, *connection.scalars(select(_d.notification).where(folded))]

    def _add(self, connection: Connection, key: str, person: str, way: Way, wait: int) -> None:
        connection.execute(
            insert(schema.delivery).values(
                site=self._site, notification=key, receiver=person, channel=way.by, of_roster=True,
                address=way.address, next_ms=self._now_ms + wait, wait_ms=wait,
            )
        )  # fmt: skip

    def _set(self, connection: Connection, key: str, person: str, channel: str, **values: object) -> None:
        its = (_d.notification == key) & (_d.receiver == person) & (_d.channel == channel)
        connection.execute(update(schema.delivery).where(_d.site == self._site, its).values(**values))
