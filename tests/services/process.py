"""Starting a server, waiting until it answers, ending it for sure."""

from __future__ import annotations

import contextlib
import fcntl
import os
import shutil
import signal
import socket
import subprocess
import tempfile
import time
import warnings
from collections.abc import Iterator, Sequence
from pathlib import Path

import pytest

SBIN = "/usr/sbin:/sbin:/usr/lib/postgresql/15/bin"


def need(program: str, package: str) -> str:
    """Return the path of a program, or fail under CI and skip loudly elsewhere."""
    found = shutil.which(program, path=os.environ.get("PATH", "") + ":" + SBIN)
    if found is None:
        message = f"{program} is missing (Debian package {package}): the tests that need it do not run"
        if os.environ.get("CI") == "true":
            pytest.fail(message)
        warnings.warn(message, stacklevel=2)
        pytest.skip(message)
    return found


class _Ports:
    """The block of ports that this process has for itself, and the next of them.

    A port that the kernel calls free ("port 0") may be somebody else's before the server that it is for has it: of
    another test process, or of any connection that goes out. So every process claims a block of its own, by a lock that
    goes with the process, and hands its ports out in turn. The blocks lie below those that the kernel takes for
    connections (``net.ipv4.ip_local_port_range``, 32768 on) and above those that Chromium refuses to open.
    """

    BEGIN, END, SIZE = 12_000, 32_000, 200

    def __init__(self) -> None:
        self._owner = 0
        self._next = iter(range(0))

    def take(self) -> int:
        while True:
            if self._owner != os.getpid():  # never that of the process which we were forked from
                self._next, self._owner = self._claim(), os.getpid()
            for port in self._next:
                if all(_can_bind(port, kind) for kind in (socket.SOCK_STREAM, socket.SOCK_DGRAM)):
                    return port
            self._owner = 0

    def _claim(self) -> Iterator[int]:
        folder = Path(tempfile.gettempdir()) / f"kitwatch-test-ports-{os.getuid()}"
        folder.mkdir(mode=0o700, exist_ok=True)
        for begin in range(self.BEGIN, self.END, self.SIZE):
            # Never closed: the lock is held as long as this process lives.
            lock = os.open(folder / str(begin), os.O_CREAT | os.O_RDWR | os.O_CLOEXEC, 0o600)
            with contextlib.suppress(BlockingIOError):
                fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
                return iter(range(begin, begin + self.SIZE))
            os.close(lock)
        raise RuntimeError(f"every block of ports from {self.BEGIN} to {self.END} is taken: {folder}")


_ports = _Ports()


def free_port() -> int:
    """Return a loopback port that nobody holds, TCP or UDP, and that no other test process is given meanwhile."""
    return _ports.take()


def _can_bind(port: int, kind: int) -> bool:
    with socket.socket(socket.AF_INET, kind) as probe:
        try:
            probe.bind(("127.0.0.1", port))
        except OSError:
            return False
    return True


def wait_for_port(port: int, process: subprocess.Popen[bytes], seconds: float = 60.0, log: Path | None = None) -> None:
    """Wait until a TCP port answers. Raises RuntimeError with the log when the server ends or stays silent."""
    end = time.monotonic() + seconds
    while time.monotonic() < end:
        if process.poll() is not None:
            break
        with contextlib.suppress(OSError), socket.create_connection(("127.0.0.1", port), timeout=0.5):
            return
        time.sleep(0.05)
    told = log.read_text(errors="replace")[-2000:] if log and log.exists() else ""
    raise RuntimeError(f"nothing answers on port {port} (exit {process.poll()}): {told}")


class Server:
    """A child process that can be killed, stopped and started again on the same port and files.

    ``also``: further ports on which it must answer before it counts as started.
    """

    def __init__(
        self,
        command: Sequence[str],
        port: int,
        log: Path,
        env: dict[str, str] | None = None,
        *,
        also: Sequence[int] = (),
    ) -> None:
        self.command = list(command)
        self.port = port
        self.also = tuple(also)
        self.log = log
        self.env = env
        self.process: subprocess.Popen[bytes] | None = None

    def start(self) -> None:
        """Start it and wait for its ports."""
        with self.log.open("ab") as log:
            self.process = subprocess.Popen(
                self.command, stdout=log, stderr=log, stdin=subprocess.DEVNULL, env=self.env, start_new_session=True
            )
        for port in (self.port, *self.also):
            wait_for_port(port, self.process, log=self.log)

    def kill(self) -> None:
        """``kill -9``: the process gets no chance to write anything."""
        self._end(signal.SIGKILL)

    def stop(self) -> None:
        """End it politely, then for sure."""
        self._end(signal.SIGTERM)

    def pause(self) -> None:
        """``SIGSTOP``: it hangs, its sockets stay open."""
        assert self.process is not None
        self.process.send_signal(signal.SIGSTOP)

    def resume(self) -> None:
        """``SIGCONT``."""
        assert self.process is not None
        self.process.send_signal(signal.SIGCONT)

    def _end(self, how: signal.Signals) -> None:
        process, self.process = self.process, None
        if process is None:
            return
        with contextlib.suppress(ProcessLookupError):
            process.send_signal(how)
            process.send_signal(signal.SIGCONT)
        try:
            process.wait(30)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait(30)


@contextlib.contextmanager
def running(server: Server) -> Iterator[Server]:
    """Start a server and end it whatever happens."""
    server.start()
    try:
        yield server
    finally:
        server.stop()
