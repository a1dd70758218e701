"""A site's ownership and commit on PostgreSQL: an advisory lock on the bare connection that commits."""

from __future__ import annotations

import contextlib
import struct
from typing import Any

import msgspec
import psycopg
from sqlalchemy.exc import DBAPIError

from collector.store.advisory_lock import connect, lock_key, make_way
from collector.store.commit import ACTIONS_WAIT, HOLDERS, SiteConnection
from collector.store.errors import CommitFailed, LiveTicketExists, StoreError
from collector.store.loading import SELECTS, assemble
from collector.store.rows import Changes, SiteData, SiteReport
from collector.store.statements import NOW_MS, parts, postgres, postgres_parameters
from collector.store.store import Store
from collector.store.ticket_rows import clash, latest

_TAKE = f"""
INSERT INTO site (site, epoch, owner, heartbeat_ms, last_batch) VALUES (%s, 1, %s, {NOW_MS}, 0)
ON CONFLICT (site) DO UPDATE
   SET epoch = site.epoch + 1, owner = excluded.owner, heartbeat_ms = excluded.heartbeat_ms
RETURNING epoch, last_batch, revision
"""
# A heartbeat need not reach the disk before we go on; the setting ends with this one statement.
_CHECK = f"""
UPDATE site SET heartbeat_ms = {NOW_MS}, heard_ms = CASE WHEN %s::bool THEN {NOW_MS} ELSE heard_ms END,
                report = coalesce(%s::text, report)
 WHERE site = %s AND epoch = %s
RETURNING {ACTIONS_WAIT}, set_config('synchronous_commit', 'off', true)
"""


class PostgresSite(SiteConnection):
    """One psycopg connection: the lock lives and dies with it, so an error on it ends the ownership."""

    def __init__(self, site: str, owner: str, taken: tuple[int, int, int], connection: psycopg.Connection[Any]) -> None:
        super().__init__(site, owner, *taken)
        self._connection = connection

    @classmethod
    def take(cls, store: Store, site: str, owner: str) -> PostgresSite | None:
        """See ``SiteConnection.acquire``."""
        key = lock_key(site)
        try:
            if not make_way(store.engine, site):
                return None
            connection = connect(store.conninfo, site, owner)
        except (DBAPIError, psycopg.Error) as error:
            raise StoreError(f"{store}: {_words(error)}") from error
        try:
            locked = connection.execute("SELECT pg_try_advisory_lock(%s)", (key,)).fetchone()
            taken = connection.execute(_TAKE, (site, owner)).fetchone() if locked == (True,) else None
        except psycopg.Error as error:
            connection.close()
            raise StoreError(f"{store}: {_words(error)}") from error
        if taken is None:
            connection.close()
            return None
        return cls(site, owner, taken, connection)

    def close(self) -> None:
        """See ``SiteConnection.close``.

        Unlocked first where we can: the server notices a closed connection only a moment later.
        """
        if self._lost is None:
            self._lost = "closed"
            with contextlib.suppress(psycopg.Error):
                self._connection.execute("SELECT pg_advisory_unlock_all()")
        self._connection.close()

    def _load(self) -> SiteData:
        return assemble(*(self._execute(s.format("%(site)s"), {"site": self.site}).fetchall() for s in SELECTS))

    def _commit(self, changes: Changes, number: int | None) -> None:
        parameters: list[Any] = [number, changes.site_state, self.site, self.epoch]
        try:
            todo = parts(changes, self.revision + 1)
            for part, rows in todo:
                parameters += postgres_parameters(part, rows)
        except (ValueError, OverflowError) as error:  # a value that no column can hold
            raise CommitFailed(self.site, _words(error)) from error
        statement = postgres(tuple(part for part, _ in todo))
        try:
            answer = self._execute(statement, parameters, prepare=True).fetchone()
        except CommitFailed as failed:
            raise self._failed(changes, failed) from failed.__cause__
        if answer != (1,):
            raise self._lose("another epoch rules")

    def _failed(self, changes: Changes, failed: CommitFailed) -> CommitFailed:
        cause = failed.__cause__
        if (
            isinstance(cause, psycopg.errors.UniqueViolation)
            and cause.diag.constraint_name == "ticket_problem_one_live"
        ):
            already = self._execute(HOLDERS.format("%(site)s"), {"site": self.site}).fetchall()
            if found := clash(latest(changes.recorded), already):
                ticket, problem, existing = found
                return LiveTicketExists(self.site, problem.vehicle, problem.key.text(), ticket.id, existing)
        return failed

    def _check(self, report: SiteReport | None) -> bool:
        heard = report is not None and report.listening_since_ms is not None
        content = None if report is None else msgspec.json.encode(report).decode()
        row = self._execute(_CHECK, (heard, content, self.site, self.epoch)).fetchone()
        if row is None:
            raise self._lose("another epoch rules")
        return bool(row[0])

    def _execute(self, statement: str, parameters: Any, *, prepare: bool | None = None) -> psycopg.Cursor[Any]:
        """Execute one statement, a transaction of its own. Raises LostOwnership, or CommitFailed with the cause."""
        try:
            return self._connection.execute(statement, parameters, prepare=prepare, binary=True)
        except psycopg.Error as error:
            # 57P..: the server or somebody ends the session; 08...: the connection. Neither comes back.
            over = self._connection.closed or (error.sqlstate or "").startswith(("57P", "08"))
            if over:
                raise self._lose(_words(error)) from error
            raise CommitFailed(self.site, _words(error)) from error
        except (ValueError, OverflowError, struct.error) as error:  # a value that no column can hold; nothing was sent
            raise CommitFailed(self.site, _words(error)) from error


def _words(error: Exception) -> str:
    """Return what the server or libpq said, in one line."""
    return " ".join(str(getattr(error, "orig", None) or error).split())
