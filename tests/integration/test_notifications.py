"""Notices to a real webhook that fails, delays, hangs up and is killed, on both databases."""

from __future__ import annotations

import asyncio
import contextlib
import email.utils
import os
import signal
import subprocess
import sys
import time
from collections import Counter
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from pathlib import Path

import pytest
from aiohttp import web

from collector.channels import delivery
from collector.channels.delivery import Delivery, Notifier
from collector.store.commit import SiteConnection
from collector.store.rows import Changes, NotificationRow
from collector.store.store import Store
from tests.services.process import free_port

SITE = "north"
TO = (("webhook", "webhook"),)
Answer = Callable[[web.Request], Awaitable[web.StreamResponse]]


class Receiver:
    """A webhook that answers as ``answer`` says and remembers what it was sent."""

    def __init__(self) -> None:
        self.port = free_port()
        self.url = f"http://127.0.0.1:{self.port}/hook"
        self.asked: list[tuple[float, str]] = []
        self.bodies: dict[str, str] = {}
        self.tokens: set[str] = set()
        self.taken: Counter[str] = Counter()
        self.answer: Answer = self.ok

    async def ok(self, request: web.Request) -> web.Response:
        self.taken[request.headers["Idempotency-Key"]] += 1
        return web.Response(text="thanks")

    async def _asked(self, request: web.Request) -> web.StreamResponse:
        key = request.headers["Idempotency-Key"]
        self.asked.append((time.monotonic(), key))
        self.bodies[key] = await request.text()
        self.tokens.add(request.headers.get("Authorization", ""))
        assert request.content_type == "application/json"
        return await self.answer(request)

    @contextlib.asynccontextmanager
    async def up(self) -> AsyncIterator[None]:
        app = web.Application()
        app.router.add_post("/hook", self._asked)
        runner = web.AppRunner(app, access_log=None, shutdown_timeout=0.1)
        await runner.setup()
        await web.TCPSite(runner, "127.0.0.1", self.port).start()
        try:
            yield
        finally:
            await runner.cleanup()


@pytest.fixture
def store(database_url: str) -> Iterator[Store]:
    opened = Store.open(database_url)
    opened.migrate()
    yield opened
    opened.close()


def commit(store: Store, *ids: str) -> None:
    """Write notifications as the site's owner does."""
    owner = SiteConnection.acquire(store, SITE, "test")
    assert owner is not None
    with owner:
        rows = [NotificationRow(id, "amb-3-7", f'{{"id":"{id}"}}', n, TO) for n, id in enumerate(ids)]
        owner.commit(Changes(notifications=rows))


def states(store: Store) -> dict[str, Delivery]:
    return {row.id: row for row in delivery.deliveries(store.engine, site=SITE)}


async def until(store: Store, holds: Callable[[dict[str, Delivery]], bool], seconds: float = 15) -> None:
    async with asyncio.timeout(seconds):
        while not holds(await asyncio.to_thread(states, store)):  # noqa: ASYNC110 - the database tells nobody
            await asyncio.sleep(0.02)


def sent(*ids: str) -> Callable[[dict[str, Delivery]], bool]:
    return lambda rows: all(rows[id].state == "sent" for id in ids)


@contextlib.asynccontextmanager
async def draining(
    store: Store, url: str, secret_file: str | None = None, *, timeout_s: float = 5.0, first_wait_s: float = 0.02
) -> AsyncIterator[Notifier]:
    drain = Notifier(store, SITE, url, secret_file, first_wait_s=first_wait_s, longest_wait_s=0.2, timeout_s=timeout_s)
    stop = asyncio.Event()
    task = asyncio.create_task(drain.run(stop))
    try:
        yield drain
        assert not task.done(), task.exception()
    finally:
        stop.set()
        drain.wake()
        await asyncio.wait_for(task, 5)


