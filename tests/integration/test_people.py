"""People of the roster told by a real webhook: fail-over, folding and order, what nobody takes; on both databases."""

from __future__ import annotations

import asyncio
import contextlib
import functools
import json
import os
import time
from collections.abc import AsyncIterator, Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path

import msgspec
import pytest
from aiohttp import web
from aiohttp.test_utils import TestServer
from sqlalchemy import update

from collector.channels import deliveries
from collector.channels.apprise import Apprise
from collector.channels.channel import Channel, Delivered, Notification, Outcome, Refused, Retry
from collector.channels.deliveries import Delivery, Lane
from collector.channels.feishu import Feishu
from collector.channels.notifier import Notifier
from collector.channels.people import People
from collector.channels.webhook import Webhook
from collector.config import load_config
from collector.core.contract import Contract, Telling
from collector.core.notifications import Body
from collector.core.roster import Person, Way
from collector.main import Running, run
from collector.site.health import PeopleHealth
from collector.store import schema
from collector.store.commit import SiteConnection
from collector.store.rows import Changes, NotificationRow, To
from collector.store.store import Store
from kitwatch.main import main
from tests.integration.test_collector import write
from tests.services.contract import in_force
from tests.services.http import serving
from tests.services.mosquitto import mosquitto
from tests.services.process import free_port

SITE, T = "north", "2026-0007"
TELLING = Telling(group_wait_ms=0, group_interval_ms=0, fail_over_after=2)
ZHAO = Person(name="赵", role="engineer", channels=(Way("sms", "1"), Way("mail", "z@x")), stand_in="qian")
QIAN = Person(name="钱", role="engineer", channels=(Way("sms", "2"),))
SUN = Person(name="孙", role="manager", channels=(Way("mail", "s@x"),))
CONTRACT = Contract(roster={"zhao": ZHAO, "qian": QIAN, "sun": SUN}, telling=TELLING)


