"""Notices to a real webhook that fails, delays, hangs up and is killed, on both databases."""

from __future__ import annotations

import asyncio
import contextlib
import email.utils
import json
import os
import signal
import subprocess
import sys
import time
from collections import Counter
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import aiohttp
import pytest
from aiohttp import web
from aiohttp.test_utils import TestClient, TestServer

from collector.channels import deliveries
from collector.channels.apprise import Apprise, AppriseChannel
from collector.channels.channel import Channel, Delivered, Notification, Outcome, Refused, Retry
from collector.channels.deliveries import Delivery, Lane
from collector.channels.notifier import IDLE_S, Notifier
from collector.channels.webhook import Webhook, WebhookChannel
from collector.outgoing import Progress
from collector.store.commit import SiteConnection
from collector.store.rows import Changes, NotificationRow
from collector.store.store import Store
from collector.web.app import Sources, make_app
from collector.webhook_signature import sign
from kitwatch.main import main
from telemetry.files import FileError
from telemetry.fleet import Fleet
from tests.services.api import let_in
from tests.services.fake_collector import until as shown
from tests.services.http import serving
from tests.services.process import free_port

SITE = "north"
TO = (("webhook", "webhook"),)
LANE = Lane(SITE, "webhook", "webhook")
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
        async with serving(app, self.port):
            yield


def commit(store: Store, *ids: str) -> None:
    """Write notifications as the site's owner does."""
    owner = SiteConnection.acquire(store, SITE, "test")
    assert owner is not None
    with owner:
        rows = [NotificationRow(id, f"ticket of {id}", f'{{"id":"{id}"}}', n, TO) for n, id in enumerate(ids)]
        owner.commit(Changes(notifications=rows))


def states(store: Store) -> dict[str, Delivery]:
    return {row.key: row for row in deliveries.listed(store.engine, site=SITE)}


async def until(store: Store, holds: Callable[[dict[str, Delivery]], bool], seconds: float = 60) -> None:
    async with asyncio.timeout(seconds):
        while not holds(await asyncio.to_thread(states, store)):  # noqa: ASYNC110 - the database tells nobody
            await asyncio.sleep(0.02)


def sent(*ids: str) -> Callable[[dict[str, Delivery]], bool]:
    return lambda rows: all(rows[id].state == "sent" for id in ids)


@contextlib.asynccontextmanager
async def draining(
    store: Store, url: str, secret_file: str | None = None, *, timeout_s: float = 5.0, first_wait_s: float = 0.02
) -> AsyncIterator[Notifier]:
    webhook = Webhook(url=url, secret_file=secret_file, timeout_s=timeout_s)
    drain = Notifier(store, LANE, webhook.open(), first_wait_s=first_wait_s, longest_wait_s=0.2)
    stop = asyncio.Event()
    task = asyncio.create_task(drain.run(stop))
    try:
        yield drain
        assert not task.done(), task.exception()
    finally:
        stop.set()
        drain.wake()
        await asyncio.wait_for(task, 60)


def test_each_notification_is_sent_once_in_order_with_its_key_and_token(store: Store, tmp_path: Path) -> None:
    secret = tmp_path / "secret"
    secret.write_text("s3cret\n")
    secret.chmod(0o600)
    receiver = Receiver()

    async def run() -> None:
        async with receiver.up(), draining(store, receiver.url, str(secret)) as drain:
            commit(store, "n-1", "n-2", "n-3")
            drain.wake()
            await until(store, sent("n-1", "n-2", "n-3"))
            await shown(lambda: drain.progress.counts == {"sent": 3})  # told after the row is
            assert deliveries.waiting(store, SITE) == (0, None)

    asyncio.run(run())
    assert [key for _, key in receiver.asked] == ["n-1", "n-2", "n-3"]
    assert receiver.bodies["n-2"] == '{"id":"n-2"}'
    assert receiver.tokens == {"Bearer s3cret"}
    assert states(store)["n-1"].attempts == 1


def test_a_new_notification_leaves_at_the_wake_and_not_at_the_next_look(store: Store) -> None:
    receiver = Receiver()

    async def run() -> float:
        async with receiver.up(), draining(store, receiver.url) as drain:
            await asyncio.sleep(0.1)
            await asyncio.to_thread(commit, store, "n-1")
            began = time.monotonic()
            drain.wake()
            await until(store, sent("n-1"))
            return receiver.asked[0][0] - began

    assert asyncio.run(run()) < IDLE_S / 2


