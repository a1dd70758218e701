"""Rules that judge samples by a condition on indicators: the type, and how it is read.

``schemas`` compiles it for each schema, ``condition`` is its machine, ``vehicle.step`` and ``vehicle.late`` run that.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final, NamedTuple

import msgspec

from collector.core.rules.expressions import AllOf, AnyOf, Condition, Indicator, Not, leaves, mapped
from collector.core.rules.reader import Kind, RuleReader, refuse_old_words
from collector.core.rules.reducers import REDUCERS, Reducer
from collector.core.rules.shapes import FlappingShape, IndicatorShape
from collector.core.rules.types import Rule
from telemetry.files import convert
from telemetry.metrics import METRICS, Metric, nearest

_JOINS: Final[Mapping[str, type[AllOf] | type[AnyOf]]] = {"all_of": AllOf, "any_of": AnyOf}


class Flapping(NamedTuple):
    """So many changes within a time are one problem, which ends after a quiet time."""

    changes: int
    within_ms: int
    quiet_ms: int

    def scaled(self, speed: float) -> Flapping:
        """Return it for judging ``speed`` times faster."""
        return Flapping(self.changes, round(self.within_ms / speed), round(self.quiet_ms / speed))


FLAPPING: Final = (Flapping(10, 86_400_000, 4 * 3_600_000), Flapping(5, 3_600_000, 1_800_000))
"""What holds where a rule says nothing else; the longest quiet time first."""


class SampledRule(Rule, frozen=True, kw_only=True):
    """Judges samples by a condition on indicators. It is looked at whenever the first of them has a sample."""

    condition: Condition
    min_polls: int = 0
    """It must last for so many polls too."""
    only_if: Condition | None = None
    """No evidence of anything unless this is bad at the same moment."""
    max_gap_ms: int = 3_600_000
    """The longest silence that a pending condition or a clearing survives."""
    flapping: tuple[Flapping, ...] = ()

    @property
    def first(self) -> Indicator:
        """The indicator that says of which device and labels a problem is."""
        return next(leaves(self.condition))

    @property
    def contact(self) -> bool:
        """Whether it is about a device that is not reached, which proves nothing before that is expected to answer."""
        return self.first.series.name == "device.reachable"

    def lasts_ms(self, step_ms: int) -> int:
        """Return how long it must be bad where its source is read every ``step_ms``."""
        return max(self.for_ms, self.min_polls * step_ms)

    def scaled(self, speed: float) -> SampledRule:
        """Return the rule for judging ``speed`` times faster, its windows too."""
        condition = mapped(self.condition, lambda indicator: indicator.scaled(speed))
        return msgspec.structs.replace(
            self,
            condition=condition,
            for_ms=round(self.for_ms / speed),
            clear_for_ms=round(self.clear_for_ms / speed),
            max_gap_ms=round(self.max_gap_ms / speed),
            flapping=tuple(one.scaled(speed) for one in self.flapping),
        )


class _Reading:
    """Makes such a rule."""

    def __init__(self, reader: RuleReader) -> None:
        self._reader = reader
        self._named: dict[str, Indicator] = {}
        self._wrong = reader.wrong

    def rule(self) -> SampledRule:
        """Return it. Raises FileError."""
        shape = self._reader.shape
        self._named = {
            name: self._indicator(f"indicators.{name}", name, data) for name, data in shape.indicators.items()
        }
        condition = self._condition("condition", shape.condition)
        used = {indicator.name for indicator in leaves(condition)}
        for name in self._named:
            if name not in used:
                raise self._wrong(f"indicators.{name}", "expected every indicator in the condition, found it nowhere")
        for other in [*leaves(condition)][1:]:
            if not other.name and (other.group_by is not None or other.across != "each"):
                raise self._wrong(
                    "condition", "expected group_by and of on the first indicator, which names the problem"
                )
        working, only_if = self._reader.works()
        narrowing = None if only_if is None else self._condition("only_if", only_if)
        if narrowing is not None and any(leaf.reducer or leaf.name for leaf in leaves(narrowing)):
            raise self._wrong("only_if", "expected values of the same moment, found a reducer or an indicator's name")
        return SampledRule(
            **self._reader.common(),
            condition=condition,
            only_if=narrowing,
            min_polls=shape.min_polls,
            max_gap_ms=self._reader.ms("max_gap", "1h" if shape.max_gap is None else shape.max_gap),
            working=working,
            flapping=self._flapping(shape.flapping),
        )

    def _flapping(self, given: tuple[FlappingShape, ...] | None) -> tuple[Flapping, ...]:
        if given is None:
            return FLAPPING
        ms = self._reader.ms
        found = [Flapping(one.changes, ms("flapping", one.within), ms("flapping", one.quiet)) for one in given]
        return tuple(sorted(found, key=lambda one: -one.quiet_ms))

    def _condition(self, key: str, data: Any) -> Condition:
        """Return a condition: a name, an indicator, or one of ``all_of``, ``any_of``, ``not``."""
        if isinstance(data, str):
            found = self._named.get(data)
            if found is None:
                raise self._wrong(
                    key, f"expected one of the rule's indicators, found {data!r}{nearest(data, self._named)}"
                )
            return found
        if not isinstance(data, Mapping):
            raise self._wrong(key, f"expected an indicator or all_of, any_of, not; found {data!r}")
        for word, join in _JOINS.items():
            if word in data:
                self._alone(key, word, data)
                parts = data[word]
                if not isinstance(parts, list) or not parts:
                    raise self._wrong(f"{key}.{word}", f"expected a list of conditions, found {parts!r}")
                return join(tuple(self._condition(f"{key}.{word}.{n}", part) for n, part in enumerate(parts)))
        if "not" in data:
            self._alone(key, "not", data)
            return Not(self._condition(f"{key}.not", data["not"]))
        return self._indicator(key, "", data)

    def _alone(self, key: str, word: str, data: Mapping[str, Any]) -> None:
        if len(data) > 1:
            other = next(name for name in data if name != word)
            raise self._wrong(f"{key}.{other}", f"expected {word!r} alone")

    def _indicator(self, key: str, name: str, data: Any) -> Indicator:
        if isinstance(data, Mapping):
            refuse_old_words(
                self._reader.path, f"{self._reader.key}.{key}", {w: 1 for w in data if w in ("neither", "apart")}
            )
        shape = convert(data, IndicatorShape, self._reader.path, f"{self._reader.key}.{key}")
        reducer = self._reducer(key, shape)
        counted = None
        across = shape.of if isinstance(shape.of, str) else "each"
        if isinstance(shape.of, Mapping):
            if reducer is None or not reducer.counts_samples:
                raise self._wrong(f"{key}.of", "expected a condition only with share or count")
            counted = self._condition(f"{key}.of", shape.of)
            if any(leaf.reducer or leaf.name for leaf in leaves(counted)):
                raise self._wrong(f"{key}.of", "expected values of one moment, found a reducer or an indicator's name")
        if across not in ("each", "all", "any"):
            raise self._wrong(f"{key}.of", f"expected each, all, any or a condition, found {shape.of!r}")
        metric = None if shape.metric is None else self._metric(key, shape.metric)
        if (metric is None) == (counted is None):
            raise self._wrong(key, "expected a metric, or share or count of a condition")
        made = Indicator(
            name=name,
            metric=metric,
            of=counted,
            reducer=reducer,
            above=self._limit(f"{key}.above", shape.above),
            below=self._limit(f"{key}.below", shape.below),
            clear=self._limit(f"{key}.clear", shape.clear),
            bad=frozenset(shape.is_),
            ignore=frozenset(shape.ignore),
            unknown_is_bad=shape.or_unknown,
            unknown_is_clear=shape.unless_known == "clear",
            across=across,  # type: ignore[arg-type]
            group_by=None if shape.group_by is None else frozenset(shape.group_by),
            kinds=frozenset(shape.kinds),
            other_routers=shape.other_routers,
            without=self._without(key, shape.without),
            plus=None if shape.plus is None else self._metric(key, shape.plus),
        )
        return self._checked(key, made)

    def _without(self, key: str, data: Any) -> Condition | None:
        if data is None:
            return None
        found = self._condition(f"{key}.without", data)
        if any(leaf.reducer or leaf.name or leaf.without for leaf in leaves(found)):
            raise self._wrong(f"{key}.without", "expected values of the same moment, found a reducer or a name")
        return found

    def _reducer(self, key: str, shape: IndicatorShape) -> Reducer | None:
        found = {word: given for word in REDUCERS if (given := getattr(shape, word)) is not None}
        if len(found) > 1:
            raise self._wrong(key, f"expected one of {', '.join(found)}, found {len(found)} of them")
        return next(iter(found.values()), None)

    def _metric(self, key: str, name: str) -> Metric:
        metric = METRICS.get(name)
        if metric is None:
            raise self._wrong(
                f"{key}.metric", f"expected a metric of the catalogue, found {name!r}{nearest(name, METRICS)}"
            )
        return metric

    def _limit(self, key: str, value: float | str | None) -> float | None:
        """Return a limit; one that is a duration in seconds."""
        return self._reader.ms(key, value) / 1000 if isinstance(value, str) else value

    def _checked(self, key: str, made: Indicator) -> Indicator:
        limited = made.above is not None or made.below is not None
        for label in sorted((made.group_by or frozenset()) - set(made.series.labels)):
            raise self._wrong(f"{key}.group_by", f"expected labels of {made.series.name}, found {label!r}")
        if made.above is not None and made.below is not None:
            raise self._wrong(f"{key}.below", "expected one limit, found 'above' and 'below'")
        if made.reducer is not None:
            if not limited:
                raise self._wrong(key, "expected a limit ('above', 'below'), found none")
            if made.reducer.counts_samples != bool(made.of or made.bad):
                raise self._wrong(key, "expected 'of' or 'is' with share and count, and only with them")
        elif made.without is not None or made.plus is not None:
            raise self._wrong(key, "expected 'without' and 'plus' only with a reducer")
        elif limited and (made.bad or made.ignore):
            raise self._wrong(f"{key}.is", "expected a limit or values, found both")
        elif not limited and not made.bad and not made.other_routers:
            raise self._wrong(key, "expected a limit ('above', 'below') or values ('is'), found neither")
        self._check_limits(key, made)
        return self._check_states(key, made)

    def _check_limits(self, key: str, made: Indicator) -> None:
        above, below, clear = made.above, made.below, made.clear
        limit = above if above is not None else below
        if limit is None:
            return
        metric, reducer = made.metric, made.reducer
        words = reducer is not None and (reducer.takes_words or reducer.counts_samples)
        if metric is not None and not words and metric.kind not in ("float", "int"):
            raise self._wrong(
                f"{key}.metric", f"expected a metric that is a number, found {metric.name} ({metric.kind})"
            )
        if metric is not None and reducer is None and not metric.low <= limit <= metric.high:
            name = "above" if above is not None else "below"
            raise self._wrong(
                f"{key}.{name}", f"expected {metric.low:g} to {metric.high:g} {metric.unit}, found {limit:g}"
            )
        if clear is not None and ((above is not None and clear > above) or (below is not None and clear < below)):
            side = "at most" if above is not None else "at least"
            raise self._wrong(f"{key}.clear", f"expected {side} the limit of {limit:g}, found {clear:g}")

    def _check_states(self, key: str, made: Indicator) -> Indicator:
        """Check the states that are named; *unknown* proves nothing unless it is asked for."""
        if made.metric is None:
            return made
        for name, values in (("is", made.bad), ("ignore", made.ignore)):
            for value in sorted(values, key=str):
                try:
                    made.metric.check(value)
                except ValueError as error:
                    raise self._wrong(f"{key}.{name}", str(error).partition(": ")[2]) from None
        silent = frozenset({"unknown"} & set(made.metric.states)) - made.bad
        return msgspec.structs.replace(made, ignore=made.ignore | silent)


KIND: Final = Kind("", None, lambda reader, condition: _Reading(reader).rule())
