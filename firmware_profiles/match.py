"""Which profile reads this device: sysObjectID, then probes, then the firmware range. Pure.

The most specific profile that fits is taken: the one that names more of the sysObjectID, then the one that asked for
more evidence. Two that fit equally well are ambiguous, and an ambiguous match is no match. A profile marked
``fallback`` is considered only when no other profile knows the device's family: a family whose firmware no profile
covers is an unknown device, not a generic one.

A sysObjectID that is empty, or that of the net-snmp that the maker built on, tells nobody's family: there a profile
also fits by its probes alone, if one of them asks for something in its maker's own subtree.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Final

import msgspec

from firmware_profiles.answers import Answers
from firmware_profiles.cells import compiled, same, shown
from firmware_profiles.load import Profile
from firmware_profiles.model import Probe
from firmware_profiles.read import identity_part
from firmware_profiles.version import Version, VersionError, parse_range, parse_version

SYS_DESCR: Final = "1.3.6.1.2.1.1.1.0"
SYS_OBJECT_ID: Final = "1.3.6.1.2.1.1.2.0"
_TELLS_NOTHING: Final = ("", "0", "0.0", "1.3.6.1.4.1.8072.3.2.*")
_ENTERPRISES: Final = "1.3.6.1.4.1."
_SHARED: Final = ("1.3.6.1.4.1.8072.", "1.3.6.1.4.1.2021.")
"""net-snmp's own subtrees: what stands there is every maker's."""


_Fit = tuple[tuple[int, int], "Profile", str]
"""How specific a profile is, the profile, and what speaks for it."""


class Refusal(msgspec.Struct, frozen=True):
    """Why one profile was not used. ``stage`` is how far it came."""

    profile: str
    stage: str
    reason: str


class Matched(msgspec.Struct, frozen=True):
    """The profile that fits, or None with the reason in ``why``; ``refusals`` tell of every other one."""

    profile: Profile | None
    why: str
    refusals: Sequence[Refusal] = ()


def object_id_matches(pattern: str, object_id: str) -> bool:
    """Return whether a sysObjectID is the pattern, below it (``X.*``), or anything (``*``); whole numbers only."""
    if pattern == "*":
        return True
    if pattern.endswith(".*"):
        return object_id.startswith(pattern[:-1])
    return object_id == pattern


def candidate(profile: Profile, object_id: str) -> bool:
    """Return whether a profile may fit a device with this sysObjectID, its probes not yet looked at."""
    if any(object_id_matches(pattern, object_id) for pattern in profile.match.sys_object_id):
        return True
    return any(object_id_matches(pattern, object_id) for pattern in _TELLS_NOTHING) and any(
        probe.at.startswith(_ENTERPRISES) and not probe.at.startswith(_SHARED)
        for probe in (*profile.match.probes, *profile.match.any)
    )


def match(profiles: Mapping[str, Profile], answers: Answers, only: str | None = None) -> Matched:
    """Return the SNMP profile for the device that gave ``answers``; ``only`` narrows the search to one profile."""
    wire = answers.scalar(SYS_OBJECT_ID)
    object_id = (wire.text() or "").strip(".") if wire is not None else ""
    fits: list[_Fit] = []
    refusals: list[Refusal] = []
    for profile in profiles.values():
        if profile.transport != "snmp" or only not in (None, profile.id):
            continue
        refusal, evidence, weight = _try(profile, object_id, answers)
        if refusal is not None:
            refusals.append(refusal)
        else:
            fits.append((weight, profile, evidence))
    known = [fit for fit in fits if not fit[1].file.fallback]
    half_known = [refusal for refusal in refusals if refusal.stage == "firmware"]
    if not known and only is None and half_known:
        refusals += [Refusal(fit[1].id, "fallback", "only for devices of no known family") for fit in fits]
        why = "; ".join(f"{refusal.profile}: {refusal.reason}" for refusal in half_known)
        return Matched(None, f"no profile for this firmware: {why}", refusals)
    if known:
        beaten = [fit[1].id for fit in fits if fit[1].file.fallback]
        refusals += [Refusal(one, "specificity", f"{_names(known)} is more specific") for one in beaten]
    return _choose(known or fits, refusals, object_id)


def _names(fits: list[_Fit]) -> str:
    return ", ".join(sorted(profile.id for _, profile, _ in fits))


def _choose(fits: list[_Fit], refusals: list[Refusal], object_id: str) -> Matched:
    if not fits:
        near = [refusal for refusal in refusals if refusal.stage != "sysObjectID"]
        why = "; ".join(f"{refusal.profile}: {refusal.reason}" for refusal in near)
        return Matched(
            None, f"no profile fits sysObjectID {object_id or 'none'}" + (f" ({why})" if why else ""), refusals
        )
    best = max(weight for weight, _, _ in fits)
    winners = [(profile, evidence) for weight, profile, evidence in fits if weight == best]
    if len(winners) > 1:
        names = ", ".join(sorted(profile.id for profile, _ in winners))
        return Matched(None, f"ambiguous: {names} fit equally well", refusals)
    winner, evidence = winners[0]
    refusals += [
        Refusal(profile.id, "specificity", f"{winner.id} is more specific")
        for _, profile, _ in fits
        if profile is not winner
    ]
    return Matched(winner, evidence, refusals)


def _try(profile: Profile, object_id: str, answers: Answers) -> tuple[Refusal | None, str, tuple[int, int]]:
    """Return (refusal or None, evidence, weight) for one profile."""
    spec = profile.match
    if not candidate(profile, object_id):
        return Refusal(profile.id, "sysObjectID", f"sysObjectID is {object_id or 'not told'}"), "", (0, 0)
    patterns = [pattern for pattern in spec.sys_object_id if object_id_matches(pattern, object_id)]
    evidence = [f"sysObjectID {object_id or 'not told'}"]
    literal = max((len(pattern.split("*")[0].strip(".")) for pattern in patterns), default=0)
    for probe in spec.probes:
        holds, said = try_probe(probe, answers)
        if not holds:
            return Refusal(profile.id, "probe", said), "", (0, 0)
        evidence.append(said)
    if spec.any:
        said_any = [try_probe(probe, answers) for probe in spec.any]
        good = next((said for holds, said in said_any if holds), None)
        if good is None:
            return Refusal(profile.id, "probe", "none of: " + "; ".join(said for _, said in said_any)), "", (0, 0)
        evidence.append(good)
    weight = (literal, len(spec.probes) + bool(spec.any) + (spec.firmware is not None))
    if spec.firmware is None:
        return None, "; ".join(evidence), weight
    holds, said = firmware_fits(profile, answers)
    if not holds:
        return Refusal(profile.id, "firmware", said), "", (0, 0)
    return None, "; ".join([*evidence, said]), weight


def try_probe(probe: Probe, answers: Answers) -> tuple[bool, str]:
    """Return (whether the probe's answer is what it asks for, what was seen in words)."""
    if probe.column:
        there = bool(answers.column(probe.at))
        return there, f"{probe.at} has {'rows' if there else 'no rows'}"
    wire = answers.scalar(probe.at)
    text = None if wire is None else wire.text()
    if text is None:
        return False, f"{probe.at} is not answered"
    if probe.equals is not None and not same(text, probe.equals):
        return False, f"{probe.at} is {shown(text)}, not {shown(probe.equals)}"
    if probe.matches is not None and compiled(probe.matches).search(text) is None:
        return False, f"{probe.at} is {shown(text)}, not like {probe.matches}"
    return True, f"{probe.at} is {shown(text)}"


def firmware_version(profile: Profile, answers: Answers) -> tuple[Version | None, str]:
    """Return (the firmware the device tells, parsed; None when it tells none or it is not understood, and the text)."""
    text = identity_part(profile.identity.get("firmware", ()), answers)
    if text is None:
        return None, ""
    spec = profile.match.firmware
    try:
        return parse_version(text, spec.version if spec is not None else None), text
    except VersionError:
        return None, text


def firmware_fits(profile: Profile, answers: Answers) -> tuple[bool, str]:
    """Return (whether the firmware is in the profile's range, what was seen in words)."""
    spec = profile.match.firmware
    assert spec is not None
    version, text = firmware_version(profile, answers)
    if not text:
        return spec.unknown != "refuse", "firmware is not told"
    if spec.unknown == "only":
        return False, f"firmware is told: {shown(text)}"
    if version is None:
        return False, f"firmware {shown(text)} is not understood"
    wanted = parse_range(spec.range, tuple(spec.prefixes))
    words = f"{' or '.join(spec.prefixes)} {spec.range}".strip()
    return version in wanted, f"firmware {shown(text)} is {version}, " + (
        f"in {words}" if version in wanted else f"not in {words}"
    )


def first_questions() -> list[str]:
    """Return the OIDs to ask any device first."""
    return [SYS_OBJECT_ID, SYS_DESCR]


def questions(profiles: Iterable[Profile], object_id: str) -> tuple[list[str], list[str]]:
    """Return (scalars, columns) to ask a device of this sysObjectID, so that :func:`match` can decide."""
    scalars: dict[str, None] = {}
    columns: dict[str, None] = {}
    for profile in profiles:
        if profile.transport != "snmp":
            continue
        if not candidate(profile, object_id.strip(".")):
            continue
        for probe in (*profile.match.probes, *profile.match.any):
            (columns if probe.column else scalars)[probe.at] = None
        if profile.match.firmware is not None:
            scalars.update(dict.fromkeys(source.at for source in profile.identity.get("firmware", ()) if source.at))
    return list(scalars), list(columns)


def fits_http(profile: Profile, answers: Answers, *, firmware: bool = True) -> tuple[bool, str]:
    """Return (whether an HTTP device's answers are this profile's, what was seen in words).

    Without ``firmware`` only the probes are looked at: before a login the firmware may not be told.
    """
    evidence: list[str] = []
    for probe in profile.match.probes:
        holds, said = try_probe(probe, answers)
        if not holds:
            return False, said
        evidence.append(said)
    if profile.match.any:
        said_any = [try_probe(probe, answers) for probe in profile.match.any]
        good = next((said for holds, said in said_any if holds), None)
        if good is None:
            return False, "none of: " + "; ".join(said for _, said in said_any)
        evidence.append(good)
    if firmware and profile.match.firmware is not None:
        holds, said = firmware_fits(profile, answers)
        if not holds:
            return False, said
        evidence.append(said)
    return True, "; ".join(evidence)
