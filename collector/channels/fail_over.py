"""Which channel or person has a message next that a channel did not take (docs/notifications.md). Blocking."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Final, NamedTuple

import msgspec
from sqlalchemy import Connection, insert, select, update

from collector.channels.deliveries import Waiting
from collector.core.contract import Contract
from collector.core.notifications import Body
from collector.core.recipients import others_for, wait_ms, ways_of
from collector.core.roster import Way
from collector.store import schema
from collector.store.store import Store
from telemetry.faults import SlaClass

_d = schema.delivery.c
_body: Final = msgspec.json.Decoder(Body).decode


class Passed(NamedTuple):
    """What became of a message that is passed on."""

    done: bool
    """Anything: else it was left as it is (not ``tried``, and nobody to turn to)."""
    nobody: Mapping[str, bool]
    """Notifications in it for which nobody is left, and whether they are given up: else all are tried again."""


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
            state = "failed" if refused else "passed"
            if self._next_channel(connection, one):
                self._set(
                    connection, one.key, one.receiver, one.channel, state=state, next_ms=self._now_ms, error=words
                )
                return Passed(True, {})
            holds = self._holds(connection, one)
            left = [key for key in holds if not self._next_person(connection, one, key)]
            if left == holds and not tried:
                return Passed(False, {})
            self._set(connection, one.key, one.receiver, one.channel, state=state, next_ms=self._now_ms, error=words)
            nobody = {key: not self._all_again(connection, key, again_ms) for key in left}
            if nobody.get(one.key):
                self._set(connection, one.key, one.receiver, one.channel, state="failed")
            return Passed(True, nobody)

    def _next_channel(self, connection: Connection, one: Waiting) -> bool:
        """Let the person's next channel have it that has not refused it."""
        ways = self._ways(one.receiver)
        names = [way.by for way in ways]
        rows = self._rows(connection, one.key, one.receiver)
        for way in ways[names.index(one.channel) + 1 :] if one.channel in names else ways:
            if way.by not in rows:
                self._add(connection, one.key, one.receiver, way, 0, "")
                return True
            if rows[way.by] == "passed":
                self._set(connection, one.key, one.receiver, way.by, state="waiting", next_ms=self._now_ms, wait_ms=0)
                return True
        return False

    def _next_person(self, connection: Connection, one: Waiting, key: str) -> bool:
        """Let somebody else have a notification of the message: the next who does not have it."""
        told = self._people(connection, key)
        others = others_for(self._contract, one.receiver, self._known, self._now_ms)
        other = next((id for id in others if id not in told), None)
        if other is None:
            return False
        sla_class: SlaClass = _body(one.body).sla_class  # type: ignore[assignment]
        wait = wait_ms(self._contract, other, sla_class, self._now_ms, group=False)
        self._add(connection, key, other, self._ways(other)[0], wait, one.receiver)
        return True

    def _all_again(self, connection: Connection, key: str, again_ms: int) -> bool:
        """Let each person whose channels have all failed begin anew, with the message in which the notification is.

        Say whether anybody is to be told it now.
        """
        found = False
        for person in self._people(connection, key):
            first_of = self._message(connection, key, person)
            rows = self._rows(connection, first_of, person)
            names = [*(way.by for way in self._ways(person)), *rows]
            first = next((name for name in names if rows.get(name) == "passed"), None)
            if {"passed", "failed"}.issuperset(rows.values()) and first is not None:
                next_ms = self._now_ms + again_ms
                self._set(connection, first_of, person, first, state="waiting", next_ms=next_ms, wait_ms=again_ms)
                found = True
            found = found or "waiting" in rows.values()
        return found

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

    def _message(self, connection: Connection, key: str, person: str) -> str:
        """Return the first notification of the message in which a person has one."""
        its = (_d.site == self._site) & (_d.notification == key) & (_d.receiver == person) & (_d.state == "folded")
        return connection.scalar(select(_d.folded_into).where(its)) or key

    def _holds(self, connection: Connection, one: Waiting) -> list[str]:
        folded = (_d.site == self._site) & (_d.receiver == one.receiver) & (_d.folded_into == one.key)
        return [one.key, *connection.scalars(select(_d.notification).where(folded))]

    def _add(self, connection: Connection, key: str, person: str, way: Way, wait: int, by: str) -> None:
        connection.execute(
            insert(schema.delivery).values(
                site=self._site, notification=key, receiver=person, channel=way.by, of_roster=True,
                address=way.address, next_ms=self._now_ms + wait, wait_ms=wait, handed_by=by,
            )
        )  # fmt: skip

    def _set(self, connection: Connection, key: str, person: str, channel: str, **values: object) -> None:
        its = (_d.notification == key) & (_d.receiver == person) & (_d.channel == channel)
        connection.execute(update(schema.delivery).where(_d.site == self._site, its).values(**values))
