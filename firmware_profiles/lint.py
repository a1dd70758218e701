"""The lint of one profile: what can be said without a device's answers. Pure."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from typing import Final

from firmware_profiles.answers import KINDS
from firmware_profiles.arithmetic import FormulaError, names
from firmware_profiles.asked import is_column, sources_of
from firmware_profiles.lint_requests import Problem, bad_pattern, lint_requests
from firmware_profiles.load import Profile
from firmware_profiles.model import Condition, Metric, Parsing, Plain, Probe, Source
from firmware_profiles.read import IDENTITY_FIELDS
from firmware_profiles.version import VersionError, parse_range
from telemetry.metrics import METRICS, nearest

_OID: Final = re.compile(r"(?:[0-2])(?:\.(?:0|[1-9]\d*|\{\d+\})){1,127}\Z")
_PATTERN: Final = re.compile(r"\*\Z|[0-2](?:\.(?:0|[1-9]\d*))+(?:\.\*)?\Z")
FORBIDDEN_SUBTREES: Final[Mapping[str, str]] = {
    "1.3.6.1.4.1.25506.2.98.1.2.1.1.4": "the SIM's PIN (H3C)",
    "1.3.6.1.4.1.53058.2.6": "TR-069 user and password (Baicells)",
}
"""What no profile may read, nor walk a subtree that contains it."""
_UNITS: Final[Mapping[str, frozenset[str]]] = {
    "dBm": frozenset({"dbm"}),
    "dB": frozenset({"db"}),
    "degC": frozenset({"c", "°c", "degc", "celsius"}),
    "%": frozenset({"%", "percent"}),
    "V": frozenset({"v", "volt", "volts"}),
    "s": frozenset({"s", "sec", "secs", "seconds"}),
    "B": frozenset({"b", "bytes"}),
    "MHz": frozenset({"mhz"}),
    "km/h": frozenset({"km/h", "kmh"}),
}


def lint(profile: Profile) -> Iterator[Problem]:
    """Yield what is wrong with a profile by itself."""
    if not profile.vendor and not profile.file.fallback:
        yield "vendor", "expected the maker's name, found none"
    for key in (*profile.identity, *profile.file.constants):
        if key not in (*IDENTITY_FIELDS, "vendor"):
            yield f"identity.{key}", f"expected one of {', '.join(IDENTITY_FIELDS)}{nearest(key, IDENTITY_FIELDS)}"
    yield from _lint_match(profile)
    seen: set[tuple[str, str | None, tuple[tuple[str, str], ...]]] = set()
    for metric in profile.file.metrics:
        place = (metric.metric, metric.table, tuple(sorted(metric.labels.items())))
        if place in seen:
            yield f"metrics.{metric.metric}", "expected each metric once, found it twice"
        seen.add(place)
    for metric in profile.metrics:
        for message in _lint_metric(profile, metric):
            yield f"metrics.{metric.metric}", message
    for name, table in profile.tables.items():
        if not any(metric.table == name for metric in profile.metrics):
            continue
        for condition in table.keep:
            yield from ((f"tables.{name}.keep", message) for message in _lint_condition(profile, condition))
        for at in table.unique:
            yield from ((f"tables.{name}.unique", message) for message in _lint_at(profile, at, column=True))
        for source in table.name:
            if isinstance(source, Source):
                yield from ((f"tables.{name}.name", message) for message in _lint_source(profile, source, column=True))
    for key, sources in profile.identity.items():
        for source in sources:
            column = source.at is not None and is_column(source.at, source)
            yield from ((f"identity.{key}", message) for message in _lint_source(profile, source, column=column))
    yield from lint_requests(profile)
    if not any(example.refused is None for example in profile.file.examples):
        yield "examples", "expected at least one device that the profile reads, found none"
    if not any(example.refused is not None for example in profile.file.examples):
        yield "examples", "expected at least one device that the profile refuses, found none"


def _lint_match(profile: Profile) -> Iterator[Problem]:
    spec = profile.match
    if profile.transport == "snmp" and not spec.sys_object_id:
        yield "match.sys_object_id", "expected at least one pattern, found none"
    for pattern in spec.sys_object_id:
        if not _PATTERN.match(pattern):
            yield "match.sys_object_id", f"expected an OID, 'OID.*' or '*', found {pattern!r}"
    for probe in (*spec.probes, *spec.any):
        yield from (("match.probes", message) for message in _lint_probe(profile, probe))
    if spec.firmware is None:
        return
    try:
        parse_range(spec.firmware.range)
    except VersionError as error:
        yield "match.firmware.range", str(error)
    if spec.firmware.version is not None:
        pattern_error = bad_pattern(spec.firmware.version)
        if pattern_error or "(?P<version>" not in spec.firmware.version:
            yield "match.firmware.version", pattern_error or "expected a group named version, found none"
    for one in profile.file.blocked:
        try:
            parse_range(one.range)
        except VersionError as error:
            yield "blocked.range", str(error)
    if "firmware" not in profile.identity:
        yield "match.firmware", "expected identity.firmware to say where the firmware is, found none"


def _lint_probe(profile: Profile, probe: Probe) -> Iterator[str]:
    yield from _lint_at(profile, probe.at, column=probe.column, exact=True)
    if probe.matches is not None and (error := bad_pattern(probe.matches)):
        yield error


def _lint_metric(profile: Profile, metric: Metric) -> Iterator[str]:
    entry = METRICS.get(metric.metric)
    if entry is None:
        yield f"expected a metric of the catalogue, found {metric.metric!r}{nearest(metric.metric, METRICS)}"
        return
    table = profile.tables[metric.table] if metric.table is not None else None
    labels = [*metric.labels, *([table.label] if table is not None else [])]
    for label in labels:
        if label not in entry.labels:
            yield f"expected labels among {', '.join(entry.labels) or 'none'}, found {label!r}"
    if not metric.source:
        yield "expected at least one place to read from, found none"
    sources = sources_of(metric)
    for position, source in enumerate(sources):
        in_rows = table is not None and table.instances is None
        column = in_rows or (metric.aggregate is not None and source.at is not None and is_column(source.at, source))
        yield from _lint_source(profile, source, column=column)
        if any(_shadows(earlier, source) for earlier in sources[:position]):
            yield f"alternative {position + 1} is never reached: an earlier one reads the same"
        yield from _lint_values(entry.kind, entry.states, source)
        if source.unit and entry.unit in _UNITS:
            strange = [unit for unit in source.unit if unit.casefold() not in _UNITS[entry.unit]]
            if strange and source.scale in (None, 1.0):
                yield f"expected unit {entry.unit} or a scale, found {strange[0]!r}"
        if source.range is not None and (source.range[0] < entry.low or source.range[1] > entry.high):
            yield f"expected a range within {entry.low:g} to {entry.high:g}, found {list(source.range)}"
        if entry.kind in ("bool",) and source.enum is None and source.words is None and profile.transport == "snmp":
            yield "expected an enum for a yes/no metric, found none"
    for condition in metric.when:
        yield from _lint_condition(profile, condition, column=table is not None and table.instances is None)


def _shadows(earlier: Source, later: Source) -> bool:
    return (
        earlier.at is not None
        and earlier.at == later.at
        and earlier.join == later.join
        and earlier.types is None
        and earlier.pattern in (None, later.pattern)
        and earlier.enum in (None, later.enum)
    )


def _lint_values(kind: str, states: tuple[str, ...], parsing: Parsing) -> Iterator[str]:
    values: list[Plain] = [*(parsing.enum or {}).values(), *(parsing.words or {}).values()]
    for value in values:
        if value is None:
            continue
        if kind == "state" and value not in states:
            yield f"expected one of {', '.join(states)}, found {value!r}"
        if kind == "bool" and not isinstance(value, bool):
            yield f"expected true or false, found {value!r}"


def _lint_source(profile: Profile, source: Source, *, column: bool) -> Iterator[str]:
    if (source.at is None) == (source.formula is None):
        yield "expected either at or formula"
        return
    if source.at is not None:
        yield from _lint_at(profile, source.at, column=column, exact=source.exact)
    if source.formula is not None:
        try:
            used = names(source.formula)
        except FormulaError as error:
            yield str(error)
            used = set(source.of)
        if used != set(source.of):
            yield f"expected the formula's names {sorted(used)} in of, found {sorted(source.of)}"
        for at in source.of.values():
            yield from _lint_at(profile, at, column=column or is_column(at), exact=source.exact)
    for condition in source.only:
        yield from _lint_condition(profile, condition, column=column)
    for kind in source.types or ():
        if kind not in KINDS:
            yield f"expected a wire type, found {kind!r}{nearest(kind, KINDS)}"
    for pattern in [source.pattern, *(source.words or {})]:
        if pattern is not None and (error_text := bad_pattern(pattern)):
            yield error_text


def _lint_condition(profile: Profile, condition: Condition, *, column: bool = True) -> Iterator[str]:
    if sum(part is not None for part in (condition.at, condition.metric, condition.formula)) != 1:
        yield "expected a condition on one of at, metric and formula"
    if condition.formula is not None:
        checked = Source(formula=condition.formula, of=condition.of)
        yield from _lint_source(profile, checked, column=column)
    if condition.at is not None:
        yield from _lint_at(profile, condition.at, column=column, exact=True)
    if condition.metric is not None and condition.metric not in METRICS:
        yield f"expected a metric of the catalogue, found {condition.metric!r}{nearest(condition.metric, METRICS)}"
    if condition.matches is not None and (error := bad_pattern(condition.matches)):
        yield error


def _lint_at(profile: Profile, at: str, *, column: bool, exact: bool = False) -> Iterator[str]:
    if profile.transport == "http":
        request, _, path = at.partition(":")
        if request not in profile.requests:
            yield f"expected request:path with a request of this profile, found {at!r}"
        elif not path:
            yield f"expected a path after {request}:, found none"
        return
    if not _OID.match(at):
        yield f"expected an OID of numbers without leading dot, found {at!r}"
        return
    plain = re.sub(r"[{}]", "", at)
    if not column and not exact and not at.endswith(".0"):
        yield f"expected a scalar to end in .0, found {at}"
    if column and at.endswith(".0"):
        yield f"expected a column without .0, found {at}"
    for secret, what in FORBIDDEN_SUBTREES.items():
        if f"{plain}.".startswith(f"{secret}.") or (column and f"{secret}.".startswith(f"{plain}.")):
            yield f"{at} would read {what}"
