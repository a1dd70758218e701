"""``kitwatch profiles list|check|match|record``: the firmware profiles, what fits a device, a capture of one."""

from __future__ import annotations

import argparse
import asyncio
import json
import os
import sys
import time
from pathlib import Path
from typing import TYPE_CHECKING, TypeVar

if TYPE_CHECKING:
    from collections.abc import Awaitable

    from agent.snmp.port import SnmpPort, Walk
    from firmware_profiles.answers import Wire
    from firmware_profiles.load import Profile
    from firmware_profiles.match import Matched

T = TypeVar("T")
_STANDARD = (
    "1.3.6.1.2.1.1",  # system
    "1.3.6.1.2.1.2",  # interfaces
    "1.3.6.1.2.1.31.1.1",  # ifXTable
    "1.3.6.1.2.1.25",  # host resources
    "1.3.6.1.2.1.33",  # UPS-MIB
    "1.3.6.1.2.1.47.1.1",  # entity
    "1.3.6.1.2.1.99.1.1",  # entity sensor
    "1.3.6.1.4.1.2021",  # UCD
)
_MAX_OBJECTS = 100_000


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the subcommand's arguments."""
    actions = parser.add_subparsers(dest="action", metavar="list|check|match|record", required=True)
    listing = actions.add_parser("list", help="the profiles there are")
    check = actions.add_parser("check", help="lint profiles and run their own examples")
    check.add_argument("folders", metavar="DIR", type=Path, nargs="*", help="folders of more profiles")
    match = actions.add_parser("match", help="which profile would be used for a device, and why not each other one")
    record = actions.add_parser("record", help="walk a device into an anonymised capture")
    record.add_argument("--output", metavar="FILE", type=Path, help="where to write it (standard output without)")
    record.add_argument("--minutes", type=float, default=10.0, help="stop after so many minutes (10)")
    whom = match.add_mutually_exclusive_group(required=True)
    whom.add_argument(
        "--capture", metavar="FILE", type=Path, help="a saved walk in its place: .snmprec or snmpwalk -On"
    )
    whom.add_argument("--host", help="the device's address")
    record.add_argument("--host", required=True, help="the device's address")
    for one in (match, record):
        one.add_argument("--port", type=int, default=161)
        one.add_argument("--community-file", metavar="FILE", help="v2c: a file of mode 0600 with the community")
        one.add_argument("--user", help="v3 (authPriv): the user")
        one.add_argument("--auth", choices=["md5", "sha", "sha224", "sha256", "sha384", "sha512"], default="sha256")
        one.add_argument("--auth-file", metavar="FILE", help="v3: a file of mode 0600 with the authentication key")
        one.add_argument("--priv", choices=["des", "aes128", "aes256", "aes256-blumenthal"], default="aes128")
        one.add_argument("--priv-file", metavar="FILE", help="v3: a file of mode 0600 with the privacy key")
        one.add_argument("--timeout", type=float, default=2.0, help="seconds for one request (2)")
    for one in (listing, check, match, record):
        one.add_argument("--profiles", metavar="DIR", type=Path, action="append", default=[], help="more profiles")
        one.add_argument("--json", action="store_true", help="JSON on standard output, nothing else")


def run(args: argparse.Namespace) -> int:
    """Do what was asked. Returns 0 done, 1 a check or match does not hold, 2 the call is wrong."""
    from firmware_profiles.load import load_profiles
    from telemetry.files import FileError

    folders = [*args.profiles, *getattr(args, "folders", [])]
    try:
        profiles = load_profiles(folders)
    except (FileError, OSError) as error:
        print(error, file=sys.stderr)
        # a file that cannot be used is what "check" is there to find; a folder that is not there is a wrong call
        return 1 if args.action == "check" and all(folder.is_dir() for folder in folders) else 2
    if args.action == "list":
        return _list(profiles, args.json)
    if args.action == "check":
        return _check(profiles, args.json)
    if args.action == "match" and args.capture is not None:
        return _match_capture(args, profiles)
    return _device(args, profiles)


