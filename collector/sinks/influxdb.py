"""What was committed, to InfluxDB: by cursor, until it is there (DESIGN 2, "One transaction, then a log").

A write that failed for a while (429, 503, 401 after a token change, no network) is tried again, as long as it takes.
A write that the server refuses for what it holds (400, 422) is halved until the lines to blame are alone: the good ones
are stored, each bad one becomes a dead letter with the server's words. Points outside the window are not sent at all:
older than the bucket's retention, or more than five minutes ahead of when they came in. The cursor moves in the
transaction that writes the dead letters. Writing twice writes the same points.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import time
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import Any, Final

import aiohttp
import msgspec
from influxdb_client.client.exceptions import InfluxDBError
from influxdb_client.client.influxdb_client_async import InfluxDBClientAsync
from influxdb_client.domain.write_precision import WritePrecision
from sqlalchemy import delete, select, update

from collector.config import InfluxDB
from collector.outgoing import Progress
from collector.sinks.lines import LinePlan
from collector.store import log, queries, schema
from collector.store.batch import Batch, Group
from collector.store.store import Store
from telemetry.backoff import Backoff
from telemetry.files import FileError, read_secret
from telemetry.records import Schema
from telemetry.retry_after import retry_after_s

logger = logging.getLogger(__name__)

NAME: Final = "influxdb"
"""The drain's name in the tables ``cursor`` and ``dead_letter``."""
LINES_A_REQUEST: Final = 5_000
BATCHES_A_READ: Final = 50
FUTURE_MS: Final = 5 * 60_000
LONGEST_WAIT_S: Final = 600.0
"""However long a server asks us to wait, we look again after this."""
TIMEOUT_MS: Final = 30_000
_REFUSED: Final = frozenset({400, 413, 422})


class Refused(Exception):  # noqa: N818 - it is an answer, not a mistake
    """The server will never take this as it is; its words."""


class NotNow(Exception):  # noqa: N818
    """The server cannot take it now. ``wait_s`` is what it asked for, if it did."""

    def __init__(self, words: str, wait_s: float | None = None, status: int | None = None) -> None:
        super().__init__(words)
        self.wait_s = wait_s
        self.status = status


@dataclass(frozen=True, slots=True)
class Letter:
    """Lines that are not in InfluxDB, and why. ``batch`` is where they come from."""

    batch: int
    content: str
    reason: str


