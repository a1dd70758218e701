"""Watches: what each rule makes of the samples of one schema, worked out once.

A watch is one rule on one thing of a schema; an operand is what an indicator says where that is no plain value of the
sample: a window, or the word of another source. Operands stand behind a sample's values.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any, Final

import msgspec
from msgspec.structs import replace

from collector.core.identities import OperandKey, ProblemKey, RuleStateKey, SourceKey
from collector.core.rules.expressions import Indicator, compiled, guards, leaves, positive
from collector.core.rules.reducers import LONGEST_PACE_MS
from collector.core.rules.rule_state import Subject
from collector.core.rules.sampled import SampledRule
from collector.core.rules.shared import looked_at, shared_name
from collector.core.rules.verdicts import BAD, BAND, CLEAR, UNKNOWN, VerdictOf
from telemetry.fleet import Device
from telemetry.metrics import Metric
from telemetry.records import Column, Schema

Guards = tuple[tuple[int, Indicator | None], ...]
"""Indices with their indicator (``None``: a verdict stands there): what is meant is that none of them is bad."""
_SAME_THING: Final = frozenset({"leg", "sensor"})
"""Labels that name a way of measuring one thing: they tell no problems apart unless a rule says so."""


class Operand(msgspec.Struct, frozen=True):
    """What an indicator says at a sample where that is no plain value: it stands behind the sample's values."""

    rule: str
    """Empty: other sources look at it, for whatever rule."""
    version: int
    """Of the rule, 0 where there is none: its name says what it is then."""
    name: str
    """As in its key."""
    indicator: Indicator
    key: OperandKey | None
    """Its own window or last word; ``None``: other sources of the vehicle tell it."""
    sample: Callable[[Sequence[Any]], Any]
    """What it takes of a sample: a value, 1 or 0 for bad or not, or a verdict where nothing is reduced."""
    zone: tuple[Guards, ...] = ((),)
    """Where one of these holds a sample begins no window. Without any of them each sample is looked at."""
    begins: Callable[[Any], bool] | None = None
    """Says of what it takes of a sample that this begins its window; ``None``: any does, or it has none."""

    @property
    def rests(self) -> bool:
        """Whether it is clear without a window at a clear sample, and nobody else asks."""
        reducer = self.indicator.reducer
        return bool(self.rule) and reducer is not None and reducer.begins_bad


class Watch(msgspec.Struct, frozen=True):
    """One rule on one thing of a schema."""

    key: RuleStateKey
    rule: SampledRule
    subject: Subject
    verdict: VerdictOf
    """From a sample's values to CLEAR, BAND, NULL or BAD."""
    columns: tuple[int, ...]
    """The values that it looks at."""
    guards: tuple[Guards, ...]
    """Where one of these holds the verdict is not BAD. Without any of them nothing can be said without asking."""
    windows: tuple[tuple[OperandKey, Indicator], ...] = ()
    """Those of its own source that are bad themselves where it is: they know when that began and ended."""


