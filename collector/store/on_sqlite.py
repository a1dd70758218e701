"""A site's ownership and commit on SQLite: a file lock beside the database, WAL with synchronous FULL."""

from __future__ import annotations

import contextlib
import math
import sqlite3
import time
from typing import Final

import msgspec

from collector.store.commit import ACTIONS_WAIT, HOLDERS, SiteConnection
from collector.store.errors import CommitFailed, LiveTicketExists, StoreError
from collector.store.loading import SELECTS, assemble
from collector.store.lock import FileLock
from collector.store.rows import Changes, SiteData, SiteReport
from collector.store.statements import SQLITE_NOW_MS, SQLITE_OWNER, parts, sqlite
from collector.store.store import COMMIT_CACHE_KIB, Store, sqlite_pragmas
from collector.store.ticket_rows import clash, latest

_TAKE = f"""
INSERT INTO site (site, epoch, owner, heartbeat_ms, last_batch) VALUES (?, 1, ?, {SQLITE_NOW_MS}, 0)
ON CONFLICT (site) DO UPDATE SET epoch = epoch + 1, owner = excluded.owner, heartbeat_ms = excluded.heartbeat_ms
RETURNING epoch, last_batch, revision
"""
_HEARTBEAT = f"""
UPDATE site SET heartbeat_ms = {SQLITE_NOW_MS}, heard_ms = CASE WHEN ? THEN {SQLITE_NOW_MS} ELSE heard_ms END,
                report = coalesce(?, report)
 WHERE site = ? AND epoch = ?
"""
_CHECK = f"SELECT epoch, {ACTIONS_WAIT} FROM site WHERE site = ?"
_HEARTBEAT_S: Final = 5.0
"""How often the heartbeat is written while nothing changes; every write is one of the disk's."""


class SqliteSite(SiteConnection):
    """The lock's file and a connection of the standard library."""

    def __init__(
        self, site: str, owner: str, taken: tuple[int, int, int], lock: FileLock, connection: sqlite3.Connection
    ) -> None:
        super().__init__(site, owner, *taken)
        self._lock = lock
        self._connection = connection
        self._reported: SiteReport | None = None
        """What was written last, as ``_settled``."""
        self._reported_s = -math.inf

    @classmethod
    def take(cls, store: Store, site: str, owner: str) -> SqliteSite | None:
        """See ``SiteConnection.acquire``."""
        path = store.path
        assert path is not None
        if not path.exists():
            raise StoreError(f"{store}: no such file: kitwatch migrate")
        lock = FileLock.take(path, site, owner)
        if lock is None:
            return None
        connection: sqlite3.Connection | None = None
        try:
            # the site's worker thread uses it, whoever opened it
            connection = sqlite3.connect(path, isolation_level=None, check_same_thread=False)
            connection.text_factory = _text  # what is no UTF-8 any more must not keep the rest from being read
            sqlite_pragmas(connection)
            connection.execute(f"PRAGMA cache_size = -{COMMIT_CACHE_KIB}")
            (taken,) = connection.execute(_TAKE, (site, owner)).fetchall()
        except sqlite3.Error as error:
            if connection is not None:
                connection.close()
            lock.release()
            raise StoreError(f"{store}: {error}") from error
        return cls(site, owner, taken, lock, connection)

    def close(self) -> None:
        """See ``SiteConnection.close``. The connection goes first: a site is given up when nothing can be committed."""
        self._lost = self._lost or "closed"
        self._connection.close()
        self._lock.release()

    def _load(self) -> SiteData:
        try:
            self._connection.execute("BEGIN")
            try:
                answers = [self._connection.execute(s.format("?1"), (self.site,)).fetchall() for s in SELECTS]
            finally:
                self._rollback()
        except sqlite3.Error as error:
            raise CommitFailed(self.site, f"cannot load: {error}") from error
        return assemble(*answers)

    def _commit(self, changes: Changes, number: int | None) -> None:
        execute = self._connection.execute
        try:
            todo = [
                (sqlite(part), [(self.site, *row) for row in rows]) for part, rows in parts(changes, self.revision + 1)
            ]
            execute("BEGIN IMMEDIATE")
            ours = execute(SQLITE_OWNER, (number, changes.site_state, self.site, self.epoch)).rowcount == 1
            if ours:
                for statement, rows in todo:
                    self._connection.executemany(statement, rows)
                execute("COMMIT")
        except (sqlite3.Error, ValueError, OverflowError) as error:
            self._rollback()
            raise self._failed(changes, error) from error
        finally:
            self._rollback()
        if not ours:
            raise self._lose("another epoch rules")

    def _failed(self, changes: Changes, error: Exception) -> CommitFailed:
        if isinstance(error, sqlite3.IntegrityError) and "ticket_problem.key" in str(error):
            already = self._connection.execute(HOLDERS.format("?1"), (self.site,)).fetchall()
            if found := clash(latest(changes.recorded), already):
                ticket, problem, existing = found
                return LiveTicketExists(self.site, problem.vehicle, problem.key.text(), ticket.id, existing)
        return CommitFailed(self.site, str(error))

    def _check(self, report: SiteReport | None) -> bool:
        if not self._lock.held():
            raise self._lose("the lock's file was removed")
        try:
            row = self._connection.execute(_CHECK, (self.site,)).fetchone()
        except sqlite3.Error as error:
            raise CommitFailed(self.site, f"cannot check: {error}") from error
        if row is None or row[0] != self.epoch:
            raise self._lose("another epoch rules")
        if report is not None:
            settled = _settled(report)
            if settled != self._reported or time.monotonic() - self._reported_s >= _HEARTBEAT_S:
                self._report(report, settled)
        return bool(row[1])

    def _report(self, report: SiteReport, settled: SiteReport) -> None:
        """Write the heartbeat. It need not reach the disk before we go on; where it cannot be written it grows old."""
        heard, content = report.listening_since_ms is not None, msgspec.json.encode(report).decode()
        with contextlib.suppress(sqlite3.Error):
            self._connection.execute("PRAGMA synchronous = NORMAL")
            try:
                self._connection.execute(_HEARTBEAT, (heard, content, self.site, self.epoch))
            finally:
                self._connection.execute("PRAGMA synchronous = FULL")
            self._reported, self._reported_s = settled, time.monotonic()

    def _rollback(self) -> None:
        with contextlib.suppress(sqlite3.Error):
            if self._connection.in_transaction:
                self._connection.execute("ROLLBACK")


def _settled(report: SiteReport) -> SiteReport:
    """Return a report without what will be gone in a moment: while messages come, other ones wait each second."""
    since_ms = report.oldest_waiting_ms
    if since_ms is not None and time.time() * 1000 - since_ms < _HEARTBEAT_S * 1000:
        since_ms = None
    return msgspec.structs.replace(report, waiting_messages=0, oldest_waiting_ms=since_ms)


def _text(raw: bytes) -> str:
    return raw.decode(errors="replace")
