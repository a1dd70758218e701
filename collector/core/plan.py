"""What every sample of a schema needs, worked out once: types, ranges, and the rules that look at each value."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Final, NamedTuple

from collector.core.conditions import Subject
from collector.core.rule_types import BAD, CLEAR, NULL, Judge, Rules, SampledRule, Term
from collector.core.vehicle import EvidenceSample
from telemetry.fleet import VehiclePlan
from telemetry.metrics import MAX_TEXT, METRICS, Metric, Value
from telemetry.records import Column, Schema

AGENT_DEVICE: Final = "agent"
"""The device under which an agent tells its own figures; tickets name the agent instead."""
_TYPES: Final[Mapping[str, type]] = {"float": float, "int": int, "bool": bool, "text": str, "state": str}


class _Check(NamedTuple):
    """The quick way to see that a value is right; whatever does not pass goes to ``Metric.check``."""

    number: int
    type: type
    low: float
    high: float
    states: frozenset[str] | None
    metric: Metric


@dataclass(frozen=True, slots=True)
class _Part:
    """One term on one column; ``index`` is ``None`` where the schema has no such column."""

    index: int | None
    judge: Judge

    def verdict(self, values: Sequence[Value | None]) -> int:
        return self.judge(None if self.index is None else values[self.index])


@dataclass(frozen=True, slots=True)
class _Group:
    """A rule's terms on one label set."""

    primary: int
    judge: Judge
    also: tuple[_Part, ...]
    either: tuple[_Part, ...]
    where: tuple[_Part, ...]

    def verdict(self, values: Sequence[Value | None]) -> int:
        """All of them is the least of the verdicts, any of them the greatest."""
        result = self.judge(values[self.primary])
        for part in self.where:
            if part.verdict(values) != BAD:
                return NULL
        if result == CLEAR:
            return CLEAR
        for part in self.also:
            result = min(result, part.verdict(values))
        if self.either:
            result = min(result, max(part.verdict(values) for part in self.either))
        return result


@dataclass(frozen=True, slots=True)
class Watch:
    """One rule on one thing of a schema. ``key`` names its condition, ``subject.ticket`` its ticket."""

    key: str
    rule: SampledRule
    subject: Subject
    groups: tuple[_Group, ...]
    columns: tuple[int, ...]

    def verdict(self, values: Sequence[Value | None]) -> int:
        """Return CLEAR, BAND, NULL or BAD. Of several label sets those that are known count, all of them."""
        if len(self.groups) == 1:
            return self.groups[0].verdict(values)
        known = [found for group in self.groups if (found := group.verdict(values)) != NULL]
        return min(known) if known else NULL


@dataclass(frozen=True, slots=True)
class SchemaPlan:
    """A compiled schema.

    ``columns`` are the catalogue's entries, ``None`` for a metric that the catalogue does not know; ``unknown`` are
    those, as (name, index). ``source`` names agent, device and input, ``interval_ms`` is how often it is read, 0 if the
    fleet file does not say. ``reachable`` is the index of ``device.reachable``, ``facts`` those of what is known of the
    vehicle as a whole.
    """

    schema: Schema
    agent: str
    device: str
    kind: str
    source: str
    interval_ms: int
    columns: tuple[Metric | None, ...]
    unknown: tuple[tuple[str, int], ...]
    watches: tuple[Watch, ...]
    checks: tuple[_Check, ...]
    reachable: int | None
    facts: tuple[tuple[str, int], ...]

    def check(self, values: Sequence[Value | None]) -> Sequence[Value | None]:
        """Return a sample's values in the catalogue's types; values of unknown metrics are set aside as ``None``.

        Raises ValueError for a wrong number of values and for a value that its metric cannot have.
        """
        if len(values) != len(self.columns):
            raise ValueError(f"expected {len(self.columns)} values, found {len(values)}")
        result: list[Value | None] | None = None
        for index, kind, low, high, states, metric in self.checks:
            value = values[index]
            if value is None:
                continue
            if type(value) is kind:
                if states is not None:
                    if value in states:
                        continue
                elif kind is str:
                    if len(value) <= MAX_TEXT:  # type: ignore[arg-type]
                        continue
                elif low <= value <= high and math.isfinite(value):  # type: ignore[operator, arg-type]
                    continue
            right = metric.check(value)
            if result is None:
                result = list(values)
            result[index] = right
        for _, index in self.unknown:
            if values[index] is not None:
                if result is None:
                    result = list(values)
                result[index] = None
        return values if result is None else result

    def said_something(self, values: Sequence[Value | None]) -> bool:
        """Say whether a sample is a word of the device: anything known beside that it did not answer."""
        unknown = values.count(None)
        if self.reachable is not None and values[self.reachable] is False:
            unknown += 1
        return unknown < len(values)

    def evidence(
        self, watch: Watch, agent: str, run: str, sequence: int, time_ms: int, values: Sequence[Value | None]
    ) -> tuple[EvidenceSample, ...]:
        """Return the values that a watch looked at, as a ticket keeps them."""
        found = []
        for index in watch.columns:
            value = values[index]
            column = self.schema.columns[index]
            if value is not None:
                found.append(
                    EvidenceSample(agent, run, sequence, time_ms, self.device, column.metric, column.labels, value)
                )
        return tuple(found)


