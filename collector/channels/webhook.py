"""A webhook: the notification as JSON, posted with its idempotency key.

2xx: delivered. An answer about the content (400, 410, 413, 415, 422 and other client errors) refuses it for good. Any
other, and no answer, is about the receiver, the way there or our credentials (401, 403, 404, 405, 407, 408, 425, 429),
and passes. Signed, if asked for, as the Standard Webhooks specification 1.0 has it: HMAC-SHA-256 over
``id.timestamp.body`` in ``webhook-signature``.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from pathlib import Path
from typing import Final
from urllib.parse import urlsplit

import aiohttp
import msgspec

from collector.channels.channel import Channel, Delivered, Notification, Outcome, Refused, Retry, Settings
from collector.outgoing import MAX_WORDS, one_line
from collector.webhook_signature import sign
from telemetry.files import FileError, read_secret
from telemetry.retry_after import retry_after_s

NOT_ABOUT_THE_CONTENT: Final = frozenset({401, 403, 404, 405, 407, 408, 425, 429})
"""Client errors that say nothing of what was sent (RFC 9110, RFC 8470, RFC 6585)."""


class Webhook(Settings, frozen=True, tag="webhook"):
    """Posts to ``url``."""

    url: str
    """Where notifications are posted as JSON."""
    secret_file: str | None = None
    """Holds the receiver's bearer token (RFC 6750)."""
    signing_key_file: str | None = None
    """Holds the key that signs: ``whsec_`` and base64, or any text."""
    timeout_s: float = 10.0
    """Seconds that one request may take."""

    def checked(self, file: Path, key: str) -> Webhook:
        """Return the settings with absolute paths. Raises FileError."""
        parts = urlsplit(self.url)
        if parts.scheme not in ("http", "https") or not parts.hostname:
            raise FileError(file, f"{key}.url", f"expected http://... or https://..., found {self.url!r}")
        found = self
        for name in ("secret_file", "signing_key_file"):
            value = getattr(self, name)
            if value is not None:
                absolute = str(file.resolve().parent / value)
                read_secret(absolute, f"{key}.{name}")
                found = msgspec.structs.replace(found, **{name: absolute})
        return found

    def open(self) -> Channel:
        """Return the channel."""
        return WebhookChannel(self)


class WebhookChannel(Channel):
    """One connection, kept open between notifications."""

    def __init__(self, settings: Webhook, now_ms: Callable[[], int] = lambda: time.time_ns() // 1_000_000) -> None:
        self._settings = settings
        self._now_ms = now_ms
        self._session: aiohttp.ClientSession | None = None

    async def send(self, notification: Notification) -> Outcome:
        """Post once."""
        settings, body = self._settings, notification.body.encode()
        headers = {"Content-Type": "application/json; charset=utf-8", "Idempotency-Key": notification.key}
        try:
            if settings.secret_file is not None:
                headers["Authorization"] = f"Bearer {read_secret(settings.secret_file, 'notifications.secret_file')}"
            if settings.signing_key_file is not None:
                key = read_secret(settings.signing_key_file, "notifications.signing_key_file")
                headers |= sign(key, notification.key, self._now_ms() // 1000, body)
            if self._session is None:
                self._session = aiohttp.ClientSession(timeout=aiohttp.ClientTimeout(total=settings.timeout_s))
            async with self._session.post(settings.url, data=body, headers=headers, allow_redirects=False) as answer:
                if 200 <= answer.status < 300:
                    return Delivered()
                words = one_line(f"{answer.status}: ".encode() + await answer.content.read(4 * MAX_WORDS))
                if 400 <= answer.status < 500 and answer.status not in NOT_ABOUT_THE_CONTENT:
                    return Refused(words)
                return Retry(words, retry_after_s(answer.headers.get("Retry-After", ""), self._now_ms()))
        except (aiohttp.ClientError, TimeoutError, OSError, FileError) as error:
            return Retry(one_line(f"{type(error).__name__}: {error}"))

    async def close(self) -> None:
        """Close the connection."""
        session, self._session = self._session, None
        if session is not None:
            await session.close()
