"""Writing line protocol by the v2 write API, with InfluxData's own library (docs/decisions/0028).

Imported only where such a server is written: the library and what it needs take 17 MB.
"""

from __future__ import annotations

import ssl
from typing import Final

from influxdb_client.client.influxdb_client_async import InfluxDBClientAsync
from influxdb_client.domain.write_precision import WritePrecision
from influxdb_client.rest import ApiException

from collector.config import InfluxDB
from collector.sinks.influxdb_answer import TIMEOUT, Answer, BoundedResponse

_TLS: Final = ssl.create_default_context()
"""Read once: the library would read the machine's authorities anew for each client, in the event loop."""


class WriterV2:
    """The write API of one server: one request a call, of ready lines. The library's batching is not used."""

    def __init__(self, config: InfluxDB, headers: dict[str, str]) -> None:
        self._config = config
        self._client = InfluxDBClientAsync(
            config.url.rstrip("/"),
            org=config.org,
            timeout=TIMEOUT,
            ssl_context=_TLS,
            client_session_kwargs={"headers": headers, "response_class": BoundedResponse},
        )

    async def write(self, lines: bytes) -> Answer:
        """Write lines with times in milliseconds; return what was answered. Raises aiohttp's errors."""
        try:
            await self._client.write_api().write(
                self._config.bucket,
                record=lines,
                write_precision=WritePrecision.MS,  # type: ignore[arg-type] # a string there, an enumeration by name
            )
        except ApiException as error:
            return Answer(error.status, error.body, error.headers.get("Retry-After", ""))
        return Answer(204)

    async def close(self) -> None:
        """Let go of the connection."""
        await self._client.close()  # type: ignore[no-untyped-call]