def compile_schema(
    schema: Schema,
    rules: Rules,
    device_kind: str,
    *,
    site: str,
    vehicle: str,
    agent: str,
    model: str = "",
    fleet: VehiclePlan | None = None,
) -> SchemaPlan:
    """Return the plan of a schema of one agent.

    ``device_kind`` is the fleet file's (empty for a device that it does not know), ``model`` the inventory's. ``fleet``
    is the vehicle's plan: a measuring point (kind ``link``) then names the device that the fault is of.
    """
    columns = tuple(METRICS.get(column.metric) for column in schema.columns)
    device = agent if schema.device == AGENT_DEVICE and schema.input == AGENT_DEVICE else schema.device
    source = f"{agent}/{schema.device}/{schema.input}"
    index = {column.key(): number for number, column in enumerate(schema.columns)}
    watches: list[Watch] = []
    for rule in rules.effective(site, vehicle, schema.device, device_kind, model):
        if isinstance(rule, SampledRule):
            named = _named(device, device_kind, rule, fleet)
            watches += _watches(rule, schema, source, named, index)
    return SchemaPlan(
        schema=schema,
        agent=agent,
        device=schema.device,
        kind=device_kind,
        source=source,
        interval_ms=_interval_ms(schema, agent, fleet),
        columns=columns,
        unknown=tuple(
            (column.metric, number) for number, column in enumerate(schema.columns) if columns[number] is None
        ),
        watches=tuple(watches),
        checks=tuple(_check(number, metric) for number, metric in enumerate(columns) if metric is not None),
        reachable=index.get(("device.reachable", ())),
        facts=tuple(
            (name, number)
            for name in ("ignition", "shore_power")
            if (number := index.get((f"power.{name}", ()))) is not None
        ),
    )


def _interval_ms(schema: Schema, agent: str, fleet: VehiclePlan | None) -> int:
    plan = fleet.agents.get(agent) if fleet is not None else None
    device = plan.devices.get(schema.device) if plan is not None else None
    configured = dict(device.configured()) if device is not None else {}
    return round(1000 * configured[schema.input].interval) if schema.input in configured else 0


def _check(number: int, metric: Metric) -> _Check:
    states = frozenset(metric.states) if metric.kind == "state" else None
    return _Check(number, _TYPES[metric.kind], metric.low, metric.high, states, metric)


def _named(device: str, kind: str, rule: SampledRule, fleet: VehiclePlan | None) -> str:
    """Return the device that a ticket names: for a measuring point the root that it depends on, or the only one."""
    roots = rule.fault.roots
    if kind != "link" or fleet is None or kind in roots or "any" in roots:
        return device
    kinds = {id: plan.kind for _, id, plan in fleet.devices()}
    for id in depends_on(device, fleet):
        if kinds.get(id) in roots:
            return id
    of_kind = [id for id in kinds if kinds[id] in roots]
    return of_kind[0] if len(of_kind) == 1 else device


def depends_on(device: str, fleet: VehiclePlan) -> list[str]:
    """Return all devices that one cannot work without, the nearest first."""
    plans = {id: plan for _, id, plan in fleet.devices()}
    found: list[str] = []
    row = list(plans[device].depends_on) if device in plans else []
    while row:
        id = row.pop(0)
        if id not in found and id != device:
            found.append(id)
            row += plans[id].depends_on if id in plans else ()
    return found


def ticket_key(fault: str, device: str, labels: Mapping[str, str] | None = None) -> str:
    """Return what at most one open ticket of a vehicle may have: fault, device and the labels of what broke."""
    text = ",".join(f"{name}={value}" for name, value in sorted((labels or {}).items()))
    return f"{fault}/{device}/{text}" if text else f"{fault}/{device}"


def device_of(key: str) -> str:
    """Return the device that a ticket's key names."""
    return key.split("/", 2)[1]


def _watches(
    rule: SampledRule,
    schema: Schema,
    source: str,
    named: str,
    index: Mapping[tuple[str, tuple[tuple[str, str], ...]], int],
) -> list[Watch]:
    groups: list[tuple[Column, _Group]] = []
    for number, column in enumerate(schema.columns):
        if column.metric == rule.term.metric.name:
            parts = [
                tuple(_Part(_beside(column, term, index), term.judge()) for term in terms)
                for terms in (rule.also, rule.either, rule.where)
            ]
            groups.append((column, _Group(number, rule.term.judge(), *parts)))
    if not groups:
        return []
    sets = [groups] if rule.together else [[group] for group in groups]
    watches = []
    for members in sets:
        labels = {name: members[0][0].labels[name] for name in rule.apart if name in members[0][0].labels}
        text = "" if rule.together else ",".join(f"{name}={value}" for name, value in members[0][0].key()[1])
        watches.append(
            Watch(
                key=f"{rule.id}|{source}|{text}",
                rule=rule,
                subject=Subject(source, schema.device, ticket_key(rule.fault.id, named, labels)),
                groups=tuple(group for _, group in members),
                columns=_columns([group for _, group in members]),
            )
        )
    return watches


def _columns(groups: Sequence[_Group]) -> tuple[int, ...]:
    found = [group.primary for group in groups]
    found += [
        part.index for group in groups for part in (*group.also, *group.either, *group.where) if part.index is not None
    ]
    return tuple(dict.fromkeys(found))


def _beside(column: Column, term: Term, index: Mapping[tuple[str, tuple[tuple[str, str], ...]], int]) -> int | None:
    """Return the column of another metric that is about the same thing: equal in the labels that both have."""
    labels = {name: value for name, value in column.labels.items() if name in term.metric.labels}
    return index.get((term.metric.name, tuple(sorted(labels.items()))))
