"""Conditions: indicators under ``all_of``, ``any_of`` and ``not``, in three values (docs/rules.md). Pure.

An *indicator* is one series (or, in a share or count, a condition on samples) under a reducer, and what of it is bad. A
condition knows nothing of where its indicators are read: ``compiled`` is told so for each.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from typing import Any, Literal

import msgspec

from collector.core.rules.reducers import Reducer
from collector.core.rules.verdicts import BAD, BAND, CLEAR, UNKNOWN, VerdictOf, inverted
from telemetry.metrics import Metric, Value

Across = Literal["each", "all", "any"]
"""How the label sets of a series count: each for itself, bad if all that are known are, bad if any is."""


class Indicator(msgspec.Struct, frozen=True, kw_only=True):
    """One series under a reducer, and what of it is bad."""

    name: str
    """Its name among the rule's indicators; empty where it stands in a condition itself: then it is about the same
    device and moment as the rule's first one."""
    metric: Metric | None = None
    of: Condition | None = None
    """What is bad of a sample, for reducers that count samples."""
    reducer: Reducer | None = None
    """``None``: the value itself."""
    above: float | None = None
    below: float | None = None
    clear: float | None = None
    """Numbers: bad beyond ``above`` or ``below``, clear from here on (hysteresis)."""
    bad: frozenset[Value] = frozenset()
    """States: bad if among these."""
    ignore: frozenset[Value] = frozenset()
    """States that prove nothing."""
    unknown_is_bad: bool = False
    """An unknown value counts as bad, for indicators that only narrow a rule down."""
    unknown_is_clear: bool = False
    """By name: what nobody tells is clear."""
    across: Across = "each"
    group_by: frozenset[str] | None = None
    """Labels that tell problems from each other; ``None``: all but those that name ways of measuring one thing."""
    kinds: frozenset[str] = frozenset()
    """Kinds of device that it is read of; empty: the rule's for its first indicator, all for the others."""
    other_routers: bool = False
    """Text: bad if it is the hardware address of another vehicle's router."""
    without: Condition | None = None
    """Samples of which this is bad are not taken: neither good nor bad."""
    plus: Metric | None = None
    """A counter beside it whose value is added."""

    @property
    def series(self) -> Metric:
        """The series whose samples it goes by."""
        if self.metric is not None:
            return self.metric
        assert self.of is not None
        return next(leaves(self.of)).series

    def judge(self, index: int | None) -> VerdictOf:
        """Return the function that judges the value at ``index``, ``None`` where the sample has no such value."""
        unknown = BAD if self.unknown_is_bad else UNKNOWN
        if index is None:
            return lambda values: unknown
        if self.above is not None or self.below is not None:
            limit = self.limit

            def number(values: Sequence[Any]) -> int:
                value = values[index]
                return unknown if value is None else limit(value)

            return number
        return _among(index, self.bad, self.ignore, unknown)

    def limit(self, value: float) -> int:
        """Return the verdict on a number."""
        if self.above is not None:
            return BAD if value > self.above else CLEAR if value <= _or(self.clear, self.above) else BAND
        assert self.below is not None
        return BAD if value < self.below else CLEAR if value >= _or(self.clear, self.below) else BAND

    def scaled(self, speed: float) -> Indicator:
        """Return it for judging ``speed`` times faster."""
        return self if self.reducer is None else msgspec.structs.replace(self, reducer=self.reducer.scaled(speed))


class AllOf(msgspec.Struct, frozen=True):
    """Bad if all of these are."""

    parts: tuple[Condition, ...]


class AnyOf(msgspec.Struct, frozen=True):
    """Bad if any of these is."""

    parts: tuple[Condition, ...]


class Not(msgspec.Struct, frozen=True):
    """Bad if this is clear."""

    part: Condition


Condition = Indicator | AllOf | AnyOf | Not


def leaves(condition: Condition) -> Iterator[Indicator]:
    """Yield a condition's indicators in the order in which they stand."""
    match condition:
        case Indicator():
            yield condition
        case Not(part):
            yield from leaves(part)
        case AllOf(parts) | AnyOf(parts):
            for part in parts:
                yield from leaves(part)


def mapped(condition: Condition, change: Callable[[Indicator], Indicator]) -> Condition:
    """Return the condition with each of its indicators changed."""
    match condition:
        case Indicator():
            return change(condition)
        case Not(part):
            return Not(mapped(part, change))
        case AllOf(parts):
            return AllOf(tuple(mapped(part, change) for part in parts))
        case AnyOf(parts):
            return AnyOf(tuple(mapped(part, change) for part in parts))


def compiled(condition: Condition, judge_of: Callable[[Indicator], VerdictOf]) -> VerdictOf:
    """Return what judges a sample by the whole condition. ``judge_of`` says how each indicator is judged there."""
    match condition:
        case Indicator():
            return judge_of(condition)
        case Not(part):
            inner = compiled(part, judge_of)
            return lambda values: inverted(inner(values))
        case AllOf(parts):
            return _least([compiled(part, judge_of) for part in parts])
        case AnyOf(parts):
            return _greatest([compiled(part, judge_of) for part in parts])


def positive(condition: Condition) -> Iterator[Indicator]:
    """Yield the indicators that are bad themselves where the condition is: those that stand under no ``not``."""
    match condition:
        case Indicator():
            yield condition
        case AllOf(parts) | AnyOf(parts):
            for part in parts:
                yield from positive(part)


def guards(condition: Condition) -> list[list[Indicator]]:
    """Return alternatives, each some indicators: where of one of them none is bad, the condition is not either."""
    match condition:
        case Indicator():
            return [[condition]]
        case Not():
            return []
        case AllOf(parts):
            return [found for part in parts for found in guards(part)]
        case AnyOf(parts):
            every = [guards(part) for part in parts]
            return [[leaf for found in every for leaf in found[0]]] if all(every) else []


def _least(judges: Sequence[VerdictOf]) -> VerdictOf:
    first, *rest = judges

    def judge(values: Sequence[Any]) -> int:
        least = first(values)
        for one in rest:
            if least == CLEAR:
                break
            least = min(least, one(values))
        return least

    return judge


def _greatest(judges: Sequence[VerdictOf]) -> VerdictOf:
    first, *rest = judges

    def judge(values: Sequence[Any]) -> int:
        greatest = first(values)
        for one in rest:
            if greatest == BAD:
                break
            greatest = max(greatest, one(values))
        return greatest

    return judge


def _among(index: int, bad: frozenset[Value], ignore: frozenset[Value], unknown: int) -> VerdictOf:
    def judge(values: Sequence[Any]) -> int:
        value = values[index]
        if value is None or value in ignore:
            return unknown
        return BAD if value in bad else CLEAR

    return judge


def _or(value: float | None, other: float) -> float:
    return other if value is None else value
