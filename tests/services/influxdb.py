"""A real InfluxDB 1.6, as Debian ships it, written by its own path."""

from __future__ import annotations

import base64
import contextlib
import json
import urllib.parse
import urllib.request
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from collector.sinks.runner import SinkRunner
from tests.services.process import Server, free_port, need, running


@dataclass
class Influx:
    """The server; ``bucket`` is its database, ``token`` the name and password of its only user."""

    influxd: Server
    url: str
    bucket: str
    token: str = "kitwatch:a-password-of-the-tests"
    org: str = "kitwatch"

    def query(self, influxql: str) -> list[dict[str, Any]]:
        """Return the series of an InfluxQL query, times in milliseconds. Raises RuntimeError for a refused one."""
        with self._ask("query", {"db": self.bucket, "q": influxql, "epoch": "ms"}, b"") as answer:
            results = json.load(answer)["results"]
        for result in results:
            if "error" in result:
                raise RuntimeError(f"{influxql}: {result['error']}")
        return [series for result in results for series in result.get("series", [])]

    def write(self, lines: str) -> None:
        """Write line protocol, times in milliseconds."""
        self._ask("write", {"db": self.bucket, "precision": "ms"}, lines.encode()).close()

    def _ask(self, path: str, arguments: dict[str, str], body: bytes) -> Any:
        credentials = base64.b64encode(self.token.encode()).decode()
        url = f"{self.url}/{path}?{urllib.parse.urlencode(arguments)}"
        request = urllib.request.Request(url, body, {"Authorization": f"Basic {credentials}"})
        return urllib.request.urlopen(request, timeout=30)


def sink_among(runners: Iterable[SinkRunner]) -> SinkRunner:
    """Return the runner of InfluxDB's sink among a site's."""
    return next(one for one in runners if one.sink.name == "influxdb")


def points(influx: Influx) -> dict[tuple[str, tuple[tuple[str, str], ...], int], dict[str, Any]]:
    """Return everything stored: (measurement, sorted tags, time in ms) -> fields."""
    found: dict[tuple[str, tuple[tuple[str, str], ...], int], dict[str, Any]] = {}
    for measurement in influx.query("SHOW MEASUREMENTS"):
        for (name,) in measurement["values"]:
            for series in influx.query(f'SELECT * FROM "{name}" GROUP BY *'):
                tags = tuple(sorted((k, v) for k, v in series.get("tags", {}).items() if v != ""))
                for row in series["values"]:
                    fields = dict(zip(series["columns"], row, strict=True))
                    time = fields.pop("time")
                    found[(name, tags, time)] = {k: v for k, v in fields.items() if v is not None}
    return found


@contextlib.contextmanager
def influxdb(directory: Path, bucket: str = "kitwatch", *, asks: bool = False, data: str = "") -> Iterator[Influx]:
    """Yield a running InfluxDB with an empty database.

    ``asks``: it asks for name and password. ``data``: further lines of the section ``[data]`` of its configuration.
    """
    program = need("influxd", "influxdb")
    directory.mkdir(parents=True, exist_ok=True)
    port, rpc = free_port(), free_port()
    (directory / "influxdb.conf").write_text(
        f"""reporting-disabled = true
bind-address = "127.0.0.1:{rpc}"
[meta]
  dir = "{directory}/meta"
[data]
  dir = "{directory}/data"
  wal-dir = "{directory}/wal"
  series-id-set-cache-size = 100
  {data}
[http]
  bind-address = "127.0.0.1:{port}"
  log-enabled = false
  auth-enabled = {str(asks).lower()}
[monitor]
  store-enabled = false
"""
    )
    influxd = Server([program, "-config", str(directory / "influxdb.conf")], port, directory / "influxd.log")
    with running(influxd):
        influx = Influx(influxd, f"http://127.0.0.1:{port}", bucket)
        name, _, password = influx.token.partition(":")
        influx.query(f"CREATE USER {name} WITH PASSWORD '{password}' WITH ALL PRIVILEGES")
        influx.query(f'CREATE DATABASE "{bucket}"')
        yield influx