@pytest.mark.parametrize("status", [500, 503, 401, 403, 404, 408, 425, 429, 302])
def test_what_may_pass_is_tried_again_until_it_is_done(store: Store, status: int) -> None:
    receiver, looked = Receiver(), asyncio.Event()
    commit(store, "n-1", "n-2")

    async def no_until_looked_at(request: web.Request) -> web.StreamResponse:
        if len(receiver.asked) <= 4 or not looked.is_set():
            return web.Response(status=status, text="not\nnow", headers={"Location": receiver.url})
        return await receiver.ok(request)

    async def run() -> None:
        receiver.answer = no_until_looked_at
        async with receiver.up(), draining(store, receiver.url, first_wait_s=0.2) as drain:
            await until(store, lambda rows: rows["n-1"].attempts > 0)
            row = states(store)["n-1"]
            assert (row.state, row.error) == ("waiting", f"{status}: not now")
            assert drain.progress.error == f"{status}: not now"
            assert deliveries.waiting(store, SITE) == (2, 0)
            looked.set()
            await until(store, sent("n-1", "n-2"))
            await shown(lambda: (drain.progress.error, drain.progress.failing_since_ms) == ("", None))

    asyncio.run(run())
    assert receiver.taken == {"n-1": 1, "n-2": 1}
    assert {row.error for row in states(store).values()} == {""}


@pytest.mark.parametrize("status", [400, 410, 413, 422])
def test_a_refused_notification_is_shown_as_failed_and_holds_up_no_other(store: Store, status: int) -> None:
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
            await shown(lambda: drain.progress.counts == {"failed": 1, "sent": 1})
            receiver.answer = receiver.ok
            with store.transaction() as connection:
                assert deliveries.retry(connection, [failed.id], 5) == 1
                assert deliveries.retry(connection, [states(store)["n-2"].id], 5) == 0
            drain.wake()
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
            await asyncio.sleep(4)
        elif number == 2:
            assert request.transport is not None
            request.transport.abort()
        return await receiver.ok(request)

    async def run() -> None:
        receiver.answer = badly
        async with receiver.up(), draining(store, receiver.url, timeout_s=2) as drain:
            await until(store, sent("n-1", "n-2"))
            assert drain.progress.counts["retries"] == 2

    asyncio.run(run())
    assert set(receiver.taken) == {"n-1", "n-2"}


def test_a_receiver_that_is_away_is_told_when_it_comes_back(store: Store) -> None:
    receiver = Receiver()
    commit(store, "n-1")

    async def run() -> None:
        async with draining(store, receiver.url) as drain:
            await until(store, lambda rows: rows["n-1"].attempts >= 2)
            assert "Connect" in drain.progress.error
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
from collector.channels.deliveries import Lane
from collector.channels.notifier import Notifier
from collector.channels.webhook import Webhook
from collector.store.store import Store
channel = Webhook(url=sys.argv[2]).open()
lane = Lane("north", "webhook", "webhook")
asyncio.run(Notifier(Store.open(sys.argv[1]), lane, channel, first_wait_s=0.05).run(asyncio.Event()))
"""


def test_a_kill_repeats_one_notification_at_most_and_loses_none(store: Store, database_url: str) -> None:
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
                async with asyncio.timeout(200):
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


# --- order, clocks, receivers -----------------------------------------------------------------------------------------


class Scripted(Channel):
    """Answers by key as told, then ``Delivered``; remembers when it was asked for what."""

    def __init__(self, answers: Mapping[str, Sequence[Outcome]] | None = None) -> None:
        self.answers = {key: list(told) for key, told in (answers or {}).items()}
        self.asked: list[str] = []

    async def send(self, notification: Notification) -> Outcome:
        self.asked.append(notification.key)
        left = self.answers.get(notification.key, [])
        return left.pop(0) if left else Delivered()


def put(store: Store, *rows: tuple[str, str], to: tuple[tuple[str, str], ...] = TO) -> None:
    """Write (key, ticket) as the site's owner does."""
    owner = SiteConnection.acquire(store, SITE, "test")
    assert owner is not None
    now_ms = time.time_ns() // 1_000_000
    with owner:
        owner.commit(Changes(notifications=[NotificationRow(key, ticket, BODY, now_ms, to) for key, ticket in rows]))


