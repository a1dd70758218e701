"""A real PostgreSQL: a server of our own in a temporary directory, a fresh database a test."""

from __future__ import annotations

import contextlib
import itertools
import os
import pwd
import shutil
import signal
import subprocess
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

import psycopg

from tests.services.process import Server, free_port, need

USER = "postgres"
_numbers = itertools.count(1)


class Postgres(Server):
    """A running server. ``url`` leads to its maintenance database."""

    @property
    def url(self) -> str:
        """Where it is; a superuser, no password, loopback only."""
        return f"postgresql://{USER}@127.0.0.1:{self.port}/postgres"

    def start(self) -> None:
        """Start and wait until it takes connections (the port answers before that)."""
        super().start()
        deadline = time.monotonic() + 60
        while True:
            try:
                psycopg.connect(self.url, connect_timeout=2).close()
                return
            except psycopg.OperationalError:
                if time.monotonic() > deadline:
                    raise RuntimeError(self.log.read_text()[-2000:]) from None
                time.sleep(0.05)

    def stop(self) -> None:
        """Fast shutdown: ends the sessions, writes a checkpoint."""
        self._end(signal.SIGINT)

    def kill(self) -> None:
        """Immediate shutdown: ends like a crash, the next start recovers.

        ``kill -9`` of the postmaster alone would leave its backends to hold the data for a while.
        """
        self._end(signal.SIGQUIT)

    @contextlib.contextmanager
    def database(self) -> Iterator[str]:
        """Yield the URL of a fresh, empty database, dropped afterwards."""
        name = f"kitwatch_{os.getpid()}_{next(_numbers)}"
        with psycopg.connect(self.url, autocommit=True) as connection:
            connection.execute(f'CREATE DATABASE "{name}"')
        try:
            yield self.url.rsplit("/", 1)[0] + f"/{name}"
        finally:
            with psycopg.connect(self.url, autocommit=True) as connection:
                connection.execute(f'DROP DATABASE "{name}" WITH (FORCE)')


@contextlib.contextmanager
def start(*, durable: bool = False) -> Iterator[Postgres]:
    """Run a server on a free port of 127.0.0.1. Skips the test (fails under CI) where PostgreSQL is not installed.

    ``durable`` keeps fsync, for measuring; without it a killed server still loses nothing, only a power cut would.
    """
    program, initdb = need("postgres", "postgresql"), need("initdb", "postgresql")
    directory = Path(tempfile.mkdtemp(prefix="kitwatch-postgres-"))
    data = directory / "data"
    port = free_port()
    settings = {
        "listen_addresses": "127.0.0.1",
        "unix_socket_directories": str(directory),
        "fsync": "on" if durable else "off",
        "shared_buffers": "64MB",
        "max_connections": "60",
    }
    as_user: list[str] = []
    if os.getuid() == 0:  # the server refuses to run as root
        as_user = [need("setpriv", "util-linux"), f"--reuid={USER}", f"--regid={USER}", "--init-groups"]
        account = pwd.getpwnam(USER)
        os.chown(directory, account.pw_uid, account.pw_gid)
    try:
        options = ["-U", USER, "-A", "trust", "-E", "UTF8", "--locale=C.UTF-8", "--no-sync"]
        subprocess.run([*as_user, initdb, "-D", str(data), *options], check=True, capture_output=True, cwd="/")
        command = [*as_user, program, "-D", str(data), "-p", str(port)]
        for name, value in settings.items():
            command += ["-c", f"{name}={value}"]
        server = Postgres(command, port, directory / "log")
        try:
            server.start()
            yield server
        finally:
            server.kill()
    finally:
        shutil.rmtree(directory, ignore_errors=True)
