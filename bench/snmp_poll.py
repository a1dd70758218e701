"""What a poll of a router costs: 80 values over SNMP, by the whole agent, beside Prometheus's snmp_exporter.

The router is net-snmp's ``snmpd`` with the answers of the simulated one, which move. The agent runs as its command runs
it: eight devices each second, read by their profile, recorded on disk and published over TLS to a broker and collector.
The exporter is asked for the same objects at the same pace. Both are whole processes; their CPU is what the kernel
counts. The protocol alone is our adapter without profile, disk and network around it.
"""

from __future__ import annotations

import asyncio
import http.client
import sys
import tempfile
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, Final

import msgspec
import psutil
import yaml

from agent.inputs.snmp import SnmpDevice, open_port
from bench import fleet_traffic as traffic
from bench import snmp_router
from bench.row import Row, row
from bench.tls_broker import TlsBroker, tls_broker
from firmware_profiles.answers import Wire
from firmware_profiles.asked import Wanted, wanted
from firmware_profiles.own import profiles_of
from telemetry.inputs import SnmpInput
from tests.services.process import free_port, need
from tests.services.snmpd import AUTH, COMMUNITY, PRIV, USER, Snmpd, snmpd

PROFILE: Final = "teltonika/rutos-7.10"
DEVICES: Final = 8
SECONDS: Final = 15.0
WARM: Final = 5.0
RUNS: Final = 2
ALONE: Final = 300
"""Polls of the protocol alone."""
HELD: Final = 40
"""Polls in which the event loop is watched; the first finds the profile."""
VERSIONS: Final = ("2c", "3")
_TYPES: Final = {"counter32": "counter", "counter64": "counter", "octets": "DisplayString", "oid": "DisplayString"}


def rows() -> list[Row]:
    """Return the rows, in CPU milliseconds a poll, and of the event loop's longest hold."""
    with tempfile.TemporaryDirectory(prefix="kitwatch-bench-") as name:
        directory = Path(name)
        database = f"sqlite:///{directory / 'kitwatch.sqlite'}"
        agent = snmpd(directory / "snmpd", more=snmp_router.configuration(), without=snmp_router.NOT_ITS_OWN)
        with agent as router, tls_broker(directory) as broker:
            values = asyncio.run(_values(router))
            exporter = _exporter(directory, values)
            found: list[Row] = []
            with traffic.collector(directory, traffic.write_files(directory, broker.plain_port, database, 1)):
                for version in VERSIONS:
                    found += _compared(directory, router, broker, version, exporter, len(values))
            return found + [_held(router, version) for version in VERSIONS]


def _compared(directory: Path, router: Snmpd, broker: TlsBroker, version: str, exporter: Path, count: int) -> list[Row]:
    theirs = [_scraped(directory, exporter, router.port, version) for _ in range(RUNS)]
    whole = [_agent(directory, _write(directory, router, broker, version)) for _ in range(RUNS)]
    alone = [asyncio.run(_alone(router, version)) for _ in range(RUNS)]
    target = {"2c": 0.6, "3": 0.9}[version]
    against = f"prometheus-snmp-exporter, the same {count} values"
    return [
        row(
            f"one poll of {count} values over SNMP v{version}, CPU ms of the whole agent", whole, against, theirs,
            target=f"ratio <= {target}", note=f"{DEVICES} devices a second, profile, outbox, TLS uplink included",
        ),
        row(
            f"one poll of {count} values over SNMP v{version}, CPU ms of the protocol alone", alone, against, theirs,
            target="ratio <= 0.333",
        ),
    ]  # fmt: skip


def _config(router: Snmpd, version: str, **more: Any) -> SnmpInput:
    return SnmpInput(address="127.0.0.1", port=router.port, profile=PROFILE, **_secrets(router, version), **more)


def _secrets(router: Snmpd, version: str) -> dict[str, Any]:
    if version == "2c":
        return {"community_file": str(router.community_file)}
    return {"version": "3", "user": USER, "auth_file": str(router.auth_file), "priv_file": str(router.priv_file)}


# --- ours -------------------------------------------------------------------------------------------------------------


def _asked() -> Wanted:
    return wanted(profiles_of()[PROFILE])


async def _values(router: Snmpd) -> dict[str, Wire]:
    port = open_port(_config(router, "2c"))
    found = await port.get(_asked().scalars)
    found |= (await port.walk(_asked().columns)).values
    await port.close()
    return found


async def _alone(router: Snmpd, version: str) -> float:
    """Return the CPU milliseconds of a poll without anything around the protocol."""
    port, asked = open_port(_config(router, version)), _asked()
    for _ in range(5):
        await port.get(asked.scalars)
        await port.walk(asked.columns)
    begun = time.process_time()
    for _ in range(ALONE):
        await port.get(asked.scalars)
        await port.walk(asked.columns)
    spent = time.process_time() - begun
    await port.close()
    return spent / ALONE * 1000


def _write(directory: Path, router: Snmpd, broker: TlsBroker, version: str) -> Path:
    """Write ``agent.yaml``: the same router, eight times each second."""
    snmp = {
        "address": "127.0.0.1", "port": router.port, "profile": PROFILE, "interval": 1, "deadline": 1,
        **_secrets(router, version),
    }  # fmt: skip
    path = directory / "agent.yaml"
    path.write_text(
        yaml.safe_dump(
            {
                "site": traffic.SITE,
                "vehicle": "amb-0000",
                "agent": "router",
                "broker": msgspec.to_builtins(broker.for_agents),
                "state_directory": str(directory / "state"),
                "devices": {f"router-{number}": {"kind": "router", "snmp": snmp} for number in range(DEVICES)},
                "waits": {"spread": 0.5},
            }
        )
    )
    return path


