"""What systemd is told: ready, alive, stopping (sd_notify(3)). Nothing where there is no systemd."""

from __future__ import annotations

import os
import socket


def tell(state: str) -> None:
    """Send ``READY=1``, ``WATCHDOG=1``, ``STOPPING=1`` or ``STATUS=...`` to the socket that systemd names."""
    address = os.environ.get("NOTIFY_SOCKET", "")
    if not address:
        return
    if address.startswith("@"):
        address = "\0" + address[1:]
    try:
        with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM | socket.SOCK_CLOEXEC) as channel:
            channel.sendto(state.encode(), address)
    except OSError:
        pass  # a supervisor that does not listen must not end us


def watchdog_s() -> float | None:
    """Return how often, in seconds, systemd wants to hear from us: half its limit. ``None``: it does not."""
    limit = os.environ.get("WATCHDOG_USEC", "")
    pid = os.environ.get("WATCHDOG_PID", "")
    if not limit.isdecimal() or (pid and pid != str(os.getpid())):
        return None
    return int(limit) / 2_000_000
