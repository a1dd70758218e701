"""Starting a server, waiting until it answers, ending it for sure."""

from __future__ import annotations

import contextlib
import os
import shutil
import signal
import socket
import subprocess
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


def free_port(kind: int = socket.SOCK_STREAM) -> int:
    """Return a loopback port that nobody holds at this moment."""
    with socket.socket(socket.AF_INET, kind) as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def wait_for_port(port: int, process: subprocess.Popen[bytes], seconds: float = 20.0, log: Path | None = None) -> None:
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
    """A child process that can be killed, stopped and started again on the same port and files."""

    def __init__(self, command: Sequence[str], port: int, log: Path, env: dict[str, str] | None = None) -> None:
        self.command = list(command)
        self.port = port
        self.log = log
        self.env = env
        self.process: subprocess.Popen[bytes] | None = None

    def start(self) -> None:
        """Start it and wait for its port."""
        with self.log.open("ab") as log:
            self.process = subprocess.Popen(
                self.command, stdout=log, stderr=log, stdin=subprocess.DEVNULL, env=self.env, start_new_session=True
            )
        wait_for_port(self.port, self.process, log=self.log)

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
            process.wait(10)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait(10)


@contextlib.contextmanager
def running(server: Server) -> Iterator[Server]:
    """Start a server and end it whatever happens."""
    server.start()
    try:
        yield server
    finally:
        server.stop()
