"""From drafts to records on disk: the one owner of the outbox in the running agent.

All that may wait for the disk is done in one thread, in order. A moment's drafts are appended, made durable by one
sync and only then handed on; losses that the outbox reports become ``lost`` events; clocks stand before the records
that need them.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import TypeVar

import msgspec

from agent.outbox.drafts import Draft, EventDraft, SampleDraft
from agent.outbox.losses import Loss
from agent.outbox.outbox import Outbox
from agent.outbox.runs import RunInfo
from agent.outbox.stats import OutboxStats
from telemetry.intervals import Intervals
from telemetry.records import Clock, Record, Schema

log = logging.getLogger(__name__)
T = TypeVar("T")


class Recorder:
    """See the module. ``on_record`` sees each record once it is durable, before it can be published."""

    def __init__(
        self,
        outbox: Outbox,
        run: str,
        boot: str,
        *,
        now_ms: Callable[[], int],
        on_record: Callable[[Record], None] | None = None,
    ) -> None:
        self.run = run
        self.boot = boot
        self.schemas: dict[str, Schema] = {}
        """The schemas of this run, by id, in the order in which they were first recorded; none ever goes."""
        self.clocks: list[Clock] = []
        """The clocks of this run."""
        self.refused = 0
        """Drafts that the outbox would not take: an internal error."""
        self.busy_since_ms: int | None = None
        """When the commit under way began; ``None`` when nothing waits for the disk."""
        self.on_durable: Callable[[list[Record]], None] = lambda records: None
        self.on_lost: Callable[[str, Intervals], None] = lambda run, numbers: None
        self._outbox = outbox
        self._now_ms = now_ms
        self._on_record = on_record
        self._drafts: list[Draft] = []
        self._changed = asyncio.Event()
        self._one_at_a_time = asyncio.Lock()
        self._working: set[asyncio.Task[None]] = set()
        self._volatile = False
        self._thread = ThreadPoolExecutor(1, thread_name_prefix="outbox")

    # --- in -----------------------------------------------------------------------------------------------------------

    def deliver(self, drafts: Sequence[Draft]) -> None:
        """Take drafts; they are committed soon."""
        self._drafts += drafts
        self._changed.set()

    async def commit_forever(self) -> None:
        """Commit what is delivered until cancelled."""
        while True:
            await self._changed.wait()
            self._changed.clear()
            await self.commit()

    async def commit(self) -> None:
        """Make everything delivered so far durable and hand it on; what has begun is finished in any case."""
        work = asyncio.create_task(self._commit())
        self._working.add(work)
        work.add_done_callback(self._working.discard)
        await asyncio.shield(work)

    async def _commit(self) -> None:
        async with self._one_at_a_time:
            drafts, self._drafts = self._drafts, []
            if drafts:
                await self._commit_drafts(drafts)

    async def _commit_drafts(self, drafts: list[Draft]) -> None:
        self.busy_since_ms = self._now_ms()
        records, losses = await self._in_thread(lambda: self._write(drafts))
        self.busy_since_ms = None
        for draft in drafts:
            if isinstance(draft, SampleDraft):
                self.schemas[draft.schema_id] = draft.schema
        if self._on_record is not None:
            for record in records:
                self._on_record(record)
        self.on_durable(records)
        self._tell(losses)

    def _write(self, drafts: Sequence[Draft]) -> tuple[list[Record], list[Loss]]:
        records: list[Record] = []
        for draft in drafts:
            try:
                if isinstance(draft, EventDraft):
                    records.append(self._outbox.append_event(draft.mono_ms, draft.kind, draft.device, draft.body))
                else:
                    schema_id = self._outbox.add_schema(draft.schema)
                    records.append(self._outbox.append(draft.mono_ms, schema_id, draft.values))
            except (ValueError, TypeError):
                self.refused += 1
                log.exception("a record was refused by the outbox: an internal error")
        self._tell_volatile(on_disk=self._outbox.sync())
        return records, self._outbox.take_losses()

    def _tell_volatile(self, *, on_disk: bool) -> None:
        """Say once that records are in memory only, and once that they are on disk again."""
        if on_disk and self._volatile:
            log.info("outbox %s: records are on disk again", self._outbox.directory)
        elif not on_disk and not self._volatile:
            log.error(
                "outbox %s: records are in memory only and lost with the power: %s",
                self._outbox.directory,
                self._outbox.stats().problem,
            )
        self._volatile = not on_disk

    def _tell(self, losses: Sequence[Loss]) -> None:
        for loss in losses:
            log.warning("%s records of run %s are lost: %s", _count(loss.intervals), loss.run, loss.reason)
            self.on_lost(loss.run, Intervals(loss.intervals))
        self.deliver([EventDraft(self._now_ms(), "lost", "", loss.body()) for loss in losses])

    async def note_clock(self, clock: Clock) -> None:
        """Keep a clock of this run, and give it to the held runs of this boot that have none but an RTC's."""
        log.info("clock %d from %s, give or take %d ms", clock.number, clock.source, clock.uncertainty_ms)
        await self._in_thread(lambda: self._note_clock(clock))
        self.clocks.append(clock)  # from now on records may be sent by it

    def _note_clock(self, clock: Clock) -> None:
        self._outbox.add_clock(self.run, clock)
        for run, info in self._outbox.runs().items():
            if info.current or info.boot != self.boot:
                continue
            known = self._outbox.clocks(run)
            if all(other.source == "rtc" for other in known) and (not known or clock.source != "rtc"):
                self._outbox.add_clock(run, msgspec.structs.replace(clock, number=len(known)))
        self._outbox.sync()

    # --- out ----------------------------------------------------------------------------------------------------------

    async def runs(self) -> dict[str, RunInfo]:
        """Return the runs held, oldest first."""
        return await self._in_thread(self._outbox.runs)

    async def read(self, run: str, numbers: Intervals) -> list[Record]:
        """Return those of the records that can be read, ascending. Raises OSError where the disk cannot tell now."""
        found = await self._in_thread(lambda: self._outbox.read(run, numbers, len(numbers)))
        if len(found) < len(numbers):
            self._tell(await self._in_thread(self._outbox.take_losses))
        return found

    async def release(self, run: str, numbers: Intervals) -> None:
        """Let go of what the collector has committed; once begun that is done, whatever becomes of the caller."""
        await asyncio.shield(self._in_thread(lambda: self._outbox.release(run, numbers)))

    async def schemas_of(self, run: str) -> dict[str, Schema]:
        """Return the schemas that a run's records need, as far as they are known."""
        return self.schemas if run == self.run else await self._in_thread(lambda: self._outbox.schemas(run))

    async def clocks_of(self, run: str) -> list[Clock]:
        """Return a run's clocks in order of their numbers."""
        return self.clocks if run == self.run else await self._in_thread(lambda: self._outbox.clocks(run))

    async def stats(self) -> OutboxStats:
        """Return the outbox's figures."""
        return await self._in_thread(self._outbox.stats)

    async def close(self) -> None:
        """Commit what is left and close the outbox."""
        await self.commit()
        await self._in_thread(self._outbox.close)
        self._thread.shutdown(wait=False)

    async def _in_thread(self, work: Callable[[], T]) -> T:
        return await asyncio.get_running_loop().run_in_executor(self._thread, work)


def _count(pairs: Sequence[tuple[int, int]]) -> int:
    return sum(last - first + 1 for first, last in pairs)
