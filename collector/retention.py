"""What is let go, and when: the bounds of docs/retention.md, kept for one site while it is owned.

The log is kept for days and up to a bound in bytes; what a sink had not yet read of what goes is counted
(``log_given_up``, told in ``/metrics``) and logged with its numbers. Everything goes in small transactions, so that no
commit waits for long.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import time
from collections.abc import Callable, Sequence
from typing import Final

import msgspec
from sqlalchemy import delete, func, select

from collector.core.gap_record import KEPT_MS
from collector.sinks.history import DAY_MS, HOURS_KEPT_DAYS
from collector.site.in_force import LEARNT
from collector.store import log, schema
from collector.store.counters import count
from collector.store.store import Store

logger = logging.getLogger(__name__)

NOTIFICATION_DAYS: Final = 90
RUN_START_DAYS: Final = 90
MOST_CELLS: Final = 50_000
"""Of one site of which contact is remembered."""
MOST_COVERAGE: Final = 200_000
"""Rows of coverage of one site."""
LONGEST_DELETE_MS: Final = 6 * 3_600_000
"""So much history goes in one transaction."""
BATCHES_A_DELETE: Final = 1000


class Bounds(msgspec.Struct, frozen=True):
    """How long and how large the log and the chunks of a site may be."""

    log_days: float = 7.0
    log_bytes: int = 4 * 2**30
    history_days: float = 7.0
    history_bytes: int = 4 * 2**30


class Keeper:
    """Keeps one site's tables within ``bounds``. ``sinks`` are the names of those that read the log."""

    def __init__(
        self,
        store: Store,
        site: str,
        sinks: Sequence[str],
        bounds: Bounds,
        *,
        every_s: float = 60.0,
        now_ms: Callable[[], int] = lambda: time.time_ns() // 1_000_000,
    ) -> None:
        self._store = store
        self._site = site
        self._sinks = sinks
        self._bounds = bounds
        self._every_s = every_s
        self._now_ms = now_ms
        self._stop = asyncio.Event()

    async def run(self, stop: asyncio.Event) -> None:
        """Look every ``every_s`` until ``stop`` is set. Raises what the database raises: the caller begins anew."""
        self._stop = stop
        while not stop.is_set():
            with contextlib.suppress(TimeoutError):
                await asyncio.wait_for(stop.wait(), self._every_s)
                return
            await asyncio.to_thread(self.sweep)

    def sweep(self) -> None:
        """Let go what is beyond its bound. Blocking."""
        self._log()
        self._chunks()
        self._places()
        self._rest()

    def _log(self) -> None:
        bounds, first, last = self._bounds, 0, 0
        oldest_ms = self._now_ms() - round(bounds.log_days * DAY_MS)
        while not self._stop.is_set():
            with self._store.transaction() as connection:
                trimmed = log.trim(
                    connection,
                    self._site,
                    self._sinks,
                    oldest_ms=oldest_ms,
                    most_bytes=bounds.log_bytes,
                    limit=BATCHES_A_DELETE,
                )
            if trimmed.given_up is not None:
                first, last = first or trimmed.given_up[0], trimmed.given_up[1]
            elif trimmed.passed < BATCHES_A_DELETE:
                break
        if first:
            logger.error("site %s: batches %d to %d are given up: a sink is too far behind", self._site, first, last)

    def _chunks(self) -> None:
        t = schema.chunk.c
        here = t.site == self._site
        newer = func.sum(func.length(t.content)).over(order_by=t.latest_ms.desc(), range_=(None, 0))
        sized = select(t.latest_ms, newer.label("bytes")).where(here).subquery()
        too_many = select(func.max(sized.c.latest_ms)).where(sized.c.bytes > self._bounds.history_bytes)
        with self._store.engine.connect() as connection:
            too_many_ms = connection.scalar(too_many)
        old_ms = self._now_ms() - round(self._bounds.history_days * DAY_MS) - 1
        self._delete_chunks(old_ms)
        if too_many_ms is not None and too_many_ms > old_ms:
            gone = self._delete_chunks(too_many_ms)
            logger.warning("site %s: %d chunks are given up: history is at its bound in bytes", self._site, gone)
            with self._store.transaction() as connection:
                count(connection, self._site, "history_given_up", gone)

    def _delete_chunks(self, latest_ms: int) -> int:
        """Delete the chunks that end by ``latest_ms``; return how many."""
        t = schema.chunk
        here = t.c.site == self._site
        gone = 0
        while not self._stop.is_set():
            with self._store.transaction() as connection:
                first_ms = connection.scalar(select(func.min(t.c.latest_ms)).where(here))
                if first_ms is None or first_ms > latest_ms:
                    break
                until_ms = min(latest_ms, first_ms + LONGEST_DELETE_MS)
                gone += connection.execute(delete(t).where(here, t.c.latest_ms <= until_ms)).rowcount
        return gone

    def _places(self) -> None:
        """Let go what was learnt long ago, the oldest of what is too much, and editions that the log left behind."""
        edition, batch = schema.edition, schema.batch
        before_ms = self._now_ms() - KEPT_MS
        with self._store.transaction() as connection:
            for table, most in ((schema.gap, MOST_CELLS), (schema.coverage, MOST_COVERAGE)):
                here = table.c.site == self._site
                connection.execute(delete(table).where(here, table.c.last_ms < before_ms))
                last = select(table.c.last_ms).where(here).order_by(table.c.last_ms.desc()).offset(most).limit(1)
                if (beyond_ms := connection.scalar(last)) is not None:
                    gone = connection.execute(delete(table).where(here, table.c.last_ms <= beyond_ms)).rowcount
                    count(connection, self._site, "places_given_up", gone)
                    logger.warning("site %s: %d rows of %s are given up: too many", self._site, gone, table.name)
            oldest_ms = connection.scalar(select(func.min(batch.c.now_ms)).where(batch.c.site == self._site))
            for kind in LEARNT if oldest_ms is not None else ():
                its = (edition.c.site == self._site) & (edition.c.kind == kind)
                then = select(func.max(edition.c.number)).where(its, edition.c.at_ms <= oldest_ms)
                if (number := connection.scalar(then)) is not None:
                    connection.execute(delete(edition).where(its, edition.c.number < number))

    def _rest(self) -> None:
        now_ms, hour, start = self._now_ms(), schema.hour, schema.run_start
        told, delivery = schema.notification, schema.delivery
        old = (told.c.site == self._site) & (told.c.created_ms < now_ms - NOTIFICATION_DAYS * DAY_MS)
        its = (delivery.c.site == self._site) & delivery.c.notification.in_(select(told.c.key).where(old))
        with self._store.transaction() as connection:
            for table, column, days in (
                (hour, hour.c.hour_ms, HOURS_KEPT_DAYS),
                (start, start.c.noted_ms, RUN_START_DAYS),
            ):
                connection.execute(
                    delete(table).where(table.c.site == self._site, column < now_ms - days * DAY_MS)
                )  # fmt: skip
            connection.execute(delete(delivery).where(its, delivery.c.state != "waiting"))
            if lost := connection.execute(delete(delivery).where(its)).rowcount:
                count(connection, self._site, "notifications_given_up", lost)
                logger.error(
                    "site %s: %d notifications are given up after %d days", self._site, lost, NOTIFICATION_DAYS
                )
            connection.execute(delete(told).where(old))
