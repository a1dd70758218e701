"""What every sample of a schema needs, worked out once: types, ranges, and the rules that look at each value."""

from __future__ import annotations

import functools
import math
import sys
import weakref
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Annotated, Any, Final, Literal

import msgspec

from collector.core.diagnosis import Graph, graph_of
from collector.core.identities import ProblemKey, SourceKey
from collector.core.key_metrics import KEY_METRICS
from collector.core.rules.reception import Reception, ReceptionRule, receptions
from collector.core.rules.rule_state import EvidenceSample
from collector.core.rules.sampled import SampledRule
from collector.core.rules.types import Rule, Rules
from collector.core.rules.watches import Compiling, Operand, Watch, all_clear, nothing_bad
from telemetry.fleet import DataPlan, Device, VehiclePlan
from telemetry.metrics import MAX_TEXT, METRICS, Metric, Value
from telemetry.records import Schema

if TYPE_CHECKING:
    from collector.core.vehicle.events import RecordName

AGENT_DEVICE: Final = "agent"
"""The device under which an agent tells its own figures; problems name the agent instead."""
MOST_EVIDENCE: Final = 16
"""Most values of a sample that stand for a problem."""
POSITION: Final = "position"
"""The fact of where the vehicle is."""
_GATEWAY: Final = "host.gateway_hardware_address"
_SHAPES: Final = 1024
"""Types of samples that are kept for the next schema with the same metrics; a fleet has some dozens."""
_PROOFS: Final = frozenset({"stream.up", "link.loss_percent", "link.rtt_ms"})
"""What shows that a device, and all that stand before it, do their work."""
_LARGE: Final = 2**63 - 1
"""Most that a constraint of a type can be."""


