"""Speaking to the collector over its socket, which sees whose login this is."""

from __future__ import annotations

import http.client
import json
import socket
import time
from typing import Any, Final

SOCKET: Final = "/run/kitwatch/collector.sock"


class Told(Exception):  # noqa: N818 - what to print, and the exit status
    """What is wrong, and the exit status for it."""

    def __init__(self, words: str, status: int) -> None:
        super().__init__(words)
        self.status = status


class _Connection(http.client.HTTPConnection):
    """HTTP over a socket of this machine."""

    def __init__(self, path: str) -> None:
        super().__init__("localhost", timeout=10.0)
        self._path = path

    def connect(self) -> None:
        self.sock = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        self.sock.settimeout(self.timeout)
        self.sock.connect(self._path)


def ask(path: str, method: str, where: str, body: object = None) -> Any:
    """Return the answer. Raises Told for one that says what is wrong, OSError where nobody answers."""
    connection = _Connection(path)
    try:
        content = None if body is None else json.dumps(body).encode()
        connection.request(method, where, content, {"Content-Type": "application/json"} if content else {})
        answer = connection.getresponse()
        found = json.loads(answer.read())
    except json.JSONDecodeError as error:
        raise Told(f"{path}: expected a collector, found no JSON: {error}", 2) from None
    finally:
        connection.close()
    if answer.status >= 400:
        raise Told(str(found.get("detail", found)), 1 if answer.status in (400, 403, 404) else 2)
    return found


def taken(path: str, action: dict[str, Any], wait_s: float) -> dict[str, Any]:
    """Return an action once the site's owner has taken it, or as it stands after ``wait_s``. Raises as ``ask``."""
    end = time.monotonic() + wait_s
    found = {"status": "waiting", **action}
    while found["status"] == "waiting" and time.monotonic() < end:
        time.sleep(0.1)
        found = ask(path, "GET", action["url"])
    return found
