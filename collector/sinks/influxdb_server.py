"""An InfluxDB over HTTP: which version it is, writing line protocol, what its answers mean.

Sources: InfluxData, "InfluxDB API reference" 1.8 (``/ping``, ``/write``, ``/query``) and "InfluxDB v2 API" (``/ping``,
``/api/v2/write``), which version 3 takes too. Servers of version 1 are written by their own path, which all of them
have; ``/ping`` tells the version (``X-Influxdb-Version``). Cloud tells none and is taken for 2.
"""

from __future__ import annotations

import base64
import re
import time
from typing import Any, Final

import aiohttp
import msgspec

from collector.config import InfluxDB
from collector.outgoing import one_line
from collector.sinks.sink import NotNow, Refused
from telemetry.files import FileError, read_secret
from telemetry.retry_after import retry_after_s

TIMEOUT: Final = aiohttp.ClientTimeout(total=30)
MOST_ANSWER: Final = 2**16
_REFUSED: Final = frozenset({400, 413, 422})
"""What an answer about the content looks like; everything else is about the server, the token or the way there."""
_DURATION: Final = re.compile(r"outside retention policy of duration ((?:\d+(?:\.\d+)?(?:h|ms|m|s))+)")
_UNIT_MS: Final = {"h": 3_600_000, "m": 60_000, "s": 1000, "ms": 1}


class Server:
    """One server as configured. The version is asked once a session, the token read anew in each."""

    def __init__(self, config: InfluxDB) -> None:
        self._config = config
        self._session: aiohttp.ClientSession | None = None
        self._first = False
        """Whether it is a server of version 1."""
        self._headers: dict[str, str] = {}

    async def write(self, lines: bytes) -> None:
        """Write line protocol with times in milliseconds. Raises NotNow or Refused."""
        config = self._config
        session = await self._open()
        if self._first:
            database, _, policy = config.bucket.partition("/")
            path, arguments = "/write", {"db": database, "precision": "ms"} | ({"rp": policy} if policy else {})
        else:
            path, arguments = "/api/v2/write", {"org": config.org, "bucket": config.bucket, "precision": "ms"}
        try:
            async with session.post(self._url(path), params=arguments, data=lines, headers=self._headers) as answer:
                if 200 <= answer.status < 300:
                    return
                body = await answer.content.read(MOST_ANSWER)
        except (aiohttp.ClientError, TimeoutError, OSError) as error:
            raise _away(error) from None
        raise _explain(answer.status, body, answer.headers.get("Retry-After", ""))

    async def retention_ms(self, refusal: str) -> int | None:
        """Return how far back the bucket goes: by the words of a refusal, or asked of a server of version 1."""
        told = _DURATION.search(refusal)
        if told:
            return round(sum(float(n) * _UNIT_MS[u] for n, u in re.findall(r"([\d.]+)(ms|h|m|s)", told[1])))
        session = await self._open()
        if not self._first:
            return None
        database, _, policy = self._config.bucket.partition("/")
        query = {"q": f'SHOW RETENTION POLICIES ON "{database}"', "epoch": "ms"}
        try:
            async with session.get(self._url("/query"), params=query, headers=self._headers) as answer:
                found = msgspec.json.decode(await answer.content.read(MOST_ANSWER))
            series = found["results"][0]["series"][0]
            rows = [dict(zip(series["columns"], row, strict=True)) for row in series["values"]]
            (row,) = [one for one in rows if (one["name"] == policy if policy else one["default"])]
            times = re.findall(r"(\d+)(ms|h|m|s)", row["duration"])
        except (aiohttp.ClientError, TimeoutError, OSError) as error:
            raise _away(error) from None
        except (msgspec.DecodeError, LookupError, TypeError, ValueError):
            return None  # it does not tell us: no right to ask, or another server that looks like this one
        return sum(int(n) * _UNIT_MS[unit] for n, unit in times) or None

    async def close(self) -> None:
        """Let go of the connection."""
        session, self._session = self._session, None
        if session is not None:
            await session.close()

    def _url(self, path: str) -> str:
        return self._config.url.rstrip("/") + path

    async def _open(self) -> aiohttp.ClientSession:
        """Return the session; a new one reads the token and asks for the version. Raises NotNow."""
        if self._session is not None:
            return self._session
        config = self._config
        try:
            token = read_secret(config.token_file, "influxdb.token_file") if config.token_file else ""
        except (FileError, OSError) as error:
            raise _away(error) from None
        session = aiohttp.ClientSession(timeout=TIMEOUT)
        try:
            version = config.version or await _version(session, self._url("/ping"))
        except (aiohttp.ClientError, TimeoutError, OSError) as error:
            await session.close()
            raise _away(error) from None
        except BaseException:
            await session.close()
            raise
        self._first = version == 1
        self._headers = {"Content-Type": "text/plain; charset=utf-8", **_credentials(token, self._first)}
        self._session = session
        return session


async def _version(session: aiohttp.ClientSession, url: str) -> int:
    async with session.get(url) as answer:
        told = answer.headers.get("X-Influxdb-Version", "").lstrip("v")
    return 1 if told.startswith("1.") else 2


def _credentials(token: str, first: bool) -> dict[str, str]:
    """Return the header. Version 1 knows ``name:password`` (RFC 7617) and JSON web tokens."""
    if not token:
        return {}
    if not first:
        return {"Authorization": f"Token {token}"}
    basic = f"Basic {base64.b64encode(token.encode()).decode()}"
    return {"Authorization": basic if ":" in token else f"Bearer {token}"}


def _away(error: BaseException) -> NotNow:
    return NotNow(one_line(f"{type(error).__name__}: {error}"))


def _explain(status: int, body: bytes, retry: str) -> Refused | NotNow:
    """Return what an answer means."""
    told: Any = None
    words = body.decode("utf-8", "replace")
    try:
        told = msgspec.json.decode(body)
    except (msgspec.DecodeError, RecursionError):
        pass
    at: dict[int, str] = {}
    if isinstance(told, dict):
        words = str(told.get("message") or told.get("error") or words)
        at = _named(told.get("data"))
    words = one_line(words)
    if status in _REFUSED:
        return Refused(words, at)
    return NotNow(f"{status}: {words}", retry_after_s(retry, time.time_ns() // 1_000_000))


def _named(data: Any) -> dict[int, str]:
    """Return the lines that version 3 names (``data``, line numbers from 1), by their place from 0."""
    found: dict[int, str] = {}
    for one in data if isinstance(data, list) else [data]:
        if isinstance(one, dict) and isinstance(one.get("line_number"), int):
            found[one["line_number"] - 1] = one_line(str(one.get("error_message", "")))
    return found
