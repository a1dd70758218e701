"""Notices to people: one channel, a webhook (DESIGN 2, The walk, 7).

The rows are written by the commit that opened or resolved the ticket. The drain posts them one after the other and
marks each before it begins the next, so that a crash repeats at most one; its ``Idempotency-Key`` tells the receiver.

2xx: sent. 4xx other than 408, 425 and 429: it will never be taken, ``failed`` with the receiver's words, until somebody
asks for it again (``retry``). Anything else is tried again until it is done, with back-off, and not before the time
that ``Retry-After`` names. While the channel does not answer, it is asked with one notice at a time.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import time
from collections.abc import Callable
from typing import Any, Final, Literal

import aiohttp
import msgspec
from sqlalchemy import Connection, Engine, func, select, update

from collector.outgoing import Progress
from collector.store import schema
from collector.store.store import Store
from telemetry.backoff import Backoff
from telemetry.files import FileError, read_secret
from telemetry.retry_after import retry_after_s

logger = logging.getLogger(__name__)

NAME: Final = "notices"
LONGEST_WAIT_S: Final = 600.0
"""However long a server asks us to wait, we look again after this."""
MAX_WORDS: Final = 500
_AGAIN: Final = frozenset({408, 425, 429})
"""Client errors that pass: timeout, too early, too many (RFC 9110, RFC 8470, RFC 6585)."""

State = Literal["waiting", "sent", "failed"]


class Delivery(msgspec.Struct, frozen=True, kw_only=True):
    """A notice and what became of it. ``next_ms`` is when it is tried next (waiting) or was settled; UTC ms."""

    site: str
    id: str
    ticket: str
    body: str
    created_ms: int
    state: State
    attempts: int
    next_ms: int
    error: str


class Refused(Exception):  # noqa: N818 - it is an answer, not a mistake
    """The receiver will never take this; its words."""


class NotNow(Exception):  # noqa: N818
    """It cannot be delivered now. ``wait_s`` is what the receiver asked for, if it did."""

    def __init__(self, words: str, wait_s: float | None = None) -> None:
        super().__init__(words)
        self.wait_s = wait_s


class Notifier:
    """The notices of one site. ``secret_file`` holds the receiver's bearer token (RFC 6750), read anew each time."""

    def __init__(
        self,
        store: Store,
        site: str,
        url: str,
        secret_file: str | None = None,
        *,
        first_wait_s: float = 1.0,
        longest_wait_s: float = 60.0,
        timeout_s: float = 10.0,
        now_ms: Callable[[], int] = lambda: time.time_ns() // 1_000_000,
    ) -> None:
        self.status = Progress()
        self._store = store
        self._site = site
        self._url = url
        self._secret_file = secret_file
        self._longest_wait_s = longest_wait_s
        self._timeout = aiohttp.ClientTimeout(total=timeout_s)
        self._now_ms = now_ms
        self._backoff = Backoff(first_wait_s, longest_wait_s)
        self._news = asyncio.Event()

    def wake(self) -> None:
        """Say that there may be a new notice."""
        self._news.set()

    async def run(self, stop: asyncio.Event) -> None:
        """Deliver until ``stop`` is set. Raises what the database raises: the caller begins anew."""
        async with aiohttp.ClientSession(timeout=self._timeout) as session:
            while not stop.is_set():
                self._news.clear()
                row = await asyncio.to_thread(self._next)
                if row is None:
                    await self._wait(self._news.wait(), 1.0)
                    continue
                wait_s = await self._deliver(session, row)
                if wait_s is not None:
                    await self._wait(stop.wait(), wait_s)

    async def _deliver(self, session: aiohttp.ClientSession, row: Delivery) -> float | None:
        """Send one notice and note what became of it; return how long to leave the channel alone, if it is away."""
        attempts = row.attempts + 1
        try:
            await self._post(session, row)
        except Refused as refused:
            logger.error("site %s: notice %s is refused: %s", self._site, row.id, refused)
            await asyncio.to_thread(self._settle, row.id, "failed", attempts, self._now_ms(), str(refused))
            self.status.counts["failed"] += 1
        except NotNow as not_now:
            return await self._put_off(row, attempts, not_now)
        else:
            await asyncio.to_thread(self._settle, row.id, "sent", attempts, self._now_ms(), "")
            self.status.counts["sent"] += 1
        if self.status.failing_since_ms is not None:
            logger.info("site %s: notices are delivered again", self._site)
        self._backoff.reset()
        self.status.error, self.status.failing_since_ms = "", None
        return None

    async def _put_off(self, row: Delivery, attempts: int, not_now: NotNow) -> float:
        """Note that a notice has to wait. One that fails again and again lets the others pass meanwhile."""
        if self.status.failing_since_ms is None:
            self.status.failing_since_ms = self._now_ms()
            logger.warning("site %s: notices: %s", self._site, not_now)
        self.status.error = str(not_now)
        self.status.counts["retries"] += 1
        wait_s = self._backoff.next()
        if not_now.wait_s is not None:
            wait_s = min(max(wait_s, not_now.wait_s), LONGEST_WAIT_S)
        own_s = max(wait_s, min(self._longest_wait_s, 2.0 ** min(attempts, 20) / 10))
        next_ms = self._now_ms() + round(own_s * 1000)
        await asyncio.to_thread(self._settle, row.id, "waiting", attempts, next_ms, str(not_now))
        return wait_s

    async def _post(self, session: aiohttp.ClientSession, row: Delivery) -> None:
        """Post a notice once. Raises Refused or NotNow."""
        headers = {"Content-Type": "application/json; charset=utf-8", "Idempotency-Key": row.id}
        try:
            if self._secret_file is not None:
                headers["Authorization"] = f"Bearer {read_secret(self._secret_file, 'notices.secret_file')}"
            async with session.post(
                self._url, data=row.body.encode(), headers=headers, allow_redirects=False
            ) as answer:  # fmt: skip
                if 200 <= answer.status < 300:
                    return
                words = f"{answer.status}: {_line(await answer.content.read(4 * MAX_WORDS))}"
                if 400 <= answer.status < 500 and answer.status not in _AGAIN:
                    raise Refused(words)
                raise NotNow(words, retry_after_s(answer.headers.get("Retry-After", ""), self._now_ms()))
        except (aiohttp.ClientError, TimeoutError, OSError, FileError) as error:
            raise NotNow(_line(f"{type(error).__name__}: {error}".encode())) from None

    async def _wait(self, what: Any, seconds: float) -> None:
        with contextlib.suppress(TimeoutError):
            await asyncio.wait_for(what, seconds)

    # --- the database -------------------------------------------------------------------------------------------------

    def _next(self) -> Delivery | None:
        """Return the notice that is due, the oldest first."""
        d = schema.delivery.c
        query = (
            _query()
            .where(d.site == self._site, d.state == "waiting", d.next_ms <= self._now_ms())
            .order_by(d.next_ms, schema.notification.c.id)
            .limit(1)
        )
        with self._store.engine.connect() as connection:
            row = connection.execute(query).one_or_none()
        return None if row is None else Delivery(**row._mapping)

    def _settle(self, id: str, state: State, attempts: int, next_ms: int, error: str) -> None:
        t = schema.delivery
        change = update(t).where(t.c.site == self._site, t.c.notification == id, t.c.state == "waiting")
        error = error.replace("\0", "\N{REPLACEMENT CHARACTER}")
        with self._store.transaction() as connection:
            connection.execute(change.values(state=state, attempts=attempts, next_ms=next_ms, error=error))


