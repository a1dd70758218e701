"""The few file operations that the outbox needs, as one object.

Tests put another in its place that fails or kills at step n, or that forgets what was not synced. Every method is one
step and raises OSError. Paths are whole paths.
"""

from __future__ import annotations

import errno
import fcntl
import os
from pathlib import Path
from typing import Final, NamedTuple

PAGE: Final = 4096
"""Bytes that a file takes on disk at least, and that a write costs at least."""
NO_ROOM: Final = (errno.ENOSPC, errno.EDQUOT)
"""Errors that say that the disk is full."""
NOT_NOW: Final = (errno.EMFILE, errno.ENFILE, errno.ENOMEM, errno.EAGAIN, errno.EINTR)
"""Errors that say nothing of the medium and pass."""


class Entry(NamedTuple):
    """A file in a directory: its name, length in bytes and time of last change (only ever compared)."""

    name: str
    size: int
    modified_ns: int


class Disk:
    """The real disk."""

    def make_directory(self, directory: Path) -> None:
        """Make the directory, for its owner only, unless it is there."""
        directory.mkdir(mode=0o700, parents=True, exist_ok=True)

    def lock(self, directory: Path) -> int:
        """Take the directory for this process and return what ``close`` lets go. Raises BlockingIOError if taken.

        The lock is on the directory itself: it needs no file, so it works on a read-only file system too.
        """
        handle = os.open(directory, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
        try:
            fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError:
            os.close(handle)
            raise
        return handle

    def list(self, directory: Path) -> list[Entry]:
        """Return the files of the directory."""
        found = []
        with os.scandir(directory) as entries:
            for entry in entries:
                if entry.is_file(follow_symlinks=False):
                    status = entry.stat(follow_symlinks=False)
                    found.append(Entry(entry.name, status.st_size, status.st_mtime_ns))
        return found

    def create(self, path: Path) -> int:
        """Return a handle to a new, empty file. What stood there is gone."""
        return os.open(path, os.O_RDWR | os.O_CREAT | os.O_TRUNC | os.O_CLOEXEC, 0o600)

    def allocate(self, handle: int, size: int) -> None:
        """Reserve room, which then reads as zeros. A file system that cannot is no error: the file grows by writing."""
        try:
            os.posix_fallocate(handle, 0, size)
        except OSError as error:
            if error.errno not in (errno.EOPNOTSUPP, errno.EINVAL, errno.ENOSYS):
                raise

    def pwrite(self, handle: int, data: bytes, offset: int) -> int:
        """Write and return how many bytes were taken: fewer than given when the disk is full."""
        return os.pwrite(handle, data, offset)

    def fdatasync(self, handle: int) -> None:
        """Return when everything written through the handle would survive a loss of power."""
        os.fdatasync(handle)

    def close(self, handle: int) -> None:
        """Let go of a handle."""
        os.close(handle)

    def read(self, path: Path, offset: int, size: int) -> bytes:
        """Return up to ``size`` bytes from ``offset`` on, fewer only at the end of the file."""
        handle = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
        try:
            parts = []
            while size > 0 and (part := os.pread(handle, size, offset)):
                parts.append(part)
                offset += len(part)
                size -= len(part)
            return b"".join(parts)
        finally:
            os.close(handle)

    def truncate(self, path: Path, size: int) -> None:
        """Cut the file."""
        os.truncate(path, size)

    def replace(self, source: Path, target: Path) -> None:
        """Give the file the other's name, in one step."""
        os.replace(source, target)

    def unlink(self, path: Path) -> None:
        """Remove the file; that it is not there is no error."""
        path.unlink(missing_ok=True)

    def sync_directory(self, directory: Path) -> None:
        """Return when names made, changed and removed would survive a loss of power."""
        handle = os.open(directory, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
        try:
            os.fsync(handle)
        finally:
            os.close(handle)


def on_disk(size: int) -> int:
    """Return the bytes that a file of this length takes on disk."""
    return -(-size // PAGE) * PAGE


def read_past_errors(disk: Disk, path: Path, size: int) -> bytes:
    """Return the file, so that one bad sector costs its records only: where it cannot be read stand bytes of 0xFF.

    0xFF begins no frame and is no unwritten rest. Raises OSError where it may be read later (``NOT_NOW``), and
    FileNotFoundError.
    """
    try:
        return disk.read(path, 0, size)
    except OSError as error:
        if error.errno == errno.ENOENT or error.errno in NOT_NOW:
            raise
        if error.errno != errno.EIO:
            return b"\xff" * size
    parts = []
    for offset in range(0, size, PAGE):
        try:
            parts.append(disk.read(path, offset, min(PAGE, size - offset)))
        except OSError as error:
            if error.errno != errno.EIO:
                raise
            parts.append(b"\xff" * min(PAGE, size - offset))
    return b"".join(parts)


def write_all(disk: Disk, handle: int, data: bytes, offset: int) -> None:
    """Write all of the data. Raises OSError: a full disk first takes a part, then says why (ENOSPC)."""
    view = memoryview(data)
    while view:
        taken = disk.pwrite(handle, bytes(view), offset)
        if taken == 0:
            raise OSError(errno.ENOSPC, "No space left on device")
        view = view[taken:]
        offset += taken
