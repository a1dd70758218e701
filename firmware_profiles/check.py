"""The lint of profiles, and their own examples run against them. Pure."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from itertools import combinations
from typing import Final

from firmware_profiles.answers import KINDS, Answers, SnmpAnswers
from firmware_profiles.arithmetic import FormulaError, names
from firmware_profiles.asked import is_column, sources_of
from firmware_profiles.capture import read_capture
from firmware_profiles.load import Profile
from firmware_profiles.login import TemplateError, fill
from firmware_profiles.match import match
from firmware_profiles.model import Auth, Condition, Example, Metric, Parsing, Plain, Probe, Source
from firmware_profiles.read import IDENTITY_FIELDS, read
from firmware_profiles.version import Version, VersionError, parse_range
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


@dataclass(frozen=True, slots=True)
class Finding:
    """One thing that is wrong with a profile: which, where in it, and what."""

    profile: str
    key: str
    message: str

    def __str__(self) -> str:
        return f"{self.profile}: {self.key}: {self.message}"


def check_profiles(profiles: Mapping[str, Profile]) -> list[Finding]:
    """Return everything that is wrong, examples included, in the profiles' order; nothing when all is well."""
    findings: list[Finding] = []
    for profile in profiles.values():
        findings += [Finding(profile.id, key, message) for key, message in _lint(profile)]
    findings += _overlaps(list(profiles.values()))
    if not findings:
        for profile in profiles.values():
            findings += [Finding(profile.id, key, message) for key, message in _examples(profile, profiles)]
    return findings


_Problem = tuple[str, str]


def _lint(profile: Profile) -> Iterator[_Problem]:
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
    yield from _lint_requests(profile)
    if not any(example.refused is None for example in profile.file.examples):
        yield "examples", "expected at least one device that the profile reads, found none"
    if not any(example.refused is not None for example in profile.file.examples):
        yield "examples", "expected at least one device that the profile refuses, found none"


def _lint_match(profile: Profile) -> Iterator[_Problem]:
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
        pattern_error = _bad_pattern(spec.firmware.version)
        if pattern_error or "(?P<version>" not in spec.firmware.version:
            yield "match.firmware.version", pattern_error or "expected a group named version, found none"
    if "firmware" not in profile.identity:
        yield "match.firmware", "expected identity.firmware to say where the firmware is, found none"


def _lint_probe(profile: Profile, probe: Probe) -> Iterator[str]:
    yield from _lint_at(profile, probe.at, column=probe.column, exact=True)
    if probe.matches is not None and (error := _bad_pattern(probe.matches)):
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
        if pattern is not None and (error_text := _bad_pattern(pattern)):
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
    if condition.matches is not None and (error := _bad_pattern(condition.matches)):
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


_SWITCHING: Final = re.compile(
    r"reboot|restart|reset|restore|upgrade|firmware.?update|factory|shutdown|poweroff|power.?off|\bformat\b(?!=)|"
    r"\bset[A-Z_]|[?&/_]set\b|goform_set|setconfig|action=(?!get|list|info|factory\.instance\b)|"
    r"delete|remove|\bput\b|write|apply|control|switch|disconnect|\bdial\b|\bptz|unlock|import|insert|update",
    re.IGNORECASE,
)


def switches(text: str) -> str | None:
    """Return the word by which an HTTP path or body looks as if it would switch, restart or write, or None."""
    found = _SWITCHING.search(text)
    return found[0] if found else None


def _lint_requests(profile: Profile) -> Iterator[_Problem]:
    if profile.transport != "http":
        return
    if not any(request.identity for request in profile.requests.values()):
        yield "requests", "expected one request marked identity, asked before any credentials are sent, found none"
    if not (profile.match.probes or profile.match.any):
        yield "match.probes", "expected probes of the identity request's answer, found none"
    for name, request in profile.requests.items():
        key = f"requests.{name}"
        if not request.path.startswith("/") or request.path.startswith("//") or ".." in request.path:
            yield key, f"expected a path that begins with /, found {request.path!r}"
        if request.method == "POST" and not request.why_post:
            yield key, "expected why_post, because a read is a GET unless the maker's needs POST, found none"
        if request.method == "GET" and request.body is not None:
            yield key, "expected no body in a GET"
        for text in (request.path, request.body or ""):
            if word := switches(text):
                yield key, f"expected a request that only reads, found {word!r} in {text[:80]!r}"
        if request.error is not None and (error := _bad_pattern(request.error)):
            yield f"{key}.error", error
    yield from _lint_auth(profile.file.auth)


def _lint_auth(auth: Auth) -> Iterator[_Problem]:
    for pattern in (auth.ok, auth.expired, auth.challenge, auth.realm):
        if pattern is not None and (error := _bad_pattern(pattern)):
            yield "auth", error
    if auth.challenge is not None and auth.kind != "digest":
        yield "auth.challenge", "expected only with digest: other kinds show the password to whoever asks"
    if auth.kind in ("form", "token") and auth.login_path is None:
        yield "auth.login_path", "expected the path of the login, found none"
    if auth.kind == "token" and auth.token_at is None:
        yield "auth.token_at", "expected where the token stands in the login's answer, found none"
    if auth.nonce_path is not None and (word := switches(auth.nonce_path)):
        yield "auth.nonce_path", f"expected a request that only reads, found {word!r}"
    try:
        for template in (*auth.fields.values(), auth.body or ""):
            fill(template, {"user": "u", "password": "p", "nonce": "n"})
    except TemplateError as error:
        yield "auth.fields", str(error)