@dataclass(frozen=True, slots=True, weakref_slot=True)
class CompiledSchema:
    """A compiled schema. Agents of equal kits share one (``compile_schema``)."""

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
    problems: frozenset[ProblemKey]
    """Those that the watches can make."""
    operands: tuple[Operand, ...]
    """What stands behind a sample's values when the watches look at it, in this order."""
    restless: tuple[int, ...]
    """Which of them must be asked though the sample is clear and this source has no window."""
    shape: type[msgspec.Struct]
    """The columns as a type."""
    nothing_bad: Callable[[Sequence[Any]], bool]
    """Says of a sample's values that no watch finds them BAD, without asking each of them."""
    all_clear: Callable[[Sequence[Any]], bool]
    """Says of a sample's own values that no watch finds them BAD and that they begin no window."""
    texts: tuple[int, ...]
    """Indices of texts."""
    reachable: int | None
    """Index of ``device.reachable``."""
    facts: tuple[tuple[str, int], ...]
    """What tells of the vehicle as a whole, as (name, index)."""
    place: tuple[int, int, int | None]
    """Indices of latitude, longitude and speed, where ``POSITION`` is among the facts."""
    proves: tuple[tuple[str, int], ...]
    """The columns that show whether work is done, as (metric, index)."""
    proven: tuple[str, ...]
    """The devices that then do it."""
    receptions: tuple[Reception, ...]
    """The modems whose signal is held against what is usual where they are."""
    notes: bool
    """Whether there are facts, receptions, or what it proves."""
    key_columns: tuple[tuple[str, str, int], ...]
    """What lists show of it, as (metric, values of the labels in one text, index)."""

    def read(self, values: Any) -> Sequence[Value | None] | None:
        """Return the values of a sample as they stand on the wire, checked; ``None``: that takes a closer look.

        In one go whether they are so many values, and each of them one of its metric: as nearly all.
        """
        if self.unknown:
            return None
        try:
            right = msgspec.structs.astuple(msgspec.convert(values, self.shape))
        except msgspec.ValidationError:
            return None
        return right if not self.texts or self._are_plain(right) else None

    def check(self, values: Sequence[Value | None]) -> Sequence[Value | None]:
        """Return a sample's values in the catalogue's types; values of unknown metrics are set aside as ``None``.

        Raises ValueError for a wrong number of values and for a value that its metric cannot have.
        """
        try:
            right: Sequence[Value | None] = msgspec.structs.astuple(msgspec.convert(values, self.shape))
        except msgspec.ValidationError:
            return self._check_each(values)
        if self.texts and not self._are_plain(right):
            return self._check_each(values)
        if self.unknown:
            aside = {index for _, index in self.unknown}
            right = [None if index in aside else value for index, value in enumerate(right)]
        return right

    def _are_plain(self, values: Sequence[Any]) -> bool:
        """Say whether all texts are of printable ASCII, as most are; other letters are the catalogue's to judge."""
        for place in self.texts:
            text = values[place]
            if text is not None and not (text.isascii() and text.isprintable()):
                return False
        return True

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

    def shows_life(self, values: Sequence[Value | None]) -> bool:
        """Say whether a sample shows that the device is there: it answered; of a way, that a target did."""
        if self.reachable is not None and values[self.reachable] is not None:
            return values[self.reachable] is True
        return self.works(values) is True if self.proves else self.said_something(values)

    def evidence(
        self, watch: Watch, name: RecordName, time_ms: int, values: Sequence[Value | None]
    ) -> tuple[EvidenceSample, ...]:
        """Return the values that a watch looked at, as a problem keeps them: the first ones, where they are many."""
        found: list[EvidenceSample] = []
        for index in watch.columns:
            value = values[index]
            column = self.schema.columns[index]
            if value is not None and len(found) < MOST_EVIDENCE:
                of = name.agent, name.run, name.sequence
                found.append(EvidenceSample(*of, time_ms, self.device, column.metric, column.labels, value))
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
    other_routers: frozenset[str] = frozenset(),
) -> CompiledSchema:
    """Return the schema of one agent, compiled.

    ``device_kind`` is the fleet file's (empty for a device that it does not know), ``model`` the inventory's. ``fleet``
    is the vehicle's plan: a measuring point (kind ``link``) then names the device that the fault is of.
    ``other_routers`` are the hardware addresses of the other vehicles' routers, in small letters. Raises IdentityError
    for names that are no ids.
    """
    own = schema.device == AGENT_DEVICE and schema.input == AGENT_DEVICE
    device = agent if own else schema.device
    host = device if fleet is None or not own else fleet.host_of(agent)
    graph = None if fleet is None else graph_of(rules.memory, rules.topology, vehicle, fleet)
    agent_plan = None if fleet is None else fleet.agents.get(agent)
    plan = None if agent_plan is None else agent_plan.devices.get(schema.device)
    wanted = _Wanted(
        schema=schema,
        agent=agent,
        kind=device_kind,
        interval_ms=_interval_ms(schema, plan),
        data_plan=None if plan is None else plan.data_plan,
        other_routers=other_routers if any(one.metric == _GATEWAY for one in schema.columns) else frozenset(),
        rules=tuple(
            (rule, _named(host if "host" in rule.fault.roots else device, device_kind, rule, graph))
            for rule in rules.effective(site, vehicle, schema.device, None, model)
            if isinstance(rule, SampledRule | ReceptionRule)
        ),
        proven=(schema.device, *(graph.depends_on(schema.device) if graph is not None else ())),
        device=plan,
    )
    known: weakref.WeakValueDictionary[_Wanted, CompiledSchema]
    known = rules.memory.setdefault("compiled", weakref.WeakValueDictionary())
    found = known.get(wanted)
    if found is None:
        found = known[wanted] = _compile(wanted)
    return found


