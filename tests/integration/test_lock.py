"""Who owns a site: never two. The owner here is a process of its own that gets killed and paused."""

from __future__ import annotations

import contextlib
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import psycopg
import pytest
from sqlalchemy import text

from collector.store import advisory_lock
from collector.store.commit import SiteConnection
from collector.store.errors import LostOwnership, StoreError
from collector.store.rows import Changes
from collector.store.store import Store
from tests.services import postgres

OWNER = """
import os, select, signal, struct, sys
from collector.store.commit import SiteConnection
from collector.store.errors import StoreError
from collector.store.rows import Changes
from collector.store.store import Store

site = SiteConnection.acquire(Store.open(sys.argv[1]), "north", "child")
print("epoch", site.epoch if site else None, flush=True)
while True:
    ready, _, _ = select.select([sys.stdin], [], [], 0.5)
    try:
        if not ready:
            site.check()
            continue
        word = sys.stdin.readline().strip()
        if word == "half":  # a whole Parse message and the first part of a Bind; the server waits for the rest
            parse = b"\\0SELECT 1\\0\\0\\0"
            os.write(site._connection.fileno(), b"P" + struct.pack("!i", 4 + len(parse)) + parse)
            os.write(site._connection.fileno(), b"B" + struct.pack("!i", 1000) + b"half a message")
            print("half", flush=True)
            os.kill(os.getpid(), signal.SIGSTOP)
        if word in ("commit", "half"):
            site.commit(Changes(vehicles={"v1": b'"child"'}))
            print("committed", flush=True)
        if not word:
            break
    except StoreError as error:
        print(type(error).__name__, flush=True)
"""


@pytest.fixture
def on_postgres(postgres_url: str) -> Iterator[Store]:
    opened = Store.open(postgres_url)
    opened.migrate()
    yield opened
    opened.close()


class Child:
    """Another collector that owns the site."""

    def __init__(self, store: Store) -> None:
        url = f"sqlite:///{store.path}" if store.path else store.conninfo
        self.process = subprocess.Popen(
            [sys.executable, "-c", OWNER, url], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, bufsize=1
        )
        assert self.hear() == "epoch 1"

    def say(self, word: str) -> str:
        assert self.process.stdin is not None
        self.process.stdin.write(word + "\n")
        self.process.stdin.flush()
        return self.hear()

    def hear(self) -> str:
        assert self.process.stdout is not None
        return self.process.stdout.readline().strip()

    def signal(self, number: signal.Signals) -> None:
        self.process.send_signal(number)


@contextlib.contextmanager
def child(store: Store) -> Iterator[Child]:
    started = Child(store)
    try:
        yield started
    finally:
        started.process.kill()
        started.process.communicate()


def wait_for_site(store: Store, within_s: float) -> tuple[SiteConnection, float]:
    """Ask for the site as a collector does; return the ownership and how long it took."""
    begun = time.monotonic()
    while time.monotonic() < begun + within_s:
        got = SiteConnection.acquire(store, "north", "contender")
        if got is not None:
            return got, time.monotonic() - begun
        time.sleep(0.2)
    raise AssertionError(f"nobody had the site after {within_s} s")


def vehicle(site: SiteConnection) -> bytes | None:
    return site.load().vehicles.get("v1")


def test_one_owner_at_a_time_and_the_next_after_kill_9(store: Store) -> None:
    with child(store) as owner:
        assert owner.say("commit") == "committed"
        assert SiteConnection.acquire(store, "north", "contender") is None
        owner.signal(signal.SIGKILL)
        site, took = wait_for_site(store, 20)
        with site:
            assert site.epoch == 2
            assert vehicle(site) == b'"child"'
        assert took < advisory_lock.IDLE_MS / 1000, "no time-out was needed"


def _quiet_but_alive(store: Store) -> None:
    """Longer than every time-out, with nothing but the check once in a while: it keeps its site."""
    with child(store) as owner:
        end = time.monotonic() + (advisory_lock.HUNG_MS + 2_000) / 1000
        while time.monotonic() < end:
            assert SiteConnection.acquire(store, "north", "contender") is None
            time.sleep(0.5)
        assert owner.say("commit") == "committed"


