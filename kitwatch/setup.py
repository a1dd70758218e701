"""``kitwatch setup``: certificates for broker, collectors and vehicles, each file with its owner and mode.

>>> kitwatch setup ca           # once, on the centre's machine                     # doctest: +SKIP
... kitwatch setup server       # the broker's certificate, into /etc/mosquitto/certs
... kitwatch setup collector    # the collector's, into /etc/kitwatch
... kitwatch setup vehicle      # one archive a vehicle: its certificate and its agent.yaml
... kitwatch setup access       # what every agent of the fleet file may write, into the broker's access list
... kitwatch setup revoke       # what a lost box had is good for nothing any more

What is not given is asked for. A key that is there is never overwritten unless ``--replace`` says so.
"""

from __future__ import annotations

import argparse
import datetime
import io
import os
import re
import shutil
import sys
import tarfile
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Final

import msgspec

from telemetry.files import FileError
from telemetry.topics import UP_KINDS, AgentName

if TYPE_CHECKING:
    from agent.config import AgentConfig
    from kitwatch.authority import Authority, Pair

ETC: Final = Path("/etc/kitwatch")
BROKER_CERTIFICATES: Final = Path("/etc/mosquitto/certs")
ACL: Final = Path("/etc/mosquitto/kitwatch.acl")
COLLECTOR: Final = "collector"
"""The collectors' user name in the shipped access list."""
_HOST: Final = re.compile(r"[A-Za-z0-9]([A-Za-z0-9.:-]*[A-Za-z0-9])?")


