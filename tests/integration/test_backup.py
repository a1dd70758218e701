"""Backup and restore, from either database into either, and the commands around them."""

from __future__ import annotations

import argparse
import contextlib
import json
import os
import sqlite3
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import zstandard
from sqlalchemy import Column, LargeBinary, Text, column, insert, table

from collector.read import tickets
from collector.store import backup as backups
from collector.store import dead_letters, log, migrations, queries, schema
from collector.store.backup import EPOCH_STEP, BackupError, backup, restore
from collector.store.commit import SiteConnection
from collector.store.errors import StoreError
from collector.store.rows import Changes
from collector.store.store import Store
from collector.store.upgrade import upgrade
from kitwatch import backup as backup_command
from kitwatch import deadletters, migrate
from kitwatch import restore as restore_command
from kitwatch.main import main
from tests.integration.test_history import rows_of_0001
from tests.integration.test_store import batch, counts, everything


def open_store(url: str) -> Store:
    store = Store.open(url)
    store.migrate()
    return store


def filled(url: str) -> Store:
    """Return a store with rows in every table."""
    store = open_store(url)
    for name in ("north", "south"):
        with SiteConnection.acquire(store, name, "test") or pytest.fail("not free") as site:
            site.commit(everything())
            for number in range(2, 6):
                site.commit(Changes(batch=batch(number, records=number), counters={"late": number}))
            site.commit(Changes(vehicles={"v1": b'{"format":1}'}))  # stands in the journal
    with store.transaction() as connection:
        dead_letters.add(connection, "north", "influx", [(3, "line", "why", "held")], 5)
        log.advance(connection, "north", "influx", 3)
        queries.add_action(connection, site="north", vehicle="v1", kind="state", body="{}", who="x", created_ms=5)
        others = (schema.chunk, schema.hour, schema.run_start, schema.gap, schema.coverage, schema.journey)
        for table in (*others, schema.account, schema.session, schema.token, schema.audit):
            connection.execute(table.insert(), {c.name: _any(c) for c in table.columns})
    assert min(counts(store).values()) > 0
    return store


def _any(column: Column[Any]) -> Any:
    """Return a value that the column can hold."""
    return b"\x00\xff" if isinstance(column.type, LargeBinary) else "x" if isinstance(column.type, Text) else 7


def content(store: Store, skip: tuple[str, ...] = ()) -> dict[str, set[bytes]]:
    """Return every row of every table, written as the backup writes it."""
    found: dict[str, set[bytes]] = {}
    with store.engine.connect() as connection:
        for one in schema.metadata.sorted_tables:
            line = backups.TableLine(str(one.name), [str(c.name) for c in one.columns if c.name not in skip], [])
            found[one.name] = set(backups._rows(connection, one, line))
    return found


def old_database(url: str) -> Store:
    """Return a store as version 0001 left it, with rows in it."""
    store = Store.open(url)
    store.migrate("0001")
    with store.transaction() as connection:
        for name, row in rows_of_0001().items():
            connection.execute(insert(table(name, *(column(key) for key in row))), row)
    return store


def test_a_database_of_an_older_version_is_backed_up_as_it_is(database_url: str, tmp_path: Path) -> None:
    store = old_database(database_url)
    rows = backup(store, tmp_path / "old.backup")
    assert store.revision() == "0001"
    assert {name for name, count in rows.items() if count} == set(rows_of_0001())
    new = Store.open(f"sqlite:///{tmp_path}/new.sqlite")
    assert restore(new, tmp_path / "old.backup") == rows
    assert new.revision() == migrations.head()
    store.close()


def test_what_the_first_version_wrote_is_backed_up_and_upgraded(tmp_path: Path) -> None:
    path = tmp_path / "first.sqlite"
    with contextlib.closing(sqlite3.connect(path)) as connection:
        connection.executescript(
            (Path(__file__).parents[1] / "first_version" / "sqlite.sql").read_text(encoding="utf-8")
        )
    path.chmod(0o600)  # as the unit's umask made it
    store = Store.open(f"sqlite:///{path}")
    before = store.revision()
    rows = backup(store, tmp_path / "first.backup")
    assert min(rows[name] for name in ("site", "vehicle", "ticket", "batch")) > 0
    assert upgrade(store) == before
    assert store.revision() == migrations.head()
    assert (
        restore(Store.open(f"sqlite:///{tmp_path}/back.sqlite"), tmp_path / f"before-{migrations.head()}.backup")
        == rows
    )
    store.close()