def listed(profile: Profile) -> dict[str, str]:
    """Return one profile as ``list --json`` shows it."""
    return {
        "id": profile.id,
        "vendor": profile.vendor or "any",
        "transport": profile.transport,
        "firmware": profile.firmware,
        "backed_by": profile.file.backed_by,
    }


def _list(profiles: dict[str, Profile], as_json: bool) -> int:
    rows = [listed(profile) for profile in profiles.values()]
    if as_json:
        print(json.dumps(rows, ensure_ascii=False))
        return 0
    widths = {key: max(len(key), *(len(row[key]) for row in rows)) for key in rows[0]}
    for row in ({key: key for key in widths}, *rows):
        print("  ".join(row[key].ljust(width) for key, width in widths.items()).rstrip())
    return 0


def _check(profiles: dict[str, Profile], as_json: bool) -> int:
    from firmware_profiles.check import check_profiles

    findings = check_profiles(profiles, time.process_time)
    if as_json:
        rows = [{"profile": found.profile, "key": found.key, "message": found.message} for found in findings]
        print(json.dumps({"profiles": len(profiles), "findings": rows}, ensure_ascii=False))
    else:
        for found in findings:
            print(found)
        print(f"{len(profiles)} profiles, {len(findings)} findings")
    return 1 if findings else 0


def _match_capture(args: argparse.Namespace, profiles: dict[str, Profile]) -> int:
    """Match what a device has answered once, without it."""
    from firmware_profiles.answers import SnmpAnswers
    from firmware_profiles.capture import read_capture
    from firmware_profiles.match import match

    try:
        capture = read_capture(args.capture.read_bytes().decode("utf-8", errors="surrogateescape"))
    except OSError as error:
        print(f"{args.capture}: expected a readable file, found: {error.strerror}", file=sys.stderr)
        return 2
    for number, reason in capture.bad_lines:
        print(f"{args.capture}: line {number}: {reason}", file=sys.stderr)
    if not capture.values:
        print(f"{args.capture}: expected lines OID|TYPE|VALUE or .OID = TYPE: value, found none", file=sys.stderr)
        return 2
    return _print_match(match(profiles, SnmpAnswers(capture.values)), args.json)


def _device(args: argparse.Namespace, profiles: dict[str, Profile]) -> int:
    from agent.inputs.snmp import open_port
    from agent.snmp.port import SnmpError
    from telemetry.inputs import SnmpInput

    try:
        config = SnmpInput(
            address=args.host,
            port=args.port,
            version="3" if args.user else "2c",
            community_file=args.community_file,
            user=args.user,
            auth=args.auth,
            auth_file=args.auth_file,
            priv=args.priv,
            priv_file=args.priv_file,
            timeout=args.timeout,
        )
        port = open_port(config)
    except ValueError as error:
        print(error, file=sys.stderr)
        return 2
    try:
        if args.action == "match":
            matched = asyncio.run(_closing(port, _match(port, profiles)))
            return _print_match(matched, args.json)
        return asyncio.run(_closing(port, _record(port, profiles, args)))
    except SnmpError as error:
        print(error, file=sys.stderr)
        return 1
    except OSError as error:
        print(f"{args.output}: expected a file that can be written, found: {error.strerror}", file=sys.stderr)
        return 2


async def _closing(port: SnmpPort, work: Awaitable[T]) -> T:
    try:
        return await work
    finally:
        await port.close()


async def _match(port: SnmpPort, profiles: dict[str, Profile]) -> Matched:
    from agent.inputs.snmp import find_profile

    return await find_profile(port, profiles)


def _print_match(matched: Matched, as_json: bool) -> int:
    chosen = matched.profile.id if matched.profile is not None else None
    refusals = sorted(matched.refusals, key=lambda one: one.stage == "sysObjectID")  # those that came further first
    if as_json:
        others = [{"profile": one.profile, "stage": one.stage, "reason": one.reason} for one in refusals]
        print(json.dumps({"profile": chosen, "why": matched.why, "others": others}, ensure_ascii=False))
    else:
        print(f"{chosen or 'no profile (profile_unknown)'}: {matched.why}")
        for one in refusals:
            print(f"  not {one.profile}: {one.reason}")
    return 0 if chosen is not None else 1