@dataclass(frozen=True, slots=True)
class File:
    """A file to be written: ``owner`` is a user's name, ``secret`` a key that others may not read nor we overwrite."""

    path: Path
    content: bytes
    owner: str = "root"
    secret: bool = False


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add what the subcommand takes."""
    actions = parser.add_subparsers(dest="action", required=True, metavar="ca|server|collector|vehicle|access|revoke")
    ca = actions.add_parser("ca", help="the centre's two authorities: for broker and collectors, and for vehicles")
    ca.add_argument("--name", help="the centre's name, in every certificate")
    server = actions.add_parser("server", help="the broker's certificate")
    server.add_argument("hosts", nargs="*", metavar="HOST", help="names and addresses under which it is reached")
    server.add_argument("--owner", default="mosquitto", help="who may read the key (default: mosquitto)")
    collector = actions.add_parser("collector", help="a collector's certificate")
    collector.add_argument("--owner", default="kitwatch", help="who may read the key (default: kitwatch)")
    vehicle = actions.add_parser("vehicle", help="an archive for an agent: its certificate and its agent.yaml")
    vehicle.add_argument("vehicle", nargs="?", metavar="VEHICLE", help="as in the fleet file")
    vehicle.add_argument("agent", nargs="?", metavar="AGENT", help="needed where the vehicle has several")
    vehicle.add_argument(
        "--instance", default="agent", metavar="NAME", help="kitwatch-agent@NAME: a second agent on one box"
    )
    access = actions.add_parser("access", help="the broker's access list for every agent of the fleet file")
    for action in (vehicle, access):
        action.add_argument("--fleet", type=Path, default=ETC / "fleet.yaml", metavar="FILE", help=f"{ETC}/fleet.yaml")
        action.add_argument("--acl", type=Path, default=ACL, metavar="FILE", help=f"the broker's access list ({ACL})")
    revoke = actions.add_parser("revoke", help="put a vehicle's certificates on the list of the revoked")
    revoke.add_argument("name", nargs="?", metavar="NAME", help="VEHICLE, or VEHICLE.AGENT where there are several")
    for action, to, what in (
        (server, BROKER_CERTIFICATES, "where the files go"),
        (collector, ETC, "where the files go"),
        (vehicle, Path("."), "where the archive goes"),
        (revoke, BROKER_CERTIFICATES, "where the broker's copy of the list is"),
    ):
        action.add_argument("--to", type=Path, default=to, metavar="DIRECTORY", help=f"{what} (default: {to})")
    for action in (server, collector, vehicle):
        action.add_argument("--days", type=int, default=3 * 365, help="how long it is good (default: 3 years)")
        action.add_argument("--replace", action="store_true", help="overwrite a key that is there")
    for action in (ca, server, collector, vehicle, access, revoke):
        action.add_argument("--ca", type=Path, default=ETC / "ca", metavar="DIRECTORY", help=f"{ETC}/ca")


def run(args: argparse.Namespace) -> int:
    """Run it. Raises FileError for what is missing, wrong, or there already."""
    now = datetime.datetime.now(datetime.UTC).replace(microsecond=0)
    actions = {
        "ca": _ca,
        "server": _server,
        COLLECTOR: _collector,
        "vehicle": _vehicle,
        "access": _access,
        "revoke": _revoke,
    }
    try:
        actions[args.action](args, now)
    except OSError as error:
        raise FileError(error.filename or args.ca, "", f"cannot be written: {error.strerror}") from None
    return 0


def _ca(args: argparse.Namespace, now: datetime.datetime) -> None:
    from kitwatch.authority import ISSUED, Authority

    name = _given(args.name, "the centre's name", "--name")
    files = []
    for which in ("centre", "vehicles"):
        made = Authority.new(args.ca, "centre" if which == "centre" else "vehicles", name, now)
        files += [
            File(args.ca / f"{which}.key", made.pair.key, secret=True),
            File(args.ca / f"{which}.crt", made.pair.certificate),
            File(args.ca / f"{which}.crl", made.revocation_list({}, now)),
        ]
    for folder in (args.ca, args.ca / ISSUED):
        folder.mkdir(mode=0o700, parents=True, exist_ok=True)
    _write(files, replace=False)
    print("Keep a copy of this folder where no thief and no fire finds it.")


def _server(args: argparse.Namespace, now: datetime.datetime) -> None:
    hosts = args.hosts or _given(None, "the broker's host names and addresses, by spaces", "HOST").split()
    for host in hosts:
        if not _HOST.fullmatch(host):
            raise FileError("HOST", "", f"expected a host name or an address, found {host!r}")
    centre, vehicles = _authorities(args.ca)
    pair = centre.issue(hosts[0], "server", args.days, now, hosts)
    files = [
        File(args.to / "server.key", pair.key, args.owner, secret=True),
        File(args.to / "server.crt", pair.certificate),
        File(args.to / "ca.crt", centre.pair.certificate),
        File(args.to / "vehicles.crt", vehicles.pair.certificate),
        File(args.to / "vehicles.crl", vehicles.revocation_list(vehicles.revoked(), now)),
    ]
    _write([*files, _record(args.ca, hosts[0], pair)], replace=args.replace)
    print("Now: systemctl restart mosquitto")


def _collector(args: argparse.Namespace, now: datetime.datetime) -> None:
    centre, _ = _authorities(args.ca)
    pair = centre.issue(COLLECTOR, "client", args.days, now)
    files = [
        File(args.to / "collector.key", pair.key, args.owner, secret=True),
        File(args.to / "collector.crt", pair.certificate),
        File(args.to / "ca.crt", centre.pair.certificate),
    ]
    _write([*files, _record(args.ca, COLLECTOR, pair)], replace=args.replace)


def _vehicle(args: argparse.Namespace, now: datetime.datetime) -> None:
    from agent.config import AgentConfig, render
    from firmware_profiles.own import folders_of, load_fleet
    from telemetry.files import convert, parse_yaml

    vehicle = _given(args.vehicle, "the vehicle's id", "VEHICLE")
    fleet = load_fleet(args.fleet)
    found = fleet.find(vehicle)
    agents = list(found[1].agents) if found else []
    agent = args.agent or (agents[0] if len(agents) == 1 else "")
    if len(agents) > 1:
        agent = _given(args.agent, f"the agent's id ({', '.join(agents)})", "AGENT")
    text = render(fleet, vehicle, agent, args.fleet)
    name = _name_of(vehicle, agent, agents)
    _access_list(args.acl)
    config = convert(parse_yaml(text, args.fleet), AgentConfig, args.fleet)
    centre, vehicles = _authorities(args.ca)
    pair = vehicles.issue(name, "client", args.days, now)
    content = _archive(args.instance, config, folders_of(fleet.profiles, args.fleet), centre, pair, now)
    archive = File(args.to / f"{name}.tar", content, secret=True)
    _write([archive, _record(args.ca, name, pair)], replace=args.replace)
    _allow(args.acl, name, [AgentName(config.site, vehicle, agent or agents[0])])
    earlier = [one for one in vehicles.given_out(name) if one.serial_number not in vehicles.revoked()]
    if len(earlier) > 1:
        print(
            f"{len(earlier) - 1} earlier certificates of {name} are good still: kitwatch setup revoke {name} ends all"
        )
    print(f"Now, on the vehicle: tar -xf {name}.tar -C {ETC}")


def _archive(
    instance: str,
    config: AgentConfig,
    profiles: Sequence[str],
    centre: Authority,
    pair: Pair,
    now: datetime.datetime,
) -> bytes:
    """Return a tar of what goes into the vehicle's /etc/kitwatch, owners by name; own profiles go with it."""
    from agent.config import dump
    from telemetry.fleet import Tls

    tls = Tls(ca=f"{ETC}/ca.crt", certificate=f"{ETC}/{instance}.crt", key=f"{ETC}/{instance}.key")
    names = [f"profiles/{number}" for number in range(1, len(profiles) + 1)]
    config = msgspec.structs.replace(
        config, broker=msgspec.structs.replace(config.broker, tls=tls), profiles=tuple(names)
    )
    own = [
        (f"{name}/{file.relative_to(folder)}", file.read_bytes(), "root", 0o644)
        for name, folder in zip(names, profiles, strict=True)
        for file in sorted(Path(folder).rglob("*.yaml"))
    ]
    folders = sorted({str(parent) for file, *_ in own for parent in Path(file).parents} - {"."})
    out = io.BytesIO()
    with tarfile.open(fileobj=out, mode="w") as archive:
        for folder in folders:  # of all, whatever root's umask is
            member = tarfile.TarInfo(folder)
            member.type, member.mode, member.mtime = tarfile.DIRTYPE, 0o755, int(now.timestamp())
            archive.addfile(member)
        for file, content, owner, mode in (
            (f"{instance}.yaml", dump(config).encode(), "root", 0o640),
            ("ca.crt", centre.pair.certificate, "root", 0o644),
            (f"{instance}.crt", pair.certificate, "root", 0o644),
            (f"{instance}.key", pair.key, "kitwatch", 0o600),
            *own,
        ):
            member = tarfile.TarInfo(file)
            member.size, member.mode, member.mtime = len(content), mode, int(now.timestamp())
            member.uname, member.gname = owner, "kitwatch"
            archive.addfile(member, io.BytesIO(content))
    return out.getvalue()


