"""What every sink is run by: the cursor, gathering, retrying, dead letters, and what is told of it.

A look takes what was committed since the last one, as much as is good for one portion, and sends it. The cursor moves
in one transaction together with dead letters and with what the sink writes into this database; where there is neither,
once for the looks of five seconds, so that after a crash these are sent again. While the other side takes
nothing, the portion is tried again as long as it takes. What it refuses for what it holds is halved until the lines to
blame are alone, with a bound on how often and how long it is asked; what is then still unresolved is tried again at
leisure, between looks, as are dead letters that somebody asked for (``kitwatch deadletters retry``). A fault of the
other side is never blamed on a line: before a line is blamed the other side must have taken something.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import math
import time
from collections.abc import Awaitable, Callable, Sequence
from typing import Final, TypeVar

import msgspec
from sqlalchemy import delete, select
from sqlalchemy.exc import SQLAlchemyError

from collector.garbage import give_back
from collector.outgoing import Attempts, Progress, one_line, wait_for_any
from collector.sinks.sink import Item, Letter, NotNow, Portion, Refused, Sink
from collector.store import dead_letters, log, queries, schema
from collector.store.batch import Batch, Group
from collector.store.chunks import singles
from collector.store.counters import insert_of
from collector.store.rows import BatchRow
from collector.store.store import Store

logger = logging.getLogger(__name__)
T = TypeVar("T")

BATCHES_A_READ: Final = 100
MOST_ASKED: Final = 64
"""So often the other side is asked about the parts of one refused portion before the next look."""
MOST_ASKED_S: Final = 0.5
"""And for so long: what is refused waits in a lane of its own, what is new waits for none of it."""
MOST_AHEAD_S: Final = 5.0
"""So long after its last move the cursor may stay behind what was sent, if nothing is written with it: each move is a
transaction, and a page on disk."""
IDLE_S: Final = 10.0
"""So often the database is asked for dead letters to send again, if nobody tells."""


class SinkRunner:
    """Runs one sink for one site while the site is owned. Waits are in seconds.

    ``turn`` is held during a look, by those that are not to hold minutes of the log in memory at the same time.
    """

    def __init__(
        self,
        store: Store,
        site: str,
        sink: Sink,
        *,
        first_wait_s: float = 1.0,
        longest_wait_s: float = 60.0,
        turn: contextlib.AbstractAsyncContextManager[object] | None = None,
        now_ms: Callable[[], int] = lambda: time.time_ns() // 1_000_000,
    ) -> None:
        self.sink = sink
        self.progress = Progress()
        self._store = store
        self._site = site
        self._turn = turn or contextlib.nullcontext()
        self._now_ms = now_ms
        self._attempts = Attempts(f"site {site}: {sink.name}", self.progress, first_wait_s, longest_wait_s, now_ms)
        self._news = asyncio.Event()
        self._stop = asyncio.Event()
        self._letters_told = True
        self._cursor = 0
        """Where it stands in the database, and when it was moved last (monotonic)."""
        self._moved_s = -math.inf
        self._heard: list[Batch] = []
        """What was committed since the last look, one after the other, as far as it was kept."""
        self._heard_records = 0
        self._heard_much = asyncio.Event()
        """So much that it is dealt with at once: a look's worth."""

    def wake(self, row: BatchRow | None = None) -> None:
        """Say that something was committed; ``row`` is what of it stands in the log now."""
        if row is not None and self.sink.hears:
            self._hear(row)
        self._news.set()

    def _hear(self, row: BatchRow) -> None:
        """Keep what was committed for the next look, unless that is behind: the log has everything."""
        heard, much = self._heard, self.sink.records_a_look
        if heard and (row.number != heard[-1].number + 1 or self._heard_records > 2 * much):
            heard.clear()
        if not heard:
            self._heard_records = 0
        self._heard_records += row.records
        if self._heard_records >= much:
            self._heard_much.set()
        heard.append(Batch(self._site, row.number, row.received_ms, row.now_ms, row.heading, list(row.entries)))

    async def run(self, stop: asyncio.Event) -> None:
        """Deliver until ``stop`` is set. Raises what the database raises: the caller begins anew."""
        self._stop = stop
        letters_at = 0.0
        try:
            await self.begin()
            while not stop.is_set():
                self._news.clear()
                if await self.look():
                    continue
                if self._letters_told or time.monotonic() >= letters_at:
                    self._letters_told, letters_at = False, time.monotonic() + IDLE_S
                    await self._send_letters()
                await wait_for_any(self.sink.every_s, self._heard_much, stop)
                await wait_for_any(self.sink.every_s if self._is_ahead else IDLE_S, self._news, stop)
            await self._move()
        except _Stopped:
            pass
        finally:
            await self.sink.reset()

    async def catch_up(self) -> None:
        """Deal with all that is committed, once."""
        await self.begin()
        while await self.look():
            pass
        await self._move()

    async def begin(self) -> None:
        """Take up the cursor where it stands."""
        self.progress.position = self._cursor = await asyncio.to_thread(self._begin)

    async def look(self) -> bool:
        """Deliver the next portion; return whether there may be more of the log to read."""
        async with self._turn:
            more = await self._look()
            if self.sink.sealed:  # minutes of the log were in memory
                await asyncio.to_thread(give_back)
            return more

    async def _look(self) -> bool:
        position = self.progress.position
        batches, more, self._heard = self._heard, False, []
        self._heard_much.clear()
        if not batches or batches[0].number != position + 1:
            batches, more = await asyncio.to_thread(self._read, position)
        if not batches:
            await self._move()
            return False
        found = len(batches)
        given_up = batches[-1].number - position - len(batches)
        if given_up and position:
            self.progress.counts["gap_batches"] += given_up
            logger.error("site %s: %d batches were given up before %s had them", self._site, given_up, self.sink.name)
        portion, batches = await asyncio.to_thread(self._prepare, batches)
        letters = [*portion.letters]
        for at in range(0, len(portion.items), self.sink.items_a_write):
            letters += await self._deliver(portion.items[at : at + self.sink.items_a_write])
        self.progress.position = batches[-1].number
        if portion.write is None and not letters and time.monotonic() - self._moved_s < MOST_AHEAD_S:
            moved = True  # in a moment: after a crash the same is sent again, which is the same as once
        else:
            moved = await self._move(portion, letters)
        if moved:
            self.progress.counts["batches"] += len(batches)
            self.progress.counts.update(portion.counts)
        return more or len(batches) < found

    @property
    def _is_ahead(self) -> bool:
        """Whether more is dealt with than the cursor says."""
        return self.progress.position > self._cursor

    async def _move(self, portion: Portion | None = None, letters: Sequence[Letter] = ()) -> bool:
        """Move the cursor to what is dealt with, together with what else is written; say whether it was still ours."""
        if not self._is_ahead:
            return True
        number = self.progress.position
        if await asyncio.to_thread(self._commit, portion or Portion(), letters, self._cursor, number):
            self._cursor, self._moved_s = number, time.monotonic()
            return True
        await self.begin()  # somebody else has taken over, or has given the site back to us
        return False

    def _prepare(self, batches: list[Batch]) -> tuple[Portion, list[Batch]]:
        """Return a portion and the batches that it is made of; a record that raises is set aside alone."""
        unread = [Letter(one.number, f"batch {one.number}", one.problem) for one in batches if one.problem]
        for letter in unread:
            logger.error("site %s: %s: batch %d: %s", self._site, self.sink.name, letter.batch, letter.reason)
        while True:
            try:
                portion = self.sink.prepare(batches)
            except SQLAlchemyError:
                raise
            except Exception:
                if len(batches) > 1:
                    batches = batches[: len(batches) // 2]
                    continue
                portion = self._prepare_what_can_be(batches[0])
            portion.letters = [*portion.letters, *(one for one in unread if one.batch <= batches[-1].number)]
            return portion, batches

    def _prepare_what_can_be(self, batch: Batch) -> Portion:
        """Return what the records of a batch become without those that raise, or nothing where it raises all the same.

        Those that raise are found by halving: few of many cost little.
        """
        name = f"site {self._site}: {self.sink.name}: batch {batch.number}"
        letters: list[Letter] = []

        def sound(records: list[Group]) -> list[Group]:
            try:
                self.sink.prepare([msgspec.structs.replace(batch, entries=records)])
            except SQLAlchemyError:
                raise
            except Exception as error:
                if len(records) > 1:
                    half = len(records) // 2
                    return sound(records[:half]) + sound(records[half:])
                logger.exception("%s: a record is set aside", name)
                letters.append(Letter(batch.number, one_line(repr(records[0])), one_line(repr(error))))
                return []
            return records

        try:
            batch = batch.opened()
            kept = sound(singles(batch.groups))
            portion = self.sink.prepare([msgspec.structs.replace(batch, entries=kept)])
        except SQLAlchemyError:
            raise
        except Exception as error:
            logger.exception("%s is set aside", name)
            portion, letters = Portion(), [Letter(batch.number, f"batch {batch.number}", one_line(repr(error)))]
        portion.letters = [*portion.letters, *letters]
        portion.counts["errors"] += len(letters)
        return portion

    # --- the other side -----------------------------------------------------------------------------------------------

    async def _deliver(self, items: Sequence[Item]) -> list[Letter]:
        """Send items, waiting as long as it takes; return what is set aside."""
        letters: list[Letter] = []
        while items:
            try:
                await self._send(items)
                break
            except Refused as refused:
                rest, told = await self._divide(items, refused)
                self._note_refusal(refused)
                letters += told
                if len(rest) == len(items):
                    found = await self._sift(items, refused)
                    if found is None:  # the other side was to blame: once more from the beginning
                        continue
                    return letters + found
                items = rest
        return letters

    async def _divide(self, items: Sequence[Item], refused: Refused) -> tuple[list[Item], list[Letter]]:
        return await self._until_answered(lambda: self.sink.divide(items, refused), proves=False)

    async def _sift(self, items: Sequence[Item], refused: Refused) -> list[Letter] | None:
        """Find the items to blame among refused ones; ``None``: it was the other side, which works again."""
        letters: list[Letter] = []
        waiting = [(items, refused)]
        asked, taken, began_s = 0, False, time.monotonic()
        while waiting:
            part, why = waiting.pop()
            if not taken and (asked or len(part) == 1):
                retries = self.progress.counts["retries"]
                await self._until_answered(self._prove)
                if self.progress.counts["retries"] > retries:
                    return None
                taken = True
            if len(part) == 1:
                letters.append(Letter(part[0].batch, part[0].text, str(why)))
                self.sink.blamed(part[0], str(why))
                continue
            rest, told = await self._divide(part, why)
            letters += told
            if asked >= MOST_ASKED or time.monotonic() - began_s > MOST_ASKED_S:
                if rest:
                    lines = "\n".join(item.text for item in rest)
                    letters.append(Letter(rest[0].batch, lines, str(why), "retry"))
                continue
            for piece in [rest] if told else [rest[len(rest) // 2 :], rest[: len(rest) // 2]]:
                if not piece:
                    continue
                asked += 1
                try:
                    await self._send(piece)
                    taken = True
                except Refused as again:
                    waiting.append((piece, again))
        self.progress.counts["refused"] += sum(1 for one in letters if one.state == "held")
        self._letters_told |= any(one.state == "retry" for one in letters)
        return letters

    def _note_refusal(self, refused: Refused) -> None:
        self.progress.last_refusal = str(refused)
        if self.sink.is_limit(refused):
            self.progress.limited_ms = self._now_ms()

    async def _prove(self) -> None:
        try:
            await self.sink.prove()
        except NotNow:
            self.progress.counts["refuses_all"] += 1
            raise

    async def _send(self, items: Sequence[Item]) -> None:
        texts = [item.text for item in items]
        await self._until_answered(lambda: self.sink.send(texts))
        self.progress.counts["lines"] += len(items)

    async def _until_answered(self, ask: Callable[[], Awaitable[T]], *, proves: bool = True) -> T:
        """Ask until there is an answer. Raises Refused, and ``_Stopped`` when we are to stop.

        ``proves``: the answer shows that the other side takes something, so that it is well again.
        """
        while True:
            try:
                found = await self._unless_stopped(ask())
            except NotNow as not_now:
                wait_s = self._attempts.failed(one_line(str(not_now)), not_now.after_s, refusing=not_now.refusing)
                await self.sink.reset()
                await wait_for_any(wait_s, self._stop)
                if self._stop.is_set():
                    raise _Stopped from None
            else:
                if proves:
                    self._attempts.succeeded()
                return found

    async def _unless_stopped(self, asking: Awaitable[T]) -> T:
        """Await an answer; one that hangs must not hold up our end. What was taken all the same is no harm."""
        ask = asyncio.ensure_future(asking)
        stopping = asyncio.ensure_future(self._stop.wait())
        try:
            await asyncio.wait({ask, stopping}, return_when=asyncio.FIRST_COMPLETED)
            if not ask.done():
                raise _Stopped
            return ask.result()
        finally:
            for task in (ask, stopping):
                task.cancel()
            await asyncio.gather(ask, stopping, return_exceptions=True)

    # --- dead letters -------------------------------------------------------------------------------------------------

    async def _send_letters(self) -> None:
        """Send what is to be tried again, one at a time, as long as nothing new waits."""
        while not self._stop.is_set():
            found = await asyncio.to_thread(
                queries.list_dead_letters,
                self._store.engine,
                site=self._site,
                sink=self.sink.name,
                state="retry",
                limit=1,
            )
            if not found:
                return
            (letter,) = found
            items = [Item(letter.batch, text) for text in letter.content.split("\n")]
            letters = await self._deliver(items)
            await asyncio.to_thread(self._settle, letter.id, letters)
            if self._news.is_set():
                self._letters_told = True
                return

    def _settle(self, id: int, letters: Sequence[Letter]) -> None:
        """Put what became of a letter in its place."""
        with self._store.transaction() as connection:
            connection.execute(delete(schema.dead_letter).where(schema.dead_letter.c.id == id))
            dead_letters.add(connection, self._site, self.sink.name, letters, self._now_ms())

    # --- the database -------------------------------------------------------------------------------------------------

    def _begin(self) -> int:
        """Return where the cursor stands. Its row is made first, so that ``_commit`` has one to lock."""
        row = {"site": self._site, "sink": self.sink.name, "number": 0}
        with self._store.transaction() as connection:
            connection.execute(insert_of(connection)(schema.cursor).values(row).on_conflict_do_nothing())
        return log.position(self._store, self._site, self.sink.name)

    def _read(self, position: int) -> tuple[list[Batch], bool]:
        """Return what follows in the log, as much as is good for one portion, and whether there may be more."""
        found: list[Batch] = []
        records = 0
        while records < self.sink.records_a_look:
            after = found[-1].number if found else position
            more = log.read(self._store, self._site, after, BATCHES_A_READ, sealed=self.sink.sealed)
            found += more
            records += sum(one.records for one in more)
            if len(more) < BATCHES_A_READ:
                return found, False
        return found, True

    def _commit(self, portion: Portion, letters: Sequence[Letter], position: int, number: int) -> bool:
        """Write everything and move the cursor, unless it was moved meanwhile: then change nothing."""
        cursor = schema.cursor.c
        with self._store.transaction() as connection:
            query = select(cursor.number).where(cursor.site == self._site, cursor.sink == self.sink.name)
            if connection.scalar(query.with_for_update()) != position:
                return False
            if portion.write is not None:
                portion.write(connection)
            dead_letters.add(connection, self._site, self.sink.name, letters, self._now_ms())
            log.advance(connection, self._site, self.sink.name, number)
        return True


class _Stopped(Exception):  # noqa: N818
    """We are to stop while something waits."""
