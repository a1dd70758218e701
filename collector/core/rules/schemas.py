"""What every sample of a schema needs, worked out once: types, ranges, and the rules that look at each value."""

from __future__ import annotations

import dataclasses
import functools
import math
import sys
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Annotated, Any, Final, Literal

import msgspec

from collector.core.diagnosis import Graph, graph_of
from collector.core.identities import ConditionKey, OperandKey, ProblemKey, SourceKey
from collector.core.rules.condition import EvidenceSample, Subject
from collector.core.rules.expressions import Indicator, compiled, guards, leaves
from collector.core.rules.sampled import SampledRule
from collector.core.rules.types import Rules
from collector.core.rules.verdicts import BAD, BAND, CLEAR, UNKNOWN, Judge
from telemetry.fleet import VehiclePlan
from telemetry.metrics import MAX_TEXT, METRICS, Metric, Value
from telemetry.records import Column, Schema

AGENT_DEVICE: Final = "agent"
"""The device under which an agent tells its own figures; problems name the agent instead."""
_SHAPES: Final = 1024
"""Types of samples that are kept for the next schema with the same metrics; a fleet has some dozens."""
_PROOFS: Final = frozenset({"stream.up", "link.loss_percent", "link.rtt_ms"})
"""What shows that a device, and all that stand before it, do their work."""
_SAME_THING: Final = frozenset({"leg", "sensor"})
"""Labels that name a way of measuring one thing: they tell no problems apart unless a rule says so."""
_LARGE: Final = 2**63 - 1
"""Most that a constraint of a type can be."""


@dataclass(frozen=True, slots=True)
class Operand:
    """What an indicator says at a sample where that is no plain value: it stands behind the sample's values."""

    rule: str
    version: int
    indicator: Indicator
    key: OperandKey | None
    """Its own window or last word; ``None``: other sources of the vehicle tell it."""
    sample: Callable[[Sequence[Any]], Any]
    """What it takes of a sample: a value, 1 or 0 for bad or not, or a verdict where nothing is reduced."""
    told: bool = False
    """Others look at it: its last word is remembered."""


@dataclass(frozen=True, slots=True)
class Watch:
    """One rule on one thing of a schema."""

    key: ConditionKey
    rule: SampledRule
    subject: Subject
    verdict: Judge
    """From a sample's values to CLEAR, BAND, NULL or BAD."""
    columns: tuple[int, ...]
    """The values that it looks at."""
    guards: tuple[tuple[int, Indicator | None], ...] | None
    """Indices with their indicator (``None``: a verdict stands there): none of them bad, the verdict is not BAD.
    ``None``: nothing can be said without asking."""
    plain: bool
    """A sample's values are all that it needs, whenever it was."""


