"""``python -m bench [ROW...]``: measure, print a Markdown table, write ``bench/results/latest.json``.

``--record`` keeps the figures beside it in a file of their own, to be committed with the work that they speak for.
"""

from __future__ import annotations

import argparse
import datetime
import importlib
import json
import os
import platform
import subprocess
import sys
import time
from importlib import metadata
from pathlib import Path
from typing import Final

import pytest

from bench.row import Row, table
from tests.long_run import Record

ROWS: Final = {
    "collector_messages": "what a message costs the whole collector, at three rates",
    "influxdb_sink": "what InfluxDB costs the collector at 20 messages a second",
    "breach_to_ticket": "from a breach to its committed ticket",
    "collector_memory": "resident memory of a collector with 200 vehicles",
    "agent_memory": "resident memory of an agent with the standard kit",
    "bytes_on_air": "bytes a day that the standard kit costs on the air",
    "snmp_poll": "CPU of a poll over SNMP, and how long it holds the loop",
    "dead_device": "how late polls are next to dead devices",
    "outbox": "the agent's queue on disk",
    "commit": "the collector's transaction",
    "judging": "what judging a healthy vehicle costs",
    "read_model": "what pages cost by the size of the fleet",
    "fleet_page": "what the fleet's page costs at 500 vehicles and 200 open tickets",
    "quiet_day": "what time alone costs for a quiet vehicle",
    "drill": "vehicle-days that a drill lives and judges in a second of CPU",
}
"""Module in this folder and what it measures; each has ``rows()``."""
LATEST: Final = Path(__file__).parent / "results" / "latest.json"
_PACKAGES: Final = ("kitwatch", "paho-mqtt", "msgspec", "pysnmp", "psycopg", "zstandard", "SQLAlchemy")
_PROGRAMS: Final = {"mosquitto": ["mosquitto", "-h"], "postgres": ["postgres", "--version"]}


def main() -> int:
    """Run the rows that are named, or all; exit 1 if one could not be measured; the table says met or missed."""
    listed = "\n".join(f"  {name:20} {what}" for name, what in ROWS.items())
    parser = argparse.ArgumentParser(
        prog="python -m bench",
        description=f"{__doc__}\n\nrows:\n{listed}",
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("rows", nargs="*", choices=[[], *ROWS], metavar="ROW", help="one of those above; default all")
    parser.add_argument("--record", action="store_true", help="keep the figures in a file of their own")
    args = parser.parse_args()
    wanted = args.rows or list(ROWS)
    began, clock = datetime.datetime.now(datetime.UTC), time.monotonic()
    known = versions()
    found: list[Row] = []
    failed = False
    for name in wanted:
        begun = time.monotonic()
        print(f"bench: {name}: {ROWS[name]} ...", file=sys.stderr, flush=True)
        try:
            measured = importlib.import_module(f"bench.{name}").rows()
        except (Exception, pytest.skip.Exception, pytest.fail.Exception) as error:
            print(f"bench: {name} could not be measured: {type(error).__name__}: {error}", file=sys.stderr)
            failed = True
            continue
        extra = {"command": f"python -m bench {name}", "versions": known}
        found += [{"target": None, "met": None, **one, **extra} for one in measured]
        print(f"bench: {name}: {time.monotonic() - begun:.0f} s", file=sys.stderr, flush=True)
    LATEST.parent.mkdir(exist_ok=True)
    LATEST.write_text(json.dumps(found, indent=1, ensure_ascii=False) + "\n", encoding="utf-8")
    print(table(found))
    if args.record:
        held = not failed and all(one["met"] is not False for one in found)
        counts = {"versions": known, "rows": found}
        record = Record("bench", "bench", sys.argv[1:], [], began, time.monotonic() - clock, counts, held)
        print(record.write(), file=sys.stderr)
    return 1 if failed else 0


def versions() -> dict[str, str]:
    """Return what the figures depend on: machine, Python, packages, servers."""
    said = {
        "machine": f"{platform.system()} {platform.release()} {platform.machine()}, {os.cpu_count()} CPUs",
        "python": platform.python_version(),
    }
    for package in _PACKAGES:
        said[package] = metadata.version(package)
    path = os.environ.get("PATH", "") + ":/usr/sbin:/usr/lib/postgresql/15/bin"
    for name, command in _PROGRAMS.items():
        try:
            told = subprocess.run(command, capture_output=True, text=True, check=False, env={"PATH": path})
        except OSError:
            said[name] = "missing"
        else:
            said[name] = (told.stdout or told.stderr).strip().splitlines()[0]
    return said


if __name__ == "__main__":
    sys.exit(main())