BODY = json.dumps(
    {
        "id": "k", "what": "opened", "site": SITE, "vehicle": "amb-3", "device": "modem-1", "ticket": "amb-3-7",
        "fault": "sim_absent", "severity": "critical", "sla_class": "disaster", "event_ms": 1, "detected_ms": 1,
        "resolved_event_ms": None, "text": {"zh": "急救03车 SIM卡未检测到", "en": "amb-3 no SIM card"},
    }
)  # fmt: skip


async def deliver(
    store: Store, channel: Channel, holds: Callable[[dict[str, Delivery]], bool], **more: Any
) -> Notifier:
    notifier = Notifier(store, LANE, channel, first_wait_s=0.01, longest_wait_s=0.05, **more)
    stop = asyncio.Event()
    task = asyncio.create_task(notifier.run(stop))
    try:
        await until(store, holds)
    finally:
        stop.set()
        await asyncio.wait_for(task, 60)
    return notifier


def test_what_is_said_of_one_ticket_keeps_its_order_whatever_fails(store: Store) -> None:
    put(store, ("a-1", "a"), ("a-2", "a"), ("b-1", "b"), ("a-3", "a"), ("b-2", "b"))
    channel = Scripted({"a-1": [Retry("away")] * 3, "a-2": [Retry("busy"), Refused("never")], "b-1": [Retry("x")]})
    asyncio.run(deliver(store, channel, lambda rows: all(row.state != "waiting" for row in rows.values())))
    finished = [key for at, key in enumerate(channel.asked) if key not in channel.asked[at + 1 :]]
    assert [key for key in finished if key.startswith("a")] == ["a-1", "a-2", "a-3"]
    assert [key for key in finished if key.startswith("b")] == ["b-1", "b-2"]
    assert channel.asked.index("a-2") > max(at for at, key in enumerate(channel.asked) if key == "a-1")
    assert {key: row.state for key, row in states(store).items() if row.state != "sent"} == {"a-2": "failed"}


@pytest.mark.parametrize("restarted", [False, True])
def test_a_clock_set_back_two_days_delays_nothing(store: Store, restarted: bool) -> None:
    two_days_ms = 2 * 86_400_000
    put(store, ("a-1", "a"), ("a-2", "a"))
    back = False

    def now_ms() -> int:
        return time.time_ns() // 1_000_000 - (two_days_ms if back else 0)

    class SetsItBack(Scripted):
        async def send(self, notification: Notification) -> Outcome:
            nonlocal back
            found = await super().send(notification)
            back = True
            return found

    async def scene() -> None:
        channel = SetsItBack({"a-1": [Retry("away")]})
        if restarted:
            away = SetsItBack({"a-1": [Retry("away")] * 10_000})
            await deliver(store, away, lambda rows: rows["a-1"].attempts >= 1, now_ms=now_ms)
        await deliver(store, channel, sent("a-1", "a-2"), now_ms=now_ms)

    asyncio.run(asyncio.wait_for(scene(), 200))


def test_a_no_that_says_nothing_is_tried_a_bounded_number_of_times(store: Store) -> None:
    class Shy(Scripted):
        most_attempts = 3

    put(store, ("a-1", "a"), ("a-2", "a"))
    channel = Shy({"a-1": [Retry("no")] * 10})
    asyncio.run(deliver(store, channel, sent("a-2")))
    row = states(store)["a-1"]
    assert (row.state, row.attempts, row.error) == ("failed", 3, "given up after 3 attempts: no")


def test_a_channel_that_breaks_loses_nothing(store: Store) -> None:
    class Breaks(Scripted):
        async def send(self, notification: Notification) -> Outcome:
            if not self.asked:
                self.asked.append("broken")
                raise ValueError("not\x00 thought of")
            return await super().send(notification)

    put(store, ("a-1", "a"))
    asyncio.run(deliver(store, Breaks(), sent("a-1")))


def test_each_receiver_has_a_delivery_of_its_own(store: Store) -> None:
    """One that is away delays nobody else; one that is configured no longer is shown as failed."""
    put(store, ("a-1", "a"), to=(*TO, ("on-call", "apprise"), ("gone", "webhook")))
    asyncio.run(
        deliver(
            store,
            Scripted(),
            lambda _: any(r.state == "sent" for r in deliveries.listed(store.engine, state="sent")),
        )
    )
    assert deliveries.give_up_unknown(store, SITE, [*TO, ("on-call", "apprise")], 5) == 1
    found = {row.receiver: (row.channel, row.state) for row in deliveries.listed(store.engine)}
    assert found == {"webhook": ("webhook", "sent"), "on-call": ("apprise", "waiting"), "gone": ("webhook", "failed")}


