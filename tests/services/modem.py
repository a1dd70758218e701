"""A modem on a pty that answers from a table: what the modem input's tests talk to."""

import os
import pty
import select
import threading
import tty
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from agent.inputs.base import Poll


class Kit:
    """A modem on a pty that answers from a table; ``hook(command)`` may give other bytes, or None for the table's."""

    def __init__(self, table: dict[str, list[str]], echo: bool = False, hook: Any = None) -> None:
        self.table = {key.upper(): value for key, value in table.items()}
        self.echo = echo
        self.hook = hook
        self.heard: list[str] = []
        self.master, self.slave = pty.openpty()
        tty.setraw(self.slave)
        self.name = os.ttyname(self.slave)
        self._stop_read, self._stop_write = os.pipe()
        self._thread = threading.Thread(target=self._run, daemon=True)
        self._thread.start()

    def say(self, data: bytes) -> None:
        os.write(self.master, data)

    def _run(self) -> None:
        pending = b""
        while True:
            ready, _, _ = select.select([self.master, self._stop_read], [], [])
            if self._stop_read in ready:
                return
            pending += os.read(self.master, 4096)
            while b"\r" in pending:
                line, _, pending = pending.partition(b"\r")
                self._answer(line.decode("ascii"))

    def _answer(self, command: str) -> None:
        self.heard.append(command)
        special = self.hook(command) if self.hook else None
        if special is not None:
            self.say(special)
            return
        lines = self.table.get(command.upper())
        body = "\r\nERROR\r\n" if lines is None else "".join(f"\r\n{line}\r\n" for line in lines) + "\r\nOK\r\n"
        self.say(((command + "\r") if self.echo else "").encode() + body.encode())

    def unplug(self) -> None:
        if self._thread.is_alive():
            os.write(self._stop_write, b"x")
            self._thread.join()
            for descriptor in (self.master, self.slave, self._stop_read, self._stop_write):
                os.close(descriptor)


@contextmanager
def kit(table: dict[str, list[str]], **more: Any) -> Iterator[Kit]:
    modem = Kit(table, **more)
    try:
        yield modem
    finally:
        modem.unplug()


def values(poll: Poll) -> dict[str, Any]:
    return {
        reading.metric.removeprefix("modem.") + (f"/{reading.labels['leg']}" if reading.labels else ""): reading.value
        for reading in poll.readings
    }
