"""What run time will need and ``--check`` looks at: secrets, TLS files, folders, ports of this machine.

What is wrong here will be wrong at the start. What is not in reach now (``telemetry.reach``) is said apart: agent and
collector start without it and wait.
"""

from __future__ import annotations

import datetime
import os
import pwd
import shutil
import socket
from collections.abc import Callable, Collection, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Final, NamedTuple

from telemetry.files import FileError

if TYPE_CHECKING:
    from telemetry.fleet import Broker

_SOON: Final = datetime.timedelta(days=30)


class Need(NamedTuple):
    """One thing that is needed, and what is wrong with it; empty: nothing."""

    what: str
    problem: str = ""


def checked(what: str, check: Callable[[], object]) -> Need:
    """Return the need that a check makes: its FileError is the problem."""
    try:
        check()
    except FileError as error:
        return Need(what, str(error))
    return Need(what)


def tls(broker: Broker, names: Collection[str] = ()) -> list[Need]:
    """Return the TLS files of a broker: usable, ours not about to end and for one of ``names``, if any are given."""
    from telemetry.refusals import common_name
    from telemetry.tls import tls_context

    if broker.tls is None:
        return []
    part = broker.tls
    needs = [checked(f"TLS files of {broker.host}", lambda: tls_context(part))]
    if part.certificate is not None and not needs[0].problem:
        ours, end = common_name(part.certificate), _end(part.certificate)
        problem = ""
        if names and ours not in names:
            problem = f"{part.certificate}: expected a certificate for {' or '.join(names)}, found one for {ours}"
        elif end is not None and end - datetime.datetime.now(datetime.UTC) < _SOON:
            problem = f"{part.certificate}: ends on {end:%Y-%m-%d}: kitwatch setup makes another"
        needs.append(Need(f"certificate for {ours}", problem))
    return needs


def _end(certificate: str) -> datetime.datetime | None:
    from cryptography import x509

    try:
        return x509.load_pem_x509_certificate(Path(certificate).read_bytes()).not_valid_after_utc
    except (OSError, ValueError):
        return None


def folder(what: str, path: Path, free_bytes: int = 0) -> Need:
    """Return a folder that is to be written: it is there, or can be made, with so much room."""
    there = path
    while not there.exists() and there != there.parent:
        there = there.parent
    if not there.is_dir():
        return Need(what, f"{path}: expected a folder, found a file at {there}")
    if not os.access(there, os.W_OK | os.X_OK, effective_ids=True):
        return Need(what, f"{path}: expected a folder that {user()} may write, found {_owner(there)}")
    free = shutil.disk_usage(there).free
    if free < free_bytes:
        return Need(what, f"{path}: expected {free_bytes >> 20} MiB free, found {free >> 20} MiB")
    return Need(what)


def device_file(what: str, path: str) -> Need:
    """Return a serial port that is there and may be used."""
    if not os.access(path, os.R_OK | os.W_OK, effective_ids=True):
        return Need(what, f"{path}: expected a port that {user()} may use, found {_owner(Path(path))}")
    return Need(what)


def free_port(what: str, host: str, port: int) -> Need:
    """Return a TCP port of this machine that nobody has; a service that runs already has its own."""
    try:
        family, kind, protocol, _, address = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)[0]
        with socket.socket(family, kind, protocol) as probe:
            probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            probe.bind(address)
    except OSError as error:
        return Need(what, f"{host}:{port} cannot be had now: {error.strerror}")
    return Need(what)


def user() -> str:
    """Return who we are."""
    try:
        return pwd.getpwuid(os.geteuid()).pw_name
    except KeyError:
        return str(os.geteuid())


def _owner(path: Path) -> str:
    status = path.stat()
    return f"{path} of {_name(status.st_uid)}, mode {status.st_mode & 0o777:04o}"


def _name(uid: int) -> str:
    try:
        return pwd.getpwuid(uid).pw_name
    except KeyError:
        return str(uid)


def lines(needs: Sequence[Need], reach: Sequence[Need]) -> list[str]:
    """Return both in words: what is needed, and apart from it what is in reach now."""
    told = [
        f"{'needs' if need.problem else 'has'} {need.what}{': ' if need.problem else ''}{need.problem}"
        for need in needs
    ]
    if os.geteuid() == 0:
        told.append("checked as root: the unit's user may see less (runuser -u kitwatch -- kitwatch ... --check)")
    told += [f"reaches {one.what}" for one in reach if not one.problem]
    return told + [f"does not reach {one.what} now: {one.problem}" for one in reach if one.problem]
