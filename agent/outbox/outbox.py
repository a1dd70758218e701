"""The outbox: what the agent keeps until the collector says that it has committed it.

**Use.** ``append`` and ``append_event`` give a record its sequence number; they touch no disk and never wait for one.
``sync`` makes everything appended durable, with one write and one ``fdatasync`` a class; only then may a record be
published, and only then do ``runs`` and ``read`` show it. All methods may be called from any thread; those other than
the two may wait for the disk.

**Bounds** and what goes first: ``agent.outbox.eviction``.

**What a start may repeat.** Releases are noted in memory, and in the manifest for every 500 records, whenever a segment
is deleted and at ``close``. So after a kill or a power loss at most 500 records (45 kB of the standard kit) that were
committed are held again: a second of the link, and the collector knows them. Noting each receipt (every 30 s) instead
would cost the medium 12 MB a day. A fully released segment is deleted at once.

**What is lost** is told by ``take_losses`` until the ``lost`` event that tells it is durable, over restarts. Numbers
that can be read nowhere are found when they are read. A number that was never synced is told as missing if a later one
was: the collector's intervals close. A torn last write is no loss.

**A disk that fails** (EROFS, EIO, full without anything to evict) stops nothing: records wait in memory, the oldest
samples going first beyond ``memory_bytes``, ``OutboxStats.problem`` says why, and the disk is tried again every 30 s.

What it costs beside SQLite stands in docs/performance.md.
"""

from __future__ import annotations

import errno
import threading
from collections.abc import Mapping, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any, Final

from agent.outbox import entries, reading
from agent.outbox.disk import NO_ROOM, PAGE, Disk
from agent.outbox.eviction import Eviction
from agent.outbox.frames import CLASSES, Class
from agent.outbox.losses import Loss
from agent.outbox.manifest import Manifest
from agent.outbox.recovery import recover
from agent.outbox.runs import RunInfo, StoredRun, StoredRuns
from agent.outbox.segment_file import Name
from agent.outbox.segment_store import Segment, SegmentStore
from agent.outbox.stats import OutboxStats
from agent.outbox.write_queue import Unwritten, WriteQueue
from telemetry.intervals import Intervals
from telemetry.metrics import Value
from telemetry.records import Clock, Event, EventKind, Record, Sample, Schema

