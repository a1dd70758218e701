"""The figures of an hour: hand arithmetic, and the same hour whatever the order and the portions."""

from __future__ import annotations

from typing import Any

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from collector.core.figures import HOUR_MS, FigureColumns, Figures, FiguresError, Hour, interval_of
from telemetry.files import parse_yaml
from telemetry.fleet import VehiclePlan
from telemetry.records import Column, Schema
from tests.unit.judging import PLAN

NOON = 1_790_000_000_000 // HOUR_MS * HOUR_MS
CAMERA = FigureColumns(Schema("snmp", "camera-1", (Column("device.reachable"), Column("device.uptime_s"))), 30)
STREAM = FigureColumns(Schema("stream", "camera-1", (Column("stream.up", {"stream": "main"}),)), 60)
LINK = FigureColumns(
    Schema("probe", "uplink", (Column("link.rtt_ms", {"target": "a"}), Column("link.loss_percent"))), 10
)
POWER = FigureColumns(Schema("snmp", "power", (Column("power.ignition"), Column("power.supply_v"))), 10)
PLANS = (CAMERA, STREAM, LINK, POWER)
Taken = tuple[FigureColumns, str, int, int, list[Any]]


def hours_of(*taken: Taken, before: dict[int, Hour] | None = None) -> dict[int, Hour]:
    figures = Figures((before or {}).get)
    for plan, run, sequence, time_ms, values in taken:
        figures.add("box", run, time_ms, [(sequence, plan, values)])
    return {**(before or {}), **figures.hours}


def test_a_camera_that_was_away_for_two_polls() -> None:
    """Every 30 s from 12:00:00 to 12:04:30; away at 12:01:00 and 12:01:30; nothing from 12:03:00 to 12:03:30."""
    answers = [True, True, False, False, True, True, None, True, True, True]
    taken = [(CAMERA, "r", n, NOON + n * 30_000, [answer, 5]) for n, answer in enumerate(answers) if answer is not None]
    camera = hours_of(*taken)[NOON].devices["camera-1"]
    assert (camera.observed_s, camera.bad_s, camera.good_s) == (270, 60, 210)
    assert camera.observed.pairs() == [(0, 179), (210, 299)]
    assert camera.bad.pairs() == [(60, 119)]


def test_one_bad_input_spoils_the_second_for_the_device() -> None:
    hours = hours_of((CAMERA, "r", 0, NOON, [True, 5]), (STREAM, "r", 1, NOON + 10_000, [False]))
    camera = hours[NOON].devices["camera-1"]
    assert (camera.observed.pairs(), camera.bad.pairs()) == ([(0, 69)], [(10, 69)])


def test_a_sample_before_the_hours_end_vouches_into_the_next() -> None:
    hours = hours_of((CAMERA, "r", 0, NOON - 10_000, [False, None]))
    assert hours[NOON - HOUR_MS].devices["camera-1"].bad.pairs() == [(3590, 3599)]
    assert hours[NOON].devices["camera-1"].bad.pairs() == [(0, 19)]
    assert [hours[NOON - HOUR_MS].samples, hours[NOON].samples] == [1, 0]


def test_a_rare_input_vouches_for_five_minutes_at_most() -> None:
    rare = FigureColumns(Schema("http", "nvr", (Column("device.reachable"),)), 3600)
    assert hours_of((rare, "r", 0, NOON, [True]))[NOON].devices["nvr"].observed_s == 300


def test_values_and_parking() -> None:
    hour = hours_of(
        (LINK, "r", 0, NOON, [20.25, 0]),
        (LINK, "r", 1, NOON + 10_000, [39.75, 100]),
        (LINK, "r", 2, NOON + 20_000, [None, 100.0]),
        (POWER, "r", 3, NOON, [False, 12.1]),
        (POWER, "r", 4, NOON + 10_000, [None, 12.3]),
        (POWER, "r", 5, NOON + 20_000, [True, 14.0]),
    )[NOON]
    rtt = hour.values["uplink/link.rtt_ms{target=a}"]
    assert (rtt.number, rtt.mean, rtt.low, rtt.high) == (2, 30.0, 20.25, 39.75)
    assert hour.values["power/power.supply_v"].mean == pytest.approx(12.8)
    assert hour.devices["uplink"].bad.pairs() == [(10, 29)]
    assert hour.parked.pairs() == [(0, 9)]


