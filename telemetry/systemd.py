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

    def say(self, text: str) -> None:
        """Send ``READY=1``, ``WATCHDOG=1``, ``STATUS=...`` or ``STOPPING=1``."""
        if not self._address:
            return
        address = "\0" + self._address[1:] if self._address.startswith("@") else self._address
        try:
            with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as sock:
                sock.sendto(text.encode(), address)
        except OSError as error:
            log.warning("systemd cannot be told %s: %s", text, error)
