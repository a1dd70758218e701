"""Which segment goes when there is no room: the outbox within its bound, and on a disk that is full.

``max_bytes`` covers everything in the directory: segments, manifest, room reserved for it. Within a class the oldest
segment goes first. Events are never evicted for samples: samples go for both, and events only for newer events once
they fill seven eighths of the outbox.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Final, TypeVar

from agent.outbox.disk import NO_ROOM, PAGE
from agent.outbox.frames import Class
from agent.outbox.manifest import GROWTH, Manifest
from agent.outbox.runs import StoredRuns
from agent.outbox.segment_store import Segment, SegmentStore
from telemetry.intervals import Intervals

EVENT_EIGHTHS: Final = 7
"""How many eighths of the outbox events may fill."""
T = TypeVar("T")


class Eviction:
    """See the module.

    ``remove`` deletes a segment of which nothing is held, and tells whether it could be deleted.
    """

    def __init__(
        self,
        max_bytes: int,
        segments: SegmentStore,
        manifest: Manifest,
        runs: StoredRuns,
        remove: Callable[[Segment], bool],
    ) -> None:
        self._max_bytes = max_bytes
        self._segments = segments
        self._manifest = manifest
        self._runs = runs
        self._remove = remove

    def bytes(self) -> int:
        """Return what everything takes on disk."""
        return sum(self._segments.bytes.values()) + self._manifest.allocated + PAGE  # the directory itself

    def room_for_samples(self) -> int:
        """Return the bytes of samples that a full outbox holds: the last segment is half full on the average."""
        others = self.bytes() - self._segments.bytes["sample"]
        return self._max_bytes - others - self._reserve() - self._segments.size_for("sample", b"") // 2

    def make_room(self, kind: Class, size: int) -> None:
        """See to it that a new segment of this class and size fits within the bound, as far as anything may go."""
        if kind == "event":
            most = self._max_bytes * EVENT_EIGHTHS // 8
            while self._segments.bytes["event"] + size > most and self._evict_oldest("event"):
                pass
        while self.bytes() + self._reserve() + size > self._max_bytes and self.evict_for(kind):
            pass

    def with_room(self, kind: Class, action: Callable[[], T]) -> T:
        """Return what ``action`` returns; on a full disk give up the oldest and try again. Raises other OSErrors."""
        while True:
            try:
                return action()
            except OSError as error:
                if error.errno not in NO_ROOM or not self.evict_for(kind):
                    raise

    def evict_for(self, kind: Class) -> bool:
        """Give up the oldest segment that may go for a record of this class; tell whether there was one."""
        if self._evict_oldest("sample"):
            return True
        if kind == "sample":
            return False
        self._segments.close("sample")
        return self._evict_oldest("sample") or self._evict_oldest("event")

    def _reserve(self) -> int:
        """Return the bytes kept free for the manifest: it grows, and stands there twice while it is rewritten."""
        return self._manifest.allocated + 2 * GROWTH

    def _evict_oldest(self, kind: Class) -> bool:
        segment = self._segments.oldest_closed(kind)
        if segment is None:
            return False
        self._lose(segment)
        return self._remove(segment)

    def _lose(self, segment: Segment) -> None:
        """Take note of what is lost with a segment, and why."""
        run = self._runs.get(segment.name.run)
        held = self._runs.held_in(segment.name, self._segments.next_first(*segment.name))
        if run is None or not held:
            return
        try:
            index = self._segments.index(segment)
            readable = held.intersection(index.present)
            ends = Intervals((number, number) for pair in readable.pairs() for number in pair)
            times = [record.mono_ms for record in self._segments.records(segment, ends)]
        except OSError:  # what stands there cannot be told at the moment, and it has to go
            self._runs.lose(run, held, "evicted", segment.name.kind)
            return
        unreadable = held.minus(readable)
        if unreadable:
            self._runs.lose(run, unreadable, "damaged" if index.damaged else "missing")
        if readable:
            self._runs.lose(run, readable, "evicted", segment.name.kind, (times[0], times[-1]) if times else None)
