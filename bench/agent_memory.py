"""Resident memory of an agent that polls the standard kit and is connected over TLS, against an interpreter with the
same libraries imported and nothing else.

The kit is simulated in other processes: a modem and a GNSS receiver on ptys, six devices over SNMP, two link targets,
two RTSP streams (GStreamer's server where it is installed; elsewhere nobody answers there), and this machine itself;
in the second row a tablet over HTTP too. Polls come every two seconds in place of 10 to 60, so that everything has been
polled many times when it is measured. The agent runs as it is shipped: by its command, with its unit's environment, its
modules compiled.
"""

from __future__ import annotations

import contextlib
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Final

import msgspec
import psutil
import yaml

from bench import fleet_traffic as traffic
from bench.row import Row, row
from bench.simulated_kit import COMMUNITY, simulated_kit
from bench.tls_broker import TlsBroker, tls_broker
from simulator.kit import Endpoints
from tests.services.process import free_port

SECONDS: Final = 30
UNIT: Final = Path(__file__).parents[1] / "systemd" / "kitwatch-agent.service"
RTSP: Final = Path(__file__).parents[1] / "tests" / "integration" / "rtsp_server.py"
PICTURES: Final = (
    "( videotestsrc is-live=true ! video/x-raw,width=320,height=240,framerate=5/1 ! "
    "jpegenc ! rtpjpegpay name=pay0 pt=26 )"
)


def rows() -> list[Row]:
    """Return the rows, in MB of a million bytes."""
    return [
        _measured("the standard kit without HTTP", 36, tablet=False),
        _measured("the standard kit", 52, tablet=True),
    ]


def _measured(what: str, target: int, *, tablet: bool) -> Row:
    with tempfile.TemporaryDirectory(prefix="kitwatch-bench-") as name:
        directory = Path(name)
        with tls_broker(directory) as broker, simulated_kit(5) as kit, _streams() as streams:
            database = f"sqlite:///{directory / 'kitwatch.sqlite'}"
            config = _write(directory, broker, kit, streams, tablet=tablet)
            with traffic.collector(directory, traffic.write_files(directory, broker.plain_port, database, 1)):
                ours = _agent(directory, config)
        theirs, modules = _bare(directory)
    met = f"{modules} modules; streams {'played' if streams else 'not answering: no GStreamer'}"
    return row(
        f"agent with {what}, connected over TLS, resident MB", ours / 1e6,
        "an interpreter with the same imports", theirs / 1e6, target=f"ours <= {target}", note=met,
    )  # fmt: skip


def _agent(directory: Path, config: Path) -> int:
    """Return the most bytes resident in the last five seconds, of the second run: the first one compiles."""
    command = [sys.executable, "-m", "bench.measured_agent", "run", str(config), str(directory / "modules")]
    environment = traffic.as_shipped(UNIT, directory)
    with traffic.process(directory, "first", command, environment):
        time.sleep(SECONDS)
    with traffic.process(directory, "agent", command, environment) as agent:
        time.sleep(SECONDS - 5)
        most = 0
        for _ in range(10):
            most = max(most, agent.memory_info().rss)
            time.sleep(0.5)
        connected = [one for one in agent.net_connections("tcp") if one.status == psutil.CONN_ESTABLISHED]
        if not connected:
            raise RuntimeError((directory / "agent.log").read_text()[-2000:])
    return most


def _bare(directory: Path) -> tuple[int, int]:
    """Return the resident bytes of the bare interpreter, and how many modules it has loaded."""
    modules = directory / "modules"
    with traffic.process(
        directory,
        "bare",
        [sys.executable, "-m", "bench.measured_agent", "import", str(modules)],
        traffic.as_shipped(UNIT, directory),
    ) as bare:
        end = time.monotonic() + 20
        while "there" not in (directory / "bare.log").read_text():
            if time.monotonic() > end:
                raise TimeoutError((directory / "bare.log").read_text()[-2000:])
            time.sleep(0.1)
        time.sleep(0.5)
        return bare.memory_info().rss, len(modules.read_text().split())


def _write(directory: Path, broker: TlsBroker, kit: Endpoints, streams: str, *, tablet: bool) -> Path:
    """Write ``agent.yaml`` for the standard kit."""
    secret = directory / "community"
    secret.write_text(COMMUNITY + "\n")
    secret.chmod(0o600)
    every = {"interval": 2, "deadline": 2}
    ports = [kit.router_port, *kit.camera_ports.values()]
    kinds = {"router": "router", "camera-1": "camera", "camera-2": "camera", "encoder": "encoder", "ups": "ups"}
    devices: dict[str, Any] = {
        name: {
            "kind": kind,
            "snmp": {"address": "127.0.0.1", "port": port, "community_file": str(secret), "timeout": 0.9, **every},
        }
        for (name, kind), port in zip({**kinds, "power": "power"}.items(), ports, strict=True)
    }
    devices |= {
        "modem": {"kind": "modem", "modem": {"port": kit.modem_port, **every}},
        "gnss": {"kind": "gnss", "gnss": {"port": kit.gnss_port, **every}},
        "gateway": {"kind": "host", "system": every},
    }
    target = {"kind": "tcp", "address": "127.0.0.1", "port": broker.plain_port}
    devices["link"] = {"kind": "link", "probe": {"targets": {"centre": target, "gateway": target}, **every}}
    url = streams or f"rtsp://127.0.0.1:{free_port()}/stream"
    for camera in ("camera-1", "camera-2"):
        devices[camera]["stream"] = {"url": url, "play": 2, "interval": 10, "deadline": 10}
    if tablet:  # it is polled; nobody is there that a profile would know
        devices["tablet"] = {"kind": "host", "http": {"url": f"http://127.0.0.1:{free_port()}", **every}}
    path = directory / "agent.yaml"
    path.write_text(
        yaml.safe_dump(
            {
                "site": traffic.SITE,
                "vehicle": "amb-0000",
                "agent": "router",
                "broker": msgspec.to_builtins(broker.for_agents),
                "state_directory": str(directory / "state"),
                "devices": devices,
                "waits": {"own_figures": 2, "spread": 0.5},
            }
        )
    )
    return path


@contextlib.contextmanager
def _streams() -> Iterator[str]:
    """Yield the URL of a stream that plays, or the empty text where there is no server."""
    port = free_port()
    command = ["/usr/bin/python3", str(RTSP), "--port", str(port), "--launch", PICTURES]
    try:
        child = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True)
    except OSError:
        yield ""
        return
    with child:
        try:
            assert child.stdout is not None
            yield f"rtsp://127.0.0.1:{port}/stream" if child.stdout.readline() == "ready\n" else ""
        finally:
            child.kill()
