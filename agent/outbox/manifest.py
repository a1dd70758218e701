"""The small file beside the segments (``ledger`` on disk): runs, schemas, clocks, what was released, what was lost.

It is a list of entries (``agent.outbox.entries``) in frames with a checksum, appended to and now and then rewritten in
one step. It stands outside eviction. Nothing in it is needed to start: without it the segments' names and records still
say what is held; only boots, schemas and clocks of earlier runs are then unknown, and what was released is sent again.
"""

from __future__ import annotations

from collections.abc import Iterable
from contextlib import suppress
from pathlib import Path
from typing import Final

import msgspec

from agent.outbox import frames
from agent.outbox.disk import Disk, on_disk, write_all
from agent.outbox.entries import Entry

FILE: Final = "ledger"
NEW_FILE: Final = "ledger.new"
GROWTH: Final = 32 * 1024
"""Room is reserved in steps of this many bytes, so that an entry can be written when the disk is full."""


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
