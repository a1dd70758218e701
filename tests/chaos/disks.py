"""Disks for the outbox that fail, kill or lose power at a chosen step. No real file is touched."""

from __future__ import annotations

import errno
import os
import random
from collections.abc import Callable
from pathlib import Path

from agent.outbox.disk import Disk, Entry

SECTOR = 512
CHANGING = ("create", "allocate", "pwrite", "fdatasync", "truncate", "replace", "unlink", "sync_directory", "close")


class Killed(BaseException):
    """The process was killed at this step."""


class _File:
    """Content as processes see it, as the medium has it, and the writes between, oldest first."""

    def __init__(self) -> None:
        self.data = bytearray()
        self.synced = b""
        self.unsynced: list[tuple[int, bytes] | int] = []

    def write(self, data: bytes, offset: int) -> None:
        if len(self.data) < offset + len(data):
            self.data.extend(bytes(offset + len(data) - len(self.data)))
        self.data[offset : offset + len(data)] = data
        for at in range(0, len(data), SECTOR):
            self.unsynced.append((offset + at, data[at : at + SECTOR]))

    def resize(self, size: int) -> None:
        del self.data[size:]
        self.data.extend(bytes(size - len(self.data)))
        self.unsynced.append(size)

    def sync(self) -> None:
        self.synced = bytes(self.data)
        self.unsynced.clear()

    def after_power_loss(self, kept: Callable[[], bool]) -> _File:
        """Return the file with what was synced and whatever else happened to reach the medium, sector by sector."""
        result = _File()
        result.data = bytearray(self.synced)
        for change in self.unsynced:
            if kept():
                result.resize(change) if isinstance(change, int) else result.write(change[1], change[0])
        result.sync()
        return result


class MemoryDisk(Disk):
    """A disk that keeps apart what was synced and what was not, for contents and for names.

    ``capacity`` in bytes raises ENOSPC as ext4 does: a short write first, a half-allocated file left behind.
    ``before`` is called with every changing step's name; what it raises happens instead of the step. ``halves`` makes
    ``pwrite`` put half of its data down before that.
    """

    def __init__(self) -> None:
        self.names: dict[str, _File] = {}
        self.synced_names: dict[str, _File] = {}
        self.unsynced_names: list[tuple[str, _File | None, str]] = []
        self.handles: dict[int, _File | None] = {}
        self.locked = False
        self.capacity: int | None = None
        self.before: Callable[[str], None] = lambda step: None
        self.halves = False
        self.steps = 0
        self.most_used = 0

    # --- failures ---

    def killed(self) -> MemoryDisk:
        """Return the disk as the next process finds it after a kill: everything written is there."""
        result = MemoryDisk()
        result.names = dict(self.names)
        result.synced_names = dict(self.synced_names)
        result.unsynced_names = list(self.unsynced_names)
        return result

    def without_power(self, seed: int) -> MemoryDisk:
        """Return the disk after a loss of power: what was synced, and any part of the rest (none, all, or random)."""
        chance = random.Random(seed)
        share = chance.choice((0.0, 1.0, 0.5, 0.9))

        def kept() -> bool:
            return chance.random() < share

        names = dict(self.synced_names)
        for name, file, old in self.unsynced_names:
            if not kept():
                continue
            names.pop(old, None)
            if file is None:
                names.pop(name, None)
            else:
                names[name] = file
        result = MemoryDisk()
        result.names = {name: file.after_power_loss(kept) for name, file in names.items()}
        result.synced_names = dict(result.names)
        return result

    def used(self) -> int:
        """Return the bytes in use, in whole pages, and one for the directory."""
        return 4096 + sum(-(-len(file.data) // 4096) * 4096 for file in self.names.values())

    def _step(self, name: str) -> None:
        self.steps += 1
        self.before(name)
        self.most_used = max(self.most_used, self.used())

    # --- Disk ---

    def make_directory(self, directory: Path) -> None:
        pass

    def lock(self, directory: Path) -> int:
        if self.locked:
            raise BlockingIOError(errno.EWOULDBLOCK, "taken")
        self.locked = True
        return self._handle(None)

    def list(self, directory: Path) -> list[Entry]:
        return [Entry(name, len(file.data), 0) for name, file in self.names.items()]

    def create(self, path: Path) -> int:
        self._step("create")
        file = self.names[path.name] = _File()
        self.unsynced_names.append((path.name, file, ""))
        return self._handle(file)

    def allocate(self, handle: int, size: int) -> None:
        self._step("allocate")
        file = self._file(handle)
        if size <= len(file.data):
            return
        room = self._room()
        if room is not None and size - len(file.data) > room:
            file.resize(len(file.data) + room // 2)
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        file.resize(size)

    def pwrite(self, handle: int, data: bytes, offset: int) -> int:
        file = self._file(handle)
        try:
            self._step("pwrite")
        except BaseException:
            if self.halves:
                file.write(data[: len(data) // 2], offset)
            raise
        growth = max(0, offset + len(data) - len(file.data))
        room = self._room()
        if room is not None and growth > room:
            if growth - room >= len(data):
                raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
            data = data[: len(data) - (growth - room)]
        file.write(data, offset)
        return len(data)

    def fdatasync(self, handle: int) -> None:
        self._step("fdatasync")
        self._file(handle).sync()

    def close(self, handle: int) -> None:
        if self.handles[handle] is None:
            self.locked = False
        else:
            self._step("close")
        del self.handles[handle]

    def read(self, path: Path, offset: int, size: int) -> bytes:
        return bytes(self._named(path).data[offset : offset + size])

    def truncate(self, path: Path, size: int) -> None:
        self._step("truncate")
        self._named(path).resize(size)

    def replace(self, source: Path, target: Path) -> None:
        self._step("replace")
        file = self.names.pop(source.name)
        self.names[target.name] = file
        self.unsynced_names.append((target.name, file, source.name))

    def unlink(self, path: Path) -> None:
        self._step("unlink")
        if self.names.pop(path.name, None) is not None:
            self.unsynced_names.append((path.name, None, ""))

    def sync_directory(self, directory: Path) -> None:
        self._step("sync_directory")
        self.synced_names = dict(self.names)
        self.unsynced_names.clear()

    def _named(self, path: Path) -> _File:
        try:
            return self.names[path.name]
        except KeyError:
            raise FileNotFoundError(errno.ENOENT, os.strerror(errno.ENOENT), str(path)) from None

    def _room(self) -> int | None:
        return None if self.capacity is None else max(0, self.capacity - self.used())

    def _handle(self, file: _File | None) -> int:
        handle = max(self.handles, default=2) + 1
        self.handles[handle] = file
        return handle

    def _file(self, handle: int) -> _File:
        file = self.handles[handle]
        assert file is not None
        return file


def kill_at(disk: MemoryDisk, step: int) -> None:
    """Kill the process that uses the disk instead of its step with this number (from 0)."""
    first = disk.steps

    def before(name: str) -> None:
        if disk.steps - first > step:
            raise Killed(name)

    disk.before = before
