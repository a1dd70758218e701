"""The dead man's switch: while all is well we call a second place again and again, which raises the alarm when we stop.

So that silence of the centre itself is seen: of this machine, its network, its power. The second place is what
healthchecks.io or Uptime Kuma (push monitor) offer, or anything that takes a GET or POST. A call is made only while
every site of this collector is looked after, by whichever collector (``/readyz``), and this process gets on.
"""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Annotated, Final, Literal

import aiohttp
import msgspec

from collector.outgoing import Attempts, Progress, one_line, wait_for_any
from telemetry.files import FileError, read_secret

log = logging.getLogger(__name__)

NAME: Final = "dead_mans_switch"
"""As which it is told in figures and tickets, beside the receivers of notifications."""
TIMEOUT: Final = aiohttp.ClientTimeout(total=10)
ASK_S: Final = 5.0
"""So long the database may take to say whether all is well."""


class DeadMansSwitch(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """A second place that is called while all is well, and raises the alarm when nobody calls any more."""

    url_file: str
    """File that holds the address: whoever knows it can keep the switch quiet."""
    every: Annotated[float, msgspec.Meta(ge=1, le=86_400)] = 60.0
    """Seconds between two calls; the other side waits for some of them."""
    method: Literal["GET", "POST"] = "GET"
    """How it is called."""

    def checked(self, file: Path, key: str) -> DeadMansSwitch:
        """Return the settings with absolute paths. Raises FileError."""
        url_file = str(file.resolve().parent / self.url_file)
        if not read_secret(url_file, f"{key}.url_file").startswith(("https://", "http://")):
            raise FileError(url_file, "", "expected an address (https://...), found none")
        return msgspec.structs.replace(self, url_file=url_file)


class Caller:
    """Calls the second place. ``problems`` says what is not well, empty if all is; it may block."""

    def __init__(
        self, settings: DeadMansSwitch, problems: Callable[[], Sequence[str]], progress: Progress | None = None
    ) -> None:
        self.progress = progress or Progress()
        self._settings = settings
        self._problems = problems
        self._attempts = Attempts("dead man's switch", self.progress, min(5.0, settings.every), settings.every, _now_ms)
        self._held_by = ""

    async def run(self, stop: asyncio.Event) -> None:
        """Call until ``stop`` is set. Whatever fails is logged and told, and holds up nothing."""
        while not stop.is_set():
            began_s = time.monotonic()
            wait_s = await self._turn()
            await wait_for_any(wait_s - (time.monotonic() - began_s), stop)

    async def _turn(self) -> float:
        """Look, and call if all is well; return how long to wait until the next look."""
        held_by = "; ".join(await self._not_well())
        if held_by != self._held_by:
            log.warning("dead man's switch: %s", f"not called: {held_by}" if held_by else "called again")
            self._held_by = held_by
        if held_by:
            self.progress.counts["held_back"] += 1
            return self._settings.every
        words = await self._call()
        if words:
            return self._attempts.failed(words)
        self._attempts.succeeded()
        self.progress.counts["sent"] += 1
        return self._settings.every

    async def _not_well(self) -> Sequence[str]:
        try:
            return await asyncio.wait_for(asyncio.to_thread(self._problems), ASK_S)
        except Exception as error:  # whoever cannot say that all is well does not say it
            return [f"cannot be asked: {type(error).__name__}"]

    async def _call(self) -> str:
        """Call once; return what was wrong, empty if it was taken. The address is in no words."""
        try:
            url = read_secret(self._settings.url_file, f"{NAME}.url_file")
            async with (
                aiohttp.ClientSession(timeout=TIMEOUT) as session,
                session.request(self._settings.method, url, allow_redirects=False) as answer,
            ):
                body = await answer.content.read(1024)
        except (aiohttp.ClientError, TimeoutError, OSError, ValueError, FileError) as error:
            return type(error).__name__
        if 200 <= answer.status < 300 and not _says_no(body):
            return ""
        return one_line(f"{answer.status}: ".encode() + body)


def _says_no(body: bytes) -> bool:
    """Say whether an answer of status 200 says that it knows no such switch, or takes no more.

    healthchecks.io: ``OK (not found)``, ``OK (rate limited)``; Uptime Kuma: ``{"ok": false, ...}``.
    """
    if body.strip().startswith(b"OK ("):
        return True
    try:
        found = msgspec.json.decode(body)
    except (msgspec.DecodeError, UnicodeError, RecursionError):
        return False
    return isinstance(found, dict) and found.get("ok") is False


def _now_ms() -> int:
    return time.time_ns() // 1_000_000
