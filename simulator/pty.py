"""A pseudo-terminal that plays a serial port: bytes written by the other side come to a callback."""

from __future__ import annotations

import asyncio
import contextlib
import os
import tty
from collections.abc import Callable


class SerialLine:
    """The device's end of a serial line; ``path`` is what the agent opens."""

    def __init__(self, received: Callable[[bytes], None] | None = None) -> None:
        self._received = received
        self._master, self._slave = os.openpty()
        tty.setraw(self._slave)
        os.set_blocking(self._master, False)
        self.path = os.ttyname(self._slave)

    def start(self) -> None:
        """Begin to listen in the running loop."""
        asyncio.get_running_loop().add_reader(self._master, self._readable)

    def write(self, data: bytes) -> None:
        """Send to the other side. What nobody reads is lost, as on a real line."""
        with contextlib.suppress(BlockingIOError):
            os.write(self._master, data)

    def stop(self) -> None:
        """Pull the plug: the other side's port is gone."""
        with contextlib.suppress(RuntimeError):
            asyncio.get_running_loop().remove_reader(self._master)
        for descriptor in (self._master, self._slave):
            with contextlib.suppress(OSError):
                os.close(descriptor)

    def _readable(self) -> None:
        try:
            data = os.read(self._master, 4096)
        except OSError:
            return
        if data and self._received:
            self._received(data)
