"""A real InfluxDB 1.6 behind a small nginx that gives it the v2 write path, so that ``influxdb-client`` can be used.

``/api/v2/write?org&bucket&precision`` becomes ``/write?db&precision``; ``/ping``, ``/health`` and ``/query`` pass.
"""

from __future__ import annotations

import contextlib
import json
import os
import urllib.parse
import urllib.request
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from tests.services.process import Server, free_port, need, running


@dataclass
class Influx:
    """Both servers; ``url`` is what a client of the v2 API uses, ``bucket`` the database."""

    influxd: Server
    nginx: Server
    url: str
    bucket: str
    token: str
    org: str = "kitwatch"

    def query(self, influxql: str) -> list[dict[str, Any]]:
        """Return the series of an InfluxQL query, times in milliseconds. Raises RuntimeError for a refused one."""
        arguments = urllib.parse.urlencode({"db": self.bucket, "q": influxql, "epoch": "ms"})
        with urllib.request.urlopen(f"http://127.0.0.1:{self.influxd.port}/query?{arguments}", timeout=30) as answer:
            results = json.load(answer)["results"]
        for result in results:
            if "error" in result:
                raise RuntimeError(f"{influxql}: {result['error']}")
        return [series for result in results for series in result.get("series", [])]

    def create(self) -> None:
        """Create the database."""
        body = urllib.parse.urlencode({"q": f'CREATE DATABASE "{self.bucket}"'}).encode()
        urllib.request.urlopen(f"http://127.0.0.1:{self.influxd.port}/query", body, timeout=30).close()


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
def influxdb(directory: Path, bucket: str = "kitwatch") -> Iterator[Influx]:
    """Yield a running InfluxDB with an empty database."""
    program = need("influxd", "influxdb")
    nginx = need("nginx", "nginx-light")
    directory.mkdir(parents=True, exist_ok=True)
    port, rpc, front = free_port(), free_port(), free_port()
    token = "a-token-of-the-tests"
    (directory / "influxdb.conf").write_text(
        f"""reporting-disabled = true
bind-address = "127.0.0.1:{rpc}"
[meta]
  dir = "{directory}/meta"
[data]
  dir = "{directory}/data"
  wal-dir = "{directory}/wal"
  series-id-set-cache-size = 100
[http]
  bind-address = "127.0.0.1:{port}"
  log-enabled = false
[monitor]
  store-enabled = false
"""
    )
    owner = "user root;" if os.geteuid() == 0 else ""
    (directory / "nginx.conf").write_text(
        f"""{owner}
worker_processes 1;
daemon off;
pid {directory}/nginx.pid;
error_log {directory}/nginx-error.log;
events {{ worker_connections 256; }}
http {{
  access_log off;
  client_max_body_size 64m;
  client_body_temp_path {directory}/body;
  proxy_temp_path {directory}/proxy;
  fastcgi_temp_path {directory}/fastcgi;
  uwsgi_temp_path {directory}/uwsgi;
  scgi_temp_path {directory}/scgi;
  server {{
    listen 127.0.0.1:{front};
    location = /api/v2/write {{
      if ($http_authorization != "Token {token}") {{ return 401 '{{"code":"unauthorized","message":"token"}}'; }}
      rewrite ^ /write?db=$arg_bucket&precision=$arg_precision? break;
      proxy_pass http://127.0.0.1:{port};
    }}
    location / {{ proxy_pass http://127.0.0.1:{port}; }}
  }}
}}
"""
    )
    influxd = Server([program, "-config", str(directory / "influxdb.conf")], port, directory / "influxd.log")
    front_server = Server(
        [nginx, "-p", str(directory), "-c", str(directory / "nginx.conf")], front, directory / "nginx.log"
    )
    with running(influxd), running(front_server):
        influx = Influx(influxd, front_server, f"http://127.0.0.1:{front}", bucket, token)
        influx.create()
        yield influx
