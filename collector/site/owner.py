"""The owner of one site: its lock, MQTT session, vehicles in memory and commit loop (docs/architecture.md).

An ownership begins with the lock, loads what is committed and ends with the first thing that it cannot be sure of: a
lost lock, a failed commit. Then the same process stands in line again like any other, so that there is one way to begin
and none to repair. Messages that were not acknowledged come again, and so do records that their agent was not told of.

All that blocks on the database runs in the ownership's one worker thread; everything else runs in the event loop.
"""

from __future__ import annotations

import asyncio
import contextlib
import functools
import logging
import os
import socket
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Final

import msgspec
from sqlalchemy import delete, select
from sqlalchemy.exc import SQLAlchemyError

from collector.config import Timings
from collector.core.contract import Contract
from collector.site.caution import Caution
from collector.site.handover import Handover
from collector.site.health import Watched
from collector.site.in_force import LEARNT, EditionError, InForce, digest
from collector.site.memory import Memory
from collector.site.mqtt import Connection
from collector.site.ownership import Ownership, Parts
from collector.site.quotas import Quotas
from collector.site.receipts import FORGET_AFTER_MS
from collector.site.session import RECEIVE_MAXIMUM
from collector.site.status import Status
from collector.store import editions, queries, schema
from collector.store.commit import SiteConnection
from collector.store.errors import StoreError
from collector.store.rows import Changes, DamagedRow
from collector.store.store import Store
from telemetry.backoff import Backoff
from telemetry.fleet import Broker
from telemetry.mqtt import MqttConnection

log = logging.getLogger(__name__)

MOST_TOLD: Final = 20
"""So many damaged rows are named in log and status."""

__all__ = ["RECEIVE_MAXIMUM", "SiteOwner", "Status", "wall_ms"]


def wall_ms() -> int:
    """Return the time, UTC milliseconds."""
    return time.time_ns() // 1_000_000


