"""Everything that can be wrong with profiles: each by itself, two that overlap, and their own examples. Pure."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from itertools import combinations

import msgspec

from firmware_profiles.examples import run_examples
from firmware_profiles.lint import lint
from firmware_profiles.load import Profile
from firmware_profiles.pattern_cost import slow_patterns
from firmware_profiles.version import Version, VersionError, parse_range


class Finding(msgspec.Struct, frozen=True):
    """One thing that is wrong with a profile: which, where in it, and what."""

    profile: str
    key: str
    message: str

    def __str__(self) -> str:
        return f"{self.profile}: {self.key}: {self.message}"


def check_profiles(profiles: Mapping[str, Profile], processor_time: Callable[[], float] | None = None) -> list[Finding]:
    """Return everything that is wrong, examples included, in the profiles' order; nothing when all is well.

    With ``processor_time`` (seconds) every regular expression is tried on texts that mean harm, and timed.
    """
    findings: list[Finding] = []
    for profile in profiles.values():
        findings += [Finding(profile.id, key, message) for key, message in lint(profile)]
        if processor_time is not None:
            findings += [Finding(profile.id, key, message) for key, message in slow_patterns(profile, processor_time)]
    findings += _overlaps(list(profiles.values()))
    if not findings:
        for profile in profiles.values():
            findings += [Finding(profile.id, key, message) for key, message in run_examples(profile, profiles)]
    return findings


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
