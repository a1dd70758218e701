"""Rules files: their shape, and reading them into ``Rules``; every mistake is one FileError with file and key.

A file has up to three parts. Shipped files are read first, then the given ones in their order; a rule of the same id
replaces the earlier one as a whole, an override changes single keys of it for some sites, vehicles, models or devices::

    rules:
      modem_hot:
        kind: threshold               # threshold, state, absence, event, site
        version: 1                    # a new version starts its conditions anew and adopts the open ticket
        fault: modem_hot              # of the catalogue
        metric: modem.temperature_c
        above: 80
        clear: 75
        for: 5m
        working: false                # only where no stream plays, no link answers: the device does no work either
        source: where the figures come from
    overrides:
      - rule: modem_hot
        models: ["RUTX*"]
        set: {above: 85, version: 2}  # or: disabled: true
    settings:
      lateness: 72h
"""

from __future__ import annotations

import dataclasses
import importlib.resources
import re
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Annotated, Any, Final, Literal

import msgspec

from collector.core.problems import Duty
from collector.core.rules.types import (
    AbsenceRule,
    AnyRule,
    EventRule,
    Override,
    Rules,
    SampledRule,
    Settings,
    SiteRule,
    Term,
)
from telemetry.faults import FAULTS, Severity, SlaClass
from telemetry.files import FileError, convert, parse_yaml, read_yaml
from telemetry.fleet import DeviceKind, Fleet
from telemetry.metrics import METRICS, Metric, nearest

__all__ = [
    "AbsenceRule",
    "AnyRule",
    "EventRule",
    "Override",
    "Rules",
    "SampledRule",
    "Settings",
    "SiteRule",
    "Term",
    "load_rules",
    "parse_rules",
    "shipped_files",
]

Span = str | float
"""A duration: ``30s``, ``10m``, ``2h``, ``3d``, ``500ms``, or a number of seconds."""
_SPAN: Final = re.compile(r"(\d+(?:\.\d+)?)(ms|s|m|h|d)")
_UNIT_MS: Final = {"ms": 1, "s": 1_000, "m": 60_000, "h": 3_600_000, "d": 86_400_000}
_RULE_ID: Final = re.compile(r"[a-z][a-z0-9_]{0,63}")
_SAME_THING: Final = frozenset({"leg", "sensor"})
"""Labels that name a way of measuring one thing: they tell no tickets apart unless a rule says so."""
_RENAME: Final = {"for_": "for", "class_": "class", "is_": "is"}


class _TermShape(
    msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True, rename=lambda n: _RENAME.get(n, n)
):
    metric: str
    above: float | None = None
    below: float | None = None
    clear: float | None = None
    is_: tuple[bool | str, ...] = ()
    neither: tuple[str, ...] = ()
    or_unknown: bool = False


class _Shape(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True, rename=lambda n: _RENAME.get(n, n)):
    """Keys that every rule may have."""

    kind: str
    fault: str
    version: Annotated[int, msgspec.Meta(ge=1)] = 1
    source: str = ""
    for_: Span = 0
    clear_for: Span | None = None
    class_: SlaClass | None = None
    severity: Severity | None = None
    when: tuple[Duty, ...] = ("on_duty", "on_mission", "parked")
    kinds: tuple[DeviceKind, ...] = ()
    sites: tuple[str, ...] = ()
    vehicles: tuple[str, ...] = ()
    devices: tuple[str, ...] = ()
    under: tuple[str, ...] = ()


class _SampledShape(_Shape, frozen=True, kw_only=True):
    """Keys that thresholds and states share."""

    metric: str
    also: tuple[_TermShape, ...] = ()
    either: tuple[_TermShape, ...] = ()
    where: tuple[_TermShape, ...] = ()
    together: bool = False
    apart: tuple[str, ...] | None = None
    bridge: Span = "1h"
    working: bool | None = None


class _ThresholdShape(_SampledShape, frozen=True, kw_only=True):
    above: float | None = None
    below: float | None = None
    clear: float | None = None


class _StateShape(_SampledShape, frozen=True, kw_only=True):
    is_: tuple[bool | str, ...]
    neither: tuple[str, ...] = ()


class _AbsenceShape(_Shape, frozen=True, kw_only=True):
    of: Literal["device", "agent", "vehicle"] = "device"
    working: bool | None = None


class _EventShape(_Shape, frozen=True, kw_only=True):
    event: Literal["problem", "firmware", "lost", "clash"]
    begins: tuple[str, ...] = ()


class _SiteShape(_Shape, frozen=True, kw_only=True):
    share: Annotated[float, msgspec.Meta(gt=0, lt=1)] = 0.5
    least: Annotated[int, msgspec.Meta(ge=1)] = 2


