"""The collector's database: where it is, its version, and an engine for everything but the commit."""

from __future__ import annotations

import contextlib
import os
import threading
from collections.abc import Iterator, Mapping
from pathlib import Path
from types import MappingProxyType
from typing import Any, Final

from sqlalchemy import Connection, Engine, create_engine, event, text
from sqlalchemy.engine import URL, make_url
from sqlalchemy.exc import ArgumentError, DBAPIError, OperationalError

from collector.store.errors import StoreAway, StoreError

BUSY_S: Final = 10.0
"""How long SQLite waits for another writer (another site's commit, a sink)."""
CHECKPOINT_PAGES: Final = 16_000
"""Pages of SQLite's log between two checkpoints, 16 MB of a new file: a quarter of an hour of 200 vehicles."""
CACHE_KIB: Final = 128
"""Pages that each connection of ``engine`` keeps in memory: SQLite's own 2 MB are too many for several, and the kernel
has them too."""
COMMIT_CACHE_KIB: Final = 512
"""And the one that commits. With SQLite's 2 MB a commit of 500 messages costs 0.5 µs a message less, of 200 nothing."""
POSTGRES_OPTIONS: Final[Mapping[str, Any]] = MappingProxyType(
    {
        "connect_timeout": 5,
        "keepalives": 1,
        "keepalives_idle": 5,
        "keepalives_interval": 2,
        "keepalives_count": 3,
        "tcp_user_timeout": 10_000,
    }
)
"""For libpq: a server that vanished without a word is noticed in about ten seconds."""
_MIGRATION_LOCK: Final = 0x6B6974776174
"""Advisory lock under which collectors that start together migrate one after the other ("kitwat")."""
_one_thread: Final = threading.Lock()
"""Alembic keeps the migration that is running in global variables."""
_WRITE: Final = "kitwatch_write"


class Store:
    """A database of the collector, SQLite or PostgreSQL (14 or later).

    ``engine`` reads (API, sinks, commands); ``transaction`` writes what is not a site's commit. The commit itself has
    a connection of its own, see ``commit.py``: SQLAlchemy reconnects in silence and would go on without the lock.
    """

    def __init__(self, url: URL, engine: Engine) -> None:
        self._url = url
        self.engine = engine

    @classmethod
    def open(cls, url: str) -> Store:
        """Return the store at ``sqlite:///path`` or ``postgresql://...``.

        Opens no connection and changes nothing; see ``migrate``. Raises StoreError for any other address, and for a
        file that everybody may read or write.
        """
        try:
            parsed = make_url(url)
        except ArgumentError:
            raise StoreError("database: expected sqlite:///path or postgresql://..., found no URL") from None
        kind = parsed.get_backend_name()
        if kind == "sqlite":
            if not parsed.database or parsed.database == ":memory:":
                raise StoreError("database: expected sqlite:/// and the path of a file, found no path")
            _check_mode(Path(parsed.database))
            return cls(parsed, _sqlite_engine(parsed.set(drivername="sqlite")))
        if kind == "postgresql":
            # a connection that died in the pool is found before it is used
            engine = create_engine(
                parsed.set(drivername="postgresql+psycopg"), pool_pre_ping=True, connect_args=dict(POSTGRES_OPTIONS)
            )
            return cls(parsed, engine)
        raise StoreError(f"database: expected sqlite:///path or postgresql://..., found {kind}://")

    @property
    def path(self) -> Path | None:
        """The file of an SQLite database; ``None`` for PostgreSQL."""
        return Path(self._url.database or "") if self._url.get_backend_name() == "sqlite" else None

    @property
    def conninfo(self) -> str:
        """The address for libpq, password included: never print it."""
        return self._url.set(drivername="postgresql").render_as_string(hide_password=False)

    def __str__(self) -> str:
        return self._url.render_as_string(hide_password=True)

    @contextlib.contextmanager
    def transaction(self) -> Iterator[Connection]:
        """Yield a connection in a transaction that writes; commits at the end, rolls back on an exception."""
        with self.engine.connect().execution_options(**{_WRITE: True}) as connection, connection.begin():
            yield connection

    def migrate(self, revision: str = "head") -> str:
        """Bring the database to this version's tables (or to ``revision``) and return the revision it had before.

        Safe to call by several collectors at once. An empty string: it was empty. Raises StoreError if the database
        was made by a later version of kitwatch, or cannot be reached.
        """
        from collector.store import migrations

        with self.errors(), _one_thread, self._alone(), self.transaction() as connection:
            before = migrations.current(connection)
            if before and before not in migrations.revisions():
                raise StoreError(f"{self}: made by a later version: expected up to {migrations.head()}, found {before}")
            if before != (migrations.head() if revision == "head" else revision):
                from alembic import command

                command.upgrade(migrations.config(connection), revision)
        return before

    def revision(self) -> str:
        """Return the revision of the database's tables; an empty string for an empty one. Raises StoreError."""
        from collector.store import migrations

        if self.path is not None and not self.path.exists():
            return ""
        with self.errors(), self.engine.connect() as connection:
            return migrations.current(connection)

    def require_current(self) -> None:
        """Raise StoreError unless the database has exactly the tables that this version works with."""
        from collector.store import migrations

        found = self.revision()
        if found != migrations.head():
            raise StoreError(
                f"{self}: expected revision {migrations.head()}, found {found or 'none'}: kitwatch migrate"
            )

    def close(self) -> None:
        """Close the engine's connections."""
        self.engine.dispose()

    @contextlib.contextmanager
    def errors(self) -> Iterator[None]:
        """Turn what the driver raises into StoreError (StoreAway: nobody answers), without the address's password."""
        try:
            yield
        except DBAPIError as error:
            words = str(error.orig).strip()
            away = self.path is None and isinstance(error, OperationalError) and _is_away(words)
            raise (StoreAway if away else StoreError)(f"{self}: {words}") from error

    @contextlib.contextmanager
    def _alone(self) -> Iterator[None]:
        """Keep other migrations out until this one is committed; with SQLite its transaction does."""
        if self.path is not None:
            self.path.parent.mkdir(parents=True, exist_ok=True)
            yield
            return
        with self.engine.connect() as connection:
            connection.execute(text("SELECT pg_advisory_lock(:key)"), {"key": _MIGRATION_LOCK})
            try:
                yield
            finally:
                connection.execute(text("SELECT pg_advisory_unlock(:key)"), {"key": _MIGRATION_LOCK})
                connection.commit()


