"""The recorder before a real outbox."""

from __future__ import annotations

import asyncio
import contextlib
import time
from pathlib import Path

from agent.outbox.drafts import SampleDraft
from agent.outbox.outbox import Outbox
from agent.outbox.recorder import Recorder
from telemetry.intervals import Intervals
from telemetry.records import Column, Schema

RUN = "ab" * 8
SCHEMA = Schema("system", "tablet", (Column("host.load1"),))


def test_a_release_that_has_begun_is_done_though_its_connection_ends(tmp_path: Path) -> None:
    """The collector says it once: forgotten, the records would stay until the next start and be sent again."""

    async def scene() -> None:
        outbox = Outbox.open(tmp_path, 2**20, RUN, "b" * 32)
        recorder = Recorder(outbox, RUN, "b" * 32, now_ms=lambda: 0)
        recorder.deliver([SampleDraft(1000 * number, SCHEMA.id(), SCHEMA, [0.5]) for number in range(10)])
        await recorder.commit()
        busy = asyncio.create_task(recorder._in_thread(lambda: time.sleep(0.2)))
        await asyncio.sleep(0.05)
        release = asyncio.create_task(recorder.release(RUN, Intervals([(0, 6)])))
        await asyncio.sleep(0)
        release.cancel()
        with contextlib.suppress(asyncio.CancelledError):
            await release
        await busy
        assert (await recorder.runs())[RUN].held.pairs() == [(7, 9)]
        await recorder.close()

    asyncio.run(scene())
