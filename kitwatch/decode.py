"""``kitwatch decode snmp|at|nmea|http FILE``: what the agent would make of a capture."""

from __future__ import annotations

import argparse
import json
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from firmware_profiles.load import Profile
    from firmware_profiles.read import Result


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the subcommand's arguments."""
    kinds = parser.add_subparsers(dest="kind", metavar="snmp|at|nmea|http", required=True)
    for kind, text in (
        ("snmp", "a .snmprec file or the output of snmpwalk -On"),
        ("at", "a transcript of a modem's AT port"),
        ("nmea", "a log of a GNSS receiver"),
        ("http", "a saved answer of a device over HTTP"),
    ):
        one = kinds.add_parser(kind, help=text, description=f"Decode {text}.")
        one.add_argument("file", metavar="FILE", type=Path, help=text)
        one.add_argument("--json", action="store_true", help="one JSON object on standard output, nothing else")
        if kind in ("snmp", "http"):
            one.add_argument("--profiles", metavar="DIR", type=Path, action="append", default=[], help="more profiles")
            one.add_argument("--profile", metavar="ID", required=kind == "http", help="the profile to read by")
        if kind == "http":
            one.add_argument("--request", metavar="NAME", help="which of the profile's requests the file answers")


def run(args: argparse.Namespace) -> int:
    """Decode and print. Returns 0, or 2 when the file or a profile cannot be used."""
    from telemetry.files import FileError

    try:
        if args.kind == "snmp":
            decoded = decode_snmp(args.file, args.profiles, args.profile)
        elif args.kind == "http":
            decoded = decode_http(args.file, args.profile, args.request, args.profiles)
        elif args.kind == "at":
            from kitwatch.decode_at import decode_at

            decoded = decode_at(args.file)
        else:
            from kitwatch.decode_nmea import decode_nmea

            decoded = decode_nmea(args.file)
    except OSError as error:
        print(f"{args.file}: expected a file that can be read, found: {error.strerror or error}", file=sys.stderr)
        return 2
    except FileError as error:
        print(error, file=sys.stderr)
        return 2
    print(json.dumps(decoded, ensure_ascii=False, indent=None if args.json else 2))
    return 0


def _profile(profiles: dict[str, Profile], name: str) -> Profile:
    from firmware_profiles.load import ProfileError
    from telemetry.metrics import nearest

    if name not in profiles:
        raise ProfileError("--profile", "", f"expected the id of a profile, found {name!r}{nearest(name, profiles)}")
    return profiles[name]


def decode_snmp(path: Path, folders: list[Path], only: str | None = None) -> dict[str, Any]:
    """Return what the capture at ``path`` says, in the shape that ``--json`` prints.

    ``only`` narrows the search to one profile, which must still match. Raises OSError, FileError.
    """
    from firmware_profiles.answers import SnmpAnswers
    from firmware_profiles.capture import read_capture
    from firmware_profiles.load import ProfileError, load_profiles
    from firmware_profiles.match import match
    from firmware_profiles.read import read

    profiles = load_profiles(folders)
    if only is not None:
        _profile(profiles, only)
    capture = read_capture(path.read_bytes().decode("utf-8", errors="surrogateescape"))
    if not capture.values:
        raise ProfileError(str(path), "", "expected lines OID|TYPE|VALUE or .OID = TYPE: value, found none")
    answers = SnmpAnswers(capture.values)
    matched = match(profiles, answers, only)
    bad = [f"unparsed capture line {number}: {reason}" for number, reason in capture.bad_lines]
    if matched.profile is None:
        return _shape(None, f"profile_unknown: {matched.why}", None, bad)
    return _shape(matched.profile.id, matched.why, read(matched.profile, answers), bad)


def decode_http(path: Path, profile_id: str, request: str | None, folders: list[Path]) -> dict[str, Any]:
    """Return what a saved answer says by the profile. Raises OSError, FileError."""
    from firmware_profiles.http_answers import AnswerError, HttpAnswers, requests_of
    from firmware_profiles.load import ProfileError, load_profiles
    from firmware_profiles.read import read

    profile = _profile(load_profiles(folders), profile_id)
    if profile.transport != "http":
        raise ProfileError("--profile", "", f"expected a profile for http, found {profile_id!r} for snmp")
    if request is not None and request not in profile.requests:
        raise ProfileError("--request", "", f"expected one of {', '.join(profile.requests)}, found {request!r}")
    body = path.read_bytes()
    try:
        names = [request] if request is not None else requests_of(profile, body)
        answers = HttpAnswers.parse(profile.requests, dict.fromkeys(names, body))
    except AnswerError as error:
        raise ProfileError(str(path), "", str(error)) from error
    why = f"--profile {profile_id}; the answer to {' and '.join(names)}" + ("" if request else ", by its shape")
    return _shape(profile.id, why, read(profile, answers), [])


def _shape(profile: str | None, why: str, result: Result | None, more_flags: list[str]) -> dict[str, Any]:
    identity = result.identity if result is not None else None
    return {
        "profile": profile,
        "why": why,
        "device": {key: getattr(identity, key, None) for key in ("vendor", "model", "firmware", "serial")},
        "readings": [
            {"metric": reading.metric, "value": reading.value, "labels": dict(reading.labels)}
            for reading in (result.readings if result is not None else ())
        ],
        "flags": [*(result.flags if result is not None else ()), *more_flags],
    }
