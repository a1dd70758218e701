"""What programs are told of readings, history and devices, from the collector's own history. Both databases."""

from __future__ import annotations

import datetime
import itertools
import json
import time
from typing import Any

import pytest

from collector.core.vehicle.state import InventoryEntry
from collector.core.vehicle.summary import AgentSummary, Details, DeviceSummary
from collector.store import batch, schema
from collector.store.commit import SiteConnection
from collector.store.rows import BatchRow, Changes
from collector.store.store import Store
from collector.store.summary_rows import details_content
from telemetry.fleet import AgentPlan, Device, Fleet, Site, VehiclePlan
from telemetry.inputs import ModemInput
from telemetry.message import Moment
from telemetry.records import Clock, Column, Schema
from tests.integration.test_api import answer_of, conforms
from tests.integration.test_sign_in import Client, with_pages
from tests.services.api import let_in

RADIO = Schema(
    "modem", "modem", (Column("modem.rsrp_dbm", {"leg": "nr"}), Column("modem.sim"), Column("modem.cell_id"))
)
FIX = Schema("gnss", "gnss", (Column("gnss.latitude"), Column("gnss.speed_kmh")))
PLACE = Schema("gnss", "gnss", (Column("gnss.latitude"), Column("gnss.longitude")))
AN_HOUR_MS = 3_600_000
VIEWER = "kwt_viewer"


@pytest.fixture
def begin_ms() -> int:
    """Return a whole minute ten minutes ago, when a test begins: a file is read long before its tests are run."""
    return time.time_ns() // 60_000_000_000 * 60_000 - 600_000


def read_in(
    store: Store, begin_ms: int, *samples: tuple[int, Schema, list[Any]], answered_later_ms: int = AN_HOUR_MS
) -> None:
    """Commit samples (seconds after the beginning, schema, values) as the owner of the site does.

    ``answered_later_ms``: so long after now the devices answered last: an hour, and they are good however long it
    takes.
    """
    now_ms = begin_ms + 600_000
    answered_ms = now_ms + answered_later_ms
    site = SiteConnection.acquire(store, "north", "test")
    assert site is not None
    moments = [Moment(second * 1000, 0, [[schema.id(), values]]) for second, schema, values in samples]
    numbers = list(itertools.pairwise(range(len(moments) + 1)))
    clock = Clock(0, 0, begin_ms, "ntp", 5)
    group = batch.Group("amb-1", "box", "00000000000000aa", "live", [(0, len(numbers) - 1)], {0: clock}, moments)
    site.commit(
        Changes(
            batch=BatchRow(1, now_ms, now_ms, len(moments), [group]),
            schemas={("amb-1", "box", one.id()): one for one in (RADIO, FIX, PLACE)},
            inventory=[
                InventoryEntry(
                    site="north", vehicle="amb-1", device="modem", seen_ms=begin_ms,
                    identity={"model": "RM500Q", "firmware": "R11", "imei": "864394040012345"},
                )
            ],
        )
    )  # fmt: skip
    site.close()
    details = Details(
        agents={"box": AgentSummary(answered_ms, 0)},
        devices=[DeviceSummary("box", "modem", answered_ms, 10_000), DeviceSummary("box", "gnss", answered_ms, 10_000)],
    )
    row = {"site": "north", "vehicle": "amb-1", "state": "on_duty", "heard_ms": now_ms, "revision": 1}
    with store.transaction() as connection:
        connection.execute(schema.vehicle_summary.insert(), row | {"details": details_content(details)})