class SiteOwner:
    """Stands in line for a site and owns it when its turn comes, until it is stopped.

    ``companions`` are run beside each ownership and told to stop with it: the site's sinks and notifier. ``watched``
    are the parts of the centre of which the site's tickets tell. ``handover`` brings what drains have learnt.
    """

    def __init__(
        self,
        in_force: InForce,
        broker: Broker,
        store: Store,
        timings: Timings,
        *,
        now_ms: Callable[[], int] = wall_ms,
        on_commit: Callable[[Changes], None] = lambda changes: None,
        companions: Sequence[Callable[[asyncio.Event], Awaitable[None]]] = (),
        connect: Callable[..., MqttConnection] = Connection,
        quotas: Quotas | None = None,
        watched: Sequence[Watched] = (),
        handover: Handover | None = None,
    ) -> None:
        self.in_force = in_force
        self.status = Status()
        self.handover = handover or Handover()
        self._parts = Parts(
            in_force,
            broker,
            store,
            timings,
            now_ms,
            on_commit,
            quotas or Quotas(),
            connect,
            watched=tuple(watched),
            handover=self.handover,
        )
        self._store = store
        self._now_ms = now_ms
        self._timings = timings
        self._companions = companions
        self._caution = Caution()
        self._ownership: Ownership | None = None

    @property
    def contract(self) -> Contract:
        """The contract in force as far as this collector knows."""
        return (self._ownership or self).in_force.contract

    def look_for_actions(self) -> None:
        """Take what people want at once, if the site is ours; its owner looks every second anyway."""
        if self._ownership is not None:
            self._ownership.look_for_actions()

    async def run(self, stop: asyncio.Event) -> None:
        """Own the site whenever it can be had. Returns when ``stop`` is set and the site is given up."""
        backoff = Backoff(self._timings.retry, self._timings.retry_most)
        worker = ThreadPoolExecutor(max_workers=1, thread_name_prefix=f"site-{self.in_force.site_id}")
        try:
            while not stop.is_set():
                wait_s = self._timings.retry
                try:
                    owned = await self._own(worker, stop)
                    if owned:
                        backoff.reset()
                except (StoreError, ValueError) as error:
                    self.status.error = str(error)
                    log.warning("site %s: %s", self.in_force.site_id, error)
                    wait_s = backoff.next()
                except Exception as error:
                    self.status.error = f"{type(error).__name__}: {error}"
                    log.exception("site %s: the ownership ended", self.in_force.site_id)
                    wait_s = backoff.next()
                self.status.state, self.status.connected = "waiting", False
                self.status.listening_since_ms = None
                with contextlib.suppress(TimeoutError):
                    await asyncio.wait_for(stop.wait(), wait_s)
        finally:
            worker.shutdown(wait=False)
            self.status.state = "stopped"

    async def _own(self, worker: ThreadPoolExecutor, stop: asyncio.Event) -> bool:
        """Own the site once; return whether it could be had. Raises what ended the ownership."""
        loop = asyncio.get_running_loop()
        site = self.in_force.site_id
        name = f"{socket.gethostname()}:{os.getpid()}"
        try:
            alone_ms = await loop.run_in_executor(worker, queries.unattended_ms, self._store, site)
            lock = await loop.run_in_executor(worker, SiteConnection.acquire, self._store, site, name)
        except StoreError:
            self._get_on()  # the database is away, which a restart of ours would not mend
            self.status.failing_s = None
            raise
        self._get_on()
        if lock is None:
            self.status.failing_s = None
            return False
        try:
            await self._own_with(lock, alone_ms, worker, stop)
        except BaseException:
            if self.status.failing_s is None:
                self.status.failing_s = time.monotonic()
            raise
        finally:
            self._ownership = None
            await loop.run_in_executor(worker, lock.close)
        return True

    async def _own_with(
        self, lock: SiteConnection, alone_ms: int, worker: ThreadPoolExecutor, stop: asyncio.Event
    ) -> None:
        """Load what is committed and serve the site. ``alone_ms`` is for how long nobody has owned it."""
        loop = asyncio.get_running_loop()
        site, status = self.in_force.site_id, self.status
        since_ms = self._now_ms() - alone_ms
        forget = functools.partial(_forget_runs, self._store, site, self._now_ms() - FORGET_AFTER_MS)
        await loop.run_in_executor(worker, forget)
        in_force, to_put = await loop.run_in_executor(worker, self._editions)
        self._get_on()
        data = await loop.run_in_executor(worker, lock.load, self._now_ms())
        memory = await loop.run_in_executor(worker, Memory.of, in_force, data, self._parts.quotas)
        self._get_on()
        self._tell_unreadable(memory, data.damaged)
        # what is in force may not be what the last owner went by, and that may have been an older version
        memory.carried = await loop.run_in_executor(worker, queries.figures, self._store.engine, site)
        summaries = {
            name: in_force.summary(name, one, (), memory.carried_of(name, self._now_ms()))
            for name, one in memory.vehicles.items()
        }
        if summaries:
            await loop.run_in_executor(worker, lock.commit, Changes(summaries=summaries))
        words = "no collector owned the site"
        if status.failing_s is not None:
            failing_ms = self._now_ms() - round((time.monotonic() - status.failing_s) * 1000)
            if failing_ms < since_ms:
                since_ms, words = failing_ms, status.error
        status.state, status.epoch, status.error = "owner", lock.epoch, ""
        status.editions = dict(in_force.editions)
        log.info("site %s: owner in epoch %d", site, lock.epoch)
        parts = msgspec.structs.replace(self._parts, in_force=in_force, to_put=to_put)
        self._ownership = Ownership(parts, lock, worker, memory, status, self._caution)
        self._ownership.tell_unattended(since_ms, words)
        async with self._accompanied():
            await self._ownership.run(stop)
        await loop.run_in_executor(worker, lock.checkpoint)

    def _tell_unreadable(self, memory: Memory, damaged: Sequence[DamagedRow]) -> None:
        """Say what begins anew because its stored state cannot be read."""
        for name, unreadable in memory.unreadable.items():
            log.error(
                "site %s: the stored state of %s cannot be read and begins anew, the row is kept in quarantine: %s",
                self.in_force.site_id, f"vehicle {name}" if name else "the site", unreadable.reason,
            )  # fmt: skip
        self.status.begun_anew = tuple(memory.unreadable)
        for row in damaged[:MOST_TOLD]:
            log.error("site %s: a stored row cannot be read: %s: %s", self.in_force.site_id, row, row.reason)
        if len(damaged) > MOST_TOLD:
            log.error("site %s: %d more stored rows cannot be read", self.in_force.site_id, len(damaged) - MOST_TOLD)
        self.status.damaged = tuple(str(row) for row in damaged[:MOST_TOLD])

    def _get_on(self) -> None:
        self.status.alive_s = time.monotonic()

    def _editions(self) -> tuple[InForce, tuple[str, ...]]:
        """Return what stands in the database, and the kinds of which our own are to be put in. Blocking.

        Our own are put in where there are none yet, or where this version cannot go by what stands there. Where ours
        say otherwise the database's hold, and we say so: ``kitwatch reload`` puts in the new ones.
        """
        own = in_force = self.in_force
        stored = editions.latest(self._store, own.site_id)
        to_put, differing = [], []
        for kind, content in own.contents().items():
            number, found, theirs = stored.get(kind, (0, "", b""))
            try:
                if not number:
                    to_put.append(kind)
                elif found == digest(content):
                    in_force = in_force.numbered(kind, number)
                else:
                    in_force = in_force.edited(kind, number, theirs)
                    differing.append(kind)
            except EditionError as error:
                log.warning("site %s: %s: our own files are put in", own.site_id, error)
                in_force = in_force.numbered(kind, number)
                to_put.append(kind)
        for kind in LEARNT:
            if kind in stored:
                number, _, content = stored[kind]
                try:
                    in_force = in_force.edited(kind, number, content)
                except EditionError as error:
                    log.warning("site %s: %s: judged without it until the next one", own.site_id, error)
                    in_force = in_force.numbered(kind, number)
        for kind in differing:
            log.warning(
                "site %s: our own %s differs from edition %d in force: kitwatch reload puts it in",
                own.site_id, kind, in_force.editions[kind],
            )  # fmt: skip
        self.status.differing = tuple(differing)
        return in_force, tuple(to_put)

    @contextlib.asynccontextmanager
    async def _accompanied(self) -> AsyncIterator[None]:
        """Run the companions while the block lasts."""
        stop = asyncio.Event()
        tasks = [asyncio.create_task(self._accompany(companion, stop)) for companion in self._companions]
        try:
            yield
        finally:
            stop.set()
            await asyncio.gather(*tasks, return_exceptions=True)

    async def _accompany(self, companion: Callable[[asyncio.Event], Awaitable[None]], stop: asyncio.Event) -> None:
        """Run one companion, and again when it fails: one that stands still is worse than one that is told of."""
        backoff = Backoff(self._timings.retry, self._timings.retry_most)
        while not stop.is_set():
            try:
                await companion(stop)
                backoff.reset()
            except (StoreError, SQLAlchemyError) as error:
                log.warning("site %s: a sink waits for the database: %s", self.in_force.site_id, error)
            except Exception:
                log.exception("site %s: a sink failed", self.in_force.site_id)
            with contextlib.suppress(TimeoutError):
                await asyncio.wait_for(stop.wait(), backoff.next())


def _forget_runs(store: Store, site: str, before_ms: int) -> None:
    """Drop the runs that no birth has named for so long, with their clocks and the numbers of their schemas.

    The owner does it before it loads. Raises StoreError where the database cannot be written.
    """
    run = schema.run
    try:
        with store.transaction() as connection:
            for of_run in (schema.clock, schema.run_schema):
                old = select(run.c.run).where(
                    run.c.site == of_run.c.site,
                    run.c.vehicle == of_run.c.vehicle,
                    run.c.agent == of_run.c.agent,
                    run.c.run == of_run.c.run,
                    run.c.heard_ms < before_ms,
                )
                connection.execute(delete(of_run).where(of_run.c.site == site, old.exists()))
            connection.execute(delete(run).where(run.c.site == site, run.c.heard_ms < before_ms))
    except SQLAlchemyError as error:
        raise StoreError(f"site {site}: {error}") from error