def _is_away(words: str) -> bool:
    """Say whether a server that refuses us will take us later: it is not there, starts, ends, or is full.

    libpq gives no code for a failed connect; ``FATAL`` is the server's own word (PostgreSQL 55.2, error 57P03, 53300).
    """
    later = (
        "starting up",
        "shutting down",
        "in recovery",
        "not yet accepting",
        "too many clients",
        "remaining connection",
    )
    return "FATAL" not in words or any(word in words for word in later)


def _check_mode(file: Path) -> None:
    try:
        mode = file.stat().st_mode & 0o777
    except OSError:
        return  # it is not there yet, or says so itself when it is opened
    if mode & 0o007:
        raise StoreError(f"{file}: expected a file that is closed to others (chmod 600), found mode {mode:04o}")


def sqlite_pragmas(connection: Any) -> None:
    """Set what every SQLite connection of ours needs: readers beside the writer, each commit on the disk.

    A new file has small pages: a commit touches few bytes of each page that it writes, twice (2.2 kB a message at 20 a
    second with 4,096, 1.2 with 1,024). A file that is there keeps what it has. What is written over and over goes from
    the log into the file once in so many pages of log; zeros over what was deleted only where the page is written
    anyway, for Debian's SQLite would write whole pages of them.
    """
    connection.execute(f"PRAGMA busy_timeout = {int(BUSY_S * 1000)}")
    connection.execute("PRAGMA page_size = 1024")
    connection.execute("PRAGMA journal_mode = WAL")
    connection.execute(f"PRAGMA wal_autocheckpoint = {CHECKPOINT_PAGES}")
    connection.execute("PRAGMA secure_delete = FAST")
    connection.execute("PRAGMA synchronous = FULL")


def _sqlite_engine(url: URL) -> Engine:
    engine = create_engine(url, pool_use_lifo=True)  # else all of its connections keep all statements, 0.1 MB each

    @event.listens_for(engine, "do_connect")
    def _connecting(*_: Any) -> None:
        # SQLite would leave the mode to the umask. A file that is there is never opened: closing any handle of it drops
        # all POSIX locks that this process holds on it, and whoever reads it next then deletes the log under our feet.
        with contextlib.suppress(OSError):
            os.close(os.open(url.database or "", os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600))

    @event.listens_for(engine, "connect")
    def _connected(dbapi_connection: Any, _record: Any) -> None:
        dbapi_connection.isolation_level = None  # the driver begins nothing by itself
        sqlite_pragmas(dbapi_connection)
        dbapi_connection.execute(f"PRAGMA cache_size = -{CACHE_KIB}")

    @event.listens_for(engine, "begin")
    def _began(connection: Connection) -> None:
        # A transaction that reads first and writes later could not wait for another writer.
        writes = connection.get_execution_options().get(_WRITE)
        connection.exec_driver_sql("BEGIN IMMEDIATE" if writes else "BEGIN")

    return engine
