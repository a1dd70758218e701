"""The small file beside the segments (``ledger`` on disk): runs, schemas, clocks, what was released, what was lost.

It is a list of entries (frames with a checksum, see ``agent.outbox.frames``), appended to and now and then rewritten
in one step. It stands outside eviction. Nothing in it is needed to start: without it the segments' names and records
still say what is held; only boots, schemas and clocks of earlier runs are then unknown, and what was released is sent
again.
"""

from __future__ import annotations

import errno
from collections.abc import Iterable, Iterator
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final, Literal

import msgspec

from agent.outbox import frames
from agent.outbox.disk import Disk, on_disk
from agent.outbox.frames import Class, Gap
from telemetry.intervals import Intervals
from telemetry.records import Clock, Schema

FILE: Final = "ledger"
NEW_FILE: Final = "ledger.new"
GROWTH: Final = 32 * 1024
"""Room is reserved in steps of this many bytes, so that an entry can be written when the disk is full."""
PAIRS_PER_ENTRY: Final = 256

Reason = Literal["evicted", "damaged", "missing"]
"""Why a record will never come: its place was needed; what stood there cannot be read; the file is gone."""
Entry = tuple[Any, ...]


class Loss(msgspec.Struct, frozen=True):
    """Numbers of one run that will never come.

    ``kind`` is the class of the records where it is known (evicted), the times are those of the first and last of them
    (monotonic, of that run's boot).
    """

    run: str
    intervals: tuple[tuple[int, int], ...]
    reason: Reason
    kind: Class | None = None
    first_mono_ms: int | None = None
    last_mono_ms: int | None = None

    def body(self) -> dict[str, Any]:
        """Return the body of the ``lost`` event that tells it."""
        body: dict[str, Any] = {
            "run": self.run,
            "intervals": [list(pair) for pair in self.intervals],
            "reason": self.reason,
        }
        if self.kind is not None:
            body["class"] = self.kind
        if self.first_mono_ms is not None:
            body |= {"first_mono_ms": self.first_mono_ms, "last_mono_ms": self.last_mono_ms}
        return body

    def count(self) -> int:
        """Return how many records are lost."""
        return sum(last - first + 1 for first, last in self.intervals)


@dataclass(slots=True)
class RunEntries:
    """What is known of a run. ``last`` is its highest number, known once the run is over and was looked at."""

    boot: str = ""
    last: int | None = None
    gone: Intervals = field(default_factory=Intervals)
    schemas: set[str] = field(default_factory=set)
    clocks: list[Clock] = field(default_factory=list)


@dataclass(slots=True)
class Contents:
    """Everything that the manifest says. ``runs`` are in the order of their start; ``skipped`` counts bad bytes."""

    runs: dict[str, RunEntries] = field(default_factory=dict)
    schemas: dict[str, Schema] = field(default_factory=dict)
    losses: list[Loss] = field(default_factory=list)
    skipped: int = 0

    def run(self, run: str) -> RunEntries:
        """Return a run's entries, making them if need be."""
        return self.runs.setdefault(run, RunEntries())


# --- entries ----------------------------------------------------------------------------------------------------------


def began(run: str, boot: str) -> Entry:
    """Return the entry: a run began in this boot."""
    return "run", run, boot


def ended(run: str, last: int) -> Entry:
    """Return the entry: the run is over and this was its last number."""
    return "end", run, last


def schema(content: Schema) -> Entry:
    """Return the entry: a schema."""
    return "schema", content


def uses(run: str, schema_id: str) -> Entry:
    """Return the entry: records of the run have this schema."""
    return "uses", run, schema_id


def clock(run: str, content: Clock) -> Entry:
    """Return the entry: a clock of the run."""
    return "clock", run, content


def gone(run: str, numbers: Intervals) -> Iterator[Entry]:
    """Yield entries: these numbers are held no more."""
    pairs = numbers.pairs()
    for at in range(0, len(pairs), PAIRS_PER_ENTRY):
        yield "gone", run, pairs[at : at + PAIRS_PER_ENTRY]


def lost(loss: Loss) -> Entry:
    """Return the entry: these are lost, and it is not told yet."""
    return "lost", loss


def told(run: str, intervals: Iterable[tuple[int, int]], reason: str) -> Entry:
    """Return the entry: the event that tells this loss is on disk."""
    return "told", run, tuple(intervals), reason


def read(data: bytes) -> Contents:
    """Return what a manifest says. What cannot be read is skipped and counted."""
    contents = Contents()
    for part in frames.scan(data):
        if isinstance(part, Gap):
            contents.skipped += part.end - part.offset if not part.torn else 0
            continue
        try:
            _take(contents, msgspec.json.decode(part.payload))
        except (msgspec.DecodeError, msgspec.ValidationError, ValueError, TypeError, LookupError):
            contents.skipped += part.end - part.offset
    return contents


