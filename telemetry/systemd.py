"""What systemd is told: ready, alive, stopping (sd_notify(3)). Nothing where there is no systemd."""

from __future__ import annotations

import logging
import os
import socket
from collections.abc import Mapping

log = logging.getLogger(__name__)


class Notify:
    """The datagram socket that systemd names in ``NOTIFY_SOCKET``; without one nothing happens."""

    def __init__(self, environment: Mapping[str, str] = os.environ) -> None:
        self._address = environment.get("NOTIFY_SOCKET", "")
        microseconds = environment.get("WATCHDOG_USEC", "")
        mine = environment.get("WATCHDOG_PID", str(os.getpid())) == str(os.getpid())
        self.watchdog_s = int(microseconds) / 1e6 if mine and microseconds.isdigit() else None
        """Within how many seconds systemd wants a sign of life; ``None``: it does not."""
        self.dropped = 0
        """How often systemd took nothing."""
        self._untold: dict[str, str] = {}

    def say(self, text: str) -> None:
        """Send ``READY=1``, ``WATCHDOG=1``, ``STATUS=...`` or ``STOPPING=1``. Never waits.

        What systemd does not take now is counted in ``dropped`` and told again with what is said next, or ``repeat``.
        """
        if not self._address:
            return
        name, _, value = text.partition("=")
        self._untold[name] = value
        self.repeat()

    def repeat(self) -> None:
        """Send what systemd has not taken yet, if there is anything."""
        if not self._untold:
            return
        text = "\n".join(f"{name}={value}" for name, value in self._untold.items())
        address = "\0" + self._address[1:] if self._address.startswith("@") else self._address
        try:
            with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as sock:
                sock.setblocking(False)
                sock.sendto(text.encode(), address)
        except OSError as error:
            self.dropped += 1
            if self.dropped & (self.dropped - 1) == 0:  # the first, second, fourth, ...: it may be every second
                log.warning("systemd cannot be told %s: %s (%d times)", text, error, self.dropped)
        else:
            self._untold.clear()
