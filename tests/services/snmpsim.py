"""Debian's ``snmpsimd``: serves the captures over UDP, community = file name."""

from __future__ import annotations

import contextlib
import os
import shutil
import subprocess
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

from tests.services.process import free_port, need


@contextlib.contextmanager
def snmpsim(captures: Path, probe: str) -> Iterator[int]:
    """Yield the port of a running ``snmpsimd`` over ``captures``; ``probe`` is a community that must answer."""
    program = need("snmpsimd", "snmpsim")
    need("snmpget", "snmp")
    port = free_port()
    home = Path(tempfile.mkdtemp(prefix="snmpsim-"))  # not below pytest's folder, which others may not enter
    home.chmod(0o777)
    shutil.copytree(captures, home / "data", copy_function=shutil.copyfile)
    for path in (home / "data", *(home / "data").rglob("*")):
        path.chmod(0o755 if path.is_dir() else 0o644)
    command = [
        program,
        f"--data-dir={home / 'data'}",
        f"--cache-dir={home}",
        f"--agent-udpv4-endpoint=127.0.0.1:{port}",
    ]
    if os.geteuid() == 0:
        command += ["--process-user=nobody", "--process-group=nogroup"]
    with (home / "log").open("wb") as log:
        process = subprocess.Popen(command, stdout=log, stderr=log, stdin=subprocess.DEVNULL)
    try:
        _wait(port, probe, process, home / "log")
        yield port
    finally:
        process.terminate()
        process.wait(60)
        shutil.rmtree(home, ignore_errors=True)


def _wait(port: int, probe: str, process: subprocess.Popen[bytes], log: Path) -> None:
    end = time.monotonic() + 60  # it indexes every capture first
    ask = ["snmpget", "-v2c", "-c", probe, "-t", "0.5", "-r", "0", f"127.0.0.1:{port}", "1.3.6.1.2.1.1.2.0"]
    while time.monotonic() < end and process.poll() is None:
        if subprocess.run(ask, capture_output=True, check=False).returncode == 0:
            return
        time.sleep(0.1)
    raise RuntimeError(f"snmpsimd does not answer: {log.read_text(errors='replace')[-1000:]}")
