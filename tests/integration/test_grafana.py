"""The shipped dashboard against the real InfluxDB: every query finds its series, and what is polled is drawn.

Grafana is in no registry. What it draws of an answer is worked out here as its documentation says (time series panel,
"Connect null values"): values are joined where no null stands between them, or where they lie no further from each
other than ``spanNulls`` says, in milliseconds.
"""

from __future__ import annotations

import json
from collections import defaultdict
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


def expand(query: str, begin: int = TIME - 60_000, end: int = TIME + 60_000, step_s: int = 10) -> str:
    """Replace what Grafana replaces."""
    return (
        query.replace("$timeFilter", f"time >= {begin}ms and time <= {end}ms")
        .replace("$__interval", f"{step_s}s")
        .replace("$site", ".*")
        .replace("$vehicle", ".*")
    )


EVERY_10_S = [(panel, target) for panel, target in PANELS if not target["refId"][1:]]
"""The others of a panel draw what is polled every 30 and 60 s."""


@pytest.mark.parametrize(("panel", "target"), EVERY_10_S, ids=[f"{p['id']}{t['refId']}" for p, t in EVERY_10_S])
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
        selected = target["query"].rpartition("SELECT ")[2].split(" FROM ")[0]
        for field in set(selected.split('"')[1::2]) - {"value", "polls"}:
            assert f"{measurement}.{field}" in METRICS


def test_provisioning_names_the_data_source_the_panels_use() -> None:
    (source,) = yaml.safe_load((GRAFANA / "provisioning/datasources/kitwatch.yaml").read_text())["datasources"]
    assert source["jsonData"]["version"] == "InfluxQL"
    assert {panel["datasource"]["uid"] for panel in DASHBOARD["panels"]} == {source["uid"]}
    (provider,) = yaml.safe_load((GRAFANA / "provisioning/dashboards/kitwatch.yaml").read_text())["providers"]
    assert provider["type"] == "file"


# --- what is drawn ----------------------------------------------------------------------------------------------------

HOUR_MS = 3_600_000
BEGIN = TIME + 10 * HOUR_MS
LATE_MS = 5 * 60_000
"""What a thrifty vehicle has not sent yet: it polls every 60 s and sends every 5 minutes."""
VEHICLES = {"every-10": 10_000, "every-30": 30_000, "every-60": 60_000, "thrifty": 60_000}
DRAWN = [panel for panel in DASHBOARD["panels"] if panel["type"] in ("timeseries", "state-timeline")]


def polls(vehicle: str) -> list[int]:
    """Return when a vehicle was polled in an hour: one poll failed after 10 minutes, two after 20, nine after 40."""
    step = VEHICLES[vehicle]
    missed = {10 * 60_000 // step: 1, 20 * 60_000 // step: 2, 40 * 60_000 // step: 9}
    numbers = {number + more for number, many in missed.items() for more in range(many)}
    end = HOUR_MS - (LATE_MS if vehicle == "thrifty" else 0)
    return [BEGIN + 3_700 + n * step for n in range(end // step) if n not in numbers]


@pytest.fixture(scope="module")
def polled(influx: Influx) -> Influx:
    for vehicle in VEHICLES:
        lines = [line.replace("amb-01", vehicle).replace("site=c1", "site=c2") for line in LINES]
        for time in polls(vehicle):
            counted = [line.replace("1000i", f"{time // 1000}i").replace("=10i", f"={time // 500}i") for line in lines]
            influx.write("\n".join(f"{line} {time}" for line in counted))
    return influx


def span_ms(panel: dict[str, Any], target: dict[str, Any]) -> float:
    """Return how far apart values may lie that Grafana joins over nulls."""
    field = panel["fieldConfig"]
    found = field["defaults"]["custom"].get("spanNulls", False)
    for override in field["overrides"]:
        if override["matcher"] == {"id": "byFrameRefID", "options": target["refId"]}:
            found = next((one["value"] for one in override["properties"] if one["id"] == "custom.spanNulls"), found)
    return float("inf") if found is True else float(found)


def lines_of(panel: dict[str, Any], influx: Influx, step_s: int) -> dict[str, list[tuple[int, list[int]]]]:
    """Return what is drawn, by measurement and vehicle: (width of a bucket, its times), for each unbroken line."""
    found = defaultdict(list)
    for target in panel["targets"]:
        query = expand(target["query"], BEGIN, BEGIN + HOUR_MS, step_s)
        width = 1000 * max(step_s, int(query.partition("GROUP BY time(")[2].partition("s")[0]))
        for series in influx.query(query):
            if series["tags"]["vehicle"] not in VEHICLES:
                continue
            line: list[int] = []
            broken = False
            for time, value in series["values"]:
                if value is None:
                    broken = True
                    continue
                if line and broken and time - line[-1] > span_ms(panel, target):
                    found[f"{series['name']} {series['tags']['vehicle']}"].append((width, line))
                    line = []
                line.append(time)
                broken = False
            found[f"{series['name']} {series['tags']['vehicle']}"].append((width, line))
    return dict(found)


def joined(lines: list[tuple[int, list[int]]], begin: int, end: int) -> bool:
    """Return whether one of the lines goes through both polls' buckets."""
    return any({begin - begin % width, end - end % width} <= set(line) for width, line in lines)


@pytest.mark.parametrize("panel", DRAWN, ids=[str(panel["id"]) for panel in DRAWN])
def test_what_is_polled_every_10_30_or_60_s_is_drawn_and_gaps_stay_gaps(polled: Influx, panel: dict[str, Any]) -> None:
    rate = "derivative" in panel["targets"][0]["query"]
    longest_held = 150_000 if panel["type"] == "state-timeline" else 0
    found = lines_of(panel, polled, 10)
    assert {name.split()[1] for name in found} == set(VEHICLES)
    for name, lines in found.items():
        vehicle = name.split()[1]
        times, step = polls(vehicle), VEHICLES[vehicle]
        for before, after in zip(times[rate:], times[rate + 1 :], strict=False):
            if after - before == step:
                assert joined(lines, before, after), (name, before - BEGIN)
            elif after - before >= 3 * step and after - before > longest_held:
                assert not joined(lines, before, after), (name, before - BEGIN)


@pytest.mark.parametrize("panel", DRAWN, ids=[str(panel["id"]) for panel in DRAWN])
def test_a_day_is_drawn_with_as_many_points_as_there_is_room_for(polled: Influx, panel: dict[str, Any]) -> None:
    for name, lines in lines_of(panel, polled, 120).items():
        vehicle = name.split()[1]
        gaps = [a for a, b in zip(polls(vehicle), polls(vehicle)[1:], strict=False) if b - a > 360_000]
        assert max(len(line) for _, line in lines) >= 10, name
        assert sum(len(line) for _, line in lines) <= len(panel["targets"]) * (HOUR_MS / 120_000 + 1), name
        for begin in gaps:
            assert not joined(lines, begin, begin + 600_000), name