@dataclass(frozen=True, slots=True)
class _Wanted:
    """All that a compiled schema depends on: what is equal here can be shared."""

    schema: Schema
    agent: str
    kind: str
    interval_ms: int
    data_plan: DataPlan | None
    """With the interval all that rules know of the device's plan."""
    other_routers: frozenset[str]
    """Only where the schema tells of a gateway: what is equal otherwise is shared."""
    rules: tuple[tuple[SampledRule | ReceptionRule, str], ...]
    """With the device that its problems name. An edition's rules are the same objects for each vehicle."""
    proven: tuple[str, ...]
    device: Device | None = field(compare=False)
    """The plan, which holds names and addresses too."""

    def __hash__(self) -> int:
        metrics = tuple(column.metric for column in self.schema.columns)
        return hash((self.agent, self.schema.device, self.schema.input, metrics))


def _compile(wanted: _Wanted) -> CompiledSchema:
    schema = wanted.schema
    columns = tuple(METRICS.get(column.metric) for column in schema.columns)
    source = SourceKey.of(wanted.agent, schema.device, schema.input)
    index = {column.key(): number for number, column in enumerate(schema.columns)}
    latitude, longitude = index.get(("gnss.latitude", ())), index.get(("gnss.longitude", ()))
    compiling = Compiling(schema, source, index, wanted.device, wanted.other_routers)
    watches: list[Watch] = []
    for rule, device in wanted.rules:
        if not isinstance(rule, SampledRule):
            continue
        compiling.tell(rule, wanted.kind)
        if rule.looks_at(schema.device, wanted.kind):
            watches += compiling.watches(rule, device)
    facts = (
        *(
            (name, number)
            for name in ("ignition", "shore_power")
            if (number := index.get((f"power.{name}", ()))) is not None
        ),
        *([(POSITION, latitude)] if latitude is not None and longitude is not None else ()),
    )
    proves = tuple((column.metric, number) for number, column in enumerate(schema.columns) if column.metric in _PROOFS)
    weaker = tuple(
        one
        for rule, _ in wanted.rules
        if isinstance(rule, ReceptionRule) and rule.looks_at(schema.device, wanted.kind)
        for one in receptions(rule, schema.device, index)
    )
    return CompiledSchema(
        schema=schema,
        agent=wanted.agent,
        device=schema.device,
        kind=wanted.kind,
        source=source,
        interval_ms=wanted.interval_ms,
        columns=columns,
        unknown=tuple(
            (column.metric, number) for number, column in enumerate(schema.columns) if columns[number] is None
        ),
        watches=tuple(watches),
        problems=frozenset(watch.subject.problem for watch in watches),
        operands=tuple(compiling.operands),
        restless=tuple(n for n, operand in enumerate(compiling.operands) if not operand.rests),
        shape=_shape(tuple(column.metric for column in schema.columns)),
        nothing_bad=nothing_bad(watches),
        all_clear=all_clear(watches, compiling.operands, len(schema.columns)),
        texts=tuple(number for number, metric in enumerate(columns) if metric is not None and metric.kind == "text"),
        reachable=index.get(("device.reachable", ())),
        facts=facts,
        place=(latitude or 0, longitude or 0, index.get(("gnss.speed_kmh", ()))),
        proves=proves,
        proven=wanted.proven,
        receptions=weaker,
        notes=bool(facts or proves or weaker),
        key_columns=tuple(
            (column.metric, " ".join(column.labels[name] for name in sorted(column.labels)), number)
            for number, column in enumerate(schema.columns)
            if column.metric in KEY_METRICS and column.metric in METRICS
        ),
    )


def _interval_ms(schema: Schema, plan: Device | None) -> int:
    configured = dict(plan.configured()) if plan is not None else {}
    return round(1000 * configured[schema.input].interval) if schema.input in configured else 0


@functools.lru_cache(_SHAPES)
def _shape(metrics: tuple[str, ...]) -> type[msgspec.Struct]:
    """Return the type that the values of samples of these metrics nearly always have: so they are checked in one go."""
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


def _named(device: str, kind: str, rule: Rule, graph: Graph | None) -> str:
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