@dataclass(frozen=True, slots=True)
class SchemaPlan:
    """A compiled schema."""

    schema: Schema
    agent: str
    device: str
    kind: str
    """The device's kind in the fleet file, empty for one that does not stand there."""
    source: SourceKey
    interval_ms: int
    """How often it is read, 0 if the fleet file does not say."""
    columns: tuple[Metric | None, ...]
    """The catalogue's entries, ``None`` for a metric that the catalogue does not know."""
    unknown: tuple[tuple[str, int], ...]
    """Those that it does not know, as (name, index)."""
    watches: tuple[Watch, ...]
    operands: tuple[Operand, ...]
    """What stands behind a sample's values when the watches look at it, in this order."""
    shape: type[msgspec.Struct]
    """The columns as a type."""
    nothing_bad: Callable[[Sequence[Any]], bool]
    """Says of a sample's values that no watch finds them BAD, without asking each of them."""
    reachable: int | None
    """Index of ``device.reachable``."""
    facts: tuple[tuple[str, int], ...]
    """What tells of the vehicle as a whole, as (name, index)."""
    proves: tuple[tuple[str, int], ...]
    """The columns that show whether work is done, as (metric, index)."""
    proven: tuple[str, ...]
    """The devices that then do it."""

    def check(self, values: Sequence[Value | None]) -> Sequence[Value | None]:
        """Return a sample's values in the catalogue's types; values of unknown metrics are set aside as ``None``.

        Raises ValueError for a wrong number of values and for a value that its metric cannot have.
        """
        try:
            right: Sequence[Value | None] = msgspec.structs.astuple(msgspec.convert(values, self.shape))
        except msgspec.ValidationError:
            return self._check_each(values)
        if self.unknown:
            aside = {index for _, index in self.unknown}
            right = [None if index in aside else value for index, value in enumerate(right)]
        return right

    def _check_each(self, values: Sequence[Value | None]) -> Sequence[Value | None]:
        """Do as ``check`` does, by the catalogue's own word: it knows what else is right, and what is wrong."""
        if len(values) != len(self.columns):
            raise ValueError(f"expected {len(self.columns)} values, found {len(values)}")
        return [
            None if value is None or metric is None else metric.check(value)
            for metric, value in zip(self.columns, values, strict=True)
        ]

    def said_something(self, values: Sequence[Value | None]) -> bool:
        """Say whether a sample is a word of the device: anything known beside that it did not answer."""
        unknown = values.count(None)
        if self.reachable is not None and values[self.reachable] is False:
            unknown += 1
        return unknown < len(values)

    def works(self, values: Sequence[Value | None]) -> bool | None:
        """Say whether a sample shows that work is done: a stream plays, a target answers; ``None``: it says nothing."""
        said = None
        for metric, number in self.proves:
            value = values[number]
            if value is None:
                continue
            if value is not False and (metric != "link.loss_percent" or value < 100):  # type: ignore[operator]
                return True
            said = False
        return said

    def evidence(
        self, watch: Watch, agent: str, run: str, sequence: int, time_ms: int, values: Sequence[Value | None]
    ) -> tuple[EvidenceSample, ...]:
        """Return the values that a watch looked at, as a problem keeps them."""
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
    is the vehicle's plan: a measuring point (kind ``link``) then names the device that the fault is of. Raises
    IdentityError for names that are no ids.
    """
    columns = tuple(METRICS.get(column.metric) for column in schema.columns)
    device = agent if schema.device == AGENT_DEVICE and schema.input == AGENT_DEVICE else schema.device
    source = SourceKey.of(agent, schema.device, schema.input)
    index = {column.key(): number for number, column in enumerate(schema.columns)}
    graph = None if fleet is None else graph_of(rules.memory, rules.topology, vehicle, fleet)
    compiling = _Compiling(schema, source, index)
    watches: list[Watch] = []
    for rule in rules.effective(site, vehicle, schema.device, None, model):
        if isinstance(rule, SampledRule):
            compiling.tell(rule, device_kind)
            if rule.looks_at(schema.device, device_kind):
                watches += compiling.watches(rule, _named(device, device_kind, rule, graph))
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
        operands=tuple(compiling.operands),
        shape=_shape(tuple(column.metric for column in schema.columns)),
        nothing_bad=_nothing_bad(watches),
        reachable=index.get(("device.reachable", ())),
        facts=tuple(
            (name, number)
            for name in ("ignition", "shore_power")
            if (number := index.get((f"power.{name}", ()))) is not None
        ),
        proves=tuple(
            (column.metric, number) for number, column in enumerate(schema.columns) if column.metric in _PROOFS
        ),
        proven=(schema.device, *(graph.depends_on(schema.device) if graph is not None else ())),
    )


def _interval_ms(schema: Schema, agent: str, fleet: VehiclePlan | None) -> int:
    plan = fleet.agents.get(agent) if fleet is not None else None
    device = plan.devices.get(schema.device) if plan is not None else None
    configured = dict(device.configured()) if device is not None else {}
    return round(1000 * configured[schema.input].interval) if schema.input in configured else 0


@functools.lru_cache(_SHAPES)
def _shape(metrics: tuple[str, ...]) -> type[msgspec.Struct]:
    """Return the type that samples of these metrics nearly always have, so that they are checked in one go."""
    fields = [(f"v{number}", _type(METRICS.get(name)) | None) for number, name in enumerate(metrics)]
    return msgspec.defstruct("Values", fields, array_like=True, forbid_unknown_fields=True, frozen=True)


def _type(metric: Metric | None) -> Any:
    """Return a type of values that a metric can have for certain; what is none of it is up to ``Metric.check``."""
    if metric is None:
        return Value
    if metric.kind == "float":
        most = sys.float_info.max  # infinity is no value
        return Annotated[float, msgspec.Meta(ge=max(metric.low, -most), le=min(metric.high, most))]
    if metric.kind == "int":
        low, high = max(metric.low, -_LARGE), min(metric.high, _LARGE)
        return Annotated[int, msgspec.Meta(ge=math.ceil(low), le=math.floor(high))]
    if metric.kind == "state":
        return Literal[metric.states]
    return bool if metric.kind == "bool" else Annotated[str, msgspec.Meta(max_length=MAX_TEXT)]


def _named(device: str, kind: str, rule: SampledRule, graph: Graph | None) -> str:
    """Return the device that a problem names: for a measuring point the root that it depends on, or the only one."""
    roots = rule.fault.roots
    if kind != "link" or graph is None or kind in roots or "any" in roots:
        return device
    kinds = {id: plan.kind for _, id, plan in graph.plan.devices()}
    for id in graph.depends_on(device):
        if kinds.get(id) in roots:
            return id
    of_kind = [id for id in kinds if kinds[id] in roots]
    return of_kind[0] if len(of_kind) == 1 else device


class _Compiling:
    """Makes watches of rules for one schema, and collects the operands that they need."""

    def __init__(
        self, schema: Schema, source: SourceKey, index: Mapping[tuple[str, tuple[tuple[str, str], ...]], int]
    ) -> None:
        self._schema = schema
        self._source = source
        self._index = index
        self.operands: list[Operand] = []

    def watches(self, rule: SampledRule, named: str) -> list[Watch]:
        """Return the watches of a rule: one for each label set of its first indicator, or one for all of them."""
        first = rule.first
        found = [
            (column, number) for number, column in enumerate(self._schema.columns) if column.metric == first.series.name
        ]
        if not found:
            return []
        members = [(column, self._group(rule, column, number)) for column, number in found]
        sets = [[one] for one in members] if first.across == "each" else [members]
        known = set(first.series.labels)
        apart = known - _SAME_THING if first.group_by is None else first.group_by
        watches = []
        for one in sets:
            column = one[0][0]
            together = first.across != "each"
            labels = {} if together else {name: column.labels[name] for name in apart if name in column.labels}
            groups = [group for _, group in one]
            watches.append(
                Watch(
                    key=ConditionKey(rule.id, self._source, () if together else column.key()[1]),
                    rule=rule,
                    subject=Subject(self._source, self._schema.device, ProblemKey.of(rule.fault.id, named, labels)),
                    verdict=_across(first.across, [group.judge for group in groups]),
                    columns=tuple(dict.fromkeys(number for group in groups for number in group.columns)),
                    guards=_joined([group.guards for group in groups]),
                    plain=all(group.plain for group in groups),
                )
            )
        return watches

    def tell(self, rule: SampledRule, kind: str) -> None:
        """Take care that this schema tells what other sources want to know for a rule."""
        first, *others = leaves(rule.condition)
        for indicator in others:
            if indicator.name and indicator is not first and (not indicator.kinds or kind in indicator.kinds):
                for number, column in enumerate(self._schema.columns):
                    if column.metric == indicator.series.name:
                        self._own(rule, indicator, column, number, told=True)

    def _group(self, rule: SampledRule, column: Column, number: int) -> _Group:
        """Return a rule's condition on the label set of a column."""
        group = _Group([], True)

        def judge_of(indicator: Indicator) -> Judge:
            if indicator.name and indicator is not rule.first:
                place = self._elsewhere(rule, indicator)
            elif indicator.reducer is not None:
                place = self._reduced(rule, indicator, column, number)
            else:
                at = number if indicator is rule.first else _beside(column, indicator.series, self._index)
                group.add(at)
                group.places[id(indicator)] = at, indicator
                return indicator.judge(at)
            group.plain = False
            group.places[id(indicator)] = place, None
            return lambda values: values[place]

        judge = compiled(rule.condition, judge_of)
        group.judge = judge if rule.only_if is None else _narrowed(judge, compiled(rule.only_if, judge_of))
        group.guards = group.guarded_by(guards(rule.condition))
        return group

    def _reduced(self, rule: SampledRule, indicator: Indicator, column: Column, number: int) -> int:
        """Return the place of an indicator of this very source that goes by a window."""
        at = number if indicator.series is rule.first.series else _beside(column, indicator.series, self._index)
        beside = column if at is None else self._schema.columns[at]
        return self._own(rule, indicator, beside, at)

    def _own(
        self, rule: SampledRule, indicator: Indicator, column: Column, at: int | None, *, told: bool = False
    ) -> int:
        name = indicator.name or str(_position(rule, indicator))
        key = OperandKey(rule.id, name, self._source, column.key()[1])
        for place, operand in enumerate(self.operands):
            if operand.key == key:
                return len(self._schema.columns) + place
        self.operands.append(
            Operand(rule.id, rule.version, indicator, key, self._sample(indicator, column, at), told=told)
        )
        return len(self._schema.columns) + len(self.operands) - 1

    def _sample(self, indicator: Indicator, column: Column, at: int | None) -> Callable[[Sequence[Any]], Any]:
        """Return what takes of a sample what an indicator needs."""
        if indicator.reducer is None:
            return indicator.judge(at)
        if not indicator.reducer.counts_samples:
            return lambda values: None if at is None else values[at]
        of = indicator.of or dataclasses.replace(indicator, reducer=None, above=None, below=None, clear=None)
        judge = compiled(of, lambda leaf: leaf.judge(_beside(column, leaf.series, self._index)))
        counted = {BAD: 1, CLEAR: 0, BAND: 0}
        return lambda values: counted.get(judge(values))

    def _elsewhere(self, rule: SampledRule, indicator: Indicator) -> int:
        """Return the place of an indicator that any source of the vehicle tells."""
        for place, operand in enumerate(self.operands):
            if operand.key is None and (operand.rule, operand.indicator) == (rule.id, indicator):
                return len(self._schema.columns) + place
        self.operands.append(Operand(rule.id, rule.version, indicator, None, lambda values: None))
        return len(self._schema.columns) + len(self.operands) - 1


