"""What judging costs where nothing is wrong, against what nobody could do without: checking each value.

One vehicle with the standard kit for an hour: each moment's samples come in one message, as agents send them, and the
vehicle's state is written as JSON after each of them, as a commit does. Figures are µs of CPU, each run anew.
"""

from __future__ import annotations

import gc
import time
import tracemalloc
from collections.abc import Sequence
from typing import Final

import msgspec

from bench.row import Row, row
from bench.standard_kit import PARTS, START_MS, KitSample, samples
from collector.core.rules.files import load_rules
from collector.core.rules.schemas import CompiledSchema, compile_schema
from collector.core.rules.types import Rules
from collector.core.vehicle.events import Listening, Observed, RecordName
from collector.core.vehicle.state import Vehicle
from collector.core.vehicle.step import Context, step_all
from telemetry.fleet import VehiclePlan
from telemetry.metrics import Value
from telemetry.records import Schema

KINDS: Final = {
    **dict.fromkeys(("gateway", "tablet"), "host"),
    **dict.fromkeys(("camera-1", "camera-2"), "camera"),
    **{kind: kind for kind in ("router", "modem", "gnss", "link", "power", "encoder", "ups")},
}
MOMENTS = 360
RUNS = 7
VEHICLES = 40
MINUTES = 30
T0 = 1_790_000_000_000
_RUN = "00000000000000aa"


def rows() -> list[Row]:
    """Return what a healthy sample costs to judge, and what the vehicle's state costs to write."""
    devices = {name: {"kind": kind, "system": {}} for name, kind in KINDS.items()}
    plan = msgspec.convert({"agents": {"box": {"devices": devices}}}, VehiclePlan)
    rules = load_rules()
    compiled = {
        part.schema_id: compile_schema(
            part.schema, rules, KINDS.get(part.device, ""), site="north", vehicle="amb-1", agent="box", fleet=plan
        )
        for part in PARTS
    }
    moments = [
        [(compiled[sample.part.schema_id], sample.values, T0 + sample.mono_ms - START_MS) for sample in moment]
        for moment in samples(1, MOMENTS)
    ]
    count = sum(map(len, moments))
    judged, checked, written, bare = [], [], [], []
    for _ in range(RUNS):
        begun = time.process_time()
        for moment in moments:
            for schema, values, _ in moment:
                schema.check(values)
        checked.append(1e6 * (time.process_time() - begun) / count)
        judge_us, write_us, bare_us = _hour(moments, Context(plan, Listening(T0 - 3_600_000)), rules, count)
        judged.append(judge_us)
        written.append(write_us)
        bare.append(bare_us)
    held, plain = _memory(plan, rules)
    return [
        row("memory a vehicle of equal ones, KiB", held, "its state as JSON, KiB", plain, target="ours <= 40"),
        row("judging a healthy sample, µs", judged, "checking its values, µs", checked, target="ours <= 5.5"),
        row("a vehicle's state as JSON, µs", written, "the same as plain text keys, µs", bare, target="ratio <= 2"),
    ]


def _memory(plan: VehiclePlan, rules: Rules) -> tuple[float, float]:
    """Return KiB that each of many vehicles of one make holds, compiled schemas and all, and its state's JSON."""
    context = Context(plan, Listening(T0 - 3_600_000))
    moments = list(samples(1, MINUTES * 6))
    tracemalloc.start()
    try:
        fleet = [_lived(f"amb-{number}", moments, context, rules) for number in range(VEHICLES + 1)]
        del fleet[1:]  # the first one's schemas are everybody's
        gc.collect()
        before = tracemalloc.get_traced_memory()[0]
        fleet += [_lived(f"amb-{number}", moments, context, rules) for number in range(1, VEHICLES + 1)]
        gc.collect()
        held = tracemalloc.get_traced_memory()[0] - before
    finally:
        tracemalloc.stop()
    return held / VEHICLES / 1024, len(fleet[-1][0].to_json()) / 1024


def _lived(
    name: str, moments: Sequence[Sequence[KitSample]], context: Context, rules: Rules
) -> tuple[Vehicle, list[CompiledSchema]]:
    """Return a vehicle that has been judged for a while, with the schemas that its agent has told of."""
    compiled = {
        part.schema_id: compile_schema(
            msgspec.json.decode(msgspec.json.encode(part.schema), type=Schema),
            rules, KINDS.get(part.device, ""), site="north", vehicle=name, agent="box", fleet=context.plan,
        )
        for part in PARTS
    }  # fmt: skip
    vehicle = Vehicle.new("north", name, context.plan)
    for number, moment in enumerate(moments):
        now_ms = T0 + moment[0].mono_ms - START_MS
        events = [
            Observed(
                RecordName("box", _RUN, number), "live", now_ms, compiled[sample.part.schema_id],
                compiled[sample.part.schema_id].check(list(sample.values)),
            )
            for sample in moment
        ]  # fmt: skip
        vehicle, _ = step_all(vehicle, events, context, rules, now_ms)
    return Vehicle.from_json(vehicle.to_json()), list(compiled.values())


def _hour(
    moments: Sequence[Sequence[tuple[CompiledSchema, Sequence[Value | None], int]]],
    context: Context,
    rules: Rules,
    count: int,
) -> tuple[float, float, float]:
    """Judge it all; return µs a sample, µs a state that was written, and what writing it plainly costs."""
    vehicle = Vehicle.new("north", "amb-1", context.plan)
    judging = writing = plainly = 0.0
    sequence = 0
    for moment in moments:
        events = []
        for schema, values, time_ms in moment:
            sequence += 1
            checked = schema.check(values)
            events.append(Observed(RecordName("box", _RUN, sequence), "live", time_ms, schema, checked))
        begun = time.process_time()
        vehicle, effects = step_all(vehicle, events, context, rules, moment[0][2])
        judging += time.process_time() - begun
        assert not effects, "a healthy vehicle has no problem"
        begun = time.process_time()
        content = vehicle.to_json()
        writing += time.process_time() - begun
        plain = msgspec.json.decode(content)
        begun = time.process_time()
        msgspec.json.encode(plain)
        plainly += time.process_time() - begun
    return 1e6 * judging / count, 1e6 * writing / len(moments), 1e6 * plainly / len(moments)
