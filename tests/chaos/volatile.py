"""The power-loss model on the real disk: what was written lies in this process's memory until ``fdatasync``.

``kill -9`` of the process is then a loss of power for everything that was not synced. Names (files made, renamed,
removed) go to the disk at once; ``tests.chaos.disks`` models those too, without a process.
"""

from __future__ import annotations

import os
from pathlib import Path

from agent.outbox.disk import Disk, Entry


class VolatileDisk(Disk):
    """A real disk behind a cache that only ``fdatasync`` empties."""

    def __init__(self) -> None:
        self._paths: dict[int, Path] = {}
        self._cache: dict[Path, list[tuple[int, bytes]]] = {}

    def list(self, directory: Path) -> list[Entry]:
        return [
            entry._replace(size=max(entry.size, self._end(directory / entry.name)))
            for entry in super().list(directory)
        ]  # fmt: skip

    def create(self, path: Path) -> int:
        handle = super().create(path)
        self._paths[handle] = path
        self._cache.pop(path, None)
        return handle

    def pwrite(self, handle: int, data: bytes, offset: int) -> int:
        self._cache.setdefault(self._paths[handle], []).append((offset, bytes(data)))
        return len(data)

    def fdatasync(self, handle: int) -> None:
        for offset, data in self._cache.pop(self._paths[handle], []):
            assert os.pwrite(handle, data, offset) == len(data)

    def close(self, handle: int) -> None:
        self._paths.pop(handle, None)  # what was not synced stays in the cache: closing a file makes nothing durable
        super().close(handle)

    def read(self, path: Path, offset: int, size: int) -> bytes:
        waiting = self._cache.get(path)
        if not waiting:
            return super().read(path, offset, size)
        data = bytearray(super().read(path, 0, max(path.stat().st_size, 1)))
        for at, part in waiting:
            data.extend(bytes(max(0, at + len(part) - len(data))))
            data[at : at + len(part)] = part
        return bytes(data[offset : offset + size])

    def truncate(self, path: Path, size: int) -> None:
        super().truncate(path, size)
        if path in self._cache:
            kept = [(offset, data[: size - offset]) for offset, data in self._cache[path] if offset < size]
            self._cache[path] = kept

    def replace(self, source: Path, target: Path) -> None:
        super().replace(source, target)
        self._cache.pop(target, None)
        if source in self._cache:
            self._cache[target] = self._cache.pop(source)
        self._paths = {handle: target if path == source else path for handle, path in self._paths.items()}

    def unlink(self, path: Path) -> None:
        super().unlink(path)
        self._cache.pop(path, None)

    def _end(self, path: Path) -> int:
        return max((offset + len(data) for offset, data in self._cache.get(path, [])), default=0)


class ForgetfulDisk(VolatileDisk):
    """Sabotage: the sync is dropped."""

    def fdatasync(self, handle: int) -> None:
        pass
