"""Asking the collector's API: over its socket, which sees whose login this is, or at its address with a token."""

from __future__ import annotations

import argparse
import http.client
import json
import socket
import ssl
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final
from urllib.parse import urlsplit

SOCKET: Final = "/run/kitwatch/collector.sock"
_TIMEOUT_S: Final = 10.0


class Told(Exception):  # noqa: N818 - what to print, and the exit status
    """What is wrong, and the exit status for it."""

    def __init__(self, words: str, status: int) -> None:
        super().__init__(words)
        self.status = status


def add_arguments(parser: argparse.ArgumentParser, socket: str = "") -> None:
    """Add where the collector is: on this machine, or anywhere; ``socket``: which is taken if it is not said."""
    where = parser.add_mutually_exclusive_group()
    says = f"the collector's socket (default {socket or SOCKET})"
    where.add_argument("--socket", default="" if socket else SOCKET, metavar="PATH", help=says)
    where.add_argument("--url", metavar="URL", help="where its pages are, such as https://kit.example/kitwatch")
    parser.add_argument("--token-file", type=Path, metavar="FILE", help="a token of its API, for --url")
    parser.add_argument("--ca", type=Path, metavar="FILE", help="the authority's certificate, for --url")


class _OverSocket(http.client.HTTPConnection):
    """HTTP over a socket of this machine."""

    def __init__(self, path: str) -> None:
        super().__init__("localhost", timeout=_TIMEOUT_S)
        self._path = path

    def connect(self) -> None:
        self.sock = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        self.sock.settimeout(self.timeout)
        self.sock.connect(self._path)


@dataclass(frozen=True, slots=True)
class CollectorApi:
    """Where a collector is asked."""

    where: str
    """The path of its socket, or its address."""
    token: str = ""
    ca: str | None = None

    def __str__(self) -> str:
        return self.where

    def ask(self, method: str, path: str, body: object = None) -> Any:
        """Return the answer. Raises Told for one that says what is wrong, OSError where nobody answers."""
        connection, below = self._connection()
        headers = {"Authorization": f"Bearer {self.token}"} if self.token else {}
        content = None if body is None else json.dumps(body).encode()
        try:
            connection.request(
                method, below + path, content, headers | ({"Content-Type": "application/json"} if content else {})
            )
            answer = connection.getresponse()
            found = json.loads(answer.read())
        except (json.JSONDecodeError, UnicodeDecodeError) as error:
            raise Told(f"{self}: expected a collector, found no JSON: {error}", 2) from None
        finally:
            connection.close()
        if answer.status >= 400:
            detail = found.get("detail", found) if isinstance(found, dict) else found
            raise Told(str(detail), 1 if answer.status in (400, 403, 404) else 2)
        return found

    def taken(self, action: dict[str, Any], wait_s: float) -> dict[str, Any]:
        """Return an action once the site's owner has taken it, or as it stands after ``wait_s``. Raises as ``ask``."""
        end = time.monotonic() + wait_s
        found = {"status": "waiting", **action}
        while found["status"] == "waiting" and time.monotonic() < end:
            time.sleep(0.1)
            found = self.ask("GET", action["url"])
        return found

    def _connection(self) -> tuple[http.client.HTTPConnection, str]:
        """Return a connection, and the path below which the API is."""
        if not self.where.startswith(("http://", "https://")):
            return _OverSocket(self.where), ""
        parts = urlsplit(self.where)
        if parts.scheme == "http":
            return http.client.HTTPConnection(parts.netloc, timeout=_TIMEOUT_S), parts.path.rstrip("/")
        trust = ssl.create_default_context(cafile=self.ca)
        return http.client.HTTPSConnection(parts.netloc, timeout=_TIMEOUT_S, context=trust), parts.path.rstrip("/")


def api_of(args: argparse.Namespace) -> CollectorApi:
    """Return where the arguments say that the collector is. Raises Told, FileError for a token that cannot be read."""
    if not args.url:
        return CollectorApi(args.socket)
    if not args.url.startswith(("http://", "https://")) or not urlsplit(args.url).netloc:
        raise Told(f"--url: expected an address such as https://kit.example/kitwatch, found {args.url!r}", 2)
    if args.token_file is None:
        raise Told("--token-file: expected the file of a token (kitwatch token create), found none", 2)
    from telemetry.files import read_secret

    return CollectorApi(args.url, read_secret(args.token_file, "--token-file"), str(args.ca) if args.ca else None)