def _position(rule: SampledRule, indicator: Indicator) -> int:
    """Return which of a rule's indicators this one is: its name where people gave it none."""
    return next(number for number, one in enumerate(leaves(rule.condition), 1) if one is indicator)


Guards = tuple[tuple[int, Indicator | None], ...]


class _Group:
    """A rule's condition on one label set: its judge, and the columns that it looks at, the first indicator's first."""

    def __init__(self, columns: list[int], plain: bool) -> None:
        self.columns = columns
        self.plain = plain
        self.places: dict[int, tuple[int | None, Indicator | None]] = {}
        self.judge: Judge = lambda values: UNKNOWN
        self.guards: Guards | None = None

    def add(self, column: int | None) -> None:
        if column is not None and column not in self.columns:
            self.columns.append(column)

    def guarded_by(self, indicators: Sequence[Indicator] | None) -> Guards | None:
        if indicators is None:
            return None
        found = []
        for indicator in indicators:
            place, judged = self.places[id(indicator)]
            if place is not None:
                found.append((place, judged))
            elif indicator.unknown_is_bad:
                return None
        return tuple(found)


def _joined(groups: Sequence[Guards | None]) -> Guards | None:
    return None if None in groups else tuple(guard for group in groups for guard in group or ())


def _narrowed(judge: Judge, only_if: Judge) -> Judge:
    return lambda values: judge(values) if only_if(values) == BAD else UNKNOWN


