"""A real Mosquitto."""

from __future__ import annotations

import contextlib
import os
import re
from collections.abc import Iterator
from pathlib import Path

from tests.services.process import Server, free_port, need, running


@contextlib.contextmanager
def mosquitto(directory: Path, *, persistence: bool = False, extra: str = "") -> Iterator[Server]:
    """Yield a broker without passwords on a free port, with the limits that we ship (systemd/mosquitto-kitwatch.conf).

    ``kill``, wiping ``directory/store`` and ``start`` model a broker that lost everything.
    """
    program = need("mosquitto", "mosquitto")
    port = free_port()
    store = directory / "store"
    store.mkdir(parents=True, exist_ok=True)
    user = f"user {'root' if os.geteuid() == 0 else os.environ.get('USER', 'nobody')}"
    config = directory / "mosquitto.conf"
    config.write_text(
        f"""listener {port} 127.0.0.1
allow_anonymous true
{user}
max_inflight_messages 20000
max_queued_messages 0
max_queued_bytes 0
set_tcp_nodelay true
persistence {"true" if persistence else "false"}
persistence_location {store}/
{extra}
"""
    )
    also = [int(found) for found in re.findall(r"^listener (\d+)", extra, re.MULTILINE)]
    with running(Server([program, "-c", str(config)], port, directory / "mosquitto.log", also=also)) as server:
        yield server