def test_each_notice_is_sent_once_in_order_with_its_key_and_token(store: Store, tmp_path: Path) -> None:
    secret = tmp_path / "secret"
    secret.write_text("s3cret\n")
    secret.chmod(0o600)
    receiver = Receiver()

    async def run() -> None:
        async with receiver.up(), draining(store, receiver.url, str(secret)) as drain:
            commit(store, "n-1", "n-2", "n-3")
            drain.wake()
            await until(store, sent("n-1", "n-2", "n-3"))
            assert drain.status.counts == {"sent": 3}
            assert delivery.waiting(store, SITE) == (0, None)

    asyncio.run(run())
    assert [key for _, key in receiver.asked] == ["n-1", "n-2", "n-3"]
    assert receiver.bodies["n-2"] == '{"id":"n-2"}'
    assert receiver.tokens == {"Bearer s3cret"}
    assert states(store)["n-1"].attempts == 1


def test_a_new_notice_leaves_within_a_second_of_the_wake(store: Store) -> None:
    receiver = Receiver()

    async def run() -> float:
        async with receiver.up(), draining(store, receiver.url) as drain:
            await asyncio.sleep(0.1)
            await asyncio.to_thread(commit, store, "n-1")
            began = time.monotonic()
            drain.wake()
            await until(store, sent("n-1"))
            return receiver.asked[0][0] - began

    assert asyncio.run(run()) < 0.8


@pytest.mark.parametrize("status", [500, 503, 408, 425, 429, 302])
def test_what_may_pass_is_tried_again_until_it_is_done(store: Store, status: int) -> None:
    receiver = Receiver()
    commit(store, "n-1", "n-2")

    async def twice_no(request: web.Request) -> web.StreamResponse:
        if len(receiver.asked) <= 4:
            return web.Response(status=status, text="not\nnow", headers={"Location": receiver.url})
        return await receiver.ok(request)

    async def run() -> None:
        receiver.answer = twice_no
        async with receiver.up(), draining(store, receiver.url, first_wait_s=0.2) as drain:
            await until(store, lambda rows: rows["n-1"].attempts > 0)
            row = states(store)["n-1"]
            assert (row.state, row.error) == ("waiting", f"{status}: not now")
            assert drain.status.error == f"{status}: not now"
            assert delivery.waiting(store, SITE) == (2, 0)
            await until(store, sent("n-1", "n-2"))
            assert (drain.status.error, drain.status.failing_since_ms) == ("", None)

    asyncio.run(run())
    assert receiver.taken == {"n-1": 1, "n-2": 1}
    assert {row.error for row in states(store).values()} == {""}


@pytest.mark.parametrize("status", [400, 401, 404, 410, 422])
def test_a_refused_notice_is_shown_as_failed_and_holds_up_no_other(store: Store, status: int) -> None:
    receiver = Receiver()
    commit(store, "n-1", "n-2")

    async def not_the_first(request: web.Request) -> web.StreamResponse:
        if request.headers["Idempotency-Key"] == "n-1":
            return web.Response(status=status, text="never\x00 this")
        return await receiver.ok(request)

    async def run() -> None:
        receiver.answer = not_the_first
        async with receiver.up(), draining(store, receiver.url) as drain:
            await until(store, sent("n-2"))
            failed = states(store)["n-1"]
            assert (failed.state, failed.attempts) == ("failed", 1)
            assert failed.error == f"{status}: never\N{REPLACEMENT CHARACTER} this"
            assert drain.status.counts == {"failed": 1, "sent": 1}
            receiver.answer = receiver.ok
            with store.transaction() as connection:
                assert delivery.retry(connection, SITE, "n-1", 5)
                assert not delivery.retry(connection, SITE, "n-2", 5)
            await until(store, sent("n-1"))

    asyncio.run(run())
    assert receiver.taken == {"n-1": 1, "n-2": 1}