class Compiling:
    """Makes watches of rules for one schema, and collects the operands that they need."""

    def __init__(
        self,
        schema: Schema,
        source: SourceKey,
        index: Mapping[tuple[str, tuple[tuple[str, str], ...]], int],
        device: Device | None = None,
        other_routers: frozenset[str] = frozenset(),
    ) -> None:
        self._other_routers = other_routers
        self._schema = schema
        self._device = device
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
                    key=RuleStateKey(rule.id, self._source, () if together else column.key()[1]),
                    rule=rule,
                    subject=Subject(self._source, self._schema.device, ProblemKey.of(rule.fault.id, named, labels)),
                    verdict=_across(first.across, [group.judge for group in groups]),
                    columns=tuple(dict.fromkeys(number for group in groups for number in group.columns)),
                    guards=_joined([group.guards for group in groups]),
                    windows=tuple(window for group in groups for window in group.windows),
                )
            )
        return watches

    def tell(self, rule: SampledRule, kind: str) -> None:
        """Take care that this schema tells what other sources want to know for a rule."""
        for indicator in looked_at(rule):
            if not indicator.kinds or kind in indicator.kinds:
                for number, column in enumerate(self._schema.columns):
                    if column.metric == indicator.series.name:
                        self._own("", 0, shared_name(indicator), indicator, column, number)

    def _group(self, rule: SampledRule, column: Column, number: int) -> _Group:
        """Return a rule's condition on the label set of a column."""
        group = _Group([])
        positives = [*positive(rule.condition)]

        def judge_of(indicator: Indicator) -> VerdictOf:
            if indicator.name and indicator is not rule.first:
                place = self._elsewhere(indicator)
            elif indicator.reducer is not None:
                place = self._reduced(rule, indicator, column, number)
            else:
                at = number if indicator is rule.first else _beside(column, indicator.series, self._index)
                group.add(at)
                here = replace(indicator, bad=self._other_routers) if indicator.other_routers else indicator
                group.places[id(indicator)] = at, here
                return here.judge(at)
            group.places[id(indicator)] = place, None
            if not indicator.name or indicator is rule.first:
                group.add(number if indicator.series is rule.first.series else None)
            operand = self.operands[place - len(self._schema.columns)]
            if operand.key is not None and indicator.reducer is not None and any(one is indicator for one in positives):
                group.windows.append((operand.key, operand.indicator))
            return lambda values: values[place]

        judge = compiled(rule.condition, judge_of)
        group.judge = judge if rule.only_if is None else _narrowed(judge, compiled(rule.only_if, judge_of))
        known = [*guards(rule.condition), *(guards(rule.only_if) if rule.only_if else ())]
        group.guards = [group.guarded_by(indicators) for indicators in known]
        return group

    def _reduced(self, rule: SampledRule, indicator: Indicator, column: Column, number: int) -> int:
        """Return the place of an indicator of this very source that goes by a window."""
        at = number if indicator.series is rule.first.series else _beside(column, indicator.series, self._index)
        beside = column if at is None else self._schema.columns[at]
        return self._own(rule.id, rule.version, indicator.name or _position(rule, indicator), indicator, beside, at)

    def _own(self, rule: str, version: int, name: str, indicator: Indicator, column: Column, at: int | None) -> int:
        key = OperandKey(rule, name, self._source, column.key()[1])
        for place, operand in enumerate(self.operands):
            if operand.key == key:
                return len(self._schema.columns) + place
        bound = indicator.reducer if indicator.reducer is None else indicator.reducer.bound(self._device)
        known = indicator.reducer is None or bound is not None
        indicator = replace(indicator, reducer=bound) if known else indicator
        sample = self._sample(indicator, column, at if known else None)
        zone = self._zone(indicator, column, at)
        self.operands.append(Operand(rule, version, name, indicator, key, sample, zone, _begins(indicator)))
        return len(self._schema.columns) + len(self.operands) - 1

    def _zone(self, indicator: Indicator, column: Column, at: int | None) -> tuple[Guards, ...]:
        """Return what tells of a sample that it begins no window."""
        reducer = indicator.reducer
        if reducer is None:
            return (() if at is None else ((at, indicator),),)
        near = reducer.near(indicator.above is not None)
        if near is not None and reducer.pace_ms >= LONGEST_PACE_MS:
            return ((),)  # in time is early enough: clear samples come as often as its window takes them
        if near is not None:
            above, below = near
            bounds = replace(indicator, reducer=None, above=above, below=below, clear=None)
            return (() if at is None else ((at, bounds),),)
        if not reducer.begins_bad:
            return ((),) if reducer.pace_ms else ()
        if indicator.of is None:
            return (() if at is None else ((at, _of_sample(indicator)),),)
        known = [self._in_sample(indicators, column) for indicators in guards(indicator.of)]
        return tuple(one for one in known if one is not None)

    def _in_sample(self, indicators: Sequence[Indicator], column: Column) -> Guards | None:
        """Return where the values of indicators stand that are about the same thing as a column."""
        found: list[tuple[int, Indicator | None]] = []
        for leaf in indicators:
            places = self._places(leaf, column)
            if not places and leaf.unknown_is_bad:
                return None
            found += [(place, leaf) for place in places]
        return tuple(found)

    def _places(self, leaf: Indicator, column: Column) -> list[int]:
        """Return where an indicator of the same moment stands: in the same label set, or in all of them."""
        if leaf.across == "each":
            place = _beside(column, leaf.series, self._index)
            return [] if place is None else [place]
        return [place for place, one in enumerate(self._schema.columns) if one.metric == leaf.series.name]

    def _sample(self, indicator: Indicator, column: Column, at: int | None) -> Callable[[Sequence[Any]], Any]:
        """Return what takes of a sample what an indicator needs."""
        if indicator.reducer is None:
            return indicator.judge(at)
        taken = self._value(indicator, column, at)
        if indicator.without is None:
            return taken
        excluded = compiled(indicator.without, lambda leaf: self._moment(column, leaf))
        return lambda values: None if excluded(values) == BAD else taken(values)

    def _value(self, indicator: Indicator, column: Column, at: int | None) -> Callable[[Sequence[Any]], Any]:
        """Return what takes of a sample the value that is reduced, or 1 or 0 for bad or not."""
        assert indicator.reducer is not None
        if not indicator.reducer.counts_samples:
            if at is None:
                return lambda values: None
            other = None if indicator.plus is None else _beside(column, indicator.plus, self._index)
            if other is None:
                return lambda values: values[at]
            return lambda values: None if values[at] is None else values[at] + (values[other] or 0)
        if indicator.of is None and at is None:
            return lambda values: None
        judge = compiled(indicator.of or _of_sample(indicator), lambda leaf: self._moment(column, leaf))
        counted = {BAD: 1, CLEAR: 0, BAND: 0}
        return lambda values: counted.get(judge(values))

    def _moment(self, column: Column, leaf: Indicator) -> VerdictOf:
        """Return the judge of an indicator of the same moment: of the same label set, or of all of them."""
        places = self._places(leaf, column)
        return _across(leaf.across, [leaf.judge(place) for place in places]) if places else leaf.judge(None)

    def _elsewhere(self, indicator: Indicator) -> int:
        """Return the place of an indicator that any source of the vehicle tells."""
        name = shared_name(indicator)
        for place, operand in enumerate(self.operands):
            if operand.key is None and operand.name == name:
                return len(self._schema.columns) + place
        self.operands.append(Operand("", 0, name, indicator, None, lambda values: None))
        return len(self._schema.columns) + len(self.operands) - 1


