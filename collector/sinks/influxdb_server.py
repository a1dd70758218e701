"""An InfluxDB over HTTP: which version it is, writing line protocol, what its answers mean.

Sources: InfluxData, "InfluxDB API reference" 1.8 (``/ping``, ``/write``, ``/query``, ``/api/v2/write``) and "InfluxDB
v2 API" (``/ping``, ``/api/v2/write``), which version 3 takes too. ``/ping`` tells the version (``X-Influxdb-Version``);
Cloud tells none and is taken for 2. A server with the v2 write API is written by ``influxdb_v2.py``, one before it by
``/write``, here.
"""

from __future__ import annotations

import asyncio
import base64
import re
import time
from typing import TYPE_CHECKING, Any, Final

import aiohttp
import msgspec

from collector.config import InfluxDB
from collector.outgoing import one_line
from collector.sinks.influxdb_answer import TIMEOUT, Answer, BoundedResponse
from collector.sinks.sink import NotNow, Refused
from telemetry.files import FileError, read_secret
from telemetry.retry_after import retry_after_s

if TYPE_CHECKING:
    from collector.sinks.influxdb_v2 import WriterV2

FIRST_WITH_V2: Final = (1, 8)
"""From this version on a server has the v2 write API."""
_VERSION: Final = re.compile(r"v?(\d+)\.(\d+)")
_REFUSED: Final = frozenset({400, 413, 422})
"""What an answer about the content looks like; everything else is about the server, the token or the way there."""
_BUSY: Final = frozenset({408, 429, 502, 503, 504})
"""Of those, what says that the server is busy, or that a proxy does not reach it."""
_DURATION: Final = re.compile(r"outside retention policy of duration ((?:\d+(?:\.\d+)?(?:h|ms|m|s))+)")
_UNIT_MS: Final = {"h": 3_600_000, "m": 60_000, "s": 1000, "ms": 1}


class Server:
    """One server as configured. The version is asked once a session, the token read anew in each."""

    def __init__(self, config: InfluxDB) -> None:
        self._config = config
        self._session: aiohttp.ClientSession | None = None
        self._first = False
        """Whether it is a server of version 1."""
        self._v2: WriterV2 | None = None
        """What writes to a server with the v2 write API; ``None`` for one before 1.8."""
        self._headers: dict[str, str] = {}
        """The credentials."""

    async def write(self, lines: bytes) -> None:
        """Write line protocol with times in milliseconds. Raises NotNow or Refused."""
        session = await self._open()
        try:
            answer = await (self._v2.write(lines) if self._v2 is not None else self._write_v1(session, lines))
        except (aiohttp.ClientError, TimeoutError, OSError) as error:
            raise _away(error) from None
        if not 200 <= answer.status < 300:
            raise _explain(answer)

    async def _write_v1(self, session: aiohttp.ClientSession, lines: bytes) -> Answer:
        database, _, policy = self._config.bucket.partition("/")
        arguments = {"db": database, "precision": "ms"} | ({"rp": policy} if policy else {})
        headers = {"Content-Type": "text/plain; charset=utf-8", **self._headers}
        async with session.post(self._url("/write"), params=arguments, data=lines, headers=headers) as answer:
            if 200 <= answer.status < 300:
                return Answer(answer.status)
            return Answer(answer.status, await answer.read(), answer.headers.get("Retry-After", ""))

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
                found = msgspec.json.decode(await answer.read())
            series = found["results"][0]["series"][0]
            rows = [dict(zip(series["columns"], row, strict=True)) for row in series["values"]]
            (row,) = [one for one in rows if (one["name"] == policy if policy else one["default"])]
            times = re.findall(r"(\d+)(ms|h|m|s)", row["duration"])
        except (aiohttp.ClientError, TimeoutError, OSError) as error:
            raise _away(error) from None
        except (msgspec.DecodeError, LookupError, TypeError, ValueError, RecursionError):
            return None  # it does not tell us: no right to ask, or another server that looks like this one
        return sum(int(n) * _UNIT_MS[unit] for n, unit in times) or None

    async def close(self) -> None:
        """Let go of the connection."""
        (session, self._session), (writer, self._v2) = (self._session, None), (self._v2, None)
        if session is not None:
            await session.close()
        if writer is not None:
            await writer.close()

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
        session = aiohttp.ClientSession(timeout=TIMEOUT, response_class=BoundedResponse)
        try:
            version = (config.version, 0) if config.version else await _version(session, self._url("/ping"))
            self._first = version < (2, 0)
            self._headers = _credentials(token, self._first)
            if version >= FIRST_WITH_V2:
                writer = await asyncio.to_thread(_import_v2)
                self._v2 = writer(config, self._headers)
        except (aiohttp.ClientError, TimeoutError, OSError) as error:
            await session.close()
            raise _away(error) from None
        except BaseException:
            await session.close()
            raise
        self._session = session
        return session


async def ping(config: InfluxDB) -> str:
    """Return what a server says that it is, in a few words, without logging in. Raises NotNow where none answers."""
    timeout = aiohttp.ClientTimeout(total=5)
    try:
        async with (
            aiohttp.ClientSession(timeout=timeout, response_class=BoundedResponse) as session,
            session.get(config.url.rstrip("/") + "/ping") as answer,
        ):
            return one_line(f"version {answer.headers.get('X-Influxdb-Version', 'unknown')}")
    except (aiohttp.ClientError, TimeoutError, OSError) as error:
        raise _away(error) from None


async def _version(session: aiohttp.ClientSession, url: str) -> tuple[int, int]:
    async with session.get(url) as answer:
        told = _VERSION.match(answer.headers.get("X-Influxdb-Version", ""))
    return (int(told[1]), int(told[2])) if told else (2, 0)


def _import_v2() -> type[WriterV2]:
    """Import the library, which takes long enough to be a thread's work."""
    from collector.sinks.influxdb_v2 import WriterV2

    return WriterV2


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


def _explain(answer: Answer) -> Refused | NotNow:
    """Return what a refusal means."""
    told: Any = None
    words = answer.body.decode("utf-8", "replace")
    try:
        told = msgspec.json.decode(answer.body)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
        pass
    at: dict[int, str] = {}
    if isinstance(told, dict):
        words = str(told.get("message") or told.get("error") or words)
        at = _named(told.get("data"))
    words = one_line(words)
    if answer.status in _REFUSED:
        return Refused(words, at)
    after_s = retry_after_s(answer.retry_after, time.time_ns() // 1_000_000)
    return NotNow(f"{answer.status}: {words}", after_s, refusing=answer.status not in _BUSY)


def _named(data: Any) -> dict[int, str]:
    """Return the lines that version 3 names (``data``, line numbers from 1), by their place from 0."""
    found: dict[int, str] = {}
    for one in data if isinstance(data, list) else [data]:
        if isinstance(one, dict) and isinstance(one.get("line_number"), int):
            found[one["line_number"] - 1] = one_line(str(one.get("error_message", "")))
    return found
