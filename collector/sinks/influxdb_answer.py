"""What an InfluxDB answers, read up to a bound and in a bounded time, whoever asks."""

from __future__ import annotations

import asyncio
from typing import Final, NamedTuple

import aiohttp

TIMEOUT: Final = aiohttp.ClientTimeout(total=30)
MOST_ANSWER: Final = 2**16
"""Bytes of an answer that are read."""


class Answer(NamedTuple):
    """Status, and of a refusal the body (``MOST_ANSWER`` bytes at most) and ``Retry-After`` as it stands there."""

    status: int
    body: bytes = b""
    retry_after: str = ""


class BoundedResponse(aiohttp.ClientResponse):
    """A response whose body ends after ``MOST_ANSWER`` bytes, however many the server sends."""

    async def read(self) -> bytes:
        """Return the body, or its first ``MOST_ANSWER`` bytes."""
        if self._body is None:
            try:
                self._body = await self.content.readexactly(MOST_ANSWER)
            except asyncio.IncompleteReadError as end:
                self._body = end.partial
            finally:
                self.close()  # a connection whose answer was read to its end went back to the pool already
        return self._body