def _query() -> Any:
    n, d = schema.notification.c, schema.delivery.c
    both = schema.delivery.join(schema.notification, (d.site == n.site) & (d.notification == n.key))
    columns = (n.site, n.key.label("id"), n.ticket, n.body, n.created_ms, d.state, d.attempts, d.next_ms, d.error)
    return select(*columns).select_from(both)


def deliveries(
    engine: Engine, *, site: str | None = None, ticket: str | None = None, state: State | None = None, limit: int = 200
) -> list[Delivery]:
    """Return notices and what became of them, the newest first."""
    n, d = schema.notification.c, schema.delivery.c
    query = _query().order_by(n.id.desc()).limit(limit)
    for column, value in ((n.site, site), (n.ticket, ticket), (d.state, state)):
        if value is not None:
            query = query.where(column == value)
    with engine.connect() as connection:
        return [Delivery(**row._mapping) for row in connection.execute(query)]


def waiting(store: Store, site: str) -> tuple[int, int | None]:
    """Return how many notices wait, and when the oldest of them was made (UTC ms)."""
    n, d = schema.notification.c, schema.delivery.c
    both = schema.delivery.join(schema.notification, (d.site == n.site) & (d.notification == n.key))
    query = select(func.count(), func.min(n.created_ms)).select_from(both).where(d.site == site, d.state == "waiting")
    with store.engine.connect() as connection:
        row = connection.execute(query).one()
    return row[0], row[1]


def failed(store: Store, site: str) -> int:
    """Return how many notices the receiver refused."""
    t = schema.delivery.c
    with store.engine.connect() as connection:
        return connection.scalar(select(func.count()).where(t.site == site, t.state == "failed")) or 0


def retry(connection: Connection, site: str, id: str, now_ms: int) -> bool:
    """Ask for a failed notice to be sent after all, within ``store.transaction()``; return whether there is one."""
    t = schema.delivery
    change = update(t).where(t.c.site == site, t.c.notification == id, t.c.state == "failed")
    return connection.execute(change.values(state="waiting", next_ms=now_ms)).rowcount == 1


def _line(words: bytes) -> str:
    """Return the receiver's words in one line."""
    return " ".join(words.decode("utf-8", "replace").split())[:MAX_WORDS]
