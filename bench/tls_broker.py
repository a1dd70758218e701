"""A Mosquitto as a region would run it: agents come over TLS 1.3 with ECDSA certificates of their own."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from telemetry.fleet import Broker, Tls
from tests.services.certificates import Authority
from tests.services.mosquitto import mosquitto
from tests.services.process import free_port


@dataclass(frozen=True)
class TlsBroker:
    """``plain_port`` is for the collector, which stands beside it; ``for_agents`` is how a vehicle reaches it."""

    plain_port: int
    for_agents: Broker


@contextlib.contextmanager
def tls_broker(directory: Path) -> Iterator[TlsBroker]:
    """Run the broker; its certificates live for a day."""
    authority = Authority(directory / "certificates")
    server, vehicle = authority.issue("broker"), authority.issue("amb-0000")
    port = free_port()
    extra = f"""listener {port} 127.0.0.1
cafile {authority.ca}
certfile {server.certificate}
keyfile {server.key}
require_certificate true
tls_version tlsv1.3
"""
    with mosquitto(directory, extra=extra) as broker:
        tls = Tls(ca=str(authority.ca), certificate=str(vehicle.certificate), key=str(vehicle.key))
        yield TlsBroker(broker.port, Broker(host="127.0.0.1", port=port, tls=tls))
