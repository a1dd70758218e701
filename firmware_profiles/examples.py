"""A profile's own examples run against it. Pure."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping

from firmware_profiles.answers import Answers, SnmpAnswers
from firmware_profiles.capture import read_capture
from firmware_profiles.lint_requests import Problem
from firmware_profiles.load import Profile
from firmware_profiles.match import match
from firmware_profiles.model import Example
from firmware_profiles.read import read


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


def run_examples(profile: Profile, profiles: Mapping[str, Profile]) -> Iterator[Problem]:
    """Yield where an example's readings, identity, flags or refusal are not as it says."""
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