def test_the_last_value_of_each_series_with_unit_time_and_quality(store: Store, begin_ms: int) -> None:
    read_in(
        store,
        begin_ms,
        (0, RADIO, [-90.0, "ready", 77]),
        (10, RADIO, [-95.0, "ready", 78]),
        (20, FIX, [31.2, 40.0]),
        (30, FIX, [None, None]),
    )
    engineer, viewer = let_in(store), let_in(store, "viewer", secret=VIEWER)
    path = "/api/vehicles/{vehicle}/readings"

    async def scene(client: Client) -> None:
        async def asked(headers: dict[str, str], **params: str) -> list[dict[str, Any]]:
            where = "/api/vehicles/amb-1/readings"
            status, found = await answer_of(client, path, where=where, headers=headers, params=params)
            assert (status, found["vehicle"]) == (200, "amb-1")
            return list(found["readings"])

        found = {one["metric"]: one for one in await asked(engineer)}
        assert found["modem.rsrp_dbm"] == {
            "device": "modem",
            "agent": "box",
            "metric": "modem.rsrp_dbm",
            "labels": {"leg": "nr"},
            "value": -95.0,
            "unit": "dBm",
            "at": iso(begin_ms + 10_000),
            "quality": "good",
        }
        assert (found["gnss.speed_kmh"]["value"], found["gnss.speed_kmh"]["quality"]) == (40.0, "unknown")
        assert {"gnss.latitude", "modem.cell_id"} <= found.keys()
        hidden = {one["metric"] for one in await asked(viewer)}
        assert hidden == {"modem.rsrp_dbm", "modem.sim", "gnss.speed_kmh"}, "where it is, is not theirs"
        assert [one["metric"] for one in await asked(engineer, metric="modem.sim")] == ["modem.sim"]
        assert {one["device"] for one in await asked(engineer, device="gnss")} == {"gnss"}
        assert await asked(engineer, within="60") == [], "the last word is minutes later than what was read"

    with_pages(store, scene)


def test_the_vehicles_page_says_where_it_was_to_whom_that_concerns(store: Store, begin_ms: int) -> None:
    read_in(store, begin_ms, (20, PLACE, [30.271234, 120.155678]), (30, PLACE, [30.279876, 120.151111]))
    engineer, viewer = let_in(store), let_in(store, "viewer", secret=VIEWER)

    async def scene(client: Client) -> None:
        async def read(vehicle: str, headers: dict[str, str]) -> str:
            async with client.get(f"/vehicles/{vehicle}", headers=headers) as answer:
                assert answer.status == 200
                return await answer.text()

        text = await read("amb-1", engineer)
        assert 'href="geo:30.27988,120.15111"' in text
        assert "30.27123" not in text, "the last one"
        assert "geo:" not in await read("amb-1", viewer)
        assert "geo:" not in await read("amb-2", engineer), "of which nothing was read"

    with_pages(store, scene)


def test_a_device_that_has_not_answered_for_long_is_stale(store: Store, begin_ms: int) -> None:
    read_in(store, begin_ms, (0, RADIO, [-90.0, "ready", 77]), answered_later_ms=-AN_HOUR_MS)
    headers = let_in(store)

    async def scene(client: Client) -> None:
        path = "/api/vehicles/{vehicle}/readings"
        _, found = await answer_of(client, path, where="/api/vehicles/amb-1/readings", headers=headers)
        assert {one["quality"] for one in found["readings"]} == {"stale"}
        _, found = await answer_of(client, path, where="/api/vehicles/amb-2/readings", headers=headers)
        assert (found["heard_at"], found["readings"]) == (None, [])

    with_pages(store, scene)