def test_a_signed_webhook_can_be_checked(store: Store, tmp_path: Path) -> None:
    """Key, message and signature of the Standard Webhooks specification's own example."""
    key = "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw"
    found = sign(key, "msg_p5jXN8AQM9LWM0D4loKWxJek", 1614265330, b'{"test": 2432232314}')
    assert found["webhook-signature"] == "v1,g0hM9SsE+OTPJTGt/tmIKtSyZlE3uFJELVlNIOLJ1OE="
    file = tmp_path / "key"
    file.write_text(key)
    file.chmod(0o600)
    receiver = Receiver()
    headers: list[dict[str, str]] = []

    async def check(request: web.Request) -> web.StreamResponse:
        headers.append(dict(request.headers))
        body = await request.read()
        at_s = int(request.headers["webhook-timestamp"])
        assert request.headers["webhook-signature"] == sign(key, "a-1", at_s, body)["webhook-signature"]
        return await receiver.ok(request)

    async def scene() -> None:
        receiver.answer = check
        async with receiver.up():
            channel = Webhook(url=receiver.url, signing_key_file=str(file)).open()
            await deliver(store, channel, sent("a-1"))

    put(store, ("a-1", "a"))
    asyncio.run(scene())
    assert headers


def test_each_attempt_is_signed_anew_so_that_no_old_one_can_be_played_again(store: Store, tmp_path: Path) -> None:
    """A receiver takes timestamps of five minutes only; a notification that waited for an hour has a new one."""
    file = tmp_path / "key"
    file.write_text("whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw")
    file.chmod(0o600)
    receiver, clock_s = Receiver(), [1_800_000_000]
    stamps: list[int] = []

    async def check(request: web.Request) -> web.StreamResponse:
        stamps.append(at_s := int(request.headers["webhook-timestamp"]))
        assert request.headers["webhook-id"] == request.headers["Idempotency-Key"] == "a-1"
        expected = sign(file.read_text(), "a-1", at_s, await request.read())["webhook-signature"]
        assert request.headers["webhook-signature"] == expected
        if len(stamps) == 1:
            clock_s[0] += 3_600
            return web.Response(status=503)
        return await receiver.ok(request) if abs(clock_s[0] - at_s) <= 300 else web.Response(status=401)

    async def scene() -> None:
        receiver.answer = check
        async with receiver.up():
            settings = Webhook(url=receiver.url, signing_key_file=str(file))
            await deliver(store, WebhookChannel(settings, lambda: clock_s[0] * 1000), sent("a-1"))

    put(store, ("a-1", "a"))
    asyncio.run(scene())
    assert stamps == [1_800_000_000, 1_800_003_600]


