"""Unit tests for rules (``kitwatch rules test``): series in a file, and the problems that are to be there at times.

As promtool's (Prometheus, Unit testing for rules), with the product's own ``step``: one vehicle that has the devices
of the test's series and no others, in virtual time; what is random in a series comes from its test's name.
"""

from __future__ import annotations

import random
import re
from collections.abc import Iterator, Sequence
from typing import Any, Final

import msgspec

from collector.core.problems import ProblemChange
from collector.core.rules.schemas import AGENT_DEVICE, CompiledSchema, compile_schema
from collector.core.rules.types import Rules
from collector.core.vehicle.draft import Effect
from collector.core.vehicle.events import Event, Happened, Listening, Observed, RecordName, TimePassed
from collector.core.vehicle.state import Vehicle
from collector.core.vehicle.step import Context, step
from telemetry.durations import Span, milliseconds
from telemetry.files import FileError, convert
from telemetry.fleet import DeviceKind, VehiclePlan
from telemetry.metrics import METRICS, Value, nearest
from telemetry.records import Column, EventKind, Schema

START_MS: Final = 1_772_409_600_000
"""2 March 2026 00:00 UTC, when every test begins."""
_SEGMENT: Final = re.compile(
    r"(?P<value>[^\s~+]+?)(?:~(?P<noise>[\d.]+))?(?:(?P<step>[+-][\d.]+))?(?:\s*x\s*(?P<count>\d+))?"
)
_COLUMN: Final = re.compile(r"(?P<metric>[a-z0-9_.]+)(?:\{(?P<labels>[^}]*)\})?")
_ENDLESS: Final = 10**9
_RUN: Final = "00000000000000aa"


