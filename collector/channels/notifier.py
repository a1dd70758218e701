"""Brings notifications to one receiver over one channel: waits, order, retries and figures, the same for all channels.

The rows are written by the commit that opened or resolved the ticket. One is sent after the other and marked before the
next, so that a crash repeats at most one, under the same key. Notifications about one ticket go in their order: a later
one waits until the one before it is delivered or refused for good. While the channel does not answer, it is asked with
one notification at a time, with back-off. Waits are kept by the monotonic clock: one that is set back delays nothing.
"""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Callable
from typing import Final

from collector.channels import deliveries
from collector.channels.channel import Channel, Delivered, Notification, Outcome, Refused, Retry
from collector.channels.deliveries import Lane, Waiting
from collector.outgoing import LONGEST_WAIT_S, Attempts, Progress, one_line, wait_for_any
from collector.store.store import Store

logger = logging.getLogger(__name__)

IDLE_S: Final = 10.0
"""So often the database is asked for what somebody wants sent again, if nobody tells."""


class Notifier:
    """The notifications of one site for one receiver. Waits are in seconds."""

    def __init__(
        self,
        store: Store,
        lane: Lane,
        channel: Channel,
        *,
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
        self._due_s: dict[str, float] = {}
        """When each waiting notification is due (monotonic), by key."""
        self._news = asyncio.Event()

    def wake(self) -> None:
        """Say that there may be something to send."""
        self._news.set()

    async def run(self, stop: asyncio.Event) -> None:
        """Deliver until ``stop`` is set. Raises what the database raises: the caller begins anew."""
        try:
            while not stop.is_set():
                self._news.clear()
                waiting = await asyncio.to_thread(deliveries.next_of_each_ticket, self._store, self.lane)
                now_s = self._monotonic()
                due = [one for one in waiting if self._due(one, now_s) <= now_s]
                if not due:
                    next_s = min((self._due_s[one.key] for one in waiting), default=now_s + IDLE_S)
                    await wait_for_any(min(IDLE_S, next_s - now_s), self._news, stop)
                for one in due:
                    wait_s = await self._deliver(one)
                    if wait_s is not None:
                        await wait_for_any(wait_s, stop)
                        break
                    if stop.is_set():
                        break
        finally:
            await self._channel.close()

    def _due(self, one: Waiting, now_s: float) -> float:
        """Return when a notification is due. What stands in the row counts once, and only if it can be meant."""
        if one.key not in self._due_s:
            wait_s = (one.next_ms - self._now_ms()) / 1000
            self._due_s[one.key] = now_s + wait_s if 0 < wait_s <= LONGEST_WAIT_S else now_s
        return self._due_s[one.key]

    async def _deliver(self, one: Waiting) -> float | None:
        """Send one notification and note what became of it; return how long to leave the channel alone, if it fails."""
        attempts = one.attempts + 1
        outcome = await self._send(one)
        most = self._channel.most_attempts
        if isinstance(outcome, Retry) and most is not None and attempts >= most:
            outcome = Refused(f"given up after {attempts} attempts: {outcome.words}")
        if isinstance(outcome, Retry):
            return await self._put_off(one, attempts, outcome)
        self._due_s.pop(one.key, None)
        if isinstance(outcome, Delivered):
            self.progress.refused_ms = None
            await self._settle(one, "sent", attempts, self._now_ms(), "")
        else:
            reason = self.progress.last_refusal = one_line(outcome.reason)
            self.progress.refused_ms = self._now_ms()
            logger.error("%s: notification %s is refused: %s", self._who, one.key, reason)
            await self._settle(one, "failed", attempts, self._now_ms(), reason)
        self._attempts.succeeded()
        return None

    async def _send(self, one: Waiting) -> Outcome:
        try:
            return await self._channel.send(Notification(one.key, one.ticket, one.body))
        except Exception as error:
            logger.exception("%s: notification %s", self._who, one.key)
            return Retry(f"{type(error).__name__}: {error}")

    async def _put_off(self, one: Waiting, attempts: int, retry: Retry) -> float:
        """Note that a notification has to wait. One that fails again and again lets the others pass meanwhile."""
        wait_s = self._attempts.failed(one_line(retry.words), retry.after_s)
        own_s = max(wait_s, min(self._longest_wait_s, 2.0 ** min(attempts, 20) / 10))
        self._due_s[one.key] = self._monotonic() + own_s
        await self._settle(one, "waiting", attempts, self._now_ms() + round(own_s * 1000), one_line(retry.words))
        return wait_s

    async def _settle(self, one: Waiting, state: deliveries.State, attempts: int, at_ms: int, error: str) -> None:
        await asyncio.to_thread(
            deliveries.settle, self._store, self.lane, one.key, state, attempts=attempts, next_ms=at_ms, error=error
        )
        if state != "waiting":
            self.progress.counts[state] += 1
