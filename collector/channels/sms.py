"""Short messages (短信) through a gateway that a file describes (``sms_gateway.py``).

A notification may carry the number that it is for (``Notification.address``); else it goes to the receiver's own.
An answer of HTTP 200 says nothing by itself: taken is what the file says. One that is neither taken nor has a code is
refused for good rather than sent again: nobody knows whether the message went out, and each one is paid for.
"""

from __future__ import annotations

import re
import secrets
import time
from collections.abc import Callable
from pathlib import Path
from typing import Final

import aiohttp
import msgspec
import yarl

from collector.channels.channel import Channel, Delivered, Notification, Outcome, Refused, Retry, Settings
from collector.channels.cloud_signatures import Request, signed
from collector.channels.pace import pace_of
from collector.channels.sms_gateway import SmsGateway, at, load_gateway, request_of
from collector.channels.sms_text import TooLongError, fill, parameters, words_of
from collector.outgoing import one_line
from telemetry.durations import milliseconds
from telemetry.files import FileError, read_secret
from telemetry.retry_after import retry_after_s

MOST_ATTEMPTS: Final = 200
"""Not every code is known: one that never passes ends after some hours."""
MOST_ANSWER: Final = 16 * 1024
"""Bytes of an answer that are read."""
_NUMBER: Final = re.compile(r"\+?[0-9]{3,15}")
_PASSES: Final = frozenset({401, 403, 404, 405, 407, 408, 425, 429})


class Sms(Settings, frozen=True, tag="sms"):
    """Sends short messages through the gateway that a file describes."""

    gateway: str
    """The gateway's file (docs/components.md)."""
    to: str = ""
    """The telephone number; empty: only notifications that carry one."""

    def checked(self, file: Path, key: str) -> Sms:
        """Return the settings with absolute paths. Raises FileError."""
        gateway = str(file.resolve().parent / self.gateway)
        found = load_gateway(Path(gateway))
        if self.to and number_of(self.to, found.country_code) is None:
            raise FileError(file, f"{key}.to", f"expected a telephone number such as 13800000000, found {self.to!r}")
        return msgspec.structs.replace(self, gateway=gateway)

    def open(self) -> Channel:
        """Return the channel."""
        return SmsChannel(self, load_gateway(Path(self.gateway)))


class SmsChannel(Channel):
    """One session for each message: they are few."""

    most_attempts = MOST_ATTEMPTS

    def __init__(
        self,
        settings: Sms,
        gateway: SmsGateway,
        *,
        now_s: Callable[[], float] = time.time,
        monotonic_s: Callable[[], float] = time.monotonic,
        nonce: Callable[[], str] = lambda: secrets.token_hex(16),
    ) -> None:
        self._settings = settings
        self._gateway = gateway
        self._now_s = now_s
        self._monotonic_s = monotonic_s
        self._nonce = nonce
        self._limits = [(one.messages, milliseconds(one.within) / 1000) for one in gateway.limits]

    async def send(self, notification: Notification) -> Outcome:
        """Send once, in Chinese."""
        given = notification.address or self._settings.to
        number = number_of(given, self._gateway.country_code)
        if number is None:
            return Refused(f"expected a telephone number such as 13800000000, found {given!r}"[:200])
        pace, now_s = pace_of((self._settings.gateway, number), self._limits), self._monotonic_s()
        if (wait_s := pace.wait_s(now_s)) > 0:
            return Retry("kept to the limits of the gateway for one number", wait_s, busy=True)
        try:
            request = self._request(notification, number)
        except TooLongError as error:
            return Refused(str(error))
        except FileError as error:
            return Retry(one_line(str(error)))
        try:
            pace.note(now_s)
            async with (
                aiohttp.ClientSession(timeout=aiohttp.ClientTimeout(total=self._gateway.timeout)) as session,
                session.request(
                    request.method,
                    yarl.URL(request.url, encoded=True),
                    headers=request.headers,
                    data=request.body or None,
                    allow_redirects=False,
                ) as answer,
            ):
                body = await answer.content.read(MOST_ANSWER)
                after_s = retry_after_s(answer.headers.get("Retry-After", ""), round(self._now_s() * 1000))
                return self._outcome(answer.status, body, after_s)
        except (aiohttp.ClientError, TimeoutError, OSError, ValueError) as error:
            return Retry(type(error).__name__)  # its words may hold the address with its secrets

    def _request(self, notification: Notification, number: str) -> Request:
        """Return what is sent. Raises TooLongError, FileError for a secret that cannot be read."""
        gateway = self._gateway
        templates = {name: (one.value, one.longest) for name, one in gateway.parameters.items()}
        found = parameters(templates, words_of(notification.content, gateway.link), gateway.room)
        digits = number.removeprefix("+")
        values = {
            "to": number,
            "to_digits": digits,
            "to_local": digits.removeprefix(gateway.country_code),
            "signature": gateway.signature,
            "template": gateway.template,
            "message": f"【{gateway.signature}】{fill(gateway.text, found)}",
            "key": notification.key,
            "parameters_json": msgspec.json.encode(found).decode(),
            **{f"parameter.{name}": text for name, text in found.items()},
            **{f"secret.{name}": _secret(file, name) for name, file in gateway.secret_files.items()},
        }
        request = request_of(gateway, values, found)
        if gateway.signing is None:
            return request
        keys = gateway.signing
        id, key = _secret(keys.key_id_file, "key_id_file"), _secret(keys.key_file, "key_file")
        return signed(keys.scheme, request, id, key, int(self._now_s()), self._nonce())

    def _outcome(self, status: int, body: bytes, after_s: float | None) -> Outcome:
        gateway = self._gateway
        try:
            answer = msgspec.json.decode(body)
        except (msgspec.DecodeError, RecursionError, UnicodeDecodeError):
            answer = None
        words = one_line(f"{status}: ".encode() + body)
        accepted = gateway.accepted
        there = at(answer, accepted.path)
        if status in accepted.status and type(there) is type(accepted.value) and there == accepted.value:
            return Delivered()
        codes = (at(answer, path) for path in (*gateway.codes, accepted.path))
        code = next((one for one in codes if isinstance(one, str | int)), None)
        if code is not None and str(code) in gateway.busy:
            return Retry(words, milliseconds(gateway.busy[str(code)]) / 1000, busy=True)
        if code is not None and str(code) in {str(one) for one in gateway.refused}:
            return Refused(words)
        if code is None and 200 <= status < 300:
            return Refused(f"its answer is none that the gateway's file describes: {words}")
        if code is None and 400 <= status < 500 and status not in _PASSES:
            return Refused(words)
        return Retry(words, after_s)


def number_of(text: str, country_code: str) -> str | None:
    """Return a telephone number as E.164 has it (``+8613800000000``), ``None`` for what is none."""
    plain = "".join(letter for letter in text if letter not in " -()")
    if plain.startswith("00"):
        plain = f"+{plain[2:]}"
    if not (plain.isascii() and _NUMBER.fullmatch(plain)):
        return None
    return plain if plain.startswith("+") else f"+{country_code}{plain}"


def _secret(file: str, name: str) -> str:
    text = read_secret(file, name)
    if not (text.isascii() and text.isprintable()):
        raise FileError(file, name, "expected printable ASCII in one line, found something else")
    return text