def _position(rule: SampledRule, indicator: Indicator) -> str:
    """Return which of a rule's indicators this one is: its name where people gave it none."""
    return next(str(number) for number, one in enumerate(leaves(rule.condition), 1) if one is indicator)


def _of_sample(indicator: Indicator) -> Indicator:
    """Return what of a single sample is bad: its states, or for a mean whatever is beyond its limit."""
    if indicator.bad:
        return replace(indicator, reducer=None, above=None, below=None, clear=None)
    return replace(indicator, reducer=None)


class _Group:
    """A rule's condition on one label set: its judge, and the columns that it looks at, the first indicator's first."""

    def __init__(self, columns: list[int]) -> None:
        self.columns = columns
        self.places: dict[int, tuple[int | None, Indicator | None]] = {}
        self.judge: VerdictOf = lambda values: UNKNOWN
        self.guards: list[Guards | None] = []
        self.windows: list[tuple[OperandKey, Indicator]] = []

    def add(self, column: int | None) -> None:
        if column is not None and column not in self.columns:
            self.columns.append(column)

    def guarded_by(self, indicators: Sequence[Indicator]) -> Guards | None:
        found = []
        for indicator in indicators:
            place, judged = self.places[id(indicator)]
            if place is not None:
                found.append((place, judged))
            elif indicator.unknown_is_bad:
                return None
        return tuple(found)


def _joined(groups: Sequence[Sequence[Guards | None]]) -> tuple[Guards, ...]:
    """Return what holds where it does for all of the groups: of each kind of guards those of all of them."""
    kinds = [*zip(*groups, strict=True)]
    return tuple(tuple(guard for one in kind for guard in one or ()) for kind in kinds if None not in kind)


def _narrowed(judge: VerdictOf, only_if: VerdictOf) -> VerdictOf:
    return lambda values: judge(values) if only_if(values) == BAD else UNKNOWN