def _bad_pattern(pattern: str) -> str | None:
    try:
        re.compile(pattern)
    except re.error as error:
        return f"expected a regular expression, found {pattern!r} ({error})"
    return None


def _overlaps(profiles: list[Profile]) -> Iterator[Finding]:
    """Yield pairs of profiles of one family that would both take a firmware."""
    for one, other in combinations(profiles, 2):
        first, second = one.match.firmware, other.match.firmware
        if first is None or second is None or one.transport != other.transport:
            continue
        if {first.unknown, second.unknown} == {"refuse", "only"} or one.match.probes != other.match.probes:
            continue
        if one.match.any != other.match.any or not set(one.match.sys_object_id) & set(other.match.sys_object_id):
            continue
        if first.prefixes and second.prefixes and not set(first.prefixes) & set(second.prefixes):
            continue
        try:
            ranges = (parse_range(first.range), parse_range(second.range))
        except VersionError:
            continue
        both = [v for v in (*ranges[0].edges(), *ranges[1].edges()) if all(Version(v) in found for found in ranges)]
        if both or "refuse" not in (first.unknown, second.unknown):
            shared = ".".join(map(str, min(both))) if both else "a firmware that is not told"
            yield Finding(one.id, "match.firmware", f"overlaps {other.id}: both take {shared}")


def answers_of(profile: Profile, example: Example) -> Answers:
    """Return the answers an example holds. Raises ValueError when its lines cannot be read."""
    if isinstance(example.answers, dict):
        from firmware_profiles.http_answers import HttpAnswers

        return HttpAnswers.parse(profile.requests, example.answers)
    capture = read_capture("\n".join(example.answers))
    if capture.bad_lines:
        number, reason = capture.bad_lines[0]
        raise ValueError(f"line {number}: {reason}")
    return SnmpAnswers(capture.values)


def written(metric: str, labels: Mapping[str, str]) -> str:
    """Return a reading's name as examples write it: ``modem.rssi_dbm{leg=lte}``."""
    inner = ",".join(f"{key}={labels[key]}" for key in sorted(labels))
    return f"{metric}{{{inner}}}" if inner else metric


def _examples(profile: Profile, profiles: Mapping[str, Profile]) -> Iterator[_Problem]:
    for number, example in enumerate(profile.file.examples, 1):
        key = f"examples.{number} ({example.title})"
        try:
            answers = answers_of(profile, example)
        except ValueError as error:
            yield key, str(error)
            continue
        reason = _refusal(profile, profiles, answers)
        if example.refused is not None:
            if reason is None:
                yield key, "expected the profile to refuse this device, found that it takes it"
            elif example.refused not in reason:
                yield key, f"expected a refusal with {example.refused!r}, found {reason!r}"
            continue
        if reason is not None:
            yield key, f"expected the profile to take this device, found: {reason}"
            continue
        yield from ((key, message) for message in _differences(profile, example, answers))


def _refusal(profile: Profile, profiles: Mapping[str, Profile], answers: Answers) -> str | None:
    if profile.transport == "http":
        from firmware_profiles.match import fits_http

        fits, said = fits_http(profile, answers)
        return None if fits else said
    matched = match(profiles, answers)
    if matched.profile is not None and matched.profile.id == profile.id:
        return None
    own = next((refusal.reason for refusal in matched.refusals if refusal.profile == profile.id), None)
    return own or matched.why


def _differences(profile: Profile, example: Example, answers: Answers) -> Iterator[str]:
    result = read(profile, answers)
    found = {written(reading.metric, reading.labels): reading.value for reading in result.readings}
    for name in sorted(found.keys() | example.readings.keys()):
        if name not in found:
            yield f"expected {name} = {example.readings[name]!r}, found no such reading"
        elif name not in example.readings:
            yield f"expected no {name}, found {found[name]!r}"
        elif not _equal(found[name], example.readings[name]):
            yield f"expected {name} = {example.readings[name]!r}, found {found[name]!r}"
    for key, value in example.identity.items():
        if getattr(result.identity, key, None) != value:
            yield f"expected {key} {value!r}, found {getattr(result.identity, key, None)!r}"
    yield from _flag_differences(example.flags, result.flags)


def _flag_differences(wanted: Iterable[str], found: Iterable[str]) -> Iterator[str]:
    rest = list(found)
    for text in wanted:
        hit = next((flag for flag in rest if flag.startswith(text)), None)
        if hit is None:
            yield f"expected a flag {text!r}, found {rest}"
        else:
            rest = [flag for flag in rest if not flag.startswith(text)]
    for flag in rest:
        yield f"expected no flag {flag!r}"


def _equal(found: object, expected: object) -> bool:
    if isinstance(found, bool) or isinstance(expected, bool) or isinstance(found, str):
        return found is expected if isinstance(found, bool) else found == expected
    if isinstance(found, int | float) and isinstance(expected, int | float):
        return abs(found - expected) <= 1e-4
    return found == expected