class InfluxSink:
    """The drain of one site."""

    def __init__(
        self,
        store: Store,
        site: str,
        config: InfluxDB,
        *,
        first_wait_s: float = 1.0,
        longest_wait_s: float = 60.0,
        now_ms: Callable[[], int] = lambda: time.time_ns() // 1_000_000,
    ) -> None:
        self.status = Progress()
        self._store = store
        self._site = site
        self._config = config
        self._now_ms = now_ms
        self._backoff = Backoff(first_wait_s, longest_wait_s)
        self._plans: dict[tuple[str, str, str], LinePlan | None] = {}
        self._client: InfluxDBClientAsync | None = None
        self._news = asyncio.Event()
        self._stop = asyncio.Event()

    def wake(self) -> None:
        """Say that something was committed."""
        self._news.set()

    async def run(self, stop: asyncio.Event) -> None:
        """Deliver until ``stop`` is set. Raises only for faults of ours."""
        self._stop = stop
        try:
            self.status.position = await asyncio.to_thread(log.position, self._store, self._site, NAME)
            while not stop.is_set():
                self._news.clear()
                if not await self._step():
                    await self._retry_letters()
                    await self._wait(self._news.wait(), 1.0)
        except _Stopped:
            pass
        finally:
            await self._close_client()

    async def _step(self) -> bool:
        """Deliver the next batches; return whether there were any."""
        batches = await asyncio.to_thread(log.read, self._store, self._site, self.status.position, BATCHES_A_READ)
        if not batches:
            return False
        given_up = batches[-1].number - self.status.position - len(batches)
        if given_up and self.status.position:
            self.status.counts["gap_batches"] += given_up
            logger.error("site %s: %d batches were given up before InfluxDB had them", self._site, given_up)
        lines, letters = await asyncio.to_thread(self._lines, batches)
        for at in range(0, len(lines), LINES_A_REQUEST):
            letters += await self._deliver(lines[at : at + LINES_A_REQUEST])
        await asyncio.to_thread(self._advance, batches[-1].number, letters)
        self.status.position = batches[-1].number
        return True

    # --- lines --------------------------------------------------------------------------------------------------------

    def _lines(self, batches: list[Batch]) -> tuple[list[tuple[int, str]], list[Letter]]:
        """Return (batch, line) of all points inside the window, and what is held back. Runs in a thread."""
        oldest_ms = self._now_ms() - round(self._config.retention_days * 86_400_000)
        lines: list[tuple[int, str]] = []
        letters: list[Letter] = []
        for batch in batches:
            held: dict[str, list[str]] = {}
            for group in batch.groups:
                for time_ms, schema_id, values in samples(group):
                    plan = self._plan(group, schema_id)
                    if plan is None:
                        held.setdefault(f"schema {schema_id} is unknown", []).append(repr(values))
                        continue
                    made = plan.lines(values, time_ms)
                    if time_ms < oldest_ms:
                        held.setdefault(f"older than {self._config.retention_days:g} days", []).extend(made)
                    elif time_ms > batch.received_ms + FUTURE_MS:
                        held.setdefault("more than 5 minutes ahead of the centre's clock", []).extend(made)
                    else:
                        lines += [(batch.number, line) for line in made]
            for reason, content in held.items():
                self.status.counts["held_back"] += len(content)
                letters.append(Letter(batch.number, "\n".join(content), reason))
        return lines, letters

    def _plan(self, group: Group, schema_id: str) -> LinePlan | None:
        key = (group.vehicle, group.agent, schema_id)
        if key not in self._plans:
            t = schema.schema.c
            query = select(t.content).where(
                t.site == self._site, t.vehicle == group.vehicle, t.agent == group.agent, t.id == schema_id
            )
            with self._store.engine.connect() as connection:
                found = connection.scalar(query)
            known = msgspec.json.decode(found, type=Schema) if found is not None else None
            self._plans[key] = LinePlan(self._site, group.vehicle, group.agent, known) if known else None
        return self._plans[key]

    # --- the server ---------------------------------------------------------------------------------------------------

    async def _deliver(self, lines: list[tuple[int, str]]) -> list[Letter]:
        """Write lines, waiting as long as it takes; return those that the server refuses."""
        try:
            await self._post_until_answered("\n".join(line for _, line in lines))
        except Refused as refused:
            if len(lines) == 1:
                self.status.counts["refused"] += 1
                return [Letter(lines[0][0], lines[0][1], str(refused))]
            middle = len(lines) // 2
            return await self._deliver(lines[:middle]) + await self._deliver(lines[middle:])
        self.status.counts["lines"] += len(lines)
        return []

    async def _post_until_answered(self, body: str) -> None:
        """Write ``body``. Raises Refused; anything else is tried again, and ``_Stopped`` when we are to stop."""
        while True:
            try:
                await self._post_unless_stopped(body)
            except NotNow as not_now:
                if self.status.failing_since_ms is None:
                    self.status.failing_since_ms = self._now_ms()
                    logger.warning("site %s: InfluxDB: %s", self._site, not_now)
                self.status.error = str(not_now)
                self.status.counts["retries"] += 1
                wait_s = self._backoff.next()
                if not_now.wait_s is not None:
                    wait_s = min(max(wait_s, not_now.wait_s), LONGEST_WAIT_S)
                await self._close_client()  # the next attempt reads the token anew
                await self._wait(self._stop.wait(), wait_s)
                if self._stop.is_set():
                    raise _Stopped from None
            else:
                self._backoff.reset()
                if self.status.failing_since_ms is not None:
                    logger.info("site %s: InfluxDB answers again", self._site)
                self.status.error, self.status.failing_since_ms = "", None
                return

    async def _post_unless_stopped(self, body: str) -> None:
        """Write ``body`` once; a server that hangs must not hold up our end. What it took all the same is no harm."""
        post = asyncio.ensure_future(self._post(body))
        stopping = asyncio.ensure_future(self._stop.wait())
        try:
            await asyncio.wait({post, stopping}, return_when=asyncio.FIRST_COMPLETED)
            if not post.done():
                raise _Stopped
            post.result()
        finally:
            for task in (post, stopping):
                task.cancel()
            await asyncio.gather(post, stopping, return_exceptions=True)

    async def _post(self, body: str) -> None:
        """Write ``body`` once. Raises Refused or NotNow."""
        try:
            if self._client is None:
                token = read_secret(self._config.token_file, "influxdb.token_file")
                self._client = InfluxDBClientAsync(self._config.url, token, org=self._config.org, timeout=TIMEOUT_MS)
            precision: Any = WritePrecision.MS
            await self._client.write_api().write(self._config.bucket, record=body.encode(), write_precision=precision)
        except InfluxDBError as error:
            raise _explain(error, self._now_ms()) from None
        except (aiohttp.ClientError, TimeoutError, OSError, FileError) as error:
            raise NotNow(f"{type(error).__name__}: {error}") from None

    async def _close_client(self) -> None:
        client, self._client = self._client, None
        if client is not None:
            await client.close()  # type: ignore[no-untyped-call]

    async def _wait(self, what: Any, seconds: float) -> None:
        with contextlib.suppress(TimeoutError):
            await asyncio.wait_for(what, seconds)

    # --- the database -------------------------------------------------------------------------------------------------

    def _advance(self, number: int, letters: Iterable[Letter]) -> None:
        by_batch: dict[int, list[tuple[str, str]]] = {}
        for letter in letters:
            by_batch.setdefault(letter.batch, []).append((letter.content, letter.reason))
        with self._store.transaction() as connection:
            for batch, told in by_batch.items():
                queries.add_dead_letters(connection, self._site, NAME, batch, told, self._now_ms())
            log.advance(connection, self._site, NAME, number)

    async def _retry_letters(self) -> None:
        """Send again what somebody asked for (``kitwatch deadletters retry``)."""
        engine = self._store.engine
        asked = await asyncio.to_thread(
            lambda: queries.list_dead_letters(engine, site=self._site, sink=NAME, state="retry", limit=100)
        )
        for letter in asked:
            try:
                await self._post_until_answered(letter.content)
            except Refused as refused:
                await asyncio.to_thread(self._settle, letter.id, str(refused))
            else:
                self.status.counts["lines"] += 1 + letter.content.count("\n")
                await asyncio.to_thread(self._settle, letter.id, None)

    def _settle(self, id: int, refused: str | None) -> None:
        table = schema.dead_letter
        with self._store.transaction() as connection:
            if refused is None:
                connection.execute(delete(table).where(table.c.id == id))
            else:
                connection.execute(update(table).where(table.c.id == id).values(state="held", reason=refused))


