"""A real PostgreSQL for the tests: a server of our own in a temporary directory, a fresh database a test."""

from __future__ import annotations

import contextlib
import itertools
import os
import pwd
import shutil
import signal
import socket
import subprocess
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import psycopg

USER = "postgres"
_numbers = itertools.count(1)


class MissingError(RuntimeError):
    """PostgreSQL is not installed here."""


def binaries() -> Path:
    """Return the folder of the newest installed server. Raises MissingError."""
    found = [path.parent for path in Path("/usr/lib/postgresql").glob("*/bin/postgres")]
    if not found and (on_path := shutil.which("postgres")):
        found = [Path(on_path).parent]
    if not found:
        raise MissingError("expected PostgreSQL (Debian package postgresql), found none")
    return max(found, key=lambda path: path.parent.name)


class Server:
    """A running server: ``url`` leads to its maintenance database, ``directory`` is its data, ``pid`` the postmaster's.

    ``stop``/``kill``/``start`` let a test take it away and bring it back on the same port and data.
    """

    def __init__(self, directory: Path, port: int, *, durable: bool) -> None:
        self.directory = directory
        self.port = port
        self.url = f"postgresql://{USER}@127.0.0.1:{port}/postgres"
        self._durable = durable
        self._process: subprocess.Popen[bytes] | None = None

    @property
    def pid(self) -> int:
        """The postmaster's process id."""
        assert self._process is not None
        return self._process.pid

    def start(self, timeout_s: float = 30.0) -> None:
        """Start and wait until it takes connections."""
        command = [str(binaries() / "postgres"), "-D", str(self.directory / "data"), "-p", str(self.port)]
        for setting in (
            "listen_addresses=127.0.0.1",
            f"unix_socket_directories={self.directory}",
            f"fsync={'on' if self._durable else 'off'}",
            "shared_buffers=32MB",
            "max_connections=60",
        ):
            command += ["-c", setting]
        with (self.directory / "log").open("ab") as log:
            self._process = subprocess.Popen(command, stdout=log, stderr=log, **_as_user())
        deadline = time.monotonic() + timeout_s
        while True:
            try:
                psycopg.connect(self.url, connect_timeout=2).close()
                return
            except psycopg.OperationalError:
                if self._process.poll() is not None or time.monotonic() > deadline:
                    raise RuntimeError((self.directory / "log").read_text()[-2000:]) from None
                time.sleep(0.05)

    def stop(self, how: signal.Signals = signal.SIGINT) -> None:
        """End it: SIGINT ends the sessions and shuts down cleanly, SIGQUIT leaves recovery to the next start."""
        if self._process is not None:
            with contextlib.suppress(ProcessLookupError):
                self._process.send_signal(signal.SIGCONT)
                self._process.send_signal(how)
            try:
                self._process.wait(20)
            except subprocess.TimeoutExpired:
                self._process.send_signal(signal.SIGQUIT)
                self._process.wait(20)
            self._process = None

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
def start(*, durable: bool = False) -> Iterator[Server]:
    """Run a server on a free port of 127.0.0.1 and yield it. Raises MissingError.

    ``durable`` keeps fsync, for measuring; without it a killed server still loses nothing, only a power cut would.
    """
    programs = binaries()
    directory = Path(tempfile.mkdtemp(prefix="kitwatch-postgres-"))
    try:
        if os.getuid() == 0:
            os.chown(directory, pwd.getpwnam(USER).pw_uid, pwd.getpwnam(USER).pw_gid)
        subprocess.run(
            [str(programs / "initdb"), "-D", str(directory / "data"), "-U", USER, "-A", "trust", "-E", "UTF8"]
            + ["--locale=C.UTF-8", "--no-sync"],
            check=True,
            capture_output=True,
            **_as_user(),
        )
        server = Server(directory, _free_port(), durable=durable)
        try:
            server.start()
            yield server
        finally:
            server.stop(signal.SIGQUIT)
    finally:
        shutil.rmtree(directory, ignore_errors=True)


def _as_user() -> dict[str, Any]:
    """The server refuses to run as root."""
    options: dict[str, Any] = {"cwd": "/", "start_new_session": True}
    if os.getuid() == 0:
        options |= {"user": USER, "group": USER, "extra_groups": []}
    return options


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
    return port
