"""Every panel's query of the shipped dashboard is answered by the real InfluxDB with its series."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml

from telemetry.metrics import METRICS
from tests.services.influxdb import Influx, influxdb

GRAFANA = Path(__file__).parents[2] / "grafana"
DASHBOARD = json.loads((GRAFANA / "dashboards" / "kit.json").read_text("utf-8"))
PANELS = [(panel, target) for panel in DASHBOARD["panels"] for target in panel["targets"]]
TIME = 1_790_000_000_000
TAGS = "site=c1,vehicle=amb-01,agent=router"
LINES = [
    f"device,{TAGS},device=router reachable=true,cpu_percent=12.5,temperature_c=40.0",
    f"modem,{TAGS},device=modem,leg=nr rsrp_dbm=-88.0,sinr_db=14.0",
    f'modem,{TAGS},device=modem registration="home",sim="ready",temperature_c=44.0,bytes_sent=1000i,bytes_received=10i',
    f"link,{TAGS},device=uplink,target=centre rtt_ms=21.5,loss_percent=0.0",
    f"power,{TAGS},device=power supply_v=13.8",
    f"host,{TAGS},device=tablet temperature_c=50.0,cpu_percent=30.0",
    f"stream,{TAGS},device=camera-1,stream=main bitrate_kbps=4000.0",
    f"gnss,{TAGS},device=gnss latitude=31.2,longitude=121.4",
    f"agent,{TAGS},device=agent outbox_records=7i",
]


@pytest.fixture(scope="module")
def influx(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Influx]:
    with influxdb(tmp_path_factory.mktemp("influx")) as server:
        for step in range(3):  # a rate needs two intervals
            server.write("\n".join(f"{line} {TIME + step * 10_000}" for line in LINES))
        yield server


def expand(query: str) -> str:
    """Replace what Grafana replaces."""
    return (
        query.replace("$timeFilter", f"time >= {TIME - 60_000}ms and time <= {TIME + 60_000}ms")
        .replace("$__interval", "10s")
        .replace("$site", ".*")
        .replace("$vehicle", ".*")
    )


@pytest.mark.parametrize(("panel", "target"), PANELS, ids=[f"{p['id']}{t['refId']}" for p, t in PANELS])
def test_a_panels_query_finds_its_series(influx: Influx, panel: dict[str, Any], target: dict[str, Any]) -> None:
    query = expand(target["query"])
    assert "$" not in query.replace("/^.*$/", "")
    series = influx.query(query)
    assert series, f"{panel['title']}: {query}"
    assert any(value is not None for row in series[0]["values"] for value in row[1:])
    for tag in (part.removeprefix("$tag_") for part in target.get("alias", "").split() if part.startswith("$tag_")):
        assert tag in series[0]["tags"]


def test_the_variables_list_sites_and_vehicles(influx: Influx) -> None:
    found = [influx.query(expand(variable["query"]))[0]["values"] for variable in DASHBOARD["templating"]["list"]]
    assert found == [[["site", "c1"]], [["vehicle", "amb-01"]]]


def test_every_field_asked_for_is_in_the_catalogue() -> None:
    for _, target in PANELS:
        measurement = target["query"].split('FROM "')[1].split('"')[0]
        selected = target["query"].split(" FROM ")[0]
        for field in [part for at, part in enumerate(selected.split('"')) if at % 2]:
            assert f"{measurement}.{field}" in METRICS


def test_provisioning_names_the_data_source_the_panels_use() -> None:
    (source,) = yaml.safe_load((GRAFANA / "provisioning/datasources/kitwatch.yaml").read_text())["datasources"]
    assert source["jsonData"]["version"] == "InfluxQL"
    assert {panel["datasource"]["uid"] for panel in DASHBOARD["panels"]} == {source["uid"]}
    (provider,) = yaml.safe_load((GRAFANA / "provisioning/dashboards/kitwatch.yaml").read_text())["providers"]
    assert provider["type"] == "file"