def _name_of(vehicle: str, agent: str, agents: Sequence[str]) -> str:
    """Return an agent's name in its certificate, which is its user name at the broker."""
    return vehicle if len(agents) == 1 else f"{vehicle}.{agent}"


def _access(args: argparse.Namespace, now: datetime.datetime) -> None:
    from firmware_profiles.own import load_fleet

    _, vehicles = _authorities(args.ca)
    revoked = vehicles.revoked()
    for site, plan in load_fleet(args.fleet).sites.items():
        for vehicle, its in plan.vehicles.items():
            agents = [AgentName(site, vehicle, agent) for agent in its.agents]
            for agent in agents:
                _allow(args.acl, _name_of(vehicle, agent.agent, list(its.agents)), [agent])
            if len(agents) > 1 and any(one.serial_number not in revoked for one in vehicles.given_out(vehicle)):
                _allow(args.acl, vehicle, agents)  # it was made when the vehicle had one agent, and does not say which


def _access_list(acl: Path) -> str:
    """Return the broker's access list. Raises FileError for a file that is none: we would spoil it."""
    text = acl.read_text(encoding="utf-8")
    for number, line in enumerate(text.splitlines(), 1):
        if line.strip() and line.split()[0] not in ("user", "topic", "pattern") and not line.startswith("#"):
            raise FileError(acl, f"line {number}", f"expected Mosquitto's access list, found {line[:50]!r}")
    return text


