"""Reading rules files into ``Rules``; every mistake is one FileError with file and key. ``shapes`` has the keys.

A file has up to three parts. Shipped files are read first, then the given ones in their order; a rule of the same id
replaces the earlier one as a whole, an override changes single keys of it for some sites, vehicles, models or devices::

    rules:
      modem_hot:
        version: 1                    # a new version starts its conditions anew and adopts the active problem
        fault: modem_hot              # of the catalogue
        condition: {metric: modem.temperature_c, above: 80, clear: 75}
        for: 5m
        source: where the figures come from
    overrides:
      - rule: modem_hot
        models: ["RUTX*"]
        set: {condition: {above: 85}, version: 2}  # or: disabled: true
    settings:
      lateness: 72h
"""

from __future__ import annotations

import dataclasses
import functools
import importlib.resources
import re
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any, Final, get_args

from collector.core.diagnosis import Topology, check_topology
from collector.core.rules.durations import Span, milliseconds
from collector.core.rules.expressions import AllOf, AnyOf, Condition, Indicator, Not, leaves
from collector.core.rules.reducers import REDUCERS, Reducer
from collector.core.rules.shapes import (
    OLD_WORDS,
    EventShape,
    FileShape,
    IndicatorShape,
    OverrideShape,
    RuleShape,
    SettingsShape,
    SilenceShape,
)
from collector.core.rules.types import (
    AbsenceRule,
    AnyRule,
    EventRule,
    Override,
    Rules,
    SampledRule,
    Settings,
    SiteRule,
)
from telemetry.faults import FAULTS
from telemetry.files import FileError, convert, parse_yaml, read_yaml
from telemetry.fleet import DeviceKind, Fleet
from telemetry.metrics import METRICS, Metric, nearest

_TOPOLOGY: Final = "topology.yaml"
_RULE_ID: Final = re.compile(r"[a-z][a-z0-9_]{0,63}")
_JOINS: Final[Mapping[str, type[AllOf] | type[AnyOf]]] = {"all_of": AllOf, "any_of": AnyOf}


def shipped_files() -> list[tuple[str, str]]:
    """Return (name, text) of the rules files that the product ships, in their order."""
    folder = importlib.resources.files("collector").joinpath("rules")
    files = sorted((file for file in folder.iterdir() if file.name.endswith(".yaml")), key=lambda file: file.name)
    return [(f"shipped:{file.name}", file.read_text(encoding="utf-8")) for file in files if file.name != _TOPOLOGY]


@functools.cache
def shipped_topology() -> Topology:
    """Return what the product ships about what needs what. Raises FileError."""
    name = f"shipped:{_TOPOLOGY}"
    text = importlib.resources.files("collector").joinpath("rules", _TOPOLOGY).read_text(encoding="utf-8")
    topology = convert(parse_yaml(text, name), Topology, name)
    wrong = check_topology(topology, FAULTS, get_args(DeviceKind))
    if wrong:
        raise FileError(name, "", f"expected nodes, kinds of device and faults that there are, found {wrong}")
    return topology


def load_rules(paths: Iterable[Path] = (), fleet: Fleet | None = None) -> Rules:
    """Return the shipped rules, changed by the files given. Raises FileError for the first thing that is wrong.

    With ``fleet``, sites, vehicles and devices that are named must be in it.
    """
    texts = [(name, parse_yaml(text, name)) for name, text in shipped_files()]
    return parse_rules([*texts, *((str(path), read_yaml(path)) for path in paths)], fleet)


def parse_rules(files: Iterable[tuple[str, Any]], fleet: Fleet | None = None) -> Rules:
    """Return the rules in plain data: (name of the file, what its YAML holds). Raises FileError."""
    loader = _Loader(fleet)
    for name, data in files:
        loader.add(name, {} if data is None else data)
    return loader.rules()


