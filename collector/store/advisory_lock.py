"""Who owns a site with PostgreSQL: an advisory lock on the connection that commits.

PostgreSQL ends the session of an owner that says nothing (``idle_session_timeout``), but not one that was stopped in
the middle of a statement: there the contender looks at the heartbeat, which every commit and check writes with the
server's own clock, and ends the owner's backend. Only what runs on PostgreSQL imports this, and psycopg with it.
"""

from __future__ import annotations

import hashlib
from typing import Any, Final

import psycopg
from psycopg.types.numeric import Int8BinaryDumper
from sqlalchemy import Engine, text

from collector.store.errors import StoreError
from collector.store.lock import check_site
from collector.store.statements import NOW_MS
from collector.store.store import POSTGRES_OPTIONS

IDLE_MS: Final = 8_000
"""An owner that says nothing for this long loses its session; ``check`` once a second keeps it."""
IDLE_IN_TRANSACTION_MS: Final = 4_000
HUNG_MS: Final = 10_000
"""An owner whose heartbeat is older than this is ended by whoever wants the site."""
LOCK_WAIT_MS: Final = 5_000
"""How long a commit waits for somebody's lock on our tables (a migration, a maintenance command)."""
MIN_SERVER: Final = 140_000
"""PostgreSQL 14: ``idle_session_timeout``, and ``pg_terminate_backend`` that waits."""


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
