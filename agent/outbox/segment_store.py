"""The segments of an outbox on disk: written, read and removed. What is in them to keep or to let go, the outbox says.

A segment is pre-allocated, written with ``pwrite`` from its beginning on, and never written to again once it is closed
(measured: a third of the device writes of an appended file, a fifth of SQLite's).
"""

from __future__ import annotations

from bisect import bisect_right
from collections import OrderedDict
from collections.abc import Iterator, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Final

import msgspec

from agent.outbox import segment_file
from agent.outbox.disk import NOT_NOW, PAGE, Disk, on_disk, read_past_errors, write_all
from agent.outbox.frames import CLASSES, Class
from agent.outbox.segment_file import Index, Name
from agent.outbox.write_queue import Unwritten
from telemetry.intervals import Intervals
from telemetry.records import Record

_INDEXES_KEPT: Final = 8
"""Indexes of closed segments in memory: the backlog's reader, the newest and a few between. About 10 kB each."""


class Segment(msgspec.Struct):
    """A segment file and the bytes that it takes on disk."""

    name: Name
    size: int


class _Writer(msgspec.Struct):
    segment: Segment
    handle: int
    capacity: int
    index: Index = msgspec.field(default_factory=Index)
    written: list[tuple[int, int, int, int]] = msgspec.field(default_factory=list)
    """Sequence, time, offset, end of what is written and not yet synced."""

    @property
    def end(self) -> int:
        return self.written[-1][3] if self.written else self.index.used