def _agent(directory: Path, config: Path) -> float:
    """Return the CPU milliseconds of a poll, everything that the agent does included."""
    command = [sys.executable, "-m", "bench.measured_agent", "run", str(config), str(directory / "modules")]
    with traffic.process(directory, "agent", command) as agent:
        time.sleep(WARM)
        spent = _spent(agent, lambda: time.sleep(SECONDS))
        if not any(one.status == psutil.CONN_ESTABLISHED for one in agent.net_connections("tcp")):
            raise RuntimeError((directory / "agent.log").read_text()[-2000:])
    return spent / (DEVICES * SECONDS) * 1000


def _spent(process: psutil.Process, wait: Callable[[], None]) -> float:
    """Return the CPU seconds that a process spends while ``wait`` runs."""
    before = traffic.cpu_seconds(process)
    wait()
    return traffic.cpu_seconds(process) - before


# --- theirs -----------------------------------------------------------------------------------------------------------


def _exporter(directory: Path, values: dict[str, Wire]) -> Path:
    """Write the exporter's configuration: the same scalars by GET, the same columns by walking."""
    asked = _asked()
    metrics = [_metric(oid, values[oid].kind, []) for oid in asked.scalars if oid in values]
    for column in asked.columns:
        kinds = [wire.kind for oid, wire in values.items() if oid.startswith(column + ".")]
        if kinds:
            metrics.append(_metric(column, kinds[0], [{"labelname": "row", "type": "gauge"}]))
    module = {"get": list(asked.scalars), "walk": list(asked.columns), "metrics": metrics}
    keys = {"username": USER, "password": AUTH, "priv_password": PRIV}
    how = {"security_level": "authPriv", "auth_protocol": "SHA256", "priv_protocol": "AES"}
    path = directory / "snmp.yml"
    path.write_text(
        yaml.safe_dump(
            {
                "v2c": {**module, "version": 2, "auth": {"community": COMMUNITY}},
                "v3": {**module, "version": 3, "auth": {**keys, **how}},
            }
        )
    )
    return path


def _metric(oid: str, kind: str, indexes: Sequence[dict[str, str]]) -> dict[str, Any]:
    name = "o" + oid.replace(".", "_")
    return {"name": name, "oid": oid, "type": _TYPES.get(kind, "gauge"), "help": name, "indexes": list(indexes)}


def _scraped(directory: Path, config: Path, router: int, version: str) -> float:
    """Return the CPU milliseconds of a scrape."""
    port = free_port()
    program = need("prometheus-snmp-exporter", "prometheus-snmp-exporter")
    command = [program, f"--config.file={config}", f"--web.listen-address=127.0.0.1:{port}", "--log.level=warn"]
    path = f"/snmp?module=v{version}&target=127.0.0.1:{router}"
    with traffic.process(directory, "exporter", command) as exporter:
        time.sleep(1.0)
        connection = http.client.HTTPConnection("127.0.0.1", port, timeout=5)
        _scrape(connection, path, WARM)
        spent = _spent(exporter, lambda: _scrape(connection, path, SECONDS))
        connection.close()
        return spent / (DEVICES * SECONDS) * 1000


def _scrape(connection: http.client.HTTPConnection, path: str, seconds: float) -> None:
    """Scrape as often as the agent polls, over one connection: so many each second, one after another."""
    for _ in range(int(seconds)):
        end = time.monotonic() + 1.0
        for _ in range(DEVICES):
            connection.request("GET", path)
            said = connection.getresponse().read().decode()
            if said.count("\no1_3_6_1") < 50:
                raise RuntimeError(said[-2000:])
        time.sleep(max(0.0, end - time.monotonic()))


# --- the event loop ---------------------------------------------------------------------------------------------------


def _held(router: Snmpd, version: str) -> Row:
    ours = [asyncio.run(_longest(_config(router, version))) for _ in range(3)]
    theirs = [asyncio.run(_longest(_config(router, version, library="pysnmp"))) for _ in range(3)]
    return row(
        f"event loop held by a poll over SNMP v{version}, CPU ms at most, the first one included", ours,
        "the same with pysnmp", theirs, target="ours <= 2",
    )  # fmt: skip


async def _longest(config: SnmpInput) -> float:
    """Return the most CPU milliseconds that one callback of the loop took while a device was polled."""
    device = SnmpDevice(config, profiles_of())
    longest = 0.0
    run: Callable[[asyncio.Handle], None] = asyncio.Handle.__dict__["_run"]

    def timed(handle: asyncio.Handle) -> None:
        nonlocal longest
        begun = time.thread_time()
        run(handle)
        longest = max(longest, time.thread_time() - begun)

    setattr(asyncio.Handle, "_run", timed)  # noqa: B010 - a part of asyncio's own
    try:
        for number in range(HELD):
            await asyncio.sleep(0)
            poll = await device.poll(float(number))
            if len(poll.readings) < 2:
                raise RuntimeError(str(poll.problem))
    finally:
        setattr(asyncio.Handle, "_run", run)  # noqa: B010
    await device.close()
    return longest * 1000