def _across(across: str, judges: Sequence[Judge]) -> Judge:
    """Return the judge of several label sets: those that are known count, all of them or any."""
    if len(judges) == 1:
        return judges[0]
    choose: Callable[[Iterable[int]], int] = max if across == "any" else min

    def judge(values: Sequence[Any]) -> int:
        known = [found for one in judges if (found := one(values)) != UNKNOWN]
        return choose(known) if known else UNKNOWN

    return judge


def _nothing_bad(watches: Sequence[Watch]) -> Callable[[Sequence[Any]], bool]:
    """Return one generated predicate: none of the watches finds a sample BAD.

    It asks each value once, by the narrowest of the limits that rules set it.
    """
    ranges: dict[int, tuple[float, float]] = {}
    bad: dict[int, set[Any]] = {}
    for watch in watches:
        if watch.guards is None:
            return lambda values: False
        for index, indicator in watch.guards:
            low, high = ranges.get(index, (-math.inf, math.inf))
            if indicator is None:
                bad.setdefault(index, set()).add(BAD)
                continue
            if indicator.above is not None:
                ranges[index] = low, min(high, indicator.above)
            elif indicator.below is not None:
                ranges[index] = max(low, indicator.below), high
            bad.setdefault(index, set()).update(indicator.bad - indicator.ignore)
            if indicator.unknown_is_bad:
                bad[index].update(indicator.ignore, (None,))
    words = [f"(v[{index}] is None or {low!r} <= v[{index}] <= {high!r})" for index, (low, high) in ranges.items()]
    words += [f"v[{index}] not in s{index}" for index, values in bad.items() if values]
    names: dict[str, Any] = {f"s{index}": frozenset(values) for index, values in bad.items()}
    predicate: Callable[[Sequence[Any]], bool] = eval(
        f"lambda v: {' and '.join(words) or 'True'}", {"__builtins__": {}, "inf": math.inf, **names}
    )
    return predicate


def _beside(column: Column, metric: Metric, index: Mapping[tuple[str, tuple[tuple[str, str], ...]], int]) -> int | None:
    """Return the column of another metric that is about the same thing: equal in the labels that both have."""
    labels = {name: value for name, value in column.labels.items() if name in metric.labels}
    return index.get((metric.name, tuple(sorted(labels.items()))))
