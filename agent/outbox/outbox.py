"""The outbox: the agent's memory. A record leaves it when the collector's receipt says so (DESIGN 2).

**Use.** ``append`` and ``append_event`` give a record its sequence number; they touch no disk and never wait for one.
``sync`` makes everything appended durable, with one write and one ``fdatasync`` a class; only then may a record be
published, and only then do ``runs`` and ``read`` show it. All methods may be called from any thread; those other than
the two may wait for the disk.

**Bounds.** ``max_bytes`` covers everything in the directory: segments, manifest, room reserved. Within a class the
oldest segment goes first. Events are never evicted for samples: samples go for both, and events only for newer events
once they fill seven eighths of the outbox.

**What a start may repeat.** Releases are noted in memory, and in the manifest for every 500 records, whenever a segment
is deleted and at ``close``. So after a kill or a power loss at most 500 records (45 kB of the standard kit) that were
receipted are held again: a second of the link, and the collector knows them. Noting each receipt (every 30 s) instead
would cost the medium 12 MB a day. A fully released segment is deleted at once.

**What is lost** is told by ``take_losses`` until the ``lost`` event that tells it is durable, over restarts. Numbers
that can be read nowhere are found when they are read. A number that was never synced is told as missing if a later one
was: the collector's intervals close. A torn last write is no loss.

**A disk that fails** (EROFS, EIO, full without anything to evict) stops nothing: records wait in memory, the oldest
samples going first beyond ``memory_bytes``, ``OutboxStats.problem`` says why, and the disk is tried again every 30 s.

How, and why so, was measured: TOOLCHAIN, "Outbox".
"""

from __future__ import annotations

import errno
import threading
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any, Final, TypeVar

from agent.outbox import manifest
from agent.outbox.disk import PAGE, Disk
from agent.outbox.frames import CLASSES, Class
from agent.outbox.manifest import Loss, Manifest, Reason
from agent.outbox.recovery import recover
from agent.outbox.runs import HeldRun, Losses, OutboxStats, RunInfo, first_of
from agent.outbox.segment_file import Name
from agent.outbox.segment_store import NO_ROOM, Segment, SegmentStore
from agent.outbox.write_queue import Queue, Waiting
from telemetry.intervals import Intervals
from telemetry.metrics import Value
from telemetry.records import Clock, Event, EventKind, Record, Sample, Schema

__all__ = ["Loss", "Outbox", "OutboxBusy", "OutboxStats", "RunInfo"]

MIN_BYTES: Final = 1024 * 1024
SEGMENT_BYTES: Final = 1024 * 1024
EVENT_SEGMENT_BYTES: Final = 64 * 1024
MEMORY_BYTES: Final = 1024 * 1024
NOTE_RELEASES_EVERY: Final = 500
RETRY_MS: Final = 30_000
T = TypeVar("T")


class OutboxBusy(Exception):  # noqa: N818 - says what is wrong
    """Another process has the outbox."""

    def __init__(self, directory: Path) -> None:
        super().__init__(f"{directory}: expected an outbox of this agent only, found one that another process has open")
        self.directory = directory


