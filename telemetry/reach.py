"""Whether a broker is in reach, without saying a word of MQTT: an agent's or collector's running session is left alone.

A CONNECT with our name would take over the session of whoever runs under it (MQTT 5.0, 3.1.4), so that to look would
be to disturb. TLS alone tells whether the broker takes our certificate.
"""

from __future__ import annotations

import asyncio
import contextlib
import ssl
from typing import Final

from telemetry.fleet import Broker
from telemetry.refusals import explain
from telemetry.tls import tls_context

_ALERT_S: Final = 0.5
"""How long a broker may take to refuse our certificate: with TLS 1.3 the handshake is over for us before (RFC 8446)."""


async def broker_problem(broker: Broker, seconds: float = 5.0) -> str:
    """Return why a broker cannot be reached, empty if it can. Raises FileError for TLS files that cannot be used."""
    try:
        async with asyncio.timeout(seconds):
            if broker.tls is None:
                await _connect(broker, None)
                if await _speaks_tls(broker):
                    return explain(ConnectionResetError(), broker, spoken=True) or ""
                return ""
            await _connect(broker, tls_context(broker.tls))
    except TimeoutError:
        return f"no answer from {broker.host}:{broker.port} within {seconds:g} s"
    except OSError as error:
        spoken = isinstance(error, _ClosedError) or "ALERT" in str(error).upper()
        return explain(error, broker, spoken=spoken) or str(error)
    return ""


class _ClosedError(ConnectionError):
    """The other side closed after TLS stood."""


async def _connect(broker: Broker, context: ssl.SSLContext | None) -> None:
    name = broker.host if context is not None else None
    reader, writer = await asyncio.open_connection(broker.host, broker.port, ssl=context, server_hostname=name)
    try:
        if context is not None:
            try:
                async with asyncio.timeout(_ALERT_S):
                    if await reader.read(1) == b"":
                        raise _ClosedError("closed")
            except TimeoutError:
                pass
    finally:
        await _close(writer)


async def _speaks_tls(broker: Broker) -> bool:
    """Say whether a port takes TLS, whoever it is: nothing is told it and nothing believed."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.check_hostname, context.verify_mode = False, ssl.CERT_NONE
    try:
        _, writer = await asyncio.open_connection(broker.host, broker.port, ssl=context)
    except OSError:
        return False
    await _close(writer)
    return True


async def _close(writer: asyncio.StreamWriter) -> None:
    writer.close()
    with contextlib.suppress(OSError, TimeoutError):
        async with asyncio.timeout(1.0):
            await writer.wait_closed()