def test_apprises_no_is_bounded(store: Store, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The real library at an address where nothing listens."""
    file = tmp_path / "apprise"
    file.write_text("json://127.0.0.1:9/hook")
    file.chmod(0o600)
    monkeypatch.setattr(AppriseChannel, "most_attempts", 2)
    put(store, ("a-1", "a"))
    channel = Apprise(url_file="apprise").checked(tmp_path / "collector.yaml", "notifications.0").open()
    asyncio.run(deliver(store, channel, lambda rows: rows["a-1"].state == "failed"))
    assert states(store)["a-1"].error == "given up after 2 attempts: apprise: not taken"


def test_apprise_that_is_not_installed_says_what_to_install(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "apprise", None)
    with pytest.raises(FileError, match=r"notifications\.0\.channel: expected .*pip install 'kitwatch\[collector\]'"):
        Apprise(url_file="x").checked(tmp_path / "collector.yaml", "notifications.0")


def test_apprise_delivers_to_what_it_knows_and_its_no_is_tried_again(store: Store, tmp_path: Path) -> None:
    """The real library posts to a server of ours (its plugin ``json``), which says no once."""
    port = free_port()
    bodies: list[dict[str, str]] = []

    async def answer(request: web.Request) -> web.Response:
        bodies.append(await request.json())
        return web.Response(status=500 if len(bodies) == 1 else 200)

    async def scene() -> None:
        app = web.Application()
        app.router.add_post("/hook", answer)
        async with serving(app, port):
            notifier = await deliver(store, settings.open(), sent("a-1"))
            assert notifier.progress.counts == {"sent": 1, "retries": 1}

    file = tmp_path / "apprise"
    file.write_text(f"json://127.0.0.1:{port}/hook")
    file.chmod(0o600)
    settings = Apprise(url_file="apprise").checked(tmp_path / "collector.yaml", "notifications.0")
    put(store, ("a-1", "a"))
    asyncio.run(scene())
    assert (bodies[1]["title"], bodies[1]["message"]) == ("急救03车 SIM卡未检测到", "amb-3 no SIM card")
    assert states(store)["a-1"].attempts == 2


# --- what people and machines ask -------------------------------------------------------------------------------------


def test_the_command_lists_and_sends_again(store: Store, database_url: str, capsys: pytest.CaptureFixture[str]) -> None:
    put(store, ("a-1", "a"), ("b-1", "b"))
    asyncio.run(deliver(store, Scripted({"a-1": [Refused("never\nso")]}), lambda rows: rows["a-1"].state == "failed"))
    where = ["--database", database_url]
    assert main(["notifications", "ls", *where, "--state", "failed", "--json"]) == 0
    (row,) = json.loads(capsys.readouterr().out)["deliveries"]
    assert (row["ticket"], row["receiver"], row["error"], row["body"]["fault"]) == (
        "a",
        "webhook",
        "never so",
        "sim_absent",
    )
    assert main(["notifications", "ls", *where]) == 0
    assert "failed" in capsys.readouterr().out
    assert main(["notifications", "retry", *where, "999"]) == 1
    assert main(["notifications", "retry", *where, str(row["id"])]) == 0
    assert capsys.readouterr().out == "retry: 0\nretry: 1\n"
    assert states(store)["a-1"].state == "waiting"
    assert main(["notifications", "retry", *where, "--all"]) == 0


def test_the_api_lists_and_sends_again(store: Store, tmp_path: Path) -> None:
    """Over TCP for roles that may, and over the socket for users of this machine."""
    woken: list[str] = []
    put(store, ("a-1", "a"), ("b-1", "b"))
    asyncio.run(deliver(store, Scripted({"a-1": [Refused("never")]}), sent("b-1")))

    async def scene() -> None:
        fleet = Fleet(sites={})
        sources = Sources(
            store, fleet, {}, receivers={(SITE, "webhook"): Progress()},
            wakes_of_notifiers={SITE: [lambda: woken.append(SITE)]},
        )  # fmt: skip
        async with TestClient(TestServer(make_app(sources)), headers=let_in(store)) as client:

            async def ask(path: str) -> Any:
                answer = await client.get(path)
                return answer.status, await (answer.json() if "api" in path else answer.text())

            _, found = await ask("/api/notifications?state=failed")
            (row,) = found["deliveries"]
            assert (row["ticket"], row["error"], row["body"]["text"]["en"]) == ("a", "never", "amb-3 no SIM card")
            assert (await ask("/api/notifications?state=lost"))[0] == 400
            assert (await ask("/api/notifications?limit=0"))[0] == 400
            assert (await ask("/api/notifications?who=me"))[0] == 400
            _, text = await ask("/metrics")
            assert 'kitwatch_notices_failed{site="north"} 1' in text
            path = f"/api/notifications/{row['notification']}/retry"
            viewer = let_in(store, "viewer", secret="kwt_viewer")
            assert (await client.post(path, json={}, headers=viewer)).status == 403
            assert (await client.get("/api/notifications", headers=viewer)).status == 403
            runner = web.AppRunner(make_app(sources), access_log=None)
            await runner.setup()
            await web.UnixSite(runner, str(tmp_path / "people.sock")).start()
            line = aiohttp.UnixConnector(str(tmp_path / "people.sock"))
            async with aiohttp.ClientSession("http://localhost", connector=line) as here:
                assert (await here.post(path)).status == 415
                assert (await here.post(path, json={}, headers={"Origin": "http://elsewhere"})).status == 403
                assert (await here.post("/api/notifications/999/retry", json={})).status == 404
                answer = await here.post(path, json={})
                assert answer.status == 202
                assert await answer.json() == {"notification": row["notification"], "retried": 1}
                assert (await here.post(path, json={})).status == 409
            await runner.cleanup()
            assert woken == [SITE]

    asyncio.run(scene())
    assert states(store)["a-1"].state == "waiting"