class _Loader:
    """Collects files; every rule and every override is checked as it comes."""

    def __init__(self, fleet: Fleet | None) -> None:
        self._fleet = fleet
        self._raw: dict[str, dict[str, Any]] = {}
        self._rules: dict[str, AnyRule] = {}
        self._overrides: list[tuple[str, int, OverrideShape]] = []
        self._settings = Settings()

    def add(self, path: str, data: Any) -> None:
        """Take a file's content."""
        file = convert(data, FileShape, path)
        for id, rule in file.rules.items():
            key = f"rules.{id}"
            if not _RULE_ID.fullmatch(id):
                raise FileError(path, key, f"expected a name of small letters, digits and _, found {id!r}")
            self._rules[id] = self._build(path, key, id, rule)
            self._raw[id] = rule
        self._overrides += [(path, number, override) for number, override in enumerate(file.overrides)]
        given = {
            f"{name}_ms": _ms(path, f"settings.{name}", getattr(file.settings, name))
            for name in SettingsShape.__struct_fields__
            if getattr(file.settings, name) is not None
        }
        self._settings = dataclasses.replace(self._settings, **given)

    def rules(self) -> Rules:
        """Return all of it; overrides are laid over the rules as the last file has left them."""
        overrides = tuple(self._override(*entry) for entry in self._overrides)
        return Rules(dict(self._rules), shipped_topology(), overrides, self._settings)

    def _override(self, path: str, number: int, shape: OverrideShape) -> Override:
        key = f"overrides.{number}"
        base = self._raw.get(shape.rule)
        if base is None:
            raise FileError(
                path,
                f"{key}.rule",
                f"expected the name of a rule, found {shape.rule!r}{nearest(shape.rule, self._raw)}",
            )
        if shape.disabled == bool(shape.set):
            raise FileError(path, key, "expected either 'set' with the keys to change or 'disabled: true'")
        self._check_selectors(path, key, shape.sites, shape.vehicles, shape.devices)
        rule = None if shape.disabled else self._build(path, f"{key}.set", shape.rule, _merge(base, shape.set))
        return Override(
            shape.rule,
            rule,
            frozenset(shape.sites),
            frozenset(shape.vehicles),
            frozenset(shape.devices),
            shape.models,
        )

    def _check_selectors(
        self, path: str, key: str, sites: Iterable[str], vehicles: Iterable[str], devices: Iterable[str]
    ) -> None:
        if self._fleet is None:
            return
        vehicles = set(vehicles)
        chosen = {
            id: plan
            for site in self._fleet.sites.values()
            for id, plan in site.vehicles.items()
            if not vehicles or id in vehicles
        }
        known_vehicles = {id for site in self._fleet.sites.values() for id in site.vehicles}
        known_devices = {device for plan in chosen.values() for _, device, _ in plan.devices()}
        for name, found, known, what in (
            ("sites", sites, set(self._fleet.sites), "a site of the fleet file"),
            ("vehicles", sorted(vehicles), known_vehicles, "a vehicle of the fleet file"),
            ("devices", devices, known_devices, "a device of one of these vehicles"),
        ):
            for word in found:
                if word not in known:
                    raise FileError(path, f"{key}.{name}", f"expected {what}, found {word!r}{nearest(word, known)}")

    def _build(self, path: str, key: str, id: str, body: Mapping[str, Any]) -> AnyRule:
        _refuse_old_words(path, key, body)
        shape = convert(body, RuleShape, path, key)
        self._check_selectors(path, key, shape.sites, shape.vehicles, shape.devices)
        return _RuleReader(path, key, id, shape).rule()


def _refuse_old_words(path: str, key: str, body: Mapping[str, Any]) -> None:
    """Raise FileError for a word of the first version, naming the one that has taken its place."""
    for word in body:
        if word in OLD_WORDS:
            raise FileError(path, f"{key}.{word}", f"expected {OLD_WORDS[word]}, found {word!r}, which is no more")


def _merge(base: Mapping[str, Any], change: Mapping[str, Any]) -> dict[str, Any]:
    """Return a rule's keys, changed, mappings key by key. A limit that is turned round loses the old one."""
    merged = dict(base)
    for name, value in change.items():
        before = merged.get(name)
        both = isinstance(before, Mapping) and isinstance(value, Mapping)
        merged[name] = _merge(before, value) if both else value  # type: ignore[arg-type]
    for one, other in (("above", "below"), ("below", "above")):
        if one in change and other not in change:
            merged.pop(other, None)
    return merged


def _ms(path: str, key: str, span: Span) -> int:
    """Return a duration in milliseconds. Raises FileError."""
    try:
        return milliseconds(span)
    except ValueError as error:
        raise FileError(path, key, str(error)) from None