def _across(across: str, judges: Sequence[VerdictOf]) -> VerdictOf:
    """Return the judge of several label sets: those that are known count, all of them or any."""
    if len(judges) == 1:
        return judges[0]
    choose: Callable[[Iterable[int]], int] = max if across == "any" else min

    def judge(values: Sequence[Any]) -> int:
        known = [found for one in judges if (found := one(values)) != UNKNOWN]
        return choose(known) if known else UNKNOWN

    return judge


def nothing_bad(watches: Sequence[Watch]) -> Callable[[Sequence[Any]], bool]:
    """Return a predicate: none of the watches finds a sample with its operands BAD."""
    return _predicate([watch.guards for watch in watches])


def all_clear(watches: Sequence[Watch], operands: Sequence[Operand], columns: int) -> Callable[[Sequence[Any]], bool]:
    """Return a predicate on a sample's own values: no watch finds it BAD, and it begins no window.

    Nothing is so certain where a watch may be bad by the word of another source alone.
    """
    own = {columns + place for place, operand in enumerate(operands) if operand.key is not None}
    found = [operand.zone for operand in operands if operand.key is not None]
    for watch in watches:
        certain = [one for one in watch.guards if all(place < columns or place in own for place, _ in one)]
        found.append(tuple(tuple(guard for guard in one if guard[0] < columns) for one in certain))
    return _predicate(found)


def _predicate(asked: Iterable[tuple[Guards, ...]]) -> Callable[[Sequence[Any]], bool]:
    """Return one generated predicate: of each of these one holds.

    Where there is no choice it asks each value once, by the narrowest of the limits that rules set it.
    """
    certain: list[tuple[int, Indicator | None]] = []
    words: list[str] = []
    names: dict[str, Any] = {"inf": math.inf}
    for alternatives in asked:
        if not alternatives:
            return lambda values: False
        if len(alternatives) == 1:
            certain += alternatives[0]
        elif all(alternatives):
            words.append(f"({' or '.join(_words(one, names) for one in alternatives)})")
    found = " and ".join([word for word in (_words(certain, names), *dict.fromkeys(words)) if word])
    predicate: Callable[[Sequence[Any]], bool] = eval(f"lambda v: {found or 'True'}", {"__builtins__": {}, **names})
    return predicate


def _words(guarded: Iterable[tuple[int, Indicator | None]], names: dict[str, Any]) -> str:
    """Return an expression on a sample's values ``v``: none of these is bad. Its sets of states go into ``names``."""
    ranges: dict[int, tuple[float, float]] = {}
    bad: dict[int, set[Any]] = {}
    for index, indicator in guarded:
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
    words = [_within(index, low, high) for index, (low, high) in ranges.items()]
    for index, values in bad.items():
        if values:
            names[name := f"s{len(names)}"] = frozenset(values)
            words.append(f"v[{index}] not in {name}")
    return f"({' and '.join(words)})" if words else ""


def _within(index: int, low: float, high: float) -> str:
    bounds = f"v[{index}]"
    if low > -math.inf:
        bounds = f"{low!r} <= {bounds}"
    if high < math.inf:
        bounds = f"{bounds} <= {high!r}"
    return f"(v[{index}] is None or {bounds})"


def _beside(column: Column, metric: Metric, index: Mapping[tuple[str, tuple[tuple[str, str], ...]], int]) -> int | None:
    """Return the column of another metric that is about the same thing: equal in the labels that both have."""
    labels = {name: value for name, value in column.labels.items() if name in metric.labels}
    return index.get((metric.name, tuple(sorted(labels.items()))))


def _begins(indicator: Indicator) -> Callable[[Any], bool] | None:
    """Return what says of a sample that it begins a window; ``None`` where any does."""
    reducer = indicator.reducer
    if reducer is None:
        return None
    if reducer.counts_samples and reducer.begins_bad:
        return bool
    if reducer.begins_bad:
        return lambda sample: indicator.limit(sample) == BAD
    near = reducer.near(indicator.above is not None)
    if near is None:
        return None
    above, below = near
    return lambda sample: bool(sample > above if above is not None else sample < below)