class _Stopped(Exception):  # noqa: N818
    """We are to stop while a write waits."""


def samples(group: Group) -> Iterable[tuple[int, str, list[Any]]]:
    """Yield (UTC ms, schema, values) of every sample that a clock places; the others have no time to be stored at."""
    for moment in group.moments:
        clock = None if moment.clock is None else group.clocks.get(moment.clock)
        if clock is None:
            continue
        time_ms = clock.place(moment.mono_ms)
        for entry in moment.entries:
            if len(entry) == 2:
                yield time_ms, entry[0], entry[1]


def _explain(error: InfluxDBError, now_ms: int) -> Refused | NotNow:
    """Return what an answer means to us."""
    status = getattr(error, "status", None)
    words = _words(error)
    if status in _REFUSED:
        return Refused(words)
    headers = getattr(error, "headers", None) or {}
    asked = headers.get("Retry-After") or headers.get("retry-after") or ""
    return NotNow(f"{status}: {words}", retry_after_s(asked, now_ms), status)


def _words(error: InfluxDBError) -> str:
    """Return the server's own words, in one line."""
    body = getattr(error, "body", None) or getattr(error, "message", None) or str(error)
    text = body.decode("utf-8", "replace") if isinstance(body, bytes) else str(body)
    try:
        told = msgspec.json.decode(text)
        text = str(told.get("message") or told.get("error") or text) if isinstance(told, dict) else text
    except msgspec.DecodeError:
        pass
    return " ".join(text.split())[:500]