def _allow(acl: Path, name: str, agents: Sequence[AgentName]) -> None:
    """Give a name the topics of these agents in the access list, in place of those that it had.

    Each by its whole name: a pattern lets whoever has the certificate make topics without number, and a million
    retained ones end Mosquitto 2.0.
    """
    lines = [f"user {name}"]
    for agent in agents:
        lines += [f"topic write {agent.up(kind)}" for kind in sorted(UP_KINDS)] + [f"topic read {agent.down('#')}"]
    before = _access_list(acl)
    others = re.sub(rf"\n*^user {re.escape(name)}\n(?:topic .*\n)*", "\n", before, flags=re.MULTILINE)
    after = others.rstrip("\n") + "\n\n" + "\n".join(lines) + "\n"
    if after != before:
        part = acl.with_name(f".{acl.name}.part")
        part.write_text(after, encoding="utf-8")
        shutil.copymode(acl, part)
        part.replace(acl)
        print(f"{acl}: what {name} may write. Now: systemctl reload mosquitto")


def _revoke(args: argparse.Namespace, now: datetime.datetime) -> None:
    name = _given(args.name, "the vehicle's id", "NAME")
    _, vehicles = _authorities(args.ca)
    revoked = vehicles.revoked()
    serials = [one.serial_number for one in vehicles.given_out(name) if one.serial_number not in revoked]
    if not serials:
        raise FileError(args.ca, "", f"expected a certificate of {name!r} that is good, found none")
    content = vehicles.revocation_list(revoked | dict.fromkeys(serials, now), now)
    copies = [args.ca / "vehicles.crl", *([args.to / "vehicles.crl"] if args.to.is_dir() else [])]
    _write([File(path, content) for path in copies], replace=False)
    print(f"{len(serials)} certificates of {name} revoked.")
    print("Now: systemctl restart mosquitto (a reload refuses it too, but lets its live session be)")


def _authorities(directory: Path) -> tuple[Authority, Authority]:
    from kitwatch.authority import Authority

    return Authority.load(directory, "centre"), Authority.load(directory, "vehicles")


def _record(directory: Path, name: str, pair: Pair) -> File:
    """Return the copy that the authority keeps of a certificate."""
    from kitwatch.authority import ISSUED, serial_of

    return File(directory / ISSUED / f"{name.replace(':', '_')}-{serial_of(pair):x}.crt", pair.certificate)


def _given(value: str | None, what: str, argument: str) -> str:
    """Return what was given, or ask. Raises FileError where nobody can be asked."""
    if not value and sys.stdin is not None and sys.stdin.isatty():
        value = input(f"{what}: ").strip()
    if not value:
        raise FileError(argument, "", f"expected {what}, found nothing")
    return value


def _write(files: Sequence[File], *, replace: bool) -> None:
    """Write all or nothing of what could be foreseen; each file appears whole, with its owner and mode."""
    for file in files:
        if file.secret and not replace and file.path.exists():
            raise FileError(file.path, "", "expected no file there, found one: --replace overwrites it")
        if file.owner != "root" or os.geteuid() == 0:
            _owner(file)
        if not file.path.parent.is_dir():
            raise FileError(file.path.parent, "", "expected a directory, found none")
    for file in files:
        part = file.path.with_name(f".{file.path.name}.part")
        part.unlink(missing_ok=True)
        with open(os.open(part, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "wb") as out:
            out.write(file.content)
            out.flush()
            os.fsync(out.fileno())
        if os.geteuid() == 0:
            shutil.chown(part, file.owner)
        part.chmod(0o600 if file.secret else 0o644)
        part.replace(file.path)
        print(f"{file.path}: written" + (f", for {file.owner} only" if file.secret else ""))


def _owner(file: File) -> None:
    """Raise FileError unless the file can be given to its owner."""
    import pwd

    try:
        owner = pwd.getpwnam(file.owner)
    except KeyError:
        raise FileError("--owner", "", f"expected a user of this machine, found {file.owner!r}") from None
    if os.geteuid() not in (0, owner.pw_uid):
        raise FileError(file.path, "", f"expected to run as root, to give it to {file.owner}")