def _take(contents: Contents, entry: list[Any]) -> None:
    match entry:
        case ["run", str(run), str(boot)]:
            contents.run(run).boot = boot
        case ["end", str(run), int(last)]:
            contents.run(run).last = last
        case ["schema", content]:
            made = msgspec.convert(content, Schema)
            contents.schemas[made.id()] = made
        case ["uses", str(run), str(schema_id)]:
            contents.run(run).schemas.add(schema_id)
        case ["clock", str(run), content]:
            contents.run(run).clocks.append(msgspec.convert(content, Clock))
        case ["gone", str(run), list(pairs)]:
            contents.run(run).gone.update(Intervals(pairs))
        case ["lost", content]:
            loss = msgspec.convert(content, Loss)
            contents.run(loss.run).gone.update(Intervals(loss.intervals))
            contents.losses.append(loss)
        case ["told", str(run), list(pairs), str(reason)]:
            contents.losses = list(_untold(contents.losses, run, Intervals(pairs), reason))
        case _:
            raise ValueError(f"expected an entry of the manifest, found {entry!r:.80}")


def _untold(losses: Iterable[Loss], run: str, numbers: Intervals, reason: str) -> Iterator[Loss]:
    for loss in losses:
        if (loss.run, loss.reason) != (run, reason):
            yield loss
            continue
        rest = Intervals(loss.intervals).minus(numbers)
        if rest:
            yield msgspec.structs.replace(loss, intervals=tuple(rest.pairs()))


# --- the file ---------------------------------------------------------------------------------------------------------


class Manifest:
    """The file: append, sync, write anew. Every method may raise OSError; then it must be written anew."""

    def __init__(self, disk: Disk, directory: Path) -> None:
        self._disk = disk
        self._directory = directory
        self._handle: int | None = None
        self._used = 0
        self._compact = 0
        self.allocated = 0
        self.written = 0
        """Bytes written since the beginning, in whole pages."""

    @property
    def sound(self) -> bool:
        """Tell whether the file can be appended to."""
        return self._handle is not None

    @property
    def overgrown(self) -> bool:
        """Tell whether most of the file is by now of no use."""
        return self._used > 2 * self._compact + GROWTH

    def rewrite(self, entries: Iterable[Entry]) -> None:
        """Put a new file in the old one's place, durably and in one step."""
        self.close()
        data = b"".join(frames.pack(msgspec.json.encode(entry)) for entry in entries)
        path = self._directory / NEW_FILE
        handle = self._disk.create(path)
        try:
            allocated = on_disk(len(data) + GROWTH)
            self._disk.allocate(handle, allocated)
            write_all(self._disk, handle, data, 0)
            self._disk.fdatasync(handle)
            self._disk.replace(path, self._directory / FILE)
            self._disk.sync_directory(self._directory)
        except OSError:
            with suppress(OSError):
                self._disk.close(handle)
                self._disk.unlink(path)
            raise
        self._handle, self._used, self._compact, self.allocated = handle, len(data), len(data), allocated
        self.written += on_disk(len(data))

    def append(self, entries: Iterable[Entry]) -> None:
        """Write entries behind the others; ``sync`` makes them durable."""
        data = b"".join(frames.pack(msgspec.json.encode(entry)) for entry in entries)
        if not data:
            return
        if self._handle is None:
            raise OSError("the manifest is not open")
        try:
            if self._used + len(data) > self.allocated:
                self.allocated = on_disk(self._used + len(data) + GROWTH)
                self._disk.allocate(self._handle, self.allocated)
            write_all(self._disk, self._handle, data, self._used)
        except OSError:
            self.close()
            raise
        self._used += len(data)
        self.written += on_disk(len(data))

    def sync(self) -> None:
        """Return when what was appended would survive a loss of power."""
        if self._handle is None:
            raise OSError("the manifest is not open")
        try:
            self._disk.fdatasync(self._handle)
        except OSError:
            self.close()
            raise

    def close(self) -> None:
        """Let go of the file."""
        handle, self._handle = self._handle, None
        if handle is not None:
            with suppress(OSError):
                self._disk.close(handle)


def write_all(disk: Disk, handle: int, data: bytes, offset: int) -> None:
    """Write all of the data. Raises OSError: a full disk first takes a part, then says why (ENOSPC)."""
    view = memoryview(data)
    while view:
        taken = disk.pwrite(handle, bytes(view), offset)
        if taken == 0:
            raise OSError(errno.ENOSPC, "No space left on device")
        view = view[taken:]
        offset += taken