class SegmentStore:
    """Segments by class and run, oldest run first. ``bytes`` is what they take on disk together."""

    def __init__(self, disk: Disk, directory: Path, sizes: dict[Class, int]) -> None:
        self.disk = disk
        self.directory = directory
        self.bytes: dict[Class, int] = dict.fromkeys(CLASSES, 0)
        self.written = 0
        """Bytes written since the beginning, in whole pages: what a medium has to take at least."""
        self._sizes = sizes
        self._segments: dict[Class, dict[str, list[Segment]]] = {kind: {} for kind in CLASSES}
        self._writers: dict[Class, _Writer] = {}
        self._indexes: OrderedDict[Name, Index] = OrderedDict()

    # --- what is there ------------------------------------------------------------------------------------------------

    def add(self, name: Name, length: int) -> Segment:
        """Take in a file that was found; runs come oldest first."""
        segment = Segment(name, on_disk(length))
        found = self._segments[name.kind].setdefault(name.run, [])
        found.append(segment)
        found.sort(key=lambda other: other.name.first)
        self.bytes[name.kind] += segment.size
        return segment

    def of(self, kind: Class, run: str) -> list[Segment]:
        """Return the segments of a class and run, lowest numbers first."""
        return self._segments[kind].get(run, [])

    def all(self) -> Iterator[Segment]:
        """Yield every segment, oldest first within its class."""
        for kind in CLASSES:
            for found in self._segments[kind].values():
                yield from found

    def covering(self, kind: Class, run: str, sequence: int) -> Segment | None:
        """Return the segment that is responsible for a number."""
        found = self.of(kind, run)
        at = bisect_right(found, sequence, key=lambda segment: segment.name.first) - 1
        return found[at] if at >= 0 else None

    def between(self, kind: Class, run: str, first: int, last: int) -> list[Segment]:
        """Return the segments that are responsible for the numbers ``first..last``."""
        found = self.of(kind, run)
        low = bisect_right(found, first, key=lambda segment: segment.name.first) - 1
        high = bisect_right(found, last, key=lambda segment: segment.name.first)
        return found[max(low, 0) : high]

    def next_first(self, kind: Class, run: str, sequence: int) -> int | None:
        """Return the first number of the next segment after the one responsible, ``None`` if there is none."""
        found = self.of(kind, run)
        at = bisect_right(found, sequence, key=lambda segment: segment.name.first)
        return found[at].name.first if at < len(found) else None

    def oldest_closed(self, kind: Class) -> Segment | None:
        """Return the oldest segment that is not being written."""
        writer = self._writers.get(kind)
        for found in self._segments[kind].values():
            for segment in found:
                if writer is None or segment is not writer.segment:
                    return segment
        return None

    def is_open(self, segment: Segment) -> bool:
        """Tell whether the segment is being written."""
        writer = self._writers.get(segment.name.kind)
        return writer is not None and writer.segment is segment

    # --- reading ------------------------------------------------------------------------------------------------------

    def index(self, segment: Segment) -> Index:
        """Return what stands in a segment; nothing if it is gone. Raises OSError if it cannot be told now."""
        if self.is_open(segment):
            return self._writers[segment.name.kind].index
        found = self._indexes.get(segment.name)
        if found is None:
            try:
                found = segment_file.index(read_past_errors(self.disk, self._path(segment.name), segment.size))
            except FileNotFoundError:
                found = Index()
            self._keep(segment.name, found)
        self._indexes.move_to_end(segment.name)
        return found

    def records(self, segment: Segment, wanted: Intervals) -> list[Record]:
        """Return those wanted that stand in the segment, ascending. Raises OSError if it cannot be told now."""
        found = self.index(segment)
        there = found.present.intersection(wanted)
        if not there:
            return []
        pairs = there.pairs()
        start, end = found.span(pairs[0][0], pairs[-1][1])
        path = self._path(segment.name)
        try:
            data = self.disk.read(path, start, end - start)
        except FileNotFoundError:
            self._keep(segment.name, Index())
            return []
        except OSError as error:
            if error.errno in NOT_NOW:
                raise
            data = read_past_errors(self.disk, path, end)[start:]
        return list(segment_file.records(segment.name.kind, data, there))

    # --- writing ------------------------------------------------------------------------------------------------------

    def room_for(self, kind: Class, frame: bytes) -> bool:
        """Tell whether the open segment of the class takes one more frame."""
        writer = self._writers.get(kind)
        return writer is not None and writer.end + len(frame) <= writer.capacity

    def size_for(self, kind: Class, frame: bytes) -> int:
        """Return the bytes that a new segment takes whose first frame this is."""
        return max(self._sizes[kind], on_disk(len(frame)))

    def start(self, name: Name, size: int) -> None:
        """Make a new segment the open one of its class; the one before must be closed. Raises OSError.

        A half-allocated file, as ext4 leaves it on a full disk, is removed again.
        """
        path = self._path(name)
        handle = self.disk.create(path)
        try:
            self.disk.allocate(handle, size)
            self.disk.sync_directory(self.directory)
        except OSError:
            self.disk.close(handle)
            with suppress(OSError):
                self.disk.unlink(path)
            raise
        self._writers[name.kind] = _Writer(self.add(name, size), handle, size)

    def write(self, kind: Class, batch: Sequence[Unwritten]) -> int:
        """Write the frames of ``batch`` that fit into the open segment, in one go, and return how many these are.

        They are there for a reader after ``sync`` only. Raises OSError; then the segment is closed behind its last
        synced frame.
        """
        writer = self._writers[kind]
        at = start = writer.end
        fitting = []
        for sequence, mono_ms, frame in batch:
            if at + len(frame) > writer.capacity:
                break
            fitting.append((sequence, mono_ms, at, at + len(frame)))
            at += len(frame)
        data = b"".join(entry.frame for entry in batch[: len(fitting)])
        try:
            write_all(self.disk, writer.handle, data, start)
        except OSError:
            self.close(kind)
            raise
        self.written += on_disk(at) - start // PAGE * PAGE
        writer.written += fitting
        return len(fitting)

    def sync(self, kind: Class) -> None:
        """Return when what was written would survive a loss of power. Touches nothing else, so it needs no lock.

        Raises OSError; then the caller has to close the segment: after an error it is not known what reached the
        medium (Linux forgets the pages), so nothing more may be written to that file.
        """
        self.disk.fdatasync(self._writers[kind].handle)

    def settle(self, kind: Class) -> None:
        """Let readers see what was synced."""
        writer = self._writers[kind]
        for entry in writer.written:
            writer.index.add(*entry)
        writer.written.clear()

    def close(self, kind: Class) -> None:
        """Close the open segment, cut to what was synced; without anything synced it is removed. Raises nothing."""
        writer = self._writers.pop(kind, None)
        if writer is None:
            return
        with suppress(OSError):
            self.disk.close(writer.handle)
        with suppress(OSError):
            if writer.index.used == 0:
                self.remove(writer.segment)
                return
            self._keep(writer.segment.name, writer.index)
            self.cut(writer.segment, writer.index.used)

    def cut(self, segment: Segment, used: int) -> None:
        """Give back what a closed segment does not use. Raises OSError."""
        self.disk.truncate(self._path(segment.name), used)
        self.bytes[segment.name.kind] += on_disk(used) - segment.size
        segment.size = on_disk(used)

    def remove(self, segment: Segment) -> None:
        """Remove a segment that is not open. Raises OSError; then it is still there."""
        self.disk.unlink(self._path(segment.name))
        self.forget(segment)

    def forget(self, segment: Segment) -> None:
        """Leave a file alone from now on."""
        kind, run = segment.name.kind, segment.name.run
        self._segments[kind][run].remove(segment)
        if not self._segments[kind][run]:
            del self._segments[kind][run]
        self._indexes.pop(segment.name, None)
        self.bytes[kind] -= segment.size

    def _keep(self, name: Name, index: Index) -> None:
        self._indexes[name] = index
        while len(self._indexes) > _INDEXES_KEPT:
            self._indexes.popitem(last=False)

    def _path(self, name: Name) -> Path:
        return self.directory / str(name)