def put(store: Store, *keys: str, to: tuple[To, ...] = (), ticket: str = T, sla_class: str = "general") -> None:
    """Write notifications as the site's owner does; for zhao, unless ``to`` says otherwise."""
    owner = SiteConnection.acquire(store, SITE, "test")
    assert owner is not None
    rows = [
        NotificationRow(key, ticket, body(key, ticket, sla_class), time.time_ns() // 1_000_000, to or (first("zhao"),))
        for key in keys
    ]
    with owner:
        owner.commit(Changes(notifications=rows))


async def put_and_wake(people: People, store: Store, *keys: str, to: tuple[To, ...] = (), ticket: str = T) -> None:
    await asyncio.to_thread(functools.partial(put, store, *keys, to=to, ticket=ticket))
    for wake in people.wakes:
        wake()


def first(person: str, wait_ms: int = 0) -> To:
    way = CONTRACT.roster[person].channels[0]
    return To(person, way.by, True, way.address, wait_ms)


def body(key: str, ticket: str, sla_class: str) -> str:
    return json.dumps(
        {
            "id": key, "what": "opened", "site": SITE, "vehicle": "amb-3", "device": "cam", "ticket": ticket,
            "fault": "camera_down", "severity": "major", "sla_class": sla_class, "event_ms": 1, "detected_ms": 1,
            "resolved_event_ms": None, "text": {"zh": f"摄像头 {key}", "en": f"camera {key}"},
        }
    )  # fmt: skip


@dataclass
class Gateway:
    """A webhook for each channel; ``down`` answer 503, ``never`` 422."""

    down: set[str] = field(default_factory=set)
    never: set[str] = field(default_factory=set)
    taken: list[tuple[str, str, str, str, int]] = field(default_factory=list)
    """(channel, address, idempotency key, English text, folded)."""
    asked: list[str] = field(default_factory=list)
    """The channel of each request."""
    port: int = field(default_factory=free_port)

    async def _asked(self, request: web.Request) -> web.Response:
        channel, key = request.match_info["channel"], request.headers["Idempotency-Key"]
        told = json.loads(await request.text())
        self.asked.append(channel)
        assert key == told["id"]
        if channel in self.down | self.never:
            return web.Response(status=503 if channel in self.down else 422, text="no")
        self.taken.append((channel, told.get("address", ""), key, told["text"]["en"], told["folded"]))
        return web.Response()

    @contextlib.asynccontextmanager
    async def serve(self) -> AsyncIterator[None]:
        app = web.Application()
        app.router.add_post("/{channel}", self._asked)
        async with serving(app, self.port):
            yield

    @contextlib.asynccontextmanager
    async def up(
        self, store: Store, contract: Contract = CONTRACT, *, longest_wait_s: float = 0.1
    ) -> AsyncIterator[People]:
        """The gateway and the site's notifiers, one a channel."""
        people = People(store, SITE, lambda: contract, ("sms", "mail"), again_s=0.1)
        notifiers = [
            Notifier(
                store, Lane(SITE, name, "webhook"), Webhook(url=f"http://127.0.0.1:{self.port}/{name}").open(),
                people=people, first_wait_s=0.01, longest_wait_s=longest_wait_s,
            )
            for name in ("sms", "mail")
        ]  # fmt: skip
        stop = asyncio.Event()
        async with self.serve():
            tasks = [asyncio.create_task(one.run(stop)) for one in notifiers]
            try:
                yield people
                assert not any(task.done() for task in tasks)
            finally:
                stop.set()
                people.wakes[0]()
                people.wakes[1]()
                await asyncio.gather(*tasks)


def rows(store: Store) -> dict[tuple[str, str, str], Delivery]:
    return {(row.key, row.receiver, row.channel): row for row in deliveries.listed(store.engine, site=SITE)}


async def until(holds: Callable[[], bool]) -> None:
    async with asyncio.timeout(60):
        while not await asyncio.to_thread(holds):  # noqa: ASYNC110 - the database tells nobody
            await asyncio.sleep(0.02)


def states(store: Store) -> dict[tuple[str, str, str], str]:
    return {name: row.state for name, row in rows(store).items()}


def test_the_next_channel_has_it_after_repeated_failure(store: Store) -> None:
    gateway = Gateway(down={"sms"})

    async def run() -> None:
        put(store, "n1")
        async with gateway.up(store) as people:
            await until(lambda: ("n1", "zhao", "mail") in rows(store) and not deliveries.waiting(store, SITE)[0])
            assert people.undelivered == {}

    asyncio.run(run())
    assert gateway.asked == ["sms", "sms", "mail"]
    assert gateway.taken == [("mail", "z@x", "n1/zhao", "sms did not deliver it: camera n1", 1)]
    assert states(store) == {("n1", "zhao", "sms"): "passed", ("n1", "zhao", "mail"): "sent"}
    assert rows(store)["n1", "zhao", "sms"].error == "503: no"
    assert rows(store)["n1", "zhao", "sms"].attempts == 2


def test_the_stand_in_has_it_when_a_persons_channels_refuse(store: Store) -> None:
    gateway = Gateway(never={"mail"})
    only_mail = msgspec.structs.replace(ZHAO, channels=(Way("mail", "z@x"),))
    contract = msgspec.structs.replace(CONTRACT, roster={**CONTRACT.roster, "zhao": only_mail})

    async def run() -> None:
        put(store, "n1", "n2", to=(To("zhao", "mail", True, "z@x"),))
        async with gateway.up(store, contract):
            await until(lambda: not deliveries.waiting(store, SITE)[0])

    asyncio.run(run())
    words = "passed on from 赵, who could not be told: 2 notifications, the latest: camera n2"
    assert gateway.taken == [("sms", "2", "n1/qian", words, 2)]
    assert states(store) == {
        ("n1", "zhao", "mail"): "failed", ("n2", "zhao", "mail"): "folded",
        ("n1", "qian", "sms"): "sent", ("n2", "qian", "sms"): "folded",
    }  # fmt: skip


def test_each_of_several_in_a_message_goes_to_somebody_who_does_not_have_it(store: Store) -> None:
    """The manager knows already that it is resolved; that somebody is to call back he does not."""
    gateway = Gateway(never={"sms"})
    contract = msgspec.structs.replace(CONTRACT, roster={"qian": QIAN, "sun": SUN})

    async def run() -> None:
        put(store, "resolved", to=(first("qian"), first("sun")))
        put(store, "call-back", to=(first("qian"),))
        async with gateway.up(store, contract):
            await until(lambda: not deliveries.waiting(store, SITE)[0])

    asyncio.run(run())
    found = states(store)
    assert found["resolved", "qian", "sms"] == "failed"
    assert found["resolved", "sun", "mail"] == "sent"
    assert found["call-back", "sun", "mail"] in ("sent", "folded"), "it depends on which channel is asked first"


def test_what_waits_about_one_ticket_is_one_message_and_keeps_its_order(store: Store) -> None:
    """While the first is tried over a failing channel the later ones wait, whichever channel would be free."""
    gateway = Gateway(down={"sms"})

    async def run() -> None:
        put(store, "n1")
        async with gateway.up(store, longest_wait_s=0.05) as people:
            await until(lambda: rows(store)["n1", "zhao", "sms"].attempts > 0)
            await put_and_wake(people, store, "n2", "n3", to=(To("zhao", "mail", True, "z@x"),))
            await put_and_wake(people, store, "other", ticket="2026-0008")
            await until(lambda: not deliveries.waiting(store, SITE)[0])

    asyncio.run(run())
    about = [one for one in gateway.taken if one[2] != "other/zhao"]
    assert about == [
        ("mail", "z@x", "n1/zhao", "sms did not deliver it: camera n1", 1),
        ("mail", "z@x", "n2/zhao", "2 notifications, the latest: camera n3", 2),
    ]
    assert rows(store)["n3", "zhao", "mail"].folded_into == "n2"
    assert len(gateway.taken) == 3


def test_what_nobody_takes_is_told_and_goes_round_until_somebody_does(store: Store) -> None:
    gateway = Gateway(down={"sms", "mail"})

    async def run() -> None:
        put(store, "n1")
        async with gateway.up(store) as people:
            health = PeopleHealth(people)
            await until(lambda: bool(people.undelivered))
            report = health(5)
            assert report is not None
            assert (report.part, report.name, report.state) == ("receiver", "people", "undelivered")
            assert f"{T} to " in report.words  # whoever it was for last
            assert {person for _, person, _ in rows(store)} == {"zhao", "qian", "sun"}
            gateway.down.clear()
            await until(lambda: not deliveries.waiting(store, SITE)[0])
            await until(lambda: not people.undelivered)
            again = health(6)
            assert again is not None
            assert again.state == "ok"

    asyncio.run(run())
    assert {key for _, _, key, _, _ in gateway.taken} <= {"n1/zhao", "n1/qian", "n1/sun"}
    assert "sent" in states(store).values()


def test_what_all_refuse_is_given_up_and_shown(store: Store) -> None:
    gateway = Gateway(never={"sms", "mail"})

    async def run() -> None:
        put(store, "n1")
        async with gateway.up(store) as people:
            await until(lambda: bool(people.undelivered))
            await until(lambda: not deliveries.waiting(store, SITE)[0])
            assert people.undelivered["n1"].given_up
            gateway.never.clear()
            await put_and_wake(people, store, "n2", to=(first("sun"),))
            await until(lambda: not people.undelivered)

    asyncio.run(run())
    assert gateway.asked == ["sms", "mail", "sms", "mail", "mail"]  # zhao twice, qian, sun; then sun takes another
    assert {state for (key, _, _), state in states(store).items() if key == "n1"} == {"failed"}


# --- time and crashes: a channel of our own, which answers as the test says -------------------------------------------


class Recorder(Channel):
    """Takes everything, or says what ``answer`` says; remembers what it was sent."""

    def __init__(self, answer: Callable[[], Outcome] = Delivered) -> None:
        self.answer = answer
        self.sent: list[tuple[str, int]] = []
        self.said: list[str] = []

    async def send(self, notification: Notification) -> Outcome:
        self.sent.append((notification.key, notification.content.folded))
        self.said.append(notification.content.text.en)
        return self.answer()


@dataclass
class Clocks:
    """Two clocks that the test moves: the wall's and the one that only runs."""

    wall_ms: int = field(default_factory=lambda: time.time_ns() // 1_000_000)
    running_s: float = 1000.0

    def pass_(self, seconds: float) -> None:
        self.running_s += seconds
        self.wall_ms += round(seconds * 1000)


def notifier(
    store: Store, channel: Channel, clocks: Clocks, contract: Contract = CONTRACT, name: str = "sms"
) -> Notifier:
    now_ms, monotonic = (lambda: clocks.wall_ms), (lambda: clocks.running_s)
    people = People(store, SITE, lambda: contract, ("sms", "mail"), now_ms=now_ms, monotonic=monotonic)
    return Notifier(store, Lane(SITE, name, "webhook"), channel, people=people, now_ms=now_ms, monotonic=monotonic)


def test_a_waiting_message_is_due_after_its_own_wait_whatever_the_clock_does(store: Store) -> None:
    clocks, channel = Clocks(), Recorder()
    put(store, "n1", to=(first("zhao", 30_000),))

    async def run() -> None:
        one = notifier(store, channel, clocks)
        await one.look()
        clocks.wall_ms -= 2 * 86_400_000
        clocks.running_s += 29
        await one.look()
        assert channel.sent == []
        clocks.running_s += 1.5
        await one.look()
        assert channel.sent == [("n1/zhao", 1)]
        put_ms = clocks.wall_ms
        await asyncio.to_thread(
            put, store, "n2", to=(first("zhao", 8 * 3_600_000),)
        )  # the clock two days in the future
        again = notifier(store, channel, clocks)  # a restart: what stands in the row is two days and eight hours away
        await again.look()
        clocks.running_s += 8 * 3_600 - 1
        await again.look()
        assert len(channel.sent) == 1
        clocks.running_s += 1.5
        await again.look()
        assert channel.sent[1:] == [("n2/zhao", 1)]
        assert clocks.wall_ms == put_ms

    asyncio.run(run())


def test_a_later_message_about_a_ticket_waits_for_the_interval(store: Store) -> None:
    clocks, channel = Clocks(), Recorder()
    contract = msgspec.structs.replace(CONTRACT, telling=Telling(group_interval_ms=300_000))

    async def run() -> None:
        one = notifier(store, channel, clocks, contract)
        await asyncio.to_thread(put, store, "n1", "n2")
        await one.look()
        assert channel.sent == [("n1/zhao", 2)]
        await asyncio.to_thread(put, store, "n3")
        await asyncio.to_thread(put, store, "other", ticket="2026-0008")
        await one.look()
        assert channel.sent[1:] == [("other/zhao", 1)]
        clocks.pass_(200)
        again = notifier(store, channel, clocks, contract)  # a restart in between changes nothing
        await asyncio.to_thread(put, store, "n4", sla_class="disaster")
        await again.look()
        clocks.pass_(99)
        await again.look()
        assert len(channel.sent) == 2
        clocks.pass_(2)
        await again.look()
        assert channel.sent[2:] == [("n3/zhao", 2)]

    asyncio.run(run())


def test_one_that_may_go_takes_along_what_waits(store: Store) -> None:
    """A disaster breaks through the quiet hours in which an earlier notification about the ticket waits."""
    clocks, channel = Clocks(), Recorder()
    put(store, "n1", to=(first("zhao", 8 * 3_600_000),))

    async def run() -> None:
        one = notifier(store, channel, clocks)
        await one.look()
        await asyncio.to_thread(put, store, "n2")
        await one.look()

    asyncio.run(run())
    assert channel.sent == [("n1/zhao", 2)]


def test_a_crash_repeats_the_same_message_under_the_same_key(store: Store) -> None:
    """It was sent and not marked; what came meanwhile is another message."""
    clocks = Clocks()

    def crash() -> Outcome:
        raise asyncio.CancelledError

    async def run() -> None:
        put(store, "n1", "n2")
        before = Recorder(crash)
        with contextlib.suppress(asyncio.CancelledError):
            await notifier(store, before, clocks).look()
        await asyncio.to_thread(put, store, "n3")
        after = Recorder()
        one = notifier(store, after, clocks)
        await one.look()
        await one.look()
        assert before.sent == [("n1/zhao", 2)]
        assert after.sent == [("n1/zhao", 2), ("n3/zhao", 1)]

    asyncio.run(run())


def test_a_later_one_waits_for_the_one_before_on_another_channel(store: Store) -> None:
    clocks, by_mail = Clocks(), Recorder()

    async def run() -> None:
        put(store, "n1")
        sms = notifier(store, Recorder(lambda: Retry("away")), clocks)
        mail = notifier(store, by_mail, clocks, name="mail")
        await sms.look()
        await asyncio.to_thread(put, store, "n2", to=(To("zhao", "mail", True, "z@x"),))
        await mail.look()
        assert by_mail.sent == []
        clocks.pass_(60)
        await sms.look()  # the second failure: the next channel has it
        await mail.look()
        await mail.look()

    asyncio.run(run())
    assert by_mail.sent == [("n1/zhao", 1), ("n2/zhao", 1)]


ONE_TRY = msgspec.structs.replace(CONTRACT.telling, fail_over_after=1)
TWO_MANAGERS = Contract(
    roster={
        "qian": Person(name="钱", role="manager", channels=(Way("sms", "2"),)),
        "sun": SUN,
    },
    telling=ONE_TRY,
)


def test_what_of_a_message_nobody_else_can_have_goes_round_though_the_rest_was_handed_on(store: Store) -> None:
    """Both are to know n, each in a message with something that goes to the other when nobody answers."""
    clocks, away = Clocks(), Recorder(lambda: Retry("away"))
    by_sms, by_mail = Recorder(), Recorder()
    put(store, "to-qian", to=(first("qian"),))
    put(store, "to-sun", to=(first("sun"),))
    put(store, "n", to=(first("qian"), first("sun")))

    async def run() -> None:
        await notifier(store, away, clocks, TWO_MANAGERS).look()
        await notifier(store, away, clocks, TWO_MANAGERS, name="mail").look()
        assert away.sent == [("to-qian/qian", 2), ("to-qian/sun", 3)]
        sms = notifier(store, by_sms, clocks, TWO_MANAGERS)
        mail = notifier(store, by_mail, clocks, TWO_MANAGERS, name="mail")
        for _ in range(3):
            await sms.look()
            await mail.look()
            clocks.pass_(61)

    asyncio.run(run())
    assert by_sms.sent == [("to-qian/qian", 2), ("to-sun/qian", 1)]
    assert by_mail.sent == [("to-qian/sun", 3)]
    late = "1 from before this, late; the latest: camera n"
    assert by_sms.said[1] == f"passed on from 孙, who could not be told: {late}"
    assert not deliveries.waiting(store, SITE)[0]


def test_what_is_handed_on_does_not_tell_somebody_an_older_state_than_he_knows(store: Store) -> None:
    """It is told with the words of the latest that he was told, or that may have arrived."""
    clocks = Clocks()
    sms, mail = Recorder(lambda: Retry("away")), Recorder()

    async def run() -> None:
        put(store, "opened", to=(first("qian"),))
        put(store, "escalated", to=(first("sun"),))
        by_mail = notifier(store, mail, clocks, TWO_MANAGERS, name="mail")
        await by_mail.look()
        await notifier(store, sms, clocks, TWO_MANAGERS).look()  # now it is sun's
        await by_mail.look()
        assert mail.sent == [("escalated/sun", 1), ("opened/sun", 1)]
        late = "1 from before this, late; the latest: camera escalated"
        assert mail.said == ["camera escalated", f"passed on from 钱, who could not be told: {late}"]

    asyncio.run(run())


def test_what_was_tried_before_is_not_overtaken_by_what_goes_with_something_handed_on(store: Store) -> None:
    clocks, answers = Clocks(), [Retry("away"), Retry("away")]
    twice = msgspec.structs.replace(TWO_MANAGERS, telling=TELLING)
    mail = Recorder(lambda: answers.pop() if answers else Delivered())

    async def run() -> None:
        put(store, "opened", to=(first("qian"),))
        put(store, "escalated", to=(first("sun"),))
        by_mail = notifier(store, mail, clocks, twice, name="mail")
        await by_mail.look()  # may have arrived
        answers.pop()
        await notifier(store, Recorder(lambda: Refused("no such number")), clocks, twice).look()  # now sun's
        await asyncio.to_thread(put, store, "resolved", to=(first("sun"),))
        for _ in range(3):
            clocks.pass_(61)
            await by_mail.look()

    asyncio.run(run())
    assert mail.sent == [("escalated/sun", 1), ("opened/sun", 1), ("escalated/sun", 1), ("resolved/sun", 1)]
    assert mail.said[1].endswith("told: 1 from before this, late; the latest: camera escalated")


def test_busy_is_no_failure(store: Store) -> None:
    clocks, busy = Clocks(), [True]
    channel = Recorder(lambda: Retry("20 a minute", 60, busy=True) if busy[0] else Delivered())

    async def run() -> None:
        put(store, "n1")
        one = notifier(store, channel, clocks)
        for _ in range(5):
            await one.look()
            clocks.pass_(61)
        busy[0] = False
        await one.look()
        assert one.progress.failing_since_ms is None

    asyncio.run(run())
    assert channel.sent == [("n1/zhao", 1)] * 6
    assert states(store) == {("n1", "zhao", "sms"): "sent"}


def test_a_channel_that_is_down_is_asked_with_one_message_and_the_others_go_on_at_once(store: Store) -> None:
    clocks, channel = Clocks(), Recorder(lambda: Retry("away"))

    async def run() -> None:
        for number in range(6):
            put(store, f"n{number}", ticket=f"2026-{number:04d}")
        one = notifier(store, channel, clocks)
        await one.look()
        clocks.pass_(5)
        await one.look()
        assert len(channel.sent) == 2
        await one.look()  # it is down, and left alone for some seconds

    asyncio.run(run())
    assert len(channel.sent) == 2
    assert {channel for (_, _, channel), state in states(store).items() if state == "waiting"} == {"mail"}
    assert sum(state == "passed" for state in states(store).values()) == 6


def test_a_waiting_row_of_the_version_before_is_due_at_once(store: Store) -> None:
    clocks, channel = Clocks(), Recorder()
    put(store, "n1", to=(To("sms", "webhook"),))
    with store.transaction() as connection:
        connection.execute(update(schema.delivery).values(next_ms=clocks.wall_ms + 10**9))

    asyncio.run(notifier(store, channel, clocks).look())
    assert channel.sent == [("n1", 1)]


def test_apprise_and_robots_reach_the_person_and_bring_the_link(tmp_path: Path) -> None:
    """The real library posts to a server of ours (its plugin ``json``), to the path that is the person's address."""
    asked: list[tuple[str, str]] = []

    async def hook(request: web.Request) -> web.Response:
        told = await request.json()
        text = told["content"]["text"] if "content" in told else told["message"]
        asked.append((request.path, text.splitlines()[-1]))
        return web.Response(text='{"code":0}')

    async def scene() -> list[Outcome]:
        app = web.Application()
        app.router.add_post("/{who}", hook)
        async with TestServer(app) as server:
            for name, url in (
                ("mail", f"json://127.0.0.1:{server.port}/{{address}}"),
                ("group", server.make_url("/g")),
            ):
                (tmp_path / name).write_text(str(url))
                (tmp_path / name).chmod(0o600)
            content = msgspec.json.decode(body("n1", T, "general"), type=Body)
            content = msgspec.structs.replace(content, link="https://kw.example.org/#2026-0007")
            one = Notification("n1/zhao", T, msgspec.json.encode(content).decode(), "z@x.org")
            settings = (Apprise(url_file="mail"), Feishu(url_file="group"))
            return [await to.checked(tmp_path / "c.yaml", "notifications.0").open().send(one) for to in settings]

    assert asyncio.run(scene()) == [Delivered(), Delivered()]
    assert asked == [("/z@x.org", "https://kw.example.org/#2026-0007"), ("/g", "https://kw.example.org/#2026-0007")]


ROSTER = """
roster:
  li: {name: 李调度, role: dispatcher, login: root}
  zhao: {name: 赵工, role: engineer, channels: [{by: sms, address: "1"}]}
  qian: {name: 钱工, role: engineer, channels: [{by: sms, address: "2"}], on_duty: []}
  sun: {name: 孙经理, role: manager, channels: [{by: mail, address: s@x}]}
notifications: {group_wait: 0s, group_interval: 0s, fail_over_after: 1, link: "https://kw.example.org"}
"""


@pytest.mark.skipif(os.geteuid() != 0, reason="root is the dispatcher")
@pytest.mark.timeout(180)
def test_a_call_reaches_the_people_whom_the_contract_in_force_names(tmp_path: Path, broker: int) -> None:
    """The real collector, its socket and its broker; the contract is changed under way."""
    gateway, socket, contract = Gateway(), tmp_path / "collector.sock", tmp_path / "contract.yaml"
    contract.write_text(ROSTER)
    entries = [
        {"channel": "webhook", "receiver": name, "url": f"http://127.0.0.1:{gateway.port}/{name}"}
        for name in ("sms", "mail", "group")
    ]
    path = write(tmp_path, broker, contract="contract.yaml", socket=str(socket), notifications=entries)
    (tmp_path / "data").mkdir(exist_ok=True)

    def does(*words: str) -> None:
        assert main(["tickets", words[0], "--socket", str(socket), *words[1:], "--json"]) == 0

    def got(channel: str) -> list[tuple[str, str]]:
        return [(address, key.split("/", 1)[1]) for at, address, key, _, _ in gateway.taken if at == channel]

    async def scene(running: Running) -> None:
        await in_force(running.store, "north")
        await asyncio.to_thread(does, "open", "no picture", "--vehicle", "amb-3", "--class", "disaster")
        await until(lambda: len(gateway.taken) == 2)
        id = got("group")[0][1].split("/")[0]
        assert (got("sms"), got("group")) == ([("1", f"{id}/1/opened/zhao")], [("", f"{id}/1/opened")])
        await asyncio.to_thread(does, "assign", id, "--to", "qian")
        await until(lambda: ("2", f"{id}/2/assigned/qian") in got("sms"))
        gateway.down.add("sms")
        await asyncio.to_thread(does, "escalate", id, "--to", "zhao", "--why", "urgent")
        await until(lambda: got("mail") == [("s@x", f"{id}/3/escalated/sun")])
        gateway.down.clear()
        contract.write_text(ROSTER.replace("on_duty: []", "away: [{from: 2000-01-01, to: 2100-01-01}], stand_in: sun"))
        await asyncio.to_thread(main, ["reload", "--config", str(path)])
        owner = running.owners["north"]
        await until(lambda: owner.contract.roster["qian"].stand_in == "sun")
        await asyncio.to_thread(does, "assign", id, "--to", "qian")
        await until(lambda: ("s@x", f"{id}/4/assigned/sun") in got("mail"))
        listed = await asyncio.to_thread(rows, running.store)
        assert listed[f"north/{id}/3/escalated", "zhao", "sms"].state == "passed"
        assert {row.receiver for row in listed.values()} == {"group", "zhao", "qian", "sun"}

    async def both() -> None:
        stop, ready = asyncio.Event(), asyncio.get_running_loop().create_future()
        async with gateway.serve():
            task = asyncio.create_task(run(load_config(path), stop=stop, on_ready=ready.set_result))
            try:
                await scene(await asyncio.wait_for(ready, 60))
            finally:
                stop.set()
                await asyncio.wait_for(task, 60)

    asyncio.run(both())


@pytest.fixture
def broker(tmp_path: Path) -> Iterator[int]:
    with mosquitto(tmp_path) as running:
        yield running.port