@pytest.mark.parametrize("as_date", [False, True])
def test_retry_after_is_honoured(store: Store, as_date: bool) -> None:
    receiver = Receiver()
    commit(store, "n-1", "n-2")

    async def later(request: web.Request) -> web.StreamResponse:
        if len(receiver.asked) > 1:
            return await receiver.ok(request)
        text = email.utils.formatdate(time.time() + 2.5, usegmt=True) if as_date else "1"
        return web.Response(status=503, headers={"Retry-After": text})

    async def run() -> None:
        receiver.answer = later
        async with receiver.up(), draining(store, receiver.url):
            await until(store, sent("n-1", "n-2"))

    asyncio.run(run())
    (first, _), *others = receiver.asked
    assert min(at for at, _ in others) - first >= 0.99  # no other notice is tried meanwhile


def test_a_receiver_that_hangs_or_hangs_up_delays_and_loses_nothing(store: Store) -> None:
    """It takes the notice and answers too late: the repeat carries the same key."""
    receiver = Receiver()
    commit(store, "n-1", "n-2")

    async def badly(request: web.Request) -> web.StreamResponse:
        number = len(receiver.asked)
        if number == 1:
            await asyncio.sleep(1)
        elif number == 2:
            assert request.transport is not None
            request.transport.abort()
        return await receiver.ok(request)

    async def run() -> None:
        receiver.answer = badly
        async with receiver.up(), draining(store, receiver.url, timeout_s=0.3) as drain:
            await until(store, sent("n-1", "n-2"))
            assert drain.status.counts["retries"] == 2

    asyncio.run(run())
    assert set(receiver.taken) == {"n-1", "n-2"}


def test_a_receiver_that_is_away_is_told_when_it_comes_back(store: Store) -> None:
    receiver = Receiver()
    commit(store, "n-1")

    async def run() -> None:
        async with draining(store, receiver.url) as drain:
            await until(store, lambda rows: rows["n-1"].attempts >= 2)
            assert "Connect" in drain.status.error
            async with receiver.up():
                await until(store, sent("n-1"))

    asyncio.run(run())
    assert receiver.taken == {"n-1": 1}


def test_one_that_always_fails_lets_the_others_pass(store: Store) -> None:
    receiver = Receiver()
    commit(store, *(f"n-{n}" for n in range(10)))

    async def poison(request: web.Request) -> web.StreamResponse:
        if request.headers["Idempotency-Key"] == "n-0":
            return web.Response(status=500)
        return await receiver.ok(request)

    async def run() -> None:
        receiver.answer = poison
        async with receiver.up(), draining(store, receiver.url):
            await until(store, sent(*(f"n-{n}" for n in range(1, 10))))

    asyncio.run(run())
    assert states(store)["n-0"].state == "waiting"


DRAIN = """
import asyncio, sys
from collector.channels import delivery
from collector.channels.delivery import Notifier
from collector.store.store import Store
asyncio.run(Notifier(Store.open(sys.argv[1]), "north", sys.argv[2], first_wait_s=0.05).run(asyncio.Event()))
"""


def test_a_kill_repeats_one_notice_at_most_and_loses_none(store: Store, database_url: str) -> None:
    """Killed while the receiver has the notice and we do not know; five times."""
    receiver = Receiver()
    names = [f"n-{n}" for n in range(20)]
    commit(store, *names)
    kills = 0

    async def slowly(request: web.Request) -> web.StreamResponse:
        nonlocal kills
        answer = await receiver.ok(request)
        if len(receiver.asked) % 4 == 0 and kills < 5:
            kills += 1
            os.kill(started[-1].pid, signal.SIGKILL)
        return answer

    async def run() -> None:
        receiver.answer = slowly
        async with receiver.up():
            try:
                async with asyncio.timeout(50):
                    while not sent(*names)(await asyncio.to_thread(states, store)):
                        if started[-1].poll() is not None:
                            started.append(start())
                        await asyncio.sleep(0.05)
            finally:
                started[-1].kill()
                started[-1].wait()

    def start() -> subprocess.Popen[bytes]:
        return subprocess.Popen([sys.executable, "-c", DRAIN, database_url, receiver.url])

    started = [start()]
    asyncio.run(run())
    assert kills == 5
    assert set(receiver.taken) == set(names)
    assert sum(receiver.taken.values()) == len(names) + kills  # each kill repeats the one that was under way
