"""The embedded broker of the demo and of a trial on one machine: rumqttd in a child process (``iotcore``)."""

from __future__ import annotations

import contextlib
import signal
import socket
from collections.abc import Iterator
from pathlib import Path

# Segments are sized so that an hour of the demo is never dropped in silence: 1 MiB x 3 lost half of 20,000 messages.
_CONFIG = """
id = 0
[router]
id = 0
max_connections = 1000
max_outgoing_packet_count = 2000
max_segment_size = 104857600
max_segment_count = 10
[v5.1]
name = "v5"
listen = "127.0.0.1:{port}"
next_connection_delay_ms = 1
[v5.1.connections]
connection_timeout_ms = 60000
max_payload_size = 1048576
max_inflight_count = 1000
dynamic_filters = true
"""


@contextlib.contextmanager
def embedded_broker(directory: Path) -> Iterator[int]:
    """Yield the loopback port of an MQTT v5 broker that ends with the block. ``directory`` takes its configuration."""
    from iotcore import Broker

    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = int(probe.getsockname()[1])
    config = directory / "broker.toml"
    config.write_text(_CONFIG.format(port=port), encoding="utf-8")
    broker = Broker(config_path=str(config))
    with _deaf_to_ctrl_c():
        broker.start(timeout=20.0)
    try:
        yield port
    finally:
        broker.stop()


@contextlib.contextmanager
def _deaf_to_ctrl_c() -> Iterator[None]:
    """Let a child that is started here take no Ctrl-C: the terminal sends it to all, and the broker is to end last.

    Blocked, not ignored: a child has that from its parent, and one that comes to us meanwhile comes when it is over.
    """
    before = signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGINT})
    try:
        yield
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)