def test_a_copy_is_taken_before_a_migration_and_leads_back(database_url: str, tmp_path: Path) -> None:
    environment = {"STATE_DIRECTORY": str(tmp_path)}
    store = old_database(database_url)
    assert upgrade(store, environment) == "0001"
    assert store.revision() == migrations.head()
    (copy,) = tmp_path.glob("*.backup*")
    assert copy.name == f"before-{migrations.head()}.backup"
    assert copy.stat().st_mode & 0o777 == 0o600
    header = json.loads(next(backups._lines(copy.open("rb"), copy)))
    assert header["revision"] == "0001"
    assert restore(Store.open(f"sqlite:///{tmp_path}/back.sqlite"), copy)["vehicle"] == 1
    copy.unlink()
    assert upgrade(store, environment) == migrations.head()  # nothing to do: no copy
    assert not list(tmp_path.glob("*.backup*"))
    store.close()


def test_without_a_copy_nothing_is_migrated(database_url: str, tmp_path: Path) -> None:
    store = old_database(database_url)
    (tmp_path / f"before-{migrations.head()}.backup.new").mkdir()  # where the copy is to be written
    with pytest.raises(StoreError, match="expected to write a copy before migrating"):
        upgrade(store, {"STATE_DIRECTORY": str(tmp_path)})
    assert store.revision() == "0001"
    store.close()


@pytest.mark.parametrize("source", ["sqlite", "postgresql"])
@pytest.mark.parametrize("target", ["sqlite", "postgresql"])
def test_everything_comes_back_in_either_database(
    request: pytest.FixtureRequest, postgres_server: Any, tmp_path: Path, source: str, target: str
) -> None:
    with postgres_server.database() as one, postgres_server.database() as two:
        old = filled(one if source == "postgresql" else f"sqlite:///{tmp_path}/old.sqlite")
        new = Store.open(two if target == "postgresql" else f"sqlite:///{tmp_path}/new.sqlite")
        rows = backup(old, tmp_path / "file")
        assert rows == counts(old)
        assert restore(new, tmp_path / "file") == rows
        assert content(new, skip=("epoch",)) == content(old, skip=("epoch",))
        # it is a database to go on with: epochs above all that were heard, numbers after the restored ones
        with SiteConnection.acquire(new, "north", "test") or pytest.fail("not free") as site:
            assert site.epoch == 1 + EPOCH_STEP + 1
            assert site.load().last_batch == 5
            site.commit(Changes(batch=batch(6), quarantine=everything().quarantine, counters={"late": 1}))
        assert tickets.ticket(new.engine, "2026-0001", "north") == tickets.ticket(old.engine, "2026-0001", "north")
        old.close()
        new.close()


