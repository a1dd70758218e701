"""net-snmp's ``snmpd``: an SNMP agent that nobody here wrote, over v2c and v3 authPriv."""

from __future__ import annotations

import contextlib
import subprocess
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from tests.services.process import free_port, need

COMMUNITY = "tests-only-4711"
USER = "watcher"
AUTH = "auth-pass-phrase"
PRIV = "priv-pass-phrase"


@dataclass
class Snmpd:
    """Where it answers, and the files that hold its secrets."""

    port: int
    community_file: Path
    auth_file: Path
    priv_file: Path
    process: subprocess.Popen[bytes]


@contextlib.contextmanager
def snmpd(directory: Path, *, port: int = 0, engine: str = "", more: str = "", without: str = "") -> Iterator[Snmpd]:
    """Yield a running ``snmpd`` with v2c (``COMMUNITY``) and a v3 user (SHA-256, AES-128).

    ``engine`` is an engine id in hex, by default one of its own making; ``more`` are lines of its configuration,
    ``without`` is a module of its own that it leaves out.
    """
    program = need("snmpd", "snmpd")
    need("snmpget", "snmp")
    directory.mkdir(parents=True, exist_ok=True)
    port = port or free_port()
    (directory / "snmpd.conf").write_text(
        f"""agentaddress udp:127.0.0.1:{port}
rocommunity {COMMUNITY} 127.0.0.1
createUser {USER} SHA-256 "{AUTH}" AES "{PRIV}"
rouser {USER} authpriv
sysLocation tests
sysContact tests
sysName ambulance-test
{f"exactEngineID 0x{engine}" if engine else ""}
{more}
"""
    )
    files = {}
    for name, secret in (("community", COMMUNITY), ("auth", AUTH), ("priv", PRIV)):
        files[name] = directory / name
        files[name].write_text(secret + "\n")
        files[name].chmod(0o600)
    environment = {"SNMP_PERSISTENT_DIR": str(directory), "PATH": "/usr/bin:/bin"}
    with (directory / "snmpd.log").open("wb") as log:
        process = subprocess.Popen(
            [
                program,
                "-f",
                "-Lo",
                "-C",
                *(["-I", f"-{without}"] if without else []),
                "-c",
                str(directory / "snmpd.conf"),
                "-p",
                str(directory / "pid"),
            ],
            stdout=log,
            stderr=log,
            env=environment,
        )
    try:
        _wait(port, process, directory / "snmpd.log")
        yield Snmpd(port, files["community"], files["auth"], files["priv"], process)
    finally:
        process.terminate()
        process.wait(60)


def _wait(port: int, process: subprocess.Popen[bytes], log: Path) -> None:
    end = time.monotonic() + 60
    while time.monotonic() < end and process.poll() is None:
        ask = ["snmpget", "-v2c", "-c", COMMUNITY, "-t", "0.5", "-r", "0", f"127.0.0.1:{port}", "1.3.6.1.2.1.1.1.0"]
        if subprocess.run(ask, capture_output=True, check=False).returncode == 0:
            return
        time.sleep(0.1)
    raise RuntimeError(f"snmpd does not answer: {log.read_text(errors='replace')[-1000:]}")
