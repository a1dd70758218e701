"""A Feishu (Lark) group robot: text to a group, signed if its key is given.

Source: Feishu Open Platform, "Custom bot usage guide". It answers status 200 whatever becomes of the message; ``code``
in the body says it: 0 sent, 9499 the message is not one, 19024 its words are not those that the robot asks for. Any
other code is about the robot (19021 signature, 19022 address, 19001 address of the hook, 11232 too many) and may pass.
"""

from __future__ import annotations

import base64
import hashlib
import hmac
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any, Final

import aiohttp
import msgspec

from collector.channels.channel import Channel, Delivered, Notification, Outcome, Refused, Retry, Settings
from collector.outgoing import one_line
from telemetry.files import FileError, read_secret

REFUSED: Final = frozenset({9499, 19024})
TIMEOUT: Final = aiohttp.ClientTimeout(total=10)


class Feishu(Settings, frozen=True, tag="feishu"):
    """Sends to the address of a robot, which is its secret and stands in ``url_file``."""

    url_file: str
    """File that holds the group robot's address."""
    signing_key_file: str | None = None
    """Holds the robot's signing key, if it asks for signatures."""

    def checked(self, file: Path, key: str) -> Feishu:
        """Return the settings with absolute paths. Raises FileError."""
        folder = file.resolve().parent
        url_file = str(folder / self.url_file)
        if not read_secret(url_file, f"{key}.url_file").startswith(("https://", "http://")):
            raise FileError(url_file, "", "expected the address of a robot (https://...), found none")
        signing = None if self.signing_key_file is None else str(folder / self.signing_key_file)
        if signing is not None:
            read_secret(signing, f"{key}.signing_key_file")
        return msgspec.structs.replace(self, url_file=url_file, signing_key_file=signing)

    def open(self) -> Channel:
        """Return the channel."""
        return FeishuChannel(self)


class FeishuChannel(Channel):
    """One session for each notification: they are few, and the address may change."""

    most_attempts = 200
    """Not every code is known: one that never passes ends after some hours."""

    def __init__(self, settings: Feishu, now_s: Callable[[], float] = time.time) -> None:
        self._settings = settings
        self._now_s = now_s

    async def send(self, notification: Notification) -> Outcome:
        """Send once: both languages, Chinese first."""
        text = notification.content.text
        message: dict[str, Any] = {"msg_type": "text", "content": {"text": f"{text.zh}\n{text.en}"}}
        try:
            url = read_secret(self._settings.url_file, "notifications.url_file")
            if self._settings.signing_key_file is not None:
                key = read_secret(self._settings.signing_key_file, "notifications.signing_key_file")
                message |= sign(key, int(self._now_s()))
            async with (
                aiohttp.ClientSession(timeout=TIMEOUT) as session,
                session.post(url, json=message, allow_redirects=False) as answer,
            ):
                return _outcome(answer.status, await answer.content.read(4096))
        except (aiohttp.ClientError, TimeoutError, OSError, FileError) as error:
            return Retry(type(error).__name__)  # its words may hold the address


def sign(key: str, at_s: int) -> dict[str, str]:
    """Return the fields that sign a message: HMAC-SHA-256 of nothing under ``timestamp`` and key, as Feishu has it."""
    mac = hmac.new(f"{at_s}\n{key}".encode(), digestmod=hashlib.sha256).digest()
    return {"timestamp": str(at_s), "sign": base64.b64encode(mac).decode()}


def _outcome(status: int, body: bytes) -> Outcome:
    try:
        code = msgspec.json.decode(body).get("code")
    except (msgspec.DecodeError, AttributeError, RecursionError, UnicodeDecodeError):
        code = None
    words = one_line(f"{status}: ".encode() + body)
    if code == 0 and status == 200:
        return Delivered()
    return Refused(words) if code in REFUSED else Retry(words)
