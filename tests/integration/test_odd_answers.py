"""5,000 odd answers each from devices, servers and broker: nothing raised that is not promised, no wait over the bound.

The long form is ``make oddanswers``. What it found has a test of its own below.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
from collections.abc import Iterator
from pathlib import Path
from typing import Any, cast

import pytest

from agent import last_run
from agent.http_fetch import HttpError, HttpFetch
from agent.protocols.sdp import parse_sdp
from collector.config import InfluxDB
from collector.sinks.influxdb import InfluxSink
from collector.sinks.sink import Refused
from telemetry.inputs import HttpInput
from tests.odd_answers.__main__ import KINDS, ask
from tests.odd_answers.run import Kind, PromiseBrokenError, run

ANSWERS = 5_000
SEED = 15


@pytest.fixture(autouse=True)
def quiet() -> Iterator[None]:
    """What is odd is logged, rightly; here it would be a hundred thousand lines."""
    logging.disable(logging.CRITICAL)
    yield
    logging.disable(logging.NOTSET)


@pytest.mark.timeout(600)
@pytest.mark.parametrize("name", KINDS)
def test_whatever_is_answered_its_reader_goes_on(name: str) -> None:
    told = ask(name, SEED, ANSWERS)
    assert told.answers >= ANSWERS
    assert len(told.outcomes) > 1, "not all came to the same: some were good"


class Raising(Kind):
    """Breaks each promise once."""

    side_by_side = 1
    deadline_s = 0.1
    how = ""

    async def read(self, number: int, wanted: int, stack: contextlib.AsyncExitStack) -> None:
        self.answered(b"the odd one")
        if self.how == "raises":
            raise LookupError("what nobody promised")
        if self.how == "waits":
            await self.call(asyncio.sleep(3600))
        asyncio.get_running_loop().call_soon(lambda: 1 / 0)
        await asyncio.sleep(0.01)


@pytest.mark.parametrize(
    ("how", "told"), [("raises", "what nobody promised"), ("waits", "a call took"), ("unheard", "nobody heard of")]
)
def test_a_promise_that_is_broken_is_found(
    how: str, told: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("tests.odd_answers.run.SLACK_S", 0.1)
    monkeypatch.setattr("tests.odd_answers.run.HUNG_S", 0.5)
    monkeypatch.setattr(Raising, "how", how)
    with pytest.raises(PromiseBrokenError, match=told):
        asyncio.run(run(Raising(cast(Any, None), tmp_path), 1))


# --- what was found ---------------------------------------------------------------------------------------------------


async def serving(answer: bytes, use: Any) -> Any:
    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readuntil(b"\r\n\r\n")
        writer.write(answer)
        await writer.drain()
        writer.close()

    server = await asyncio.start_server(serve, "127.0.0.1", 0)
    async with server:
        return await use(server.sockets[0].getsockname()[1])


@pytest.mark.parametrize("location", ["http://[::1/", "http://127.0.0.1:a/", "//["])
def test_a_redirect_to_no_address_is_the_devices_fault(location: str) -> None:
    async def use(port: int) -> None:
        fetch = HttpFetch(HttpInput(url=f"http://127.0.0.1:{port}", interval=60, deadline=30))
        with pytest.raises(HttpError, match="no address"):
            await fetch.fetch("GET", "/")
        await fetch.close()

    answer = f"HTTP/1.1 302 Found\r\nLocation: {location}\r\nContent-Length: 0\r\n\r\n".encode()
    asyncio.run(serving(answer, use))


def test_a_description_with_an_empty_track_is_one_without_it() -> None:
    assert parse_sdp(b"v=0\r\nm=\r\nm= \r\na=control:x\r\n").tracks == ()


@pytest.mark.parametrize("body", [b'{"error": "\xc4"}', b"[" * 100_000, b"\xff\xfe"])
def test_a_refusal_that_is_no_text_or_endlessly_deep_is_a_refusal(body: bytes) -> None:
    async def use(port: int) -> None:
        sink = InfluxSink(
            cast(Any, None), "north", InfluxDB(url=f"http://127.0.0.1:{port}", bucket="kit", version=cast(Any, 1))
        )
        with pytest.raises(Refused):
            await sink.send(["x y=1i 1"])
        await sink.reset()

    asyncio.run(serving(b"HTTP/1.1 400 No\r\nContent-Length: %d\r\n\r\n%s" % (len(body), body), use))


@pytest.mark.parametrize("damage", [b"\xff" * 40, b'{"boot": "\xc4"}', b"[" * 100_000, b""])
def test_a_damaged_note_of_the_last_run_does_not_keep_the_agent_from_starting(tmp_path: Path, damage: bytes) -> None:
    (tmp_path / last_run.FILE).write_bytes(damage)
    assert last_run.load(tmp_path) is None