class _OverrideShape(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    rule: str
    sites: tuple[str, ...] = ()
    vehicles: tuple[str, ...] = ()
    models: tuple[str, ...] = ()
    devices: tuple[str, ...] = ()
    set: dict[str, Any] = {}
    disabled: bool = False


class _SettingsShape(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    lateness: Span | None = None
    stale: Span | None = None
    future: Span | None = None
    settle: Span | None = None
    gap: Span | None = None
    fact: Span | None = None


class _FileShape(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    rules: dict[str, dict[str, Any]] = {}
    overrides: tuple[_OverrideShape, ...] = ()
    settings: _SettingsShape = _SettingsShape()


_SHAPES: Final[Mapping[str, type[_Shape]]] = {
    "threshold": _ThresholdShape,
    "state": _StateShape,
    "absence": _AbsenceShape,
    "event": _EventShape,
    "site": _SiteShape,
}


def shipped_files() -> list[tuple[str, str]]:
    """Return (name, text) of the rules files that the product ships, in their order."""
    folder = importlib.resources.files("collector").joinpath("rules")
    files = sorted((file for file in folder.iterdir() if file.name.endswith(".yaml")), key=lambda file: file.name)
    return [(f"shipped:{file.name}", file.read_text(encoding="utf-8")) for file in files]


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
        self._overrides: list[tuple[str, int, _OverrideShape]] = []
        self._settings = Settings()

    def add(self, path: str, data: Any) -> None:
        """Take a file's content."""
        file = convert(data, _FileShape, path)
        for id, body in file.rules.items():
            key = f"rules.{id}"
            if not _RULE_ID.fullmatch(id):
                raise FileError(path, key, f"expected a name of small letters, digits and _, found {id!r}")
            self._rules[id] = self._build(path, key, id, body)
            self._raw[id] = body
        self._overrides += [(path, number, override) for number, override in enumerate(file.overrides)]
        given = {
            f"{name}_ms": _ms(path, f"settings.{name}", getattr(file.settings, name))
            for name in _SettingsShape.__struct_fields__
            if getattr(file.settings, name) is not None
        }
        self._settings = dataclasses.replace(self._settings, **given)

    def rules(self) -> Rules:
        """Return all of it; overrides are laid over the rules as the last file has left them."""
        overrides = tuple(self._override(*entry) for entry in self._overrides)
        return Rules(dict(self._rules), overrides, self._settings)

    def _override(self, path: str, number: int, shape: _OverrideShape) -> Override:
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
        kind = body.get("kind")
        shape_type = _SHAPES.get(kind) if isinstance(kind, str) else None
        if shape_type is None:
            hint = nearest(kind, _SHAPES) if isinstance(kind, str) else ""
            raise FileError(path, f"{key}.kind", f"expected one of {', '.join(_SHAPES)}; found {kind!r}{hint}")
        shape = convert(body, shape_type, path, key)
        self._check_selectors(path, key, shape.sites, shape.vehicles, shape.devices)
        return _rule(path, key, id, shape)


def _merge(base: Mapping[str, Any], change: Mapping[str, Any]) -> dict[str, Any]:
    """Return the rule's keys, changed. A threshold that is turned round loses its old limit."""
    merged = {**base, **change}
    for one, other in (("above", "below"), ("below", "above")):
        if one in change and other not in change:
            merged.pop(other, None)
    return merged


def _ms(path: str, key: str, span: Span) -> int:
    """Return a duration in milliseconds. Raises FileError."""
    if not isinstance(span, str):
        if span >= 0:
            return round(span * 1000)
    else:
        match = _SPAN.fullmatch(span)
        if match:
            return round(float(match[1]) * _UNIT_MS[match[2]])
    raise FileError(path, key, f"expected a duration such as 30s, 10m, 2h or 3d, found {span!r}")


def _rule(path: str, key: str, id: str, shape: _Shape) -> AnyRule:
    for name, words in (("fault", (shape.fault,)), ("under", shape.under)):
        for word in words:
            if word not in FAULTS:
                raise FileError(
                    path,
                    f"{key}.{name}",
                    f"expected a fault of the catalogue, found {word!r}{nearest(word, FAULTS)}",
                )
    for_ms = _ms(path, f"{key}.for", shape.for_)
    common: dict[str, Any] = {
        "id": id,
        "version": shape.version,
        "fault": FAULTS[shape.fault],
        "for_ms": for_ms,
        "clear_for_ms": for_ms if shape.clear_for is None else _ms(path, f"{key}.clear_for", shape.clear_for),
        "source": shape.source,
        "sla_class": shape.class_,
        "severity": shape.severity,
        "when": frozenset(shape.when),
        "kinds": frozenset(shape.kinds),
        "sites": frozenset(shape.sites),
        "vehicles": frozenset(shape.vehicles),
        "devices": frozenset(shape.devices),
        "under": frozenset(shape.under),
    }
    if isinstance(shape, _SampledShape):
        return _sampled(path, key, shape, common)
    if isinstance(shape, _AbsenceShape):
        if shape.working is not None and shape.of != "device":
            raise FileError(path, f"{key}.working", f"expected it with of: device only, found of: {shape.of}")
        return AbsenceRule(**common, of=shape.of, working=shape.working)
    if isinstance(shape, _EventShape):
        if shape.event in ("problem", "lost") and not shape.begins:
            raise FileError(path, f"{key}.begins", f"expected the words that such a {shape.event} begins with")
        return EventRule(**common, event=shape.event, begins=shape.begins)
    assert isinstance(shape, _SiteShape)
    return SiteRule(**common, share=shape.share, least=shape.least)


def _sampled(path: str, key: str, shape: _SampledShape, common: Mapping[str, Any]) -> SampledRule:
    if isinstance(shape, _ThresholdShape):
        term = _TermShape(metric=shape.metric, above=shape.above, below=shape.below, clear=shape.clear)
    else:
        assert isinstance(shape, _StateShape)
        term = _TermShape(metric=shape.metric, is_=shape.is_, neither=shape.neither)
    primary = _term(path, key, term)
    if (primary.above is None and primary.below is None) == isinstance(shape, _ThresholdShape):
        raise FileError(path, f"{key}.above", "expected a limit, 'above' or 'below', found none")
    labels = frozenset(primary.metric.labels)
    apart = labels - _SAME_THING if shape.apart is None else frozenset(shape.apart)
    if shape.together:
        apart = frozenset()
    for label in sorted(apart - labels):
        raise FileError(path, f"{key}.apart", f"expected labels of {shape.metric}, found {label!r}")
    return SampledRule(
        **common,
        term=primary,
        also=tuple(_term(path, f"{key}.also.{number}", part) for number, part in enumerate(shape.also)),
        either=tuple(_term(path, f"{key}.either.{number}", part) for number, part in enumerate(shape.either)),
        where=tuple(_term(path, f"{key}.where.{number}", part) for number, part in enumerate(shape.where)),
        together=shape.together,
        apart=apart,
        bridge_ms=_ms(path, f"{key}.bridge", shape.bridge),
        working=shape.working,
    )


def _term(path: str, key: str, shape: _TermShape) -> Term:
    metric = METRICS.get(shape.metric)
    if metric is None:
        raise FileError(
            path,
            f"{key}.metric",
            f"expected a metric of the catalogue, found {shape.metric!r}{nearest(shape.metric, METRICS)}",
        )
    if shape.above is not None or shape.below is not None:
        _check_limits(path, key, shape, metric)
        return Term(metric, shape.above, shape.below, shape.clear, or_unknown=shape.or_unknown)
    if not shape.is_:
        raise FileError(path, key, "expected a limit ('above', 'below') or values ('is'), found neither")
    for name, values in (("is", shape.is_), ("neither", shape.neither)):
        for value in values:
            try:
                metric.check(value)
            except ValueError as error:
                raise FileError(path, f"{key}.{name}", str(error).partition(": ")[2]) from None
    silent = {"unknown"} & set(metric.states)
    return Term(
        metric,
        bad=frozenset(shape.is_),
        neither=frozenset(shape.neither) | (silent - set(shape.is_)),
        or_unknown=shape.or_unknown,
    )


def _check_limits(path: str, key: str, shape: _TermShape, metric: Metric) -> None:
    if metric.kind not in ("float", "int"):
        raise FileError(
            path, f"{key}.metric", f"expected a metric that is a number, found {metric.name} ({metric.kind})"
        )
    if shape.above is not None and shape.below is not None:
        raise FileError(path, f"{key}.below", "expected one limit, found 'above' and 'below'")
    if shape.is_ or shape.neither:
        raise FileError(path, f"{key}.is", "expected a limit or values, found both")
    limit = shape.above if shape.above is not None else shape.below
    assert limit is not None
    if not metric.low <= limit <= metric.high:
        name = "above" if shape.above is not None else "below"
        raise FileError(
            path, f"{key}.{name}", f"expected {metric.low:g} to {metric.high:g} {metric.unit}, found {limit:g}"
        )
    if shape.clear is not None and (
        (shape.above is not None and shape.clear > limit) or (shape.below is not None and shape.clear < limit)
    ):
        side = "at most" if shape.above is not None else "at least"
        raise FileError(path, f"{key}.clear", f"expected {side} the limit of {limit:g}, found {shape.clear:g}")