async def _record(port: SnmpPort, profiles: dict[str, Profile], args: argparse.Namespace) -> int:
    """Walk the standard MIBs and the maker's subtree; where a maker keeps secrets in it, only what profiles read."""
    from agent.inputs.snmp import find_profile
    from firmware_profiles.anonymise import anonymised
    from firmware_profiles.answers import SnmpAnswers
    from firmware_profiles.capture import write_capture
    from firmware_profiles.match import SYS_OBJECT_ID
    from firmware_profiles.read import IDENTITY_FIELDS, read

    matched = await find_profile(port, profiles)
    object_id = (await port.get([SYS_OBJECT_ID])).get(SYS_OBJECT_ID)
    values: dict[str, Wire] = {}
    seconds = args.minutes * 60
    loop = asyncio.get_running_loop()
    end = loop.time() + seconds
    for subtree in subtrees(str(object_id.value) if object_id is not None else "", matched.profile):
        walk = await _watched(port, subtree, max(0.0, end - loop.time()), len(values))
        values |= walk.values
        for reason in walk.truncated:
            print(f"cut short: {reason}", file=sys.stderr)
    secrets: set[str] = set()
    keep: set[str] = set()
    if matched.profile is not None:
        identity = read(matched.profile, SnmpAnswers(values)).identity
        named = [getattr(identity, key) for key in IDENTITY_FIELDS if key not in ("model", "firmware", "hardware")]
        secrets = {text for text in named if text}
        keep = {text for text in (identity.model, identity.firmware, identity.hardware) if text}
    text = write_capture(anonymised(values, os.urandom(32), secrets, keep))
    if args.output is None:
        sys.stdout.write(text)
    else:
        args.output.write_text(text, encoding="utf-8")
    found = matched.profile.id if matched.profile is not None else "no profile"
    print(f"{len(values)} objects, {found}: look it over before you give it away", file=sys.stderr)
    return 0


def subtrees(object_id: str, profile: Profile | None) -> list[str]:
    """Return what to walk for a capture: never a subtree in which a maker keeps a PIN or passwords."""
    from firmware_profiles.asked import wanted
    from firmware_profiles.lint import FORBIDDEN_SUBTREES

    roots = [*_STANDARD]
    read_by_profile: list[str] = []
    if profile is not None:
        asked = wanted(profile)
        read_by_profile = [*(at.removesuffix(".0") for at in asked.scalars), *asked.columns]
    makers = {".".join(oid.split(".")[:7]) for oid in (object_id, *read_by_profile) if oid.startswith("1.3.6.1.4.1.")}
    for maker in sorted(makers):
        if maker.count(".") < 6 or maker in roots:
            continue
        if any(secret.startswith(maker + ".") for secret in FORBIDDEN_SUBTREES):
            roots += [at for at in read_by_profile if at.startswith(maker + ".")]
        else:
            roots.append(maker)
    return list(dict.fromkeys(roots))


async def _watched(port: SnmpPort, subtree: str, seconds: float, before: int) -> Walk:
    from agent.snmp.port import SnmpSilentError, Walk

    walk = Walk()
    shows = sys.stderr.isatty()
    task = asyncio.ensure_future(port.walk([subtree], rows=_MAX_OBJECTS, seconds=seconds, into=walk))
    try:
        while not task.done():
            await asyncio.wait([task], timeout=0.25)
            if shows:
                print(f"\r{before + len(walk.values):7d} objects  {subtree:40.40s}", end="", file=sys.stderr)
        return task.result()
    except SnmpSilentError:
        walk.truncated.append(f"{subtree}: no answer")
        return walk
    finally:
        task.cancel()
        if shows:
            print("\r" + " " * 60 + "\r", end="", file=sys.stderr)
