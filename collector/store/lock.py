"""Who owns a site: a file lock with SQLite, an advisory lock on the committing connection with PostgreSQL.

PostgreSQL ends the session of an owner that says nothing (``idle_session_timeout``), but not one that was stopped in
the middle of a statement: there the contender looks at the heartbeat, which every commit and check writes with the
server's own clock, and ends the owner's backend. With SQLite everything is one machine's matter: the lock goes with
the process, and ending a process that hangs is the supervisor's part (systemd's watchdog).
"""

from __future__ import annotations

import fcntl
import hashlib
import os
from pathlib import Path
from typing import Any, Final

import psycopg
from psycopg.types.numeric import Int8BinaryDumper
from sqlalchemy import Engine, text

from collector.store.errors import StoreError
from collector.store.statements import NOW_MS
from collector.store.store import POSTGRES_OPTIONS
from telemetry.topics import is_id

IDLE_MS: Final = 8_000
"""An owner that says nothing for this long loses its session; ``check`` once a second keeps it."""
IDLE_IN_TRANSACTION_MS: Final = 4_000
HUNG_MS: Final = 10_000
"""An owner whose heartbeat is older than this is ended by whoever wants the site."""
LOCK_WAIT_MS: Final = 5_000
"""How long a commit waits for somebody's lock on our tables (a migration, a maintenance command)."""
MIN_SERVER: Final = 140_000
"""PostgreSQL 14: ``idle_session_timeout``, and ``pg_terminate_backend`` that waits."""


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


def lock_key(site: str) -> int:
    """Return the 64-bit number of the site's advisory lock: the same in every process and version."""
    return int.from_bytes(hashlib.blake2b(f"kitwatch/{check_site(site)}".encode(), digest_size=8).digest(), signed=True)


def make_way(engine: Engine, site: str, hung_ms: int = HUNG_MS) -> bool:
    """Say whether the site's lock is free to try for; end the backend of an owner that hangs.

    Goes by the server's clock alone. A backend younger than ``hung_ms`` is left in peace: it may have locked just now
    and not written its first heartbeat. Raises sqlalchemy's errors where the server cannot be reached.
    """
    with engine.connect() as connection:
        found = connection.execute(_HOLDER, {"key": lock_key(site), "site": site, "hung": hung_ms}).one_or_none()
        if found is None:
            return True
        if not found.hung:
            return False
        return bool(connection.execute(text("SELECT pg_terminate_backend(:pid, 5000)"), {"pid": found.pid}).scalar())


_HOLDER: Final = text(
    f"""
    SELECT l.pid,
           a.backend_start < clock_timestamp() - make_interval(secs => :hung / 1000.0)
           AND coalesce((SELECT heartbeat_ms FROM site WHERE site = :site), 0) < {NOW_MS} - :hung AS hung
      FROM pg_locks l JOIN pg_stat_activity a USING (pid)
     WHERE l.locktype = 'advisory' AND l.granted AND l.objsubid = 1
       AND l.database = (SELECT oid FROM pg_database WHERE datname = current_database())
       AND (l.classid::int8 << 32 | l.objid::int8) = :key
    """.replace("::int8", "\\:\\:int8")
)


def connect(conninfo: str, site: str, owner: str) -> psycopg.Connection[Any]:
    """Return a bare connection fit to hold a site's lock. Raises StoreError, or psycopg's errors where there is none.

    Autocommit: a commit is one statement, so no transaction is ever open while we are elsewhere. A pooler between us
    and the server would take the lock to another session; it shows, since it gives process numbers of its own.
    """
    connection: psycopg.Connection[Any] = psycopg.connect(
        conninfo,
        autocommit=True,
        application_name=f"kitwatch {site} {owner}"[:63],
        **POSTGRES_OPTIONS,
    )
    try:
        pid = connection.execute("SELECT pg_backend_pid()").fetchone()
        if pid is None or pid[0] != connection.info.backend_pid:
            raise StoreError("database: expected PostgreSQL itself, found a pooler, which cannot hold a site's lock")
        if connection.info.server_version < MIN_SERVER:
            raise StoreError(f"database: expected PostgreSQL 14 or later, found {connection.info.server_version}")
        connection.execute(
            f"""
            SELECT set_config('idle_session_timeout', '{IDLE_MS}', false),
                   set_config('idle_in_transaction_session_timeout', '{IDLE_IN_TRANSACTION_MS}', false),
                   set_config('lock_timeout', '{LOCK_WAIT_MS}', false),
                   set_config('tcp_keepalives_idle', '5', false),
                   set_config('tcp_keepalives_interval', '2', false),
                   set_config('tcp_keepalives_count', '3', false),
                   CASE WHEN current_setting('synchronous_commit') = 'off'
                        THEN set_config('synchronous_commit', 'on', false) END
            """
        )
    except BaseException:
        connection.close()
        raise
    # Whole numbers always as int8: else the magnitude picks the type and every mix of types is another statement.
    connection.adapters.register_dumper(int, Int8BinaryDumper)
    return connection
