"""Brings notifications over one channel to its receiver or to people: waits, order, retries, figures.

The rows are written by the commit that opened or resolved the ticket. One is sent after the other and marked before the
next, so that a crash repeats at most one, under the same key. Notifications about one ticket go in their order: a later
one waits until the one before it is delivered, refused for good or with somebody else. While the channel does not
answer, it is asked with one notification at a time, with back-off. Waits are kept by the monotonic clock: one that is
set back delays nothing.
"""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Callable, Sequence
from typing import Final

import msgspec

from collector.channels import deliveries
from collector.channels.channel import Channel, Delivered, Notification, Outcome, Refused, Retry
from collector.channels.deliveries import Lane, Waiting
from collector.channels.people import People
from collector.core.notifications import Body, message_of, why_it_comes
from collector.outgoing import LONGEST_WAIT_S, Attempts, Progress, one_line, wait_for_any
from collector.store.store import Store

logger = logging.getLogger(__name__)

IDLE_S: Final = 10.0
"""So often the database is asked for what somebody wants sent again, if nobody tells."""


class Notifier:
    """The notifications of one site over one channel (docs/notifications.md). Waits are in seconds."""

    def __init__(
        self,
        store: Store,
        lane: Lane,
        channel: Channel,
        *,
        people: People | None = None,
        first_wait_s: float = 1.0,
        longest_wait_s: float = 60.0,
        now_ms: Callable[[], int] = lambda: time.time_ns() // 1_000_000,
        monotonic: Callable[[], float] = time.monotonic,
    ) -> None:
        self.lane = lane
        self.progress = Progress()
        self._store = store
        self._channel = channel
        self._longest_wait_s = longest_wait_s
        self._now_ms = now_ms
        self._monotonic = monotonic
        who = f"site {lane.site}: {lane.receiver} ({lane.channel})"
        self._who = who
        self._attempts = Attempts(who, self.progress, first_wait_s, longest_wait_s, now_ms)
        self._people = people or People(store, lane.site)
        self._people.wakes.append(self.wake)
        self._due_s: dict[tuple[str, str, str, int], float] = {}
        """When each delivery is due (monotonic), by notification, receiver, channel, and when it was meant to be."""
        self._rest_s = 0.0
        """Until when the channel is left alone (monotonic)."""
        self._failures = 0
        """Failures since something got through."""
        self._news = asyncio.Event()

    def wake(self) -> None:
        """Say that there may be something to send."""
        self._news.set()

    async def run(self, stop: asyncio.Event) -> None:
        """Deliver until ``stop`` is set. Raises what the database raises: the caller begins anew."""
        try:
            while not stop.is_set():
                self._news.clear()
                wait_s = await self.look(stop)
                if wait_s > 0:
                    await wait_for_any(wait_s, self._news, stop)
        finally:
            await self._channel.close()

    async def look(self, stop: asyncio.Event | None = None) -> float:
        """Send what is due; return how long nothing will be (seconds), as far as is known."""
        waiting = await asyncio.to_thread(deliveries.next_of_each_ticket, self._store, self.lane)
        due_s = await self._dues(waiting)
        worked = False
        for one, at_s in due_s:
            if at_s <= self._monotonic() and not (stop is not None and stop.is_set()):
                worked = await self._attend(one) or worked
        if worked:
            return 0.0
        now_s = self._monotonic()
        next_s = min((max(at_s, self._rest_s) for _, at_s in due_s), default=now_s + IDLE_S)
        return min(IDLE_S, next_s - now_s)

    async def _dues(self, waiting: Sequence[Waiting]) -> list[tuple[Waiting, float]]:
        """Return when each is due (monotonic). What stands in a row counts once: at most its own wait from then on."""
        due_s: dict[tuple[str, str, str, int], float] = {}
        found = []
        for one in waiting:
            at_ms, most_ms = (one.next_ms, one.wait_ms) if one.attempts else (one.earliest_ms, one.shortest_ms)
            name = (one.key, one.receiver, one.channel, at_ms)
            if name in self._due_s:
                due_s[name] = self._due_s[name]
            else:
                wait_ms = min(max(0, at_ms - self._now_ms()), most_ms)
                due_s[name] = self._monotonic() + wait_ms / 1000
            is_new = one.of_roster and not one.attempts
            found.append((one, max(due_s[name], await self._people.free_s(one)) if is_new else due_s[name]))
        self._due_s = due_s
        return found

    async def _attend(self, one: Waiting) -> bool:
        """Send what is due, or let another channel have it while this one is down; say whether anything was done."""
        if self._monotonic() >= self._rest_s:
            await self._deliver(one)
            return True
        if not one.of_roster or self._failures < self._people.telling.fail_over_after:
            return False
        return await self._people.pass_on(one, self.progress.error, tried=False)

    async def _deliver(self, one: Waiting) -> None:
        """Send one notification, or all that wait for a person about the ticket, and note what became of it."""
        attempts = one.attempts + 1
        outcome = await self._send(one)
        most = self._channel.most_attempts
        if isinstance(outcome, Retry) and outcome.busy:
            self._rest_s = self._monotonic() + min(outcome.after_s or 1.0, LONGEST_WAIT_S)
            await self._settle(one, "waiting", one.attempts, self._now_ms(), one_line(outcome.words))
            return
        if isinstance(outcome, Retry) and most is not None and attempts >= most:
            outcome = Refused(f"given up after {attempts} attempts: {outcome.words}")
        if isinstance(outcome, Retry):
            await self._fail(one, attempts, outcome)
            return
        self._failures = 0
        if isinstance(outcome, Delivered):
            self.progress.refused_ms = None
            keys = await asyncio.to_thread(deliveries.told, self._store, self.lane.site, one) if one.of_roster else []
            await self._settle(one, "sent", attempts, self._now_ms(), "")
            if one.of_roster:
                self._people.delivered(one, keys)
        else:
            await self._refuse(one, attempts, one_line(outcome.reason))
            if one.of_roster:  # another channel may have it, but one that refuses all that it is given must be seen
                self._attempts.refused(one_line(outcome.reason))
                return
        self._attempts.succeeded()

    async def _send(self, one: Waiting) -> Outcome:
        key, body = one.key, one.body
        if one.of_roster:
            held = await asyncio.to_thread(deliveries.begin, self._store, self.lane.site, one)
            bodies = [msgspec.json.decode(body, type=Body) for body in held.bodies]
            later = None if held.later is None else msgspec.json.decode(held.later, type=Body)
            why = why_it_comes(held.handed_by, held.failed_by, self._people.contract)
            message = message_of(bodies, one.receiver, one.address, later, why)
            key, body = message.id, msgspec.json.encode(message).decode()
        try:
            return await self._channel.send(Notification(key, one.ticket, body, one.address))
        except Exception as error:
            logger.exception("%s: notification %s", self._who, one.key)
            return Retry(f"{type(error).__name__}: {error}")

    async def _refuse(self, one: Waiting, attempts: int, reason: str) -> None:
        """Note that the channel will never take it; a person may be told by another one."""
        logger.error("%s: notification %s is refused: %s", self._who, one.key, reason)
        self.progress.last_refusal = reason
        if one.of_roster:
            self.progress.counts["failed"] += 1
            await self._people.pass_on(one, reason, refused=True)
            return
        self.progress.refused_ms = self._now_ms()
        await self._settle(one, "failed", attempts, self._now_ms(), reason)

    async def _fail(self, one: Waiting, attempts: int, retry: Retry) -> None:
        """Put a notification off, or pass it on. One that fails again and again lets the others pass meanwhile."""
        words = one_line(retry.words)
        wait_s = self._attempts.failed(words, retry.after_s)
        self._rest_s = self._monotonic() + wait_s
        self._failures += 1
        if one.of_roster and max(attempts, self._failures) >= self._people.telling.fail_over_after:
            await self._people.pass_on(one, words)
            return
        own_s = max(wait_s, min(self._longest_wait_s, 2.0 ** min(attempts, 20) / 10))
        next_ms = self._now_ms() + round(own_s * 1000)
        self._due_s[one.key, one.receiver, one.channel, next_ms] = self._monotonic() + own_s
        await self._settle(one, "waiting", attempts, next_ms, words, round(own_s * 1000))

    async def _settle(
        self, one: Waiting, state: deliveries.State, attempts: int, at_ms: int, error: str, wait_ms: int = 0
    ) -> None:
        await asyncio.to_thread(
            deliveries.settle,
            self._store,
            self.lane.site,
            one,
            state,
            attempts=attempts,
            next_ms=at_ms,
            error=error,
            wait_ms=wait_ms,
        )
        if state != "waiting":
            self.progress.counts[state] += 1
