"""A consistent copy of the whole database in one file, and back, into SQLite or PostgreSQL, whichever it came from.

The file is zstd over lines of JSON: a header (format, revision, when), then for each table a line that names its
columns and a line a row (bytes in base64), at the end the number of rows of each table and a digest of them: the sum
of the rows' hashes, so that it holds in whatever order a database gives them. One reading transaction sees one moment;
the collector goes on meanwhile.
"""

from __future__ import annotations

import base64
import contextlib
import hashlib
import os
import time
from collections.abc import Iterator
from pathlib import Path
from typing import IO, Any, Final

import msgspec
import zstandard
from sqlalchemy import Connection, LargeBinary, MetaData, Table, column, func, insert, inspect, select, table, text
from sqlalchemy.exc import SQLAlchemyError
from sqlalchemy.sql.selectable import TableClause

from collector.store import schema
from collector.store.errors import StoreError
from collector.store.store import Store

FORMAT: Final = 1
EPOCH_STEP: Final = 1_000_000
"""A restored epoch goes up by this: agents ignore one that is lower than what they heard in the time that was lost."""
_CHUNK: Final = 500
MOST_LINE: Final = 256 * 2**20
"""No row of ours comes near: a longer line is no backup of ours, and must not fill the memory."""


class BackupError(StoreError):
    """A file that is no backup, is damaged, or does not come out as it went in."""


