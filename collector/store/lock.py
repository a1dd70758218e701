"""Who owns a site with SQLite: a file lock. (With PostgreSQL: ``advisory_lock``.)

Everything is one machine's matter: the lock goes with the process, and ending a process that hangs is the supervisor's
part (systemd's watchdog).
"""

from __future__ import annotations

import fcntl
import os
from pathlib import Path

from telemetry.topics import is_id


def check_site(site: str) -> str:
    """Return the site's id. Raises ValueError where it could not be one: it becomes a file's name."""
    if not is_id(site):
        raise ValueError(f"expected a site of 1 to 32 letters, digits, _ or -, found {site!r}")
    return site


class FileLock:
    """An exclusive lock on a file beside the database, one a site. It ends with the process, however that ends.

    ``flock``, not POSIX record locks: those are one for the whole process, and closing any other handle of the file
    would drop them.
    """

    def __init__(self, path: Path, handle: int) -> None:
        self._path = path
        self._handle = handle

    @classmethod
    def take(cls, database: Path, site: str, owner: str) -> FileLock | None:
        """Return the lock, or ``None`` while another holds it. The file says who, for people to read."""
        path = database.with_name(f"{database.name}.{check_site(site)}.lock")
        handle = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o644)
        lock = cls(path, handle)
        try:
            fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
            if not lock.held():  # somebody removed the file between opening and locking
                lock.release()
                return None
            os.ftruncate(handle, 0)
            os.pwrite(handle, f"{owner} pid {os.getpid()}\n".encode(), 0)
        except BlockingIOError:
            lock.release()
            return None
        return lock

    def held(self) -> bool:
        """Say whether the locked file is still the one that others would lock."""
        try:
            there = os.stat(self._path)
        except FileNotFoundError:
            return False
        mine = os.fstat(self._handle)
        return (there.st_dev, there.st_ino) == (mine.st_dev, mine.st_ino)

    def release(self) -> None:
        """Give it back; again is no error. The file stays: to remove it would let two hold it."""
        handle, self._handle = self._handle, -1
        if handle >= 0:
            os.close(handle)
