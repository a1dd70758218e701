"""What the library ``apprise`` reaches: mail, WeCom, DingTalk, gateways for short messages, and a hundred more.

It says yes or no and nothing else, so that a no may be a receiver that is away or a message that is never taken: it is
tried again, a bounded number of times. WeCom and DingTalk count as yes whatever they answer with HTTP status 200.
"""

from __future__ import annotations

import asyncio
import importlib.util
from pathlib import Path
from typing import Any, Final
from urllib.parse import quote

import msgspec

from collector.channels.channel import Channel, Delivered, Notification, Outcome, Retry, Settings
from collector.outgoing import one_line
from telemetry.files import FileError, read_secret

MOST_ATTEMPTS: Final = 200
"""At the longest wait of a minute: more than three hours."""
TIMEOUT_S: Final = 60.0


class Apprise(Settings, frozen=True, tag="apprise"):
    """Sends to the one address in ``url_file`` (https://appriseit.com/services/), which holds the receiver's secret."""

    url_file: str
    """File that holds the address in `apprise`'s form: `wecombot://...`, `mailto://...`. `{address}` in it stands for
    where a person of the roster is reached: `mailto://user:password@smtp.example?to={address}`."""

    def checked(self, file: Path, key: str) -> Apprise:
        """Return the settings with absolute paths. Raises FileError."""
        if importlib.util.find_spec("apprise") is None:
            raise FileError(
                file, f"{key}.channel", "expected the library apprise: pip install 'kitwatch[collector]', found none"
            )
        absolute = str(file.resolve().parent / self.url_file)
        url = read_secret(absolute, f"{key}.url_file")
        if "://" not in url or "\n" in url:
            raise FileError(absolute, "", "expected one address of apprise such as wecombot://KEY, found none")
        return msgspec.structs.replace(self, url_file=absolute)

    def open(self) -> Channel:
        """Return the channel."""
        return AppriseChannel(self)


class AppriseChannel(Channel):
    """The library is loaded with the first notification: it takes a second and some memory."""

    most_attempts = MOST_ATTEMPTS

    def __init__(self, settings: Apprise) -> None:
        self._settings = settings

    async def send(self, notification: Notification) -> Outcome:
        """Send once: both languages, Chinese first."""
        content = notification.content
        text = content.text
        try:
            sender = await asyncio.to_thread(self._sender, notification.address)
            async with asyncio.timeout(TIMEOUT_S):
                taken = await sender.async_notify(title=text.zh, body="\n".join(filter(None, (text.en, content.link))))
        except (FileError, OSError, TimeoutError) as error:
            return Retry(one_line(f"{type(error).__name__}: {error}"))
        return Delivered() if taken else Retry("apprise: not taken")

    def _sender(self, address: str) -> Any:
        """Return a sender for the address as it stands in the file now. Raises FileError."""
        import apprise

        sender = apprise.Apprise()
        url = read_secret(self._settings.url_file, "notifications.url_file")
        if not sender.add(url.replace("{address}", quote(address, safe="@+"))):
            raise FileError(self._settings.url_file, "", "expected an address that apprise knows, found another")
        return sender