def test_a_backup_is_one_moment_while_the_collector_goes_on(
    database_url: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    store = filled(database_url)
    before = counts(store)
    rows = backups._rows
    with SiteConnection.acquire(store, "north", "test") or pytest.fail("not free") as site:

        def disturbed(*args: Any) -> Any:
            site.commit(Changes(batch=batch(site.last_batch + 1), counters={f"new-{site.last_batch}": 1}))
            return rows(*args)

        monkeypatch.setattr(backups, "_rows", disturbed)
        assert backup(store, tmp_path / "file") == before
        assert counts(store)["batch"] > before["batch"]
    monkeypatch.undo()
    copy = Store.open(f"sqlite:///{tmp_path}/copy.sqlite")
    assert restore(copy, tmp_path / "file") == before
    store.close()
    copy.close()


def _plain(file: Path) -> list[bytes]:
    return zstandard.ZstdDecompressor().decompressobj().decompress(file.read_bytes()).splitlines(keepends=True)


def _pack(file: Path, lines: list[bytes]) -> None:
    file.write_bytes(zstandard.ZstdCompressor().compress(b"".join(lines)))


DAMAGE: dict[str, tuple[Callable[[list[bytes]], list[bytes]], str]] = {
    "a row is missing": (
        lambda lines: [line for line in lines if b'"late",2' not in line and b'"late",14' not in line],
        "counter",
    ),
    "a row was changed": (lambda lines: [line.replace(b"boot-1", b"boot-2") for line in lines], "run"),
    "no end": (lambda lines: lines[:-1], "not complete"),
    "half a line": (lambda lines: [*lines[:-1], lines[-1][:-5]], "half a line"),
    "a later version": (lambda lines: [lines[0].replace(migrations.head().encode(), b"9999"), *lines[1:]], "9999"),
    "another format": (lambda lines: [lines[0].replace(b'_backup":1', b'_backup":7'), *lines[1:]], "found 7"),
    "no header": (lambda lines: lines[1:], "header"),
    "nothing": (lambda lines: [], "header"),
    "an unknown column": (
        lambda lines: [line.replace(b'"sla_class"', b'"x; DROP TABLE"') for line in lines],
        "columns",
    ),
    "no UTF-8": (lambda lines: [line.replace(b"boot-1", b"\xff\xfe") for line in lines], "utf-8"),
    "a row 20,000 deep": (lambda lines: _with_row(lines, b"[" * 20_000 + b"]" * 20_000), "recursion"),
    "a table 20,000 deep": (lambda lines: [*lines[:1], b'{"x":' + b"[" * 20_000 + b"]" * 20_000 + b"}\n"], "a table"),
    "a number beyond all": (lambda lines: _with_row(lines, b"9" * 30), "a database takes"),
    "a number of 5,000 digits": (lambda lines: _with_row(lines, b"9" * 5_000), "a row"),
    "no base64": (lambda lines: _with_row(lines, '"é"'.encode()), "a database takes"),
    "a number for base64": (lambda lines: _with_row(lines, b"7"), "a database takes"),
    "an endless line": (lambda lines: [*lines[:-1], b"[" + b" " * 2_000_000], "longer"),
    "an unknown table": (lambda lines: [line.replace(b'"table":"site"', b'"table":"x"') for line in lines], "table"),
}


def _with_row(lines: list[bytes], value: bytes) -> list[bytes]:
    """Put a row of one value again and again among those of the table ``batch``."""
    at, line = next((at, line) for at, line in enumerate(lines) if line.startswith(b'{"table":"batch"'))
    columns = json.loads(line)["columns"]
    return [*lines[: at + 1], b"[" + b",".join([value] * len(columns)) + b"]\n", *lines[at + 1 :]]


@pytest.mark.parametrize("what", DAMAGE)
def test_a_damaged_backup_is_refused_and_leaves_nothing(
    sqlite_url: str, tmp_path: Path, what: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("collector.store.backup.MOST_LINE", 1_000_000)
    store = filled(sqlite_url)
    file = tmp_path / "file"
    backup(store, file)
    lines = _plain(file)
    damage, words = DAMAGE[what]
    assert damage(lines) != lines
    _pack(file, damage(lines))
    copy = Store.open(f"sqlite:///{tmp_path}/copy.sqlite")
    with pytest.raises(BackupError, match=words):
        restore(copy, file)
    if copy.revision():
        assert set(counts(copy).values()) == {0}
    store.close()
    copy.close()


def test_a_flipped_or_missing_byte_of_the_file(sqlite_url: str, tmp_path: Path) -> None:
    store = filled(sqlite_url)
    file = tmp_path / "file"
    backup(store, file)
    whole = file.read_bytes()
    for damaged in (
        whole[:-20],
        whole[: len(whole) // 2],
        whole[:100] + bytes([whole[100] ^ 4]) + whole[101:],
        b"text",
    ):
        file.write_bytes(damaged)
        copy = Store.open(f"sqlite:///{tmp_path}/copy.sqlite")
        with pytest.raises(BackupError):
            restore(copy, file)
        copy.close()
    store.close()


def test_neither_a_file_nor_a_database_in_use_is_overwritten(database_url: str, tmp_path: Path) -> None:
    store = filled(database_url)
    file = tmp_path / "file"
    backup(store, file)
    assert file.stat().st_mode & 0o777 == 0o600
    with pytest.raises(StoreError, match="expected a new file"):
        backup(store, file)
    before = content(store)
    with pytest.raises(StoreError, match="expected an empty database"):
        restore(store, file)
    assert content(store) == before
    assert [path.name for path in tmp_path.iterdir() if path.name.endswith(".part")] == []
    store.close()


def test_a_backup_follows_no_link(sqlite_url: str, tmp_path: Path) -> None:
    """Who may write in the folder must not choose what is overwritten, nor where the copy goes."""
    store = filled(sqlite_url)
    theirs = tmp_path / "theirs"
    theirs.write_text("theirs")
    (tmp_path / "file.part").symlink_to(theirs)
    backup(store, tmp_path / "file")
    assert theirs.read_text() == "theirs"
    assert not (tmp_path / "file.part").is_symlink()
    assert (tmp_path / "file").stat().st_mode & 0o777 == 0o600
    (tmp_path / "dangling").symlink_to(tmp_path / "elsewhere")
    with pytest.raises(StoreError, match="expected a new file"):
        backup(store, tmp_path / "dangling")
    assert not (tmp_path / "elsewhere").exists()
    store.close()


def test_a_link_that_is_laid_at_the_last_moment_is_not_followed_either(
    sqlite_url: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Between our looking and our writing."""
    store = filled(sqlite_url)
    theirs, part = tmp_path / "theirs", tmp_path / "file.part"
    theirs.write_text("theirs")
    unlink = Path.unlink

    def lays_it_again(path: Path, missing_ok: bool = False) -> None:
        unlink(path, missing_ok)
        if path == part:
            part.symlink_to(theirs)

    monkeypatch.setattr(Path, "unlink", lays_it_again)
    with pytest.raises(FileExistsError):
        backup(store, tmp_path / "file")
    assert theirs.read_text() == "theirs"
    store.close()


@pytest.mark.alone
def test_restore_takes_as_many_times_as_long_as_there_is_more(tmp_path: Path) -> None:
    """Also where one row is large: a row that is put together anew with each piece costs its square.

    Four times as much: 4 and 16 are told apart by the least of three of each, with nothing else on the machine.
    """

    def seconds(megabytes: int) -> float:
        folder = tmp_path / f"{megabytes}"
        folder.mkdir()
        store = open_store(f"sqlite:///{folder}/full.sqlite")
        row = {c.name: _any(c) for c in schema.chunk.columns} | {"content": os.urandom(megabytes * 2**20)}
        with store.transaction() as connection:
            connection.execute(schema.chunk.insert(), row)
        backup(store, folder / "full.backup")
        store.close()
        return min(_restored_s(folder, time_of) for time_of in range(3))

    few, small, large = (seconds(megabytes) for megabytes in (1, 15, 60))  # 1: what the tables cost
    assert large - few < 8 * (small - few), (few, small, large)


def _restored_s(folder: Path, time_of: int) -> float:
    """Restore once more; return the CPU seconds."""
    empty = Store.open(f"sqlite:///{folder}/restored-{time_of}.sqlite")
    began = time.process_time()
    restore(empty, folder / "full.backup")
    empty.close()
    return time.process_time() - began


@pytest.mark.parametrize(("mode", "taken"), [(0o600, True), (0o640, True), (0o644, False), (0o606, False)])
def test_a_database_that_everybody_may_read_is_refused(
    sqlite_url: str, capsys: pytest.CaptureFixture[str], mode: int, taken: bool
) -> None:
    old = os.umask(0)
    try:
        open_store(sqlite_url).close()
    finally:
        os.umask(old)
    file = Path(sqlite_url.removeprefix("sqlite:///"))
    assert file.stat().st_mode & 0o777 == 0o600, "whatever the umask"
    file.chmod(mode)
    assert command(migrate, "--database", sqlite_url) == (0 if taken else 2)
    assert (
        f"expected a file that is closed to others (chmod 600), found mode {mode:04o}" in capsys.readouterr().err
    ) != taken


# --- the commands -----------------------------------------------------------------------------------------------------


def command(module: Any, *words: str) -> int:
    parser = argparse.ArgumentParser()
    module.add_arguments(parser)
    return int(module.run(parser.parse_args(words)))


def test_the_commands_from_an_empty_database_to_a_restored_one(
    database_url: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    def said() -> Any:
        out = capsys.readouterr()
        assert out.err == ""
        return json.loads(out.out)

    where = ("--database", database_url, "--json")
    assert command(migrate, *where, "--check") == 1
    assert said() == {"revision": "", "before": "", "newest": migrations.head()}
    assert command(migrate, *where) == 0
    assert said() == {"revision": migrations.head(), "before": "", "newest": migrations.head()}
    assert command(migrate, *where, "--check") == 0
    capsys.readouterr()
    filled(database_url).close()
    file = str(tmp_path / "file")
    assert command(backup_command, *where, file) == 0
    assert said()["rows"]["batch"] == 10
    assert command(backup_command, *where, file) == 2
    assert "expected a new file" in capsys.readouterr().err
    assert command(restore_command, "--database", f"sqlite:///{tmp_path}/copy.sqlite", "--json", file) == 0
    assert said()["rows"]["ticket"] == 2
    assert sqlite3.connect(tmp_path / "copy.sqlite").execute("SELECT count(*) FROM batch").fetchone() == (10,)


@pytest.mark.parametrize(
    ("words", "says"),
    [
        (("--database", "mysql://x/y"), "expected sqlite"),
        (("--database", "sqlite:////nowhere/at/all.sqlite"), "expected a revision"),
        (("--config", "/nowhere/collector.yaml"), "/nowhere/collector.yaml"),
    ],
)
def test_a_wrong_call_is_one_line_and_exit_2(
    words: tuple[str, str], says: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert command(backup_command, *words, str(tmp_path / "file")) == 2
    out = capsys.readouterr()
    assert out.out == ""
    assert says in out.err
    assert out.err.count("\n") == 1


def test_deadletters(database_url: str, capsys: pytest.CaptureFixture[str]) -> None:
    store = filled(database_url)
    where = ("--database", database_url, "--json")

    def listed() -> list[dict[str, Any]]:
        assert command(deadletters, "ls", *where) == 0
        letters: list[dict[str, Any]] = json.loads(capsys.readouterr().out)["letters"]
        return letters

    first = listed()
    assert [letter["id"][0] for letter in first] == ["q", "q", "d"]
    assert {letter["site"] for letter in first} == {"north", "south"}
    assert first[-1]["reason"] == "why"
    names = [letter["id"] for letter in first]
    assert command(deadletters, "retry", *where, names[0], names[2]) == 0
    assert json.loads(capsys.readouterr().out) == {"action": "retry", "named": 2, "changed": 2}
    assert [letter["state"] for letter in listed()] == ["retry", "held", "retry"]
    assert command(deadletters, "drop", *where, names[1], "q999") == 1
    capsys.readouterr()
    assert [letter["id"] for letter in listed()] == [names[0], names[2]]
    assert command(deadletters, "drop", *where, "--all", "--site", "north") == 0
    capsys.readouterr()
    assert {letter["site"] for letter in listed()} <= {"south"}
    assert command(deadletters, "drop", *where, "7") == 2
    assert "q12" in capsys.readouterr().err
    store.close()


def test_a_servers_words_do_not_speak_to_the_terminal(sqlite_url: str, capsys: pytest.CaptureFixture[str]) -> None:
    """What InfluxDB answered stands in a dead letter, and is shown by each command that lists them."""
    store = filled(sqlite_url)
    with store.transaction() as connection:
        reason = "refused \x1b]0;owned\x07\x1b[2J\x9b31m\u202egnp.exe\r\x08"
        dead_letters.add(connection, "north", "influx", [(4, "line", reason, "held")], 5)
    store.close()
    for more in ((), ("--json",)):
        assert main(["deadletters", "ls", "--database", sqlite_url, *more]) == 0
        out = capsys.readouterr().out
        assert "\\u001b]0;owned\\u0007" in out
        assert all(each.isprintable() or each == "\n" for each in out), repr(out)
        if more:
            assert reason in [letter["reason"] for letter in json.loads(out)["letters"]], "and nothing is lost"


def test_deadletters_for_people(sqlite_url: str, capsys: pytest.CaptureFixture[str]) -> None:
    filled(sqlite_url).close()
    assert command(deadletters, "ls", "--database", sqlite_url) == 0
    out = capsys.readouterr().out
    assert "north v1/router/00000000000000aa: expected JSON" in out
    assert "1970-01-01T00:00:00Z" in out