def _after_pause(store: Store, owner: Child) -> float:
    site, took = wait_for_site(store, 20)
    with site:
        site.commit(Changes(vehicles={"v1": b'"contender"'}))
        owner.signal(signal.SIGCONT)
        answer = owner.hear() if owner.process.poll() is None else ""
        while answer != "LostOwnership":  # its check, or its commit, is the first to find out
            assert answer != "committed"
            answer = owner.hear()
        assert owner.say("commit") == "LostOwnership"
        assert vehicle(site) == b'"contender"'
        site.check()
    return took


def _stopped(store: Store) -> None:
    """The server's own time-out ends its session, counted from the last check: nobody need contend for it."""
    with child(store) as owner:
        assert owner.say("commit") == "committed"
        owner.signal(signal.SIGSTOP)
        _after_pause(store, owner)


def _stopped_in_the_middle_of_a_statement(store: Store) -> None:
    """No time-out of the server counts: the backend is active, waiting for the rest. The contender ends it."""
    with child(store) as owner:
        assert owner.say("half") == "half"
        state, began = None, time.monotonic()
        while state != "active/ClientRead" and time.monotonic() < began + 60:
            time.sleep(0.05)
            with store.engine.connect() as connection:
                state = connection.scalar(
                    text(
                        "SELECT state || '/' || wait_event FROM pg_stat_activity"
                        " WHERE application_name = 'kitwatch north child' AND datname = current_database()"
                    )
                )
        assert state == "active/ClientRead"
        looked = time.monotonic() - began
        assert looked + _after_pause(store, owner) > advisory_lock.IDLE_MS / 1000


def test_who_is_quiet_keeps_a_site_and_who_is_stopped_loses_it(postgres_server: postgres.Postgres) -> None:
    """Within 20 s, and cannot commit when it comes back. Three databases at once, since each takes its time."""

    def judge(scenario: Callable[[Store], None]) -> None:
        with postgres_server.database() as url:
            store = Store.open(url)
            store.migrate()
            try:
                scenario(store)
            finally:
                store.close()

    def ended_by_time() -> int:
        return postgres_server.log.read_text().count("terminating connection due to idle-session timeout")

    before = ended_by_time()
    with ThreadPoolExecutor() as pool:
        scenarios = (_quiet_but_alive, _stopped, _stopped_in_the_middle_of_a_statement)
        for done in [pool.submit(judge, scenario) for scenario in scenarios]:
            done.result(timeout=120)
    assert ended_by_time() == before + 1, "the one that was stopped, and no other"


def test_with_sqlite_a_stopped_owner_keeps_its_site_until_it_is_killed(sqlite_url: str) -> None:
    store = Store.open(sqlite_url)
    store.migrate()
    with child(store) as owner:
        owner.signal(signal.SIGSTOP)
        time.sleep(1)
        assert SiteConnection.acquire(store, "north", "contender") is None
        owner.signal(signal.SIGKILL)
        site, _ = wait_for_site(store, 60)
        site.close()
    store.close()


def test_with_sqlite_a_lock_file_that_was_removed_lets_no_two_commit(sqlite_url: str) -> None:
    store = Store.open(sqlite_url)
    store.migrate()
    first = SiteConnection.acquire(store, "north", "first")
    third = SiteConnection.acquire(store, "south", "first")
    assert first is not None
    assert third is not None
    for file in Path(store.path or "").parent.glob("*.lock"):
        file.unlink()
    second = SiteConnection.acquire(store, "north", "second")
    assert second is not None
    with pytest.raises(LostOwnership, match="another epoch"):
        first.commit(Changes(vehicles={"v1": b"{}"}))
    with pytest.raises(LostOwnership, match="removed"):
        third.check()
    assert vehicle(second) is None
    second.close()
    store.close()


def test_a_connection_that_was_ended_never_comes_back_by_itself(on_postgres: Store) -> None:
    """As SQLAlchemy's would: the next transaction would then commit without the lock."""
    site = SiteConnection.acquire(on_postgres, "north", "first")
    assert site is not None
    site.commit(Changes(vehicles={"v1": b"1"}))
    with on_postgres.transaction() as connection:
        assert connection.scalar(
            text("SELECT count(pg_terminate_backend(pid, 5000)) FROM pg_locks WHERE locktype = 'advisory'")
        )
    for _ in range(2):
        with pytest.raises(LostOwnership):
            site.commit(Changes(vehicles={"v1": b"2"}))
    with pytest.raises(LostOwnership):
        site.check()
    other, took = wait_for_site(on_postgres, 20)
    with other:
        assert took < advisory_lock.IDLE_MS / 1000, "no time-out was needed"
        assert (other.epoch, vehicle(other)) == (2, b"1")