class _RuleReader:
    """Makes a rule of its shape. ``key`` says where in the file it stands."""

    def __init__(self, path: str, key: str, id: str, shape: RuleShape) -> None:
        self._path = path
        self._key = key
        self._id = id
        self._shape = shape
        self._named: dict[str, Indicator] = {}

    def rule(self) -> AnyRule:
        """Return it. Raises FileError."""
        condition = self._shape.condition
        if isinstance(condition, Mapping) and "silence_of" in condition:
            return self._silence(convert(condition, SilenceShape, self._path, f"{self._key}.condition"))
        if isinstance(condition, Mapping) and "event" in condition:
            return self._event(convert(condition, EventShape, self._path, f"{self._key}.condition"))
        return self._sampled()

    def _wrong(self, key: str, problem: str) -> FileError:
        return FileError(self._path, f"{self._key}.{key}", problem)

    def _common(self) -> dict[str, Any]:
        shape = self._shape
        if shape.fault not in FAULTS:
            hint = nearest(shape.fault, FAULTS)
            raise self._wrong("fault", f"expected a fault of the catalogue, found {shape.fault!r}{hint}")
        for_ms = _ms(self._path, f"{self._key}.for", shape.for_)
        clear_for = shape.clear_for
        return {
            "id": self._id,
            "version": shape.version,
            "fault": FAULTS[shape.fault],
            "for_ms": for_ms,
            "clear_for_ms": for_ms if clear_for is None else _ms(self._path, f"{self._key}.clear_for", clear_for),
            "source": shape.source,
            "sla_class": shape.class_,
            "severity": shape.severity,
            "when": frozenset(shape.when),
            "kinds": frozenset(shape.kinds),
            "sites": frozenset(shape.sites),
            "vehicles": frozenset(shape.vehicles),
            "devices": frozenset(shape.devices),
        }

    def _only_samples(self) -> None:
        """Raise FileError for keys that only a rule on samples has."""
        for name in ("indicators", "max_gap"):
            if getattr(self._shape, name) not in ({}, None):
                raise self._wrong(name, "expected it only with a condition on samples")

    def _silence(self, shape: SilenceShape) -> AnyRule:
        self._only_samples()
        working, only_if = self._works()
        if only_if is not None:
            raise self._wrong("only_if", "expected 'works' alone with a silence")
        if shape.silence_of == "site":
            return SiteRule(**self._common(), share=shape.share, least=shape.min_count)
        if working is not None and shape.silence_of != "device":
            raise self._wrong("only_if", f"expected it with silence_of: device only, found {shape.silence_of}")
        return AbsenceRule(**self._common(), of=shape.silence_of, working=working)

    def _event(self, shape: EventShape) -> EventRule:
        self._only_samples()
        if self._shape.only_if is not None:
            raise self._wrong("only_if", "expected it only with a condition on samples or silence")
        if shape.event in ("problem", "lost") and not shape.starts_with:
            raise self._wrong("condition.starts_with", f"expected the words that such a {shape.event} begins with")
        return EventRule(**self._common(), event=shape.event, begins=shape.starts_with)

    def _sampled(self) -> SampledRule:
        shape = self._shape
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
        working, only_if = self._works()
        narrowing = None if only_if is None else self._condition("only_if", only_if)
        if narrowing is not None and any(leaf.reducer or leaf.name for leaf in leaves(narrowing)):
            raise self._wrong("only_if", "expected values of the same moment, found a reducer or an indicator's name")
        return SampledRule(
            **self._common(),
            condition=condition,
            only_if=narrowing,
            max_gap_ms=_ms(self._path, f"{self._key}.max_gap", "1h" if shape.max_gap is None else shape.max_gap),
            working=working,
        )

    def _works(self) -> tuple[bool | None, Any]:
        """Return whether the device must do its work, or must not, and what else ``only_if`` asks."""
        only_if = self._shape.only_if
        parts = only_if["all_of"] if isinstance(only_if, Mapping) and list(only_if) == ["all_of"] else [only_if]
        if not isinstance(parts, list):
            return None, only_if
        asked = [part for part in parts if isinstance(part, Mapping) and "works" in part]
        if not asked:
            return None, only_if
        if len(asked) > 1 or list(asked[0]) != ["works"] or not isinstance(asked[0]["works"], bool):
            raise self._wrong("only_if.works", "expected true or false, once and alone")
        rest = [part for part in parts if part is not asked[0]]
        return asked[0]["works"], {"all_of": rest} if rest else None

    # --- conditions ---------------------------------------------------------------------------------------------------

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
            _refuse_old_words(self._path, f"{self._key}.{key}", {w: 1 for w in data if w in ("neither", "apart")})
        shape = convert(data, IndicatorShape, self._path, f"{self._key}.{key}")
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
            across=across,  # type: ignore[arg-type]
            group_by=None if shape.group_by is None else frozenset(shape.group_by),
            kinds=frozenset(shape.kinds),
        )
        return self._checked(key, made)

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
        return _ms(self._path, f"{self._key}.{key}", value) / 1000 if isinstance(value, str) else value

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
        elif limited and (made.bad or made.ignore):
            raise self._wrong(f"{key}.is", "expected a limit or values, found both")
        elif not limited and not made.bad:
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
        return dataclasses.replace(made, ignore=made.ignore | silent)