class SeriesShape(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """What one device tells."""

    device: str
    """Its name."""
    kind: DeviceKind
    """What it is."""
    agent: str = "box"
    """Who reads it."""
    interval: Span | None = None
    """How often it is read; the test's if it is not given."""
    depends_on: tuple[str, ...] = ()
    """As in the fleet file."""
    data_plan: dict[str, Any] | None = None
    """As in the fleet file."""
    values: dict[str, str | list[str] | float | bool]
    """By `metric` or `metric{label=value}`, segments one after the other: `VALUE`, `VALUE~NOISE` (evenly spread, from a
    seed), `VALUE+STEP` (or `-STEP`, more with each sample), each with `x COUNT` behind it where it is not once; `_`: it
    is not known. The last segment without a count goes on to the end. Several in one text are separated by commas."""
    silent: list[Span] = []
    """From when to when nothing comes of it: pairs."""


class EventShape(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Something that an agent tells."""

    at: Span
    """When."""
    device: str
    """Of which device."""
    agent: str = "box"
    """Who tells it."""
    kind: EventKind
    """The wire's event."""
    body: dict[str, Any]
    """What it says."""


class ExpectShape(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """What is to be active at a time."""

    at: Span
    """When."""
    problems: tuple[str, ...]
    """Keys of problems, `FAULT/DEVICE`, in any order; no others may be there."""


class TestShape(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """One test: a vehicle, what it tells, what is expected."""

    __test__ = False
    name: str
    """What it shows."""
    rules: tuple[str, ...] = ()
    """Of which rules it is a test."""
    form: str = "strong"
    """`strong`, `weak` or `quiet` (nothing may begin)."""
    lasts: Span
    """How long."""
    interval: Span = "10s"
    """How often devices are read."""
    other_routers: tuple[str, ...] = ()
    """Hardware addresses of other vehicles' routers."""
    series: tuple[SeriesShape, ...]
    """What devices tell."""
    events: tuple[EventShape, ...] = ()
    """What happens beside."""
    expect: tuple[ExpectShape, ...] = ()
    """What is active when."""
    begins: dict[str, Span] | None = None
    """Every problem that ever begins, and its event time (to two intervals). A quiet test has none."""


class TestsShape(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """A file of tests."""

    __test__ = False
    tests: tuple[TestShape, ...]
    """One after the other, each for itself."""


class Failure(msgspec.Struct, frozen=True):
    """What a test expected and found."""

    test: str
    text: str


def read_tests(data: Any, path: str) -> tuple[TestShape, ...]:
    """Return the tests of a file's plain data. Raises FileError."""
    tests = convert(data, TestsShape, path).tests
    for number, test in enumerate(tests):
        if test.form not in ("strong", "weak", "quiet"):
            raise FileError(path, f"tests.{number}.form", f"expected strong, weak or quiet, found {test.form!r}")
    return tests


def failures(test: TestShape, rules: Rules) -> list[Failure]:
    """Play a test and return what was not as expected. Raises FileError for a series that cannot be read."""
    effects: list[Effect] = []
    found: list[Failure] = []
    step_ms = milliseconds(test.interval)
    checks = sorted(test.expect, key=lambda one: milliseconds(one.at))
    active: list[str] = []
    for at_ms, vehicle, new in _played(test, rules):
        while checks and milliseconds(checks[0].at) < at_ms:
            found += _compared(test, checks.pop(0), active)
        effects += new
        active = sorted(key.text() for key in vehicle.problems)
    for check in checks:
        found += _compared(test, check, active)
    begins = {} if test.form == "quiet" else test.begins
    if begins is not None:
        first: dict[str, int] = {}
        for effect in effects:
            if isinstance(effect, ProblemChange) and effect.news in ("began", "again"):
                first.setdefault(effect.problem.key.text(), effect.problem.event_ms - START_MS)
        for key in sorted(first.keys() | begins.keys()):
            expected = None if key not in begins else milliseconds(begins[key])
            begun = first.get(key)
            if expected is None or begun is None or abs(expected - begun) > 2 * step_ms:
                found.append(Failure(test.name, f"{key}: expected to begin {_time(expected)}, found {_time(begun)}"))
    return found


def _compared(test: TestShape, check: ExpectShape, active: Sequence[str]) -> list[Failure]:
    expected = sorted(check.problems)
    if expected == list(active):
        return []
    words = [", ".join(one) or "nothing" for one in (expected, active)]
    return [Failure(test.name, f"at {check.at}: expected {words[0]}, found {words[1]}")]


def _time(ms: int | None) -> str:
    return "never" if ms is None else f"at {ms / 1000:g} s"


def _played(test: TestShape, rules: Rules) -> Iterator[tuple[int, Vehicle, list[Effect]]]:
    """Yield after each event: its time in ms since the test's beginning, the vehicle, what came of it."""
    agents: dict[str, dict[str, Any]] = {}
    for one in test.series:
        device = {"kind": one.kind, "system": {}, "depends_on": list(one.depends_on), "data_plan": one.data_plan}
        agents.setdefault(one.agent, {"devices": {}})["devices"][one.device] = device
    plan = convert({"agents": agents}, VehiclePlan, test.name)
    vehicle = Vehicle.new("site", "vehicle", plan)
    context = Context(plan, Listening(START_MS - 3_600_000))
    for at_ms, event in _events(test, rules, plan):
        vehicle, effects = step(vehicle, event, context, rules, START_MS + at_ms)
        yield at_ms, vehicle, effects


def _events(test: TestShape, rules: Rules, plan: VehiclePlan) -> list[tuple[int, Event]]:
    """Return all events in their order."""
    found: list[tuple[int, int, Event]] = []
    lasts_ms, step_ms = milliseconds(test.lasts), milliseconds(test.interval)
    for number, one in enumerate(test.series):
        compiled = _compiled(test, one, rules, plan)
        every_ms = step_ms if one.interval is None else milliseconds(one.interval)
        columns = [_values(test, one, name) for name in one.values]
        silent = [milliseconds(time) for time in one.silent]
        for at_ms in range(0, lasts_ms, every_ms):
            values = [next(column) for column in columns]
            if not any(begin <= at_ms < end for begin, end in zip(silent[::2], silent[1::2], strict=True)):
                name = RecordName(one.agent, _RUN, at_ms // every_ms * len(test.series) + number)
                found.append((at_ms, 0, Observed(name, "live", START_MS + at_ms, compiled, compiled.check(values))))
    for event in test.events:
        at_ms = milliseconds(event.at)
        name = RecordName(event.agent, _RUN, 10**9 + at_ms)
        happened = Happened(name, "live", START_MS + at_ms, event.kind, event.device, event.body)
        found.append((at_ms, 1, happened))
    found += [(at_ms, 2, TimePassed()) for at_ms in range(0, lasts_ms, max(step_ms, 30_000))]
    return [(at_ms, event) for at_ms, _, event in sorted(found, key=lambda one: one[:2])]


def _compiled(test: TestShape, one: SeriesShape, rules: Rules, plan: VehiclePlan) -> CompiledSchema:
    columns = tuple(_column(test, name) for name in one.values)
    return compile_schema(
        Schema("agent" if one.device == AGENT_DEVICE else "system", one.device, columns),
        rules,
        one.kind,
        site="site",
        vehicle="vehicle",
        agent=one.agent,
        fleet=plan,
        other_routers=frozenset(test.other_routers),
    )


def _column(test: TestShape, name: str) -> Column:
    found = _COLUMN.fullmatch(name)
    if found is None or found["metric"] not in METRICS:
        hint = "" if found is None else nearest(found["metric"], METRICS)
        raise FileError(test.name, "series.values", f"expected a metric of the catalogue, found {name!r}{hint}")
    labels = found["labels"]
    pairs = dict(part.split("=", 1) for part in labels.split(",")) if labels else {}
    return Column(found["metric"], pairs)


def _values(test: TestShape, one: SeriesShape, name: str) -> Iterator[Value | None]:
    """Yield a column's values without end: the last segment goes on."""
    given = one.values[name]
    segments = given if isinstance(given, list) else str(given).split(",")
    chance = random.Random(f"{test.name}/{one.device}/{name}")
    last: Value | None = None
    kind = METRICS[_column(test, name).metric].kind
    for place, text in enumerate(segments, 1):
        found = _SEGMENT.fullmatch(str(text).strip())
        if found is None:
            raise FileError(test.name, f"series.values.{name}", f"expected VALUE~NOISE+STEP x COUNT, found {text!r}")
        for number in range(int(found["count"] or 1) if place < len(segments) or found["count"] else _ENDLESS):
            last = _value(kind, found, number, chance)
            yield last
    while True:
        yield last


def _value(kind: str, found: re.Match[str], number: int, chance: random.Random) -> Value | None:
    word = found["value"]
    if word == "_":
        return None
    if kind == "bool":
        return str(word).lower() == "true"
    if kind not in ("float", "int"):
        return str(word)
    noise = float(found["noise"] or 0)
    value = float(word) + number * float(found["step"] or 0) + (chance.uniform(-noise, noise) if noise else 0.0)
    return round(value) if kind == "int" else value