MIN_BYTES: Final = 1024 * 1024
SEGMENT_BYTES: Final = 1024 * 1024
EVENT_SEGMENT_BYTES: Final = 64 * 1024
MEMORY_BYTES: Final = 1024 * 1024
NOTE_RELEASES_EVERY: Final = 500
RETRY_MS: Final = 30_000


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
        self._queue = WriteQueue(memory_bytes)
        self._writing = threading.Lock()
        """Held by the one thread that syncs, also while it waits for the disk."""
        self._lock = threading.RLock()
        """Guards everything below."""
        self._runs = StoredRuns(run, boot)
        self._manifest = Manifest(disk, directory)
        self._use(SegmentStore(disk, directory, self._sizes))
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

    def _use(self, segments: SegmentStore) -> None:
        self._segments = segments
        self._eviction = Eviction(self._max_bytes, segments, self._manifest, self._runs, self._remove_evicted)

    def _start(self) -> None:
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
        current = self._runs.current.run
        if current in found.runs:
            self._unlock()
            raise ValueError(f"expected a new run, found {current} in {self._directory} already")
        self._use(segments)
        self._skipped = found.skipped
        self._runs.restore(found.runs, found.schemas, found.losses)
        self._recovered = True
        for run in found.runs.values():
            self._delete_released(run, Intervals([(0, max(0, run.last))]))
        self._eviction.make_room("sample", 0)
        self._eviction.with_room("sample", self._rewrite_manifest)

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
                    self._runs.unwritten.append(entries.ended(self._runs.current.run, self._runs.current.last))
                    self._write_manifest()
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
            return self._runs.add_schema(schema)

    def add_clock(self, run: str, clock: Clock) -> None:
        """Keep a clock of a run that is held (a run of which nothing is held needs none). Durable with the next sync.

        Raises ValueError unless its number is the next of that run.
        """
        with self._lock:
            self._runs.add_clock(run, clock)

    def sync(self) -> bool:
        """Make everything appended durable, schemas and clocks first. Raises nothing.

        Returns False where the disk could not be used: the records wait in memory then, may be published all the same,
        and ``stats().problem`` says why.
        """
        with self._writing:
            return self._sync(again=False)

    def _sync(self, *, again: bool) -> bool:
        with self._lock:
            self._lose_dropped()
            if self._problem is not None and not again and (self._queue.newest_ms or 0) < self._try_again_ms:
                self._hold_in_memory()
                return False
        try:
            with self._lock:
                if not self._recovered:
                    self._recover()
                if self._runs.unwritten or not self._manifest.sound:
                    self._eviction.with_room("sample", self._write_manifest)
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
                written = self._eviction.with_room(kind, lambda: self._write(kind, batch))
            try:
                self._segments.sync(kind)
            except OSError as error:
                with self._lock:
                    self._segments.close(kind)
                    if error.errno in NO_ROOM and self._eviction.evict_for(kind):
                        continue
                raise
            with self._lock:
                self._segments.settle(kind)
                for entry in self._queue.remove(kind, batch[:written]):  # the others were released or dropped
                    self._runs.current.hold(kind, entry.sequence)
                    if kind == "event":
                        self._runs.on_disk(entry.record(kind))

    def _write(self, kind: Class, batch: Sequence[Unwritten]) -> int:
        first = batch[0]
        if not self._segments.room_for(kind, first.frame):
            self._segments.close(kind)
            size = self._segments.size_for(kind, first.frame)
            self._eviction.make_room(kind, size)
            self._segments.start(Name(kind, self._runs.current.run, first.sequence), size)
        return self._segments.write(kind, batch)

    def _hold_in_memory(self) -> None:
        for kind in CLASSES:
            for entry in self._queue.all(kind):
                self._runs.current.hold(kind, entry.sequence)

    def _lose_dropped(self) -> None:
        for kind, entry in self._queue.take_dropped():
            number = Intervals([(entry.sequence, entry.sequence)])
            self._runs.lose(self._runs.current, number, "evicted", kind, (entry.mono_ms, entry.mono_ms))

    def _fail(self, error: OSError) -> None:
        self._problem = f"{errno.errorcode.get(error.errno or 0, '')} {error.strerror or error}".strip()
        self._try_again_ms = (self._queue.newest_ms or 0) + RETRY_MS

    # --- looking in ---------------------------------------------------------------------------------------------------

    def runs(self) -> dict[str, RunInfo]:
        """Return the runs of which something is held, oldest first, and this one."""
        with self._lock:
            return self._runs.infos()

    def schemas(self, run: str) -> dict[str, Schema]:
        """Return the schemas that a run's records have, by id; fewer if some are known no more."""
        with self._lock:
            return self._runs.schemas(run)

    def clocks(self, run: str) -> list[Clock]:
        """Return a run's clocks in order of their numbers."""
        with self._lock:
            known = self._runs.get(run)
            return list(known.clocks) if known else []

    def last_clock(self) -> Clock | None:
        """Return the last clock that an earlier run of this boot had: what a new run begins with."""
        with self._lock:
            return self._runs.last_clock()

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
            return reading.read(self._runs, self._segments, self._queue, known, wanted, limit)

    def stats(self) -> OutboxStats:
        """Return figures; may read the oldest record."""
        with self._lock:
            self._lose_dropped()
            oldest = self._find_oldest()
            rate = self._queue.bytes_per_hour()
            room = self._eviction.room_for_samples()
            return OutboxStats(
                records=sum(len(run.samples) + len(run.events) for run in self._runs.all()),
                bytes=self._eviction.bytes(),
                oldest_run=oldest[0] if oldest else None,
                oldest_mono_ms=oldest[2] if oldest else None,
                hours_held=room / rate if rate else None,
                hours_left=max(0, room - self._segments.bytes["sample"]) / rate if rate else None,
                lost=dict(self._runs.losses.count),
                bytes_written=self._segments.written + self._manifest.written,
                skipped_bytes=self._skipped,
                in_memory=len(self._queue),
                problem=self._problem,
            )

    def _find_oldest(self) -> tuple[str, int, int] | None:
        for run in self._runs.all():
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
            if known is self._runs.current:
                # these will stand on no disk: unless that is noted before later ones do, they would be found missing
                self._runs.unwritten += entries.absent(run, self._queue.remove_all(released))
            if len(known.unnoted) >= NOTE_RELEASES_EVERY:
                with suppress(OSError):  # the next sync finds the disk so, and says it
                    self._write_manifest()
            self._delete_released(known, released)

    def _delete_released(self, run: StoredRun, released: Intervals) -> None:
        """Delete closed segments that had released records and hold nothing now, once that is durable."""
        first, last = released.pairs()[0][0], released.pairs()[-1][1]
        free = [
            segment
            for kind in CLASSES
            for segment in self._segments.between(kind, run.run, first, last)
            if not self._segments.is_open(segment)
            and not self._runs.held_in(segment.name, self._segments.next_first(*segment.name))
        ]
        if free:
            with suppress(OSError):  # they stay; the next sync finds the disk so, and says it
                self._write_manifest()
                self._manifest.sync()
                for segment in free:
                    self._segments.remove(segment)

    def take_losses(self) -> list[Loss]:
        """Return what was lost and not taken yet, at most 256 intervals each.

        Append ``Loss.body()`` of each as a ``lost`` event. A loss is told once that event is durable; one taken and not
        told is returned again after the next start.
        """
        with self._lock:
            self._lose_dropped()
            return self._runs.losses.take()

    def _remove_evicted(self, segment: Segment) -> bool:
        with suppress(OSError):  # without the note these numbers are found missing after a kill: told all the same
            if self._manifest.sound:
                self._write_manifest()
                self._manifest.sync()
        try:
            self._segments.remove(segment)
        except OSError as error:
            self._fail(error)
            return False
        return True

    # --- manifest -----------------------------------------------------------------------------------------------------

    def _write_manifest(self) -> None:
        """Write to the manifest what is due; durable after its ``sync``. Raises OSError; nothing is forgotten then."""
        if not self._recovered:
            raise OSError(errno.EAGAIN, "what stands in the outbox is not known yet")
        if not self._manifest.sound or self._manifest.overgrown:
            self._rewrite_manifest()
            return
        self._manifest.append(self._runs.changes())
        self._runs.written()

    def _rewrite_manifest(self) -> None:
        self._runs.forget_unused(segment.name.run for segment in self._segments.all())
        on_their_way = Intervals((e.sequence, e.sequence) for kind in CLASSES for e in self._queue.all(kind))
        self._manifest.rewrite(self._runs.everything(on_their_way))
        self._runs.written()