class Header(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """First line. ``revision`` is the database's; ``made_ms`` is UTC milliseconds."""

    kitwatch_backup: int
    revision: str
    made_ms: int


class TableLine(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """A table's rows follow. ``binary`` are the columns in base64."""

    table: str
    columns: list[str]
    binary: list[str]


class Total(msgspec.Struct, array_like=True):
    """Number of rows of a table, and the sum of their hashes."""

    rows: int = 0
    digest: str = "0"

    def add(self, line: bytes) -> None:
        """Count one row's line."""
        self.rows += 1
        one = int.from_bytes(hashlib.blake2b(line, digest_size=16).digest())
        self.digest = f"{(int(self.digest, 16) + one) % 2**128:x}"


class End(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Last line."""

    end: dict[str, Total]


def backup(store: Store, file: Path) -> dict[str, int]:
    """Write a copy as it is at this moment; return the number of rows of each table.

    The file appears complete or not at all, readable by its owner only. A database of an older version is taken as it
    is. Raises StoreError (no revision of ours, the file is there already), OSError.
    """
    from collector.store import migrations

    revision = store.revision()
    if revision not in migrations.revisions():
        raise StoreError(f"{store}: expected a revision up to {migrations.head()}, found {revision or 'none'}")
    if os.path.lexists(file):
        raise StoreError(f"{file}: expected a new file, found one that is there")
    part = file.with_name(file.name + ".part")
    with contextlib.ExitStack() as undo:
        part.unlink(missing_ok=True)  # of a backup that was interrupted
        # never through a link that somebody laid in a folder where others may write
        handle = os.open(part, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW, 0o600)
        undo.callback(part.unlink, missing_ok=True)
        with open(handle, "wb") as raw:
            with zstandard.ZstdCompressor(level=3, write_checksum=True).stream_writer(raw, closefd=False) as out:
                totals = _write(store, out)
            raw.flush()
            os.fsync(raw.fileno())
        part.rename(file)
        undo.pop_all()
    directory = os.open(file.parent, os.O_RDONLY)
    os.fsync(directory)
    os.close(directory)
    return {name: total.rows for name, total in totals.items()}


def _write(store: Store, out: IO[bytes]) -> dict[str, Total]:
    from collector.store import migrations

    totals: dict[str, Total] = {}
    with _snapshot(store) as connection:
        header = Header(FORMAT, migrations.current(connection), time.time_ns() // 1_000_000)
        out.write(msgspec.json.encode(header) + b"\n")
        for one in _tables(connection, header.revision):
            line = TableLine(
                str(one.name),
                [str(c.name) for c in one.columns],
                [str(c.name) for c in one.columns if isinstance(c.type, LargeBinary)],
            )
            out.write(msgspec.json.encode(line) + b"\n")
            totals[one.name] = Total()
            for row in _rows(connection, one, line):
                totals[one.name].add(row)
                out.write(row + b"\n")
        out.write(msgspec.json.encode(End(totals)) + b"\n")
    return totals


def _tables(connection: Connection, revision: str) -> list[Table]:
    """Return the tables that a database of this revision has, those first that others refer to."""
    from collector.store import migrations

    if revision == migrations.head():
        return schema.metadata.sorted_tables
    found = MetaData()
    found.reflect(connection)
    return [one for one in found.sorted_tables if one.name != migrations.VERSION_TABLE]


@contextlib.contextmanager
def _snapshot(store: Store) -> Iterator[Connection]:
    with store.errors(), store.engine.connect() as connection:
        if store.path is None:
            connection.execution_options(isolation_level="REPEATABLE READ", postgresql_readonly=True)
        with connection.begin():
            yield connection


def _rows(connection: Connection, one: TableClause, line: TableLine) -> Iterator[bytes]:
    """Yield a table's rows as they stand in the file; ``msgspec`` writes bytes as base64."""
    query = select(*(one.c[name] for name in line.columns)).execution_options(yield_per=_CHUNK)
    for row in connection.execute(query):
        yield msgspec.json.encode(tuple(row))


def restore(store: Store, file: Path) -> dict[str, int]:
    """Fill an empty database from a backup, verify what is in it now, bring it to this version's tables.

    Returns the number of rows of each table. Raises BackupError, StoreError (the database is not empty, the backup is
    of a later version), OSError. Nothing is kept unless everything was.
    """
    from collector.store import migrations

    with file.open("rb") as raw:
        lines = _lines(raw, file)
        header = _decode(next(lines, b""), Header, file, "a backup's header")
        if header.kitwatch_backup != FORMAT:
            raise BackupError(f"{file}: expected format {FORMAT}, found {header.kitwatch_backup}")
        if header.revision not in migrations.revisions():
            raise BackupError(f"{file}: expected a revision up to {migrations.head()}, found {header.revision}")
        if store.migrate(header.revision) not in ("", header.revision):
            raise StoreError(f"{store}: expected an empty database, found one in use")
        with store.errors(), store.transaction() as connection:
            try:
                totals = _fill(connection, lines, file)
            except (StoreError, SQLAlchemyError, OSError):
                raise
            except Exception as error:  # a number beyond 64 bits, text that is no base64
                raise BackupError(f"{file}: expected rows that a database takes, found: {error!r}"[:500]) from None
            connection.execute(text("UPDATE site SET epoch = epoch + :step"), {"step": EPOCH_STEP})
    store.migrate()
    return {name: total.rows for name, total in totals.items()}


def _lines(raw: IO[bytes], file: Path) -> Iterator[bytes]:
    """Yield the lines; a long one is put together once, however many pieces it comes in."""
    pieces: list[bytes] = []
    size = 0
    try:
        for chunk in zstandard.ZstdDecompressor().read_to_iter(raw):
            first, *whole = chunk.split(b"\n")
            pieces.append(first)
            size += len(first)
            if size > MOST_LINE:
                raise BackupError(f"{file}: expected lines of at most {MOST_LINE} bytes, found a longer one")
            if whole:
                yield b"".join(pieces)
                yield from whole[:-1]
                pieces, size = [whole[-1]], len(whole[-1])
    except zstandard.ZstdError as error:
        raise BackupError(f"{file}: expected zstd, found: {error}") from None
    if any(pieces):
        raise BackupError(f"{file}: expected a last line with the totals, found half a line")


def _decode(line: bytes, kind: Any, file: Path, what: str) -> Any:
    try:
        return msgspec.json.decode(line, type=kind)
    except (ValueError, RecursionError) as error:  # no JSON, no UTF-8, too deep
        raise BackupError(f"{file}: expected {what}, found: {error}") from None


def _fill(connection: Connection, lines: Iterator[bytes], file: Path) -> dict[str, Total]:
    loaded: list[tuple[TableClause, TableLine]] = []
    found: dict[str, Total] = {}
    chunk: list[dict[str, Any]] = []
    end: End | None = None

    def flush() -> None:
        if chunk:
            connection.execute(insert(loaded[-1][0]), chunk)
            chunk.clear()

    for line in lines:
        if line.startswith(b"["):
            if not loaded:
                raise BackupError(f"{file}: expected a table, found a row")
            one, about = loaded[-1]
            found[one.name].add(line)
            chunk.append(_row(line, about, file))
            if len(chunk) >= _CHUNK:
                flush()
            continue
        flush()
        if line.startswith(b'{"end"'):
            end = _decode(line, End, file, "the totals")
            break
        about = _decode(line, TableLine, file, "a table")
        loaded.append((_table(connection, about, file), about))
        found[about.table] = Total()
    if end is None:
        raise BackupError(f"{file}: expected a last line with the totals, found the end: it is not complete")
    for name in {*found, *end.end}:
        if found.get(name) != end.end.get(name):
            raise BackupError(f"{file}: table {name}: expected {end.end.get(name)}, found {found.get(name)}")
    _verify(connection, loaded, end.end)
    return found


def _table(connection: Connection, about: TableLine, file: Path) -> TableClause:
    """Return the table as the backup knows it, whatever later revisions did to it. Raises StoreError if it has rows."""
    inspector = inspect(connection)
    if not inspector.has_table(about.table):
        raise BackupError(f"{file}: expected a table of its revision, found {about.table!r}")
    columns = {c["name"]: c["type"] for c in inspector.get_columns(about.table)}
    if set(about.columns) != set(columns):
        raise BackupError(f"{file}: table {about.table}: expected columns {sorted(columns)}, found {about.columns}")
    one = table(about.table, *(column(name, columns[name]) for name in about.columns))
    if connection.scalar(select(func.count()).select_from(one)):
        raise StoreError(f"expected an empty database, found rows in table {about.table}")
    return one


def _row(line: bytes, about: TableLine, file: Path) -> dict[str, Any]:
    row = dict(zip(about.columns, _decode(line, list[Any], file, "a row"), strict=False))
    if len(row) != len(about.columns):
        raise BackupError(f"{file}: table {about.table}: expected rows of {len(about.columns)}, found {len(row)}")
    for name in about.binary:
        if row[name] is not None:
            row[name] = base64.b64decode(row[name])
    return row


def _verify(connection: Connection, loaded: list[tuple[TableClause, TableLine]], expected: dict[str, Total]) -> None:
    """Read everything back and compare; then let new rows be numbered after the restored ones."""
    for one, about in loaded:
        total = Total()
        for row in _rows(connection, one, about):
            total.add(row)
        if total != expected[one.name]:
            raise BackupError(f"table {one.name}: expected {expected[one.name]} back, found {total}")
        if connection.dialect.name == "postgresql" and "id" in about.columns:
            sequence = connection.scalar(text("SELECT pg_get_serial_sequence(:name, 'id')"), {"name": one.name})
            highest = connection.scalar(select(func.max(one.c.id)))
            if sequence and highest:
                connection.execute(
                    text("SELECT setval(:sequence, :highest)"), {"sequence": sequence, "highest": highest}
                )