def test_a_server_that_crashes_ends_every_ownership(postgres_server: postgres.Postgres) -> None:
    with postgres.start() as server, server.database() as url:
        store = Store.open(url)
        store.migrate()
        site = SiteConnection.acquire(store, "north", "first")
        assert site is not None
        site.commit(Changes(vehicles={"v1": b"1"}))
        server.kill()
        with pytest.raises(StoreError):
            SiteConnection.acquire(store, "south", "first")
        server.start()
        with pytest.raises(LostOwnership):
            site.commit(Changes(vehicles={"v1": b"2"}))
        with SiteConnection.acquire(store, "north", "first") or pytest.fail("not free") as again:
            assert (again.epoch, vehicle(again)) == (2, b"1")
        store.close()


def test_a_commit_is_on_the_disk_even_where_the_server_is_told_to_be_quick(on_postgres: Store) -> None:
    with on_postgres.engine.connect().execution_options(isolation_level="AUTOCOMMIT") as connection:
        name = connection.scalar(text("SELECT current_database()"))
        connection.execute(text(f'ALTER DATABASE "{name}" SET synchronous_commit = off'))
    with advisory_lock.connect(on_postgres.conninfo, "north", "first") as connection:
        assert connection.execute("SHOW synchronous_commit").fetchone() == ("on",)


def test_ownership_through_a_pooler_is_refused(on_postgres: Store) -> None:
    """pgbouncer in transaction mode would take the lock to another session; it gives process numbers of its own."""
    with _pooler(on_postgres) as conninfo:
        assert psycopg.connect(conninfo).execute("SELECT 1").fetchone() == (1,)
        with pytest.raises(StoreError, match="pooler"):
            advisory_lock.connect(conninfo, "north", "first")


@contextlib.contextmanager
def _pooler(store: Store) -> Iterator[str]:
    """A relay that does what shows of a pooler: another process number in BackendKeyData (type K, length 12)."""
    url = store.conninfo
    port = int(url.rsplit("/", 1)[0].rsplit(":", 1)[1])
    listener = socket.create_server(("127.0.0.1", 0))

    def pump(source: socket.socket, sink: socket.socket, change: Callable[[bytes], bytes]) -> None:
        with contextlib.suppress(OSError):
            while data := source.recv(65536):
                sink.sendall(change(data))
            sink.shutdown(socket.SHUT_RDWR)

    def other_number(data: bytes) -> bytes:
        at = data.find(b"K\0\0\0\x0c")
        return data if at < 0 else data[: at + 5] + b"\0\0\0\7" + data[at + 9 :]

    def serve() -> None:
        with contextlib.suppress(OSError):
            while True:
                client, _ = listener.accept()
                server = socket.create_connection(("127.0.0.1", port))
                for args in ((client, server, bytes), (server, client, other_number)):
                    threading.Thread(target=pump, args=args, daemon=True).start()

    threading.Thread(target=serve, daemon=True).start()
    try:
        yield url.replace(f":{port}/", f":{listener.getsockname()[1]}/")
    finally:
        listener.shutdown(socket.SHUT_RDWR)
        listener.close()


def test_a_commit_waits_for_a_maintenance_lock_only_so_long(on_postgres: Store) -> None:
    site = SiteConnection.acquire(on_postgres, "north", "first")
    assert site is not None
    with on_postgres.transaction() as connection:
        connection.execute(text("LOCK TABLE journal IN ACCESS EXCLUSIVE MODE"))
        begun = time.monotonic()
        with pytest.raises(StoreError, match="lock timeout"):
            site.commit(Changes(vehicles={"v1": b"1"}))
        assert time.monotonic() - begun < advisory_lock.HUNG_MS / 1000
    site.commit(Changes(vehicles={"v1": b"2"}))
    site.close()


def test_sites_have_locks_of_their_own(store: Store) -> None:
    held: list[Any] = [SiteConnection.acquire(store, f"site-{n}", "first") for n in range(5)]
    assert all(held)
    assert len({advisory_lock.lock_key(f"site-{n}") for n in range(1000)}) == 1000
    for site in held:
        site.close()