samples = st.lists(
    st.tuples(
        st.sampled_from(PLANS),
        st.sampled_from(["aa", "bb"]),
        st.integers(0, 2 * HOUR_MS),
        st.sampled_from([True, False, None]),
        st.one_of(st.none(), st.integers(0, 100), st.floats(0, 100)),
    ),
    max_size=30,
)


@given(samples, st.data())
def test_any_order_any_portions_and_repeats_give_the_same_hours(samples: list[Any], data: st.DataObject) -> None:
    taken: list[Taken] = []
    for sequence, (plan, run, offset_ms, truth, number) in enumerate(samples):
        values = [number, number] if plan is LINK else [truth, number]
        taken.append((plan, run, sequence, NOON + offset_ms, values))
    expected = {hour: figures.to_json() for hour, figures in hours_of(*taken).items()}
    order = data.draw(st.permutations([*taken, *data.draw(st.lists(st.sampled_from(taken)) if taken else st.just([]))]))
    cuts = sorted(data.draw(st.lists(st.integers(0, len(order)), max_size=4)))
    stored: dict[int, bytes] = {}
    for first, last in zip([0, *cuts], [*cuts, len(order)], strict=True):
        before = {hour: Hour.from_json(content) for hour, content in stored.items()}
        stored |= {h: f.to_json() for h, f in hours_of(*order[first:last], before=before).items()}
    assert stored == expected


@given(samples)
def test_seconds_are_what_a_count_second_by_second_gives(samples: list[Any]) -> None:
    """Brute force: walk every second of every sample."""
    seen: dict[tuple[int, str], set[int]] = {}
    bad: dict[tuple[int, str], set[int]] = {}
    taken: list[Taken] = []
    for sequence, (plan, run, offset_ms, truth, number) in enumerate(samples):
        values = [number, number] if plan is LINK else [truth, number]
        taken.append((plan, run, sequence, NOON + offset_ms, values))
        device, interval = {
            CAMERA: ("camera-1", 30), STREAM: ("camera-1", 60), LINK: ("uplink", 10), POWER: ("power", 10)
        }[plan]  # fmt: skip
        wrong = number == 100 if plan is LINK else truth is False if plan in (CAMERA, STREAM) else False
        for second in range((NOON + offset_ms) // 1000, (NOON + offset_ms) // 1000 + interval):
            key = (second // 3600 * HOUR_MS, device)
            seen.setdefault(key, set()).add(second % 3600)
            if wrong:
                bad.setdefault(key, set()).add(second % 3600)
    found = {(hour, name): one for hour, figures in hours_of(*taken).items() for name, one in figures.devices.items()}
    assert {key: set(one.observed) for key, one in found.items()} == seen
    assert {key: set(one.bad) for key, one in found.items() if one.bad} == bad
    assert all(one.good_s == len(seen[key] - bad.get(key, set())) for key, one in found.items())


def test_intervals_come_from_the_fleet_file() -> None:
    text = PLAN.replace("host, system: {}", "host, system: {interval: 45}")
    plan = msgspec.convert(parse_yaml(text, "plan"), VehiclePlan)
    assert interval_of(plan, "tablet", Schema("system", "host", ())) == 45
    assert interval_of(plan, "box", Schema("snmp", "router", ())) == 10
    assert interval_of(plan, "box", Schema("agent", "agent", ())) == 30
    assert interval_of(plan, "nobody", Schema("snmp", "router", ())) == 10


def test_figures_of_a_later_version_are_refused() -> None:
    with pytest.raises(FiguresError, match="format 1, found 2"):
        Hour.from_json(Hour().to_json().replace(b'"format":1', b'"format":2'))
    with pytest.raises(FiguresError):
        Hour.from_json(b"{}")
