"""What time alone costs for a vehicle of which nothing is wrong, against looking at it once a second.

One vehicle with the standard kit for two hours, in memory: each moment's samples come together, and it is looked at
whenever it wants to be. Seconds of CPU for that, put on a day.
"""

from __future__ import annotations

import time

import msgspec

from bench.fleet_traffic import KINDS
from bench.row import Row, row
from bench.standard_kit import PARTS, START_MS, samples
from collector.core.rules.files import load_rules
from collector.core.rules.schemas import compile_schema
from collector.core.survey import SiteState, survey
from collector.core.vehicle.events import Listening, Observed, RecordName
from collector.core.vehicle.state import Vehicle
from collector.core.vehicle.step import Context, look, needs_look, step_all
from collector.core.vehicle.wake import Wake
from collector.site.wakes import Wakes
from telemetry.fleet import VehiclePlan

MOMENTS = 720
RUNS = 5
T0 = 1_790_000_000_000
_DAY_S = 86_400
_INPUTS: dict[str, dict[str, object]] = {
    "snmp": {"address": "127.0.0.1", "community_file": "x"},
    "modem": {"port": "x"},
    "gnss": {"port": "x"},
    "http": {"url": "http://127.0.0.1"},
    "probe": {"targets": {"a": {"kind": "icmp", "address": "127.0.0.1"}}},
    "stream": {"url": "rtsp://127.0.0.1"},
    "system": {},
}


def rows() -> list[Row]:
    """Return seconds of CPU a vehicle and day."""
    devices: dict[str, dict[str, object]] = {}
    for part in PARTS:
        if part.device != "agent":
            device = devices.setdefault(part.device, {"kind": KINDS.get(part.device, "host")})
            device[part.input] = {"interval": 10.0 * part.every, **_INPUTS[part.input]}
    plan = msgspec.convert({"agents": {"box": {"devices": devices}}}, VehiclePlan)
    rules = load_rules()
    plans = {
        part.schema_id: compile_schema(
            part.schema, rules, KINDS.get(part.device, ""), site="north", vehicle="amb-1", agent="box", fleet=plan
        )
        for part in PARTS
    }
    moments = []
    sequence = 0
    for moment in samples(1, MOMENTS):
        events = []
        for sample in moment:
            sequence += 1
            schema = plans[sample.part.schema_id]
            time_ms = T0 + sample.mono_ms - START_MS
            values = schema.check(sample.values)
            events.append(Observed(RecordName("box", "00000000000000aa", sequence), "live", time_ms, schema, values))
        moments.append((events[0].time_ms, events))
    ours, ticked, looks = [], [], 0
    for _ in range(RUNS):
        when_due, looks = _two_hours(moments, Context(plan, Listening(T0)), every_second=False)
        each_second, _count = _two_hours(moments, Context(plan, Listening(T0)), every_second=True)
        ours.append(when_due)
        ticked.append(each_second)
    note = f"{looks} looks in two hours"
    return [
        row(
            "time alone, CPU s a quiet vehicle-day",
            ours,
            "looked at every second",
            ticked,
            target="ratio <= 0.05",
            note=note,
        )
    ]


def _two_hours(moments: list[tuple[int, list[Observed]]], context: Context, *, every_second: bool) -> tuple[float, int]:
    """Return CPU seconds a day of looking, surveys included, and how often the vehicle was looked at."""
    rules = load_rules()
    vehicle, state = Vehicle.new("north", "amb-1", context.plan), SiteState.new("north")
    wakes = Wakes(["amb-1"])
    spent, looks, now_ms = 0.0, 0, T0
    for time_ms, events in moments:
        while now_ms < time_ms:
            begun = time.process_time()
            put_off = {name: wake.put_off(vehicle) for name, wake in wakes.due(now_ms)}
            wakes.update(put_off)
            if every_second or any(wake.at_ms <= now_ms for wake in put_off.values()):
                state, verdict, _ = survey(state, [(vehicle, context.plan)], context.listening, now_ms, rules)
                there = Context(context.plan, context.listening, verdict)
                vehicle, effects, wake = look(vehicle, there, rules, now_ms)
                assert not effects, f"a healthy vehicle has no problem: {effects}"
                wakes.update({"amb-1": wake})
                looks += 1
            spent += time.process_time() - begun
            now_ms += 1_000
        before = vehicle
        vehicle, _ = step_all(vehicle, events, context, rules, time_ms)
        if needs_look(before, vehicle):
            wakes.update({"amb-1": Wake(time_ms)})
    return spent * _DAY_S / ((now_ms - T0) / 1000), looks
