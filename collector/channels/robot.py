"""What the chat robots of a group have in common: Feishu, DingTalk and WeCom, a file each beside this.

A robot's address is its secret and stands in a file. It answers status 200 whatever becomes of a message, a code in the
body says it, and it takes so many messages a minute: what is beyond that waits here instead of being thrown away there.
"""

from __future__ import annotations

import time
from abc import abstractmethod
from collections.abc import Callable
from pathlib import Path
from typing import Any, ClassVar, Final, Self

import aiohttp
import msgspec

from collector.channels.channel import Channel, Delivered, Notification, Outcome, Refused, Retry, Settings
from collector.channels.pace import pace_of
from collector.outgoing import one_line
from telemetry.files import FileError, read_secret

TIMEOUT: Final = aiohttp.ClientTimeout(total=10)
MINUTE_S: Final = 60.0


class Robot(Settings, frozen=True):
    """Sends to the address of a robot, which is its secret and stands in ``url_file``."""

    url_file: str
    """File that holds the group robot's address."""
    signing_key_file: str | None = None
    """Holds the robot's signing key, if it asks for signatures."""

    def checked(self, file: Path, key: str) -> Self:
        """Return the settings with absolute paths. Raises FileError."""
        folder = file.resolve().parent
        url_file = str(folder / self.url_file)
        if not read_secret(url_file, f"{key}.url_file").startswith(("https://", "http://")):
            raise FileError(url_file, "", "expected the address of a robot (https://...), found none")
        signing = None if self.signing_key_file is None else str(folder / self.signing_key_file)
        if signing is not None:
            read_secret(signing, f"{key}.signing_key_file")
        return msgspec.structs.replace(self, url_file=url_file, signing_key_file=signing)


class RobotChannel(Channel):
    """One session for each notification: they are few, and the address may change."""

    most_attempts = 200
    """Not every code is known: one that never passes ends after some hours."""
    code: ClassVar[str]
    """What the answer's code is called; 0 is delivered."""
    refused: ClassVar[frozenset[int]]
    """Codes that are about the message: it will never be taken. Every other is about the robot and may pass."""
    busy: ClassVar[frozenset[int]]
    """Codes that say that there were too many."""
    most_a_minute: ClassVar[int]

    def __init__(
        self,
        settings: Robot,
        now_s: Callable[[], float] = time.time,
        monotonic_s: Callable[[], float] = time.monotonic,
    ) -> None:
        self._settings = settings
        self._now_s = now_s
        self._monotonic_s = monotonic_s
        self._pace = pace_of((settings.channel, settings.url_file), [(self.most_a_minute, MINUTE_S)])

    @abstractmethod
    def message(self, text: str) -> dict[str, Any]:
        """Return what is posted."""

    def sign(self, key: str, at_s: float) -> tuple[dict[str, str], dict[str, str]]:
        """Return what signing adds: fields of the message, and parameters of the address. Here: nothing."""
        return {}, {}

    async def send(self, notification: Notification) -> Outcome:
        """Send once: both languages, Chinese first."""
        now_s = self._monotonic_s()
        if (wait_s := self._pace.wait_s(now_s)) > 0:
            return Retry(f"kept to {self.most_a_minute} messages a minute", wait_s, busy=True)
        content = notification.content
        text = content.text
        parameters: dict[str, str] = {}
        message = self.message("\n".join(filter(None, (text.zh, text.en, content.link))))
        try:
            url = read_secret(self._settings.url_file, "notifications.url_file")
            if self._settings.signing_key_file is not None:
                key = read_secret(self._settings.signing_key_file, "notifications.signing_key_file")
                fields, parameters = self.sign(key, self._now_s())
                message |= fields
            self._pace.note(now_s)
            async with (
                aiohttp.ClientSession(timeout=TIMEOUT) as session,
                session.post(url, json=message, params=parameters, allow_redirects=False) as answer,
            ):
                return self._outcome(answer.status, await answer.content.read(4096))
        except (aiohttp.ClientError, TimeoutError, OSError, FileError) as error:
            return Retry(type(error).__name__)  # its words may hold the address

    def _outcome(self, status: int, body: bytes) -> Outcome:
        try:
            code = msgspec.json.decode(body).get(self.code)
        except (msgspec.DecodeError, AttributeError, RecursionError, UnicodeDecodeError):
            code = None
        words = one_line(f"{status}: ".encode() + body)
        if code == 0 and status == 200:
            return Delivered()
        if code in self.busy:
            return Retry(words, MINUTE_S, busy=True)
        return Refused(words) if code in self.refused else Retry(words)
