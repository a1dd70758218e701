"""One HTTP request to one device: bounded, pinned where it is said, and never on to another host."""

from __future__ import annotations

import ssl
from collections.abc import Mapping
from typing import Any, Final
from urllib.parse import urljoin, urlsplit

import aiohttp
import msgspec

from firmware_profiles.http_answers import MAX_BODY
from firmware_profiles.model import Request
from firmware_profiles.read_only import switches
from telemetry.inputs import HttpInput

_MAX_REDIRECTS: Final = 3


class HttpError(Exception):
    """A device could not be read; the message says why, ``reachable`` whether it answered at all."""

    def __init__(self, message: str, *, reachable: bool = True) -> None:
        super().__init__(message)
        self.reachable = reachable


class ForeignRedirectError(HttpError):
    """An answer points to another host; nothing was sent there."""


class Got(msgspec.Struct, frozen=True):
    """One HTTP answer as it came: ``challenges`` are its ``WWW-Authenticate`` headers, ``url`` who gave it."""

    status: int
    headers: Mapping[str, str]
    challenges: tuple[str, ...]
    body: bytes
    url: str


class HttpFetch:
    """The connection to one device; it opens at the first request and again after :meth:`close`."""

    def __init__(self, config: HttpInput) -> None:
        self._config: Final = config
        self._session: aiohttp.ClientSession | None = None

    def url(self, path: str) -> str:
        """Return the whole address of a path on the device."""
        return self._config.url.rstrip("/") + path

    def _open(self) -> aiohttp.ClientSession:
        if self._session is None or self._session.closed:
            context: ssl.SSLContext | bool | aiohttp.Fingerprint = self._config.verify
            if self._config.fingerprint is not None:
                context = aiohttp.Fingerprint(bytes.fromhex(self._config.fingerprint.replace(":", "")))
            self._session = aiohttp.ClientSession(
                connector=aiohttp.TCPConnector(ssl=context, limit=1, force_close=True),
                cookie_jar=aiohttp.CookieJar(unsafe=True),
                auto_decompress=True,
                raise_for_status=False,
            )
        return self._session

    async def fetch(
        self,
        method: str,
        path: str,
        *,
        request: Request | None = None,
        headers: Mapping[str, str] | None = None,
        data: bytes | None = None,
        form: Mapping[str, str] | None = None,
        url: str | None = None,
    ) -> Got:
        """Make one request. A redirect is followed only with GET, to the same host, and to a path that only reads."""
        url = url or self.url(path)
        sent = {**(request.headers if request is not None else {}), **(headers or {})}
        sent = {name: value.replace("{origin}", self._config.url.rstrip("/")) for name, value in sent.items()}
        body: Any = form if form is not None else data
        if request is not None and request.body is not None:
            body = request.body.encode()
        for _ in range(_MAX_REDIRECTS + 1):
            try:
                async with self._open().request(
                    method, url, headers=sent, data=body, allow_redirects=False
                ) as response:
                    content = await response.content.read(MAX_BODY + 1)
                    while len(content) <= MAX_BODY and (
                        more := await response.content.read(MAX_BODY + 1 - len(content))
                    ):
                        content += more
                    got = Got(
                        response.status,
                        {name.lower(): value for name, value in response.headers.items()},
                        tuple(response.headers.getall("WWW-Authenticate", ())),
                        content,
                        url,
                    )
            except aiohttp.ServerFingerprintMismatch as error:
                raise HttpError("the certificate is not the pinned one", reachable=False) from error
            except (aiohttp.ClientError, OSError, ValueError) as error:
                raise HttpError(f"no answer over HTTP ({_short(error)})", reachable=False) from error
            target = got.headers.get("location")
            if got.status not in (301, 302, 303, 307, 308) or not target:
                return got
            url = self._redirected(url, target, method)
        raise HttpError(f"{path} redirects in circles")

    def _redirected(self, url: str, target: str, method: str) -> str:
        ports = {"http": 80, "https": 443}
        try:
            here, there = urlsplit(url), urlsplit(urljoin(url, target))
            same_port = (there.port or ports.get(there.scheme)) == (here.port or ports.get(here.scheme))
        except ValueError:  # half an IPv6 address, a port of letters
            raise HttpError(f"redirected to what is no address ({target[:80]!r}), not followed") from None
        upgraded = (here.scheme, there.scheme) == ("http", "https") and here.port is None and there.port is None
        if there.hostname != here.hostname or not (upgraded or (same_port and there.scheme == here.scheme)):
            raise ForeignRedirectError(f"redirected to another host ({there.scheme}://{there.netloc}), not followed")
        if method != "GET" or switches(there.path + (f"?{there.query}" if there.query else "")):
            raise HttpError(f"redirected to {there.path}, not followed")
        return there.geturl()

    def forget(self) -> None:
        """Drop the cookies."""
        if self._session is not None:
            self._session.cookie_jar.clear()

    async def close(self) -> None:
        """Let go of the connection."""
        session, self._session = self._session, None
        if session is not None:
            await session.close()


def _short(error: Exception) -> str:
    text = str(error) or type(error).__name__
    return text if len(text) <= 120 else text[:117] + "..."