def test_history_is_means_by_steps_with_gaps_as_gaps(store: Store, begin_ms: int) -> None:
    read_in(
        store,
        begin_ms,
        (0, RADIO, [-90.0, "ready", 77]),
        (10, RADIO, [-95.0, "ready", 77]),
        (70, RADIO, [None, "absent", None]),
        (130, RADIO, [-80.0, "ready", 78]),
        (130, FIX, [31.2, 40.0]),
    )
    engineer, viewer = let_in(store), let_in(store, "viewer", secret=VIEWER)
    span: dict[str, Any] = {"from": iso(begin_ms), "until": iso(begin_ms + 240_000), "step": "60"}

    async def scene(client: Client) -> None:
        async def asked(headers: dict[str, str], status: int = 200, **params: str) -> Any:
            async with client.get("/api/vehicles/amb-1/history", headers=headers, params=params) as answer:
                body = await answer.json()
                conforms("/api/vehicles/{vehicle}/history", "GET", answer.status, answer.content_type, body)
                assert answer.status == status, body
                return body

        found = await asked(engineer, **span)
        assert (found["from"], found["until"], found["step"]) == (span["from"], span["until"], 60)
        series = {one["metric"]: one for one in found["series"]}
        assert series["modem.rsrp_dbm"]["values"] == [-92.5, None, -80.0, None]
        assert series["modem.sim"]["values"] == ["ready", "absent", "ready", None]
        assert series["gnss.latitude"]["values"] == [None, None, 31.2, None]
        assert (series["modem.rsrp_dbm"]["unit"], series["modem.rsrp_dbm"]["labels"]) == ("dBm", {"leg": "nr"})
        shown = {one["metric"] for one in (await asked(viewer, **span))["series"]}
        assert shown == {"modem.rsrp_dbm", "modem.sim", "gnss.speed_kmh"}
        assert [one["metric"] for one in (await asked(engineer, **span, metric="modem.sim"))["series"]] == ["modem.sim"]
        whole = await asked(engineer)
        assert (whole["step"], {len(one["values"]) for one in whole["series"]}) <= (10, {360, 361})
        refused = (
            ({"from": span["until"], "until": span["from"]}, "from"),
            ({"from": iso(begin_ms - 90_000_000)}, "from"),
            ({"until": "9999-12-31T23:59:59Z", "from": "2026-01-01T00:00:00Z"}, "from"),
            ({"until": "0001-01-01T00:00:00Z"}, "from"),
            ({"from": span["from"], "until": iso(begin_ms + 20_000_000), "step": "10"}, "step"),
            ({"from": "2026-05-08T16:00:00"}, "from"),
            ({"from": "yesterday"}, "from"),
            ({"step": "0"}, "step"),
        )
        for params, key in refused:
            assert (await asked(engineer, 400, **params))["key"] == key, params

    with_pages(store, scene)


def test_devices_of_the_fleet_with_model_firmware_and_warranty(
    store: Store, begin_ms: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    read_in(store, begin_ms, (0, RADIO, [-90.0, "ready", 77]))
    device = Device(
        kind="modem", name="5G", modem=ModemInput(port="/dev/ttyUSB2"), warranty_until=datetime.date(2028, 3, 1)
    )
    plan = VehiclePlan(agents={"box": AgentPlan(devices={"modem": device, "spare": device})}, department="急诊科")
    fleet = Fleet(
        sites={"north": Site(vehicles={"amb-1": plan, "amb-2": plan}), "south": Site(vehicles={"amb-9": plan})}
    )
    monkeypatch.setattr("tests.integration.test_sign_in.FLEET", fleet)
    engineer, viewer = let_in(store), let_in(store, "viewer", secret=VIEWER)

    async def scene(client: Client) -> None:
        async def asked(headers: dict[str, str], **params: str) -> Any:
            status, found = await answer_of(client, "/api/devices", headers=headers, params=params)
            assert status == 200
            return found

        names = [
            (one["vehicle"], one["device"], one["kind"], one["warranty_until"])
            for one in (await asked(engineer))["devices"]
        ]
        assert names == [
            (vehicle, id, "modem", "2028-03-01") for vehicle in ("amb-1", "amb-2", "amb-9") for id in ("modem", "spare")
        ]
        (modem,) = (await asked(engineer, model="RM500Q", firmware="R11"))["devices"]
        assert modem["identity"] == {"model": "RM500Q", "firmware": "R11", "imei": "864394040012345"}
        assert modem["seen_at"] == iso(begin_ms)
        assert "8643" not in json.dumps(await asked(viewer))
        seen: list[tuple[str, str]] = []
        after: dict[str, str] = {}
        while True:
            page = await asked(engineer, limit="4", **after)
            seen += [(one["vehicle"], one["device"]) for one in page["devices"]]
            if page["next"] is None:
                break
            after = {"after": page["next"]}
        assert seen == [(vehicle, id) for vehicle, id, *_ in names]
        assert {one["site"] for one in (await asked(engineer, site="south"))["devices"]} == {"south"}
        assert len((await asked(engineer, vehicle="amb-2"))["devices"]) == 2

    with_pages(store, scene)


def iso(ms: int) -> str:
    at = datetime.datetime.fromtimestamp(ms / 1000, datetime.UTC)
    return at.isoformat(timespec="milliseconds").replace("+00:00", "Z")