class Outbox:
    """See the module. One object is one run: sequence numbers begin at 0 and are never given twice."""

    def __init__(self, directory: Path, max_bytes: int, run: str, boot: str, disk: Disk, memory_bytes: int) -> None:
        """Use ``open``."""
        segment = min(SEGMENT_BYTES, max_bytes // 16 // PAGE * PAGE)
        self._directory = directory
        self._max_bytes = max_bytes
        self._disk = disk
        self._sizes: dict[Class, int] = {"sample": segment, "event": min(EVENT_SEGMENT_BYTES, segment)}
        self._segments = SegmentStore(disk, directory, self._sizes)
        self._manifest = Manifest(disk, directory)
        self._queue = Queue(memory_bytes)
        self._writing = threading.Lock()
        """Held by the one thread that syncs, also while it waits for the disk."""
        self._lock = threading.RLock()
        """Guards everything below, the segments and the manifest."""
        self._current = HeldRun(run, boot)
        self._runs: dict[str, HeldRun] = {}
        self._schemas: dict[str, Schema] = {}
        self._entries: list[manifest.Entry] = []
        """To be written to the manifest before the next records."""
        self._losses = Losses()
        self._skipped = 0
        self._problem: str | None = None
        self._try_again_ms = 0
        self._oldest: tuple[str, int, int] | None = None
        self._handle: int | None = None
        self._recovered = False
        self._closed = False

    @property
    def directory(self) -> Path:
        """Where it keeps its files, or would."""
        return self._directory

    @classmethod
    def open(
        cls,
        directory: Path,
        max_bytes: int,
        run: str,
        boot: str,
        *,
        disk: Disk | None = None,
        memory_bytes: int = MEMORY_BYTES,
    ) -> Outbox:
        """Return the outbox in ``directory`` for a new run of this boot, whatever state the directory is in.

        ``run`` is 16 lower-case hex digits that were never a run of this agent before. Raises OutboxBusy if another
        process has it, ValueError for a run that is here already or a ``max_bytes`` under 1 MiB. A disk that cannot be
        used raises nothing: see the module.
        """
        if max_bytes < MIN_BYTES:
            raise ValueError(f"expected an outbox of at least {MIN_BYTES} bytes, found {max_bytes}")
        if Name.parse(str(Name("sample", run, 0))) is None:
            raise ValueError(f"expected a run of 16 lower-case hex digits, found {run!r}")
        outbox = cls(directory, max_bytes, run, boot, disk or Disk(), memory_bytes)
        outbox._start()
        return outbox

    def _start(self) -> None:
        self._runs[self._current.run] = self._current
        try:
            self._recover()
        except BlockingIOError:
            raise OutboxBusy(self._directory) from None
        except OSError as error:
            self._fail(error)

    def _recover(self) -> None:
        """Take in what is in the directory. Raises OSError if that cannot be told now; then nothing is touched."""
        self._disk.make_directory(self._directory)
        if self._handle is None:
            self._handle = self._disk.lock(self._directory)
        segments = SegmentStore(self._disk, self._directory, self._sizes)
        found = recover(self._disk, self._directory, segments)
        if self._current.run in found.runs:
            self._unlock()
            raise ValueError(f"expected a new run, found {self._current.run} in {self._directory} already")
        self._segments, self._skipped = segments, found.skipped
        self._runs = {**found.runs, self._current.run: self._current}
        self._schemas |= found.schemas
        self._losses.restore(found.losses)
        self._recovered = True
        for run in found.runs.values():
            self._delete_released(run, Intervals([(0, max(0, run.last))]))
        self._make_room("sample", 0)
        self._with_room("sample", self._rewrite)

    def close(self) -> None:
        """Sync, note what was released, give back what is not used. Raises nothing; use nothing after it."""
        with self._writing:
            if self._closed:
                return
            self._closed = True
            self._sync(again=True)
            with self._lock:
                for kind in CLASSES:
                    self._segments.close(kind)
                with suppress(OSError):
                    self._entries.append(manifest.ended(self._current.run, self._current.last))
                    self._note()
                    self._manifest.sync()
                self._manifest.close()
                self._unlock()

    def _unlock(self) -> None:
        handle, self._handle = self._handle, None
        if handle is not None:
            with suppress(OSError):
                self._disk.close(handle)

    # --- putting in ---------------------------------------------------------------------------------------------------

    def append(self, mono_ms: int, schema_id: str, values: Sequence[Value | None]) -> Sample:
        """Return a sample with the next number. It is held once ``sync`` has returned.

        Raises FrameTooLarge, or TypeError for a value that JSON cannot carry; then no number was used.
        """
        return self._queue.add(lambda sequence: Sample(sequence, mono_ms, schema_id, values))

    def append_event(
        self, mono_ms: int, kind: EventKind, device: str = "", body: Mapping[str, Any] | None = None
    ) -> Event:
        """Return an event with the next number. It is held once ``sync`` has returned. Raises as ``append``."""
        return self._queue.add(lambda sequence: Event(sequence, mono_ms, kind, device, body or {}))

    def add_schema(self, schema: Schema) -> str:
        """Return the schema's id. It is durable before any sample appended after it."""
        with self._lock:
            schema_id = schema.id()
            if schema_id not in self._schemas:
                self._schemas[schema_id] = schema
                self._entries.append(manifest.schema(schema))
            if schema_id not in self._current.schemas:
                self._current.schemas.add(schema_id)
                self._entries.append(manifest.uses(self._current.run, schema_id))
            return schema_id

    def add_clock(self, run: str, clock: Clock) -> None:
        """Keep a clock of a run that is held (a run of which nothing is held needs none). Durable with the next sync.

        Raises ValueError unless its number is the next of that run.
        """
        with self._lock:
            known = self._runs.get(run)
            if known is None:
                return
            if clock.number != len(known.clocks):
                raise ValueError(f"expected clock {len(known.clocks)} of run {run}, found {clock.number}")
            known.clocks.append(clock)
            self._entries.append(manifest.clock(run, clock))

    def sync(self) -> bool:
        """Make everything appended durable, schemas and clocks first. Raises nothing.

        Returns False where the disk could not be used: the records wait in memory then, may be published all the same,
        and ``stats().problem`` says why.
        """
        with self._writing:
            return self._sync(again=False)

    def _sync(self, *, again: bool) -> bool:
        with self._lock:
            self._lose_forgotten()
            if self._problem is not None and not again and (self._queue.newest_ms or 0) < self._try_again_ms:
                self._hold_in_memory()
                return False
        try:
            with self._lock:
                if not self._recovered:
                    self._recover()
                if self._entries or not self._manifest.sound:
                    self._with_room("sample", self._note)
                    self._manifest.sync()
            for kind in CLASSES:
                self._sync_class(kind)
        except OSError as error:
            with self._lock:
                self._fail(error)
                self._hold_in_memory()
            return False
        with self._lock:
            self._problem = None
        return True

    def _sync_class(self, kind: Class) -> None:
        """Write what waits in this class, segment by segment."""
        while batch := self._queue.all(kind):
            with self._lock:
                written = self._with_room(kind, lambda: self._write(kind, batch))
            try:
                self._segments.sync(kind)
            except OSError as error:
                with self._lock:
                    self._segments.close(kind)
                    if error.errno in NO_ROOM and self._evict_one(kind):
                        continue
                raise
            with self._lock:
                self._segments.settle(kind)
                for waited in self._queue.remove(kind, batch[:written]):  # the others were released or forgotten
                    self._current.hold(kind, waited.sequence)
                    if kind == "event":
                        self._notice_told(waited.record(kind))

    def _write(self, kind: Class, batch: Sequence[Waiting]) -> int:
        first = batch[0]
        if not self._segments.room_for(kind, first.frame):
            self._segments.close(kind)
            size = self._segments.size_for(kind, first.frame)
            self._make_room(kind, size)
            self._segments.start(Name(kind, self._current.run, first.sequence), size)
        return self._segments.write(kind, batch)

    def _hold_in_memory(self) -> None:
        for kind in CLASSES:
            for waited in self._queue.all(kind):
                self._current.hold(kind, waited.sequence)

    def _lose_forgotten(self) -> None:
        for kind, waited in self._queue.take_forgotten():
            number = Intervals([(waited.sequence, waited.sequence)])
            self._lose(self._current, number, "evicted", kind, (waited.mono_ms, waited.mono_ms))

    def _fail(self, error: OSError) -> None:
        self._problem = f"{errno.errorcode.get(error.errno or 0, '')} {error.strerror or error}".strip()
        self._try_again_ms = (self._queue.newest_ms or 0) + RETRY_MS

    # --- looking in ---------------------------------------------------------------------------------------------------

    def runs(self) -> dict[str, RunInfo]:
        """Return the runs of which something is held, oldest first, and this one."""
        with self._lock:
            return {
                run.run: RunInfo(run.boot, run.held(), run is self._current)
                for run in self._runs.values()
                if run is self._current or not run.empty
            }

    def schemas(self, run: str) -> dict[str, Schema]:
        """Return the schemas that a run's records have, by id; fewer if some are known no more."""
        with self._lock:
            known = self._runs.get(run)
            ids = sorted(known.schemas) if known else []
            return {schema_id: self._schemas[schema_id] for schema_id in ids if schema_id in self._schemas}

    def clocks(self, run: str) -> list[Clock]:
        """Return a run's clocks in order of their numbers."""
        with self._lock:
            known = self._runs.get(run)
            return list(known.clocks) if known else []

    def last_clock(self) -> Clock | None:
        """Return the last clock that an earlier run of this boot had: what a new run begins with."""
        with self._lock:
            for run in reversed(self._runs.values()):
                if run is not self._current and run.boot == self._current.boot and run.clocks:
                    return run.clocks[-1]
            return None

    def read(self, run: str, wanted: Intervals | int, limit: int) -> list[Record]:
        """Return up to ``limit`` records of a run that are wanted and held, ascending; an int is "from here on".

        What is held by name and can be read nowhere is lost from then on (``take_losses``). Raises OSError where the
        disk cannot tell at the moment.
        """
        with self._lock:
            known = self._runs.get(run)
            if known is None:
                return []
            if isinstance(wanted, int):
                wanted = Intervals([(wanted, max(wanted, known.last))])
            rest = known.held().intersection(wanted)
            result: list[Record] = []
            while rest and len(result) < limit:
                found, looked_at = self._read_stretch(known, self._stretch(run, rest), limit - len(result))
                result += found
                rest.remove_range(0, looked_at)
            return result

    def _stretch(self, run: str, numbers: Intervals) -> Intervals:
        """Return the lowest of the numbers, as far as one segment of each class is responsible."""
        first, last = numbers.pairs()[0][0], numbers.pairs()[-1][1]
        for kind in CLASSES:
            end = self._segments.next_first(kind, run, first)
            last = last if end is None else min(last, end - 1)
        return numbers.intersection(Intervals([(first, last)]))

    def _read_stretch(self, run: HeldRun, stretch: Intervals, limit: int) -> tuple[list[Record], int]:
        """Return up to ``limit`` records of a stretch and the number up to which it is done with."""
        first = stretch.pairs()[0][0]
        covering = [(kind, self._segments.covering(kind, run.run, first)) for kind in CLASSES]
        there = Intervals()
        waiting: dict[int, Record] = {}
        damaged = False
        for kind, segment in covering:
            if segment is not None:
                index = self._segments.index(segment)
                there.update(index.present.intersection(stretch))
                damaged = damaged or bool(index.damaged)
            if run is self._current:
                waiting |= {w.sequence: w.record(kind) for w in self._queue.all(kind) if w.sequence in stretch}
        there.update(Intervals((number, number) for number in waiting))
        chosen = first_of(there, limit)
        if len(chosen) == limit:
            stretch = stretch.intersection(Intervals([(first, chosen.pairs()[-1][1])]))
        found = {number: record for number, record in waiting.items() if number in chosen}
        for _, segment in covering:
            if segment is not None:
                found |= {record.sequence: record for record in self._segments.records(segment, chosen)}
        missing = stretch.minus(Intervals((number, number) for number in found))
        if missing:
            self._lose(run, missing, "damaged" if damaged else "missing")
        return [found[number] for number in sorted(found)], stretch.pairs()[-1][1]

    def stats(self) -> OutboxStats:
        """Return figures; may read the oldest record."""
        with self._lock:
            self._lose_forgotten()
            oldest = self._find_oldest()
            rate = self._queue.bytes_per_hour()
            room = self._room_for_samples()
            return OutboxStats(
                records=sum(len(run.samples) + len(run.events) for run in self._runs.values()),
                bytes=self._bytes(),
                oldest_run=oldest[0] if oldest else None,
                oldest_mono_ms=oldest[2] if oldest else None,
                hours_held=room / rate if rate else None,
                hours_left=max(0, room - self._segments.bytes["sample"]) / rate if rate else None,
                lost=dict(self._losses.count),
                bytes_written=self._segments.written + self._manifest.written,
                skipped_bytes=self._skipped,
                in_memory=len(self._queue),
                problem=self._problem,
            )

    def _find_oldest(self) -> tuple[str, int, int] | None:
        for run in self._runs.values():
            if run.empty:
                continue
            number = min(numbers.lowest(1)[0][0] for numbers in (run.samples, run.events) if numbers)
            if self._oldest is not None and self._oldest[:2] == (run.run, number):
                return self._oldest
            with suppress(OSError):
                found = self.read(run.run, number, 1)
                if found:
                    self._oldest = (run.run, found[0].sequence, found[0].mono_ms)
                    return self._oldest
        return None

    # --- letting go ---------------------------------------------------------------------------------------------------

    def release(self, run: str, numbers: Intervals) -> None:
        """Let go of records that the collector has committed. Unknown numbers and runs are no error."""
        with self._lock:
            known = self._runs.get(run)
            if known is None:
                return
            released = known.held().intersection(numbers)
            if not released:
                return
            known.drop(released)
            known.unnoted.update(released)
            if known is self._current:
                # these will stand on no disk: unless that is noted before later ones do, they would be found missing
                self._entries += manifest.gone(run, self._queue.remove_all(released))
            if len(known.unnoted) >= NOTE_RELEASES_EVERY:
                with suppress(OSError):  # the next sync finds the disk so, and says it
                    self._note()
            self._delete_released(known, released)

    def _delete_released(self, run: HeldRun, released: Intervals) -> None:
        """Delete closed segments that had released records and hold nothing now, once that is durable."""
        first, last = released.pairs()[0][0], released.pairs()[-1][1]
        free = [
            segment
            for kind in CLASSES
            for segment in self._segments.between(kind, run.run, first, last)
            if not self._segments.is_open(segment) and not self._held_in(segment)
        ]
        if free:
            with suppress(OSError):  # they stay; the next sync finds the disk so, and says it
                self._note()
                self._manifest.sync()
                for segment in free:
                    self._segments.remove(segment)

    def _held_in(self, segment: Segment) -> Intervals:
        """Return the numbers held for which a segment is responsible."""
        kind, run, first = segment.name
        end = self._segments.next_first(kind, run, first)
        last = self._runs[run].last if end is None else end - 1
        if last < first:
            return Intervals()
        return self._runs[run].of(kind).intersection(Intervals([(first, last)]))

    def take_losses(self) -> list[Loss]:
        """Return what was lost and not taken yet, at most 256 intervals each.

        Append ``Loss.body()`` of each as a ``lost`` event. A loss is told once that event is durable; one taken and not
        told is returned again after the next start.
        """
        with self._lock:
            self._lose_forgotten()
            return self._losses.take()

    def _notice_told(self, event: Record) -> None:
        if isinstance(event, Event) and event.kind == "lost":
            loss = self._losses.told(event.body)
            if loss is not None:
                self._entries.append(manifest.told(loss.run, loss.intervals, loss.reason))

    def _lose(
        self,
        run: HeldRun,
        numbers: Intervals,
        reason: Reason,
        kind: Class | None = None,
        times: tuple[int, int] | None = None,
    ) -> None:
        run.drop(numbers)
        run.last = max(run.last, numbers.pairs()[-1][1])
        self._entries += map(manifest.lost, self._losses.add(run.run, numbers, reason, kind, times))

    # --- room ---------------------------------------------------------------------------------------------------------

    def _bytes(self) -> int:
        return sum(self._segments.bytes.values()) + self._manifest.allocated + PAGE  # the directory itself

    def _reserve(self) -> int:
        """Return the bytes kept free for the manifest: it grows, and stands there twice while it is written anew."""
        return self._manifest.allocated + 2 * manifest.GROWTH

    def _room_for_samples(self) -> int:
        """Return the bytes of samples that a full outbox holds: the last segment is half full on the average."""
        others = self._bytes() - self._segments.bytes["sample"]
        return self._max_bytes - others - self._reserve() - self._segments.size_for("sample", b"") // 2

    def _make_room(self, kind: Class, size: int) -> None:
        if kind == "event":
            while self._segments.bytes["event"] + size > self._max_bytes * 7 // 8 and self._evict_oldest("event"):
                pass
        while self._bytes() + self._reserve() + size > self._max_bytes and self._evict_one(kind):
            pass

    def _with_room(self, kind: Class, action: Callable[[], T]) -> T:
        """Return what ``action`` returns; on a full disk give up the oldest and try again. Raises other OSErrors."""
        while True:
            try:
                return action()
            except OSError as error:
                if error.errno not in NO_ROOM or not self._evict_one(kind):
                    raise

    def _evict_one(self, kind: Class) -> bool:
        """Give up the oldest segment that may go for a record of this class; tell whether there was one."""
        if self._evict_oldest("sample"):
            return True
        if kind == "sample":
            return False
        self._segments.close("sample")
        return self._evict_oldest("sample") or self._evict_oldest("event")

    def _evict_oldest(self, kind: Class) -> bool:
        segment = self._segments.oldest_closed(kind)
        if segment is None:
            return False
        self._lose_segment(segment)
        with suppress(OSError):  # without the note these numbers are found missing after a kill: told all the same
            if self._manifest.sound:
                self._note()
                self._manifest.sync()
        try:
            self._segments.remove(segment)
        except OSError as error:
            self._fail(error)
            return False
        return True

    def _lose_segment(self, segment: Segment) -> None:
        run, held = self._runs[segment.name.run], self._held_in(segment)
        if not held:
            return
        try:
            index = self._segments.index(segment)
            readable = held.intersection(index.present)
            ends = Intervals((number, number) for pair in readable.pairs() for number in pair)
            times = [record.mono_ms for record in self._segments.records(segment, ends)]
        except OSError:  # what stands there cannot be told at the moment, and it has to go
            self._lose(run, held, "evicted", segment.name.kind)
            return
        unreadable = held.minus(readable)
        if unreadable:
            self._lose(run, unreadable, "damaged" if index.damaged else "missing")
        if readable:
            self._lose(run, readable, "evicted", segment.name.kind, (times[0], times[-1]) if times else None)

    # --- manifest -----------------------------------------------------------------------------------------------------

    def _note(self) -> None:
        """Write to the manifest what is due; durable after its ``sync``. Raises OSError; nothing is forgotten then."""
        if not self._recovered:
            raise OSError(errno.EAGAIN, "what stands in the outbox is not known yet")
        if not self._manifest.sound or self._manifest.overgrown:
            self._rewrite()
            return
        released = [entry for run in self._runs.values() for entry in manifest.gone(run.run, run.unnoted)]
        self._manifest.append([*self._entries, *released])
        self._noted()

    def _rewrite(self) -> None:
        self._forget_runs()
        self._manifest.rewrite(self._everything())
        self._noted()

    def _noted(self) -> None:
        self._entries.clear()
        for run in self._runs.values():
            run.unnoted = Intervals()

    def _everything(self) -> list[manifest.Entry]:
        entries = [manifest.schema(schema) for schema in self._schemas.values()]
        for run in self._runs.values():
            entries.append(manifest.began(run.run, run.boot))
            if run is not self._current:
                entries.append(manifest.ended(run.run, run.last))
            entries += [manifest.uses(run.run, schema_id) for schema_id in sorted(run.schemas)]
            entries += [manifest.clock(run.run, clock) for clock in run.clocks]
            gone = run.gone()
            if run is self._current:  # a number on its way to the disk is not gone
                gone = gone.minus(Intervals((w.sequence, w.sequence) for k in CLASSES for w in self._queue.all(k)))
            entries += manifest.gone(run.run, gone)
        return entries + [manifest.lost(loss) for loss in self._losses.untold()]

    def _forget_runs(self) -> None:
        """Forget runs of which nothing is held and no file is left, and schemas that no run has any more.

        Of this boot's runs the last one that had a clock stays: the next run begins with it.
        """
        untold = {loss.run for loss in self._losses.untold()}
        clocked = next((r.run for r in reversed(self._runs.values()) if r.boot == self._current.boot and r.clocks), "")
        keep = {self._current.run, clocked, *untold, *(segment.name.run for segment in self._segments.all())}
        self._runs = {run.run: run for run in self._runs.values() if not run.empty or run.run in keep}
        used = {schema_id for run in self._runs.values() for schema_id in run.schemas}
        self._schemas = {schema_id: schema for schema_id, schema in self._schemas.items() if schema_id in used}
